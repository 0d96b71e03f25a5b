"""The benchmarks run, and write their tables into the page."""

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
    new = tables.replace_table(page, "x", "new \\1")
    assert new == "a\n<!-- begin x -->\n\nnew \\1\n\n<!-- end x -->\nb\n"
    assert tables.replace_table(new, "x", "old") == page
    with pytest.raises(ValueError, match="exactly one table 'y'"):
        tables.replace_table(page, "y", "new")
    for name in tables.BENCHMARKS:
        assert name in tables.replace_table(PAGE.read_text("utf-8"), name, "new")


def test_a_table_names_its_machine_and_versions() -> None:
    text = load("tables").describe_run()
    assert all(name in text for name in ("core CPU", "Python 3.", "tensorflow 2."))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["training", "decoding"])
def test_the_rows_of_a_benchmark_fit_its_table(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = {
        "training": ["tiny", "--steps=2"],
        "decoding": ["addition", "--count=40"],
    }
    command = [sys.executable, str(FOLDER / f"{name}.py"), "--rounds=1", "--json"]
    output = subprocess.run(
        [*command, "--workload", *arguments[name]],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    rows = json.loads(output.stdout)
    monkeypatch.syspath_prepend(FOLDER)  # as when it is run as a script
    module = load(name)
    columns = module.HEADER.splitlines()[0].count("|")
    assert {module.format_row(row).count("|") for row in rows} == {columns}
    assert rows[0]["ratio"]
