"""Scheduled sampling: a decoder that reads its own predictions."""

from typing import Any

import tensorflow as tf

from kseq.decoding.constraints import NEVER
from kseq.models.decoder import Decoder
from kseq.models.inference import InferenceModels
from kseq.special_tokens import PAD


def scheduled_sampling_logits(
    inference: InferenceModels,
    decoder: Decoder,
    inputs: Any,
    ratio: Any,
    coin: str,
    seed: Any,
    training: bool,
    given: int = 1,
) -> Any:
    """Computes logits while the decoder reads true or predicted tokens at random.

    With probability `ratio`, a step reads the true previous token, else the most
    probable token of the previous step. All steps run in one loop within the graph. No
    gradient flows through the choice of a token.

    Args:
        inference: Encoder and one-step decoder of the model.
        decoder: The model's decoder.
        inputs: Dict of `encoder_inputs` and `decoder_inputs`, as the model reads.
        ratio: Scalar in [0, 1]: 1 is teacher forcing, 0 is greedy decoding.
        coin: `"token"` decides for each token, `"batch"` once for each step of a batch.
        seed: A `keras.random.SeedGenerator`; None if `ratio` is 0.
        training: Whether dropout is active.
        given: Number of first tokens always read from the target, such as `<s>`.
            Default: 1.

    Returns:
        Float32 logits (batch, time, vocab).
    """
    source = inputs["encoder_inputs"]
    # This checks the padding of each row; a step checks only the ids that it reads.
    tokens = decoder.ids(inputs["decoder_inputs"])
    encoded = inference.encoder(source, training=training)
    by_step = tf.transpose(tokens)  # (time, batch)
    steps, batch = tf.shape(by_step)[0], tf.shape(by_step)[1]
    # Steps after the end of a row have no weight.
    is_true = (tf.range(steps) < given)[:, None] | (by_step == PAD)
    if seed is not None:
        shape = tf.stack([steps, batch if coin == "token" else 1])
        draws = tf.random.stateless_uniform(shape, tf.cast(seed.next(), tf.int32))
        is_true |= draws < ratio
    vocab_size = decoder.config.target_vocab_size
    never = tf.reduce_sum(tf.one_hot(NEVER, vocab_size), axis=0) > 0  # (vocab,)

    def body(time: Any, predicted: Any, states: Any, all_logits: Any) -> Any:
        token = tf.where(is_true[time], by_step[time], predicted)  # (batch,)
        outputs = inference.decoder_step(
            {**encoded, "token": token, "states": states}, training=training
        )
        logits = tf.cast(outputs["logits"], tf.float32)  # (batch, vocab)
        predicted = tf.argmax(
            tf.where(never, logits.dtype.min, logits), -1, output_type=tf.int32
        )
        return time + 1, predicted, outputs["states"], all_logits.write(time, logits)

    # Dropout masks of the decoder's inputs have this width.
    input_dim = decoder.config.decoder.input_dim
    with decoder.core.one_mask_a_sequence(batch, input_dim, training):
        *_, all_logits = tf.while_loop(
            lambda time, *_: time < steps,
            body,
            (
                tf.constant(0),
                by_step[0],
                encoded["states"],
                tf.TensorArray(tf.float32, steps, element_shape=[None, vocab_size]),
            ),
            maximum_iterations=steps,
        )
    return tf.transpose(all_logits.stack(), [1, 0, 2])
