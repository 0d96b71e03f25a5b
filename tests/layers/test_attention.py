"""Attention: what it looks at, alone and in all its kinds."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from kseq import layers

DRAW = np.random.default_rng(0)
QUERY = DRAW.normal(size=(3, 4, 6)).astype("float32")
MEMORY = DRAW.normal(size=(3, 5, 6)).astype("float32")
LENGTHS = np.array([5, 3, 1])
MASK = np.arange(5) < LENGTHS[:, None]

KINDS: dict[str, Callable[..., layers.Attention]] = {
    "dot": layers.DotAttention,
    "scaled_dot": lambda **k: layers.DotAttention(scaled=True, **k),
    "projected_dot": lambda **k: layers.DotAttention(units=4, **k),
    "general": layers.GeneralAttention,
    "additive": lambda **k: layers.AdditiveAttention(4, **k),
    "multi_head_dot": lambda **k: layers.MultiHeadDotAttention(8, heads=2, **k),
    "location": lambda **k: layers.LocationAttention(4, **k),
    "location_sensitive": lambda **k: layers.LocationSensitiveAttention(4, **k),
    "cumulative": lambda **k: layers.LocationSensitiveAttention(
        4, filters=2, kernel_size=3, cumulative=True, **k
    ),
    "coverage": lambda **k: layers.CoverageAttention(4, **k),
    "fixed": layers.FixedAttention,
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def softmax(scores: np.ndarray) -> np.ndarray:
    scores = np.where(MASK[:, None], scores, -np.inf)
    shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return shares / shares.sum(axis=-1, keepdims=True)


@every_kind
def test_weights_are_shares_of_the_real_steps(kind: str) -> None:
    context, weights = KINDS[kind]()(QUERY, MEMORY, MASK)[:2]
    assert weights.shape == (3, 4, 5)
    np.testing.assert_allclose(np.sum(weights, axis=-1), 1, atol=1e-6)
    assert not np.asarray(weights)[~np.broadcast_to(MASK[:, None], (3, 4, 5))].any()
    if kind != "multi_head_dot":
        np.testing.assert_allclose(context, weights.numpy() @ MEMORY, atol=1e-6)


@every_kind
def test_what_stands_at_the_padding_means_nothing(kind: str) -> None:
    attention = KINDS[kind]()
    other = np.where(MASK[..., None], MEMORY, 100.0).astype("float32")
    for ours, theirs in zip(
        attention(QUERY, MEMORY, MASK), attention(QUERY, other, MASK), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


class TiredHeads(layers.MultiHeadDotAttention):
    """A user's own: heads that look less where all have looked before."""

    uses_previous_weights = True

    def score(self, query: Any, memory: Any, mask: Any, keys: Any, state: Any) -> Any:
        scores = super().score(query, memory, mask, keys, None)
        state = state if len(state.shape) == 3 else state[:, None]
        return scores - state[:, None]

    def advance(self, state: Any, weights: Any) -> Any:
        return state + weights


