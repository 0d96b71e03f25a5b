"""Checkpoint averaging."""

import pathlib
from typing import Any

import keras
import numpy as np
import pytest

import kseq
from kseq.training import average_checkpoints, choose_checkpoints

SOURCE = np.array([[5, 6, 3], [8, 3, 0]])
TARGET = np.array([[4, 3, 0], [6, 7, 3]])


def make(**settings: Any) -> kseq.Seq2Seq:
    sizes = {"source_vocab_size": 11, "target_vocab_size": 9, "units": 8}
    model = kseq.build_seq2seq(**{**sizes, **settings})
    model.compile("adam")
    return model


def train(model: kseq.Seq2Seq) -> None:
    given = np.pad(TARGET[:, :-1], [(0, 0), (1, 0)], constant_values=2)
    x = {"encoder_inputs": SOURCE, "decoder_inputs": np.where(TARGET == 0, 0, given)}
    model.fit(x, TARGET, epochs=1, verbose=0)


@pytest.mark.parametrize("ending", [".weights.h5", ".keras"])
def test_the_average_has_the_mean_of_all_weights(
    tmp_path: pathlib.Path, ending: str
) -> None:
    model = make(recurrent_dropout=0.2, attention="dot")
    files, weights = [], []
    for k in range(3):
        train(model)
        files.append(tmp_path / f"{k}{ending}")
        (model.save_weights if ending == ".weights.h5" else model.save)(files[-1])
        weights.append(model.get_weights())
    output = tmp_path / f"mean{ending}"
    average_checkpoints(files, output)
    if ending == ".keras":
        averaged = kseq.load_model(output)
        # What is no weight of the model is as in the last file.
        assert int(averaged.optimizer.iterations) == 3
        for ours, theirs in zip(
            averaged.optimizer.variables, model.optimizer.variables, strict=True
        ):
            np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    else:
        averaged = make(recurrent_dropout=0.2, attention="dot")
        train(averaged)  # Keras loads an optimizer's state into one that has some
        averaged.load_weights(output)
    for found, *parts in zip(averaged.get_weights(), *weights, strict=True):
        expected = np.mean(np.asarray(parts, "float64"), axis=0)
        np.testing.assert_allclose(found, expected, atol=1e-7)
    given = {"encoder_inputs": SOURCE, "decoder_inputs": np.array([[2, 4], [2, 6]])}
    assert np.isfinite(averaged(given)).all()


def test_the_average_of_one_checkpoint_is_the_checkpoint(
    tmp_path: pathlib.Path,
) -> None:
    model = make()
    train(model)
    file = tmp_path / "one.keras"
    model.save(file)
    average_checkpoints([file], file)  # replaces the file
    for ours, theirs in zip(
        kseq.load_model(file).get_weights(), model.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_checkpoints_of_another_model_are_refused(tmp_path: pathlib.Path) -> None:
    names = ["a", "b"]
    for name, units in zip(names, (8, 6), strict=True):
        model = make(units=units)
        model.save(tmp_path / f"{name}.keras")
        model.save_weights(tmp_path / f"{name}.weights.h5")
    for ending, word in ((".keras", "configuration"), (".weights.h5", "weights")):
        files = [tmp_path / f"{name}{ending}" for name in names]
        output = tmp_path / f"out{ending}"
        with pytest.raises(ValueError, match=rf"b\{ending}' holds .*{word} than"):
            average_checkpoints(files, output)
        assert not output.exists()
        assert not list(tmp_path.glob("*.tmp*"))


def test_invalid_files_are_named(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ValueError, match="at least one checkpoint"):
        average_checkpoints([], tmp_path / "a.keras")
    with pytest.raises(FileNotFoundError, match=r"1\.keras"):
        average_checkpoints([tmp_path / "1.keras"], tmp_path / "a.keras")
    with pytest.raises(ValueError, match=r"all end in.*a\.keras"):
        average_checkpoints([tmp_path / "1.weights.h5"], tmp_path / "a.keras")


def test_any_keras_model_can_be_averaged(tmp_path: pathlib.Path) -> None:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    first = model.get_weights()
    model.save_weights(tmp_path / "1.weights.h5")
    model.set_weights([weight + 1 for weight in first])
    model.save_weights(tmp_path / "2.weights.h5")
    files = [tmp_path / "1.weights.h5", tmp_path / "2.weights.h5"]
    average_checkpoints(files, tmp_path / "mean.weights.h5")
    model.load_weights(tmp_path / "mean.weights.h5")
    for ours, theirs in zip(model.get_weights(), first, strict=True):
        np.testing.assert_allclose(ours, theirs + 0.5, atol=1e-6)


def test_the_last_or_the_best_are_chosen() -> None:
    files = [f"{k}.keras" for k in range(5)]

    def chosen(*args: Any, **kwargs: Any) -> list[str]:
        return [path.stem for path in choose_checkpoints(files, *args, **kwargs)]

    assert chosen(2) == ["3", "4"]
    assert chosen(9) == ["0", "1", "2", "3", "4"]
    losses = [0.5, 0.1, 0.4, 0.1, 0.9]
    assert chosen(2, losses) == ["1", "3"]
    assert chosen(1, losses) == ["3"]  # the later of equal ones
    assert chosen(3, losses) == ["1", "2", "3"]
    assert chosen(2, losses, higher_is_better=True) == ["0", "4"]


def test_invalid_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="`n` must be"):
        choose_checkpoints(["a.keras"], 0)
    with pytest.raises(ValueError, match="at least one checkpoint"):
        choose_checkpoints([], 1)
    with pytest.raises(ValueError, match="`scores` must be 2 finite numbers"):
        choose_checkpoints(["a.keras", "b.keras"], 1, scores=[0.1])
    with pytest.raises(ValueError, match="finite"):
        choose_checkpoints(["a.keras", "b.keras"], 1, scores=[0.1, float("nan")])
