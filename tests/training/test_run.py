"""A training run in one process: what it writes, decides, refuses and survives.

That a killed process is resumed bit for bit is held by
laws/test_killed_run_is_an_uninterrupted_run.py.
"""

import errno
import json
import logging
import re
import signal
import threading
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from laws.children import run_child

from kseq import Seq2Seq, TrainingSettings, Translator
from kseq.data import CopyTask, Examples, from_pairs
from kseq.decoding import LengthRatio
from kseq.storage.model_folder import ModelFolder
from kseq.training import (
    RunDivergedError,
    RunInterruptedError,
    TrainingResult,
    make_schedule,
    run,
    train,
)
from kseq.training.validation import Validation

MODEL: dict[str, Any] = {"units": 4, "embedding_dim": 4, "cell": "simple_rnn"}
TASK = CopyTask(symbols=4, min_length=1, max_length=3)
PAIRS, HELD_OUT = TASK.split(24, 6, seed=0)
TEXTS = (HELD_OUT.source_texts(), HELD_OUT.target_texts())
CLOCK = ["seconds", "tokens_per_second"]
STEPS_PER_EPOCH = 3

# Step by step: a graph of a model this small takes longer to build than to train.
pytestmark = [
    pytest.mark.usefixtures("eagerly"),
    pytest.mark.filterwarnings("ignore:Even though the `tf.config"),
]


@pytest.fixture(scope="module")
def eagerly() -> Iterator[None]:
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def go(
    folder: Path,
    examples: Examples = PAIRS,
    texts: Any = TEXTS,
    model: Any = None,
    **given: Any,
) -> TrainingResult:
    keywords = {
        name: given.pop(name)
        for name in ("resume", "overwrite", "record", "verbose")
        if name in given
    }
    settings = {
        "batch_size": 8,
        "buckets": 0,
        "checkpoint_updates": 1,
        "max_updates": 2,
        "show": 0,
        **given,
    }
    return train(
        folder,
        examples,
        texts,
        {**MODEL, **(model or {})},
        TrainingSettings(**settings),
        **{"verbose": False, **keywords},
    )


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[float]]:
    """Trains nothing, and gives validation the figures that stand here."""
    found: dict[str, list[float]] = {"perplexity": []}
    logs = dict.fromkeys(
        ("loss", "perplexity", "token_accuracy", "sequence_accuracy"), 1.0
    )

    def fit(model: Any, data: Any, callbacks: Any, **keywords: Any) -> None:
        (callback,) = callbacks
        callback.set_model(model)
        model.stop_training = False
        for epoch in range(keywords["epochs"]):
            callback.on_epoch_begin(epoch)
            for step in range(keywords["steps_per_epoch"]):
                callback.on_train_batch_begin(step)
                callback.on_train_batch_end(step, logs)
                if model.stop_training:
                    break
            callback.on_epoch_end(epoch, logs)
            if model.stop_training:
                return

    def measure(self: Validation, *rest: Any) -> Any:
        number = getattr(self, "asked", 0)
        self.asked = number + 1  # type: ignore[attr-defined]
        taken = {name: values[number] for name, values in found.items()}
        return {"loss": 1.0, "perplexity": 2.0, **taken}, []

    monkeypatch.setattr(Seq2Seq, "fit", fit)
    monkeypatch.setattr(Validation, "measure", measure)
    return found


def metrics(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "metrics.csv").drop(columns=CLOCK)


def last_state(folder: Path) -> dict[str, np.ndarray]:
    with np.load(max((folder / "state").glob("*.npz"))) as file:
        return {name: file[name] for name in file.files if name != "meta"}


def assert_same_end(found: Path, wanted: Path) -> None:
    assert metrics(found).equals(metrics(wanted))
    here, there = last_state(found), last_state(wanted)
    assert list(here) == list(there)
    for name, array in there.items():
        assert here[name].tobytes() == array.tobytes(), name


def log(folder: Path) -> str:
    return (folder / "log.txt").read_text("utf-8")


# What it writes.


def test_a_run_leaves_a_model_and_its_history(tmp_path: Path) -> None:
    result = go(tmp_path / "run", metrics=["perplexity", "exact_match"])
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


