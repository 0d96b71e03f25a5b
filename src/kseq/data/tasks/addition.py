"""Addition as a translation of characters: "325+78" -> "403"."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from kseq.config.checks import check_boolean, check_integer
from kseq.data.tasks.base import Problems, Task, pack_rows
from kseq.data.vocabulary import Ids, Vocabulary
from kseq.special_tokens import END, PAD


class AdditionTask(Task):
    """Sums of natural numbers, character by character.

    Operands are drawn uniformly from `0 .. 10**digits - 1` and written without leading
    zeros. With `fixed_width`, both sides are right-justified with spaces, the source to
    `terms * digits + terms - 1` characters.

    The examples of `split` differ in more than the order of the operands: if one set
    has "1+2", no set has "1+2" or "2+1" again.

    Args:
        terms: int, the number of operands in a sum, at least 2. Default: 2.
        digits: int, the maximum number of digits of an operand. Default: 3.
        fixed_width: bool, whether to justify both sides. This makes the task much
            easier to learn: digits of the same value have the same position. Default:
            True.
        target_width: int or None, the number of characters of a justified target.
            Default: None, the number of digits of the largest sum.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if a number is out of range, sums do not fit in 63 bits, or
            `target_width` is given without `fixed_width` or is too small.

    Example:
        >>> from kseq.data import AdditionTask
        >>> task = AdditionTask(digits=3)
        >>> task.answer("325+78")
        '403'
        >>> task.decode(task.encode(["325+78"]))
        ['325+78']
        >>> train, valid = task.split(train_size=1000, valid_size=100, seed=0)
        >>> len(train), len(valid), task.distinct
        (1000, 100, 500500)
        >>> task.encode(["9+1"])  # " " is 15, "+" 14, </s> 3
        array([[15, 15, 15, 15, 13, 14,  5,  3]], dtype=int32)
    """

    def __init__(
        self,
        terms: int = 2,
        digits: int = 3,
        fixed_width: bool = True,
        target_width: int | None = None,
    ) -> None:
        self.terms = check_integer("terms", terms, 2)
        self.digits = check_integer("digits", digits, 1)
        self.fixed_width = check_boolean("fixed_width", fixed_width)
        largest = self.terms * (10**self.digits - 1)
        if largest >= 2**63:
            raise ValueError(
                f"`terms` * 10**`digits` must be below 2**63. Received: terms={terms}, "
                f"digits={digits}; make one of them smaller."
            )
        self.source_width = self.terms * self.digits + self.terms - 1
        self.target_width = len(str(largest))
        if target_width is not None:
            if not fixed_width:
                raise ValueError(
                    "`target_width` must be None unless `fixed_width` is True. "
                    f"Received: {target_width!r}."
                )
            target_width = check_integer("target_width", target_width, 1)
            if target_width < self.target_width:
                raise ValueError(
                    f"`target_width` must be at least {self.target_width}, the digits "
                    f"of the largest sum {largest}. Received: {target_width}."
                )
            self.target_width = target_width
        symbols = [*"0123456789+", *(" " if fixed_width else "")]
        widths = (self.source_width, self.target_width) if fixed_width else (None, None)
        super().__init__(*(Vocabulary(symbols, "characters", w) for w in widths))
        self._zero = self.vocab["0"]
        self._plus = self.vocab["+"]

    def __repr__(self) -> str:
        """Returns the task as an expression."""
        width = f", target_width={self.target_width}" if self.fixed_width else ""
        return (
            f"AdditionTask(terms={self.terms}, digits={self.digits}, "
            f"fixed_width={self.fixed_width}{width})"
        )

    @property
    def distinct(self) -> int:
        """Number of different sums, not counting other orders of the operands."""
        return math.comb(10**self.digits + self.terms - 1, self.terms)

    def answer(self, text: str) -> str:
        """Returns the sum.

        Args:
            text: str, natural numbers joined by "+", of any number and length, with or
                without justification.

        Returns:
            str, the sum without spaces.

        Raises:
            TypeError: if `text` is not a string.
            ValueError: if `text` is not a sum.

        Example:
            >>> from kseq.data import AdditionTask
            >>> AdditionTask().answer("  9+91")
            '100'
        """
        if not isinstance(text, str):
            raise TypeError(f"`text` must be a string. Received: {text!r}.")
        operands = text.strip(" ").split("+")
        if not all(operand.isascii() and operand.isdigit() for operand in operands):
            raise ValueError(
                '`text` must be natural numbers joined by "+", such as "325+78". '
                f"Received: {text!r}."
            )
        return str(sum(map(int, operands)))

    def _draw(self, rng: np.random.Generator, size: int) -> Problems:
        return rng.integers(0, 10**self.digits, size=(size, self.terms))

    def _keys(self, problems: Problems) -> npt.NDArray[np.int64]:
        return np.sort(problems, axis=1).astype(np.int64, copy=False)

    def _list(
        self, rng: np.random.Generator
    ) -> tuple[Problems, npt.NDArray[np.float64]]:
        count = 10**self.digits
        rows = np.arange(count)[:, None]  # (rows, terms so far), never falling
        for _ in range(1, self.terms):
            choices = count - rows[:, -1]  # the next operand is at least the last
            starts = np.cumsum(choices) - choices
            rows = np.repeat(rows, choices, axis=0)
            following = np.arange(len(rows)) - np.repeat(starts, choices) + rows[:, -1]
            rows = np.column_stack([rows, following])
        # The probability of a sum grows with the number of orders of its operands.
        orders = np.full(len(rows), float(math.factorial(self.terms)))
        repeats = np.ones(len(rows))
        for left, right in zip(rows.T[:-1], rows.T[1:], strict=True):
            repeats = np.where(left == right, repeats + 1, 1)
            orders /= repeats
        return rng.permuted(rows, axis=1), orders

    def _render(self, problems: Problems) -> tuple[Ids, Ids]:
        size = len(problems)
        plus = np.full((size, 1), self._plus, dtype=np.uint8)
        always = np.ones((size, 1), dtype=bool)
        values, masks = [], []
        for operand in problems.T:
            digits, shown = self._write(operand, self.digits)
            values += [digits, plus]
            masks += [shown, always]
        source = self._row(values[:-1], masks[:-1], self.source_width)
        digits, shown = self._write(problems.sum(axis=1), self.target_width)
        return source, self._row([digits], [shown], self.target_width)

    def _write(
        self, numbers: npt.NDArray[np.integer[Any]], width: int
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
        """Returns digit ids `(size, width)`, and a mask without leading zeros."""
        if width < 10:
            numbers = numbers.astype(np.uint32)  # divides much faster
        digits = np.empty((len(numbers), width), dtype=np.uint8)
        shown = np.empty((len(numbers), width), dtype=bool)
        for column in range(width - 1, -1, -1):
            # The last digit is shown even if it is the only one and zero.
            shown[:, column] = (numbers > 0) | (column == width - 1)
            rest = numbers // 10
            digits[:, column] = numbers - rest * 10 + self._zero
            numbers = rest
        return digits, shown

    def _row(
        self,
        values: list[npt.NDArray[np.uint8]],
        masks: list[npt.NDArray[np.bool_]],
        width: int,
    ) -> Ids:
        """Joins columns into rows of ids, ended by `</s>` and justified if needed."""
        end = np.full((len(values[0]), 1), END, dtype=np.uint8)
        row = np.concatenate([*values, end], axis=1)
        shown = np.concatenate([*masks, np.ones_like(end, dtype=bool)], axis=1)
        if self.fixed_width:
            return pack_rows(row, shown, self.vocab[" "], width + 1, right=True)
        return pack_rows(row, shown, PAD)
