"""`kseq COMMAND --help`: quick, and every flag has its words."""

import json
import subprocess
import sys

import pytest

from kseq.cli.main import COMMANDS

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
        try:
            main([*call, "--help"])
        except SystemExit:
            pass
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


def test_an_unknown_command_is_told_the_near_one(kseq: Kseq) -> None:
    assert_one_line(kseq("evalute"), 2, "'evalute'", "Did you mean `evaluate`?")


def test_an_error_shows_where_it_came_from_on_request(kseq: Kseq) -> None:
    result = kseq("inspect", "nix", "--debug")
    assert result.status == 1
    assert "Traceback" in result.err
