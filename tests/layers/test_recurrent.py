"""The recurrent layers with a faster loop, against those of Keras."""

import functools
import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from kseq.layers import FusedGRU, FusedLSTM, cells

UNITS = 8
ORIGINALS = {FusedLSTM: keras.layers.LSTM, FusedGRU: keras.layers.GRU}
ATOL = {
    "float64": 1e-10,
    "float32": 1e-5,
    "float16": 5e-3,
    "mixed_float16": 5e-3,
    "mixed_bfloat16": 0.05,
}

# Ragged on either side, with a hole, of one step, with nothing to read.
MASK = np.array(
    [[1, 1, 1, 1], [1, 1, 0, 0], [0, 0, 1, 1], [1, 0, 0, 1], [0, 1, 0, 0], [0] * 4],
    "bool",
)

both = pytest.mark.parametrize("cls", ORIGINALS)
# There is a loop for each.
training = pytest.mark.parametrize(
    "training", [False, True], ids=["inference", "training"]
)


def draw(*shape: int, dtype: Any = "float32", seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def pair(cls: Any, dim: int = 3, **options: Any) -> tuple[Any, Any]:
    """Makes a layer and its original, with the same random weights."""
    made = cls(UNITS, **options), ORIGINALS[cls](UNITS, **options)
    for layer in made:
        layer.build((None, None, dim))
        for seed, weight in enumerate(layer.weights):
            weight.assign(draw(*weight.shape, seed=seed) / 2)
    return made


def initial(layer: Any, batch: int, dtype: Any = "float32") -> list[tf.Tensor]:
    sizes = range(len(layer.state_size))
    return [tf.constant(draw(batch, UNITS, dtype=dtype, seed=9 + i)) for i in sizes]


def flat(results: Any) -> list[np.ndarray]:
    return [keras.ops.convert_to_numpy(x) for x in tf.nest.flatten(results)]


def assert_close(results: Any, expected: Any, atol: float = 1e-5) -> None:
    for a, b in zip(flat(results), flat(expected), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_allclose(a, b, atol=atol, rtol=atol)


def values_and_gradients(
    layer: Any, x: Any, mask: Any = None, states: Any = None, training: bool = False
) -> Any:
    """Returns the results and the gradients by x, the weights and the states."""
    sources = [x, *(weight.value for weight in layer.weights), *(states or [])]
    with tf.GradientTape() as tape:
        tape.watch(sources)
        found = layer(x, mask=mask, initial_state=states, training=training)
        results = tf.nest.flatten(found)
        # A factor of its own for every value, or errors might cancel.
        losses = [
            tf.reduce_sum(y * draw(*y.shape, dtype=y.dtype.as_numpy_dtype, seed=5))
            for y in results
        ]
    return results, tape.gradient(losses, sources)


def in_graph(layer: Any, training: bool = False, **options: Any) -> Callable[..., Any]:
    """Makes a graph for any sizes of a layer, with an initial state and a mask."""
    vectors = tf.TensorSpec([None, None, 3])
    states = [tf.TensorSpec([None, UNITS])] * len(layer.state_size)

    @tf.function(
        input_signature=[vectors, tf.TensorSpec([None, None], tf.bool), states],
        **options,
    )
    def run(x: Any, mask: Any, states: Any) -> Any:
        sources = [x, *(weight.value for weight in layer.weights), *states]
        with tf.GradientTape() as tape:
            tape.watch(sources)
            results = layer(x, mask=mask, initial_state=states, training=training)
            losses = [tf.reduce_sum(tf.sin(y)) for y in tf.nest.flatten(results)]
        return results, tape.gradient(losses, sources)

    return run


@both
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("given_state", [False, True])
@pytest.mark.parametrize("go_backwards", [False, True])
@pytest.mark.parametrize("masked", ["", "repeat", "zero"])
@pytest.mark.parametrize("returned", ["last", "all+state"])
@training
def test_values_and_gradients_are_those_of_keras(
    cls: Any,
    training: bool,
    dtype: str,
    given_state: bool,
    go_backwards: bool,
    masked: str,
    returned: str,
) -> None:
    layers = pair(
        cls,
        dtype=dtype,
        go_backwards=go_backwards,
        return_sequences="all" in returned,
        return_state="state" in returned,
        zero_output_for_mask=masked == "zero",
    )
    x = tf.constant(draw(6, 4, 3, dtype=dtype))
    mask = tf.constant(MASK) if masked else None
    fused, expected = (
        values_and_gradients(
            layer, x, mask, initial(layer, 6, dtype) if given_state else None, training
        )
        for layer in layers
    )
    assert_close(fused, expected, ATOL[dtype])


@both
@pytest.mark.parametrize("go_backwards", [False, True])
@pytest.mark.parametrize("return_sequences", [False, True])
@training
def test_a_graph_of_unknown_sizes_gives_the_same(
    cls: Any, training: bool, go_backwards: bool, return_sequences: bool
) -> None:
    layer, original = pair(
        cls,
        go_backwards=go_backwards,
        return_sequences=return_sequences,
        return_state=True,
    )
    graph, expected = (in_graph(each, training) for each in (layer, original))
    for batch, time in [(6, 4), (2, 1), (1, 7)]:
        mask = np.resize(MASK, (batch, time))
        feed = draw(batch, time, 3), mask, initial(layer, batch)
        assert_close(graph(*feed), expected(*feed))


@st.composite
def ragged(draw: Any) -> np.ndarray:
    batch, time = draw(st.integers(1, 4)), draw(st.integers(1, 6))
    rows = st.lists(st.booleans(), min_size=time, max_size=time)
    rows = draw(st.lists(rows, min_size=batch, max_size=batch))
    return np.array(rows, "bool").reshape(batch, time)


@both
@training
@settings(max_examples=20, deadline=None)
@given(
    mask=ragged(),
    dim=st.integers(1, 4),
    options=st.fixed_dictionaries(
        {
            key: st.booleans()
            for key in ("go_backwards", "return_sequences", "zero_output_for_mask")
        }
    ),
)
def test_any_shape_and_mask_gives_the_same(
    cls: Any, training: bool, mask: Any, dim: int, options: dict[str, bool]
) -> None:
    layers = pair(cls, dim, return_state=True, **options)
    x = tf.constant(draw(*mask.shape, dim))
    fused, expected = (
        values_and_gradients(layer, x, mask, initial(layer, len(mask)), training)
        for layer in layers
    )
    assert_close(fused, expected)


OPTIONS: dict[str, dict[str, Any]] = {
    "activations": {"activation": "softsign", "recurrent_activation": "hard_sigmoid"},
    "no bias": {"use_bias": False},
    "unrolled": {"unroll": True},
    "a product for each gate": {"implementation": 1},
    "no cuDNN": {"use_cudnn": False},
    "reset before": {"reset_after": False},
    "reset before, no bias": {"reset_after": False, "use_bias": False},
    "dropout": {"dropout": 0.5},
    "no dropout": {"dropout": 1.0},
    # Keras multiplies with the list of its masks if it looks for cuDNN.
    "dropout for each gate": {"dropout": 0.5, "implementation": 1, "use_cudnn": False},
    "recurrent dropout": {"recurrent_dropout": 0.5},
    "both dropouts": {"dropout": 0.3, "recurrent_dropout": 0.5},
    "dropout, unrolled": {"dropout": 0.5, "unroll": True},
    "reset before, dropouts": {
        "dropout": 0.3,
        "recurrent_dropout": 0.5,
        "reset_after": False,
    },
}


@pytest.mark.parametrize(
    ("cls", "name"),
    [
        (cls, n)
        for cls in ORIGINALS
        for n in OPTIONS
        if cls is FusedGRU or n[:5] != "reset"
    ],
)
@training
def test_the_other_options_give_the_same(cls: Any, training: bool, name: str) -> None:
    options = {"seed": 3, **OPTIONS[name]}
    layers = pair(cls, return_sequences=True, return_state=True, **options)
    x = tf.constant(draw(6, 4, 3))
    for _ in range(2):  # the second call has another mask of dropout
        fused, expected = (
            values_and_gradients(
                layer, x, tf.constant(MASK), initial(layer, 6), training
            )
            for layer in layers
        )
        assert_close(fused, expected)
    if training and "dropout" in name and name != "no dropout":
        assert not np.allclose(fused[0][0], layers[0](x)[0])


@both
@pytest.mark.parametrize("return_sequences", [False, True])
@pytest.mark.parametrize("merge_mode", ["concat", "sum"])
@training
def test_bidirectional_gives_the_same(
    cls: Any, training: bool, return_sequences: bool, merge_mode: str
) -> None:
    layers = [
        keras.layers.Bidirectional(
            layer(UNITS, return_sequences=return_sequences, return_state=True),
            merge_mode=merge_mode,
        )
        for layer in (cls, ORIGINALS[cls])
    ]
    x = draw(6, 4, 3)
    for layer in layers:
        layer.build(x.shape)
        layer.set_weights([draw(*w.shape, seed=i) for i, w in enumerate(layer.weights)])
    assert type(layers[0].backward_layer) is cls
    for mask in (MASK, None):
        fused, expected = (
            values_and_gradients(layer, tf.constant(x), mask, training=training)
            for layer in layers
        )
        assert_close(fused, expected)


@both
@training
def test_a_stateful_layer_goes_on_from_its_state(cls: Any, training: bool) -> None:
    x = draw(6, 4, 3)
    layers = [layer(UNITS, stateful=True) for layer in (cls, ORIGINALS[cls])]
    for layer in layers:
        layer.build(x.shape)
        layer.set_weights([draw(*w.shape, seed=i) for i, w in enumerate(layer.weights)])
        layer.reset_state()
    seen = []
    for mask in (None, MASK, None):
        fused, expected = (layer(x, mask=mask, training=training) for layer in layers)
        assert_close([fused, layers[0].states], [expected, layers[1].states])
        seen.append(fused)
    layers[0].reset_state()
    assert_close(layers[0](x, training=training), seen[0])
    assert not np.allclose(seen[0], seen[2])


@both
@pytest.mark.parametrize("known", [False, True])
@training
def test_xla_gives_the_same(cls: Any, training: bool, known: bool) -> None:
    layer, original = pair(cls, return_sequences=True, return_state=True)
    x, states = tf.constant(draw(6, 4, 3)), initial(layer, 6)
    mask = tf.constant(MASK)
    expected = in_graph(original)(x, mask, states)
    if not known:  # till XLA compiles
        compiled = in_graph(layer, training, jit_compile=True)
        assert_close(compiled(x, mask, states), expected)
        return
    options = {"mask": mask, "initial_state": states, "training": training}
    compiled = tf.function(layer, jit_compile=True)
    assert_close(compiled(x, **options), expected[0])
    unmasked = tf.function(lambda x: layer(x, training=training)[0], jit_compile=True)
    assert_close(unmasked(x), original(x)[0])


@both
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16"])
@training
def test_half_precision_gives_the_same(cls: Any, training: bool, policy: str) -> None:
    layers = pair(cls, return_sequences=True, return_state=True, dtype=policy)
    x = tf.constant(draw(6, 4, 3, dtype=layers[0].compute_dtype))
    fused, expected = (
        values_and_gradients(layer, x, MASK, training=training) for layer in layers
    )
    for a, b in zip(tf.nest.flatten(fused), tf.nest.flatten(expected), strict=True):
        assert a.dtype == b.dtype
        a, b = tf.cast(a, "float64"), tf.cast(b, "float64")
        scale = max(1.0, np.abs(b).max())
        np.testing.assert_allclose(a / scale, b / scale, atol=ATOL[policy])


@both
def test_a_model_trains_as_with_keras(cls: Any) -> None:
    x, y = draw(6, 4, 3), draw(6, 4, UNITS, seed=1)
    results = []
    for layer in pair(cls, return_sequences=True):
        inputs = keras.Input((None, 3))
        model = keras.Model(inputs, layer(keras.layers.Masking()(inputs)))
        model.compile("sgd", "mse")
        model.fit(x * MASK[..., None], y, epochs=2, shuffle=False, verbose=0)
        results.append(model.get_weights())
    assert_close(*results)


@both
def test_a_mask_of_numbers_or_of_another_rank_is_taken(cls: Any) -> None:
    layer, original = pair(cls, return_sequences=True)
    x = draw(6, 4, 3)
    for mask in (MASK.astype("int32"), MASK.astype("float32"), MASK[..., None]):
        mask = tf.constant(mask)
        fused = layer.inner_loop(x, initial(layer, 6), mask)
        assert_close(fused, original.inner_loop(x, initial(layer, 6), mask))


@both
@pytest.mark.parametrize("return_sequences", [False, True])
@training
def test_an_empty_batch_gives_empty_results(
    cls: Any, training: bool, return_sequences: bool
) -> None:
    # An LSTM of Keras refuses it outside of a graph.
    layer, original = pair(cls, return_sequences=return_sequences, return_state=True)
    x, mask, states = draw(0, 4, 3), MASK[:0], initial(layer, 0)
    expected = in_graph(original)(x, mask, states)
    assert_close(in_graph(layer, training)(x, mask, states), expected)
    found = layer(x, mask=mask, initial_state=states, training=training)
    assert_close(found, expected[0])


@both
@training
def test_a_layer_that_is_used_twice_gives_the_same(cls: Any, training: bool) -> None:
    def twice(layer: Any) -> Any:
        def call(x: Any, **options: Any) -> Any:
            return layer(layer(x, training=training), **options)

        call.weights = layer.weights  # type: ignore[attr-defined]
        return call

    x = tf.constant(draw(6, 4, UNITS))
    fused, expected = (
        values_and_gradients(twice(layer), x, MASK, training=training)
        for layer in pair(cls, UNITS, return_sequences=True)
    )
    assert_close(fused, expected)


@pytest.mark.parametrize(
    ("cls", "options"),
    [(FusedLSTM, {}), (FusedGRU, {}), (FusedGRU, {"reset_after": False})],
)
@settings(max_examples=10, deadline=None)
@given(mask=ragged(), dim=st.integers(1, 3), go_backwards=st.booleans())
def test_the_gradients_are_the_numeric_ones(
    cls: Any, options: dict[str, Any], mask: Any, dim: int, go_backwards: bool
) -> None:
    layer = cls(
        2,
        return_sequences=True,
        return_state=True,
        go_backwards=go_backwards,
        dtype="float64",
        **options,
    )
    layer.build((None, None, dim))
    shapes = [weight.shape for weight in layer.weights]
    values = [draw(*mask.shape, dim, dtype="float64")]
    values += [draw(len(mask), 2, dtype="float64", seed=i) for i in layer.state_size]
    values += [draw(*shape, dtype="float64", seed=i) for i, shape in enumerate(shapes)]

    @tf.function
    def run(x: Any, *others: Any) -> Any:
        states, weights = others[: -len(shapes)], others[-len(shapes) :]
        call = functools.partial(layer, training=True)
        with keras.StatelessScope(zip(layer.weights, weights, strict=True)):
            results = call(x, mask=tf.constant(mask), initial_state=list(states))
        return tf.add_n([tf.reduce_sum(tf.sin(y)) for y in results])

    made, numeric = tf.test.compute_gradient(run, values, delta=1e-5)
    assert_close(made, numeric, 1e-8)


def jacobians(layer: Any, x: tf.Tensor) -> Any:
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        y = layer(x, mask=MASK[:2], training=True)
    return tape.jacobian(y, x), tape.batch_jacobian(y, x)


def penalty_gradients(layer: Any, x: tf.Tensor) -> Any:
    with tf.GradientTape() as outer:
        with tf.GradientTape() as inner:
            inner.watch(x)
            total = tf.reduce_sum(layer(x, mask=MASK[:2], training=True) ** 2)
        penalty = tf.reduce_sum(inner.gradient(total, x) ** 2)
    return outer.gradient(penalty, layer.trainable_variables)


def forward_gradient(layer: Any, x: tf.Tensor) -> Any:
    with tf.autodiff.ForwardAccumulator(x, tf.ones_like(x)) as accumulator:
        y = layer(x, mask=MASK[:2], training=True)
    return accumulator.jvp(y)


def gradients_of_each_row(layer: Any, x: tf.Tensor) -> Any:
    def gradients(row: tf.Tensor) -> Any:
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(layer(row[None], training=True) ** 2)
        return tape.gradient(total, layer.trainable_variables)

    return tf.vectorized_map(gradients, x)


def gradients_through_a_map(layer: Any, x: tf.Tensor) -> Any:
    with tf.GradientTape() as tape:
        y = tf.vectorized_map(lambda row: layer(row[None], training=True)[0], x)
        total = tf.reduce_sum(y**2)
    return tape.gradient(total, layer.trainable_variables)


def recomputed_gradients(layer: Any, x: tf.Tensor) -> Any:
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = tf.recompute_grad(lambda x: layer(x, training=True))(x)
    return tape.gradient(y, [x, *layer.trainable_variables])


KINDS = [(FusedLSTM, {}), (FusedGRU, {}), (FusedGRU, {"reset_after": False})]
DERIVATIVES = [penalty_gradients, forward_gradient, recomputed_gradients]
# TensorFlow compiles these, which takes some seconds each.
COMPILED = [jacobians, gradients_of_each_row, gradients_through_a_map]
# One of them for `make test`.
QUICK = (FusedLSTM, jacobians)


@pytest.mark.parametrize(
    ("cls", "options", "derivative"),
    [
        pytest.param(
            cls,
            options,
            derivative,
            marks=pytest.mark.slow
            if derivative in COMPILED and (cls, derivative) != QUICK
            else (),
        )
        for cls, options in KINDS
        for derivative in DERIVATIVES + COMPILED
    ],
)
def test_other_derivatives_than_one_gradient_are_those_of_keras(
    cls: Any, options: dict[str, Any], derivative: Callable[..., Any]
) -> None:
    layer, original = pair(cls, return_sequences=True, **options)
    x = tf.constant(draw(2, 4, 3))
    assert_close(derivative(layer, x), derivative(original, x), 1e-4)


@pytest.mark.parametrize(("cls", "options"), KINDS)
@pytest.mark.parametrize("where", ["eager", "tape", "function"])
def test_the_gradient_written_by_hand_is_the_one_that_is_taken(
    cls: Any, options: dict[str, Any], where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    original = cells.tanh_gradient

    def counted(y: tf.Tensor, d: tf.Tensor) -> tf.Tensor:
        calls.append(y)
        return original(y, d)

    monkeypatch.setattr(cells, "tanh_gradient", counted)
    layer, _ = pair(cls, **options)

    def total(x: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(layer(x, training=True))

    def gradient(x: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tf.function(total)(x) if where == "function" else total(x)
        return tape.gradient(y, x)

    x = tf.constant(draw(2, 4, 3))
    assert (tf.function(gradient) if where == "tape" else gradient)(x) is not None
    assert calls


@both
def test_traced_graphs_die_with_their_function(cls: Any) -> None:
    layer, _ = pair(cls, return_sequences=True)
    graphs = []
    for _ in range(2):
        # On Python 3.13 AutoGraph logs its failures, and pytest keeps the records.
        @tf.function(autograph=False)
        def gradients(x: tf.Tensor) -> Any:
            return values_and_gradients(layer, x, training=True)[1]

        graphs.append(weakref.ref(gradients.get_concrete_function(draw(2, 4, 3)).graph))
    del gradients
    gc.collect()
    assert [graph() for graph in graphs] == [None, None]


@both
@training
def test_the_static_shapes_are_those_of_keras(cls: Any, training: bool) -> None:
    def shapes(layer: Any, spec: list[int | None]) -> list[Any]:
        def call(x: Any) -> Any:
            return layer(x, mask=tf.reduce_any(x > 0, axis=2), training=training)

        graph = tf.function(call).get_concrete_function(tf.TensorSpec(spec))
        return [x.shape.as_list() for x in graph.outputs]

    for return_sequences in (False, True):
        layer, original = pair(
            cls, return_sequences=return_sequences, return_state=True
        )
        for spec in ([None, None, 3], [2, None, 3], [None, 4, 3], [2, 4, 3]):
            assert shapes(layer, spec) == shapes(original, spec)


@both
def test_either_class_takes_config_and_weights_of_the_other(
    cls: Any, tmp_path: Path
) -> None:
    options = {"return_sequences": True, "go_backwards": True, "dropout": 0.2}
    x = draw(6, 4, 3)
    for a, b in [(cls, ORIGINALS[cls]), (ORIGINALS[cls], cls)]:
        layer = a(UNITS, use_bias=False, **options)
        expected = layer(x)
        other = b.from_config(layer.get_config())
        assert type(other) is b
        assert other.get_config() == layer.get_config()
        other.build(x.shape)
        other.set_weights(layer.get_weights())
        assert_close(other(x), expected)
        # And through a file
        keras.Sequential([keras.Input((None, 3)), layer]).save(tmp_path / "it.keras")
        saved = keras.saving.load_model(tmp_path / "it.keras").layers[-1]
        other = b.from_config(saved.get_config())
        other.build(x.shape)
        other.set_weights(saved.get_weights())
        assert_close(other(x), expected)


@both
def test_a_gpu_keeps_the_path_of_keras(
    cls: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    original = ORIGINALS[cls]
    monkeypatch.setattr(original, "inner_loop", lambda *args: calls.append(args[0]))
    x = draw(2, 4, 3)
    cls(UNITS)(x)
    assert not calls
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: [kind])
    for options in (
        {"use_cudnn": False},
        {"activation": "relu"},
        {"recurrent_activation": "relu"},
        {"use_bias": False},
        {"recurrent_dropout": 0.5},
    ):
        cls(UNITS, **options)(x)
        assert not calls
    layer = cls(UNITS)
    layer.build(x.shape)
    layer.inner_loop(x, initial(layer, 2), None)
    assert calls == [layer]


@both
def test_the_loop_of_keras_trains_only_what_has_no_loop_here(
    cls: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    original = ORIGINALS[cls].inner_loop

    def counted(self: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append(self)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(ORIGINALS[cls], "inner_loop", counted)
    x = draw(2, 4, 3)
    for options in (
        {},
        {"use_bias": False},
        {"dropout": 0.5, "recurrent_dropout": 0.5},
        *([{"reset_after": False}] if cls is FusedGRU else []),
    ):
        cls(UNITS, **options)(x, training=True)
        assert not calls
    for name in ("activation", "recurrent_activation"):
        layer = cls(UNITS, **{name: "softsign"})
        layer(x)
        assert not calls
        layer(x, training=True)
        assert calls == [layer]
        calls.clear()


@both
def test_an_unrolled_layer_has_no_loop(cls: Any) -> None:
    def loops(layer: Any) -> int:
        graph = tf.function(lambda x: layer(x)).get_concrete_function(x)
        return sum("While" in op.type for op in graph.graph.get_operations())

    x = tf.constant(draw(2, 4, 3))
    assert (loops(cls(UNITS)), loops(cls(UNITS, unroll=True))) == (1, 0)


@both
def test_what_keras_refuses_is_refused(cls: Any) -> None:
    with pytest.raises(ValueError, match="use_cudnn=True was specified"):
        cls(UNITS, use_cudnn=True)(draw(2, 4, 3))
    with pytest.raises(ValueError, match="`units`"):
        cls(0)
