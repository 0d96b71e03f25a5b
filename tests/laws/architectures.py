"""The architectures that the guarantees are tested over, and data to test them with."""

import itertools
import random
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import pytest
from allpairspy import AllPairs

import kseq

SOURCE_VOCAB, TARGET_VOCAB, FEATURES = 11, 9, 3

CELLS: dict[str, Any] = {
    "lstm": "lstm",
    "gru": "gru",
    "simple_rnn": "simple_rnn",
    "layer_norm_lstm": "layer_norm_lstm",
    "layer_norm_gru": "layer_norm_gru",
    # A layer given as a pattern, with another arithmetic than the named ones.
    "pattern": lambda: keras.layers.GRU(1, reset_after=False, activation="softsign"),
}

ATTENTIONS: dict[str, Any] = {
    "none": None,
    "dot": "dot",
    "scaled_dot": "scaled_dot",
    "general": "general",
    "additive": "additive",
    "multi_head_dot": "multi_head_dot",
    "location": "location",
    "location_sensitive": "location_sensitive",
    "coverage": "coverage",
    "fixed": "fixed",
    # A layer given as a pattern.
    "pattern": lambda: kseq.layers.LocationSensitiveAttention(
        5, filters=3, kernel_size=2, cumulative=True
    ),
}

# Products of these are tested by `make test-slow`; beside them, the others take values
# drawn for each row. The pairwise cover is over all of them.
AXES: dict[str, list[Any]] = {
    "cell": list(CELLS),
    "layers": [(1, 1), (2, 2), (1, 2), (2, 1)],
    "attention": list(ATTENTIONS),
    "input_feeding": [False, True],
    "encoder_direction": ["forward", "bidirectional_first", "bidirectional"],
    "source_representation": ["embedding", "one_hot", "features"],
    "target_representation": ["embedding", "one_hot"],
    "reverse_source": [False, True],
    "decoder_init": ["last", "mean", "zeros"],
    "decoder_init_projection": ["auto", "dense"],
    "decoder_init_layers": ["all", "first"],
    "decoder_units": [8, 6],
    "residual": [False, True],
    "dropout": [0.0, 0.3],
    "context_gate": [False, True],
    "attention_in_upper_layers": [False, True],
    "attention_previous_word": [False, True],
    "weight_tying": ["none", "target_softmax", "source_target", "all"],
    "stabilizer": ["none", "shared", "separate"],
}
PRODUCTS = [
    ["cell", "layers", "attention", "input_feeding"],
    [
        "cell",
        "layers",
        "encoder_direction",
        "source_representation",
        "target_representation",
        "reverse_source",
    ],
]


def _fits(values: list[Any]) -> bool:
    """Whether values for the first axes go together; kseq refuses those that do not."""
    return _goes(dict(zip(AXES, values, strict=False)))


def _goes(row: dict[str, Any]) -> bool:
    encoder_layers, decoder_layers = row.get("layers", (2, 2))
    if row.get("attention") == "none" and any(
        row.get(name)
        for name in (
            "input_feeding",
            "context_gate",
            "attention_in_upper_layers",
            "attention_previous_word",
        )
    ):
        return False
    if row.get("attention_in_upper_layers") and decoder_layers == 1:
        return False
    tying = row.get("weight_tying", "none")
    if tying != "none" and row.get("target_representation") == "one_hot":
        return False
    if (
        tying in ("source_target", "all")
        and row.get("source_representation", "embedding") != "embedding"
    ):
        return False
    if row.get("decoder_init") == "zeros" and (
        row.get("decoder_init_projection", "auto") != "auto"
        or row.get("decoder_init_layers", "all") != "all"
    ):
        return False
    if row.get("decoder_init_layers") == "first" and decoder_layers == 1:
        return False
    return not (row.get("residual") and max(encoder_layers, decoder_layers) == 1)


def _pairwise() -> list[dict[str, Any]]:
    rows = AllPairs(list(AXES.values()), filter_func=_fits)
    return [dict(zip(AXES, row, strict=True)) for row in rows]


def _full() -> list[dict[str, Any]]:
    draw = random.Random(0)
    rows = []
    for names in PRODUCTS:
        for values in itertools.product(*[AXES[name] for name in names]):
            chosen = dict(zip(names, values, strict=True))
            if not _goes(chosen):
                continue
            while True:
                row = {name: draw.choice(each) for name, each in AXES.items()} | chosen
                if _goes(row):
                    break
            rows.append(row)
    return rows


