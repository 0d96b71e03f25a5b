"""Models and vocabularies in model folders: what `config.json` holds, and loading."""

import dataclasses
import os
import pathlib
import zipfile
from collections.abc import Mapping
from typing import Any

import keras

from kseq.config.architecture import Seq2SeqConfig
from kseq.data import Vocabulary
from kseq.data.vocabulary_files import load_vocabulary, save_vocabulary
from kseq.decoding import LengthRatio
from kseq.storage.model_folder import ModelFolder

__all__ = ["load_model"]


def write_model_config(
    folder: ModelFolder,
    source_vocab: Vocabulary,
    target_vocab: Vocabulary,
    *,
    model: Seq2SeqConfig | None = None,
    length_ratio: LengthRatio | None = None,
    data: Mapping[str, Any] | None = None,
) -> None:
    """Writes the vocabularies and `config.json` of a model folder.

    Args:
        folder: The model folder, which exists.
        source_vocab: Vocabulary of the sources.
        target_vocab: Vocabulary of the targets.
        model: The architecture. Default: none, as for prepared data.
        length_ratio: Maximum length of outputs. Default: none.
        data: Settings of prepared data. Default: none.
    """
    config: dict[str, Any] = {
        "source_vocab": save_vocabulary(folder.path, "source", source_vocab),
        "target_vocab": save_vocabulary(folder.path, "target", target_vocab),
    }
    if model is not None:
        ratio = None if length_ratio is None else dataclasses.asdict(length_ratio)
        config |= {"length_ratio": ratio, "model": model.to_dict()}
    if data is not None:
        config["data"] = dict(data)
    folder.write_config(config)


def load_vocabularies(folder: ModelFolder) -> tuple[Vocabulary, Vocabulary]:
    """Loads the source and the target vocabulary of a model or of prepared data."""
    config = folder.read_config()
    return (
        load_vocabulary(folder.path, "source", config["source_vocab"]),
        load_vocabulary(folder.path, "target", config["target_vocab"]),
    )


def load_model(path: str | os.PathLike[str]) -> Any:
    """Loads a model from a `.keras` file or a model folder.

    Args:
        path: The file or the folder.

    Returns:
        The `Seq2Seq`, compiled as it was saved; or any other Keras model that a
        `.keras` file holds.

    Raises:
        FileNotFoundError: If there is no such file or folder.
        ValueError: If the file is damaged.

    Example:
        >>> import kseq
        >>> model = kseq.build_seq2seq(
        ...     source_vocab_size=11, target_vocab_size=11, units=8
        ... )
        >>> model.save("model.keras")
        >>> kseq.load_model("model.keras").config == model.config
        True
    """
    path = pathlib.Path(path)
    if path.is_dir():
        folder = ModelFolder(path)
        folder.read_config()
        path = folder.find_checkpoint(None)
    if not path.exists():
        raise FileNotFoundError(f"There is no model at '{path}'.")
    if path.suffix == ".keras":
        _check_archive(path)
    return keras.saving.load_model(path)


def _check_archive(path: pathlib.Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise zipfile.BadZipFile(f"wrong checksum of {damaged}")
    except zipfile.BadZipFile as error:
        raise ValueError(
            f"'{path}' cannot be read as a model: it is truncated or damaged ({error})."
        ) from error