def test_the_model_is_that_of_the_figures(tmp_path: Path) -> None:
    result = go(tmp_path / "run", metrics=["perplexity", "token_accuracy"])
    model = Translator.load(result.folder).model
    model.compile(weighted_metrics=["token_accuracy"])
    found = model.evaluate(HELD_OUT.dataset(6, shuffle=False), verbose=0)
    row = result.metrics.iloc[result.best - 1]
    wanted = [row["valid_loss"], row["valid_token_accuracy"]]
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_the_best_so_far_translates_while_it_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = []
    original = run._Run.on_train_batch_end

    def observed(self: Any, batch: int, logs: Any = None) -> None:
        if self.state.rows:
            answers.append(Translator.load(tmp_path / "run").translate(["1"]))
        original(self, batch, logs)

    monkeypatch.setattr(run._Run, "on_train_batch_end", observed)
    go(tmp_path / "run")
    assert len(answers) == 1


def test_outputs_may_be_as_long_as_in_the_training_data(tmp_path: Path) -> None:
    result = go(tmp_path / "run", max_updates=1, length_deviations=2)
    ratio = LengthRatio.from_ids(PAIRS.source, PAIRS.target, 2)
    assert Translator.load(result.folder).length_ratio == ratio


def test_lines_are_shown_as_it_learns(tmp_path: Path) -> None:
    go(
        tmp_path / "run",
        show=2,
        show_sources=["4 1 4"],
        show_every=1,
        checkpoint_updates=2,
    )
    first, second = HELD_OUT.source_texts()[:2]
    lines = log(tmp_path / "run").splitlines()
    shown = [
        re.findall(r"(update \d: |   )(.*)  ->", line) for line in lines if "->" in line
    ]
    # After update 1 (and 2) the source of one's own, at the checkpoint all of them.
    assert [pair for (pair,) in shown] == [
        ("update 1: ", "4 1 4"),
        ("update 2: ", "4 1 4"),
        ("   ", first),
        ("   ", second),
        ("   ", "4 1 4"),
    ]


def test_what_is_shown_and_measured_changes_nothing(tmp_path: Path) -> None:
    # With recurrent dropout Keras draws also where it does not act.
    model = {"recurrent_dropout": 0.5}
    go(tmp_path / "blind", model=model)
    shown = {"show": 2, "show_sources": ["1 2"], "show_every": 1}
    go(tmp_path / "seen", model=model, **shown, metrics=["perplexity", "wer"])
    blind, seen = last_state(tmp_path / "blind"), last_state(tmp_path / "seen")
    for name, array in blind.items():
        assert seen[name].tobytes() == array.tobytes(), name


