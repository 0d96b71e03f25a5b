"""The base class of tasks: it draws, splits and streams examples.

A task draws *problems*, rows of integers (operands or symbols), and converts them to
ids without making texts.
"""

from __future__ import annotations

import abc
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

from kseq.config.checks import check_integer
from kseq.data.batches import Batch, make_batch, stream_dataset
from kseq.data.examples import Examples
from kseq.data.vocabulary import Ids, Vocabulary

if TYPE_CHECKING:
    import tensorflow as tf

Problems = npt.NDArray[np.integer[Any]]

# Each method adds a number to the seed, so that `sample(seed=0)` and `split(seed=0)`
# draw different examples. No number is 0, because SeedSequence ignores trailing zeros.
_SAMPLE, _SPLIT, _STREAM = 0x73616D70, 0x73706C69, 0x73747265

# All problems of a task are listed instead of drawn if at least one in four is needed,
# or if there are few of them.
_LISTED_FRACTION = 4
_LISTED_SIZE = 50_000


class Task(abc.ABC):
    """A generator of examples with known correct answers.

    The examples depend only on the arguments, and are the same in every process. A
    subclass defines `distinct`, `answer`, `_draw`, `_keys`, `_list` and `_render`.

    Args:
        vocab: `Vocabulary` of the sources.
        target_vocab: `Vocabulary` of the targets, with the same tokens. Default: None,
            `vocab`.
    """

    def __init__(
        self, vocab: Vocabulary, target_vocab: Vocabulary | None = None
    ) -> None:
        self.vocab = vocab
        self.target_vocab = vocab if target_vocab is None else target_vocab

    @property
    @abc.abstractmethod
    def distinct(self) -> int:
        """Number of distinct examples, as `split` counts them."""

    @abc.abstractmethod
    def answer(self, text: str) -> str:
        """Returns the correct target of a source.

        Args:
            text: str, a source.

        Returns:
            str, the target in the form of `decode`.

        Raises:
            TypeError: if `text` is not a string.
            ValueError: if `text` is not a source of this task.
        """

    @abc.abstractmethod
    def _draw(self, rng: np.random.Generator, size: int) -> Problems:
        """Draws problems independently: integers of shape `(size, width)`."""

    @abc.abstractmethod
    def _keys(self, problems: Problems) -> npt.NDArray[np.int64]:
        """Returns int64 `(size, words)`: equal rows for equal problems."""

    @abc.abstractmethod
    def _list(
        self, rng: np.random.Generator
    ) -> tuple[Problems, npt.NDArray[np.float64]]:
        """Lists all distinct problems, with weights proportional to probability."""

    @abc.abstractmethod
    def _render(self, problems: Problems) -> tuple[Ids, Ids]:
        """Returns the source and target ids of problems, rows ended by `</s>`."""

    def encode(self, texts: Iterable[str]) -> Ids:
        """Converts sources to ids.

        Args:
            texts: list of str.

        Returns:
            int32 array of shape `(batch, longest)`, rows ended by `</s>`.

        Raises:
            TypeError: if `texts` is not a list of strings.
            ValueError: if a text contains an unknown token.
        """
        return self.vocab.encode(texts, strict=True)

    def decode(self, ids: npt.ArrayLike) -> list[str]:
        """Converts ids of sources or targets to texts.

        Args:
            ids: integers of shape `(batch, time)`; or of shape `(batch, n, time)`, as
                `generate` returns them, of which the first of the `n` hypotheses is
                decoded.

        Returns:
            list of `batch` strings.

        Raises:
            ValueError: if `ids` has another shape or dtype, or is out of range.
        """
        return self.vocab.decode(ids)

    def sample(self, n: int, seed: int = 0) -> Examples:
        """Draws examples independently, so there may be repetitions.

        Args:
            n: int, the number of examples.
            seed: int, 0 or more. Default: 0.

        Returns:
            `Examples`.

        Raises:
            TypeError: if an argument is not an integer.
            ValueError: if an argument is out of range.
        """
        n = check_integer("n", n, 1)
        seed = check_integer("seed", seed, 0)
        return self._examples(self._draw(_generator(seed, _SAMPLE), n))

    @overload
    def split(
        self, train_size: int, valid_size: int, seed: int = 0, test_size: None = None
    ) -> tuple[Examples, Examples]: ...

    @overload
    def split(
        self, train_size: int, valid_size: int, seed: int = 0, *, test_size: int
    ) -> tuple[Examples, Examples, Examples]: ...

    @overload
    def split(
        self, train_size: int, valid_size: int, seed: int, test_size: int
    ) -> tuple[Examples, Examples, Examples]: ...

    def split(
        self,
        train_size: int,
        valid_size: int,
        seed: int = 0,
        test_size: int | None = None,
    ) -> tuple[Examples, ...]:
        """Draws disjoint sets of distinct examples.

        The examples are drawn like those of `sample`, without repetitions, and assigned
        to the sets at random.

        Args:
            train_size: int, the number of training examples.
            valid_size: int, the number of validation examples.
            seed: int, 0 or more. Default: 0.
            test_size: int or None, the number of test examples. Default: None, no test
                set.

        Returns:
            A tuple `(train, valid)`, or `(train, valid, test)` if `test_size` is given,
            of `Examples`.

        Raises:
            TypeError: if an argument is not an integer.
            ValueError: if an argument is out of range, or if there are not enough
                distinct examples.
        """
        sizes = [
            check_integer("train_size", train_size, 1),
            check_integer("valid_size", valid_size, 1),
        ]
        names = "`train_size` + `valid_size`"
        if test_size is not None:
            sizes.append(check_integer("test_size", test_size, 1))
            names += " + `test_size`"
        seed = check_integer("seed", seed, 0)
        needed = sum(sizes)
        if needed > self.distinct:
            raise ValueError(
                f"{names} must be at most {self.distinct}, the number of distinct "
                f"examples of this task. Received: {needed}; ask for fewer or "
                "make the task larger."
            )
        rng = _generator(seed, _SPLIT)
        problems = self._draw_distinct(rng, needed)
        # Rare examples tend to come last, so shuffle before splitting.
        whole = self._examples(problems[rng.permutation(needed)])
        stops = np.cumsum(sizes)
        return tuple(
            whole[stop - size : stop] for size, stop in zip(sizes, stops, strict=True)
        )

    def batch(self, batch_size: int, seed: int = 0, step: int = 0) -> Batch:
        """Returns one batch of the endless stream, a function of the arguments.

        Args:
            batch_size: int, number of examples per batch.
            seed: int, 0 or more. Default: 0.
            step: int, 0 or more, the position of the batch in the stream. Default: 0.

        Returns:
            A tuple `(inputs, targets)` of int32 arrays: a dict of `encoder_inputs`,
            `(batch_size, source_time)`, and `decoder_inputs`,
            `(batch_size, target_time)`; and the targets, `(batch_size, target_time)`.

        Raises:
            TypeError: if an argument is not an integer.
            ValueError: if an argument is out of range.
        """
        batch_size = check_integer("batch_size", batch_size, 1)
        seed = check_integer("seed", seed, 0)
        step = check_integer("step", step, 0)
        rng = _generator(seed, _STREAM, step)
        return make_batch(*self._render(self._draw(rng, batch_size)))

    def stream(
        self, batch_size: int, seed: int = 0, initial_step: int = 0
    ) -> tf.data.Dataset:
        """Returns endless new examples. `fit` needs `steps_per_epoch` with them.

        Args:
            batch_size: int, number of examples per batch.
            seed: int, 0 or more. Default: 0.
            initial_step: int, the step of the first batch. To resume a run, pass the
                number of batches it has read. Default: 0.

        Returns:
            A `tf.data.Dataset` whose element k is
            `batch(batch_size, seed, initial_step + k)`, int32 of shape
            `(None, None)`.

        Raises:
            TypeError: if an argument is not an integer.
            ValueError: if an argument is out of range.
        """
        batch_size = check_integer("batch_size", batch_size, 1)
        seed = check_integer("seed", seed, 0)
        initial_step = check_integer("initial_step", initial_step, 0)
        return stream_dataset(
            lambda step: self.batch(batch_size, seed, step), initial_step
        )

    def _examples(self, problems: Problems) -> Examples:
        return Examples(*self._render(problems), self.vocab, self.target_vocab)

    def _draw_distinct(self, rng: np.random.Generator, needed: int) -> Problems:
        """Draws distinct problems, as if each repetition was drawn again."""
        if self.distinct <= max(_LISTED_FRACTION * needed, _LISTED_SIZE):
            problems, weights = self._list(rng)
            # Sorting by Exp(1) / weight gives the order of weighted draws without
            # replacement (Efraimidis and Spirakis, 2006).
            times = rng.exponential(size=len(problems)) / weights
            return problems[np.argsort(times, kind="stable")[:needed]]
        problems = self._draw(rng, needed)
        while True:
            distinct = problems[_first_rows(self._keys(problems))]
            missing = needed - len(distinct)
            if missing <= 0:
                return distinct[:needed]
            # Repetitions become more frequent, so draw more than are missing.
            more = max(2 * missing, needed // 8, 64)
            problems = np.concatenate([distinct, self._draw(rng, more)])


def _generator(*entropy: int) -> np.random.Generator:
    return np.random.default_rng(list(entropy))


def _first_rows(keys: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Returns the index of the first of all equal rows of `(size, words)`, sorted."""
    order = np.lexsort(keys.T)  # stable: equal rows keep their order
    ranked = keys[order]
    new = np.ones(len(keys), dtype=bool)
    new[1:] = np.any(ranked[1:] != ranked[:-1], axis=1)
    return np.sort(order[new])


def pack_rows(
    values: npt.NDArray[Any],
    mask: npt.NDArray[np.bool_],
    fill: int,
    width: int | None = None,
    right: bool = False,
) -> Ids:
    """Removes the masked-out values of each row, and fills the row at its end.

    Args:
        values: integers of shape `(size, time)`.
        mask: bool of shape `(size, time)`, True at the values to keep.
        fill: int, the value of the remaining cells.
        width: int or None, the number of columns of the result. Default: None, the
            length of the longest row.
        right: bool, whether to put the values at the right end. Default: False.

    Returns:
        int32 array of shape `(size, width)`.
    """
    lengths = np.count_nonzero(mask, axis=1)[:, None]  # (size, 1)
    if width is None:
        width = int(lengths.max())
    columns = np.arange(width)
    packed = np.full((len(values), width), fill, dtype=np.int32)
    # numpy reads both masks row by row, so each row gets its own values.
    filled = columns >= width - lengths if right else columns < lengths
    packed[filled] = values[mask]
    return packed
