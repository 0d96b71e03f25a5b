"""A saved model is the model, and no file is ever half-written."""

import json
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras.src.saving import serialization_lib

from kseq import Seq2Seq, build_seq2seq
from kseq.losses import MaskedCrossentropy
from kseq.metrics import Perplexity

SIZES: dict[str, Any] = {
    "source_vocab_size": 11,
    "target_vocab_size": 12,
    "units": 8,
    "embedding_dim": 4,
}
FEED = {
    "encoder_inputs": np.array([[5, 6, 7, 3], [9, 3, 0, 0]]),
    "decoder_inputs": np.array([[2, 5, 6], [2, 7, 0]]),
}
TARGETS = np.array([[5, 6, 3], [7, 3, 0]])


def make(**settings: Any) -> Seq2Seq:
    return build_seq2seq(**{**SIZES, **settings})


def trained(**settings: Any) -> Seq2Seq:
    model = make(**settings)
    model.compile(
        optimizer=keras.optimizers.Adam(0.01, clipnorm=1.0),
        loss=MaskedCrossentropy(label_smoothing=0.1),
        metrics=["token_accuracy"],
        weighted_metrics=[Perplexity()],
    )
    model.fit(FEED, TARGETS, epochs=2, verbose=0)
    return model


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_model_that_was_compiled_and_not_fitted_loads_without_a_warning(
    tmp_path: Path, optimizer: str
) -> None:
    model = make()
    model.compile(optimizer)
    model.layers[-1].trainable = False
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert len(again.optimizer.variables) == len(model.optimizer.variables)
    again.fit(FEED, TARGETS, verbose=0)


def test_a_reloaded_model_goes_on_training_where_the_first_stopped(
    tmp_path: Path,
) -> None:
    model = trained(name="mine")
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert isinstance(again, Seq2Seq)
    assert (again.config, again.name) == (model.config, "mine")
    np.testing.assert_array_equal(again(FEED), model(FEED))
    assert again.loss.label_smoothing == 0.1
    assert again.optimizer.clipnorm == 1.0
    histories = [
        m.fit(FEED, TARGETS, epochs=3, verbose=0).history for m in (model, again)
    ]
    assert histories[0] == histories[1]
    assert set(histories[0]) == {"loss", "perplexity", "token_accuracy"}
    for one, other in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_an_uncompiled_model_is_saved_too(tmp_path: Path) -> None:
    model = make()
    model.save(str(tmp_path / "model.keras"))
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert not again.compiled
    np.testing.assert_array_equal(again(FEED), model(FEED))


@pytest.mark.parametrize("policy", ["mixed_float16", "float64"])
def test_the_dtype_is_saved_and_the_global_one_has_no_part(
    tmp_path: Path, policy: str
) -> None:
    model = make(dtype=policy)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.dtype_policy.name == policy
    assert again.get_layer("decoder_lstm_1").dtype_policy.name == policy
    np.testing.assert_array_equal(again(FEED), model(FEED))


@pytest.mark.parametrize("layers", [["encoder_embedding"], None])
def test_frozen_layers_stay_frozen(tmp_path: Path, layers: list[str] | None) -> None:
    model = make()
    if layers is None:
        model.trainable = False
    else:
        for name in layers:
            model.get_layer(name).trainable = False
    model.compile()
    model.fit(FEED, TARGETS, verbose=0)
    model.save(tmp_path / "model.keras")
    # A warning, here an error, says if the optimizer's state does not fit.
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert [v.path for v in again.trainable_variables] == [
        v.path for v in model.trainable_variables
    ]


def test_weights_alone_are_saved_and_loaded(tmp_path: Path) -> None:
    model, other = make(layers=2), make(layers=2)
    assert np.abs(model(FEED) - other(FEED)).max() > 0
    model.save_weights(tmp_path / "model.weights.h5")
    other.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(other(FEED), model(FEED))


def test_a_checkpoint_callback_writes_files_that_load(tmp_path: Path) -> None:
    model = make()
    model.compile()
    path = tmp_path / "best.keras"
    callback = keras.callbacks.ModelCheckpoint(
        str(path), monitor="loss", save_best_only=True
    )
    model.fit(FEED, TARGETS, epochs=2, verbose=0, callbacks=[callback])
    assert isinstance(keras.saving.load_model(path), Seq2Seq)
    assert [file.name for file in tmp_path.iterdir()] == ["best.keras"]


def test_an_existing_file_is_replaced_unless_told_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    make(units=6).save(path)
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match=r"model\.keras' exists.*overwrite=True"):
        make().save(path, overwrite=False)
    assert path.read_bytes() == before
    make().save(path)
    assert keras.saving.load_model(path).config.units == 8


def test_a_failure_while_saving_leaves_the_older_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.keras"
    model = make()
    model.save(path)
    before = path.read_bytes()
    layer = model.get_layer("decoder_output")

    def fail(store: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(layer, "save_own_variables", fail)
    with pytest.raises(OSError, match="disk full"):
        model.save(path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["model.keras"]


@pytest.mark.parametrize("name", ["model", "model.h5", "model.keras.old"])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=rf"`filepath` must end in '\.keras'.*{name}'"):
        make().save(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"`zipped` must be True.*Received: False"):
        make().save(tmp_path / "model", zipped=False)


class Unregistered:
    def __call__(self, step: Any) -> float:
        return 0.5


def unregistered(*arguments: Any) -> Any:
    return 0.5


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("teacher_forcing_ratio", lambda step: 0.5),
        ("teacher_forcing_ratio", unregistered),
        ("teacher_forcing_ratio", Unregistered()),
        ("loss", lambda true, predicted: 0.0),
        ("metrics", [unregistered]),
    ],
)
def test_what_could_not_be_loaded_is_refused(
    tmp_path: Path, name: str, value: Any
) -> None:
    path = tmp_path / "model.keras"
    model = make()
    model.save(path)
    before = path.read_bytes()
    model.compile(**{name: value})
    with pytest.raises(ValueError, match=f"`{name}` must be registered.*Received: "):
        model.save(path)
    assert path.read_bytes() == before
    with keras.saving.custom_object_scope({"unregistered": unregistered}):
        if value in (unregistered, [unregistered]):
            model.save(path)
            assert keras.saving.load_model(path).compiled


def test_a_model_of_a_newer_kseq_is_refused(tmp_path: Path) -> None:
    path, newer = tmp_path / "model.keras", tmp_path / "newer.keras"
    make().save(path)
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(newer, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "config.json":
                config = json.loads(content)
                config["config"]["config"]["format_version"] = 2
                content = json.dumps(config).encode()
            new.writestr(name, content)
    with pytest.raises((ValueError, TypeError), match=r"version 2.*newer kseq"):
        keras.saving.load_model(newer)


def test_loading_takes_no_two_layers_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keras tells objects apart by `id`, which a new one may have from a dead one.

    Here all layers have the same, as bad luck might have it.
    """
    model = build_seq2seq(
        source_vocab_size=11,
        target_vocab_size=11,
        units=8,
        layers=3,
        encoder_direction="bidirectional",
    )
    monkeypatch.setattr(serialization_lib, "id", lambda _: 1, raising=False)
    with serialization_lib.ObjectSharingScope():
        again = Seq2Seq.from_config(model.get_config())
    assert len(again.weights) == len(model.weights)
    assert len({id(variable) for variable in again.weights}) == len(model.weights)
