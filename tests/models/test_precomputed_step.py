"""The decoding form: fewer products for every layer that declares its own."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from kseq import build_seq2seq
from kseq.decoding.step_function import flatten_hypotheses, map_nest
from kseq.layers import Attention, Linear, RecurrentCell

VOCAB, UNITS, HYPOTHESES = 300, 8, 3
SOURCE = np.array([[5, 6, 7, 3], [8, 3, 0, 0]], "int32")


@keras.saving.register_keras_serializable(package="tests")
class UpdateGateCell(RecurrentCell):
    """A user's cell, with one gate: h' = h + sigmoid(u) * (tanh(g) - h)."""

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.state_size = self.output_size = self.units = units

    def build(self, input_shape: Any) -> None:
        width = input_shape[-1]
        self.kernel = self.add_weight((width, 2 * self.units), name="kernel")
        self.recurrent_kernel = self.add_weight(
            (self.units, 2 * self.units), name="recurrent_kernel"
        )
        self.bias = self.add_weight((2 * self.units,), initializer="ones", name="bias")

    def step(
        self, linear: Linear, inputs: Any, states: list[Any]
    ) -> tuple[Any, list[Any]]:
        (h,) = states
        products = [(inputs, self.kernel), (h, self.recurrent_kernel)]
        u, g = linear(products, self.bias, splits=2)
        h = linear.read(h)
        h = h + ops.sigmoid(u) * (ops.tanh(g) - h)
        return h, [h]


@keras.saving.register_keras_serializable(package="tests")
class UpdateGateRNN(keras.layers.RNN):
    """The layer of the cell."""

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(UpdateGateCell(units), **kwargs)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["cell"]
        return {**config, "units": self.cell.units}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "UpdateGateRNN":
        return cls(**config)


@keras.saving.register_keras_serializable(package="tests")
class DistanceAttention(Attention):
    """A user's attention: the nearer a memory vector is to the query, the better."""

    def score(self, query: Any, memory: Any, mask: Any, keys: Any, state: Any) -> Any:
        return -ops.sum((query[:, :, None] - memory[:, None]) ** 2, axis=-1)


def model(**options: Any) -> Any:
    keras.utils.set_random_seed(0)
    options = {"units": UNITS, "embedding_dim": 5, **options}
    return build_seq2seq(source_vocab_size=11, target_vocab_size=VOCAB, **options)


def products_of_weights(built: Any, with_tables: bool) -> list[tuple[int, ...]]:
    """The sizes of the matrices that a step of a search multiplies rows with."""
    member = built.search_member()
    tables = member.tables() if with_tables else []

    step, states, sources, _ = member.start(SOURCE, tables)
    carried = map_nest(
        lambda x: tf.repeat(x[:, None], HYPOTHESES, 1), step.carry(states)
    )
    tokens = tf.fill([len(SOURCE), HYPOTHESES], 5)
    seen: list[tuple[int, ...]] = []
    multiply = tf.matmul

    def counting(a: Any, b: Any, **options: Any) -> Any:
        if len(b.shape) == 2:
            seen.append(tuple(b.shape))
        return multiply(a, b, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tf, "matmul", counting)
        step.advance(tokens, carried, sources)
    return seen


@pytest.fixture
def no_direct_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes so small a layer look its products up, as a large one does."""
    monkeypatch.setattr("kseq.models.precomputed_step._SMALL", 0)


@pytest.mark.usefixtures("no_direct_products")
@pytest.mark.parametrize(
    "cell", ["lstm", "gru", "layer_norm_lstm", "layer_norm_gru", UpdateGateRNN(1)]
)
def test_a_step_of_a_cell_multiplies_nothing(cell: Any) -> None:
    # The token's product is a row of a table, the state's is made once a hypothesis.
    assert products_of_weights(model(cell=cell), with_tables=True) == []
    # Without a table the token's vector is multiplied, and nothing else.
    ((rows, _),) = products_of_weights(model(cell=cell), with_tables=False)
    assert rows == 5


@pytest.mark.usefixtures("no_direct_products")
def test_a_users_attention_feeds_a_hidden_layer_without_a_product_of_the_context() -> (
    None
):
    built = model(cell=UpdateGateRNN(1), attention=DistanceAttention())
    # Of [h; context] only h is multiplied: the memory has been, once for a source.
    assert products_of_weights(built, with_tables=True) == [(UNITS, UNITS)]


@pytest.mark.usefixtures("no_direct_products")
@pytest.mark.parametrize("with_tables", [True, False])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"attention": DistanceAttention()},
        {"attention": DistanceAttention(), "input_feeding": True, "layers": 2},
    ],
)
def test_a_users_cell_and_attention_decode_as_they_train(
    options: dict[str, Any], with_tables: bool
) -> None:
    built = model(cell=UpdateGateRNN(1), **options)
    member = built.search_member()
    tables = member.tables() if with_tables else []
    step, states, sources, _ = member.start(SOURCE, tables)
    targets = np.array([[[2, 5, 9], [2, 7, 7]], [[2, 8, 4], [2, 4, 6]]], "int32")
    expected = np.stack(
        [
            built({"encoder_inputs": SOURCE, "decoder_inputs": targets[:, k]})
            for k in (0, 1)
        ],
        axis=1,
    )  # (sources, hypotheses, time, vocab)
    carried = map_nest(lambda x: tf.repeat(x[:, None], 2, 1), step.carry(states))
    for time in range(3):
        hidden, states, _ = step.advance(targets[:, :, time], carried, sources)
        logits = step.project(flatten_hypotheses(hidden))
        wanted = expected[:, :, time].reshape(logits.shape)
        np.testing.assert_allclose(logits, wanted, atol=1e-5)
        carried = map_nest(
            lambda x: tf.reshape(x, [-1, 2, *x.shape[1:]]),
            step.carry(flatten_hypotheses(states)),
        )


def test_a_small_lstm_is_multiplied_gate_by_gate() -> None:
    found = products_of_weights(model(), with_tables=True)
    assert found == 4 * [(5 + UNITS, UNITS)]
