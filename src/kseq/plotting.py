"""Plots of training and attention. Needs matplotlib, from the extra `plot`."""

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
    """Plots metrics over the epochs, training dashed and validation solid.

    Args:
        history: The result of `model.fit`, or a mapping from names to lists of values.
            If there are fewer validation values than epochs, they are spaced evenly.
        metrics: Names to plot, without `val_`. Default: all except the loss and the
            learning rate, or the loss if there is no other metric.
        ax: Matplotlib axes to plot into. Default: new axes.
        path: File to save the plot to; the suffix is the format. Default: None, not
            saved.

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
            # A history does not say which epochs had a validation.
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
    """Plots the metrics of training runs over the updates, to compare the runs.

    Each metric has a panel and each run a colour; training is dashed and validation
    solid. A panel is logarithmic if its values are positive and span more than a factor
    of ten.

    Args:
        runs: Mapping from names to the histories of runs, `metrics.csv` as a pandas
            DataFrame with the columns `checkpoint`, `updates`, `train_...` and
            `valid_...`.
        metrics: Names to plot, without `train_` and `valid_`. Default: all metrics of
            the validation data except the loss.
        best: Mapping from names of runs to the number of the best checkpoint, which is
            marked. Default: None, no mark.
        path: File to save the plot to; the suffix is the format. Default: None, not
            saved.

    Returns:
        The matplotlib figure.

    Raises:
        ImportError: If matplotlib is not installed.
        ValueError: If there is no run, or no run has a metric.

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
        raise ValueError("`runs` must have at least one run. Received: none.")
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
    columns = min(len(metrics), 3)
    rows = -(-len(metrics) // columns)
    figure = _new_figure((max(3.8 * columns, 5), 3.2 * rows + 0.5))
    for number, metric in enumerate(metrics, start=1):
        ax = figure.add_subplot(rows, columns, number)
        for k, (name, frame) in enumerate(runs.items()):
            _plot_metric(ax, frame, metric, f"C{k % 10}", (best or {}).get(name))
        values = np.concatenate([np.asarray(line.get_ydata()) for line in ax.lines])
        values = values[np.isfinite(values)]
        if len(values) and values.min() > 0 and values.max() > 10 * values.min():
            ax.set_yscale("log")
            _label_logarithmic(ax.yaxis)
        ax.set_title(metric)
        ax.set_xlabel("updates")
        _label_counts(ax.xaxis)
        ax.grid(alpha=0.3)
    _add_legend(figure, runs, bool(best))
    if path is not None:
        figure.savefig(path)
    return figure


def _plot_metric(
    ax: "Axes", frame: Any, metric: str, color: str, best: int | None
) -> None:
    """Plots one metric of one run."""
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


def _add_legend(figure: "Figure", runs: Mapping[str, Any], has_best: bool) -> None:
    """Adds a legend of colours, lines and marks below the panels."""
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
    """Plots attention weights as a map of source and target tokens.

    Source tokens are columns and target tokens are rows. A larger weight is darker, on
    the same scale from 0 to 1 in each plot.

    Invisible characters are made visible: an empty token is `∅`, a space at the start
    or end of a token is `␣`, and line breaks, tabs and other blanks are escaped as in
    Python. For a script that matplotlib's font lacks, choose another font:
    `matplotlib.rcParams["font.family"] = ["DejaVu Sans", "Noto Sans JP"]`.

    Args:
        source: The source tokens.
        target: The target tokens.
        weights: Attention weights from 0 to 1, of shape (target, source).
        ax: Matplotlib axes to plot into. Default: new axes, with a size for the number
            of tokens.
        path: File to save the plot to; the suffix is the format. Default: None, not
            saved.

    Returns:
        The axes.

    Raises:
        ImportError: If matplotlib is not installed.
        TypeError: If the tokens are not lists of strings.
        ValueError: If a side has no tokens, or the weights have another shape or are
            not from 0 to 1.

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
        labels[name] = [_make_visible(token) for token in tokens]
        if not labels[name]:
            raise ValueError(f"`{name}` must have at least one token. Received: none.")
    shape = (len(labels["target"]), len(labels["source"]))
    values = np.asarray(weights, "float64")  # (target, source)
    if values.shape != shape:
        raise ValueError(
            f"`weights` must have the shape (target, source), here {shape}. "
            f"Received: {values.shape}."
        )
    # With a tolerance for half precision.
    if not ((values >= -0.001) & (values <= 1.001)).all():
        raise ValueError(
            "`weights` must be from 0 to 1. Received: values from "
            f"{values.min():.4g} to {values.max():.4g}."
        )
    if ax is None:
        ax = _new_figure(_map_size(labels["source"], labels["target"])).add_subplot()
    figure = cast("Figure", ax.get_figure(root=True))
    image = ax.imshow(values, cmap="Blues", vmin=0, vmax=1, aspect="equal")
    figure.colorbar(image, ax=ax, label="attention weight", shrink=0.8)
    # Dollar signs in a token must not start a formula.
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
    # Lines between the cells make it easy to find a token's row and column.
    ax.set_xticks(np.arange(1, shape[1]) - 0.5, minor=True)
    ax.set_yticks(np.arange(1, shape[0]) - 0.5, minor=True)
    ax.grid(which="minor", color="0.85", linewidth=0.5)
    ax.tick_params(which="minor", length=0)
    if path is not None:
        # The constrained layout ignores square cells and would clip the labels.
        figure.savefig(path, bbox_inches="tight")
    return ax


def sweep(
    frame: Any,
    hyperparameters: Sequence[str] | None = None,
    log: Sequence[str] | None = None,
    path: str | os.PathLike[str] | None = None,
) -> "Figure":
    """Plots the scores of a sweep's trials over each hyperparameter.

    A hyperparameter with more than four numbers is a scatter plot. Other values are
    columns of points, with a line at the mean. The best trial is marked. Trials that
    failed, or that lack a value of the hyperparameter, are left out.

    Args:
        frame: A pandas DataFrame from `kseq.tuning.results`, or a similar one with a
            column `score`.
        hyperparameters: Columns to plot. Default: the hyperparameters in `frame.attrs`
            that differ between trials; without `attrs`, as in a frame from a CSV file,
            the columns between `score` and `seconds`.
        log: Hyperparameters with a logarithmic axis. Default: the ones that `attrs`
            says were sampled logarithmically.
        path: File to save the plot to, such as `"sweep.png"`. Default: None, not saved.

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
        # keras-tuner's own hyperparameters have a slash.
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
    panels_per_row = -(-len(names) // rows)
    figure = _new_figure((max(2.6 * panels_per_row, 4), 2.8 * rows))
    is_min = notes.get("direction") == "min"
    best = done["score"].idxmin() if is_min else done["score"].idxmax()
    first = None
    for number, name in enumerate(names, start=1):
        ax = figure.add_subplot(rows, panels_per_row, number, sharey=first)
        first = first or ax
        if (number - 1) % panels_per_row == 0:
            ax.set_ylabel(str(notes.get("objective") or "score"))
        is_log = name in (notes.get("log", ()) if log is None else log)
        _plot_scores(ax, done[done[name].notna()], name, is_log, best)
    if path is not None:
        figure.savefig(path)
    return figure


def _plot_scores(ax: "Axes", done: Any, name: str, is_log: bool, best: Any) -> None:
    numeric = done[name].map(lambda v: isinstance(v, int | float)).all()
    boolean = done[name].map(lambda v: isinstance(v, bool)).any()
    values = sorted(done[name].unique(), key=None if numeric else str)
    scores = done["score"]
    if numeric and not boolean and (len(values) > 4 or is_log):
        x = done[name].astype(float)
        ax.scatter(x, scores, alpha=0.7)
        if is_log:
            ax.set_xscale("log")
            _label_logarithmic(ax.xaxis)
        elif (x == x.round()).all():
            _label_counts(ax.xaxis)
    else:
        columns = done[name].map(values.index)
        # Points with equal scores are side by side, in the order of the trials.
        rank = (
            done.groupby(columns).cumcount()
            - (columns.map(columns.value_counts()) - 1) / 2
        )
        most = columns.value_counts().max()
        x = columns + 0.5 * rank / max(most, 5)
        ax.scatter(x, scores, alpha=0.7)
        for column, mean in scores.groupby(columns).mean().items():
            ax.hlines(mean, column - 0.35, column + 0.35, color="0.5", zorder=0)
        ax.set_xticks(range(len(values)), [str(value) for value in values])
        ax.set_xlim(-0.6, len(values) - 0.4)
    if best in x.index:
        ax.scatter(x[best], scores[best], marker="*", s=150, color="C1", zorder=3)
    ax.set_xlabel(name)
    ax.grid(alpha=0.3)


def _marker(points: int) -> str:
    """Returns the marker of a line: a line with a single point is invisible."""
    return "." if points <= 30 else ""


def _label_counts(axis: "Axis") -> None:
    """Labels an axis of counts with integers only."""
    from matplotlib.ticker import MaxNLocator

    # With fewer than `min_n_ticks` integers the locator would use fractions.
    locator = MaxNLocator(nbins=6, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1)
    axis.set_major_locator(locator)


def _label_logarithmic(axis: "Axis") -> None:
    """Labels a logarithmic axis with a few plain numbers."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1, 3) if high < 300 * low else (1,)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def _make_visible(token: str) -> str:
    """Replaces invisible characters of a token by visible ones."""
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
    """Returns the size in inches at which each token of a map is readable."""
    cell, letter = 0.28, 0.09
    width = cell * len(source) + letter * max(map(len, target))
    height = cell * len(target) + letter * max(map(len, source))
    return max(width + 1.8, 4.0), max(height + 0.8, 3.0)


def _new_axes() -> "Axes":
    return _new_figure((7, 4)).add_subplot()


def _new_figure(size: tuple[float, float]) -> "Figure":
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("Plots need matplotlib: pip install 'kseq[plot]'") from error
    # pyplot would keep every figure in memory, and may need a screen.
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure
