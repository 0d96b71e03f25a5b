"""Averages of checkpoints: the mean of the weights of several moments of a training."""

import io
import json
import os
import pathlib
import zipfile
from collections.abc import Sequence
from typing import Any

import h5py
import numpy as np

from kseq.config.checks import check_integer
from kseq.storage.atomic_files import whole_file

_WEIGHTS = "model.weights.h5"
_CONFIG = "config.json"


def choose_checkpoints(
    files: Sequence[str | os.PathLike[str]],
    n: int,
    scores: Sequence[float] | None = None,
    higher_is_better: bool = False,
) -> list[pathlib.Path]:
    """Chooses the last or the best checkpoints of a training.

    Args:
        files: The checkpoints, in the order in which they were written.
        n: How many; if there are fewer, all.
        scores: A figure for each, such as the validation loss; the n best are chosen
            (of equal ones the later). Default None: the last n.
        higher_is_better: Whether a high score is a good one. Default False.

    Returns:
        List of paths, in the order of `files`.

    Raises:
        ValueError: If there are no files, n is below 1, or the scores are not as many
            as the files or not finite.

    Example:
        >>> from kseq.training import choose_checkpoints
        >>> files = ["1.weights.h5", "2.weights.h5", "3.weights.h5"]
        >>> [str(path) for path in choose_checkpoints(files, 2, scores=[0.5, 0.9, 0.4])]
        ['1.weights.h5', '3.weights.h5']
    """
    paths = [pathlib.Path(file) for file in files]
    n = check_integer("n", n, 1)
    if not paths:
        raise ValueError("`files` must hold one checkpoint at least. Received: none.")
    if scores is None:
        return paths[-n:]
    values = np.asarray(scores, dtype=float)
    if values.shape != (len(paths),) or not np.isfinite(values).all():
        raise ValueError(
            f"`scores` must be {len(paths)} finite numbers, one for each file. "
            f"Received: {scores!r}."
        )
    falling = -values if higher_is_better else values
    # The last of equals first, since what is sorted stably is reversed.
    best = (len(paths) - 1 - np.argsort(falling[::-1], kind="stable"))[:n]
    return [paths[k] for k in sorted(best)]


def average_checkpoints(
    files: Sequence[str | os.PathLike[str]], output: str | os.PathLike[str]
) -> None:
    """Writes the mean of the weights of several checkpoints of one model.

    Weights that are not floating-point, such as the state of a random generator, and
    the optimizer's are those of the last file.

    Args:
        files: Paths of files that Keras wrote: all `.weights.h5`, by
            `model.save_weights`, or all `.keras`, by `model.save`.
        output: Path to write to, with the same ending.

    Raises:
        ValueError: If there are no files, their endings differ, or they are not of one
            model.
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
        raise ValueError("`files` must hold one checkpoint at least. Received: none.")
    for ending in (".weights.h5", ".keras"):
        if all(path.name.endswith(ending) for path in [*paths, output]):
            break
    else:
        raise ValueError(
            "`files` and `output` must all end in '.weights.h5' or all in '.keras'. "
            f"Received: {[path.name for path in [*paths, output]]}."
        )
    missing = [str(path) for path in paths if not path.is_file()]
    if missing:
        raise FileNotFoundError(f"There is no checkpoint at {missing[0]!r}.")
    with whole_file(output) as temporary:
        if ending == ".weights.h5":
            temporary.write_bytes(_mean(paths, [p.read_bytes() for p in paths]))
        else:
            _average_archives(paths, temporary)


def _average_archives(paths: list[pathlib.Path], output: pathlib.Path) -> None:
    configs, weights = [], []
    for path in paths:
        with zipfile.ZipFile(path) as archive:
            configs.append(json.loads(archive.read(_CONFIG))["config"])
            weights.append(archive.read(_WEIGHTS))
        if configs[-1] != configs[0]:
            raise ValueError(
                f"'{path}' holds a model of another configuration than '{paths[0]}'."
            )
    with zipfile.ZipFile(paths[-1]) as last, zipfile.ZipFile(output, "w") as archive:
        for name in last.namelist():
            content = last.read(name)
            if name == _WEIGHTS:
                content = _mean(paths, weights)
            archive.writestr(name, content)


def _mean(paths: list[pathlib.Path], contents: list[bytes]) -> bytes:
    """Returns the last of HDF5 files with the mean of all in its weights."""
    totals: dict[str, np.ndarray] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for path, content in zip(paths, contents, strict=True):
        with h5py.File(io.BytesIO(content), "r") as file:
            weights = _weights(file)
            found = {name: weight.shape for name, weight in weights.items()}
            if (shapes or found) != found:
                raise ValueError(f"'{path}' holds other weights than '{paths[0]}'.")
            shapes = found
            for name, weight in weights.items():
                if np.issubdtype(weight.dtype, np.floating):
                    totals[name] = totals.get(name, 0) + weight[()].astype(np.float64)
    result = io.BytesIO(contents[-1])
    with h5py.File(result, "r+") as file:
        for name, total in totals.items():
            file[name][...] = total / len(paths)
    return result.getvalue()


def _weights(file: h5py.File) -> dict[str, h5py.Dataset]:
    """Returns the weights in an HDF5 file by their names, without the optimizer's."""
    found: dict[str, h5py.Dataset] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and not name.startswith("optimizer/"):
            found[name] = item

    file.visititems(visit)
    return found
