"""Tasks that make their own data: seeded, vectorised, with a known right answer."""

from kseq.data.tasks.addition import AdditionTask
from kseq.data.tasks.base import Task
from kseq.data.tasks.symbols import CopyTask, ReverseTask, SortTask

__all__ = ["AdditionTask", "CopyTask", "ReverseTask", "SortTask", "Task"]
