"""The files of a side in a folder: its vocabulary and the assets of its tokenizer."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

from kseq.data import tokenizers
from kseq.data.corpora.lines import Path
from kseq.data.vocabulary import Vocabulary
from kseq.storage.atomic_files import whole_file

# Name of the vocabulary's file in a folder.
VOCAB_FILE = "vocab.{side}.json"


def save_vocabulary(folder: Path, side: str, vocab: Vocabulary) -> dict[str, Any]:
    """Writes the vocabulary of a side and the files of its tokenizer.

    The files are `vocab.SIDE.json` and, if the tokenizer has assets,
    `tokenizer.SIDE.ASSET`, such as `tokenizer.source.model` for SentencePiece. Each is
    written completely or not at all.

    Args:
        folder: str or path of an existing folder.
        side: str, `"source"` or `"target"`.
        vocab: `Vocabulary`.

    Returns:
        dict that can be written as JSON, with `tokenizer` and `width`: the config that
        `load_vocabulary` needs.

    Raises:
        OSError: if a file cannot be written.
        ValueError: if the tokenizer is your own and is not registered.

    Example:
        >>> from kseq.data import Vocabulary
        >>> from kseq.data.vocabulary_files import load_vocabulary, save_vocabulary
        >>> vocab = Vocabulary(["a", "b"], tokenizer="characters")
        >>> config = save_vocabulary(".", "source", vocab)
        >>> config
        {'tokenizer': {'name': 'characters', 'lower_case': False}, 'width': None}
        >>> load_vocabulary(".", "source", config) == vocab
        True
    """
    folder = pathlib.Path(folder)
    config = vocab.tokenizer.get_config()
    # Raises an error for a tokenizer that could not be loaded.
    tokenizers.asset_names(config)
    vocab.save(folder / VOCAB_FILE.format(side=side))
    for name, data in vocab.tokenizer.assets.items():
        with whole_file(_asset_file(folder, side, name)) as temporary:
            temporary.write_bytes(data)
    return {"tokenizer": config, "width": vocab.width}


def load_vocabulary(folder: Path, side: str, config: Mapping[str, Any]) -> Vocabulary:
    """Reads the files that `save_vocabulary` wrote.

    Args:
        folder: str or path.
        side: str, `"source"` or `"target"`.
        config: dict that `save_vocabulary` returned. Its `tokenizer` may be a string,
            as in folders of the first version of kseq.

    Returns:
        A `Vocabulary`.

    Raises:
        FileNotFoundError: if a file is missing; the message names it.
        ImportError: if a library that the tokenizer needs is missing.
        ValueError: if the vocabulary or the tokenizer cannot be read.
    """
    folder = pathlib.Path(folder)
    if not isinstance(config, Mapping) or not {"tokenizer"} <= set(config) <= {
        "tokenizer",
        "width",
    }:
        raise ValueError(
            f"The configuration of the {side} in '{folder}' must have a tokenizer and "
            f"a width. Received: {config!r}."
        )
    try:
        names = tokenizers.asset_names(config["tokenizer"])
        assets = {name: _asset_file(folder, side, name) for name in names}
        missing = [file.name for file in assets.values() if not file.is_file()]
        if missing:
            raise FileNotFoundError(
                f"'{folder}' lacks {', '.join(missing)}, a file of the {side}'s "
                "tokenizer."
            )
        tokenizer = tokenizers.get(
            config["tokenizer"],
            {name: file.read_bytes() for name, file in assets.items()},
        )
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"The tokenizer of the {side} in '{folder}' cannot be read: {error}"
        ) from error
    path = folder / VOCAB_FILE.format(side=side)
    if not path.is_file():
        raise FileNotFoundError(f"'{folder}' lacks {path.name}.")
    return Vocabulary.load(path, tokenizer, config.get("width"))


def _asset_file(folder: pathlib.Path, side: str, name: str) -> pathlib.Path:
    return folder / f"tokenizer.{side}.{name}"
