"""How the guarantees are tested over many architectures in bearable time."""

from collections.abc import Iterator

import pytest
import tensorflow as tf
from laws.architectures import is_compiled


@pytest.fixture(autouse=True)
def most_without_compiling(request: pytest.FixtureRequest) -> Iterator[None]:
    """Runs most architectures eagerly: compiling takes most of a small model's time.

    Users run compiled graphs: so does every option once in the quick tests, and the
    whole pairwise cover in the slow ones. The full product is never compiled.
    """
    tf.config.run_functions_eagerly(not is_compiled(request.node))
    yield
    tf.config.run_functions_eagerly(False)
