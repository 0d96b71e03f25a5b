"""Searches by name, by dict and by what Keras saves."""

import json
from typing import Any

import keras
import numpy as np
import pytest

from kseq.decoding import BeamSearch, Greedy, Sampling, Search, get

CONSTRAINTS: dict[str, Any] = {
    "min_length": 2,
    "forbidden": [7, [4, 5]],
    "no_repeat_ngram_size": 3,
    "suppress_unknown": True,
}

SEARCHES: list[tuple[type[Search], dict[str, Any]]] = [
    (Greedy, CONSTRAINTS),
    (
        Sampling,
        {
            "n": 3,
            "temperature": 0.7,
            "top_k": 9,
            "top_p": 0.8,
            "seed": 12,
            **CONSTRAINTS,
        },
    ),
    (
        BeamSearch,
        {
            "beam_width": 7,
            "n": 4,
            "length_penalty_alpha": 0.6,
            "length_penalty_beta": 5.0,
            "coverage_penalty": 0.2,
            "stop": "first",
            "prune": 1.5,
            **CONSTRAINTS,
        },
    ),
]

several = pytest.mark.parametrize(
    ("kind", "arguments"), SEARCHES, ids=["greedy", "sampling", "beam"]
)


def test_every_argument_here_is_another_than_the_default() -> None:
    for kind, arguments in SEARCHES:
        defaults = kind().get_config()
        assert set(defaults) == set(arguments)
        assert all(arguments[key] != value for key, value in defaults.items())


@several
def test_a_config_holds_the_arguments(
    kind: type[Search], arguments: dict[str, Any]
) -> None:
    config = kind(**arguments).get_config()
    assert config == {**arguments, "forbidden": [[7], [4, 5]]}
    assert json.loads(json.dumps(config)) == config


@several
@pytest.mark.parametrize("defaults", [False, True])
def test_a_search_that_keras_saved_is_the_same(
    kind: type[Search], arguments: dict[str, Any], defaults: bool
) -> None:
    search = kind(**({} if defaults else arguments))
    saved = json.loads(json.dumps(keras.saving.serialize_keras_object(search)))
    for again in (keras.saving.deserialize_keras_object(saved), get(saved)):
        assert type(again) is kind
        assert again.get_config() == search.get_config()
        assert again.n == search.n
        assert again.rows_per_source == search.rows_per_source
        assert again.constraints == search.constraints


@several
def test_a_search_shows_its_arguments(
    kind: type[Search], arguments: dict[str, Any]
) -> None:
    search = kind(**arguments)
    again = eval(repr(search), {kind.__name__: kind})
    assert again.get_config() == search.get_config()


def test_numpy_numbers_become_plain_ones() -> None:
    search = BeamSearch(
        beam_width=np.int64(3), forbidden=np.array([4, 5]), prune=np.float32(0.5)
    )
    config = json.loads(json.dumps(search.get_config()))
    assert config["forbidden"] == [[4], [5]]
    assert (config["beam_width"], config["prune"]) == (3, 0.5)


@pytest.mark.parametrize(
    ("name", "kind"), [("greedy", Greedy), ("sampling", Sampling), ("beam", BeamSearch)]
)
def test_a_name_stands_for_a_search_with_its_defaults(
    name: str, kind: type[Search]
) -> None:
    for search in (get(name), get({"class_name": name})):
        assert type(search) is kind
        assert search.get_config() == kind().get_config()


@several
def test_a_dict_of_name_and_arguments_stands_for_a_search(
    kind: type[Search], arguments: dict[str, Any]
) -> None:
    name = {Greedy: "greedy", Sampling: "sampling", BeamSearch: "beam"}[kind]
    search = get({"class_name": name, "config": arguments})
    assert type(search) is kind
    assert search.get_config() == kind(**arguments).get_config()


def test_a_search_stands_for_itself() -> None:
    search = BeamSearch(beam_width=3)
    assert get(search) is search


JUNK: list[Any] = [
    None,
    3,
    "bean",
    [],
    {},
    Greedy,
    {"config": {}},
    {"class_name": "bean", "config": {}},
    {"class_name": ["beam"], "config": {}},
    {"class_name": "beam", "config": {"girth": 3}},
    {"class_name": "beam", "config": None},
    {"class_name": "beam", "config": 3},
    {"class_name": "beam", "wide": True},
    {"class_name": "Nope", "module": "nowhere", "config": {}, "registered_name": None},
]


@pytest.mark.parametrize("junk", JUNK, ids=str)
def test_junk_is_refused_with_the_choices(junk: Any) -> None:
    with pytest.raises(
        ValueError, match="`search` must be one of 'greedy', 'sampling'"
    ):
        get(junk)


def test_what_keras_saved_of_something_else_is_refused() -> None:
    saved = keras.saving.serialize_keras_object(keras.layers.Dense(3))
    with pytest.raises(ValueError, match="`search` must be one of"):
        get(saved)


def test_a_bad_argument_in_a_dict_is_named() -> None:
    with pytest.raises(ValueError, match=r"`beam_width` .* Received: 0"):
        get({"class_name": "beam", "config": {"beam_width": 0}})
