"""Vocabularies, pairs of texts as ids, and seeded generators of them.

Importing this package imports numpy alone: TensorFlow, Keras and pandas are imported
by the methods that return their objects.
"""

from kseq.data.pairs import Examples, from_pairs
from kseq.data.tasks import AdditionTask, CopyTask, ReverseTask, SortTask, Task
from kseq.data.vocabulary import Vocabulary

__all__ = [
    "AdditionTask",
    "CopyTask",
    "Examples",
    "ReverseTask",
    "SortTask",
    "Task",
    "Vocabulary",
    "from_pairs",
]
