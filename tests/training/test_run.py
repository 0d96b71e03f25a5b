"""Training runs: their files, their settings, and how they resume.

laws/test_killed_run_is_an_uninterrupted_run.py tests that a killed process resumes bit
for bit.
"""

import json
import logging
import re
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest
from laws.children import run_child
from training.short_runs import (
    HELD_OUT,
    MODEL,
    PAIRS,
    TASK,
    TEXTS,
    assert_same_result,
    last_state,
    read_log,
    read_metrics,
    train_briefly,
)

from kseq import TrainingSettings, Translator
from kseq.data import from_pairs
from kseq.decoding import LengthRatio
from kseq.storage.model_folder import ModelFolder
from kseq.training import make_schedule, train
from kseq.training.checkpointing import Checkpointer

# Step by step: a graph of a model this small takes longer to build than to train.
pytestmark = [
    pytest.mark.usefixtures("eagerly"),
    pytest.mark.filterwarnings("ignore:Even though the `tf.config"),
]


# Files.


def test_a_run_writes_a_model_and_its_history(tmp_path: Path) -> None:
    result = train_briefly(tmp_path / "run", metrics=["perplexity", "exact_match"])
    assert (result.folder, result.reason) == (tmp_path / "run", "2 updates")
    names = {path.name for path in result.folder.iterdir()}
    assert names == {
        *("config.json", "vocab.source.json", "vocab.target.json", "model.keras"),
        *("settings.yaml", "metrics.csv", "log.txt", "checkpoints", "state", ".lock"),
    }
    assert list(result.metrics.columns) == [
        *("checkpoint", "updates", "epoch", "seconds", "learning_rate"),
        *(
            "tokens_per_second",
            "train_loss",
            "train_perplexity",
            "train_token_accuracy",
        ),
        *("train_sequence_accuracy", "valid_loss", "valid_perplexity"),
        "valid_exact_match",
    ]
    assert list(result.metrics["checkpoint"]) == list(result.metrics["updates"])
    assert list(result.metrics["epoch"]) == [round(1 / 3, 4), round(2 / 3, 4)]
    assert result.metrics.equals(pd.read_csv(result.folder / "metrics.csv"))
    best = result.folder / f"checkpoints/{result.best:05d}.keras"
    assert (result.folder / "model.keras").read_bytes() == best.read_bytes()
    assert len(Translator.load(result.folder).translate(["1 2"])) == 1


def test_the_saved_model_has_the_recorded_metrics(tmp_path: Path) -> None:
    result = train_briefly(tmp_path / "run", metrics=["perplexity", "token_accuracy"])
    model = Translator.load(result.folder).model
    model.compile(weighted_metrics=["token_accuracy"])
    found = model.evaluate(HELD_OUT.dataset(6, shuffle=False), verbose=0)
    row = result.metrics.iloc[result.best - 1]
    wanted = [row["valid_loss"], row["valid_token_accuracy"]]
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_the_length_ratio_is_that_of_the_training_data(tmp_path: Path) -> None:
    result = train_briefly(tmp_path / "run", max_updates=1, length_deviations=2)
    ratio = LengthRatio.from_ids(PAIRS.source, PAIRS.target, 2)
    assert Translator.load(result.folder).length_ratio == ratio


def test_a_run_that_is_not_verbose_prints_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    train_briefly(tmp_path / "run", max_updates=1)
    assert capfd.readouterr() == ("", "")


