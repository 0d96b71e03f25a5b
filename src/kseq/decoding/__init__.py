"""Search over a step function: greedy, beam and sampling."""

from kseq.decoding.beam import BeamSearch
from kseq.decoding.ensembles import average_distributions, combine_steps
from kseq.decoding.greedy import Greedy
from kseq.decoding.hypotheses import Hypotheses
from kseq.decoding.length_ratio import LengthRatio
from kseq.decoding.sampling import Sampling
from kseq.decoding.search import Search
from kseq.decoding.serialization import get
from kseq.decoding.step_function import Step

__all__ = [
    "BeamSearch",
    "Greedy",
    "Hypotheses",
    "LengthRatio",
    "Sampling",
    "Search",
    "Step",
    "average_distributions",
    "combine_steps",
    "get",
]
