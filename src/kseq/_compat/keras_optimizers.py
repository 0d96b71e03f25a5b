"""Learning rate schedules and slots of Keras's optimizers.

All entries were seen in Keras 3.15. The tests named here are in
`tests/_compat/test_keras_optimizers.py`; each fails once its entry can go.
"""

from typing import Any

import keras


class ScheduleByUpdates:
    """Mixin for optimizers that evaluates a schedule at the number of updates.

    With accumulated gradients Keras evaluates it at the number of batches, although
    `iterations` is the number of updates
    (`test_keras_counts_accumulated_batches_in_a_schedule`).
    """

    iterations: Any
    _learning_rate: Any

    def _get_current_learning_rate(self) -> Any:
        rate = self._learning_rate
        if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
            return rate(self.iterations)
        return super()._get_current_learning_rate()  # type: ignore[misc]


def variable_index(optimizer: Any, variable: Any) -> int:
    """Returns the index of a variable in an optimizer's slots, such as `momentums`.

    Optimizers have no public method for it
    (`test_keras_has_no_public_index_of_a_variable`).

    Args:
        optimizer: A Keras optimizer.
        variable: One of the variables that it updates.
    """
    return int(optimizer._get_variable_index(variable))
