"""What goes on while a model trains, and what is made of its checkpoints."""

from kseq.training.callbacks import ShowExamples, StepTimes
from kseq.training.checkpoints import average_checkpoints, choose_checkpoints

__all__ = [
    "ShowExamples",
    "StepTimes",
    "average_checkpoints",
    "choose_checkpoints",
]
