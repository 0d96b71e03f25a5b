"""Imports every module that registers a class which a saved model may hold.

Keras finds a registered class only after its module has been imported, and `kseq`
imports nothing by itself: its first public name imports this.
"""

# ruff: noqa: F401
import kseq.layers
import kseq.losses
import kseq.metrics
import kseq.models
import kseq.teacher_forcing
import kseq.training.learning_rates
import kseq.training.optimizers
