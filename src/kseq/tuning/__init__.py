"""Sweeps with keras-tuner over the settings of a model and its training.

`search` trains models with different settings and returns the best one; `results`
reports on them. A sweep has a folder: after a kill, the same call resumes it.
`Seq2SeqHyperModel` works with any tuner of keras-tuner, and with custom ones.
"""

from kseq.tuning.hypermodel import Seq2SeqHyperModel
from kseq.tuning.ranges import Boolean, Choice, Float, Int
from kseq.tuning.reports import results
from kseq.tuning.space import default_space
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
