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
from kseq.layers.cells import RecurrentCell
from kseq.layers.initializers import ForgetBias
from kseq.layers.layer_norm import (
    LayerNormGRU,
    LayerNormGRUCell,
    LayerNormLSTM,
    LayerNormLSTMCell,
)
from kseq.layers.linear import Block, Linear
from kseq.layers.masking import FeatureMask, MaskedMean, PaddingMask, WithoutMask
from kseq.layers.recurrent import FusedGRU, FusedLSTM
from kseq.layers.reversal import ReversalMask, ReverseSequence
from kseq.layers.stabilizer import Stabilizer
from kseq.layers.tokens import OneHot, TokenIds
from kseq.layers.zero_state import ZeroState

__all__ = [
    "AdditiveAttention",
    "Attention",
    "AttentionalHidden",
    "Block",
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
    "Linear",
    "LocationAttention",
    "LocationSensitiveAttention",
    "MaskedMean",
    "MultiHeadDotAttention",
    "OneHot",
    "PaddingMask",
    "RecurrentCell",
    "ReversalMask",
    "ReverseSequence",
    "Stabilizer",
    "TokenIds",
    "WithoutMask",
    "ZeroState",
]
