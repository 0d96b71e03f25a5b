"""What the tests, the docstring examples and the documents' code blocks share."""

import os

# Before TensorFlow is imported: it reads these once.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# Results must not depend on whether a machine has a GPU.
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
# Figures are drawn to files.
os.environ.setdefault("MPLBACKEND", "agg")

import contextlib
import doctest
import random
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sybil import Sybil
from sybil.parsers.myst import PythonCodeBlockParser

SEED = 0

# Sphinx runs it, and nobody else.
collect_ignore = ["docs/conf.py"]


def seed_everything() -> None:
    """Start from one seed and from Keras's first layer names."""
    random.seed(SEED)
    np.random.seed(SEED)
    # Whoever has not imported Keras needs none of it: the import takes seconds.
    if keras := sys.modules.get("keras"):
        # Collecting garbage as well would take 0.2 s a test.
        keras.utils.clear_session(free_memory=False)
        keras.utils.set_random_seed(SEED)


@pytest.fixture(scope="module", autouse=True)
def seeded_module() -> None:
    """Seed what the fixtures of a module build before its first test."""
    seed_everything()


@pytest.fixture(autouse=True)
def seeded() -> None:
    seed_everything()


@pytest.fixture(autouse=True)
def examples_in_temporary_folder(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Let docstring examples write files without leaving them in the repository."""
    if not isinstance(request.node, pytest.DoctestItem):
        yield
        return
    with contextlib.chdir(tmp_path_factory.mktemp("docstring")):
        yield


def enter_document(namespace: dict[str, Any]) -> None:
    """Give the blocks of one document one folder, one seed and one namespace."""
    stack = namespace["_stack"] = contextlib.ExitStack()
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    stack.enter_context(contextlib.chdir(folder))
    import keras  # noqa: F401 - so that the seed reaches it, also in a run of one document

    seed_everything()


def leave_document(namespace: dict[str, Any]) -> None:
    namespace["_stack"].close()


documents = Sybil(
    parsers=[
        PythonCodeBlockParser(
            doctest_optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
        )
    ],
    path=str(Path(__file__).parent),
    patterns=["README.md", "CONTRIBUTING.md", "docs/*.md", "docs/**/*.md"],
    setup=enter_document,
    teardown=leave_document,
)
pytest_collect_file = documents.pytest()
