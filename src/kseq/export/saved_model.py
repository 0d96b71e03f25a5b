"""Exports models as TensorFlow SavedModels."""

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from kseq._compat.keras import without_cudnn
from kseq.config.checks import check_integer
from kseq.decoding import BeamSearch
from kseq.export.text_graph import TextGraph, has_text_graph
from kseq.models import Ensemble
from kseq.models.generator import Generator
from kseq.models.scoring import forced_log_probs
from kseq.storage.atomic_files import whole_folder
from kseq.translator import Translator

_IDS = tf.TensorSpec((None, None), tf.int32)
_TEXTS = tf.TensorSpec((None,), tf.string)


def export_saved_model(
    translator: Translator,
    folder: str | os.PathLike[str],
    *,
    beam_width: int = 5,
    overwrite: bool = False,
) -> list[str]:
    """Exports a translator as a TensorFlow SavedModel, which does not need kseq.

    The inputs and outputs of its signatures are named tensors:

    - `ids_greedy`, `ids_beam`: from `source`, int32 ids (batch, source_length), where
      each row ends with `</s>` (3) and is padded with 0, to `tokens` (batch, n, time),
      `lengths` (batch, n), `scores` (batch, n), `log_probs` (batch, n, time) and
      `truncated` (batch, n). n is 1 for `ids_greedy`, and `beam_width` for `ids_beam`.
    - `ids_greedy_attention`, `ids_beam_attention`, for models with attention: the same
      with `attention` (batch, n, time, source_length).
    - `ids_score`: from `source` and `target`, ids as above, to `scores` (batch,).
    - `text_greedy`, `text_beam`: from `texts`, strings (batch,), to `texts` and
      `scores` (batch, n). A missing output is "" with score -inf.
    - `text_score`: from `texts` and `outputs`, strings (batch,), to `scores` (batch,).

    The text signatures exist if both tokenizers are `"whitespace"` or `"characters"`.
    The maximum output lengths are those of the translator.

    Args:
        translator: A `Translator`.
        folder: The new folder; its parents are created.
        beam_width: Width of the beam search, at least 2. Default: 5.
        overwrite: Replace an existing folder. Default: False.

    Returns:
        List of the names of the signatures.

    Raises:
        FileExistsError: If `folder` exists and `overwrite` is False.
        TypeError: If an argument has the wrong type.
        ValueError: If `beam_width` is below 2.

    Example:
        >>> import tensorflow as tf
        >>> from kseq import Translator, build_seq2seq
        >>> from kseq.data import Vocabulary
        >>> from kseq.export import export_saved_model
        >>> vocab = Vocabulary(["a", "b"])
        >>> model = build_seq2seq(
        ...     source_vocab_size=len(vocab), target_vocab_size=len(vocab), units=8
        ... )
        >>> translator = Translator(model, vocab, vocab)
        >>> export_saved_model(translator, "exported", beam_width=3)[0]
        'ids_greedy'
        >>> loaded = tf.saved_model.load("exported")
        >>> outputs = loaded.signatures["text_greedy"](texts=tf.constant(["a b"]))
        >>> outputs["texts"].numpy()[0, 0].decode() == translator.translate(["a b"])[0]
        True
    """
    if not isinstance(translator, Translator):
        raise TypeError(
            f"`translator` must be a Translator. Received: {type(translator).__name__}."
        )
    if check_integer("beam_width", beam_width, 1) < 2:
        raise ValueError(
            "`beam_width` must be at least 2; greedy search is always exported. "
            f"Received: {beam_width}."
        )
    model = translator.model
    models = list(model.models) if isinstance(model, Ensemble) else [model]
    with without_cudnn(models):
        module = _ExportModule(translator, models, beam_width)
        with whole_folder(folder, overwrite, "saved_model.pb") as temporary:
            tf.saved_model.save(module, str(temporary), module.functions)
    return list(module.functions)


