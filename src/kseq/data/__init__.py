"""Vocabularies, pairs of texts as ids, and seeded generators of them.

Importing this package imports numpy alone: TensorFlow, Keras and pandas are imported
by the methods that return their objects.
"""

from kseq.data.batch_plan import plan_batches
from kseq.data.buckets import choose_buckets, even_buckets
from kseq.data.corpora import (
    Corpus,
    CorpusCounts,
    cmudict,
    multi30k,
    read_lines,
    read_parallel,
    read_table,
)
from kseq.data.datasets import BatchStream, validation_dataset
from kseq.data.encoding import LengthCounts, encode_pairs
from kseq.data.examples import Examples, from_pairs
from kseq.data.formats import ctf_vocabulary, read_ctf, write_ctf
from kseq.data.shards import ShardedExamples, write_shards
from kseq.data.tasks import AdditionTask, CopyTask, ReverseTask, SortTask, Task
from kseq.data.tokenizers import (
    CharacterTokenizer,
    MosesTokenizer,
    SentencePieceTokenizer,
    SpacyTokenizer,
    Tokenizer,
    WhitespaceTokenizer,
)
from kseq.data.vocabulary import Vocabulary

__all__ = [
    "AdditionTask",
    "BatchStream",
    "CharacterTokenizer",
    "CopyTask",
    "Corpus",
    "CorpusCounts",
    "Examples",
    "LengthCounts",
    "MosesTokenizer",
    "ReverseTask",
    "SentencePieceTokenizer",
    "ShardedExamples",
    "SortTask",
    "SpacyTokenizer",
    "Task",
    "Tokenizer",
    "Vocabulary",
    "WhitespaceTokenizer",
    "choose_buckets",
    "cmudict",
    "ctf_vocabulary",
    "encode_pairs",
    "even_buckets",
    "from_pairs",
    "multi30k",
    "plan_batches",
    "read_ctf",
    "read_lines",
    "read_parallel",
    "read_table",
    "validation_dataset",
    "write_ctf",
    "write_shards",
]
