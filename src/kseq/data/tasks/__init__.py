"""Tasks that generate their own data, with known correct answers."""

from kseq.data.tasks.addition import AdditionTask
from kseq.data.tasks.base import Task
from kseq.data.tasks.symbols import CopyTask, ReverseTask, SortTask

__all__ = ["AdditionTask", "CopyTask", "ReverseTask", "SortTask", "Task"]
