"""Pictures of training and of attention. Needs matplotlib, from the extra `plot`."""

import os
import unicodedata
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure


def learning_curve(
    history: Any,
    metrics: Sequence[str] | None = None,
    ax: "Axes | None" = None,
    path: str | os.PathLike[str] | None = None,
) -> "Axes":
    """Draws metrics over the epochs, training dashed and validation solid.

    Args:
        history: What `model.fit` returns, or a mapping from names to lists of values.
            Fewer values of validation than epochs are set an even distance apart.
        metrics: Names to draw, without `val_`. Default: all but the loss and the
            learning rate; the loss where there is nothing else.
        ax: Matplotlib axes to draw into. Default: new ones.
        path: Where to save the picture; the suffix names the format. Default: nowhere.

    Returns:
        The axes.

    Raises:
        ImportError: If matplotlib is not installed.
        ValueError: If a metric is not in the history.

    Example:
        >>> from kseq.plotting import learning_curve
        >>> ax = learning_curve({"loss": [2.0, 1.0], "val_loss": [2.1, 1.4]})
        >>> ax.get_xlabel(), len(ax.lines)
        ('epoch', 2)
    """
    values: Mapping[str, Sequence[float]] = getattr(history, "history", history)
    names = [name for name in values if not name.startswith("val_")]
    if metrics is None:
        metrics = [n for n in names if n not in ("loss", "learning_rate")] or ["loss"]
    metrics = [metrics] if isinstance(metrics, str) else metrics
    for metric in metrics:
        if metric not in values:
            raise ValueError(f"`metrics` must be among {names}. Received: {metric!r}.")
    ax = ax if ax is not None else _new_axes()
    for metric in metrics:
        epochs = range(1, len(values[metric]) + 1)
        marker = _marker(len(epochs))
        (line,) = ax.plot(epochs, values[metric], "--", marker=marker, label=metric)
        validation = values.get(f"val_{metric}")
        if validation is not None:
            # Validation may run every few epochs only; a history does not say which.
            stride = len(values[metric]) // max(len(validation), 1) or 1
            ax.plot(
                [stride * (k + 1) for k in range(len(validation))],
                validation,
                color=line.get_color(),
                marker=marker,
                label=f"val_{metric}",
            )
    ax.set_xlabel("epoch")
    _label_counts(ax.xaxis)
    ax.grid(alpha=0.3)
    ax.legend()
    if path is not None:
        cast("Figure", ax.get_figure(root=True)).savefig(path)
    return ax


