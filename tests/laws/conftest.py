"""How the guarantees are tested over many architectures in bearable time."""

from collections.abc import Iterator

import pytest
import tensorflow as tf


@pytest.fixture(autouse=True)
def full_product_without_compiling(request: pytest.FixtureRequest) -> Iterator[None]:
    """Runs the full product eagerly: compiling takes most of a small model's time.

    The pairwise cover runs the compiled graphs, as users do.
    """
    eagerly = "[full-" in request.node.name
    tf.config.run_functions_eagerly(eagerly)
    yield
    tf.config.run_functions_eagerly(False)
