"""Checks that the documents match the repository."""

import importlib
import inspect
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import kseq

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])

# Languages of code blocks. `python` blocks are run, the others need no run. Blocks with
# "py" or "python3" would look the same to a reader, but would never run.
LANGUAGES = {"python", "console", "bash", "text", "json", "{eval-rst}", "{toctree}"}


def public_modules() -> list[str]:
    return sorted(set(dir(kseq)) - set(kseq.__all__))


def public_names(module: ModuleType) -> list[str]:
    """Returns the names in `__all__`, or the names that the module defines."""
    own = [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and getattr(value, "__module__", None) == module.__name__
    ]
    return list(getattr(module, "__all__", own))


def public_objects(module: ModuleType) -> Iterator[tuple[str, object]]:
    """Yields a module, its public names and the methods that add to their bases."""
    yield module.__name__, module
    for name in public_names(module):
        value = getattr(module, name)
        if inspect.isclass(value):
            yield f"{module.__name__}.{name}", value
            for method, raw in vars(value).items():
                inherited = any(hasattr(base, method) for base in value.__mro__[1:])
                # Fields are described in the docstring of the class.
                field = not (inspect.isroutine(raw) or isinstance(raw, property))
                if not (method.startswith("_") or inherited or field):
                    yield f"{module.__name__}.{name}.{method}", getattr(value, method)
        elif inspect.isroutine(value):
            yield f"{module.__name__}.{name}", value


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_the_api_page_lists_the_public_modules_and_no_others() -> None:
    page = (ROOT / "docs/api.md").read_text()
    listed = re.findall(r"^\.\. automodule:: kseq\.(\w+)$", page, re.MULTILINE)
    assert sorted(listed) == public_modules()


@pytest.mark.parametrize("name", public_modules())
def test_every_public_name_is_documented(name: str) -> None:
    module = importlib.import_module(f"kseq.{name}")
    documented = {path: inspect.getdoc(it) for path, it in public_objects(module)}
    assert [path for path, text in documented.items() if not text] == []


def test_the_guarantees_name_the_tests_that_hold_them() -> None:
    page = (ROOT / "docs/guarantees.md").read_text()
    named = re.findall(r"`(tests/laws/test_\w+\.py)`", page)
    assert set(named) == {relative(path) for path in ROOT.glob("tests/laws/test_*.py")}


@pytest.mark.parametrize("document", DOCUMENTS, ids=relative)
def test_make_targets_in_documents_exist(document: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    # Only in code: prose may contain "make sure".
    text = document.read_text()
    code = re.findall(r"(?ms)^```(?:console|bash)\n(.*?)^```", text)
    code += re.findall(r"`([^`\n]+)`", text)
    calls = re.findall(r"\bmake((?: [a-z-]+)+)", "\n".join(code))
    assert {name for call in calls for name in call.split()} <= targets


@pytest.mark.parametrize("document", DOCUMENTS, ids=relative)
def test_code_blocks_have_a_known_language(document: Path) -> None:
    fences = re.findall(r"^\s*(?:```|~~~)(.*)$", document.read_text(), re.MULTILINE)
    openings = fences[::2]
    assert set(openings) <= LANGUAGES


@pytest.mark.parametrize("document", DOCUMENTS, ids=relative)
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)#\s]+)", document.read_text())
    assert [link for link in links if not (document.parent / link).exists()] == []


def test_no_file_names_a_path_of_one_machine() -> None:
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listing.returncode:
        pytest.skip("not a git checkout: the files of the project are unknown")
    machine = re.compile(
        rb"(?<![\w.~:/-])/(?:home|root|work|tmp|opt(?!/ml\b)|mnt|Users)/\w"
    )
    matches = [
        name
        for name in listing.stdout.split("\0")
        if (path := ROOT / name).is_file() and machine.search(path.read_bytes())
    ]
    assert not matches
