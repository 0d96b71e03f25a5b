"""Sweeps: keras-tuner over every setting of a model and of its training.

`search` tries models and hands back the best one; `results` is the report. A sweep
lives in a folder: killed and started again with the same arguments, it goes on where it
was. `Seq2SeqHyperModel` alone serves any tuner of keras-tuner, or one of your own.
"""

from kseq.tuning.hypermodel import Seq2SeqHyperModel
from kseq.tuning.reports import results
from kseq.tuning.space import Boolean, Choice, Float, Int, default_space
from kseq.tuning.sweep import Sweep, search

__all__ = [
    "Boolean",
    "Choice",
    "Float",
    "Int",
    "Seq2SeqHyperModel",
    "Sweep",
    "default_space",
    "results",
    "search",
]
