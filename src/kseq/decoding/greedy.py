"""Greedy search: the most probable token at each step."""

from typing import Any

import keras
import tensorflow as tf

from kseq.decoding.search import Search, SearchInputs
from kseq.decoding.token_loop import decode_tokens


@keras.saving.register_keras_serializable(package="kseq")
class Greedy(Search):
    """Greedy search: selects the most probable token at each step.

    Of equally probable tokens it selects the one with the smallest id. The output of a
    source does not depend on the other sources in its batch.

    Args:
        **constraints: Arguments of `Search`: `min_length`, `forbidden`,
            `no_repeat_ngram_size`, `suppress_unknown`.

    Example:
        >>> import tensorflow as tf
        >>> from kseq.decoding import Greedy
        >>> def count_down_from_7(token, state):  # 7, 6, 5, 4, then 3, </s>
        ...     return tf.one_hot(state, 8) * 9.0, state - 1
        >>> outputs = Greedy()(count_down_from_7, tf.constant([7]), max_lengths=[20])
        >>> outputs["tokens"].numpy()
        array([[[7, 6, 5, 4, 3]]], dtype=int32)
    """

    n = rows_per_source = 1

    def search(self, inputs: SearchInputs) -> dict[str, Any]:
        def choose(logits: Any, noise: None) -> Any:
            return tf.argmax(logits, axis=1, output_type=tf.int32)

        return decode_tokens(choose, self.constraints, 1, inputs)
