"""Sampling: draws tokens from the model's distribution."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kseq.config.checks import INT32_MAX, check_integer, check_number
from kseq.decoding.search import Search, SearchInputs
from kseq.decoding.token_loop import decode_tokens

# A sum of probabilities in float32 reaches `top_p` with this tolerance.
_ROUNDING = 1e-6


@keras.saving.register_keras_serializable(package="kseq")
class Sampling(Search):
    """Draws each token at random from the model's distribution.

    The random numbers depend on the seed, on n, on the index of the source in the call,
    on the index of the output and on the step, but not on the batch size. The scores
    are the model's log-probabilities, for a temperature of 1 and the whole vocabulary.

    Args:
        n: Number of outputs drawn for each source, not sorted. Default: 1.
        temperature: Divisor of the logits, above 0. Below 1 it makes probable tokens
            more probable. Default: 1.
        top_k: Draw only from the k most probable tokens. Default: all tokens.
        top_p: Draw only from the smallest set of most probable tokens whose total
            probability reaches this value, in (0, 1]; after `top_k`. Default: all
            tokens.
        seed: Integer from 0 to 2**63 - 1. Default: 0.
        **constraints: Arguments of `Search`: `min_length`, `forbidden`,
            `no_repeat_ngram_size`, `suppress_unknown`.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> import tensorflow as tf
        >>> from kseq.decoding import Sampling
        >>> def toss_coin(token, states):  # 4 or 5, without an end
        ...     logits = tf.constant([[-99.0, -99.0, -99.0, -99.0, 0.0, 0.0]])
        ...     return tf.repeat(logits, tf.shape(token)[0], axis=0), states
        >>> outputs = Sampling(n=3, seed=1)(toss_coin, states=[], max_lengths=[8])
        >>> tokens = outputs["tokens"].numpy()
        >>> tokens.shape, set(tokens.ravel().tolist())
        ((1, 3, 8), {4, 5})

    Reference:
        Fan et al., 2018, "Hierarchical Neural Story Generation" (top-k); Holtzman et
        al., 2020, "The Curious Case of Neural Text Degeneration" (top-p).
    """

    def __init__(
        self,
        n: int = 1,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int = 0,
        **constraints: Any,
    ) -> None:
        super().__init__(**constraints)
        self._n = check_integer("n", n, 1, INT32_MAX)
        self.temperature = check_number("temperature", temperature)
        if not self.temperature:
            raise ValueError(f"`temperature` must be above 0. Received: {temperature}.")
        if top_k is not None:
            top_k = check_integer("top_k", top_k, 1, INT32_MAX)
        self.top_k = top_k
        self.top_p = None if top_p is None else check_number("top_p", top_p)
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ValueError(f"`top_p` must be in (0, 1]. Received: {top_p}.")
        self.seed = check_integer("seed", seed, 0, 2**63 - 1)

    @property
    def n(self) -> int:
        return self._n

    @property
    def rows_per_source(self) -> int:
        return self._n

    def get_config(self) -> dict[str, Any]:
        return {
            "n": self.n,
            "temperature": self.temperature,
            "top_k": self.top_k,
            "top_p": self.top_p,
            "seed": self.seed,
            **super().get_config(),
        }

    def tensor_options(self) -> dict[str, Any]:
        options = {
            "seed": np.int64(self.seed),
            "temperature": np.float32(self.temperature),
            "top_k": None if self.top_k is None else np.int32(self.top_k),
            "top_p": None if self.top_p is None else np.float32(self.top_p),
        }
        return {name: value for name, value in options.items() if value is not None}

    def search(self, inputs: SearchInputs) -> dict[str, Any]:
        def draw(steps: Any) -> Any:
            # One call for each source, so that the numbers of a source depend neither
            # on the other sources nor on the number of steps.
            draws = tf.map_fn(
                lambda row: tf.random.stateless_uniform(
                    [steps, self.n], [self.seed, tf.cast(row, tf.int64)]
                ),
                # One extra row: TensorFlow cannot stack the results of no rows.
                tf.pad(inputs.rows, [[0, 1]]),
                fn_output_signature=tf.TensorSpec([None, self.n], tf.float32),
            )  # (batch + 1, steps, n)
            return tf.reshape(tf.transpose(draws, [0, 2, 1]), [-1, steps])

        def choose(logits: Any, noise: Any) -> Any:
            noise = noise[:, None]  # (rows, 1)
            size = logits.shape[1] or tf.shape(logits)[1]
            count = size if self.top_k is None else tf.minimum(self.top_k, size)
            # Sorted, so that `top_p` removes tokens from the end.
            logits, tokens = tf.math.top_k(logits, count)
            # Relative to the best, so that no temperature is too small.
            logits = logits - logits[:, :1]
            smallest = np.finfo(np.float32).tiny
            temperature = tf.maximum(tf.cast(self.temperature, tf.float32), smallest)
            probs = tf.nn.softmax(logits / temperature)
            if self.top_p is not None:
                before = tf.cumsum(probs, axis=1, exclusive=True)
                limit = tf.where(self.top_p < 1.0, self.top_p - _ROUNDING, 1.0)
                probs = tf.where((before > limit) & (before > 0), 0.0, probs)
            cumulative = tf.cumsum(probs, axis=1)
            passed = (cumulative <= noise * cumulative[:, -1:]) & (probs > 0)
            index = tf.reduce_sum(tf.cast(passed, tf.int32), axis=1)
            # Rounding can pass all tokens: then select the last one that is possible.
            last = tf.reduce_sum(tf.cast(probs > 0, tf.int32), axis=1) - 1
            index = tf.minimum(index, tf.maximum(last, 0))
            return tf.gather(tokens, index, batch_dims=1)

        return decode_tokens(choose, self.constraints, self.n, inputs, draw)
