"""Text in, text out: a model with its vocabularies, saved and loaded as one folder."""

import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import keras

from kseq.data import Vocabulary
from kseq.files import whole_folder
from kseq.models import Seq2Seq

FORMAT_VERSION = 1
_CONFIG = "config.json"
_MODEL = "model.keras"
_SOURCE_VOCAB = "vocab.source.json"
_TARGET_VOCAB = "vocab.target.json"


class Translator:
    """Turns texts into texts with a model and its two vocabularies.

    Args:
        model: A `Seq2Seq` whose source is token ids.
        source_vocab: The `Vocabulary` of the sources; its `tokenizer` cuts the texts.
        target_vocab: The `Vocabulary` of the targets; its `tokenizer` joins the output.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If a vocabulary has another size than the model was built for, or
            the model's source is `"features"`.

    Example:
        >>> from kseq import Translator, build_seq2seq
        >>> from kseq.data import Vocabulary
        >>> vocab = Vocabulary(["a", "b"], tokenizer="characters")
        >>> model = build_seq2seq(
        ...     source_vocab_size=len(vocab), target_vocab_size=len(vocab), units=8
        ... )
        >>> translator = Translator(model, vocab, vocab)
        >>> len(translator.translate(["ab", "ba", ""]))
        3
        >>> translator.save("folder")
        >>> Translator.load("folder").translate(["ab"]) == translator.translate(["ab"])
        True
    """

    def __init__(
        self, model: Seq2Seq, source_vocab: Vocabulary, target_vocab: Vocabulary
    ) -> None:
        if not isinstance(model, Seq2Seq):
            raise TypeError(
                "`model` must be a kseq.Seq2Seq, as `build_seq2seq` returns it. "
                f"Received: {type(model).__name__}."
            )
        if model.config.encoder.representation == "features":
            raise ValueError(
                "`model` has a source of features, not of tokens, which no text can be "
                "turned into. Use model.generate."
            )
        for name, vocab, size in (
            ("source_vocab", source_vocab, model.config.source_vocab_size),
            ("target_vocab", target_vocab, model.config.target_vocab_size),
        ):
            if not isinstance(vocab, Vocabulary):
                raise TypeError(
                    f"`{name}` must be a kseq.data.Vocabulary. Received: {vocab!r}."
                )
            if len(vocab) != size:
                raise ValueError(
                    f"`{name}` must have the {size} tokens the model was built for. "
                    f"Received: a vocabulary of {len(vocab)}."
                )
        self.model = model
        self.source_vocab = source_vocab
        self.target_vocab = target_vocab

    def translate(
        self,
        texts: Sequence[str],
        max_length: int | None = None,
        batch_size: int = 256,
    ) -> list[str]:
        """Translates texts greedily, each on its own.

        Args:
            texts: List of strings. An empty one gives an empty one; tokens that are not
                in the vocabulary become `<unk>`.
            max_length: Longest output in tokens, `</s>` included. Default: for each
                text 2 * its length in tokens + 10.
            batch_size: Number of texts decoded at once. Default 256.

        Returns:
            List of strings in the order of `texts`.

        Raises:
            TypeError: If `texts` is a single string, or holds something else.
        """
        ids = self.source_vocab.encode(texts)
        # </s> alone is an empty source: what a model says to it is noise.
        filled = (ids != 0).sum(axis=1) > 1
        outputs = [""] * len(ids)
        if filled.any():
            found = self.model.generate(
                ids[filled], max_length=max_length, batch_size=batch_size
            )
            decoded = iter(self.target_vocab.decode(found.tokens))
            outputs = [next(decoded) if real else "" for real in filled]
        return outputs

    def save(self, folder: str | os.PathLike[str], overwrite: bool = False) -> None:
        """Saves model and vocabularies as a folder, whole or not at all.

        Args:
            folder: Where to; its parents are made.
            overwrite: Replace a folder that `save` has written. Default False.

        Raises:
            FileExistsError: If `folder` exists and `overwrite` is False, or it holds
                something else than a saved translator.
        """
        path = pathlib.Path(folder)
        if overwrite and path.exists():
            try:
                _read_config(path)
            except (FileNotFoundError, ValueError) as error:
                raise FileExistsError(
                    f"'{path}' is not a folder of a saved Translator and is not "
                    "replaced. Choose another name."
                ) from error
        config = {
            "format_version": FORMAT_VERSION,
            **{
                name: {"tokenizer": vocab.tokenizer, "width": vocab.width}
                for name, vocab in (
                    ("source_vocab", self.source_vocab),
                    ("target_vocab", self.target_vocab),
                )
            },
        }
        with whole_folder(path, overwrite) as temporary:
            self.model.save(temporary / _MODEL)
            self.source_vocab.save(temporary / _SOURCE_VOCAB)
            self.target_vocab.save(temporary / _TARGET_VOCAB)
            (temporary / _CONFIG).write_text(json.dumps(config, indent=2))

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> "Translator":
        """Loads what `save` has written.

        Args:
            folder: The folder.

        Raises:
            FileNotFoundError: If the folder, or a file in it, is missing.
            ValueError: If its format is newer than this version of kseq.
        """
        path = pathlib.Path(folder)
        config = _read_config(path)
        return cls(
            keras.saving.load_model(path / _MODEL),
            Vocabulary.load(path / _SOURCE_VOCAB, **config["source_vocab"]),
            Vocabulary.load(path / _TARGET_VOCAB, **config["target_vocab"]),
        )


def load_model(path: str | os.PathLike[str]) -> Any:
    """Loads a model from a `.keras` file, or from a folder of `Translator.save`.

    Args:
        path: The file or the folder.

    Returns:
        The `Seq2Seq`, compiled as it was saved. (Any other Keras model in a `.keras`
        file is loaded as well.)

    Raises:
        FileNotFoundError: If there is no such file or folder.

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
        _read_config(path)
        path = path / _MODEL
    if not path.exists():
        raise FileNotFoundError(f"There is no model at '{path}'.")
    return keras.saving.load_model(path)


def _read_config(folder: pathlib.Path) -> dict[str, Any]:
    missing = [
        name
        for name in (_CONFIG, _MODEL, _SOURCE_VOCAB, _TARGET_VOCAB)
        if not (folder / name).is_file()
    ]
    if missing:
        raise FileNotFoundError(
            f"'{folder}' is not a whole folder of a saved Translator: it lacks "
            f"{', '.join(missing)}."
        )
    foreign = f"'{folder / _CONFIG}' is not the configuration of a saved Translator."
    try:
        config = json.loads((folder / _CONFIG).read_text())
    except ValueError as error:
        raise ValueError(foreign) from error
    version = config.get("format_version") if isinstance(config, dict) else None
    if not isinstance(version, int):
        raise ValueError(foreign)
    if version > FORMAT_VERSION:
        raise ValueError(
            f"'{folder}' has format version {version}, but this kseq reads versions up "
            f"to {FORMAT_VERSION}. Install a newer kseq."
        )
    if not {"source_vocab", "target_vocab"} <= set(config):
        raise ValueError(foreign)
    return config