def test_it_is_silent_if_wanted(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    go(tmp_path / "run", max_updates=1)
    assert capfd.readouterr() == ("", "")


def test_the_log_goes_to_stderr_and_a_file(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    logger = logging.getLogger("kseq")
    before = (logger.level, logger.propagate, logger.handlers[:])
    go(tmp_path / "run", max_updates=1, verbose=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert "checkpoint 1, 1 updates, epoch 0.33" in err
    for line in err.splitlines():
        assert line in log(tmp_path / "run")
    assert (logger.level, logger.propagate, logger.handlers) == before


# What it decides.


def test_the_best_checkpoint_is_the_model(tmp_path: Path, figures: Any) -> None:
    figures["perplexity"] = [5.0, 3.0, 3.0, 4.0]
    result = go(tmp_path / "run", max_updates=4)
    assert result.best == 2
    files = sorted((result.folder / "checkpoints").iterdir())
    assert [file.name[4] for file in files] == ["1", "2", "3", "4"]
    assert (result.folder / "model.keras").read_bytes() == files[1].read_bytes()


def test_the_optimized_metric_decides(tmp_path: Path, figures: Any) -> None:
    figures |= {"perplexity": [5.0, 3.0, 4.0], "bleu": [0.1, 0.2, 0.7]}
    for name, best in (("perplexity", 2), ("bleu", 3)):
        result = go(
            tmp_path / name,
            metrics=["perplexity", "bleu"],
            optimized_metric=name,
            max_updates=3,
        )
        assert result.best == best


@pytest.mark.parametrize(
    ("metric", "values"),
    [
        ("bleu", [0.1, 0.3, 0.3, 0.2, 0.9]),
        ("exact_match", [0.0, 0.5, 0.1, 0.5, 0.9]),
        ("wer", [0.9, 0.4, 0.5, 0.4, 0.1]),
        ("perplexity", [9.0, 4.0, 15.0, 4.0, 1.0]),
    ],
)
def test_it_ends_when_nothing_is_gained(
    tmp_path: Path, figures: Any, metric: str, values: list[float]
) -> None:
    figures |= {"perplexity": [2.0] * 5, metric: values}
    settings = {"metrics": [metric], "max_checkpoints_not_improved": 2}
    result = go(tmp_path / "run", **settings, max_updates=None)
    assert result.reason == f"2 checkpoints without a better {metric}"
    assert (len(result.metrics), result.best) == (4, 2)


@pytest.mark.parametrize(
    ("accumulated", "end", "epochs"), [(1, 5, [2, 4, 5]), (2, 6, [2, 4, 6])]
)
def test_checkpoints_may_be_made_by_epochs(
    tmp_path: Path, figures: Any, accumulated: int, end: int, epochs: list[float]
) -> None:
    figures["perplexity"] = [2.0] * 9
    given = {"checkpoint_updates": None, "checkpoint_epochs": 2, "max_updates": None}
    given["accumulation_steps"] = accumulated
    result = go(tmp_path / "run", **given, max_epochs=end)
    assert list(result.metrics["epoch"]) == epochs
    result = go(tmp_path / "run", **given, max_epochs=8, resume=True)
    # After the one that ended the run come those of whole intervals.
    assert list(result.metrics["epoch"]) == sorted({*epochs, 6, 8})


def test_the_log_has_a_line_every_few_updates(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    given = {"log_every": 2, "checkpoint_updates": 5, "buckets": 2}
    given |= {"show_sources": ["a"], "show_every": 3}
    go(tmp_path / "run", **given, max_updates=4, verbose=True)
    go(tmp_path / "run", **given, max_updates=5, resume=True)
    err = capfd.readouterr().err
    log = (tmp_path / "run/log.txt").read_text()
    figure = r"[0-9.,e+-]+"
    for number in (2, 4):
        line = (
            rf"update {number}, epoch \d+\.\d\d: loss {figure}, perplexity {figure}, "
            rf"token accuracy {figure}, {figure} tokens/s, {figure} samples/s\n"
        )
        assert re.search(line, err)
        assert re.search(line, log)
    assert err.count("samples/s") == log.count("samples/s") == 2
    assert "update 3: a  ->  " in err
    assert log.count("buckets, (source, target) tokens") == 1
    assert re.search(rf"in training loss {figure}, perplexity", err)
    assert not re.search(r"[\r\b\x1b]", err)


@pytest.mark.parametrize(
    ("least", "updates"),
    [({"min_updates": 7, "checkpoint_updates": 2}, 7), ({"min_epochs": 2}, 6)],
)
def test_it_does_not_end_for_that_reason_before_its_time(
    tmp_path: Path, figures: Any, least: Any, updates: int
) -> None:
    figures["perplexity"] = [1.0, *[2.0] * 5]
    result = go(
        tmp_path / "run", **least, max_checkpoints_not_improved=2, max_updates=None
    )
    assert result.metrics["updates"].iloc[-1] == updates
    assert "checkpoints without a better perplexity" in result.reason


def test_no_end_is_made_for_that_reason_where_it_is_off(
    tmp_path: Path, figures: Any
) -> None:
    figures["perplexity"] = [1.0] + [2.0] * 19
    result = go(tmp_path / "run", max_checkpoints_not_improved=0, max_updates=20)
    assert result.reason == "20 updates"


def test_it_ends_after_so_many_epochs(tmp_path: Path, figures: Any) -> None:
    figures["perplexity"] = [2.0] * 3
    result = go(tmp_path / "run", max_updates=None, max_epochs=2, checkpoint_updates=4)
    assert result.reason == "2 epochs"
    # The last checkpoint comes when it ends, not when its time has come.
    assert list(result.metrics["updates"]) == [4, 2 * STEPS_PER_EPOCH]


def test_it_ends_after_so_many_seconds_in_all_sittings(
    tmp_path: Path, figures: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures["perplexity"] = [2.0] * 9
    now = [0.0]

    def step(self: Any, batch: int, logs: Any = None) -> None:
        now[0] += 10

    monkeypatch.setattr(run.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(run._Run, "on_train_batch_begin", step)
    result = go(tmp_path / "run", max_updates=None, max_seconds=30)
    assert result.reason == "30 seconds"
    now[0] = 10**6
    again = go(tmp_path / "run", max_updates=None, max_seconds=60, resume=True)
    assert again.reason == "60 seconds"
    assert list(again.metrics["seconds"]) == [10, 20, 30, 40, 50, 60]


def test_without_any_time_it_still_makes_a_checkpoint(
    tmp_path: Path, figures: Any
) -> None:
    figures["perplexity"] = [2.0]
    result = go(tmp_path / "run", max_seconds=0, max_updates=None)
    assert (result.reason, len(result.metrics)) == ("0 seconds", 1)


def test_the_rate_falls_where_the_figures_stall(tmp_path: Path, figures: Any) -> None:
    figures["perplexity"] = [5.0, 4.0, 4.0, 4.0, 3.0, 3.0]
    result = go(
        tmp_path / "run",
        learning_rate=0.5,
        plateau_factor=0.1,
        plateau_patience=1,
        max_updates=6,
    )
    # What each checkpoint was trained with: the fall shows in the next.
    assert list(result.metrics["learning_rate"].round(6)) == [
        *(0.5, 0.5, 0.5, 0.05, 0.005, 0.005)
    ]


@pytest.mark.parametrize(("keep", "kept"), [(0, [1, 2, 3, 4]), (1, [2, 4])])
def test_old_checkpoints_go_but_never_the_best(
    tmp_path: Path, figures: Any, keep: int, kept: list[int]
) -> None:
    figures["perplexity"] = [5.0, 1.0, 3.0, 4.0]
    result = go(tmp_path / "run", keep_checkpoints=keep, max_updates=4)
    assert list(ModelFolder(result.folder).checkpoints()) == kept


# What it trains with.

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
    result = go(tmp_path / "run", learning_rate=0.01, **options)
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
    # Not all: in the embeddings, say, a token may not have occurred.
    assert any((a != b).any() for a, b in zip(first, second, strict=True))


def test_it_starts_from_given_parameters(tmp_path: Path, figures: Any) -> None:
    figures["perplexity"] = [2.0]
    old, other = go(tmp_path / "old", max_updates=1), {"max_updates": 1, "seed": 9}
    go(tmp_path / "other", **other)
    go(tmp_path / "new", **other, parameters=str(old.folder))
    assert "weights taken" in log(tmp_path / "new")
    there, not_there, here = (
        last_state(tmp_path / name) for name in ("old", "other", "new")
    )
    kernels = [name for name in here if re.search(r"\.model\..*(kernel|embedd)", name)]
    assert len(kernels) == 7
    for name in kernels:
        assert np.array_equal(here[name], there[name])
        assert not np.array_equal(here[name], not_there[name])


def test_parameters_are_taken_in_part_only_if_wanted(
    tmp_path: Path, figures: Any
) -> None:
    figures["perplexity"] = [2.0]
    old = str(go(tmp_path / "old", max_updates=1).folder)
    larger = {"max_updates": 1, "model": {"decoder_units": 4, "layers": 2}}
    with pytest.raises(ValueError, match="are not those of the model"):
        go(tmp_path / "new", **larger, parameters=old)
    # Nothing was trained: the folder is free.
    go(tmp_path / "new", **larger, parameters=old, partial_parameters=True)
    assert "kept as they were" in log(tmp_path / "new")


def test_parameters_are_taken_also_by_a_run_killed_before_its_first_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, figures: Any
) -> None:
    figures["perplexity"] = [2.0]
    old = str(go(tmp_path / "old", max_updates=1).folder)
    settings: dict[str, Any] = {"max_updates": 1, "seed": 9, "parameters": old}
    go(tmp_path / "whole", **settings)
    with monkeypatch.context() as patch:
        patch.setattr(run._Run, "_save", lambda self: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            go(tmp_path / "killed", **settings)
    go(tmp_path / "killed", **settings, resume=True)
    assert_same_end(tmp_path / "killed", tmp_path / "whole")


def test_frozen_layers_keep_their_vectors_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "vectors.txt"
    path.write_text("1 0.5 0.25 1 2\n3 1 1 1 1\n")
    result = go(
        tmp_path / "run",
        source_embeddings=str(path),
        freeze=["encoder_embedding"],
        learning_rate=0.1,
        max_updates=1,
    )
    translator = Translator.load(result.folder)
    table = translator.model.get_layer("encoder_embedding").get_weights()[0]
    assert table[translator.source_vocab["1"]].tolist() == [0.5, 0.25, 1, 2]
    assert "frozen: encoder_embedding" in log(result.folder)
    assert "2 of 8 source vectors from" in log(result.folder)


def test_the_sizes_of_the_vocabularies_come_from_the_data(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"`source_vocab_size` must be 8, .*: 9"):
        go(tmp_path / "run", model={"source_vocab_size": 9})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": "sgd", "beta_1": 0.5}, "'sgd' has no `beta_1`"),
        ({"learning_rate": 0.0}, "`learning_rate` must be a finite number > 0"),
        ({"momentum": 1.0, "optimizer": "sgd"}, "`momentum` must be a number in"),
        (
            {"global_clipnorm": 1.0, "clipvalue": 1.0},
            "`global_clipnorm` or `clipvalue`",
        ),
        ({"teacher_forcing_ratio": "linear"}, "one or two numbers"),
        ({"teacher_forcing_ratio": 1.5}, "`teacher_forcing_ratio` must be"),
        (
            {"schedule": "step", "decay_steps": 2, "decay_rate": 2.0},
            "`decay_rate` must be in",
        ),
    ],
)
def test_settings_that_no_optimizer_has_are_refused_before_anything_is_written(
    tmp_path: Path, options: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        go(tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_a_gpu_that_is_not_there_is_not_made_do_without(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'gpu' needs a GPU"):
        go(tmp_path / "run", device="gpu")


# How it goes on.


def test_a_run_goes_on_in_the_same_process_where_it_was(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"dtype": "mixed_float16", "accumulation_steps": 2}
    settings |= {"model": {"embedding_dropout": 0.2}, "warmup_steps": 3}
    go(tmp_path / "whole", **settings)
    go(tmp_path / "parts", **settings, max_updates=1)
    result = go(tmp_path / "parts", **settings, resume=True)
    assert result.reason == "2 updates"
    assert_same_end(tmp_path / "parts", tmp_path / "whole")
    assert "`max_updates` was 1, now 2" in log(tmp_path / "parts")
    assert "resumed after 1 updates" in log(tmp_path / "parts")
    # The scale of the loss has been saved too, and does not pass for the rate.
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
def test_two_replicas_train_and_go_on(tmp_path: Path) -> None:
    run_child(REPLICAS, tmp_path)
    assert_same_end(tmp_path / "parts", tmp_path / "whole")
    assert list(metrics(tmp_path / "parts")["updates"]) == [1, 2]
    assert len(Translator.load(tmp_path / "parts").translate(["1 2"])) == 1


def test_a_run_that_has_ended_is_only_told_of(tmp_path: Path, figures: Any) -> None:
    figures["perplexity"] = [2.0, 3.0]
    first = go(tmp_path / "run")
    before = (first.folder / "model.keras").stat().st_mtime_ns
    again = go(tmp_path / "run", resume=True)
    assert (again.reason, again.best) == (first.reason, first.best)
    assert again.metrics.equals(first.metrics)
    assert (first.folder / "model.keras").stat().st_mtime_ns >= before


def test_a_run_is_not_mixed_with_another(tmp_path: Path, figures: Any) -> None:
    figures["perplexity"] = [2.0] * 4
    go(tmp_path / "run", max_updates=4)
    with pytest.raises(FileExistsError, match="Pass `resume` to continue it"):
        go(tmp_path / "run")
    go(tmp_path / "run", overwrite=True, max_updates=1)
    assert [path.name for path in (tmp_path / "run/checkpoints").iterdir()] == [
        "00001.keras"
    ]
    assert len(metrics(tmp_path / "run")) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "`seed` was 0, now 1"),
        ({"model": {"units": 6}}, "`units` was 4, now 6"),
        (
            {"examples": TASK.split(25, 6, seed=0)[0]},
            "training sources in 'a' are not those that",
        ),
        (
            {"texts": (["0 1"], ["0 1"])},
            "validation sources are not those that",
        ),
        (
            {"examples": from_pairs(["x"] * 9, ["y"] * 9), "texts": (["x"], ["y"])},
            "source vocabulary of .* is not that of the training data",
        ),
        ({"record": {"source": "a", "author": "b"}}, "`author` was None, now 'b'"),
    ],
)
def test_another_run_is_not_taken_for_its_continuation(
    tmp_path: Path, figures: Any, change: Any, message: str
) -> None:
    figures["perplexity"] = [2.0] * 4
    go(tmp_path / "run", record={"source": "a"})
    before = last_state(tmp_path / "run")
    with pytest.raises(ValueError, match=message):
        go(
            tmp_path / "run",
            **{"record": {"source": "a"}, **change},
            max_updates=4,
            resume=True,
        )
    assert last_state(tmp_path / "run").keys() == before.keys()


def test_a_deleted_vocabulary_is_named(tmp_path: Path, figures: Any) -> None:
    figures["perplexity"] = [2.0] * 4
    go(tmp_path / "run")
    (tmp_path / "run/vocab.source.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"vocab\.source\.json"):
        go(tmp_path / "run", resume=True)


def test_a_run_of_a_newer_kseq_is_told_from_other_settings(
    tmp_path: Path, figures: Any
) -> None:
    figures["perplexity"] = [2.0] * 4
    go(tmp_path / "run")
    path = tmp_path / "run/config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format_version": 7}))
    with pytest.raises(ValueError, match=r"version 7, .* Install a newer kseq"):
        go(tmp_path / "run", resume=True, seed=4)


def test_of_a_cut_state_the_one_before_is_taken(tmp_path: Path, figures: Any) -> None:
    # The best checkpoint of the state before is gone with the one that is cut.
    figures["perplexity"] = [9.0, 8.0, 7.0, 7.0]
    go(tmp_path / "whole", max_updates=4, keep_checkpoints=1)
    go(tmp_path / "cut", max_updates=3, keep_checkpoints=1)
    last = max((tmp_path / "cut/state").iterdir())
    last.write_bytes(last.read_bytes()[:-1000])
    figures["perplexity"] = [7.0, 7.0]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        go(tmp_path / "cut", max_updates=4, keep_checkpoints=1, resume=True)
    messages = [str(warning.message) for warning in caught]
    assert any("going on from '0000000002.npz'" in message for message in messages)
    assert any("00002.keras' is missing" in message for message in messages)
    assert_same_end(tmp_path / "cut", tmp_path / "whole")
    place = ModelFolder(tmp_path / "cut")
    assert place.model.read_bytes() == place.checkpoint(3).read_bytes()


def test_a_damaged_checkpoint_does_not_become_the_model(
    tmp_path: Path, figures: Any
) -> None:
    figures["perplexity"] = [2.0, 3.0, 3.0]
    go(tmp_path / "run")
    model = (tmp_path / "run/model.keras").read_bytes()
    best = tmp_path / "run/checkpoints/00001.keras"
    best.write_bytes(best.read_bytes()[:-1000])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        go(tmp_path / "run", max_updates=3, resume=True)
    messages = " ".join(str(warning.message) for warning in caught)
    assert "00001.keras' is missing or damaged; 'model.keras' stays" in messages
    assert (tmp_path / "run/model.keras").read_bytes() == model


def test_a_missing_model_is_made_of_the_best_checkpoint(
    tmp_path: Path, figures: Any
) -> None:
    figures["perplexity"] = [2.0, 3.0]
    go(tmp_path / "run")
    (tmp_path / "run/model.keras").unlink()
    go(tmp_path / "run", resume=True)
    best = tmp_path / "run/checkpoints/00001.keras"
    assert (tmp_path / "run/model.keras").read_bytes() == best.read_bytes()


@pytest.mark.parametrize("where", ["state", "checkpoint", "model", "metrics"])
def test_a_full_disk_ends_a_run_that_can_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, figures: Any, where: str
) -> None:
    figures["perplexity"] = [3.0, 2.0]
    go(tmp_path / "whole")
    kinds = {
        "state": ".npz",
        "checkpoint": "[0-9].keras",
        "model": "model.keras",
        "metrics": ".csv",
    }
    real = run.os.replace
    written = []

    def full(source: Any, target: Any) -> None:
        if re.search(f"{kinds[where]}$", str(target)):
            written.append(target)
            if len(written) == 2:
                raise OSError(errno.ENOSPC, "No space left on device", str(target))
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", full)
        with pytest.raises(OSError, match="No space left on device"):
            go(tmp_path / "run")
    hidden = [
        path.name for path in (tmp_path / "run").rglob(".*") if path.name != ".lock"
    ]
    assert hidden == []
    # The first state is that of the beginning.
    figures["perplexity"] = [3.0, 2.0][0 if where == "state" else 1 :]
    go(tmp_path / "run", resume=True)
    assert_same_end(tmp_path / "run", tmp_path / "whole")


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"file/run"):
        go(tmp_path / "file" / "run")


