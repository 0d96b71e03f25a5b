"""Strategies by name, and one model trained by several processes."""

import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from laws.children import run_child, run_workers

from kseq.distribution import get_strategy, is_chief, use_device

# Every worker runs the same program, as it would on machines of its own.
WORKER = """
    import os
    import signal
    import sys

    import keras
    import numpy as np

    from kseq.distribution import get_strategy, is_chief

    name, folder, dies = sys.argv[1], sys.argv[2], sys.argv[3] == "True"
    strategy = get_strategy(name)

    from kseq import build_seq2seq, load_model
    from kseq.data import CopyTask

    task = CopyTask(symbols=5, min_length=1, max_length=6)
    train, valid = task.split(37, 10, seed=0)
    checkpoint = f"{folder}/checkpoint.keras"
    epoch = 0
    with strategy.scope():
        if os.path.exists(checkpoint):
            model = load_model(checkpoint)
            epoch = int(keras.ops.convert_to_numpy(model.optimizer.iterations)) // 5
        else:
            keras.utils.set_random_seed(0)
            model = build_seq2seq(
                source_vocab_size=len(task.vocab), target_vocab_size=len(task.vocab),
                units=8, cell="gru")
            model.compile(
                optimizer=keras.optimizers.SGD(0.3, momentum=0.9, global_clipnorm=0.05),
                metrics=["token_accuracy", "perplexity"])

    class EachEpoch(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if is_chief(strategy):
                self.model.save(checkpoint)
            elif dies and epoch == 1:
                os.kill(os.getpid(), signal.SIGKILL)

    history = model.fit(
        train.dataset(9, seed=1, initial_epoch=epoch, strategy=strategy),
        initial_epoch=epoch, epochs=3,
        validation_data=valid.dataset(4, shuffle=False), verbose=0,
        callbacks=[EachEpoch()])
    if is_chief(strategy):
        found = model.generate(valid.source)
        np.savez(f"{folder}/{name}.npz", found.scores, found.tokens,
                 *[history.history[key] for key in sorted(history.history)],
                 *model.get_weights())
    print("finished from epoch", epoch)
"""


def test_a_strategy_is_made_once_for_its_name() -> None:
    assert get_strategy("one_device") is get_strategy("one_device")
    assert isinstance(get_strategy("auto"), tf.distribute.Strategy)


def test_without_gpus_auto_is_one_device() -> None:
    assert get_strategy("auto") is get_strategy("one_device")
    assert get_strategy("auto").num_replicas_in_sync == 1


def test_a_strategy_object_is_taken_as_it_is() -> None:
    strategy = tf.distribute.OneDeviceStrategy("/CPU:0")
    assert get_strategy(strategy) is strategy


@pytest.mark.parametrize("name", ["mirored", None, 2])
def test_an_unknown_name_is_refused_with_the_choices(name: object) -> None:
    message = rf"'auto', 'one_device', .* Received: {re.escape(repr(name))}"
    with pytest.raises(ValueError, match=message):
        get_strategy(name)


@pytest.mark.parametrize(
    "config",
    [
        "",
        "{",
        "[]",
        '{"cluster": {}, "task": {"index": 0}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": "0"}}',
    ],
)
def test_a_missing_or_malformed_cluster_is_named(
    config: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(ValueError, match=r"TF_CONFIG.*127|TF_CONFIG.*host1:12345"):
        get_strategy("multi_worker")


def test_a_program_alone_is_its_own_chief() -> None:
    assert is_chief()
    assert is_chief(get_strategy("one_device"))


def test_two_processes_train_the_model_of_one(tmp_path: Path) -> None:
    alone, together = tmp_path / "alone", tmp_path / "together"
    alone.mkdir()
    together.mkdir()
    run_child(WORKER, "one_device", alone, False)
    for code, printed, errors in run_workers(WORKER, "multi_worker", together, False):
        assert code == 0, errors[-4000:]
        assert "finished from epoch 0" in printed
    one = np.load(alone / "one_device.npz")
    two = np.load(together / "multi_worker.npz")
    for part in one.files:
        np.testing.assert_allclose(two[part], one[part], atol=1e-5, rtol=1e-6)


@pytest.mark.slow
def test_a_killed_worker_ends_the_other_and_a_restart_goes_on(tmp_path: Path) -> None:
    alone, together = tmp_path / "alone", tmp_path / "together"
    alone.mkdir()
    together.mkdir()
    run_child(WORKER, "one_device", alone, False)
    chief, worker = run_workers(WORKER, "multi_worker", together, True)
    assert worker[0] == -9
    assert chief[0] != 0
    assert "Another worker has stopped" in chief[2].strip().splitlines()[-1]
    for code, printed, errors in run_workers(WORKER, "multi_worker", together, False):
        assert code == 0, errors[-4000:]
        # The worker was killed at the end of epoch 1, before or after the checkpoint.
        assert re.search("finished from epoch [12]", printed)
    one = np.load(alone / "one_device.npz")
    two = np.load(together / "multi_worker.npz")
    # Scores and weights; the histories differ in length.
    for part in ("arr_0", one.files[-1], one.files[-2]):
        np.testing.assert_allclose(two[part], one[part], atol=1e-5, rtol=1e-6)


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'gpu' needs a GPU.*kseq\[gpu\]"):
        use_device("gpu")
    with pytest.raises(ValueError, match=r"'auto', 'cpu', 'gpu'.*'tpu'"):
        use_device("tpu")
