"""Search over a step function; it knows nothing of layers or text."""

from kseq.decoding.greedy import greedy
from kseq.decoding.hypotheses import Hypotheses

__all__ = ["Hypotheses", "greedy"]
