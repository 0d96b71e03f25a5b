"""The training loop: `fit` from checkpoint to checkpoint, with progress and signals."""

import logging
import math
import signal
import sys
import time
from collections.abc import Mapping
from typing import Any

import keras
from tqdm import tqdm

from kseq.progress import on_terminal
from kseq.training.checkpointing import Checkpointer
from kseq.training.run_log import PROGRESS, first_signal

log = logging.getLogger("kseq")

# Steps between checks of the loss. A check waits for the end of the step.
_CHECK_EVERY = 10


class RunInterruptedError(Exception):
    """A signal has ended a run, after its state was saved.

    Attributes:
        signal: Number of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(
            f"stopped by {signal.Signals(number).name}; resume to continue"
        )
        self.signal = number


class TrainingLoop(keras.callbacks.Callback):
    """Trains a model until there is a reason to stop, as a callback of `fit`.

    Each epoch of `fit` ends with a checkpoint, whatever the epochs of the data.

    Args:
        checkpointer: The `Checkpointer` of the run, begun or resumed.
        verbose: Show a progress bar on a terminal.
    """

    def __init__(self, checkpointer: Checkpointer, verbose: bool) -> None:
        super().__init__()
        self.model_in_training = checkpointer.model
        self.checkpointer = checkpointer
        self.settings = checkpointer.settings
        self.state = checkpointer.state
        self.stream = checkpointer.stream
        self.verbose = verbose
        self.signal: int | None = None
        self.reason = ""
        self._bar: Any = None
        self._step_start = 0.0

    def run(self) -> str:
        """Trains; returns the reason why training has ended."""
        self.reason = self.checkpointer.reason_to_stop()
        with first_signal(self._on_signal):
            while not self.reason:
                self._fit()
        return self.reason

    def _fit(self) -> None:
        """Trains up to the next checkpoint, or over many intervals of equal length."""
        begin, end = self._interval()
        # An interval that a resumed run continues is shorter, and intervals of epochs
        # differ: then each has its own `fit`.
        is_whole = begin == self.state.steps
        has_epochs = self.settings.checkpoint_epochs is not None
        strategy = self.checkpointer.input_strategy
        self.model_in_training.fit(
            self.stream.dataset(self.state.steps, strategy=strategy),
            epochs=sys.maxsize if is_whole and not has_epochs else 1,
            steps_per_epoch=end - self.state.steps,
            callbacks=[self],
            verbose=0,
        )

    def _interval(self) -> tuple[int, int]:
        """Returns the steps of the previous and the next scheduled checkpoint."""
        settings, steps = self.settings, self.state.steps
        if settings.checkpoint_updates is not None:
            length = settings.checkpoint_updates * settings.accumulation_steps
            begin = steps - steps % length
            return begin, begin + length
        epochs = int(settings.checkpoint_epochs or 1)
        epoch = self.stream.position(steps)[0] // epochs * epochs
        return self.stream.step_at(epoch), self.stream.step_at(epoch + epochs)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.checkpointer.restore_metrics()
        count = self.settings.accumulation_steps
        begin, end = (step // count for step in self._interval())
        self._bar = tqdm(
            desc=f"checkpoint {len(self.state.rows) + 1}",
            total=end - begin,
            initial=self.checkpointer.updates - begin,
            unit="update",
            leave=False,
            # Without a terminal the log has progress lines.
            disable=not (self.verbose and on_terminal(sys.stderr)),
        )

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self._step_start = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        state = self.state
        state.steps += 1
        if state.steps % _CHECK_EVERY == 0:
            self._check_loss(float(logs["loss"]))
            if not self._bar.disable:
                self._bar.set_postfix_str(self._format_metrics(logs), refresh=False)
        state.interval_seconds += time.perf_counter() - self._step_start
        if self.signal is not None:
            self._interrupt()
        if state.steps % self.settings.accumulation_steps == 0:
            self._on_update_end(logs)

    def _on_update_end(self, logs: Mapping[str, Any]) -> None:
        settings, updates = self.settings, self.checkpointer.updates
        self._bar.update()
        if settings.log_every and updates % settings.log_every == 0:
            log.info(
                "update %d, epoch %.2f: %s",
                updates,
                self.checkpointer.epoch,
                self._format_metrics(logs),
                extra={PROGRESS: True},
            )
        if settings.show_every and updates % settings.show_every == 0:
            self.checkpointer.validation.log_chosen_outputs(
                self.model_in_training, f"update {updates}: "
            )
        if self.checkpointer.reason_to_stop():
            self.model_in_training.stop_training = True

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._bar.close()
        self._check_loss(float(logs["loss"]))
        self.checkpointer.make_checkpoint(logs)
        self.reason = self.checkpointer.reason_to_stop()
        if self.reason:
            self.model_in_training.stop_training = True
        elif self.signal is not None:
            self._interrupt()

    def _on_signal(self, number: int) -> None:
        self.signal = number
        name = signal.Signals(number).name
        log.info("%s: ending after this step, or this checkpoint", name)

    def _interrupt(self) -> None:
        self._bar.close()
        self.checkpointer.save_state()
        log.info("saved after %d updates", self.checkpointer.updates)
        raise RunInterruptedError(int(self.signal or 0))

    def _check_loss(self, loss: float) -> None:
        if not math.isfinite(loss):
            self._bar.close()
            self.checkpointer.raise_diverged(f"The loss is {loss}")

    def _format_metrics(self, logs: Mapping[str, Any]) -> str:
        """Formats the metrics since the last checkpoint; waits for the step to end."""
        return (
            f"loss {float(logs['loss']):.4g}, "
            f"perplexity {float(logs['perplexity']):.4g}, "
            f"token accuracy {float(logs['token_accuracy']):.4f}, "
            f"{self.checkpointer.tokens_per_second:,.0f} tokens/s, "
            f"{self.checkpointer.samples_per_second:,.0f} samples/s"
        )
