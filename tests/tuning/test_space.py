"""Search spaces: which settings a sweep tries, and under which conditions."""

import dataclasses
import itertools
from typing import Any

import pytest
from tuning.trials import hyperparameters

import kseq.config.architecture
from kseq import Seq2SeqConfig
from kseq.tuning import (
    Choice,
    Seq2SeqHyperModel,
    default_space,
)


def test_every_field_of_the_configuration_can_be_tuned(data: Any) -> None:
    fields = {field.name for field in dataclasses.fields(Seq2SeqConfig)}
    for name in fields - {"source_vocab_size", "target_vocab_size"}:
        default = Seq2SeqConfig.__dataclass_fields__[name].default
        hypermodel = Seq2SeqHyperModel(data, {name: [default]})
        hp = hyperparameters(hypermodel)
        assert getattr(hypermodel.config(hp), name) == default


def test_a_field_that_comes_later_can_be_tuned(
    data: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Later(Seq2SeqConfig):
        attention: str = "none"

    monkeypatch.setattr(kseq.config.architecture, "Seq2SeqConfig", Later)
    hypermodel = Seq2SeqHyperModel(data, {"attention": ["none", "dot"]})
    hp = hyperparameters(hypermodel, attention="dot")
    assert hypermodel.config(hp).attention == "dot"  # type: ignore[attr-defined]


def test_a_setting_has_its_default_where_its_condition_is_false(data: Any) -> None:
    space = {
        # Declared before their parents, and one on two at once.
        "recurrent_dropout": Choice([0.3], when={"cell": "gru", "dropout": [0.2]}),
        "dropout": Choice([0.2], when={"layers": [2]}),
        "layers": [1, 2],
        "cell": ["lstm", "gru"],
    }
    hypermodel = Seq2SeqHyperModel(data, space)
    seen = {}
    for layers, cell in itertools.product([1, 2], ["lstm", "gru"]):
        hp = hyperparameters(hypermodel, layers=layers, cell=cell)
        config = hypermodel.config(hp)
        seen[layers, cell] = (config.dropout, config.recurrent_dropout)
    assert seen == {
        (1, "lstm"): (0.0, 0.0),
        (1, "gru"): (0.0, 0.0),
        (2, "lstm"): (0.2, 0.0),
        (2, "gru"): (0.2, 0.3),
    }


def test_fixed_settings_replace_those_of_the_default_space(data: Any) -> None:
    assert set(Seq2SeqHyperModel(data)._tuned) == set(default_space())
    one = Seq2SeqHyperModel(data, layers=1, units=8)
    assert {"layers", "units", "dropout"}.isdisjoint(one._tuned)
    two = Seq2SeqHyperModel(data, layers=2)
    assert two._tuned["dropout"].when is None


@pytest.mark.parametrize(
    ("space", "settings", "message"),
    [
        ({"unit": [4]}, {}, "Unknown setting `unit`. Did you mean `units`"),
        ({"units": []}, {}, "`units`: `values` must hold at least one"),
        ({"units": [4, 0]}, {}, "`units` must be an integer of at least 1"),
        ({"units": {"type": "int", "low": 0, "high": 8}}, {}, "`units` .*: 0"),
        ({"cell": ["lstm", "rnn"]}, {}, "`cell` must be one of .*'rnn'"),
        ({}, {"decoder_init": "first"}, "`decoder_init` must be one of .*'first'"),
        ({"units": [4, 4]}, {}, "`values` must differ. Received 4 twice"),
        (
            {"units": "48"},
            {"batch_sizes": 3},
            "`batch_sizes`. Did you mean `batch_size`",
        ),
        ({"units": [4]}, {"units": 8}, "`units` must be given once. Received: 8"),
        ({"source_vocab_size": [9]}, {}, "`source_vocab_size` must be left out"),
        (
            {"units": [4]},
            {"batch_size": 0},
            "`batch_size` must be an integer of at least 1",
        ),
        ({"units": [4]}, {"optimizer": "adm"}, "`optimizer` must be .*'adm'"),
        ({"units": [4]}, {"label_smoothing": 1.5}, "`label_smoothing` .*1.5"),
        (
            {"units": [4]},
            {"teacher_forcing_ratio": 1.5},
            "`teacher_forcing_ratio` .*1.5",
        ),
        (
            {"units": [4]},
            {"teacher_forcing_coin": "row"},
            "`teacher_forcing_coin` .*'batch'.*'row'",
        ),
        (
            {"units": [4]},
            {"teacher_forcing": 0.5},
            "Unknown setting `teacher_forcing`",
        ),
        (
            {"dropout": Choice([0.1], when={"layer": 2}), "layers": [1, 2]},
            {},
            "`when` of `dropout` .*'layer'. Did you mean `layers`",
        ),
        (
            {"dropout": Choice([0.1], when={"layers": 3}), "layers": [1, 2]},
            {},
            "`when` of `dropout` must give values that `layers` can have. Received: 3",
        ),
        (
            {"dropout": Choice([0.1], when={"layers": 2})},
            {"layers": 1},
            "`when` of `dropout` must be possible",
        ),
        (
            {
                "layers": Choice([1], when={"units": 4}),
                "units": Choice([4], when={"layers": 1}),
            },
            {},
            "must not be circular",
        ),
        (
            {"units": {"type": "int", "low": 8, "high": 4}},
            {},
            "`low` must be <= `high`",
        ),
        (
            {"units": {"type": "float", "low": 0, "high": 1, "sampling": "log"}},
            {},
            "`low` must be > 0 with sampling='log'",
        ),
    ],
)
def test_an_invalid_space_is_refused(
    data: Any, space: Any, settings: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Seq2SeqHyperModel(data, space, **settings)
