"""Random generators of Keras layers.

All entries were seen in Keras 3.15. The tests named here are in
`tests/_compat/test_keras_random.py`; each fails once its entry can go.
"""

import contextlib
from collections.abc import Iterator

import keras


@contextlib.contextmanager
def preserved_seeds(model: keras.Model) -> Iterator[None]:
    """Restores the random generators of a model at the end of the context.

    Keras draws the masks of recurrent dropout also for inference, where they have no
    effect (`test_keras_draws_recurrent_dropout_in_inference`). A model has no list of
    its generators, but their states have a fixed name.

    Args:
        model: The model.
    """
    states = [v for v in model.variables if v.path.endswith("seed_generator_state")]
    values = [keras.ops.convert_to_numpy(state) for state in states]
    yield
    for state, value in zip(states, values, strict=True):
        state.assign(value)
