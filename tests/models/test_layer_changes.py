"""What was changed on a layer of a built model is in its file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import kseq

FEED = {
    "encoder_inputs": np.array([[5, 6, 7, 3], [8, 3, 0, 0]]),
    "decoder_inputs": np.array([[2, 5, 6], [2, 7, 0]]),
}
TARGETS = np.array([[5, 6, 3], [7, 3, 0]])


def make(**settings: Any) -> kseq.Seq2Seq:
    return kseq.build_seq2seq(
        source_vocab_size=9, target_vocab_size=9, units=8, **settings
    )


def array(value: Any) -> np.ndarray:
    return keras.ops.convert_to_numpy(value)


def find(model: kseq.Seq2Seq, name: str) -> Any:
    """Finds a layer at any depth."""
    (found,) = [each for each in model._flatten_layers() if each.name == name]
    return found


def freeze_a_half(model: kseq.Seq2Seq) -> None:
    model.get_layer("encoder_lstm_1").forward_layer.trainable = False


def freeze_a_cell(model: kseq.Seq2Seq) -> None:
    model.get_layer("encoder_lstm_1").backward_layer.cell.trainable = False


def freeze_a_variable(model: kseq.Seq2Seq) -> None:
    model.get_layer("decoder_output").kernel.trainable = False


def thaw_a_layer(model: kseq.Seq2Seq) -> None:
    model.trainable = False
    model.trainable = True
    find(model, "decoder_attention").trainable = False
    find(model, "decoder_attention").query_layer.trainable = True


def adapt(model: kseq.Seq2Seq) -> None:
    model.get_layer("encoder_embedding").enable_lora(2)
    find(model, "decoder_attention").query_layer.enable_lora(2, lora_alpha=3)


def quantize(model: kseq.Seq2Seq) -> None:
    model.quantize("int4")


def quantize_and_adapt(model: kseq.Seq2Seq) -> None:
    model.get_layer("decoder_output").enable_lora(2)
    model.quantize("int8")
    find(model, "decoder_attention").query_layer.enable_lora(3)


def set_a_dtype(model: kseq.Seq2Seq) -> None:
    model.get_layer("decoder_output").dtype_policy = "mixed_bfloat16"


def set_activations(model: kseq.Seq2Seq) -> None:
    model.get_layer("decoder_output").activation = keras.activations.tanh
    find(model, "decoder_lstm_1").cell.activation = keras.activations.softsign


CHANGES = [
    freeze_a_half,
    freeze_a_cell,
    freeze_a_variable,
    thaw_a_layer,
    adapt,
    quantize,
    quantize_and_adapt,
    set_a_dtype,
    set_activations,
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_changed_model_goes_on_training_from_its_file(
    change: Callable[[kseq.Seq2Seq], None], tmp_path: Path
) -> None:
    model = make(
        attention="general",
        embedding_dim=4,
        encoder_direction="bidirectional",
        hidden_dropout=0.2,  # its seeds are in the file as well
    )
    change(model)
    model.compile(keras.optimizers.Adam(0.01), run_eagerly=True)
    model.fit(FEED, TARGETS, verbose=0)
    model.save(tmp_path / "model.keras")
    again = kseq.load_model(tmp_path / "model.keras")
    assert len(again.trainable_variables) == len(model.trainable_variables)
    np.testing.assert_array_equal(again(FEED), model(FEED))
    # The first factor of LoRA has hardly a gradient while the second is all but zero.
    moving = [v for v in model.trainable_variables if not v.path.endswith("_a")]
    before = list(map(array, moving))
    for each in (model, again):
        each.fit(FEED, TARGETS, verbose=0)
    for ours, theirs in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    for one, other in zip(before, map(array, moving), strict=True):
        assert np.abs(one - other).max() > 0  # it did go on


def test_a_changed_function_that_cannot_be_loaded_is_refused(tmp_path: Path) -> None:
    model = make()
    find(model, "decoder_lstm_1").cell.activation = unregistered
    with pytest.raises(
        ValueError, match=r"'decoder_lstm_1/0'.*`activation`.*register.*unregistered"
    ):
        model.save(tmp_path / "model.keras")
    assert list(tmp_path.iterdir()) == []


def unregistered(x: Any) -> Any:
    return 2 * x


def test_weights_of_lora_are_loaded_where_there_are_none(tmp_path: Path) -> None:
    model, plain = make(), make()
    layer = model.get_layer("decoder_output")
    layer.enable_lora(2)
    layer.lora_kernel_b.assign(keras.ops.ones_like(layer.lora_kernel_b))
    model.save_weights(tmp_path / "a.weights.h5")
    plain.load_weights(tmp_path / "a.weights.h5")  # merged into the kernel
    np.testing.assert_allclose(plain(FEED), model(FEED), atol=1e-5)
