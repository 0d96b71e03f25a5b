"""Imports point down only, as CONTRIBUTING.md draws it."""

import ast
import graphlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "kseq"
MODULES = {
    ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts): path
    for path in sorted(SOURCE.rglob("*.py"))
}


def layers() -> list[list[str]]:
    """The packages and modules at the root of kseq, the highest first."""
    page = (ROOT / "CONTRIBUTING.md").read_text()
    drawn = re.search(r"point down only.*?```text\n(.*?)```", page, re.DOTALL)
    assert drawn is not None
    return [re.findall(r"\w+", line) for line in drawn[1].splitlines()]


def imported(path: Path, *, everywhere: bool) -> Iterator[str]:
    """Modules of kseq that a module imports.

    Args:
        path: Its file.
        everywhere: Also inside functions.
    """
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree) if everywhere else tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                known = submodule in MODULES or f"{submodule}.__init__" in MODULES
                yield submodule if known else node.module


def as_module(name: str) -> str:
    return name if name in MODULES else f"{name}.__init__"


def test_the_drawing_names_every_package_and_module() -> None:
    drawn = [name for layer in layers() for name in layer]
    inside = {name.split(".")[1] for name in MODULES}
    assert sorted(drawn) == sorted(inside - {"__init__", "__main__", "registration"})


@pytest.mark.parametrize("name", MODULES)
def test_a_module_imports_nothing_from_a_layer_above(name: str) -> None:
    own, *_ = name.split(".")[1:]
    level = {package: i for i, layer in enumerate(layers()) for package in layer}
    if own not in level:
        return  # the package itself, which loads its public names on first use
    others = {
        module.split(".")[1]
        for module in imported(MODULES[name], everywhere=True)
        if module.startswith("kseq.")
    }
    above = {other for other in others - {own} if level[other] <= level[own]}
    assert above == set()


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {
        name: {
            as_module(module)
            for module in imported(path, everywhere=False)
            if module.startswith("kseq.")
        }
        - {name}
        for name, path in MODULES.items()
    }
    tuple(graphlib.TopologicalSorter(graph).static_order())


def test_decoding_and_plotting_stand_alone() -> None:
    allowed = {
        "decoding": {"config", "decoding", "special_tokens"},
        "plotting": set(),
    }
    for package, others in allowed.items():
        for name, path in MODULES.items():
            if name.split(".")[1] == package:
                found = imported(path, everywhere=True)
                ours = {each.split(".")[1] for each in found if "kseq." in each}
                assert ours <= others, name


def test_the_data_package_imports_tensorflow_only_inside_functions() -> None:
    heavy = {"tensorflow", "keras", "pandas"}
    for name, path in MODULES.items():
        # PyDataset is a class of Keras; the module is imported where one is made.
        if name.startswith("kseq.data.") and name != "kseq.data.pydataset":
            found = {each.split(".")[0] for each in imported(path, everywhere=False)}
            assert not found & heavy, name
