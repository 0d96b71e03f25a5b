"""`kseq COMMAND --help`: quick and complete."""

import dataclasses
import importlib
import json
import re
import subprocess
import sys

import pytest

from kseq.cli.main import COMMANDS
from kseq.cli.parsing import Parser
from kseq.config.data import DataSettings
from kseq.config.training import TrainingSettings

from .conftest import Kseq, assert_one_line

HELPS = [[name] for name in COMMANDS]
HELPS += [["data", name] for name in ("copy", "addition", "cmudict", "prepare")]


def test_help_loads_nothing_heavy_and_is_quick() -> None:
    script = """
import contextlib, io, json, sys, time
from kseq.cli import main
found = {}
for call in json.loads(sys.argv[1]):
    begin = time.process_time()
    with contextlib.redirect_stdout(io.StringIO()) as out:
        main([*call, "--help"])
    assert "usage: kseq" in out.getvalue()
    found[" ".join(call)] = time.process_time() - begin
heavy = [m for m in ("tensorflow", "keras", "pandas", "matplotlib") if m in sys.modules]
print(json.dumps([heavy, found]))
"""
    found = subprocess.run(
        [sys.executable, "-c", script, json.dumps(HELPS)],
        capture_output=True,
        text=True,
        check=True,
    )
    heavy, seconds = json.loads(found.stdout)
    assert heavy == []
    assert [name for name, taken in seconds.items() if taken > 0.5] == []


@pytest.mark.parametrize(
    "name", ["data", "evaluate", "score", "average", "tune", "vocab", "inspect", "plot"]
)
def test_the_help_is_shown_with_the_usage(kseq: Kseq, name: str) -> None:
    result = kseq(name, "--help")
    assert (result.status, result.err) == (0, "")
    assert result.out.startswith(f"usage: kseq {name}")


def test_an_unknown_command_suggests_the_nearest(kseq: Kseq) -> None:
    assert_one_line(kseq("evalute"), 2, "'evalute'", "Did you mean `evaluate`?")


def test_debug_shows_the_traceback(kseq: Kseq) -> None:
    result = kseq("inspect", "nix", "--debug")
    assert result.status == 1
    assert "Traceback" in result.err


def _parser(name: str) -> Parser:
    module = importlib.import_module(f"kseq.cli.{name}")
    parser = Parser(f"kseq {name}")
    module.add_arguments(parser)
    return parser


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_is_short_and_leads_to_all_options(kseq: Kseq, name: str) -> None:
    shown, everything = (kseq(name, flag).out for flag in ("--help", "--help-all"))
    assert len(shown.splitlines()) <= 80
    flags = set(re.findall(r"--[a-z][a-z0-9-]*", everything))
    for action in _parser(name)._actions:
        assert set(action.option_strings) <= flags | {"-h", *action.option_strings[:1]}
        assert action.help
    if "more options" in shown:
        assert f"more options: kseq {name} --help-all" in shown


@pytest.mark.parametrize("kind", [TrainingSettings, DataSettings])
def test_errors_in_settings_name_their_flags(kind: type) -> None:
    parser = _parser("train")
    for field in dataclasses.fields(kind):
        with pytest.raises((TypeError, ValueError)) as caught:
            kind(**{field.name: object()})
        message = parser.replace_by_flags(str(caught.value))
        assert message.startswith(f"--{field.name.replace('_', '-')} must be ")


@pytest.mark.parametrize(
    ("name", "message", "wanted"),
    [
        ("train", "`decay_rate` needs schedule='step'.", "--decay-rate needs --schedule"
         " step."),
        ("train", "Did you mean `units`?", "Did you mean --units?"),
        ("train", "Pass overwrite=True to replace it.", "Pass --overwrite to replace "
         "it."),
        ("train", "`logits` of k=3 are nan.", "`logits` of k=3 are nan."),
        ("translate", "`beam_width` is below `n`.", "--beam-width is below --nbest."),
        ("vocab", "`paths`: there is no file 'x'.", "--input: there is no file 'x'."),
    ],
)  # fmt: skip
def test_errors_name_flags_instead_of_arguments(
    name: str, message: str, wanted: str
) -> None:
    assert _parser(name).replace_by_flags(message) == wanted


@pytest.mark.parametrize("name", COMMANDS)
def test_a_value_of_the_wrong_type_names_its_flag(kseq: Kseq, name: str) -> None:
    for action in _parser(name)._actions:
        kinds = getattr(action.type, "options", ())
        if action.option_strings and kinds and kinds[0] in (int, float):
            flag = action.option_strings[-1]
            assert_one_line(kseq(name, flag, "many"), 2, f"{flag} must be a")
            break
