"""Attention: which source positions a decoder reads from."""

from kseq.layers.attention.additive import (
    AdditiveAttention,
    CoverageAttention,
    LocationSensitiveAttention,
)
from kseq.layers.attention.base import Attention
from kseq.layers.attention.dot import (
    DotAttention,
    GeneralAttention,
    MultiHeadDotAttention,
)
from kseq.layers.attention.hidden import AttentionalHidden
from kseq.layers.attention.position import FixedAttention, LocationAttention

__all__ = [
    "AdditiveAttention",
    "Attention",
    "AttentionalHidden",
    "CoverageAttention",
    "DotAttention",
    "FixedAttention",
    "GeneralAttention",
    "LocationAttention",
    "LocationSensitiveAttention",
    "MultiHeadDotAttention",
]
