"""Selects the layers of a model to quantize."""

import re
from typing import Any

import keras

_QUANTIZABLE: dict[str, tuple[type[keras.layers.Layer], ...]] = {
    "int8": (
        keras.layers.Dense,
        keras.layers.EinsumDense,
        keras.layers.Embedding,
        keras.layers.ReversibleEmbedding,
    ),
    "float8": (keras.layers.Dense, keras.layers.EinsumDense),
}
_QUANTIZABLE["int4"] = _QUANTIZABLE["int8"]


def select_layers(
    model: keras.Model, mode: Any, filters: Any
) -> list[keras.layers.Layer]:
    """Returns the layers that `Seq2Seq.quantize` quantizes.

    Args:
        model: A model.
        mode: As in `Seq2Seq.quantize`.
        filters: As in `Seq2Seq.quantize`.

    Raises:
        ValueError: If the mode is unknown, if `filters` match no layer, or if a layer
            is quantized already.
    """
    if mode not in _QUANTIZABLE:
        raise ValueError(
            "`mode` must be one of 'int8', 'int4', 'float8': other modes are for "
            f"transformers. Received: {mode!r}."
        )
    # Keras returns the new scales of float8 as gradients. In a loop, as in attention,
    # they would add up.
    layers = model.layers if mode == "float8" else model._flatten_layers()
    selected = [
        layer
        for layer in layers
        if type(layer) in _QUANTIZABLE[mode] and _matches(filters, layer)
    ]
    if not selected:
        raise ValueError(
            f"`filters` must match a layer that can be quantized to {mode}: "
            f"{', '.join(each.__name__ for each in _QUANTIZABLE[mode])}. "
            f"Received: {filters!r}."
        )
    quantized = [each.name for each in selected if each.quantization_mode is not None]
    if quantized:
        raise ValueError(
            f"`filters` must exclude layers that are quantized already: "
            f"{', '.join(quantized)}. Received: {filters!r}."
        )
    return selected


def _matches(filters: Any, layer: keras.layers.Layer) -> bool:
    if callable(filters):
        return bool(filters(layer))
    patterns = [filters] if isinstance(filters, str) else filters
    return patterns is None or any(re.search(each, layer.name) for each in patterns)
