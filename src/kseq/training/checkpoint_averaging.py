"""Checkpoint averaging: the mean of the weights of several checkpoints."""

import os
import pathlib
from collections.abc import Sequence

import numpy as np

from kseq.config.checks import check_integer
from kseq.storage.weights import ENDINGS, average_weights


def choose_checkpoints(
    files: Sequence[str | os.PathLike[str]],
    n: int,
    scores: Sequence[float] | None = None,
    higher_is_better: bool = False,
) -> list[pathlib.Path]:
    """Chooses the last or the best checkpoints of a training run.

    Args:
        files: Paths of the checkpoints, in the order in which they were written.
        n: Maximum number of checkpoints to choose.
        scores: A value for each checkpoint, such as the validation loss. The n best are
            chosen, the later ones of equal ones. Default: choose the last n.
        higher_is_better: Whether a high score is good. Default: False.

    Returns:
        List of paths, in the order of `files`.

    Raises:
        ValueError: If there are no files, n is below 1, or `scores` does not hold a
            finite number for each file.

    Example:
        >>> from kseq.training import choose_checkpoints
        >>> files = ["1.weights.h5", "2.weights.h5", "3.weights.h5"]
        >>> [str(path) for path in choose_checkpoints(files, 2, scores=[0.5, 0.9, 0.4])]
        ['1.weights.h5', '3.weights.h5']
    """
    paths = [pathlib.Path(file) for file in files]
    n = check_integer("n", n, 1)
    if not paths:
        raise ValueError("`files` must hold at least one checkpoint. Received: none.")
    if scores is None:
        return paths[-n:]
    values = np.asarray(scores, dtype=float)
    if values.shape != (len(paths),) or not np.isfinite(values).all():
        raise ValueError(
            f"`scores` must be {len(paths)} finite numbers, one for each file. "
            f"Received: {scores!r}."
        )
    costs = -values if higher_is_better else values
    # A stable sort of the reversed costs puts the last of equal ones first.
    best = (len(paths) - 1 - np.argsort(costs[::-1], kind="stable"))[:n]
    return [paths[k] for k in sorted(best)]


def average_checkpoints(
    files: Sequence[str | os.PathLike[str]], output: str | os.PathLike[str]
) -> None:
    """Writes the mean of the weights of several checkpoints of one model.

    Integer weights, such as the states of random generators, and the variables of the
    optimizer are copied from the last file.

    Args:
        files: Paths of `.weights.h5` files from `model.save_weights`, or of `.keras`
            files from `model.save`.
        output: Path to write to, with the same ending.

    Raises:
        ValueError: If there are no files, their endings differ, or they hold different
            models.
        FileNotFoundError: If a file is missing.

    Example:
        >>> import numpy as np
        >>> from kseq import build_seq2seq
        >>> from kseq.training import average_checkpoints
        >>> model = build_seq2seq(source_vocab_size=11, target_vocab_size=11, units=8)
        >>> model.save_weights("1.weights.h5")
        >>> before = model.get_weights()
        >>> model.set_weights([3 * weight for weight in before])
        >>> model.save_weights("2.weights.h5")
        >>> average_checkpoints(["1.weights.h5", "2.weights.h5"], "mean.weights.h5")
        >>> model.load_weights("mean.weights.h5")
        >>> bool(np.allclose(model.get_weights()[0], 2 * before[0]))
        True

    Reference:
        Junczys-Dowmunt et al., 2016, "The AMU-UEDIN Submission to the WMT16 News
        Translation Task"; Sockeye's `average`.
    """
    paths = [pathlib.Path(file) for file in files]
    output = pathlib.Path(output)
    if not paths:
        raise ValueError("`files` must hold at least one checkpoint. Received: none.")
    names = [path.name for path in [*paths, output]]
    if not any(all(name.endswith(ending) for name in names) for ending in ENDINGS):
        raise ValueError(
            "`files` and `output` must all end in '.weights.h5' or all in '.keras'. "
            f"Received: {names}."
        )
    missing = [str(path) for path in paths if not path.is_file()]
    if missing:
        raise FileNotFoundError(f"There is no checkpoint at {missing[0]!r}.")
    average_weights(paths, output)
