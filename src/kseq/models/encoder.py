"""The encoder: computes the memory and the final states of a source."""

from typing import Any

import keras

from kseq.config.architecture import Seq2SeqConfig
from kseq.layers import (
    FeatureMask,
    PaddingMask,
    ReversalMask,
    ReverseSequence,
    TokenIds,
    WithoutMask,
)
from kseq.models.recurrent_stack import (
    Stack,
    as_config,
    cell_name,
    input_layers,
    recurrent_layer,
    state_names,
)

INPUT = "encoder_inputs"


def build_encoder(
    config: Seq2SeqConfig | None = None, *, dtype: Any = None, **settings: Any
) -> keras.Model:
    """Builds the encoder as a functional Keras model.

    Args:
        config: A `Seq2SeqConfig`. Default: made from `settings`.
        dtype: Dtype or dtype policy of the layers. Default: Keras's global policy.
        **settings: Fields of `Seq2SeqConfig`.

    Returns:
        A `keras.Model` from `encoder_inputs`, int32 ids (batch, time) or float32
        vectors (batch, time, dim), to a dict:

        - `memory`: float (batch, time, encoder_units), the outputs of the top layer, in
          the order of the source even if it is read in reverse. Values at padding are
          undefined.
        - `memory_mask`: bool (batch, time), True for real steps.
        - `states`: list of floats (batch, encoder_units), the final states of each
          layer; h and c for an LSTM. For a bidirectional layer the final states of both
          directions are concatenated, forward first.

    Raises:
        ValueError: If a setting is invalid.

    Example:
        >>> import numpy as np
        >>> from kseq import build_encoder
        >>> encoder = build_encoder(
        ...     source_vocab_size=11, target_vocab_size=11, units=8, embedding_dim=4
        ... )
        >>> outputs = encoder(np.array([[5, 6, 3], [7, 3, 0]]))
        >>> outputs["memory"].shape, len(outputs["states"])
        (TensorShape([2, 3, 8]), 2)

    Reference:
        Sutskever et al., 2014, "Sequence to Sequence Learning with Neural Networks".
    """
    config = as_config(config, settings)
    side = config.encoder
    if side.representation == "features":
        inputs = keras.Input((None, side.input_dim), dtype="float32", name=INPUT)
        mask = FeatureMask(INPUT, name="encoder_mask")(inputs)
        x = inputs  # (batch, time, dim)
    else:
        inputs = keras.Input((None,), dtype="int32", name=INPUT)
        x = TokenIds(side.vocab_size, INPUT, padded_right=True, name="encoder_ids")(
            inputs
        )  # (batch, time)
        mask = PaddingMask(name="encoder_mask")(x)

    reversal_mask = mask
    if config.reverse_source:
        if side.representation != "features":
            reversal_mask = ReversalMask(name="encoder_reversal_mask")(x, mask=mask)
        x = ReverseSequence(name="encoder_reversal")(x, mask=reversal_mask)
    for layer in input_layers(config, side, "encoder", dtype):
        x = layer(x)  # (batch, time, input_dim)

    stack = Stack(side, "encoder", dtype)
    states: list[Any] = []
    for index in range(side.layers):
        name = f"encoder_{cell_name(config)}_{index + 1}"
        if config.is_bidirectional(index):
            layer = recurrent_layer(
                config, side, side.units // 2, f"{name}_half", dtype
            )
            both = keras.layers.Bidirectional(layer, name=name, dtype=dtype)
            outputs, *final = both(x, mask=mask)
            count = len(final) // 2
            final = [
                keras.layers.Concatenate(name=f"{name}_{state}", dtype=dtype)(
                    [final[k], final[k + count]]
                )
                for k, state in enumerate(state_names(layer))
            ]
        else:
            layer = recurrent_layer(config, side, side.units, name, dtype)
            outputs, *final = layer(x, mask=mask)
        states += final
        x = stack.after(index, x, outputs)  # (batch, time, units)

    if config.reverse_source:
        x = ReverseSequence(name="encoder_memory")(x, mask=reversal_mask)
    else:
        x = WithoutMask(name="encoder_memory")(x)
    return keras.Model(
        inputs, {"memory": x, "memory_mask": mask, "states": states}, name="encoder"
    )
