"""Keras layers that Keras lacks: each is serializable and usable alone."""

from kseq.layers.initializers import ForgetBias
from kseq.layers.masking import FeatureMask, MaskedMean, PaddingMask, WithoutMask
from kseq.layers.reversal import ReversalMask, ReverseSequence
from kseq.layers.states import ZeroState
from kseq.layers.tokens import OneHot, TokenIds

__all__ = [
    "FeatureMask",
    "ForgetBias",
    "MaskedMean",
    "OneHot",
    "PaddingMask",
    "ReversalMask",
    "ReverseSequence",
    "TokenIds",
    "WithoutMask",
    "ZeroState",
]
