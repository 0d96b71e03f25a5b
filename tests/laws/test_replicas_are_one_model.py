"""Guarantee 6: N replicas are one model at the same global batch."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from laws.children import run_child

TRAIN = """
    import json
    import sys

    import keras
    import numpy as np
    import tensorflow as tf

    folder, replicas, runs = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
    (cpu,) = tf.config.list_physical_devices("CPU")
    device = tf.config.LogicalDeviceConfiguration()
    tf.config.set_logical_device_configuration(cpu, [device] * replicas)

    from kseq import build_seq2seq
    from kseq.data import CopyTask
    from kseq.distribution import get_strategy

    strategy = get_strategy("mirrored" if replicas > 1 else "one_device")
    assert strategy.num_replicas_in_sync == replicas
    # 37 examples in batches of 9: odd ones, and a last one of a single row. Their
    # lengths differ, and with them the tokens of each replica.
    task = CopyTask(symbols=5, min_length=1, max_length=6)
    train, valid = task.split(37, 10, seed=0)


    def one_hot(inputs, targets):
        # As in Keras's examples: no special tokens, the targets one symbol ahead.
        width = len(task.vocab) - 4
        source, given, wanted = (
            tf.one_hot(ids - 4, width)
            for ids in (inputs["encoder_inputs"], targets[:, :-1], targets[:, 1:]))
        return {"encoder_inputs": source, "decoder_inputs": given}, wanted


    for name, run in runs.items():
        keras.utils.set_random_seed(0)
        with strategy.scope():
            model = build_seq2seq(
                source_vocab_size=len(task.vocab), target_vocab_size=len(task.vocab),
                units=8, **run["model"])
            model.compile(
                optimizer=keras.optimizers.SGD(
                    **{"learning_rate": 0.3, "momentum": 0.9, **run["optimizer"]}),
                metrics=["token_accuracy", "sequence_accuracy", "perplexity"],
                **run.get("compile", {}))
        shards = {"strategy": strategy} if run["own_shards"] else {}
        data = train.dataset(9, seed=1, **shards)
        valid_data = valid.dataset(4, shuffle=False, **shards)
        if run.get("as_one_hot"):
            data, valid_data = data.map(one_hot), valid_data.map(one_hot)
        history = model.fit(
            data, epochs=4, verbose=0,
            validation_data=valid_data if run.get("decodes") else None,
            class_weight=dict(enumerate(run.get("class_weight", []))) or None)
        updates = keras.ops.convert_to_numpy(model.optimizer.iterations)
        assert updates == 20 // run["optimizer"].get("gradient_accumulation_steps", 1)
        found = ()
        if run.get("decodes"):
            hypotheses = model.generate(valid.source)
            found = hypotheses.scores, hypotheses.tokens
        np.savez(f"{folder}/{replicas}-{name}.npz", *model.get_weights(), *found)
        with open(f"{folder}/{replicas}-{name}.json", "w") as file:
            json.dump(history.history, file)
"""

# Decoding follows from the weights, and no optimizer changes how metrics are counted:
# a few runs validate and decode.
RUNS: dict[str, dict[str, Any]] = {
    "plain": {
        "model": {"encoder_direction": "bidirectional"},
        "optimizer": {},
        "decodes": True,
    },
    "shards": {
        "model": {"encoder_direction": "bidirectional"},
        "optimizer": {"global_clipnorm": 0.05},
        "own_shards": True,
        "decodes": True,
    },
    "global_clipnorm": {
        "model": {"cell": "gru", "reverse_source": True},
        "optimizer": {"global_clipnorm": 0.05},
    },
    "unclipped": {"model": {"cell": "gru", "reverse_source": True}, "optimizer": {}},
    "clipnorm": {
        "model": {
            "source_representation": "one_hot",
            "target_representation": "embedding",
            "layers": 2,
        },
        "optimizer": {"clipnorm": 0.02},
        "as_one_hot": True,
        "decodes": True,
    },
    "clipvalue": {
        "model": {"cell": "simple_rnn", "decoder_units": 6},
        "optimizer": {"clipvalue": 0.003},
        "class_weight": [1, 1, 1, 0.5, 4, 1, 1, 1, 1],
    },
    "per_token": {
        "model": {"cell": "simple_rnn", "embedding_dim": 5},
        "optimizer": {"learning_rate": 0.01},
        "compile": {"gradient": "sum", "clipvalue_per_token": 0.003},
    },
    "input_feeding": {
        "model": {
            "attention": "coverage",
            "input_feeding": True,
            "weight_tying": "source_target",
            "embedding_dim": 8,
            "stabilizer": "shared",
        },
        "optimizer": {"global_clipnorm": 0.05},
        "decodes": True,
    },
    "accumulation": {
        "model": {"decoder_init": "mean"},
        "optimizer": {"gradient_accumulation_steps": 2, "global_clipnorm": 0.05},
    },
}


# Building and compiling a model on four replicas takes its time: one will do.
CASES = [(2, name) for name in RUNS if name != "unclipped"] + [(4, "shards")]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trains every run on one device, and on two and four replicas of it."""
    folder = tmp_path_factory.mktemp("replicas")
    for replicas in (1, 2, 4):
        names = [name for count, name in CASES if count == replicas or replicas == 1]
        names += ["unclipped"] if replicas == 1 else []
        runs = {name: {"own_shards": False, **RUNS[name]} for name in names}
        run_child(TRAIN, folder, replicas, json.dumps(runs))
    return folder


@pytest.mark.parametrize(("replicas", "name"), CASES)
def test_weights_and_scores_after_twenty_updates_are_those_of_one_device(
    results: Path, name: str, replicas: int
) -> None:
    one = np.load(results / f"1-{name}.npz")
    many = np.load(results / f"{replicas}-{name}.npz")
    for part in one.files:
        np.testing.assert_allclose(many[part], one[part], atol=1e-6, rtol=0)


@pytest.mark.parametrize(("replicas", "name"), CASES)
def test_the_loss_and_metrics_that_fit_shows_are_those_of_one_device(
    results: Path, name: str, replicas: int
) -> None:
    one = json.loads((results / f"1-{name}.json").read_text())
    many = json.loads((results / f"{replicas}-{name}.json").read_text())
    assert set(many) == set(one)
    for metric, values in one.items():
        # Relative to the value: a perplexity is the exponential of a loss.
        np.testing.assert_allclose(many[metric], values, rtol=1e-6, atol=1e-6)


def test_clipping_was_put_to_the_test(results: Path) -> None:
    # Where nothing was clipped, the equality above would say nothing of clipping.
    clipped = np.load(results / "1-global_clipnorm.npz")
    unclipped = np.load(results / "1-unclipped.npz")
    assert not np.allclose(clipped["arr_0"], unclipped["arr_0"], atol=1e-3)
