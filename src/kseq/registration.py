"""Imports every module that registers classes for saved models.

Keras finds a registered class only after its module was imported. The first use of a
public name of `kseq` imports this module.
"""

# ruff: noqa: F401
import kseq.layers
import kseq.losses
import kseq.metrics
import kseq.models
import kseq.teacher_forcing
import kseq.training.learning_rates
import kseq.training.optimizers
