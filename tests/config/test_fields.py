"""Rules that are declared on dataclass fields."""

import dataclasses
from typing import Any, Literal

import pytest

from kseq.config.fields import (
    as_plain_dict,
    check_fields,
    check_names,
    check_values,
    choices,
    field,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """One field of each kind."""

    units: int = field(256, minimum=1)
    rate: float = field(0.0, minimum=0, below=1)
    schedule: Literal["constant", "step", "cosine"] = "constant"
    steps: int | None = field(
        None, minimum=1, needs={"schedule": ("step", "cosine")}, required=True
    )
    files: tuple[str, ...] = ()
    header: bool = field(True, needs=("files", "table"))
    table: str | None = None
    lower_case: bool = field(False, without=("table",))
    metrics: tuple[str, ...] = ("loss",)
    beam_width: int = field(1, minimum=1, needs={"metrics": ("bleu", "wer")})

    def __post_init__(self) -> None:
        check_fields(self)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"units": 0}, "`units` must be an integer of at least 1. Received: 0."),
        ({"rate": 1}, "`rate` must be a number in [0, 1). Received: 1.0."),
        (
            {"schedule": "linear"},
            "`schedule` must be one of 'constant', 'step', 'cosine'. Received: "
            "'linear'.",
        ),
        (
            {"steps": 3},
            "`steps` needs schedule='step' or 'cosine'. Received: 3 with "
            "schedule='constant'.",
        ),
        (
            {"schedule": "step"},
            "`steps` is required with schedule='step'. Received: None.",
        ),
        ({"header": False}, "`header` needs `files` or `table`. Received: False."),
        (
            {"lower_case": True, "table": "t"},
            "`lower_case` must be left out with `table`. Received: True.",
        ),
        (
            {"beam_width": 2},
            "`beam_width` needs one of 'bleu', 'wer' in `metrics`. Received: 2.",
        ),
    ],
)
def test_invalid_values_are_refused(given: Any, message: str) -> None:
    with pytest.raises(ValueError, match=r"^`") as error:
        Settings(**given)
    assert str(error.value) == message


@pytest.mark.parametrize(
    "given",
    [
        {"schedule": "cosine", "steps": 3},
        {"files": ["a"], "header": False},
        {"table": "t", "header": False},
        {"metrics": ["loss", "wer"], "beam_width": 4},
        {"lower_case": True},
    ],
)
def test_values_with_an_effect_are_valid(given: dict[str, Any]) -> None:
    settings = Settings(**given)
    assert {name: as_plain_dict(settings)[name] for name in given} == given


def test_values_of_some_fields_can_be_checked() -> None:
    given = {"schedule": "step", "steps": 3}
    assert check_values(Settings, given) == given
    with pytest.raises(ValueError, match="`steps` is required with schedule='step'"):
        check_values(Settings, {**given, "steps": None})


def test_the_choices_of_a_field_are_those_of_its_annotation() -> None:
    assert choices(Settings, "schedule") == ("constant", "step", "cosine")
    assert choices(Settings, "table") == ()


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"Unknown field `unit`. Did .* `units`\? The "
    ):
        check_names(Settings, ["rate", "unit"], "field")
