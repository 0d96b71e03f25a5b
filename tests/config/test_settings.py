"""Settings of data and training: valid values, and errors for invalid ones."""

import dataclasses
import typing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kseq import Seq2SeqConfig
from kseq.config.data import DataSettings
from kseq.config.training import MAY_DIFFER, METRICS, TEXT_METRICS, TrainingSettings

PARALLEL: dict[str, Any] = {"source": ["a"], "target": ["b"]}


def names(kind: Any) -> set[str]:
    return {field.name for field in dataclasses.fields(kind)}


# Training.


def test_the_defaults_are_valid_together() -> None:
    settings = TrainingSettings()
    assert settings.optimized_metric == settings.metrics[0] == "perplexity"
    assert settings.global_clipnorm == 1


@pytest.mark.parametrize(
    "other",
    [
        {"clipvalue": 0.5},
        {"gradient": "sum"},
        {"gradient": "sum", "clipvalue_per_token": 2.0},
    ],
)
def test_another_way_of_clipping_replaces_the_global_norm(other: Any) -> None:
    assert TrainingSettings(**other).global_clipnorm == 0
    assert TrainingSettings(**other, global_clipnorm=3.0).global_clipnorm == 3


@given(
    metrics=st.lists(st.sampled_from(METRICS), min_size=1, unique=True),
    data=st.data(),
    numbers=st.fixed_dictionaries(
        {
            "batch_size": st.integers(1, 10**6),
            "seed": st.integers(0, 2**31),
            "label_smoothing": st.floats(0, 0.9),
            "weight_decay": st.none() | st.floats(0, 1),
            "show_sources": st.lists(st.text()),
            "freeze": st.lists(st.text()),
            "max_seconds": st.none() | st.integers(0, 10**9),
        }
    ),
)
def test_settings_are_restored_from_their_dict(
    metrics: list[str], data: st.DataObject, numbers: dict[str, Any]
) -> None:
    optimized = data.draw(st.sampled_from(metrics))
    settings = TrainingSettings(metrics=metrics, optimized_metric=optimized, **numbers)
    found = settings.to_dict()
    assert TrainingSettings.from_dict(found) == settings
    assert not any(isinstance(value, tuple) for value in found.values())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"batch_size": 0},
            r"`batch_size` must be an integer of at least 1. Received: 0",
        ),
        ({"seed": -1}, r"`seed` must be an integer of at least 0. Received: -1"),
        (
            {"max_seconds": float("nan")},
            r"`max_seconds` must be a number of at least 0, or None",
        ),
        ({"plateau_factor": 2}, r"`plateau_factor` must be a number in \[1e-06, 1\]"),
        ({"optimizer": "adamm"}, r"`optimizer` must be one of 'adam', .*'adamm'"),
        ({"schedule": "linear"}, r"`schedule` must be one of 'plateau', .*'linear'"),
        ({"dtype": "float16"}, r"`dtype` must be one of 'float32', .*'float16'"),
        ({"metrics": ()}, r"`metrics` must name at least one metric"),
        ({"metrics": ["blue"]}, r"`metrics` must be one of .*'bleu'.*'blue'"),
        (
            {"optimized_metric": "bleu"},
            r"`optimized_metric` must be one of .*, 'token_accuracy'. .*'bleu'",
        ),
        ({"plateau_patience": 1, "schedule": "cosine", "decay_steps": 9}, "plateau"),
        ({"half_life": 9}, r"`half_life` needs schedule='inverse_time' or "),
        ({"decay_steps": 9}, r"`decay_steps` needs schedule='step' or 'cosine'"),
        ({"decay_rate": 0.5}, r"`decay_rate` needs schedule='step'"),
        ({"end_learning_rate": 0.1}, r"`end_learning_rate` needs schedule='cosine'"),
        ({"clipvalue_per_token": 2}, r"`clipvalue_per_token` needs gradient='sum'"),
        ({"decode_pairs": 9}, r"`decode_pairs` needs one of 'bleu', .*Received: 9"),
        ({"beam_width": 2}, r"`beam_width` needs one of 'bleu', .*Received: 2"),
        ({"show_every": 9}, r"`show_every` needs `show_sources`"),
        ({"teacher_forcing_coin": "batch"}, r"needs a `teacher_forcing_ratio` below 1"),
        ({"partial_parameters": True}, r"`partial_parameters` needs `parameters`"),
        (
            {"schedule": "inverse_sqrt"},
            r"`half_life` is required with schedule='inverse_sqrt'",
        ),
        (
            {"schedule": "step", "decay_steps": 9},
            r"`decay_rate` is required with schedule='step'",
        ),
        ({"schedule": "cosine"}, r"`decay_steps` is required with schedule='cosine'"),
    ],
)
def test_invalid_values_are_refused(given: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainingSettings(**given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"batch_size": 2.5},
            r"`batch_size` must be an integer of at least 1. Received: 2.5",
        ),
        (
            {"batch_size": True},
            r"`batch_size` must be an integer of at least 1. Received: True",
        ),
        (
            {"learning_rate": "high"},
            r"`learning_rate` must be a finite number > 0. .*'high'",
        ),
        (
            {"learning_rate": True},
            r"`learning_rate` must be a finite number > 0. .*True",
        ),
        ({"nesterov": 1}, r"`nesterov` must be True or False. Received: 1"),
        ({"metrics": "bleu"}, r"`metrics` must be a list of strings. .*'bleu'"),
        ({"freeze": [1]}, r"`freeze` must be a list of strings"),
        (
            {"max_updates": "9"},
            r"`max_updates` must be an integer of at least 1, or None",
        ),
    ],
)
def test_values_of_another_type_are_refused(given: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        TrainingSettings(**given)


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"`batchsize`. Did you mean `batch_size`\?"):
        TrainingSettings.from_dict({"batchsize": 9})


