"""Scores that rank epochs and trials."""

import math
from collections.abc import Mapping
from typing import Any

import keras_tuner

from kseq.training.early_stopping import has_diverged

# Among equal scores, the one with the lowest value of this metric is the best.
LOSS = "val_loss"


class TrialDivergedError(keras_tuner.errors.FailedTrialError):
    """The training of a trial diverged."""


class Score(float):
    """A value of the objective. Between equal values, the lower loss is better.

    keras-tuner compares epochs and trials only with `<` and `>`, and selects the first
    of equal ones.

    Args:
        value: Value of the objective.
        loss: Validation loss; None if unknown.
        direction: Direction of the objective, `"min"` or `"max"`.

    Example:
        >>> from kseq.tuning.objectives import Score
        >>> max(Score(0.0, 9.0, "max"), Score(0.0, 2.0, "max")).loss
        2.0
    """

    loss: float
    _tie: float

    def __new__(cls, value: float, loss: float | None, direction: str) -> "Score":
        score = super().__new__(cls, value)
        score.loss = math.inf if loss is None else float(loss)
        score._tie = -score.loss if direction == "max" else score.loss
        return score

    def __lt__(self, other: float) -> bool:
        if isinstance(other, Score) and float(self) == float(other):
            return self._tie < other._tie
        return float(self) < float(other)

    def __gt__(self, other: float) -> bool:
        if isinstance(other, Score) and float(self) == float(other):
            return self._tie > other._tie
        return float(self) > float(other)


class EpochObjective(keras_tuner.Objective):
    """The objective of a tuner, for which a diverged epoch is never the best.

    Args:
        objective: `keras_tuner.Objective`, also one with several objectives.
        vocab_size: Size of the target vocabulary.

    Attributes:
        directions: Dict from the metrics of the objective to `"min"` or `"max"`.
    """

    def __init__(self, objective: Any, vocab_size: int) -> None:
        super().__init__(objective.name, objective.direction)
        self.directions: dict[str, str] = getattr(
            objective, "name_to_direction", {objective.name: objective.direction}
        )
        self._objective = objective
        self._vocab_size = vocab_size

    def has_value(self, logs: Mapping[str, float]) -> bool:
        return all(name in logs for name in self.directions)

    def get_value(self, logs: Mapping[str, float]) -> Score:
        value = self._objective.get_value(self.comparable(logs))
        return Score(value, logs.get(LOSS), self.direction)

    def comparable(self, logs: Mapping[str, float]) -> dict[str, float]:
        """Returns the metrics of an epoch, with scores for those of the objective.

        Args:
            logs: Metrics of the epoch.
        """
        worst = {"min": math.inf, "max": -math.inf}
        is_invalid = self.error(logs) is not None
        return {**logs} | {
            name: Score(
                worst[direction] if is_invalid else logs[name],
                logs.get(LOSS),
                direction,
            )
            for name, direction in self.directions.items()
        }

    def error(self, logs: Mapping[str, float]) -> Exception | None:
        """Returns why the model of an epoch is unusable; None if it is usable.

        Args:
            logs: Metrics of the epoch.
        """
        loss = logs.get(LOSS)
        if loss is not None and has_diverged(loss, self._vocab_size):
            return TrialDivergedError(
                f"The training diverged: {LOSS} is {loss:.4g}; guessing among "
                f"{self._vocab_size} tokens gives {math.log(self._vocab_size):.4g}."
            )
        for name in self.directions:
            if not math.isfinite(logs[name]):
                return keras_tuner.errors.FailedTrialError(
                    f"`objective` must be finite. Received: {name} is {logs[name]} in "
                    "every epoch."
                )
        return None