@pytest.mark.parametrize("kind", [*KINDS, "heads_looking_back"])
def test_a_step_at_a_time_gives_what_all_at_once_do(kind: str) -> None:
    attention = KINDS[kind]() if kind in KINDS else TiredHeads(8, heads=2)
    contexts, weights, *after = attention(QUERY, MEMORY, MASK)
    state = None
    for time in range(4):
        context, weight, *state = attention(
            QUERY[:, time], MEMORY, MASK, state=state[0] if state else None
        )
        np.testing.assert_allclose(context, contexts[:, time], atol=1e-6)
        np.testing.assert_allclose(weight, weights[:, time], atol=1e-6)
    assert len(state) == len(after) == attention.uses_previous_weights
    for ours, theirs in zip(state, after, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


@every_kind
def test_keys_made_once_serve_every_step(kind: str) -> None:
    attention = KINDS[kind]()
    layer = attention.keys_layer(6)
    assert (layer is None) == (
        kind in ("dot", "scaled_dot", "general", "location", "fixed")
    )
    if layer is None:
        return
    keys = layer(MEMORY)
    context, weights = attention(QUERY, MEMORY, MASK, keys=keys)[:2]
    assert attention.memory_layer is None  # it has no weights of its own for them
    alone = KINDS[kind]()
    alone(QUERY, MEMORY, MASK)
    assert alone.memory_layer is not None
    own = {id(weight) for weight in alone.memory_layer.weights}
    rest = [weight for weight in alone.weights if id(weight) not in own]
    for weight, value in zip(rest, attention.weights, strict=True):
        weight.assign(value)
    alone.memory_layer.set_weights(layer.get_weights())
    for ours, theirs in zip(
        (context, weights), alone(QUERY, MEMORY, MASK), strict=False
    ):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


@every_kind
def test_every_weight_gets_a_gradient(kind: str) -> None:
    attention = KINDS[kind]()
    attention(QUERY, MEMORY, MASK)

    @tf.function
    def gradients() -> Any:
        with tf.GradientTape() as tape:
            context = attention(QUERY, MEMORY, MASK)[0]
            loss = tf.reduce_sum(context[:, 1:] ** 2)
        return tape.gradient(loss, [w.value for w in attention.trainable_weights])

    for weight, gradient in zip(attention.trainable_weights, gradients(), strict=True):
        # Adding one number to all scores of a row changes no share.
        if weight.shape != (1,):
            assert gradient is not None, weight.path
            assert np.isfinite(gradient).all()
            assert np.abs(gradient).max() > 0, weight.path


def test_dot_products_are_what_they_are() -> None:
    scores = QUERY @ MEMORY.transpose(0, 2, 1)
    weights = layers.DotAttention()(QUERY, MEMORY, MASK)[1]
    np.testing.assert_allclose(weights, softmax(scores), atol=1e-6)
    weights = layers.DotAttention(scaled=True)(QUERY, MEMORY, MASK)[1]
    np.testing.assert_allclose(weights, softmax(scores / 6**0.5), atol=1e-6)


def test_general_is_a_bilinear_form() -> None:
    attention = layers.GeneralAttention()
    weights = attention(QUERY, MEMORY, MASK)[1]
    (matrix,) = attention.get_weights()
    scores = QUERY @ matrix @ MEMORY.transpose(0, 2, 1)
    np.testing.assert_allclose(weights, softmax(scores), atol=1e-6)


def additive(attention: Any, state: np.ndarray | None = None) -> np.ndarray:
    """Scores (batch, time, source) of an additive kind, by its formula."""
    query = QUERY @ np.asarray(attention.query_layer.kernel)
    query = query + np.asarray(attention.query_layer.bias)
    keys = MEMORY @ np.asarray(attention.memory_layer.kernel)
    hidden = query[:, :, None] + keys[:, None]
    if state is not None:
        hidden = hidden + state[:, None]
    return (np.tanh(hidden) @ np.asarray(attention.score_layer.kernel))[..., 0]


def test_additive_is_a_network_of_one_hidden_layer() -> None:
    attention = layers.AdditiveAttention(4)
    weights = attention(QUERY, MEMORY, MASK)[1]
    np.testing.assert_allclose(weights, softmax(additive(attention)), atol=1e-6)


@pytest.mark.parametrize("cumulative", [False, True])
def test_location_sensitive_sees_where_it_looked(cumulative: bool) -> None:
    attention = layers.LocationSensitiveAttention(
        4, filters=2, kernel_size=3, cumulative=cumulative
    )
    weights = attention(QUERY, MEMORY, MASK)[1].numpy()
    kernel = np.asarray(attention.convolution_kernel)  # (3, filters)
    earlier = np.zeros((3, 5))
    for time in range(4):
        wide = np.pad(earlier, ((0, 0), (1, 1)))
        windows = np.stack([wide[:, k : k + 5] for k in range(3)], axis=-1)
        features = windows @ kernel @ np.asarray(attention.location_layer.kernel)
        expected = softmax(additive(attention, features))[:, time]
        np.testing.assert_allclose(weights[:, time], expected, atol=1e-5)
        earlier = earlier + expected if cumulative else expected


def test_coverage_sees_how_much_it_has_looked() -> None:
    attention = layers.CoverageAttention(4)
    weights = attention(QUERY, MEMORY, MASK)[1].numpy()
    kernel = np.asarray(attention.coverage_layer.kernel)  # (1, units)
    coverage = np.zeros((3, 5))
    for time in range(4):
        features = coverage[..., None] @ kernel
        expected = softmax(additive(attention, features))[:, time]
        np.testing.assert_allclose(weights[:, time], expected, atol=1e-5)
        coverage = coverage + expected


def test_the_heads_attend_each_to_its_own() -> None:
    attention = layers.MultiHeadDotAttention(8, heads=2)
    context, weights = attention(QUERY, MEMORY, MASK)
    query = QUERY @ np.asarray(attention.query_layer.kernel)
    query = query + np.asarray(attention.query_layer.bias)
    both = MEMORY @ np.asarray(attention.memory_layer.kernel)
    shares, contexts = [], []
    for head in (slice(0, 4), slice(4, 8)):
        keys, values = both[..., :8][..., head], both[..., 8:][..., head]
        share = softmax(query[..., head] @ keys.transpose(0, 2, 1) / 2)
        shares.append(share)
        contexts.append(share @ values)
    expected = np.concatenate(contexts, axis=-1)
    expected = expected @ np.asarray(attention.output_layer.kernel)
    np.testing.assert_allclose(context, expected, atol=1e-5)
    np.testing.assert_allclose(weights, np.mean(shares, axis=0), atol=1e-6)


def test_location_hangs_on_the_query_alone_and_ends_at_its_last_position() -> None:
    attention = layers.LocationAttention(positions=4)
    weights = attention(QUERY, MEMORY, MASK)[1].numpy()
    assert not weights[..., 4].any()
    np.testing.assert_array_equal(weights, attention(QUERY, 2 * MEMORY, MASK)[1])
    short = attention(QUERY, MEMORY[:, :2], MASK[:, :2])[1].numpy()
    np.testing.assert_allclose(short.sum(axis=-1), 1, atol=1e-6)


def test_fixed_looks_at_the_last_real_step() -> None:
    weights = layers.FixedAttention()(QUERY, MEMORY, MASK)[1].numpy()
    assert (weights.argmax(axis=-1) == LENGTHS[:, None] - 1).all()


def test_widths_that_differ_need_a_projection() -> None:
    with pytest.raises(ValueError, match=r"widths 6 and 2. Give `units`"):
        layers.DotAttention()(QUERY, MEMORY[..., :2])
    context, _ = layers.DotAttention(units=3)(QUERY, MEMORY[..., :2])
    assert context.shape == (3, 4, 2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layers.AdditiveAttention(0), "`units` must be >= 1. Received: 0"),
        (lambda: layers.DotAttention(units=0), "`units` must be >= 1. Received: 0"),
        (lambda: layers.MultiHeadDotAttention(8, heads=3), "a multiple of `heads`"),
        (lambda: layers.LocationAttention(0), "`positions` must be >= 1"),
        (lambda: layers.LocationSensitiveAttention(4, filters=0), "`filters` must"),
        (lambda: layers.AttentionalHidden(0), "`units` must be >= 1"),
    ],
)
def test_sizes_are_checked(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@every_kind
def test_weights_and_state_keep_their_precision_beside_half_precision(
    kind: str,
) -> None:
    attention = KINDS[kind](dtype="mixed_float16")
    context, *rest = attention(QUERY, MEMORY, MASK)
    assert context.dtype == tf.float16
    assert {tensor.dtype for tensor in rest} == {tf.float32}


def test_the_attentional_hidden_layer_mixes_both() -> None:
    hidden, context = QUERY[:, 0], MEMORY[:, 0, :3]
    plain = layers.AttentionalHidden(4)
    result = plain(hidden, context)
    kernel, bias = plain.get_weights()
    both = np.concatenate([hidden, context], axis=-1)
    np.testing.assert_allclose(result, np.tanh(both @ kernel + bias), atol=1e-6)
    gated = layers.AttentionalHidden(4, gate=True)
    result = gated(hidden, context)
    gate = both @ np.asarray(gated.gate_kernel) + np.asarray(gated.gate_bias)
    gate = 1 / (1 + np.exp(-gate))
    kernel = np.asarray(gated.kernel)
    expected = gate * (hidden @ kernel[:6]) + (1 - gate) * (context @ kernel[6:])
    np.testing.assert_allclose(result, np.tanh(expected), atol=1e-6)


@keras.saving.register_keras_serializable(package="test_attention")
class LooksAtTheFirst(layers.Attention):
    """An attention of a user's own."""

    def score(self, query: Any, memory: Any, mask: Any, keys: Any, state: Any) -> Any:
        first = tf.one_hot(tf.zeros_like(query[..., 0], tf.int32), tf.shape(memory)[1])
        return 1000.0 * first


def test_an_attention_of_ones_own_needs_its_scores_only() -> None:
    weights = LooksAtTheFirst()(QUERY, MEMORY, MASK)[1].numpy()
    np.testing.assert_allclose(weights[..., 0], 1.0, atol=1e-6)


def test_keys_that_are_missing_in_a_later_call_are_refused() -> None:
    attention = layers.AdditiveAttention(5)
    query, memory = np.ones((2, 5), "float32"), np.ones((2, 4, 3), "float32")
    keys = attention.keys_layer(3)(memory)
    attention(query, memory, keys=keys)
    with pytest.raises(ValueError, match="`keys` must be given in every call"):
        attention(query, memory)
    # The other way round both calls have what they need, and so has one without keys.
    attention = layers.AdditiveAttention(5)
    expected = attention(query, memory)
    found = attention(query, memory, keys=attention.memory_layer(memory))
    np.testing.assert_allclose(found[0], expected[0], atol=1e-6)
    attention = layers.GeneralAttention()
    attention(query, memory, keys=memory)
    attention(query, memory)


def test_a_state_for_a_layer_that_does_not_look_back_is_refused() -> None:
    query, memory = np.ones((2, 5), "float32"), np.ones((2, 4, 3), "float32")
    with pytest.raises(ValueError, match="`state` must be None for GeneralAttention"):
        layers.GeneralAttention()(query, memory, state=np.zeros((2, 4), "float32"))