def training_curves(
    runs: Mapping[str, Any],
    metrics: Sequence[str] | None = None,
    best: Mapping[str, int] | None = None,
    path: str | os.PathLike[str] | None = None,
) -> "Figure":
    """Draws what trainings have come to, checkpoint by checkpoint, to compare them.

    A panel for each metric, a colour for each training; training dashed and validation
    solid over the updates. A panel whose values span more than a factor of ten is
    logarithmic, unless one is 0 or below.

    Args:
        runs: Mapping from names to the table of a training, `metrics.csv` as a pandas
            DataFrame: columns `checkpoint`, `updates`, `train_...` and `valid_...`.
        metrics: Names to draw, without `train_` and `valid_`. Default: all that were
            measured on validation data, but for the loss.
        best: Mapping from names of trainings to the number of the best checkpoint,
            which is marked. Default: none is.
        path: Where to save the picture; the suffix names the format. Default: nowhere.

    Returns:
        The matplotlib figure.

    Raises:
        ImportError: If matplotlib is not installed.
        ValueError: If there is no training, or a metric is in none of them.

    Example:
        >>> import pandas as pd
        >>> from kseq.plotting import training_curves
        >>> table = pd.DataFrame(
        ...     {
        ...         "checkpoint": [1, 2],
        ...         "updates": [100, 200],
        ...         "train_perplexity": [4.0, 2.0],
        ...         "valid_perplexity": [4.5, 2.5],
        ...         "valid_bleu": [10.0, 30.0],
        ...     }
        ... )
        >>> figure = training_curves({"small": table}, best={"small": 2})
        >>> [ax.get_title() for ax in figure.axes]
        ['perplexity', 'bleu']
    """
    if not runs:
        raise ValueError("`runs` must hold a training at least. Received: none.")
    measured = dict.fromkeys(
        column.removeprefix("valid_")
        for frame in runs.values()
        for column in frame.columns
        if column.startswith("valid_")
    )
    if metrics is None:
        metrics = [name for name in measured if name != "loss"] or list(measured)
    for name in metrics:
        if name not in measured:
            raise ValueError(
                f"`metrics` must be among {list(measured)}. Received: {name!r}."
            )
    across = min(len(metrics), 3)
    down = -(-len(metrics) // across)
    figure = _new_figure((max(3.8 * across, 5), 3.2 * down + 0.5))
    for number, metric in enumerate(metrics, start=1):
        ax = figure.add_subplot(down, across, number)
        for k, (name, frame) in enumerate(runs.items()):
            _curves(ax, frame, metric, f"C{k % 10}", (best or {}).get(name))
        values = np.concatenate([np.asarray(line.get_ydata()) for line in ax.lines])
        values = values[np.isfinite(values)]
        if len(values) and values.min() > 0 and values.max() > 10 * values.min():
            ax.set_yscale("log")
            _label_logarithmic(ax.yaxis)
        ax.set_title(metric)
        ax.set_xlabel("updates")
        _label_counts(ax.xaxis)
        ax.grid(alpha=0.3)
    _curves_legend(figure, runs, bool(best))
    if path is not None:
        figure.savefig(path)
    return figure


def _curves(ax: "Axes", frame: Any, metric: str, color: str, best: int | None) -> None:
    """Draws one metric of one training."""
    marker = _marker(len(frame))
    for prefix, style in (("train", "--"), ("valid", "-")):
        column = f"{prefix}_{metric}"
        if column in frame:
            ax.plot(frame["updates"], frame[column], style, color=color, marker=marker)
    row = frame[frame["checkpoint"] == best]
    if best is not None and len(row) and f"valid_{metric}" in frame:
        ax.plot(
            row["updates"],
            row[f"valid_{metric}"],
            "*",
            color=color,
            markeredgecolor="black",
            markersize=12,
            zorder=3,
        )


def _curves_legend(figure: "Figure", runs: Mapping[str, Any], has_best: bool) -> None:
    """Says below the panels what colours, lines and marks mean."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=f"C{k % 10}", linewidth=4, label=name)
        for k, name in enumerate(runs)
    ]
    handles += [
        Line2D([], [], color="0.3", label="validation"),
        Line2D([], [], color="0.3", linestyle="--", label="training"),
    ]
    if has_best:
        handles.append(
            Line2D(
                [],
                [],
                color="0.3",
                marker="*",
                markersize=12,
                linestyle="",
                label="best checkpoint",
            )
        )
    figure.legend(
        handles=handles, loc="outside lower center", ncols=min(len(handles), 4)
    )


def attention_map(
    source: Sequence[str],
    target: Sequence[str],
    weights: Any,
    ax: "Axes | None" = None,
    path: str | os.PathLike[str] | None = None,
) -> "Axes":
    """Draws which source tokens each target token attends to, as a map of weights.

    The source runs along the top and the target down the side; a cell is the darker
    the larger its weight, from 0 to 1 in every picture, so that two can be compared.

    Tokens stand as they are given, but what could not be seen is made visible: an
    empty token as `∅`, a space at an end of a token as `␣`, line breaks, tabs and other
    blanks as Python escapes them. A script that matplotlib's font lacks needs another
    one: `matplotlib.rcParams["font.family"] = ["DejaVu Sans", "Noto Sans JP"]`.

    Args:
        source: The source tokens.
        target: The target tokens.
        weights: Attention weights (target, source), each from 0 to 1.
        ax: Matplotlib axes to draw into. Default: new ones, of a figure that grows with
            the number of tokens.
        path: Where to save the picture; the suffix names the format. Default: nowhere.

    Returns:
        The axes.

    Raises:
        ImportError: If matplotlib is not installed.
        TypeError: If the tokens are not lists of strings.
        ValueError: If there are no tokens on a side, or the weights are not of the
            shape (target, source), or not from 0 to 1.

    Example:
        >>> from kseq.plotting import attention_map
        >>> ax = attention_map(["c", "b", "a"], ["a"], [[0.1, 0.2, 0.7]])
        >>> [label.get_text() for label in ax.get_xticklabels()]
        ['c', 'b', 'a']
    """
    sides = {"source": source, "target": target}
    labels: dict[str, list[str]] = {}
    for name, tokens in sides.items():
        if isinstance(tokens, str) or not all(isinstance(t, str) for t in tokens):
            raise TypeError(
                f"`{name}` must be a list of strings. Received: {tokens!r}."
            )
        labels[name] = [_visible(token) for token in tokens]
        if not labels[name]:
            raise ValueError(f"`{name}` must have a token. Received: none.")
    shape = (len(labels["target"]), len(labels["source"]))
    values = np.asarray(weights, "float64")  # (target, source)
    if values.shape != shape:
        raise ValueError(
            f"`weights` must have the shape (target, source), here {shape}. "
            f"Received: {values.shape}."
        )
    # Beyond the limits by what half precision may round, no more.
    if not ((values >= -0.001) & (values <= 1.001)).all():
        raise ValueError(
            "`weights` must be from 0 to 1. Received: numbers from "
            f"{values.min():.4g} to {values.max():.4g}."
        )
    if ax is None:
        ax = _new_figure(_map_size(labels["source"], labels["target"])).add_subplot()
    figure = cast("Figure", ax.get_figure(root=True))
    image = ax.imshow(values, cmap="Blues", vmin=0, vmax=1, aspect="equal")
    figure.colorbar(image, ax=ax, label="attention weight", shrink=0.8)
    # Not as formulas: a token may well have dollar signs.
    ax.set_xticks(
        range(shape[1]),
        labels["source"],
        rotation=60,
        ha="left",
        rotation_mode="anchor",
        parse_math=False,
    )
    ax.set_yticks(range(shape[0]), labels["target"], parse_math=False)
    ax.xaxis.tick_top()
    ax.xaxis.set_label_position("top")
    ax.set_xlabel("source")
    ax.set_ylabel("target")
    # Lines between the cells, by which the eye finds a token's row and column.
    ax.set_xticks(np.arange(1, shape[1]) - 0.5, minor=True)
    ax.set_yticks(np.arange(1, shape[0]) - 0.5, minor=True)
    ax.grid(which="minor", color="0.85", linewidth=0.5)
    ax.tick_params(which="minor", length=0)
    if path is not None:
        # The layout knows nothing of square cells: labels would be cut off.
        figure.savefig(path, bbox_inches="tight")
    return ax


def sweep(
    frame: Any,
    hyperparameters: Sequence[str] | None = None,
    log: Sequence[str] | None = None,
    path: str | os.PathLike[str] | None = None,
) -> "Figure":
    """Draws the score of a sweep's trials against each hyperparameter.

    Numbers are points along an axis. Names, and numbers of which there are four or
    fewer, are columns of points with a line at their mean. The best trial is marked;
    failed ones, and those in which a hyperparameter had no value, are left out.

    Args:
        frame: The pandas DataFrame of `kseq.tuning.results`, or one like it, with a
            column `score`.
        hyperparameters: Columns to draw. Default: those that the frame says are
            hyperparameters and that differ between trials; in a frame without such
            notes, read from a CSV file, all between `score` and `seconds`.
        log: Those of them to be drawn on a logarithmic axis. Default: those that the
            frame says were sampled so.
        path: File to save the picture to, `"sweep.png"`. Default: none.

    Returns:
        The matplotlib figure, one panel for each hyperparameter.

    Raises:
        ImportError: If matplotlib is not installed.
        ValueError: If a column is not in the frame, or there is nothing to draw.

    Example:
        >>> import pandas as pd
        >>> from kseq.plotting import sweep
        >>> frame = pd.DataFrame({"score": [0.5, 0.9], "units": [64, 128]})
        >>> [ax.get_xlabel() for ax in sweep(frame, ["units"]).axes]
        ['units']
    """
    notes = frame.attrs
    columns = list(frame.columns)
    done = frame[frame["score"].notna()] if "score" in columns else frame[:0]
    if not len(done):
        raise ValueError("`frame` must have a trial with a score. Received: none.")
    if hyperparameters is None:
        after = columns.index("seconds") if "seconds" in columns else len(columns)
        names = notes.get(
            "hyperparameters", columns[columns.index("score") + 1 : after]
        )
        # Those with a slash are keras-tuner's own.
        names = [n for n in names if "/" not in n and done[n].nunique(dropna=False) > 1]
    else:
        names = list(hyperparameters)
    for name in [*names, *(log or ())]:
        if name not in columns:
            raise ValueError(
                f"`hyperparameters` and `log` must be among {columns}. "
                f"Received: {name!r}."
            )
    if not names:
        raise ValueError(
            "`frame` must have a hyperparameter that differs between trials. "
            "Received: none."
        )
    rows = -(-len(names) // 4)
    across = -(-len(names) // rows)
    figure = _new_figure((max(2.6 * across, 4), 2.8 * rows))
    best = (
        done["score"].idxmin()
        if notes.get("direction") == "min"
        else (done["score"].idxmax())
    )
    first = None
    for number, name in enumerate(names, start=1):
        ax = figure.add_subplot(rows, across, number, sharey=first)
        first = first or ax
        if (number - 1) % across == 0:
            ax.set_ylabel(str(notes.get("objective") or "score"))
        is_log = name in (notes.get("log", ()) if log is None else log)
        _score_against(ax, done[done[name].notna()], name, is_log, best)
    if path is not None:
        figure.savefig(path)
    return figure


def _score_against(ax: "Axes", done: Any, name: str, is_log: bool, best: Any) -> None:
    numeric = done[name].map(lambda v: isinstance(v, int | float)).all()
    boolean = done[name].map(lambda v: isinstance(v, bool)).any()
    values = sorted(done[name].unique(), key=None if numeric else str)
    scores = done["score"]
    if numeric and not boolean and (len(values) > 4 or is_log):
        places = done[name].astype(float)
        ax.scatter(places, scores, alpha=0.7)
        if is_log:
            ax.set_xscale("log")
            _label_logarithmic(ax.xaxis)
        elif (places == places.round()).all():
            _label_counts(ax.xaxis)
    else:
        columns = done[name].map(values.index)
        # Side by side in the order of the trials, so that equal scores are seen.
        turn = (
            done.groupby(columns).cumcount()
            - (columns.map(columns.value_counts()) - 1) / 2
        )
        widest = columns.value_counts().max()
        places = columns + 0.5 * turn / max(widest, 5)
        ax.scatter(places, scores, alpha=0.7)
        for column, mean in scores.groupby(columns).mean().items():
            ax.hlines(mean, column - 0.35, column + 0.35, color="0.5", zorder=0)
        ax.set_xticks(range(len(values)), [str(value) for value in values])
        ax.set_xlim(-0.6, len(values) - 0.4)
    if best in places.index:
        ax.scatter(places[best], scores[best], marker="*", s=150, color="C1", zorder=3)
    ax.set_xlabel(name)
    ax.grid(alpha=0.3)


def _marker(points: int) -> str:
    """Returns the marker of a line: one through a single point is invisible."""
    return "." if points <= 30 else ""


def _label_counts(axis: "Axis") -> None:
    """Labels an axis of epochs, updates or other counts by whole numbers alone."""
    from matplotlib.ticker import MaxNLocator

    # One whole number is enough: with fewer than `min_n_ticks` it takes fractions.
    locator = MaxNLocator(nbins=6, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1)
    axis.set_major_locator(locator)


def _label_logarithmic(axis: "Axis") -> None:
    """Labels an axis by plain numbers, few enough to be read."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1, 3) if high < 300 * low else (1,)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def _visible(token: str) -> str:
    """Writes a token so that nothing in it is invisible."""
    if not token:
        return "∅"
    bare = token.strip(" ")
    before = len(token) - len(token.lstrip(" "))
    text = "␣" * before + bare + "␣" * (len(token) - before - len(bare))
    escaped = [
        char.encode("unicode_escape").decode()
        if char != " " and unicodedata.category(char) in ("Cc", "Zl", "Zp", "Zs")
        else char
        for char in text
    ]
    return "".join(escaped)


def _map_size(source: list[str], target: list[str]) -> tuple[float, float]:
    """Returns the size in inches at which every token of a map can be read."""
    cell, letter = 0.28, 0.09
    across = cell * len(source) + letter * max(map(len, target))
    down = cell * len(target) + letter * max(map(len, source))
    return max(across + 1.8, 4.0), max(down + 0.8, 3.0)


def _new_axes() -> "Axes":
    return _new_figure((7, 4)).add_subplot()


def _new_figure(size: tuple[float, float]) -> "Figure":
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "Plots need matplotlib, which is not installed: pip install 'kseq[plot]'"
        ) from error
    # Not through pyplot: it keeps every figure, and may want a screen.
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure
