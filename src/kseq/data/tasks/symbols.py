"""Copying, reversing and sorting sequences of symbols."""

import abc

import numpy as np
import numpy.typing as npt

from kseq.config.checks import check_integer
from kseq.data.tasks.base import Problems, Task, pack_rows
from kseq.data.vocabulary import Ids, Vocabulary
from kseq.special_tokens import END, PAD, SPECIAL_TOKENS

# In a problem, symbol k is k + 1, and 0 follows the end of a row. The ids of symbols
# follow the special tokens.
_ID_OFFSET = len(SPECIAL_TOKENS) - 1


class SymbolTask(Task):
    """Sequences of the symbols "0", "1", ..., separated by spaces.

    The length of a source is drawn uniformly from `min_length .. max_length`, then each
    symbol uniformly, with replacement. The sources of `split` are distinct.

    Args:
        symbols: int, the number of symbols.
        min_length: int, the minimum length of a source.
        max_length: int, the maximum length of a source.

    Raises:
        TypeError: if an argument is not an integer.
        ValueError: if a number is below 1, or `max_length` is below `min_length`.
    """

    def __init__(self, symbols: int, min_length: int, max_length: int) -> None:
        self.symbols = check_integer("symbols", symbols, 1)
        self.min_length = check_integer("min_length", min_length, 1)
        self.max_length = check_integer("max_length", max_length, 1)
        if self.max_length < self.min_length:
            raise ValueError(
                f"`max_length` must be at least `min_length`, {min_length}. "
                f"Received: {max_length}."
            )
        super().__init__(Vocabulary([str(symbol) for symbol in range(self.symbols)]))

    def __repr__(self) -> str:
        """Returns the task as an expression."""
        return (
            f"{type(self).__name__}(symbols={self.symbols}, "
            f"min_length={self.min_length}, max_length={self.max_length})"
        )

    @property
    def distinct(self) -> int:
        """Number of distinct sources."""
        lengths = range(self.min_length, self.max_length + 1)
        return sum(self.symbols**length for length in lengths)

    def answer(self, text: str) -> str:
        """Returns the correct target of a source.

        Args:
            text: str, symbols separated by spaces, of any length.

        Returns:
            str, symbols separated by single spaces.

        Raises:
            TypeError: if `text` is not a string.
            ValueError: if `text` does not consist of symbols of this task.
        """
        if not isinstance(text, str):
            raise TypeError(f"`text` must be a string. Received: {text!r}.")
        tokens = text.split()
        for token in tokens:
            if token in SPECIAL_TOKENS or token not in self.vocab:
                raise ValueError(
                    f'`text` must be symbols from "0" to "{self.symbols - 1}", '
                    f"separated by spaces. Received: {token!r} in {text!r}."
                )
        return " ".join(self._arrange(tokens))

    @abc.abstractmethod
    def _arrange(self, tokens: list[str]) -> list[str]:
        """Returns the target's symbols."""

    @abc.abstractmethod
    def _targets(self, problems: Problems) -> Problems:
        """Returns the symbols of the targets, in rows that may have gaps."""

    def _draw(self, rng: np.random.Generator, size: int) -> Problems:
        lengths = rng.integers(self.min_length, self.max_length + 1, size=(size, 1))
        shape = (size, self.max_length)
        problems = rng.integers(1, self.symbols + 1, size=shape, dtype=np.int32)
        problems[np.arange(self.max_length) >= lengths] = 0
        return problems

    def _keys(self, problems: Problems) -> npt.NDArray[np.int64]:
        # As many symbols per word as fit in 63 bits: fewer words sort faster.
        base = self.symbols + 1
        packed = 1
        while base ** (packed + 1) < 2**63:
            packed += 1
        words = []
        for start in range(0, self.max_length, packed):
            word = np.zeros(len(problems), dtype=np.int64)
            for column in problems[:, start : start + packed].T:
                word = word * base + column
            words.append(word)
        return np.stack(words, axis=1)

    def _list(
        self, rng: np.random.Generator
    ) -> tuple[Problems, npt.NDArray[np.float64]]:
        problems = np.zeros((self.distinct, self.max_length), dtype=np.int32)
        weights = np.empty(self.distinct)
        start = 0
        for length in range(self.min_length, self.max_length + 1):
            count = self.symbols**length
            numbers = np.arange(count)
            for column in range(length):
                problems[start : start + count, column] = numbers % self.symbols + 1
                numbers //= self.symbols
            weights[start : start + count] = 1 / count
            start += count
        return problems, weights

    def _render(self, problems: Problems) -> tuple[Ids, Ids]:
        return self._rows(problems), self._rows(self._targets(problems))

    def _rows(self, problems: Problems) -> Ids:
        """Removes the gaps in rows of symbols, and adds `</s>`."""
        size = len(problems)
        ids = np.concatenate(
            [problems + _ID_OFFSET, np.full((size, 1), END, problems.dtype)], axis=1
        )
        mask = np.concatenate([problems > 0, np.ones((size, 1), dtype=bool)], axis=1)
        return pack_rows(ids, mask, PAD)


