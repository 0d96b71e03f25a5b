"""Keras layers that Keras lacks: each is serializable and usable alone."""

from kseq.layers.attention import (
    AdditiveAttention,
    Attention,
    AttentionalHidden,
    CoverageAttention,
    DotAttention,
    FixedAttention,
    GeneralAttention,
    LocationAttention,
    LocationSensitiveAttention,
    MultiHeadDotAttention,
)
from kseq.layers.initializers import ForgetBias
from kseq.layers.masking import FeatureMask, MaskedMean, PaddingMask, WithoutMask
from kseq.layers.normalized import (
    LayerNormGRU,
    LayerNormGRUCell,
    LayerNormLSTM,
    LayerNormLSTMCell,
)
from kseq.layers.recurrent import FusedGRU, FusedLSTM
from kseq.layers.reversal import ReversalMask, ReverseSequence
from kseq.layers.stabilizer import Stabilizer
from kseq.layers.states import ZeroState
from kseq.layers.tokens import OneHot, TokenIds

__all__ = [
    "AdditiveAttention",
    "Attention",
    "AttentionalHidden",
    "CoverageAttention",
    "DotAttention",
    "FeatureMask",
    "FixedAttention",
    "ForgetBias",
    "FusedGRU",
    "FusedLSTM",
    "GeneralAttention",
    "LayerNormGRU",
    "LayerNormGRUCell",
    "LayerNormLSTM",
    "LayerNormLSTMCell",
    "LocationAttention",
    "LocationSensitiveAttention",
    "MaskedMean",
    "MultiHeadDotAttention",
    "OneHot",
    "PaddingMask",
    "ReversalMask",
    "ReverseSequence",
    "Stabilizer",
    "TokenIds",
    "WithoutMask",
    "ZeroState",
]
