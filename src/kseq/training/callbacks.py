"""Keras callbacks that show a model learn."""

import time
from typing import Any

import keras
import numpy as np

from kseq.config.checks import check_integer
from kseq.data import Examples


class ShowExamples(keras.callbacks.Callback):
    """Prints what a model makes of some examples, as it learns.

    After every few epochs the sources are decoded greedily, and each is printed with
    its reference and its hypothesis, marked where it is wrong.

    Args:
        examples: The `Examples` to show, all of them.
        every: Number of epochs from one showing to the next; the first and the last
            epoch are shown as well. Default 1.

    Example:
        >>> from kseq import build_seq2seq
        >>> from kseq.data import AdditionTask
        >>> from kseq.training import ShowExamples
        >>> task = AdditionTask(digits=1)
        >>> examples = task.sample(8)
        >>> model = build_seq2seq(
        ...     source_vocab_size=len(task.vocab),
        ...     target_vocab_size=len(task.vocab),
        ...     units=8,
        ... )
        >>> model.compile()
        >>> history = model.fit(
        ...     *examples.arrays(), verbose=0, callbacks=[ShowExamples(examples[:2])]
        ... )
        <BLANKLINE>
          source ...
          source ...
    """

    def __init__(self, examples: Examples, every: int = 1) -> None:
        super().__init__()
        if not isinstance(examples, Examples):
            raise TypeError(
                f"`examples` must be kseq.data.Examples. Received: {examples!r}."
            )
        self.examples = examples
        self.every = check_integer("every", every, 1)
        self._shown: int | None = None
        self._epoch: int | None = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._shown = self._epoch = None

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._epoch = epoch
        if self._shown is None or (epoch + 1) % self.every == 0:
            self._show()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        if self._shown != self._epoch:  # the last epoch, also where it came early
            self._show()

    def _show(self) -> None:
        print("\n" + "\n".join(self.lines()))
        self._shown = self._epoch

    def lines(self) -> list[str]:
        """Returns a line for each example: source, reference and hypothesis."""
        found = self.model.generate(self.examples.source)
        hypotheses = self.examples.target_vocab.decode(found.tokens)
        rows = zip(
            self.examples.source_texts(),
            self.examples.target_texts(),
            hypotheses,
            strict=True,
        )
        return [
            f"  source {source!r}  reference {reference!r}  hypothesis {hypothesis!r}"
            + ("" if hypothesis == reference else "  (wrong)")
            for source, reference, hypothesis in rows
        ]


class StepTimes(keras.callbacks.Callback):
    """Measures the training steps alone, without validation or waiting in between.

    `fit` as a whole also validates, and may wait for the input pipeline at the end of
    an epoch: its duration says little about the model.

    Attributes:
        times: List of floats, the seconds of each training step.

    Example:
        >>> from kseq.training import StepTimes
        >>> StepTimes().total
        0.0
    """

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []
        self._begin = 0.0

    @property
    def total(self) -> float:
        """Seconds of all training steps so far."""
        return float(np.sum(self.times))

    def on_train_batch_begin(
        self, batch: int, logs: dict[str, Any] | None = None
    ) -> None:
        self._begin = time.perf_counter()

    def on_train_batch_end(
        self, batch: int, logs: dict[str, Any] | None = None
    ) -> None:
        self.times.append(time.perf_counter() - self._begin)
