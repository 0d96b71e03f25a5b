"""Weights in files that Keras has saved: reading and averaging them by their names."""

import io
import json
import os
import pathlib
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from typing import Any

import h5py
import numpy as np

from kseq.storage.atomic_files import whole_file
from kseq.storage.model_folder import MODEL

ENDINGS = (".weights.h5", ".keras")
_WEIGHTS = "model.weights.h5"
_CONFIG = "config.json"


def read_weights(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Reads the weights of a model, without optimizer and random generators.

    Args:
        path: A `.keras` or `.weights.h5` file, or a model folder.

    Returns:
        Arrays by key: names of attributes and layers, joined by "/".

    Raises:
        FileNotFoundError: If there is no such file or folder.
        ValueError: If it is another kind of file.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        path = path / MODEL
    if not path.name.endswith(ENDINGS):
        raise ValueError(
            "`path` must be a '.keras' file, a model folder, or a '.weights.h5' file. "
            f"Received: '{path}'."
        )
    if not path.is_file():
        raise FileNotFoundError(f"There are no parameters at '{path}'.")
    try:
        with h5py.File(io.BytesIO(_read_hdf5(path)[0]), "r") as file:
            return {_key(file, name): file[name][()] for name in _float_names(file)}
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"'{path}' is not a file that Keras has saved.") from error


def find_variables(model: Any) -> dict[str, Any]:
    """Returns the variables of a model by the keys of `read_weights`.

    Args:
        model: A Keras model.

    Returns:
        Variables by key, in the order of `model.weights`.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, _WEIGHTS)
        model.save_weights(path)
        with h5py.File(path, "r") as file:
            variables = {
                _key(file, name): _find_variable(model, file, name)
                for name in _float_names(file)
            }
    order = {id(weight): index for index, weight in enumerate(model.weights)}
    return dict(sorted(variables.items(), key=lambda item: order[id(item[1])]))


def average_weights(
    paths: Sequence[pathlib.Path], output: str | os.PathLike[str]
) -> None:
    """Writes a copy of the last file, with the mean of the weights of all files.

    Args:
        paths: Existing files with the same ending, one of `ENDINGS`.
        output: Path to write to.

    Raises:
        ValueError: If the files hold different models.
    """
    mean = _average_hdf5(paths)
    with whole_file(output) as temporary:
        if not paths[-1].name.endswith(".keras"):
            temporary.write_bytes(mean)
            return
        with (
            zipfile.ZipFile(paths[-1]) as last,
            zipfile.ZipFile(temporary, "w") as archive,
        ):
            for name in last.namelist():
                archive.writestr(name, mean if name == _WEIGHTS else last.read(name))


def _read_hdf5(path: pathlib.Path) -> tuple[bytes, Any]:
    """Returns the HDF5 content of a file, and the configuration if it has one."""
    if not path.name.endswith(".keras"):
        return path.read_bytes(), None
    with zipfile.ZipFile(path) as archive:
        return archive.read(_WEIGHTS), json.loads(archive.read(_CONFIG))["config"]


def _average_hdf5(paths: Sequence[pathlib.Path]) -> bytes:
    """Returns the content of the last HDF5 file, with the mean of the weights."""
    totals: dict[str, np.ndarray] = {}
    shapes: dict[str, tuple[int, ...]] | None = None
    configs = []
    for path in paths:
        content, config = _read_hdf5(path)
        configs.append(config)
        if config != configs[0]:
            raise ValueError(
                f"'{path}' holds a model with another configuration than '{paths[0]}'."
            )
        with h5py.File(io.BytesIO(content), "r") as file:
            datasets = _datasets(file)
            own_shapes = {name: dataset.shape for name, dataset in datasets.items()}
            if shapes not in (None, own_shapes):
                raise ValueError(f"'{path}' holds other weights than '{paths[0]}'.")
            shapes = own_shapes
            for name, dataset in datasets.items():
                if np.issubdtype(dataset.dtype, np.floating):
                    totals[name] = totals.get(name, 0) + dataset[()].astype(np.float64)
    result = io.BytesIO(content)
    with h5py.File(result, "r+") as file:
        for name, total in totals.items():
            file[name][...] = total / len(paths)
    return result.getvalue()


def _datasets(file: h5py.File) -> dict[str, h5py.Dataset]:
    """Returns the datasets in a file by name, without the optimizer's."""
    datasets: dict[str, h5py.Dataset] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and not name.startswith("optimizer/"):
            datasets[name] = item

    file.visititems(visit)
    return datasets


def _float_names(file: h5py.File) -> list[str]:
    """Returns the names of the weights; random generators have integer states."""
    return [
        name
        for name, dataset in _datasets(file).items()
        if not np.issubdtype(dataset.dtype, np.integer)
    ]


def _path_to_weight(file: h5py.File, name: str) -> Iterator[tuple[str, str]]:
    """Yields the kind and name of each step from a model to a weight.

    In a list of layers Keras names the groups by class and position, such as "dense_1".
    Another model may have another order, so the recorded name of the layer is used.
    """
    *parts, _, index = name.split("/")
    for depth, part in enumerate(parts):
        if depth and parts[depth - 1] == "layers":
            group = file["/".join(parts[: depth + 1])]
            yield "layer", str(group["vars"].attrs["name"])
        elif part != "layers":
            yield "attribute", part
    yield "weight", index


def _key(file: h5py.File, name: str) -> str:
    return "/".join(step for _, step in _path_to_weight(file, name))


def _find_variable(model: Any, file: h5py.File, name: str) -> Any:
    item = model
    for kind, step in _path_to_weight(file, name):
        if kind == "layer":
            item = next(layer for layer in item.layers if layer.name == step)
        elif kind == "attribute":
            item = getattr(item, step)
        else:
            store: dict[str, Any] = {}
            item.save_own_variables(store)
            item = store[step]
    return item
