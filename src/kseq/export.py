"""Models for programs without kseq: as a TensorFlow SavedModel, or in ONNX."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kseq.config.checks import check_integer
from kseq.data.vocabulary import Vocabulary
from kseq.decoding import BeamSearch
from kseq.models import Ensemble, Seq2Seq, build_inference_models
from kseq.models.generator import Generator
from kseq.models.scoring import forced_log_probs
from kseq.special_tokens import END, PAD, SPECIAL_TOKENS, START, UNK
from kseq.storage.atomic_files import whole_folder
from kseq.translator import Translator

# What Python's str.split takes for white space, and TensorFlow does not.
_SPACES = (
    r"[\x{1c}-\x{1f}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}"
    r"\x{205f}\x{3000}]"
)
_IDS = tf.TensorSpec((None, None), tf.int32)
_TEXTS = tf.TensorSpec((None,), tf.string)
_OPSET = 17


def export_saved_model(
    translator: Translator,
    folder: str | os.PathLike[str],
    *,
    beam_width: int = 5,
    overwrite: bool = False,
) -> list[str]:
    """Exports a translator as a TensorFlow SavedModel, which needs no kseq.

    Its signatures, of which each takes and gives named tensors:

    - `ids_greedy`, `ids_beam`: `source`, int32 ids (batch, source_length), rows that
      end with `</s>` (3), padded with 0, to `tokens` (batch, n, time), `lengths`
      (batch, n), `scores` (batch, n), `log_probs` (batch, n, time) and `truncated`
      (batch, n); n is 1, and with a beam its width.
    - `ids_greedy_attention`, `ids_beam_attention`, of a model with attention: the same
      and `attention` (batch, n, time, source_length).
    - `ids_score`: `source` and `target`, ids likewise, to `scores` (batch,).
    - `text_greedy`, `text_beam`: `texts`, strings (batch,), to `texts` and `scores`
      (batch, n), where an output that there is not is "" with the score -inf.
    - `text_score`: `texts` and `outputs`, strings (batch,), to `scores` (batch,).

    Those of texts are there where both tokenizers are `"whitespace"` or
    `"characters"`. Outputs may be as long as those of the translator.

    Args:
        translator: The `Translator`.
        folder: Where to; its parents are made.
        beam_width: Width of the beam search. Default 5.
        overwrite: Replace what is there. Default False.

    Returns:
        The names of the signatures.

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
        >>> found = loaded.signatures["text_greedy"](texts=tf.constant(["a b"]))
        >>> found["texts"].numpy()[0, 0].decode() == translator.translate(["a b"])[0]
        True
    """
    if not isinstance(translator, Translator):
        raise TypeError(
            f"`translator` must be a Translator. Received: {type(translator).__name__}."
        )
    if check_integer("beam_width", beam_width, 1) < 2:
        raise ValueError("`beam_width` must be at least 2; greedy is there anyway.")
    with _without_cudnn(translator.model):
        module = _Exported(translator, beam_width)
        with whole_folder(folder, overwrite, "saved_model.pb") as temporary:
            tf.saved_model.save(module, str(temporary), module.found)
    return list(module.found)


def export_onnx(
    translator: Translator, folder: str | os.PathLike[str], *, overwrite: bool = False
) -> list[str]:
    """Exports the encoder and the one-step decoder of a translator in ONNX.

    `encoder.onnx` takes `encoder_inputs`, int32 ids (batch, source_length), rows that
    end with `</s>` (3), padded with 0, and gives `memory`, `memory_mask`, for some
    kinds of attention `attention_keys`, and `state_0`, `state_1`, ... `decoder.onnx`
    takes all these and `token`, int32 (batch,), at first `<s>` (2), and gives `logits`
    (batch, vocab), the states after the token, `next_state_0`, ..., and where there is
    attention `attention` (batch, source_length). Batch and lengths may be any.
    `vocab.source.json` and `vocab.target.json` tell the ids.

    Args:
        translator: The `Translator` of one model.
        folder: Where to; its parents are made.
        overwrite: Replace what is there. Default False.

    Returns:
        The names of the files.

    Raises:
        FileExistsError: If `folder` exists and `overwrite` is False.
        ImportError: If tf2onnx or onnx is missing.
        TypeError: If `translator` is none, or of an ensemble.
    """
    if not isinstance(translator, Translator) or isinstance(translator.model, Ensemble):
        raise TypeError(
            "`translator` must be a Translator of one model. Received: "
            f"{type(getattr(translator, 'model', translator)).__name__}."
        )
    try:
        import tf2onnx
    except ImportError as error:
        raise ImportError(
            "ONNX needs tf2onnx and onnx: pip install 'kseq[onnx]'"
        ) from error
    with _without_cudnn(translator.model):
        parts = _onnx_parts(translator.model)
        with whole_folder(folder, overwrite, "encoder.onnx") as temporary:
            for name, (function, signature) in parts.items():
                tf2onnx.convert.from_function(
                    tf.function(function, input_signature=signature, autograph=False),
                    signature,
                    opset=_OPSET,
                    output_path=str(temporary / f"{name}.onnx"),
                )
            for side in ("source", "target"):
                vocab = getattr(translator, f"{side}_vocab")
                vocab.save(temporary / f"vocab.{side}.json")
            found = sorted(path.name for path in temporary.iterdir())
    return found


class _Exported(tf.Module):
    """The graphs of a translator, and all that they read."""

    def __init__(self, translator: Translator, beam_width: int) -> None:
        super().__init__()
        model = translator.model
        self.models = list(model.models) if isinstance(model, Ensemble) else [model]
        self.ratio = translator.length_ratio
        members = [each.search_member() for each in self.models]
        averaging = model.averaging if isinstance(model, Ensemble) else "linear"
        self._model = model
        self._generator = Generator(members, averaging)
        searches = {"greedy": "greedy", "beam": BeamSearch(beam_width, n=beam_width)}
        self.found: dict[str, Any] = {}
        for name, search in searches.items():
            self._add(f"ids_{name}", self._of_ids(search, False), source=_IDS)
            if self._generator.has_attention:
                run = self._of_ids(search, True)
                self._add(f"ids_{name}_attention", run, source=_IDS)
        self._add("ids_score", self._score, source=_IDS, target=_IDS)
        vocabs = translator.source_vocab, translator.target_vocab
        if not all(map(_has_graph, vocabs)):
            return
        self.source, self.target = map(_Text, vocabs)
        for name, search in searches.items():
            self._add(f"text_{name}", self._of_texts(search), texts=_TEXTS)
        self._add("text_score", self._score_texts, texts=_TEXTS, outputs=_TEXTS)

    def _add(self, name: str, run: Callable[..., Any], **signature: Any) -> None:
        specs = [
            tf.TensorSpec(spec.shape, spec.dtype, name=key)
            for key, spec in signature.items()
        ]
        function = tf.function(run, input_signature=specs, autograph=False)
        # Held by the module, or what the graph reads would not be saved.
        setattr(self, name, function)
        self.found[name] = function

    def _of_ids(self, search: Any, return_attention: bool) -> Callable[..., Any]:
        graph = self._generator.graph(search, return_attention)

        def run(source: Any) -> Any:
            found = graph(source, self._max_lengths(source))
            broken = found.pop("broken")
            check = tf.debugging.Assert(
                ~tf.reduce_any(broken), ["The model's logits are not finite."]
            )
            with tf.control_dependencies([check] if check is not None else []):
                return {name: tf.identity(value) for name, value in found.items()}

        return run

    def _max_lengths(self, source: Any) -> Any:
        """Returns the longest outputs (batch,), as the translator has them."""
        lengths = tf.math.count_nonzero(source, axis=1, dtype=tf.int32)
        if self.ratio is None:
            return 2 * lengths + 10
        factor = self.ratio.mean + self.ratio.deviations * self.ratio.std
        longest = tf.math.ceil(factor * tf.cast(lengths - 1, tf.float64) - 1e-9)
        most = float(np.iinfo(np.int32).max - 2)
        return tf.cast(tf.minimum(longest, most), tf.int32) + 2

    def _of_texts(self, search: Any) -> Callable[..., Any]:
        run = self._of_ids(search, False)

        def translate(texts: Any) -> Any:
            found = run(self.source.encode(texts))
            outputs = self.target.decode(found["tokens"])  # (batch, n)
            scores = found["scores"]
            # An empty text has the empty output, as with the translator.
            empty = tf.equal(self.source.lengths(texts), 0)[:, None]
            first = tf.equal(tf.range(tf.shape(scores)[1]), 0)[None]
            missing = tf.equal(found["lengths"], 0) | (empty & ~first)
            return {
                "texts": tf.where(empty | missing, "", outputs),
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


class _Text(tf.Module):
    """A vocabulary and its tokenizer as graphs."""

    def __init__(self, vocab: Vocabulary) -> None:
        super().__init__()
        self.kind = vocab.tokenizer.name
        self.lowers = bool(vocab.tokenizer.lower_case)
        self.width = vocab.width
        ordinary = vocab.tokens[len(SPECIAL_TOKENS) :]
        ids = tf.range(len(SPECIAL_TOKENS), len(vocab))
        # A word that looks like a mark is unknown.
        self.ids = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(tf.constant(ordinary, tf.string), ids),
            UNK,
        )
        self.tokens = tf.constant(vocab.tokens)

    def _cut(self, texts: Any) -> Any:
        if self.lowers:
            texts = tf.strings.lower(texts, encoding="utf-8")
        if self.width is not None:
            return self._justified(_stripped(texts))
        if self.kind == "characters":
            return tf.strings.unicode_split(texts, "UTF-8")
        return tf.strings.split(tf.strings.regex_replace(texts, _SPACES, " "))

    def _justified(self, texts: Any) -> Any:
        cut = tf.strings.unicode_split(texts, "UTF-8")
        lengths = cut.row_lengths()
        check = tf.debugging.assert_less_equal(
            lengths,
            tf.constant(self.width, tf.int64),
            f"A text must have at most {self.width} characters.",
        )
        with tf.control_dependencies([check] if check is not None else []):
            missing = tf.where(lengths > 0, self.width - lengths, 0)
        spaces = tf.fill([tf.reduce_sum(missing)], " ")
        return tf.concat([tf.RaggedTensor.from_row_lengths(spaces, missing), cut], 1)

    def lengths(self, texts: Any) -> Any:
        """Returns the number of tokens (batch,)."""
        return self._cut(texts).row_lengths()

    def encode(self, texts: Any) -> Any:
        """Returns int32 ids (batch, time), with `</s>`, padded with 0."""
        ids = tf.ragged.map_flat_values(self.ids.lookup, self._cut(texts))
        ends = tf.fill([tf.shape(texts)[0], 1], END)
        return tf.concat([ids, ends], axis=1).to_tensor(PAD)

    def decode(self, tokens: Any) -> Any:
        """Returns the texts (batch, n) of ids (batch, n, time)."""
        names = tf.gather(self.tokens, tokens)
        real = ~tf.reduce_any([tf.equal(tokens, mark) for mark in (PAD, START, END)], 0)
        separator = "" if self.kind == "characters" else " "
        names = tf.where(real, tf.strings.join([names, separator]), "")
        joined = tf.strings.reduce_join(names, axis=-1)
        if self.width is not None:
            return _stripped(joined)
        return joined if separator == "" else tf.strings.strip(joined)


def _stripped(texts: Any) -> Any:
    """Removes spaces at both ends of texts, but no other white space."""
    return tf.strings.regex_replace(texts, "^ +| +$", "")


def _has_graph(vocab: Vocabulary) -> bool:
    named = vocab.tokenizer.name in ("whitespace", "characters")
    return named and len(vocab) > len(SPECIAL_TOKENS)


def _onnx_parts(model: Seq2Seq) -> dict[str, tuple[Callable[..., Any], list[Any]]]:
    """Returns the functions of the two parts, with their signatures."""
    inference = build_inference_models(model)
    encoder, decoder_step = inference.encoder, inference.decoder_step
    count = len(decoder_step.input["states"])
    names = [name for name in decoder_step.input if name not in ("token", "states")]

    def encode(encoder_inputs: Any) -> Any:
        found = encoder(encoder_inputs, training=False)
        states = {f"state_{k}": state for k, state in enumerate(found["states"])}
        return {**{name: found[name] for name in names}, **states}

    def decode(token: Any, *further: Any) -> Any:
        states, rest = list(further[:count]), further[count:]
        found = decoder_step(
            {"token": token, "states": states, **dict(zip(names, rest, strict=True))},
            training=False,
        )
        attention = {"attention": found["attention"]} if "attention" in found else {}
        return {
            "logits": found["logits"],
            **attention,
            **{f"next_state_{k}": state for k, state in enumerate(found["states"])},
        }

    def spec(tensor: Any, name: str) -> tf.TensorSpec:
        return tf.TensorSpec(tensor.shape, tensor.dtype, name=name)

    given = decoder_step.input
    return {
        "encoder": (encode, [spec(encoder.input, "encoder_inputs")]),
        "decoder": (
            decode,
            [
                spec(given["token"], "token"),
                *(spec(each, f"state_{k}") for k, each in enumerate(given["states"])),
                *(spec(given[name], name) for name in names),
            ],
        ),
    }


@contextlib.contextmanager
def _without_cudnn(model: Any) -> Iterator[None]:
    """Keeps cuDNN's kernels out of graphs, which a machine without a GPU cannot run."""
    models = model.models if isinstance(model, Ensemble) else [model]
    layers = [
        layer
        for each in models
        for layer in each._flatten_layers()
        if isinstance(layer, keras.layers.Layer) and hasattr(layer, "use_cudnn")
    ]
    before = [layer.use_cudnn for layer in layers]
    for layer in layers:
        layer.use_cudnn = False
    try:
        yield
    finally:
        for layer, value in zip(layers, before, strict=True):
            layer.use_cudnn = value
