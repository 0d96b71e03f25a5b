"""Corpora: pairs of texts from files, tables and public sources."""

from kseq.data.corpora.corpus import Corpus, CorpusCounts, Reading
from kseq.data.corpora.lines import read_lines
from kseq.data.corpora.parallel import read_parallel
from kseq.data.corpora.public import cmudict, multi30k
from kseq.data.corpora.tables import read_table

__all__ = [
    "Corpus",
    "CorpusCounts",
    "Reading",
    "cmudict",
    "multi30k",
    "read_lines",
    "read_parallel",
    "read_table",
]