class _ExportModule(tf.Module):
    """The functions of a translator, and the variables and tables that they use."""

    def __init__(
        self, translator: Translator, models: list[Any], beam_width: int
    ) -> None:
        super().__init__()
        model = translator.model
        self.models = models
        self.ratio = translator.length_ratio
        members = [each.search_member() for each in self.models]
        averaging = model.averaging if isinstance(model, Ensemble) else "linear"
        self._model = model
        self._generator = Generator(members, averaging)
        searches = {"greedy": "greedy", "beam": BeamSearch(beam_width, n=beam_width)}
        self.functions: dict[str, Any] = {}
        for name, search in searches.items():
            self._add(f"ids_{name}", self._decode_ids(search, False), source=_IDS)
            if self._generator.has_attention:
                run = self._decode_ids(search, True)
                self._add(f"ids_{name}_attention", run, source=_IDS)
        self._add("ids_score", self._score, source=_IDS, target=_IDS)
        vocabs = translator.source_vocab, translator.target_vocab
        if not all(map(has_text_graph, vocabs)):
            return
        self.source, self.target = map(TextGraph, vocabs)
        for name, search in searches.items():
            self._add(f"text_{name}", self._translate(search), texts=_TEXTS)
        self._add("text_score", self._score_texts, texts=_TEXTS, outputs=_TEXTS)

    def _add(self, name: str, run: Callable[..., Any], **signature: Any) -> None:
        specs = [
            tf.TensorSpec(spec.shape, spec.dtype, name=key)
            for key, spec in signature.items()
        ]
        function = tf.function(run, input_signature=specs, autograph=False)
        # As an attribute of the module, so that its variables are saved.
        setattr(self, name, function)
        self.functions[name] = function

    def _decode_ids(self, search: Any, return_attention: bool) -> Callable[..., Any]:
        graph = self._generator.graph(search, return_attention)

        def run(source: Any) -> Any:
            outputs = graph(source, self._max_lengths(source))
            not_finite = outputs.pop("not_finite")
            check = tf.debugging.Assert(
                ~tf.reduce_any(not_finite), ["The model's logits are not finite."]
            )
            with tf.control_dependencies([check] if check is not None else []):
                return {name: tf.identity(value) for name, value in outputs.items()}

        return run

    def _max_lengths(self, source: Any) -> Any:
        """Returns maximum output lengths (batch,), as the translator computes them."""
        lengths = tf.math.count_nonzero(source, axis=1, dtype=tf.int32)
        if self.ratio is None:
            return 2 * lengths + 10
        factor = self.ratio.mean + self.ratio.deviations * self.ratio.std
        longest = tf.math.ceil(factor * tf.cast(lengths - 1, tf.float64) - 1e-9)
        limit = float(np.iinfo(np.int32).max - 2)
        return tf.cast(tf.minimum(longest, limit), tf.int32) + 2

    def _translate(self, search: Any) -> Callable[..., Any]:
        run = self._decode_ids(search, False)

        def translate(texts: Any) -> Any:
            outputs = run(self.source.encode(texts))
            translations = self.target.decode(outputs["tokens"])  # (batch, n)
            scores = outputs["scores"]
            # The output of an empty text is empty, as with the translator.
            empty = tf.equal(self.source.lengths(texts), 0)[:, None]
            first = tf.equal(tf.range(tf.shape(scores)[1]), 0)[None]
            missing = tf.equal(outputs["lengths"], 0) | (empty & ~first)
            return {
                "texts": tf.where(empty | missing, "", translations),
                "scores": tf.where(
                    missing,
                    tf.fill(tf.shape(scores), np.float64(-np.inf)),
                    tf.where(empty, tf.zeros_like(scores), scores),
                ),
            }

        return translate

    def _score(self, source: Any, target: Any) -> Any:
        log_probs = forced_log_probs(self._model, source, target)  # (batch, time)
        return {"scores": tf.reduce_sum(log_probs, axis=1)}

    def _score_texts(self, texts: Any, outputs: Any) -> Any:
        return self._score(self.source.encode(texts), self.target.encode(outputs))