def test_two_programs_do_not_train_in_one_folder(tmp_path: Path, figures: Any) -> None:
    figures["perplexity"] = [2.0] * 4
    go(tmp_path / "run")
    with (
        ModelFolder(tmp_path / "run").lock(),
        pytest.raises(FileExistsError, match="Another program is training in"),
    ):
        go(tmp_path / "run", overwrite=True)
    assert (tmp_path / "run/model.keras").is_file()


# How it breaks off.


def test_a_run_that_diverges_keeps_its_last_good_checkpoint(
    tmp_path: Path, figures: Any
) -> None:
    for name, bad in (("high", 1000.0), ("nan", float("nan")), ("inf", float("inf"))):
        figures["perplexity"] = [5.0, 4.0, bad]
        with pytest.raises(RunDivergedError) as caught:
            go(tmp_path / name, max_updates=9)
        message = str(caught.value)
        assert f"The perplexity on the validation data is {bad:.3g}, worse" in message
        assert "after 3 updates, at a learning rate of 0.001: lower it" in message
        assert "The best checkpoint is 2." in message
        assert message in log(tmp_path / name)
        assert len(metrics(tmp_path / name)) == 2
        folder = ModelFolder(tmp_path / name)
        assert list(folder.checkpoints()) == [1, 2]
        assert folder.model.read_bytes() == folder.checkpoint(2).read_bytes()


