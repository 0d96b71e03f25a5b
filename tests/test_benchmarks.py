"""The benchmarks: that they run, and write their tables where they belong."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"
PAGE = Path(__file__).parents[1] / "docs/performance.md"


def load(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_table_is_written_between_its_comments() -> None:
    tables = load("tables")
    page = "a\n<!-- begin x -->\n\nold\n\n<!-- end x -->\nb\n"
    new = tables.replaced(page, "x", "new \\1")
    assert new == "a\n<!-- begin x -->\n\nnew \\1\n\n<!-- end x -->\nb\n"
    assert tables.replaced(new, "x", "old") == page
    with pytest.raises(ValueError, match="one place for 'y'"):
        tables.replaced(page, "y", "new")
    for name in tables.BENCHMARKS:
        assert name in tables.replaced(PAGE.read_text("utf-8"), name, "new")


def test_where_figures_come_from_is_told() -> None:
    told = load("tables").circumstances()
    assert all(name in told for name in ("core CPU", "Python 3.", "tensorflow 2."))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["training", "decoding"])
def test_a_benchmark_prints_rows_that_its_table_shows(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = {"training": ["tiny", "--steps=2"], "decoding": ["addition", "--count=40"]}
    command = [sys.executable, str(FOLDER / f"{name}.py"), "--rounds=1", "--json"]
    found = subprocess.run(
        [*command, "--workload", *few[name]],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    rows = json.loads(found.stdout)
    monkeypatch.syspath_prepend(FOLDER)  # as where it is run as a script
    module = load(name)
    for row in rows:
        assert module.line(row).count("|") == module.HEADER.splitlines()[0].count("|")
    assert rows[0]["ratio"]