class CopyTask(SymbolTask):
    """Repeat a sequence of symbols. The defaults are those of Sockeye.

    Args:
        symbols: int, the number of symbols. Default: 11.
        min_length: int, the minimum length of a source. Default: 10.
        max_length: int, the maximum length of a source. Default: 30.

    Raises:
        TypeError: if an argument is not an integer.
        ValueError: if a number is below 1, or `max_length` is below `min_length`.

    Example:
        >>> from kseq.data import CopyTask
        >>> CopyTask().answer("10 3 3")
        '10 3 3'
        >>> CopyTask(symbols=2, min_length=1, max_length=3).distinct
        14
    """

    def __init__(
        self, symbols: int = 11, min_length: int = 10, max_length: int = 30
    ) -> None:
        super().__init__(symbols, min_length, max_length)

    def _arrange(self, tokens: list[str]) -> list[str]:
        return tokens

    def _targets(self, problems: Problems) -> Problems:
        return problems


class ReverseTask(SymbolTask):
    """Reverse a sequence of symbols. The defaults are those of JoeyNMT.

    Args:
        symbols: int, the number of symbols. Default: 50.
        min_length: int, the minimum length of a source. Default: 1.
        max_length: int, the maximum length of a source. Default: 25.

    Raises:
        TypeError: if an argument is not an integer.
        ValueError: if a number is below 1, or `max_length` is below `min_length`.

    Example:
        >>> from kseq.data import ReverseTask
        >>> ReverseTask().answer("10 3 7")
        '7 3 10'
    """

    def __init__(
        self, symbols: int = 50, min_length: int = 1, max_length: int = 25
    ) -> None:
        super().__init__(symbols, min_length, max_length)

    def _arrange(self, tokens: list[str]) -> list[str]:
        return tokens[::-1]

    def _targets(self, problems: Problems) -> Problems:
        return problems[:, ::-1]


class SortTask(SymbolTask):
    """Sort a sequence of symbols by their numbers, in ascending order.

    Args:
        symbols: int, the number of symbols. Default: 50.
        min_length: int, the minimum length of a source. Default: 1.
        max_length: int, the maximum length of a source. Default: 25.

    Raises:
        TypeError: if an argument is not an integer.
        ValueError: if a number is below 1, or `max_length` is below `min_length`.

    Example:
        >>> from kseq.data import SortTask
        >>> SortTask().answer("10 3 7 3")
        '3 3 7 10'
    """

    def __init__(
        self, symbols: int = 50, min_length: int = 1, max_length: int = 25
    ) -> None:
        super().__init__(symbols, min_length, max_length)

    def _arrange(self, tokens: list[str]) -> list[str]:
        return sorted(tokens, key=int)

    def _targets(self, problems: Problems) -> Problems:
        return np.sort(problems, axis=1)