def test_a_diverged_run_diverges_again(tmp_path: Path, figures: Any) -> None:
    figures["perplexity"] = [5.0, 1000.0]
    with pytest.raises(RunDivergedError):
        go(tmp_path / "run", max_updates=9)
    figures["perplexity"] = [1000.0]
    with pytest.raises(RunDivergedError, match="The best checkpoint is 1"):
        go(tmp_path / "run", max_updates=9, resume=True)


def test_far_too_high_a_rate_diverges(tmp_path: Path) -> None:
    with pytest.raises(RunDivergedError, match="There is no checkpoint yet"):
        go(
            tmp_path / "run",
            optimizer="sgd",
            global_clipnorm=0,
            learning_rate=1e6,
            checkpoint_updates=5,
            max_updates=20,
        )
    # It has nothing to lose but its beginning.
    assert not (tmp_path / "run/model.keras").exists()


def test_a_loss_that_is_no_number_is_seen_between_checkpoints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, figures: Any
) -> None:
    original = run._Run.on_train_batch_end

    def poisoned(self: Any, batch: int, logs: Mapping[str, Any]) -> None:
        original(self, batch, {**logs, "loss": float("nan")})

    monkeypatch.setattr(run._Run, "on_train_batch_end", poisoned)
    with pytest.raises(RunDivergedError, match="The loss is nan after 10 updates"):
        go(tmp_path / "run", checkpoint_updates=100, max_updates=200)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_ends_it_after_the_step_at_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, figures: Any, name: str
) -> None:
    figures["perplexity"] = [2.0]
    number = getattr(signal, name)
    before = signal.getsignal(number)

    def signalled(self: Any, batch: int, logs: Any = None) -> None:
        if self.state.steps == 1:
            signal.raise_signal(number)

    monkeypatch.setattr(run._Run, "on_train_batch_begin", signalled)
    settings = {"checkpoint_updates": 3, "max_updates": 3}
    with pytest.raises(RunInterruptedError, match=f"stopped by {name}") as caught:
        go(tmp_path / "run", **settings)
    assert caught.value.signal == number
    assert signal.getsignal(number) == before
    assert f"{name}: ending after this step" in log(tmp_path / "run")
    assert "saved after 2 updates" in log(tmp_path / "run")
    assert go(tmp_path / "run", **settings, resume=True).reason == "3 updates"


def test_a_second_signal_ends_the_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, figures: Any
) -> None:
    figures["perplexity"] = [2.0] * 4

    def impatient(self: Any, batch: int, logs: Any = None) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(run._Run, "on_train_batch_begin", impatient)
    # A shell's background processes ignore it from the start.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            go(tmp_path / "run")
    finally:
        signal.signal(signal.SIGINT, before)


def test_it_trains_in_a_thread_too(tmp_path: Path, figures: Any) -> None:
    figures["perplexity"] = [2.0] * 4
    results = []
    thread = threading.Thread(target=lambda: results.append(go(tmp_path / "run")))
    thread.start()
    thread.join()
    assert results[0].reason == "2 updates"


def test_a_model_may_be_given_as_a_config(tmp_path: Path, figures: Any) -> None:
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
