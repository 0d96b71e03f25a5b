"""Recurrent sequence-to-sequence models in Keras 3 on TensorFlow.

Importing this package does not import TensorFlow, which takes seconds. A public name is
loaded when it is first used (PEP 562). This also imports the modules that register
classes for saved models.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # type checkers and editors do not follow __getattr__
    from kseq.config.architecture import Seq2SeqConfig as Seq2SeqConfig
    from kseq.config.presets import preset as preset
    from kseq.config.training import TrainingSettings as TrainingSettings
    from kseq.models import Ensemble as Ensemble
    from kseq.models import Seq2Seq as Seq2Seq
    from kseq.models import build_decoder as build_decoder
    from kseq.models import build_encoder as build_encoder
    from kseq.models import build_inference_models as build_inference_models
    from kseq.models import build_seq2seq as build_seq2seq
    from kseq.models import perplexity as perplexity
    from kseq.models import score as score
    from kseq.saving import load_model as load_model
    from kseq.training import train as train
    from kseq.translator import Translator as Translator

_MODULES = {
    "Ensemble": "kseq.models",
    "Seq2Seq": "kseq.models",
    "Seq2SeqConfig": "kseq.config.architecture",
    "TrainingSettings": "kseq.config.training",
    "Translator": "kseq.translator",
    "build_decoder": "kseq.models",
    "build_encoder": "kseq.models",
    "build_inference_models": "kseq.models",
    "build_seq2seq": "kseq.models",
    "load_model": "kseq.saving",
    "perplexity": "kseq.models",
    "preset": "kseq.config.presets",
    "score": "kseq.models",
    "train": "kseq.training",
}
_SUBMODULES = (
    "config",
    "data",
    "decoding",
    "distribution",
    "evaluation",
    "export",
    "layers",
    "losses",
    "metrics",
    "models",
    "plotting",
    "sagemaker",
    "saving",
    "serving",
    "teacher_forcing",
    "training",
    "translator",
    "tuning",
)

__all__ = [*_MODULES, "__version__"]


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("kseq")
    if name in _MODULES:
        importlib.import_module("kseq.registration")
        value = getattr(importlib.import_module(_MODULES[name]), name)
        globals()[name] = value  # the next lookup does not call __getattr__
        return value
    if name in _SUBMODULES:
        return importlib.import_module(f"kseq.{name}")
    raise AttributeError(f"module 'kseq' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *_SUBMODULES])
