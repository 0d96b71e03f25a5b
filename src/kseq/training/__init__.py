"""What goes on while a model trains."""

from kseq.training.callbacks import ShowExamples, StepTimes

__all__ = ["ShowExamples", "StepTimes"]
