"""Exports models in ONNX."""

import os
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from kseq._compat.keras import without_cudnn
from kseq.models import Ensemble, Seq2Seq, build_inference_models
from kseq.storage.atomic_files import whole_folder
from kseq.translator import Translator

_OPSET = 17


def export_onnx(
    translator: Translator, folder: str | os.PathLike[str], *, overwrite: bool = False
) -> list[str]:
    """Exports the encoder and the one-step decoder of a translator in ONNX.

    The folder contains:

    - `encoder.onnx`. Its input is `encoder_inputs`, int32 ids (batch, source_length),
      where each row ends with `</s>` (3) and is padded with 0. Its outputs are
      `memory`, `memory_mask`, `state_0`, `state_1`, ..., and for some kinds of
      attention `attention_keys`.
    - `decoder.onnx`. Its inputs are the outputs of the encoder and `token`, int32
      (batch,), which is `<s>` (2) at the first step. Its outputs are `logits` (batch,
      vocab), the new states `next_state_0`, ..., and with attention `attention`
      (batch, source_length).
    - `vocab.source.json` and `vocab.target.json`, the vocabularies.

    Batch size and lengths are dynamic.

    Args:
        translator: A `Translator` with one model.
        folder: The new folder; its parents are created.
        overwrite: Replace an existing folder. Default: False.

    Returns:
        List of the names of the files.

    Raises:
        FileExistsError: If `folder` exists and `overwrite` is False.
        ImportError: If tf2onnx or onnx is missing.
        TypeError: If `translator` is not a `Translator`, or has an ensemble.
    """
    if not isinstance(translator, Translator) or isinstance(translator.model, Ensemble):
        raise TypeError(
            "`translator` must be a Translator with one model. Received: "
            f"{type(getattr(translator, 'model', translator)).__name__}."
        )
    try:
        import tf2onnx
    except ImportError as error:
        raise ImportError(
            "ONNX needs tf2onnx and onnx: pip install 'kseq[onnx]'"
        ) from error
    with without_cudnn([translator.model]):
        functions = _define_functions(translator.model)
        with whole_folder(folder, overwrite, "encoder.onnx") as temporary:
            for name, (function, signature) in functions.items():
                tf2onnx.convert.from_function(
                    tf.function(function, input_signature=signature, autograph=False),
                    signature,
                    opset=_OPSET,
                    output_path=str(temporary / f"{name}.onnx"),
                )
            for side in ("source", "target"):
                vocab = getattr(translator, f"{side}_vocab")
                vocab.save(temporary / f"vocab.{side}.json")
            files = sorted(path.name for path in temporary.iterdir())
    return files


def _define_functions(
    model: Seq2Seq,
) -> dict[str, tuple[Callable[..., Any], list[Any]]]:
    """Returns the functions `encoder` and `decoder`, with their signatures."""
    inference = build_inference_models(model)
    encoder, decoder_step = inference.encoder, inference.decoder_step
    inputs = decoder_step.input
    count = len(inputs["states"])
    names = [name for name in inputs if name not in ("token", "states")]

    def encode(encoder_inputs: Any) -> Any:
        outputs = encoder(encoder_inputs, training=False)
        states = {f"state_{k}": state for k, state in enumerate(outputs["states"])}
        return {**{name: outputs[name] for name in names}, **states}

    def decode(token: Any, *others: Any) -> Any:
        states, rest = list(others[:count]), others[count:]
        outputs = decoder_step(
            {"token": token, "states": states, **dict(zip(names, rest, strict=True))},
            training=False,
        )
        states = outputs.pop("states")
        return {
            **outputs,
            **{f"next_state_{k}": state for k, state in enumerate(states)},
        }

    def spec(tensor: Any, name: str) -> tf.TensorSpec:
        return tf.TensorSpec(tensor.shape, tensor.dtype, name=name)

    return {
        "encoder": (encode, [spec(encoder.input, "encoder_inputs")]),
        "decoder": (
            decode,
            [
                spec(inputs["token"], "token"),
                *(spec(each, f"state_{k}") for k, each in enumerate(inputs["states"])),
                *(spec(inputs[name], name) for name in names),
            ],
        ),
    }
