"""Translates texts with a model and its vocabularies; saves and loads all of them."""

import dataclasses
import os
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from kseq.data import Vocabulary
from kseq.decoding import Hypotheses, LengthRatio
from kseq.models import Ensemble, Seq2Seq, score
from kseq.saving import (
    load_model,
    load_vocabularies,
    write_model_config,
)
from kseq.storage.atomic_files import whole_folder
from kseq.storage.model_folder import ModelFolder


@dataclasses.dataclass(frozen=True)
class Translation:
    """An output for a text.

    Attributes:
        text: The output.
        score: Sum of the log-probabilities of its tokens, `</s>` included, in nats.
        tokens: Its tokens, without `</s>`.
        log_probs: Log-probabilities of its tokens and, unless truncated, of `</s>`.
        truncated: Whether the output ends at its maximum length, without `</s>`.
        attention: With `return_attention`, float32 (tokens, source tokens), the
            attention weights at each token, `</s>` included on both sides. Otherwise
            None.
    """

    text: str
    score: float
    tokens: list[str]
    log_probs: list[float]
    truncated: bool
    attention: np.ndarray | None = None


class Translator:
    """Translates texts with a model and its two vocabularies.

    Several threads may share a translator. They decode one after the other.

    Args:
        model: A `Seq2Seq` whose source is token ids, or an `Ensemble` of such models.
        source_vocab: The `Vocabulary` of the sources, which tokenizes the texts.
        target_vocab: The `Vocabulary` of the targets, which joins the output tokens.
        length_ratio: A `kseq.decoding.LengthRatio` of the training data, which limits
            the length of outputs. Default: at most 2 * source length + 10 tokens.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If the size of a vocabulary does not match the model, or the source
            of the model is `"features"`.

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
                "`model` must be a kseq.Seq2Seq, such as `build_seq2seq` returns, or a "
                f"kseq.Ensemble. Received: {type(model).__name__}."
            )
        if not isinstance(length_ratio, LengthRatio | None):
            raise TypeError(
                "`length_ratio` must be a kseq.decoding.LengthRatio. Received: "
                f"{length_ratio!r}."
            )
        if model.config.encoder.representation == "features":
            raise ValueError(
                "`model` must have a source of tokens. Received: a model with "
                "source_representation='features'; use model.generate."
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
                    f"`{name}` must have {size} tokens, the size of the vocabulary of "
                    f"the model. Received: {len(vocab)} tokens."
                )
        self.model = model
        self.source_vocab = source_vocab
        self.target_vocab = target_vocab
        self.length_ratio = length_ratio
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        # A lock cannot be pickled: a copy makes another one.
        return type(self), (
            self.model,
            self.source_vocab,
            self.target_vocab,
            self.length_ratio,
        )

    def translate(
        self,
        texts: Sequence[str],
        search: Any = "greedy",
        *,
        max_length: Any = None,
        batch_size: int = 256,
        prefixes: Sequence[str] | None = None,
    ) -> list[str]:
        """Translates texts.

        Args:
            texts: List of strings. The output of an empty text is empty. Tokens that
                are not in the vocabulary become `<unk>`.
            search: As in `Seq2Seq.generate`: `"greedy"`, `"beam"`, `"sampling"`, a
                dict or an object. Default: `"greedy"`.
            max_length: Maximum output length in tokens, `</s>` included: an integer, an
                integer for each text, or a `LengthRatio`. Default: the `length_ratio`
                of this translator, or else 2 * source length + 10.
            batch_size: Number of texts to decode at once. Default: 256.
            prefixes: For each text, a string with which its output begins. It must
                consist of tokens of the target vocabulary. Default: none.

        Returns:
            List of strings, in the order of `texts`.

        Raises:
            TypeError: If `texts` is not a list of strings.
            ValueError: If an argument is out of range.
        """
        translations = self.n_best(
            texts,
            search,
            max_length=max_length,
            batch_size=batch_size,
            prefixes=prefixes,
        )
        return [outputs[0].text if outputs else "" for outputs in translations]

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
        """Translates texts, and returns all outputs of the search with their scores.

        Args:
            texts: As in `translate`.
            search: Such as `BeamSearch(beam_width=5, n=3)`. Default: `"greedy"`.
            max_length: As in `translate`.
            batch_size: As in `translate`. Default: 256.
            prefixes: As in `translate`. Default: none.
            return_attention: Return the attention weights too. Default: False.

        Returns:
            For each text a list of `Translation`, in the order of the search. It is
            empty for an empty text, and short if the search has fewer outputs.

        Raises:
            TypeError: If `texts` is not a list of strings.
            ValueError: If an argument is out of range.
        """
        ids = self.source_vocab.encode(texts)
        prefix = None if prefixes is None else self._encode_prefixes(prefixes, len(ids))
        return self.n_best_of_ids(
            ids,
            search,
            max_length=max_length,
            batch_size=batch_size,
            prefix=prefix,
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
        """Translates encoded texts, like `n_best`.

        Args:
            ids: int32 (batch, time), such as `Vocabulary.encode` returns.
            search: As in `n_best`. Default: `"greedy"`.
            max_length: As in `translate`.
            batch_size: Number of rows to decode at once. Default: 256.
            prefix: int32 (batch, time), the ids with which the outputs begin, without
                `</s>`. Default: none.
            return_attention: Return the attention weights too. Default: False.

        Returns:
            For each row a list of `Translation`.

        Raises:
            ValueError: If an argument is out of range.
        """
        if max_length is None:
            max_length = self.length_ratio
        # The output for an empty source, </s> alone, would be noise.
        not_empty = (ids != 0).sum(axis=1) > 1
        outputs: list[list[Translation]] = [[] for _ in ids]
        if not_empty.any():
            if not isinstance(max_length, LengthRatio) and np.ndim(max_length):
                max_length = np.asarray(max_length)[not_empty]
            with self._lock:
                hypotheses = self.model.generate(
                    ids[not_empty],
                    search,
                    max_length=max_length,
                    batch_size=batch_size,
                    prefix=None if prefix is None else prefix[not_empty],
                    return_attention=return_attention,
                )
            for row, k in enumerate(np.flatnonzero(not_empty)):
                source_length = int(np.count_nonzero(ids[k]))
                outputs[k] = self._decode(hypotheses[[row]], source_length)
        return outputs

    def score(
        self, texts: Sequence[str], outputs: Sequence[str], batch_size: int = 256
    ) -> list[float]:
        """Computes the log-probabilities of given outputs.

        Args:
            texts: List of strings.
            outputs: List of strings, one for each text.
            batch_size: Number of texts to score at once. Default: 256.

        Returns:
            List of floats: for each output the sum of the log-probabilities of its
            tokens, `</s>` included, in nats.

        Raises:
            TypeError: If an argument is not a list of strings.
            ValueError: If the numbers of texts and outputs differ.
        """
        source = self.source_vocab.encode(texts)
        target = self.target_vocab.encode(outputs)
        if len(source) != len(target):
            raise ValueError(
                f"`outputs` must hold a string for each of the {len(source)} texts. "
                f"Received: {len(target)}."
            )
        with self._lock:
            log_probs = score(self.model, source, target, batch_size)
        return log_probs.sum(axis=1).tolist()

    def _encode_prefixes(self, prefixes: Sequence[str], count: int) -> np.ndarray:
        ids = self.target_vocab.encode(prefixes, strict=True, justify=False)
        if len(ids) != count:
            raise ValueError(
                f"`prefixes` must hold a string for each of the {count} texts. "
                f"Received: {len(ids)}."
            )
        return np.where(ids == 3, 0, ids)

    def _decode(self, hypotheses: Hypotheses, source_length: int) -> list[Translation]:
        """Returns the hypotheses of one source as texts."""
        texts = self.target_vocab.decode(hypotheses.tokens[0])
        translations = []
        for k, length in enumerate(hypotheses.lengths[0]):
            if length == 0:  # the search has fewer outputs
                continue
            truncated = bool(hypotheses.truncated[0, k])
            tokens = hypotheses.tokens[0, k, : length if truncated else length - 1]
            translations.append(
                Translation(
                    texts[k],
                    float(hypotheses.scores[0, k]),
                    self.target_vocab.ids_to_tokens(tokens),
                    hypotheses.log_probs[0, k, :length].tolist(),
                    truncated,
                    None
                    if hypotheses.attention is None
                    else hypotheses.attention[0, k, :length, :source_length],
                )
            )
        return translations

    def save(self, folder: str | os.PathLike[str], overwrite: bool = False) -> None:
        """Saves the model and the vocabularies as a model folder.

        Args:
            folder: Path of the folder. Missing parent folders are created.
            overwrite: Replace an existing model folder. Default: False.

        Raises:
            FileExistsError: If `folder` exists and `overwrite` is False, or it is not a
                model folder.
            TypeError: If the model is an ensemble.
            ValueError: If a custom tokenizer is not registered.
        """
        if isinstance(self.model, Ensemble):
            raise TypeError(
                "An ensemble cannot be saved: save a translator for each of its models "
                "and pass their folders to Translator.load."
            )
        if overwrite:
            ModelFolder(folder).check_replaceable()
        with whole_folder(folder, overwrite) as temporary:
            model_folder = ModelFolder(temporary)
            self.model.save(model_folder.model)
            write_model_config(
                model_folder,
                self.source_vocab,
                self.target_vocab,
                model=self.model.config,
                length_ratio=self.length_ratio,
            )

    @classmethod
    def load(
        cls,
        folder: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        checkpoint: int | None = None,
        averaging: str = "linear",
    ) -> "Translator":
        """Loads a model folder, written by `save` or by `kseq.train`.

        A training run may still be running: its best checkpoint so far is loaded.

        Args:
            folder: Path of the folder, or a list of paths. Several models become an
                `Ensemble`; they must have the same vocabularies.
            checkpoint: Number of a checkpoint of a training run. Default: the best.
            averaging: As in `Ensemble`: `"linear"` or `"log_linear"`. Default:
                `"linear"`.

        Raises:
            FileNotFoundError: If the folder or one of its files is missing.
            ImportError: If a library that a tokenizer needs is missing.
            ValueError: If the folder was written by a newer version of kseq, a custom
                tokenizer is not registered, or the vocabularies of models differ.
        """
        if isinstance(folder, str | os.PathLike):
            return cls._load_one(ModelFolder(folder), checkpoint)
        loaded = [cls._load_one(ModelFolder(each), checkpoint) for each in folder]
        if not loaded:
            raise ValueError("`folder` must name at least one folder. Received: none.")
        first = loaded[0]
        for other, path in zip(loaded, folder, strict=True):
            if (other.source_vocab, other.target_vocab) != (
                first.source_vocab,
                first.target_vocab,
            ):
                raise ValueError(
                    "The models of an ensemble must have the same vocabularies. The "
                    f"vocabularies of '{os.fspath(path)}' and "
                    f"'{os.fspath(folder[0])}' differ."
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
    def _load_one(cls, folder: ModelFolder, checkpoint: int | None) -> "Translator":
        vocabs = load_vocabularies(folder)
        model = load_model(folder.find_checkpoint(checkpoint))
        ratio = folder.read_config().get("length_ratio")
        return cls(model, *vocabs, None if ratio is None else LengthRatio(**ratio))
