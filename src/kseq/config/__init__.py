"""Settings of architecture, data and training, as validated dataclasses."""

from kseq.config.architecture import Seq2SeqConfig
from kseq.config.data import DataSettings
from kseq.config.presets import preset
from kseq.config.training import TrainingSettings

__all__ = ["DataSettings", "Seq2SeqConfig", "TrainingSettings", "preset"]
