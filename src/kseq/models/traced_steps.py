"""Steps of training that are traced once for each rank of their data."""

import weakref
from collections.abc import Callable
from typing import Any

import tensorflow as tf


def by_rank(make: Callable[[], Callable[[Any], Any]]) -> Callable[[Any], Any]:
    """Returns a step function that is made anew for data of other ranks.

    Keras lets TensorFlow generalize the shapes that it has traced a step for. Of
    weights (batch,) and then (batch, time) it makes a shape of unknown rank, and of
    one-hot vectors of two widths an unknown width: neither can be checked.

    Args:
        make: Makes a step function of Keras's, of an iterator or of a list of batches.
    """
    made: dict[Any, Callable[[Any], Any]] = {}
    # An epoch gives the same iterator at each step. It must not be kept alive here.
    latest: list[Any] = [lambda: None, None]

    def function(data: Any) -> Any:
        if isinstance(data, tf.data.Iterator | tf.distribute.DistributedIterator):
            if latest[0]() is not data:
                latest[:] = [weakref.ref(data), _ranks(data.element_spec)]
            ranks = latest[1]
        else:  # a list of batches, or a generator of one
            batches = list(data)
            ranks = _ranks(batches[:1])
            data = batches if isinstance(data, list) else iter(batches)
        if ranks not in made:
            made[ranks] = make()
        return made[ranks](data)

    return function


def _ranks(structure: Any) -> tuple[Any, ...]:
    leaves = tf.nest.flatten(structure, expand_composites=True)
    shapes = [tf.TensorShape(getattr(leaf, "shape", None)) for leaf in leaves]
    # The number of columns of vectors is always known.
    return tuple(
        (each.rank, each[2]) if each.rank == 3 else each.rank for each in shapes
    )
