"""Text in, text out: a model with its vocabularies, saved and loaded as one folder."""

import dataclasses
import os
import pathlib
import threading
import zipfile
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from kseq.data import Vocabulary
from kseq.data.vocabulary_files import load_vocabulary, save_vocabulary
from kseq.decoding import Hypotheses, LengthRatio
from kseq.models import Ensemble, Seq2Seq, score
from kseq.special_tokens import PAD
from kseq.storage.atomic_files import whole_folder
from kseq.storage.model_folder import ModelFolder


@dataclasses.dataclass(frozen=True)
class Translation:
    """One output for a text.

    Attributes:
        text: The output.
        score: Sum of the log-probabilities of its tokens, `</s>` included, in nats.
        tokens: Its tokens, without `</s>`.
        log_probs: Log-probabilities of the tokens and, unless it was cut, of `</s>`.
        truncated: Whether it was cut at its maximum length.
        attention: On request, float32 (tokens, source tokens), the weights of the
            source's tokens, in its order, at each token; `</s>` included on both sides
            (unless it was cut). Else None.
    """

    text: str
    score: float
    tokens: list[str]
    log_probs: list[float]
    truncated: bool
    attention: np.ndarray | None = None


class Translator:
    """Turns texts into texts with a model and its two vocabularies.

    Several threads may share one: they decode one after the other.

    Args:
        model: A `Seq2Seq` whose source is token ids, or an `Ensemble` of such.
        source_vocab: The `Vocabulary` of the sources; its `tokenizer` cuts the texts.
        target_vocab: The `Vocabulary` of the targets; its `tokenizer` joins the output.
        length_ratio: A `kseq.decoding.LengthRatio` of the training data, which says how
            long outputs may become. Default None: for each text 2 * its length in
            tokens + 10.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If a vocabulary has another size than the model was built for, or
            the model's source is `"features"`.

    Example:
        >>> from kseq import Translator, build_seq2seq
        >>> from kseq.data import Vocabulary
        >>> from kseq.decoding import BeamSearch
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
        >>> best, second = translator.n_best(["ab"], BeamSearch(beam_width=4, n=2))[0]
        >>> best.score >= second.score or len(best.tokens) != len(second.tokens)
        True
    """

    def __init__(
        self,
        model: Seq2Seq | Ensemble,
        source_vocab: Vocabulary,
        target_vocab: Vocabulary,
        length_ratio: LengthRatio | None = None,
    ) -> None:
        if not isinstance(model, Seq2Seq | Ensemble):
            raise TypeError(
                "`model` must be a kseq.Seq2Seq, as `build_seq2seq` returns it, or a "
                f"kseq.Ensemble. Received: {type(model).__name__}."
            )
        if not isinstance(length_ratio, LengthRatio | None):
            raise TypeError(
                "`length_ratio` must be a kseq.decoding.LengthRatio. Received: "
                f"{length_ratio!r}."
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
        self.length_ratio = length_ratio
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        given = self.model, self.source_vocab, self.target_vocab, self.length_ratio
        return type(self), given  # a copy has a lock of its own

    def translate(
        self,
        texts: Sequence[str],
        search: Any = "greedy",
        *,
        max_length: Any = None,
        batch_size: int = 256,
        prefixes: Sequence[str] | None = None,
    ) -> list[str]:
        """Translates texts, each on its own.

        Args:
            texts: List of strings. An empty one gives an empty one; tokens that are not
                in the vocabulary become `<unk>`.
            search: As in `Seq2Seq.generate`: `"greedy"` (default), `"beam"`,
                `"sampling"`, a dict or an object.
            max_length: Longest output in tokens, `</s>` included: an integer, one for
                each text, or a `LengthRatio`. Default: by the `length_ratio` of this
                translator; or else for each text 2 * its length in tokens + 10.
            batch_size: Number of texts decoded at once. Default 256.
            prefixes: A string for each text that its output begins with; it must
                consist of tokens of the target's vocabulary. Default: none.

        Returns:
            List of strings in the order of `texts`.

        Raises:
            TypeError: If `texts` is a single string, or holds something else.
            ValueError: If an argument is out of range.
        """
        found = self.n_best(
            texts,
            search,
            max_length=max_length,
            batch_size=batch_size,
            prefixes=prefixes,
        )
        return [outputs[0].text if outputs else "" for outputs in found]

    def n_best(
        self,
        texts: Sequence[str],
        search: Any = "greedy",
        *,
        max_length: Any = None,
        batch_size: int = 256,
        prefixes: Sequence[str] | None = None,
        return_attention: bool = False,
    ) -> list[list[Translation]]:
        """Translates texts; returns the outputs of the search with their scores.

        Args:
            texts: As for `translate`, and so the further arguments.
            search: Such as `BeamSearch(beam_width=5, n=3)`.
            max_length: Longest output in tokens.
            batch_size: Number of texts decoded at once. Default 256.
            prefixes: A string for each text that its output begins with.
            return_attention: Return the attention weights too. Default False.

        Returns:
            For each text a list of `Translation`, in the order of the search: fewer
            where there are fewer outputs, none for an empty text.

        Raises:
            TypeError: If `texts` is a single string, or holds something else.
            ValueError: If an argument is out of range.
        """
        ids = self.source_vocab.encode(texts)
        return self.n_best_of_ids(
            ids,
            search,
            max_length=max_length,
            batch_size=batch_size,
            prefix=None if prefixes is None else self._prefix(prefixes, len(ids)),
            return_attention=return_attention,
        )

    def n_best_of_ids(
        self,
        ids: np.ndarray,
        search: Any = "greedy",
        *,
        max_length: Any = None,
        batch_size: int = 256,
        prefix: np.ndarray | None = None,
        return_attention: bool = False,
    ) -> list[list[Translation]]:
        """Translates sources that are ids already, as `n_best` does texts.

        Args:
            ids: int32 (batch, time), rows as `Vocabulary.encode` returns them.
            search: As for `n_best`.
            max_length: Longest output in tokens.
            batch_size: Number of rows decoded at once. Default 256.
            prefix: int32 (batch, time), ids that the outputs begin with, without
                `</s>`. Default: none.
            return_attention: Return the attention weights too. Default False.

        Returns:
            For each row a list of `Translation`.

        Raises:
            ValueError: If an argument is out of range.
        """
        if max_length is None:
            max_length = self.length_ratio
        # </s> alone is an empty source: what a model says to it is noise.
        filled = (ids != PAD).sum(axis=1) > 1
        outputs: list[list[Translation]] = [[] for _ in ids]
        if filled.any():
            of_rows = not isinstance(max_length, LengthRatio) and np.ndim(max_length)
            with self._lock:
                found = self.model.generate(
                    ids[filled],
                    search,
                    max_length=(
                        np.asarray(max_length)[filled] if of_rows else max_length
                    ),
                    batch_size=batch_size,
                    prefix=None if prefix is None else prefix[filled],
                    return_attention=return_attention,
                )
            for row, k in enumerate(np.flatnonzero(filled)):
                source_length = int(np.count_nonzero(ids[k]))
                outputs[k] = self._translations(found[[row]], source_length)
        return outputs

    def score(
        self, texts: Sequence[str], outputs: Sequence[str], batch_size: int = 256
    ) -> list[float]:
        """Returns how probable the model finds given outputs.

        Args:
            texts: List of strings.
            outputs: List of strings, one for each text.
            batch_size: Number of texts scored at once. Default 256.

        Returns:
            List of sums of log-probabilities, `</s>` included, in nats.

        Raises:
            TypeError: If one of them is not a list of strings.
            ValueError: If there are not as many outputs as texts.
        """
        source, target = (
            self.source_vocab.encode(texts),
            self.target_vocab.encode(outputs),
        )
        if len(source) != len(target):
            raise ValueError(
                f"`outputs` must hold a string for each of the {len(source)} texts. "
                f"Received: {len(target)}."
            )
        with self._lock:
            found = score(self.model, source, target, batch_size)
        return found.sum(axis=1).tolist()

    def _prefix(self, prefixes: Sequence[str], count: int) -> np.ndarray:
        ids = self.target_vocab.encode(prefixes, strict=True, justify=False)
        if len(ids) != count:
            raise ValueError(
                f"`prefixes` must hold a string for each of the {count} texts. "
                f"Received: {len(ids)}."
            )
        return np.where(ids == 3, 0, ids)

    def _translations(self, found: Hypotheses, source_length: int) -> list[Translation]:
        """Makes texts of the hypotheses of one source."""
        texts = self.target_vocab.decode(found.tokens[0])
        translations = []
        for k, length in enumerate(found.lengths[0]):
            if length == 0:  # there are fewer outputs than were asked for
                continue
            truncated = bool(found.truncated[0, k])
            tokens = found.tokens[0, k, : length if truncated else length - 1]
            translations.append(
                Translation(
                    texts[k],
                    float(found.scores[0, k]),
                    self.target_vocab.ids_to_tokens(tokens),
                    found.log_probs[0, k, :length].tolist(),
                    truncated,
                    None
                    if found.attention is None
                    else found.attention[0, k, :length, :source_length],
                )
            )
        return translations

    def save(self, folder: str | os.PathLike[str], overwrite: bool = False) -> None:
        """Saves model and vocabularies as a folder, whole or not at all.

        Args:
            folder: Where to; its parents are made.
            overwrite: Replace a folder that `save` has written. Default False.

        Raises:
            FileExistsError: If `folder` exists and `overwrite` is False, or it holds
                something else than a saved translator.
            TypeError: If the model is an ensemble.
            ValueError: If a tokenizer of your own is not registered.
        """
        if isinstance(self.model, Ensemble):
            raise TypeError(
                "An ensemble is not saved as one: save a translator for each of its "
                "models, and join them again by kseq.Ensemble."
            )
        if overwrite:
            ModelFolder(folder).check_replaceable()
        ratio = self.length_ratio
        with whole_folder(folder, overwrite) as temporary:
            self.model.save(ModelFolder(temporary).model)
            ModelFolder(temporary).write_config(
                {
                    "source_vocab": save_vocabulary(
                        temporary, "source", self.source_vocab
                    ),
                    "target_vocab": save_vocabulary(
                        temporary, "target", self.target_vocab
                    ),
                    "length_ratio": (
                        None if ratio is None else dataclasses.asdict(ratio)
                    ),
                    "model": self.model.config.to_dict(),
                }
            )

    @classmethod
    def load(
        cls,
        folder: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        checkpoint: int | None = None,
        averaging: str = "linear",
    ) -> "Translator":
        """Loads what `save` has written, or a model that `kseq.train` trains.

        While it trains, too: its best checkpoint so far.

        Args:
            folder: The folder; or several, of models with the same vocabularies, which
                then decode together.
            checkpoint: Number of a checkpoint of a training. Default: the best.
            averaging: Of several models: `"linear"` (default) or `"log_linear"`; see
                `Ensemble`.

        Raises:
            FileNotFoundError: If the folder, or a file in it, is missing.
            ImportError: If a library that a tokenizer needs is missing.
            ValueError: If its format is newer than this version of kseq, a tokenizer
                of your own is not registered, or models have other vocabularies.
        """
        if isinstance(folder, str | os.PathLike):
            return cls._load_one(ModelFolder(folder), checkpoint)
        loaded = [cls._load_one(ModelFolder(each), checkpoint) for each in folder]
        if not loaded:
            raise ValueError("`folder` must name one folder at least. Received: none.")
        first = loaded[0]
        for other, path in zip(loaded, folder, strict=True):
            if (other.source_vocab, other.target_vocab) != (
                first.source_vocab,
                first.target_vocab,
            ):
                raise ValueError(
                    f"The vocabularies of '{os.fspath(path)}' are not those of "
                    f"'{os.fspath(folder[0])}': models that decode together share them."
                )
        if len(loaded) == 1:
            return first
        models: list[Any] = [translator.model for translator in loaded]
        return cls(
            Ensemble(models, averaging),
            first.source_vocab,
            first.target_vocab,
            first.length_ratio,
        )

    @classmethod
    def _load_one(cls, place: ModelFolder, checkpoint: int | None) -> "Translator":
        config = place.read_config()
        ratio = config.get("length_ratio")
        return cls(
            _load(place.find_checkpoint(checkpoint)),
            load_vocabulary(place.path, "source", config["source_vocab"]),
            load_vocabulary(place.path, "target", config["target_vocab"]),
            None if ratio is None else LengthRatio(**ratio),
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
        place = ModelFolder(path)
        place.read_config()
        path = place.find_checkpoint(None)
    if not path.exists():
        raise FileNotFoundError(f"There is no model at '{path}'.")
    return _load(path)


def _load(path: pathlib.Path) -> Any:
    try:
        if path.suffix == ".keras":
            with zipfile.ZipFile(path) as archive:
                broken = archive.testzip()
                if broken is not None:
                    raise zipfile.BadZipFile(f"{broken} is not what was written")
    except zipfile.BadZipFile as error:
        raise ValueError(
            f"'{path}' cannot be read as a model: it is cut off or damaged ({error})."
        ) from error
    return keras.saving.load_model(path)