def _each_once(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns few of the rows that have every value of every axis, in their order."""
    missing = {(name, str(value)) for name, each in AXES.items() for value in each}
    chosen = []
    while missing:
        values, row = max(
            (({(n, str(v)) for n, v in row.items()} & missing, row) for row in rows),
            key=lambda pair: len(pair[0]),
        )
        missing -= values
        chosen.append(row)
    return [row for row in rows if row in chosen]


PAIRWISE, FULL = _pairwise(), _full()
COMPILED = _each_once(PAIRWISE)
REST = [row for row in PAIRWISE if row not in COMPILED]


def settings(row: dict[str, Any]) -> dict[str, Any]:
    """The arguments of `build_seq2seq` for a row of the axes."""
    (encoder_layers, decoder_layers) = row["layers"]
    is_vectors = row["source_representation"] == "features"
    chosen: dict[str, Any] = {
        "source_vocab_size": None if is_vectors else SOURCE_VOCAB,
        "source_feature_dim": FEATURES if is_vectors else None,
        "target_vocab_size": TARGET_VOCAB,
        "encoder_units": 8,
        "encoder_layers": encoder_layers,
        "decoder_layers": decoder_layers,
        "recurrent_dropout": 0.0 if row["cell"] == "pattern" else row["dropout"],
        "input_dropout": 0.0 if row["cell"] == "pattern" else row["dropout"],
        "hidden_dropout": row["dropout"],
        **{
            name: row[name]
            for name in AXES
            if name not in ("cell", "layers", "residual", "dropout", "attention")
        },
    }
    attention = ATTENTIONS[row["attention"]]
    chosen["attention"] = attention() if callable(attention) else attention
    if row["attention"] == "multi_head_dot":
        chosen["attention_heads"] = 2
    if row["attention"] == "location":
        chosen["attention_positions"] = 4  # fewer than the sources have
    if row["attention"] in ("dot", "scaled_dot") and (
        row["decoder_units"] != 8 or row["attention_previous_word"]
    ):
        chosen["attention_units"] = 4
    if row["attention"] != "none" and row["context_gate"]:
        chosen["attention_output_units"] = 7
    cell = CELLS[row["cell"]]
    chosen["cell"] = cell() if callable(cell) else cell
    if row["residual"]:
        chosen |= {
            f"{side}_residual_from": 2
            for side in ("encoder", "decoder")
            if chosen[f"{side}_layers"] == 2
        }
    if max(encoder_layers, decoder_layers) == 2:
        chosen["dropout"] = row["dropout"]
    if "embedding" in (row["source_representation"], row["target_representation"]):
        chosen |= {"embedding_dim": 5, "embedding_dropout": row["dropout"]}
    if row["weight_tying"] in ("target_softmax", "all"):
        width = chosen.get("attention_output_units", row["decoder_units"])
        chosen["target_embedding_dim"] = width
        if row["weight_tying"] == "all":
            chosen["source_embedding_dim"] = width
    if row["weight_tying"] in ("source_target", "all"):
        chosen["target_vocab_size"] = SOURCE_VOCAB
    return chosen


def build(row: dict[str, Any], seed: int = 0, dtype: Any = None) -> kseq.Seq2Seq:
    """Builds the model of a row; its weights, biases too, are drawn from a seed."""
    model = kseq.build_seq2seq(**settings(row), dtype=dtype)
    draw = np.random.default_rng(seed)
    # Keras begins with biases of zero and small embeddings, which would hide errors.
    model.set_weights([draw.normal(0, 0.4, w.shape) for w in model.get_weights()])
    return model


def batch(row: dict[str, Any], seed: int = 0) -> tuple[dict[str, np.ndarray], Any]:
    """Draws a ragged batch for the model of a row: its inputs and its targets."""
    draw = np.random.default_rng(seed)
    source_lengths, target_lengths = (6, 1, 4, 3), (3, 5, 1, 4)
    count = len(source_lengths)
    source: np.ndarray = np.zeros((count, 6), "int32")
    inputs, targets = np.zeros((2, count, 5), "int32")
    features = np.zeros((count, 6, FEATURES), "float32")
    for k, (s, t) in enumerate(zip(source_lengths, target_lengths, strict=True)):
        source[k, : s - 1] = draw.integers(4, SOURCE_VOCAB, s - 1)
        source[k, s - 1] = 3
        features[k, :s] = draw.normal(size=(s, FEATURES))
        targets[k, : t - 1] = draw.integers(4, TARGET_VOCAB, t - 1)
        targets[k, t - 1] = 3
        inputs[k, 0], inputs[k, 1:t] = 2, targets[k, : t - 1]
    if row["source_representation"] == "features":
        source = features
    return {"encoder_inputs": source, "decoder_inputs": inputs}, targets


def name(row: dict[str, Any]) -> str:
    """The name of a row as a test's id."""
    return "-".join(
        "+".join(map(str, value)) if isinstance(value, tuple) else str(value)
        for value in row.values()
    )


def is_compiled(test: pytest.Item) -> bool:
    """Whether a test compiles what it runs; those that are over no architecture do."""
    if test.config.option.markexpr == "not slow" and "rest-" in test.name:
        return False
    return "full-" not in test.name


def _groups(rows: list[dict[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def each_architecture(test: Callable[..., None]) -> Callable[..., None]:
    """Runs a test over the pairwise cover and, marked slow, over the full product."""
    cases = [pytest.param(row, id=name(row)) for row in COMPILED]
    cases += [pytest.param(row, id=f"rest-{name(row)}") for row in REST]
    cases += [
        pytest.param(row, id=f"full-{name(row)}", marks=pytest.mark.slow)
        for row in FULL
    ]
    return pytest.mark.parametrize("row", cases)(test)


def groups_of_architectures(size: int) -> Callable[..., Any]:
    """Runs a test over groups of the same rows, for tests that start a process."""
    cases = [
        pytest.param(rows, id=f"{part}-{k}")
        for part, all_rows in (("compiled", COMPILED), ("rest", REST))
        for k, rows in enumerate(_groups(all_rows, size))
    ]
    cases += [
        pytest.param(rows, id=f"full-{k}", marks=pytest.mark.slow)
        for k, rows in enumerate(_groups(FULL, size))
    ]
    return pytest.mark.parametrize("rows", cases)