def test_the_log_goes_to_stderr_and_a_file(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    logger = logging.getLogger("kseq")
    before = (logger.level, logger.propagate, logger.handlers[:])
    train_briefly(tmp_path / "run", max_updates=1, verbose=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert "checkpoint 1, 1 updates, epoch 0.33" in err
    for line in err.splitlines():
        assert line in read_log(tmp_path / "run")
    assert (logger.level, logger.propagate, logger.handlers) == before


def test_the_model_can_be_a_config(tmp_path: Path, figures: Any) -> None:
    from kseq import Seq2SeqConfig

    figures["perplexity"] = [2.0]
    sizes = {"source_vocab_size": 8, "target_vocab_size": 8}
    result = train(
        tmp_path / "run",
        PAIRS,
        TEXTS,
        Seq2SeqConfig(**sizes, **MODEL),
        TrainingSettings(max_updates=1, checkpoint_updates=1, show=0),
        verbose=False,
    )
    model = keras.saving.load_model(result.folder / "model.keras")
    assert model.config.units == 4


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"file/run"):
        train_briefly(tmp_path / "file" / "run")


def test_two_programs_cannot_train_in_one_folder(tmp_path: Path, figures: Any) -> None:
    figures["perplexity"] = [2.0] * 4
    train_briefly(tmp_path / "run")
    with (
        ModelFolder(tmp_path / "run").lock(),
        pytest.raises(FileExistsError, match="Another program is training in"),
    ):
        train_briefly(tmp_path / "run", overwrite=True)
    assert (tmp_path / "run/model.keras").is_file()


# Settings.


OPTIONS: list[dict[str, Any]] = [
    {"optimizer": "adam", "schedule": "plateau", "beta_1": 0.8, "beta_2": 0.9},
    {"optimizer": "adamw", "schedule": "constant", "weight_decay": 0.01},
    {
        "optimizer": "nadam",
        "schedule": "inverse_time",
        "half_life": 3.0,
        "teacher_forcing_ratio": "linear:4:0.5",
        "clipvalue": 0.5,
    },
    {
        "optimizer": "sgd",
        "schedule": "inverse_sqrt",
        "half_life": 3.0,
        "momentum": 0.9,
        "nesterov": True,
        "unit_gain": True,
        "gradient": "sum",
        "clipvalue_per_token": 1.0,
    },
    {
        "optimizer": "rmsprop",
        "schedule": "step",
        "decay_steps": 1,
        "decay_rate": 0.5,
        "rho": 0.8,
        "momentum": 0.1,
        "label_smoothing": 0.1,
    },
    {
        "optimizer": "adagrad",
        "schedule": "cosine",
        "decay_steps": 4,
        "end_learning_rate": 1e-4,
        "batch_type": "tokens",
        "batch_size": 40,
        "buckets": 2,
    },
    {
        "optimizer": "adadelta",
        "schedule": "constant",
        "warmup_steps": 2,
        "epsilon": 1e-3,
        "accumulation_steps": 2,
        "teacher_forcing_ratio": 0.5,
        "teacher_forcing_coin": "batch",
        "dtype": "mixed_bfloat16",
    },
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda each: each["optimizer"])
def test_every_optimizer_and_schedule_trains(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    result = train_briefly(tmp_path / "run", learning_rate=0.01, **options)
    names = (
        *("half_life", "decay_steps", "decay_rate", "end_learning_rate"),
        "warmup_steps",
    )
    given = {name: options[name] for name in names if name in options}
    rate = make_schedule(options["schedule"], 0.01, **given)
    wanted = [float(rate(k)) if callable(rate) else rate for k in (1, 2)]
    np.testing.assert_allclose(result.metrics["learning_rate"], wanted, rtol=1e-5)
    assert np.isfinite(result.metrics["valid_loss"]).all()
    first, second = (
        Translator.load(result.folder, checkpoint=number).model.get_weights()
        for number in (1, 2)
    )
    assert all(np.isfinite(after).all() for after in second)
    # Not all: the embedding of a token that did not occur is unchanged.
    assert any((a != b).any() for a, b in zip(first, second, strict=True))


def test_a_run_starts_from_parameters(tmp_path: Path, figures: Any) -> None:
    figures["perplexity"] = [2.0]
    old, other = (
        train_briefly(tmp_path / "old", max_updates=1),
        {"max_updates": 1, "seed": 9},
    )
    train_briefly(tmp_path / "other", **other)
    train_briefly(tmp_path / "new", **other, parameters=str(old.folder))
    assert "weights loaded" in read_log(tmp_path / "new")
    there, not_there, here = (
        last_state(tmp_path / name) for name in ("old", "other", "new")
    )
    kernels = [name for name in here if re.search(r"\.model\..*(kernel|embedd)", name)]
    assert len(kernels) == 7
    for name in kernels:
        assert np.array_equal(here[name], there[name])
        assert not np.array_equal(here[name], not_there[name])


def test_parameters_are_loaded_partially_only_on_request(
    tmp_path: Path, figures: Any
) -> None:
    figures["perplexity"] = [2.0]
    old = str(train_briefly(tmp_path / "old", max_updates=1).folder)
    larger = {"max_updates": 1, "model": {"decoder_units": 4, "layers": 2}}
    with pytest.raises(ValueError, match="do not match the model"):
        train_briefly(tmp_path / "new", **larger, parameters=old)
    # A folder without a state can be used again.
    train_briefly(tmp_path / "new", **larger, parameters=old, partial_parameters=True)
    assert "unchanged" in read_log(tmp_path / "new")


def test_a_run_killed_before_its_first_state_loads_parameters_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, figures: Any
) -> None:
    figures["perplexity"] = [2.0]
    old = str(train_briefly(tmp_path / "old", max_updates=1).folder)
    settings: dict[str, Any] = {"max_updates": 1, "seed": 9, "parameters": old}
    train_briefly(tmp_path / "whole", **settings)
    with monkeypatch.context() as patch:
        patch.setattr(Checkpointer, "save_state", lambda self: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train_briefly(tmp_path / "killed", **settings)
    train_briefly(tmp_path / "killed", **settings, resume=True)
    assert_same_result(tmp_path / "killed", tmp_path / "whole")


def test_frozen_layers_keep_their_pretrained_vectors(tmp_path: Path) -> None:
    path = tmp_path / "vectors.txt"
    path.write_text("1 0.5 0.25 1 2\n3 1 1 1 1\n")
    result = train_briefly(
        tmp_path / "run",
        source_embeddings=str(path),
        freeze=["encoder_embedding"],
        learning_rate=0.1,
        max_updates=1,
    )
    translator = Translator.load(result.folder)
    table = translator.model.get_layer("encoder_embedding").get_weights()[0]
    assert table[translator.source_vocab["1"]].tolist() == [0.5, 0.25, 1, 2]
    assert "frozen: encoder_embedding" in read_log(result.folder)
    assert "2 of 8 source vectors from" in read_log(result.folder)


def test_the_sizes_of_the_vocabularies_come_from_the_data(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"`source_vocab_size` must be 8, .*: 9"):
        train_briefly(tmp_path / "run", model={"source_vocab_size": 9})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": "sgd", "beta_1": 0.5}, "'sgd' has no `beta_1`"),
        ({"learning_rate": 0.0}, "`learning_rate` must be a finite number > 0"),
        ({"momentum": 1.0, "optimizer": "sgd"}, "`momentum` must be a number in"),
        (
            {"global_clipnorm": 1.0, "clipvalue": 1.0},
            "`global_clipnorm` and `clipvalue`",
        ),
        ({"teacher_forcing_ratio": "linear"}, "one or two numbers"),
        ({"teacher_forcing_ratio": 1.5}, "`teacher_forcing_ratio` must be"),
        (
            {"schedule": "step", "decay_steps": 2, "decay_rate": 2.0},
            "`decay_rate` must be a number in",
        ),
    ],
)
def test_invalid_settings_are_refused_before_anything_is_written(
    tmp_path: Path, options: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        train_briefly(tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_a_missing_gpu_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'gpu' needs a GPU"):
        train_briefly(tmp_path / "run", device="gpu")


# Resuming.


def test_a_run_resumes_in_the_same_process(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"dtype": "mixed_float16", "accumulation_steps": 2}
    settings |= {"model": {"embedding_dropout": 0.2}, "warmup_steps": 3}
    train_briefly(tmp_path / "whole", **settings)
    train_briefly(tmp_path / "parts", **settings, max_updates=1)
    result = train_briefly(tmp_path / "parts", **settings, resume=True)
    assert result.reason == "2 updates"
    assert_same_result(tmp_path / "parts", tmp_path / "whole")
    assert "`max_updates` was 1, now 2" in read_log(tmp_path / "parts")
    assert "resumed after 1 updates" in read_log(tmp_path / "parts")
    # The scale of the loss is saved too. It is not part of the learning rate.
    names = " ".join(last_state(result.folder))
    assert "dynamic_scale" in names
    assert "step_counter" in names
    rates = [0.001 * part for part in (0.5, 0.75)]
    np.testing.assert_allclose(result.metrics["learning_rate"], rates, rtol=1e-6)


REPLICAS = """
    import sys
    import warnings

    import tensorflow as tf

    (cpu,) = tf.config.list_physical_devices("CPU")
    device = tf.config.LogicalDeviceConfiguration()
    tf.config.set_logical_device_configuration(cpu, [device] * 2)
    tf.config.run_functions_eagerly(True)
    warnings.simplefilter("ignore")

    from kseq import TrainingSettings
    from kseq.data import CopyTask
    from kseq.distribution import get_strategy
    from kseq.training import train

    assert get_strategy("mirrored").num_replicas_in_sync == 2
    pairs, held_out = CopyTask(symbols=4, min_length=1, max_length=3).split(24, 5)
    texts = held_out.source_texts(), held_out.target_texts()
    model = {"units": 4, "embedding_dim": 4, "cell": "simple_rnn"}
    for name, updates in (("whole", 2), ("parts", 1), ("parts", 2)):
        settings = TrainingSettings(
            strategy="mirrored", batch_size=7, checkpoint_updates=1,
            max_updates=updates, metrics=["free_running_perplexity", "exact_match"],
            optimizer="sgd", gradient="sum", clipvalue_per_token=0.1)
        train(f"{sys.argv[1]}/{name}", pairs, texts, model, settings,
              resume=True, verbose=False)
"""


@pytest.mark.slow
def test_two_replicas_train_and_resume(tmp_path: Path) -> None:
    run_child(REPLICAS, tmp_path)
    assert_same_result(tmp_path / "parts", tmp_path / "whole")
    assert list(read_metrics(tmp_path / "parts")["updates"]) == [1, 2]
    assert len(Translator.load(tmp_path / "parts").translate(["1 2"])) == 1


def test_resuming_a_finished_run_returns_its_result(
    tmp_path: Path, figures: Any
) -> None:
    figures["perplexity"] = [2.0, 3.0]
    first = train_briefly(tmp_path / "run")
    before = (first.folder / "model.keras").stat().st_mtime_ns
    again = train_briefly(tmp_path / "run", resume=True)
    assert (again.reason, again.best) == (first.reason, first.best)
    assert again.metrics.equals(first.metrics)
    assert (first.folder / "model.keras").stat().st_mtime_ns >= before


def test_a_run_is_replaced_only_on_request(tmp_path: Path, figures: Any) -> None:
    figures["perplexity"] = [2.0] * 4
    train_briefly(tmp_path / "run", max_updates=4)
    with pytest.raises(FileExistsError, match="Pass `resume` to continue it"):
        train_briefly(tmp_path / "run")
    train_briefly(tmp_path / "run", overwrite=True, max_updates=1)
    assert [path.name for path in (tmp_path / "run/checkpoints").iterdir()] == [
        "00001.keras"
    ]
    assert len(read_metrics(tmp_path / "run")) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "`seed` was 0, now 1"),
        ({"model": {"units": 6}}, "`units` was 4, now 6"),
        (
            {"examples": TASK.split(25, 6, seed=0)[0]},
            "training sources in 'a' differ from the data that",
        ),
        (
            {"texts": (["0 1"], ["0 1"])},
            "validation sources differ from the data that",
        ),
        (
            {"examples": from_pairs(["x"] * 9, ["y"] * 9), "texts": (["x"], ["y"])},
            "source vocabulary in .* is not the vocabulary of the training data",
        ),
        ({"record": {"source": "a", "author": "b"}}, "`author` was None, now 'b'"),
    ],
)
def test_a_run_resumes_only_with_the_same_settings_and_data(
    tmp_path: Path, figures: Any, change: Any, message: str
) -> None:
    figures["perplexity"] = [2.0] * 4
    train_briefly(tmp_path / "run", record={"source": "a"})
    before = last_state(tmp_path / "run")
    with pytest.raises(ValueError, match=message):
        train_briefly(
            tmp_path / "run",
            **{"record": {"source": "a"}, **change},
            max_updates=4,
            resume=True,
        )
    assert last_state(tmp_path / "run").keys() == before.keys()


def test_a_deleted_vocabulary_is_named(tmp_path: Path, figures: Any) -> None:
    figures["perplexity"] = [2.0] * 4
    train_briefly(tmp_path / "run")
    (tmp_path / "run/vocab.source.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"vocab\.source\.json"):
        train_briefly(tmp_path / "run", resume=True)


def test_a_run_of_a_newer_kseq_is_refused_before_its_settings_are_compared(
    tmp_path: Path, figures: Any
) -> None:
    figures["perplexity"] = [2.0] * 4
    train_briefly(tmp_path / "run")
    path = tmp_path / "run/config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format_version": 7}))
    with pytest.raises(ValueError, match=r"version 7, .* Install a newer kseq"):
        train_briefly(tmp_path / "run", resume=True, seed=4)
