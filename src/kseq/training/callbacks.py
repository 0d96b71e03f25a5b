"""Keras callbacks: outputs for some examples, and the times of training steps."""

import time
from typing import Any

import keras
import numpy as np

from kseq.config.checks import check_integer
from kseq.data import Examples


class ShowExamples(keras.callbacks.Callback):
    """Prints the outputs of a model for some examples during training.

    After every few epochs it decodes the sources greedily. It prints each source with
    its reference and its hypothesis, and marks wrong hypotheses.

    Args:
        examples: The `Examples` to show.
        every: Number of epochs between outputs. The first and the last epoch have
            outputs too. Default: 1.

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
        if self._shown != self._epoch:  # also after early stopping
            self._show()

    def _show(self) -> None:
        print("\n" + "\n".join(self.lines()))
        self._shown = self._epoch

    def lines(self) -> list[str]:
        """Returns a line for each example: source, reference and hypothesis."""
        hypotheses = self.model.generate(self.examples.source)
        rows = zip(
            self.examples.source_texts(),
            self.examples.target_texts(),
            self.examples.target_vocab.decode(hypotheses.tokens),
            strict=True,
        )
        return [
            f"  source {source!r}  reference {reference!r}  hypothesis {hypothesis!r}"
            + ("" if hypothesis == reference else "  (wrong)")
            for source, reference, hypothesis in rows
        ]


class StepTimes(keras.callbacks.Callback):
    """Measures the time of each training step.

    The duration of `fit` also includes validation and waiting for the input pipeline.

    Attributes:
        times: List of floats, the time of each training step in seconds.

    Example:
        >>> from kseq.training import StepTimes
        >>> StepTimes().total
        0.0
    """

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []
        self._start_time = 0.0

    @property
    def total(self) -> float:
        """Total time of all training steps in seconds."""
        return float(np.sum(self.times))

    def on_train_batch_begin(
        self, batch: int, logs: dict[str, Any] | None = None
    ) -> None:
        self._start_time = time.perf_counter()

    def on_train_batch_end(
        self, batch: int, logs: dict[str, Any] | None = None
    ) -> None:
        self.times.append(time.perf_counter() - self._start_time)
