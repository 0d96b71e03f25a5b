"""The training settings of a trial."""

import dataclasses
from typing import Any

import keras

from kseq.config.fields import check_fields, field, field_rule, same_field
from kseq.config.training import TrainingSettings
from kseq.losses import MaskedCrossentropy
from kseq.teacher_forcing import check_ratio


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrialSettings:
    """The training settings of a trial, named as in `TrainingSettings`.

    `Seq2SeqHyperModel` documents them. Unlike `TrainingSettings` they take Keras
    optimizers and schedules.
    """

    batch_size: int = same_field(TrainingSettings, "batch_size")
    validation_batch_size: int = same_field(TrainingSettings, "validation_batch_size")
    max_epochs: int = field(10, minimum=1)
    optimizer: Any = "adam"
    learning_rate: Any = None
    global_clipnorm: float | None = field(None, above=0)
    label_smoothing: float = same_field(TrainingSettings, "label_smoothing")
    teacher_forcing_ratio: Any = 1.0
    teacher_forcing_coin: str = same_field(TrainingSettings, "teacher_forcing_coin")

    def __post_init__(self) -> None:
        check_fields(self)
        if not callable(self.teacher_forcing_ratio):
            check_ratio("teacher_forcing_ratio", self.teacher_forcing_ratio)
        rate = self.learning_rate
        if isinstance(rate, int | float):
            field_rule(TrainingSettings, "learning_rate").check("learning_rate", rate)

    def loss(self) -> MaskedCrossentropy:
        return MaskedCrossentropy(label_smoothing=self.label_smoothing)

    def new_optimizer(self) -> Any:
        """Returns a new optimizer for each model."""
        try:
            template = keras.optimizers.get(self.optimizer)
        except (ValueError, TypeError) as error:
            raise ValueError(
                "`optimizer` must be the name, config or object of a Keras optimizer. "
                f"Received: {self.optimizer!r}."
            ) from error
        options = {
            "learning_rate": self.learning_rate,
            "global_clipnorm": self.global_clipnorm,
        }
        given = {name: value for name, value in options.items() if value is not None}
        return type(template).from_config({**template.get_config(), **given})