def test_the_settings_that_may_differ_on_resume_exist() -> None:
    assert set(MAY_DIFFER) < names(TrainingSettings)
    assert list(MAY_DIFFER) == sorted(MAY_DIFFER)


def test_the_names_of_all_settings_differ() -> None:
    training, data = names(TrainingSettings), names(DataSettings)
    assert not training & data
    assert not (training | data) & names(Seq2SeqConfig)


@pytest.mark.parametrize("kind", [TrainingSettings, DataSettings])
def test_every_setting_is_documented(kind: Any) -> None:
    described = kind.__doc__.partition("Args:")[2].partition("Raises:")[0]
    for name in names(kind):
        assert f"    {name}: " in described, name


@pytest.mark.parametrize("kind", [TrainingSettings, DataSettings])
def test_every_choice_is_documented(kind: Any) -> None:
    described = kind.__doc__.partition("Args:")[2].partition("Raises:")[0]
    for name, hint in typing.get_type_hints(kind).items():
        options = (hint, *typing.get_args(hint))
        for option in options:
            if typing.get_origin(option) is typing.Literal:
                for choice in typing.get_args(option):
                    assert f'"{choice}"' in described, (name, choice)
    if kind is TrainingSettings:
        assert all(f'"{metric}"' in described for metric in METRICS)


def test_the_text_metrics_are_those_of_evaluation() -> None:
    from kseq import evaluation

    assert set(TEXT_METRICS) == set(evaluation.METRICS)


# Data.


@pytest.mark.parametrize(
    ("given", "kind", "validation_kind"),
    [
        ({**PARALLEL, "validation_table": "v"}, "parallel", "table"),
        (
            {"table": "t", "validation_source": ["v"], "validation_target": ["w"]},
            "table",
            "parallel",
        ),
        (
            {"ctf": "c", "validation_ctf": "v", "source_symbols": "s"},
            "ctf",
            "ctf",
        ),
        ({"corpus": "cmudict"}, "corpus", "corpus"),
        ({"corpus": "cmudict", "validation_table": "v"}, "corpus", "table"),
        ({"prepared": "p", "validation_table": "v"}, "prepared", "table"),
    ],
)
def test_the_settings_define_the_kind_of_the_data(
    given: Any, kind: str, validation_kind: str
) -> None:
    settings = DataSettings(**given)
    assert (settings.kind, settings.validation_kind) == (kind, validation_kind)
    assert DataSettings(**settings.to_dict()) == settings


