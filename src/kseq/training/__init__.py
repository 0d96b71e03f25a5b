"""Training runs and checkpoints."""

from kseq.training.callbacks import ShowExamples, StepTimes
from kseq.training.checkpoint_averaging import average_checkpoints, choose_checkpoints
from kseq.training.checkpointing import RunDivergedError
from kseq.training.initial_weights import (
    LoadedParameters,
    freeze,
    load_embeddings,
    load_parameters,
)
from kseq.training.learning_rates import (
    InverseSqrtDecay,
    Plateau,
    Warmup,
    find_plateau,
    make_schedule,
)
from kseq.training.loop import RunInterruptedError
from kseq.training.optimizers import make_optimizer
from kseq.training.run import TrainingResult, train

__all__ = [
    "InverseSqrtDecay",
    "LoadedParameters",
    "Plateau",
    "RunDivergedError",
    "RunInterruptedError",
    "ShowExamples",
    "StepTimes",
    "TrainingResult",
    "Warmup",
    "average_checkpoints",
    "choose_checkpoints",
    "find_plateau",
    "freeze",
    "load_embeddings",
    "load_parameters",
    "make_optimizer",
    "make_schedule",
    "train",
]