def test_checkpoints_are_counted_in_updates_or_in_epochs() -> None:
    assert TrainingSettings().checkpoint_updates == 1000
    assert TrainingSettings(checkpoint_epochs=2).checkpoint_updates is None
    with pytest.raises(ValueError, match="`checkpoint_epochs` replaces `checkpoint_up"):
        TrainingSettings(checkpoint_epochs=2, checkpoint_updates=9)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, r"Specify the training data with one of `source` and .*Received: none"),
        ({**PARALLEL, "table": "t"}, r"training data with .*Received: parallel, table"),
        (
            {"table": "t", "prepared": "p"},
            r"training data with .*Received: table, prepared",
        ),
    ],
)
def test_training_data_are_specified_once(given: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DataSettings(**given).kind  # noqa: B018


def test_validation_data_are_specified_once() -> None:
    with pytest.raises(ValueError, match="Specify the validation data with one of"):
        DataSettings(**PARALLEL).validation_kind  # noqa: B018


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"source": ["a"]}, "`source` and `target` must be passed together"),
        (
            {"validation_target": ["a"]},
            "`validation_source` and .* must be passed together",
        ),
        ({**PARALLEL, "source_column": "x"}, "`source_column` needs `table`"),
        ({**PARALLEL, "table_header": False}, "`table_header` needs `table`"),
        ({**PARALLEL, "source_symbols": "s"}, "`source_symbols` needs `ctf`"),
        ({**PARALLEL, "data": "d"}, "`data` needs `corpus`"),
        (
            {"corpus": "cmudict", "target_language": "de"},
            "`target_language` needs corpus='multi30k'",
        ),
        ({"ctf": "c"}, "`source_symbols` is required with `ctf`"),
        ({**PARALLEL, "symbols_vocab": True}, "`symbols_vocab` needs `ctf`"),
        *(
            (
                {"ctf": "c", "source_symbols": "s", "symbols_vocab": True, **further},
                f"`{name}` must be left out with `symbols_vocab`",
            )
            for further in (
                {"target_tokenizer": "characters"},
                {"lower_case": True},
                {"source_vocab": "v"},
                {"shared_vocab": True},
                {"max_vocab_size": 9},
            )
            for name in further
        ),
        (
            {**PARALLEL, "shared_vocab": True, "source_vocab": "v"},
            "`shared_vocab` must be False with `source_vocab`",
        ),
        (
            {"prepared": "p", "lower_case": True},
            "`lower_case` must be left out with `prepared`",
        ),
        (
            {"prepared": "p", "max_source_length": 9},
            r"`max_source_length` must be left out with `prepared`.* Received: 9",
        ),
        (
            {**PARALLEL, "source_vocab": "v", "target_vocab": "w", "min_frequency": 2},
            "`min_frequency` must be left out with `source_vocab` and",
        ),
        ({"table": "t", "on_invalid": "skip"}, "`on_invalid` needs `source`"),
        (
            {**PARALLEL, "min_frequency": 0},
            "`min_frequency` must be an integer of at least 1",
        ),
        ({**PARALLEL, "overlong": "keep"}, "`overlong` must be one of 'drop'"),
        ({"corpus": "wmt"}, "`corpus` must be one of 'cmudict', 'multi30k'"),
    ],
)
def test_data_settings_without_an_effect_are_refused(given: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DataSettings(**given)


def test_a_single_file_must_be_in_a_list() -> None:
    with pytest.raises(TypeError, match="`source` must be a list of strings"):
        DataSettings(source="a", target=["b"])  # type: ignore[arg-type]
