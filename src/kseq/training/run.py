"""A training run: checkpoints, validation, stopping, and going on after a kill."""

import contextlib
import dataclasses
import hashlib
import logging
import math
import os
import pathlib
import re
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

import keras
import numpy as np
import pandas as pd
from tqdm import tqdm

from kseq.config.architecture import Seq2SeqConfig
from kseq.config.training import MODEL_METRICS, TrainingSettings, higher_is_better
from kseq.data import Examples
from kseq.data.corpora.lines import as_line
from kseq.data.datasets import BatchStream
from kseq.data.shards import ShardedExamples
from kseq.data.vocabulary_files import load_vocabulary, save_vocabulary
from kseq.decoding import LengthRatio
from kseq.distribution import get_strategy, is_chief, use_device
from kseq.losses import MaskedCrossentropy
from kseq.models import Seq2Seq
from kseq.progress import on_terminal
from kseq.storage.model_folder import MODEL, STATE, ModelFolder
from kseq.storage.run_record import (
    changed_files,
    check_record,
    files_of,
    start_files,
    write_record,
)
from kseq.storage.run_state import RunState, load_state, save_state
from kseq.teacher_forcing import teacher_forcing
from kseq.training.divergence import has_diverged
from kseq.training.early_stopping import best_of, plateau_factor, waited
from kseq.training.initial_weights import freeze, load_embeddings, load_parameters
from kseq.training.learning_rates import find_plateau, make_schedule
from kseq.training.optimizers import make_optimizer
from kseq.training.run_log import (
    PROGRESS,
    checkpoint_line,
    first_signal,
    logging_to,
)
from kseq.training.validation import Validation

log = logging.getLogger("kseq")

# Between two looks at the loss: a look waits for the step to end.
_LOOK_EVERY = 10
# Keras numbers what has no name of its own, through the whole process.
_NUMBER = re.compile(r"_[0-9]+(?=/)")
# What an error calls the parts of the data.
_PARTS = {
    "source": "training sources",
    "target": "training targets",
    "prepared": "prepared training data",
    "validation_source": "validation sources",
    "validation_target": "validation targets",
}
PLATEAU_FACTOR, PLATEAU_PATIENCE = 0.5, 2


class RunInterruptedError(Exception):
    """A signal has ended a run, whose state is saved.

    Attributes:
        signal: Number of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}; resume to go on")
        self.signal = number


class RunDivergedError(Exception):
    """The loss of a run is no longer a number, or worse than guessing."""


@dataclasses.dataclass(frozen=True)
class TrainingResult:
    """What a training run has come to.

    Attributes:
        folder: The model folder.
        reason: Why it has ended.
        best: Number of the best checkpoint.
        metrics: pandas DataFrame, a row for each checkpoint.
    """

    folder: pathlib.Path
    reason: str
    best: int
    metrics: Any


def train(
    folder: str | os.PathLike[str],
    examples: Examples | ShardedExamples,
    validation: tuple[Sequence[str], Sequence[str]],
    model: Seq2SeqConfig | Mapping[str, Any] | None = None,
    settings: TrainingSettings | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
    record: Mapping[str, Any] | None = None,
    on_checkpoint: Callable[[Mapping[str, Any]], None] | None = None,
    verbose: bool = True,
) -> TrainingResult:
    """Trains a model into a folder, from which `Translator.load` takes it.

    At every checkpoint the model is validated, written, and the best so far becomes the
    folder's model. A run may be killed at any moment; resumed, it ends with the weights
    that it would have had without (on a CPU, bit for bit).

    SIGINT and SIGTERM end it after the step at hand, with its state saved.

    Args:
        folder: The folder of the run.
        examples: `Examples` or `ShardedExamples` to train on.
        validation: Source texts and target texts. A source that stands there several
            times has several references for the metrics of decoded texts.
        model: A `Seq2SeqConfig`, or some of its fields; the sizes of the vocabularies
            may be left out. Default: those of `Seq2SeqConfig`.
        settings: `TrainingSettings`. Default: theirs.
        resume: Go on with the run that is in the folder, if there is one; with
            `settings` that differ, but for those that only say when it ends and what
            it shows, it is refused. Default False.
        overwrite: Remove the run that is in the folder. Default False. (One that was
            stopped before its first state has nothing to lose, and needs neither.)
        record: Further entries for the record of the run, `settings.yaml`, such as the
            names of the data files. Default: none.
        on_checkpoint: Called after each checkpoint with its row of `metrics.csv`.
            Default: none.
        verbose: Show the log on stderr, and progress: a bar on a terminal, lines
            elsewhere. Default True.

    Returns:
        `TrainingResult`.

    Raises:
        FileExistsError: If the folder has something, and neither `resume` nor
            `overwrite` is set; or another program is training there.
        ValueError: If a setting does not fit, or the resumed run had another.
        RunDivergedError: If the loss is no longer a number.
        RunInterruptedError: After SIGINT or SIGTERM.

    Example:
        >>> from kseq import TrainingSettings, Translator
        >>> from kseq.data import from_pairs
        >>> from kseq.training import train
        >>> texts = ["a b", "b a", "a a", "b b"]
        >>> result = train(
        ...     "copier",
        ...     from_pairs(texts, texts),
        ...     (texts, texts),
        ...     {"units": 8, "embedding_dim": 8},
        ...     TrainingSettings(checkpoint_updates=2, max_updates=4),
        ...     verbose=False,
        ... )
        >>> result.reason, list(result.metrics["updates"])
        ('4 updates', [2, 4])
        >>> len(Translator.load("copier").translate(["a b"]))
        1
    """
    settings = settings or TrainingSettings()
    set_up(settings)
    config = _config_of(model, examples)
    everything = {**(record or {}), **_without_sizes(config), **settings.to_dict()}
    with open_run(folder, everything, resume, overwrite, verbose) as (place, resumed):
        return train_in(
            place,
            examples,
            validation,
            config,
            settings,
            resumed,
            record=everything,
            on_checkpoint=on_checkpoint,
            verbose=verbose,
        )


def set_up(settings: TrainingSettings) -> None:
    """Chooses devices, and raises where what settings name cannot be made.

    It comes before reading data, which takes longer, and before all else: several
    workers, and a GPU that is not to be used, must be told of first.

    Args:
        settings: `TrainingSettings`.

    Raises:
        TypeError: If an option has the wrong type.
        ValueError: If an option is out of range, or its optimizer or schedule has none
            of the kind; if a device or the other workers are not there.
        RuntimeError: If TensorFlow has begun to work already.
    """
    use_device(settings.device)
    get_strategy(settings.strategy)
    _make_optimizer(settings, _make_rate(settings))
    teacher_forcing(settings.teacher_forcing_ratio)


@contextlib.contextmanager
def open_run(
    folder: str | os.PathLike[str],
    record: Mapping[str, Any],
    resume: bool = False,
    overwrite: bool = False,
    verbose: bool = True,
) -> Iterator[tuple[ModelFolder, bool]]:
    """Opens the folder of a run: no other program trains there, and all is logged.

    Args:
        folder: The folder.
        record: Every choice of the run, by name.
        resume: As for `train`.
        overwrite: As for `train`.
        verbose: As for `train`.

    Yields:
        The folder, and whether there is a run in it to go on with.

    Raises:
        FileExistsError: As for `train`.
        ValueError: If the run that is there has another record, or `resume` and
            `overwrite` are both set.
    """
    place = ModelFolder(folder)
    if not _owns_folder(str(record.get("strategy"))):
        # It is the chief's: the other workers read their state there, and no more.
        with logging_to(None, verbose):
            yield place, resume and place.is_run()
        return
    place.may_resume(resume, overwrite)
    with place.lock():
        # Again: another program may have trained there meanwhile.
        resumed = place.may_resume(resume, overwrite)
        changes = check_record(place, record) if resumed else []
        if not resumed:
            place.clear()
            write_record(place, record)
        with logging_to(place.log, verbose):
            place.sweep()
            for change in changes:
                log.info("%s", change)
            yield place, resumed


def _owns_folder(strategy: str) -> bool:
    """Whether this process is the one that writes the folder of a run."""
    return strategy != "multi_worker" or is_chief(get_strategy(strategy))


def train_in(
    place: ModelFolder,
    examples: Examples | ShardedExamples,
    validation: tuple[Sequence[str], Sequence[str]],
    model: Seq2SeqConfig | Mapping[str, Any] | None,
    settings: TrainingSettings,
    resumed: bool,
    *,
    record: Mapping[str, Any],
    on_checkpoint: Callable[[Mapping[str, Any]], None] | None = None,
    verbose: bool = True,
) -> TrainingResult:
    """Trains in a folder that `open_run` has opened, after `set_up`.

    Args:
        place: The folder.
        examples: As for `train`, and so the further arguments.
        validation: Source texts and target texts.
        model: A `Seq2SeqConfig`, or some of its fields.
        settings: `TrainingSettings`.
        resumed: Whether to go on with the run that is there.
        record: What `open_run` was given.
        on_checkpoint: As for `train`.
        verbose: Show a progress bar.

    Returns:
        `TrainingResult`.
    """
    config = _config_of(model, examples)
    run = _Run(
        place, examples, validation, config, settings, record, on_checkpoint, verbose
    )
    return run.go(resumed)


class _Run(keras.callbacks.Callback):
    """One sitting of a training run, as a callback of the `fit` that it calls."""

    def __init__(
        self,
        place: ModelFolder,
        examples: Examples | ShardedExamples,
        validation: tuple[Sequence[str], Sequence[str]],
        config: Seq2SeqConfig,
        settings: TrainingSettings,
        record: Mapping[str, Any],
        on_checkpoint: Callable[[Mapping[str, Any]], None] | None,
        verbose: bool,
    ) -> None:
        super().__init__()
        self.record = record
        self.on_checkpoint = on_checkpoint
        self.place = place
        self.settings = settings
        self.verbose = verbose
        self.config = config
        self.examples = examples
        self.validation = Validation(examples, validation, settings)
        self.stream = BatchStream(
            examples,
            batch_size=settings.batch_size,
            batch_type=settings.batch_type,
            buckets=(
                settings.buckets or None if settings.bucket_width is None else "auto"
            ),
            bucket_width=settings.bucket_width,
            seed=settings.seed,
        )
        self.length_ratio = _length_ratio(examples, settings.length_deviations)
        self.fingerprints = _fingerprints(examples, validation)
        self.state = RunState()
        self.signal: int | None = None
        self.reason = ""
        self._pending: Mapping[str, np.ndarray] = {}
        self._bar: Any = None
        self._began = time.perf_counter()
        self._step_began = 0.0

    # What `train` calls.

    def go(self, resumed: bool) -> TrainingResult:
        """Trains until there is a reason to end."""
        self._build(resumed)
        state = load_state(self.place.path / STATE) if resumed else None
        if state is None:
            self._begin()
        else:
            self._take(state)
        self.reason = self._reason_to_end()
        with first_signal(self._on_signal):
            while not self.reason:
                self._fit()
        log.info("ended after %s; the best checkpoint is %d", self.reason, self._best())
        return TrainingResult(
            self.place.path, self.reason, self._best(), pd.DataFrame(self.state.rows)
        )

    def _build(self, resumed: bool) -> None:
        """Builds the model, and gives it the weights that it starts from."""
        settings = self.settings
        keras.utils.set_random_seed(settings.seed)
        self.strategy = get_strategy(settings.strategy)
        rate = _make_rate(settings)
        self.plateau = find_plateau(rate)
        with self.strategy.scope():
            model = Seq2Seq(self.config, dtype=settings.dtype)
            optimizer = _make_optimizer(settings, rate)
            model.compile(
                optimizer,
                MaskedCrossentropy(settings.label_smoothing),
                weighted_metrics=["perplexity", "token_accuracy", "sequence_accuracy"],
                teacher_forcing_ratio=teacher_forcing(settings.teacher_forcing_ratio),
                teacher_forcing_coin=settings.teacher_forcing_coin,
                gradient=settings.gradient,
                clipvalue_per_token=settings.clipvalue_per_token,
                jit_compile=settings.jit_compile,
            )
            if not resumed:
                self._initialize(model)
            if settings.freeze:
                frozen = freeze(model, settings.freeze)
                log.info("frozen: %s", ", ".join(frozen))
            # With mixed_float16 it has become part of one that scales the loss.
            model.optimizer.build(model.trainable_variables)
        # A model of the same weights without an optimizer, which is what is written.
        self.written = Seq2Seq(self.config, dtype=settings.dtype)
        self.model_in_training = model

    def _initialize(self, model: Seq2Seq) -> None:
        settings = self.settings
        if settings.parameters is not None:
            report = load_parameters(
                model, settings.parameters, strict=not settings.partial_parameters
            )
            log.info("from '%s': %s", settings.parameters, report)
        for side, path in (
            ("source", settings.source_embeddings),
            ("target", settings.target_embeddings),
        ):
            if path is not None:
                vocab = getattr(self.examples, f"{side}_vocab")
                found = load_embeddings(model, side, vocab, path)
                log.info("%d of %d %s vectors from '%s'", found, len(vocab), side, path)

    def _begin(self) -> None:
        """Writes what a folder has from the beginning."""
        log.info(
            "%d parameters, %d pairs, %d batches an epoch",
            self.model_in_training.count_params(),
            len(self.examples),
            self.stream.steps(0),
        )
        self.fingerprints |= _fingerprints_of_files(start_files(self.record))
        if self.stream.buckets is not None:
            bounds = ", ".join(map(str, self.stream.buckets))
            log.info("buckets, (source, target) tokens with </s>: %s", bounds)
        if is_chief(self.strategy):
            self._write_config()
        self._save()

    def _write_config(self) -> None:
        place, ratio = self.place, self.length_ratio
        sides = {
            f"{side}_vocab": save_vocabulary(
                place.path, side, getattr(self.examples, f"{side}_vocab")
            )
            for side in ("source", "target")
        }
        place.write_config(
            {
                **sides,
                "length_ratio": None if ratio is None else dataclasses.asdict(ratio),
                "model": self.config.to_dict(),
            }
        )

    def _take(self, state: RunState) -> None:
        """Goes on from a state."""
        self._check_vocabularies()
        self._check_fingerprints(state.fingerprints)
        # Those of metrics come into being, and are reset, when `fit` begins.
        self._pending = _of_metrics(state.variables)
        saved = {k: v for k, v in state.variables.items() if k not in self._pending}
        variables = self._variables()
        for name in _of_metrics(variables):
            del variables[name]
        wrong = [
            name
            for name in {**variables, **saved}
            if name not in saved
            or name not in variables
            or tuple(variables[name].shape) != saved[name].shape
        ]
        if wrong:
            raise ValueError(
                f"The state of '{self.place.path}' is of another model, or of another "
                f"version of kseq: {wrong[0]} does not fit."
            )
        for name, variable in variables.items():
            variable.assign(saved[name])
        self.state, self.fingerprints = state, state.fingerprints
        self._began = time.perf_counter() - state.seconds
        self._set_rate()
        if state.rows and is_chief(self.strategy):
            self.place.write_rows(state.rows)
            # A model that is there already is better than a damaged checkpoint.
            if self.place.has_checkpoint(self._best()):
                self.place.use_checkpoint(self._best())
            else:
                warnings.warn(
                    f"'{self.place.checkpoint(self._best())}' is missing or damaged; "
                    f"'{self.place.model.name}' stays as it is.",
                    stacklevel=2,
                )
        if is_chief(self.strategy):
            # Not before: the files are now known to be the same.
            write_record(self.place, self.record)
        log.info("resumed after %d updates", self.updates)

    def _check_fingerprints(self, begun: Mapping[str, str]) -> None:
        """Raises ValueError unless a run was begun with the same files."""
        changed = changed_files(self.place, self.record)
        now = {**self.fingerprints, **_fingerprints_of_files(changed)}
        differ = [name for name, found in now.items() if found != begun.get(name)]
        if differ:
            files = files_of(self.record, differ[0])
            named = f" in {', '.join(map(repr, files))}" if files else ""
            what = _PARTS.get(differ[0], f"contents of `{differ[0]}`")
            raise ValueError(
                f"The {what}{named} are not those that '{self.place.path}' was begun "
                "with: to resume takes the same data, whose files may be elsewhere."
            )

    def _check_vocabularies(self) -> None:
        config = self.place.read_config()
        for side in ("source", "target"):
            saved = load_vocabulary(self.place.path, side, config[f"{side}_vocab"])
            if saved != getattr(self.examples, f"{side}_vocab"):
                raise ValueError(
                    f"The {side} vocabulary of '{self.place.path}' is not that of the "
                    "training data."
                )

    # Where the run stands.

    @property
    def updates(self) -> int:
        """Updates made."""
        return self.state.steps // self.settings.accumulation_steps

    def _epoch(self) -> float:
        return self.stream.epochs_at(self.state.steps)

    def _seconds(self) -> float:
        return time.perf_counter() - self._began

    def _values(self) -> list[float]:
        """Returns the optimized metric of each checkpoint, the lower the better."""
        name = f"valid_{self.settings.optimized_metric}"
        sign = -1 if higher_is_better(str(self.settings.optimized_metric)) else 1
        return [sign * row[name] for row in self.state.rows]

    def _best(self) -> int:
        """Returns the number of the best checkpoint, of equals the first."""
        return best_of(self._values()) + 1

    def _reason_to_end(self) -> str:
        """Returns why training ends now, or nothing where it goes on."""
        if not self.state.steps:
            return ""
        settings, epoch = self.settings, self._epoch()
        if settings.max_updates is not None and self.updates >= settings.max_updates:
            return f"{self.updates} updates"
        if settings.max_epochs is not None and epoch >= settings.max_epochs:
            return f"{epoch:g} epochs"
        if settings.max_seconds is not None and self._seconds() >= settings.max_seconds:
            return f"{settings.max_seconds:g} seconds"
        count = waited(self._values(), settings.min_improvement)
        limit = settings.max_checkpoints_not_improved
        if (
            limit
            and count >= limit
            and self.updates >= settings.min_updates
            and epoch >= settings.min_epochs
        ):
            return f"{count} checkpoints without a better {settings.optimized_metric}"
        return ""

    # What Keras calls.

    def _fit(self) -> None:
        """Trains up to the next checkpoint, or on and on from one to the next."""
        begin, end = self._interval()
        # After an interval that was begun in another run come whole ones; only those
        # of updates are all of one length.
        is_whole = begin == self.state.steps
        has_epochs = self.settings.checkpoint_epochs is not None
        self.model_in_training.fit(
            self.stream.dataset(self.state.steps, strategy=self._input_strategy()),
            epochs=sys.maxsize if is_whole and not has_epochs else 1,
            steps_per_epoch=end - self.state.steps,
            callbacks=[self],
            verbose=0,
        )

    def _interval(self) -> tuple[int, int]:
        """Returns the steps between which the next checkpoint's interval lies."""
        settings, steps = self.settings, self.state.steps
        if settings.checkpoint_updates is not None:
            length = settings.checkpoint_updates * settings.accumulation_steps
            begin = steps - steps % length
            return begin, begin + length
        every = int(settings.checkpoint_epochs or 1)
        epoch = self.stream.position(steps)[0] // every * every
        return self.stream.step_at(epoch), self.stream.step_at(epoch + every)

    def _input_strategy(self) -> Any:
        return self.strategy if self.strategy.num_replicas_in_sync > 1 else None

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        variables = self._variables()
        for name, value in self._pending.items():
            variables[name].assign(value)
        self._pending = {}
        begin, end = (
            step // self.settings.accumulation_steps for step in self._interval()
        )
        self._bar = tqdm(
            desc=f"checkpoint {len(self.state.rows) + 1}",
            total=end - begin,
            initial=self.updates - begin,
            unit="update",
            leave=False,
            # Elsewhere the log has lines.
            disable=not (self.verbose and on_terminal(sys.stderr)),
        )

    def on_train_batch_begin(
        self, batch: int, logs: dict[str, Any] | None = None
    ) -> None:
        self._step_began = time.perf_counter()

    def on_train_batch_end(
        self, batch: int, logs: dict[str, Any] | None = None
    ) -> None:
        logs = logs or {}
        settings, state = self.settings, self.state
        state.steps += 1
        if state.steps % _LOOK_EVERY == 0:
            self._check_loss(float(logs["loss"]))
            if not self._bar.disable:
                self._bar.set_postfix_str(self._figures(logs), refresh=False)
        state.interval_seconds += time.perf_counter() - self._step_began
        if self.signal is not None:
            self._leave()
        if state.steps % settings.accumulation_steps:
            return
        self._bar.update()
        if settings.log_every and self.updates % settings.log_every == 0:
            log.info(
                "update %d, epoch %.2f: %s",
                self.updates,
                self._epoch(),
                self._figures(logs),
                extra={PROGRESS: True},
            )
        if settings.show_every and self.updates % settings.show_every == 0:
            self._show(settings.show_sources, mark=f"update {self.updates}: ")
        if self._reason_to_end():
            self.model_in_training.stop_training = True

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._bar.close()
        self._check_loss(float((logs or {})["loss"]))
        self._make_checkpoint(logs or {})
        self.reason = self._reason_to_end()
        if self.reason:
            self.model_in_training.stop_training = True
        elif self.signal is not None:
            self._leave()

    def _on_signal(self, number: int) -> None:
        self.signal = number
        log.info(
            "%s: ending after this step, or this checkpoint",
            signal.Signals(number).name,
        )

    def _leave(self) -> None:
        self._bar.close()
        self._save()
        log.info("saved after %d updates", self.updates)
        raise RunInterruptedError(int(self.signal or 0))

    def _check_loss(self, loss: float) -> None:
        if not math.isfinite(loss):
            self._diverged(f"The loss is {loss}")

    def _check_perplexity(self, perplexity: float) -> None:
        guessing = len(self.examples.target_vocab)
        if has_diverged(math.log(perplexity), guessing):
            self._diverged(
                f"The perplexity on the validation data is {perplexity:.3g}, worse "
                f"than guessing among {guessing} tokens,"
            )

    def _diverged(self, what: str) -> NoReturn:
        self._bar.close()
        best = (
            f"The best checkpoint is {self._best()}."
            if self.state.rows
            else "There is no checkpoint yet."
        )
        message = (
            f"{what} after {self.updates} updates, at a learning rate of "
            f"{self._rate():.3g}: lower it, or clip gradients more. {best}"
        )
        log.info("%s", message)
        raise RunDivergedError(message)

    def _figures(self, logs: Mapping[str, Any]) -> str:
        """Returns the figures of the interval so far; reading them ends the step."""
        seconds = max(self.state.interval_seconds, 1e-9)
        return (
            f"loss {float(logs['loss']):.4g}, "
            f"perplexity {float(logs['perplexity']):.4g}, "
            f"token accuracy {float(logs['token_accuracy']):.4f}, "
            f"{self._interval_tokens() / seconds:,.0f} tokens/s, "
            f"{self._interval_samples() / seconds:,.0f} samples/s"
        )

    # A checkpoint.

    def _make_checkpoint(self, logs: Mapping[str, Any]) -> None:
        """Measures, decides, and writes; the state comes last and seals it."""
        settings, state = self.settings, self.state
        number = len(state.rows) + 1
        row = {
            "checkpoint": number,
            "updates": self.updates,
            "epoch": round(self._epoch(), 4),
            "seconds": 0.0,
            "learning_rate": float(f"{self._rate():.7g}"),  # of a float32
            "tokens_per_second": round(
                self._interval_tokens() / max(state.interval_seconds, 1e-9), 1
            ),
            **{f"train_{name}": float(logs[name]) for name in MODEL_METRICS},
        }
        with self._nothing_drawn():
            found, outputs = self.validation.measure(
                self.model_in_training, self._input_strategy(), self.length_ratio
            )
        row |= {f"valid_{name}": value for name, value in found.items()}
        row["seconds"] = round(self._seconds(), 2)
        self._check_perplexity(found["perplexity"])
        state.rows.append(row)
        state.interval_seconds = 0.0
        self._set_rate()
        self.model_in_training.reset_metrics()
        best = self._best()
        log.info("%s", checkpoint_line(row, list(found), is_best=best == number))
        self._show_validation(outputs)
        if is_chief(self.strategy):
            self.written.set_weights(self.model_in_training.get_weights())
            path = self.place.checkpoint(number)
            path.parent.mkdir(exist_ok=True)
            self.written.save(path)
            if best == number:
                self.place.use_checkpoint(number)
            self.place.write_rows(state.rows)
        self._save()
        if is_chief(self.strategy):
            self.place.remove_old(settings.keep_checkpoints, best)
        if self.on_checkpoint is not None:
            self.on_checkpoint(dict(row))

    def _show_validation(self, outputs: Sequence[str]) -> None:
        shown = self.settings.show
        references = [texts[0] for texts in self.validation.references[:shown]]
        sources = [*self.validation.sources[:shown], *self.settings.show_sources]
        self._show(sources, references, outputs[:shown])

    def _show(
        self,
        sources: Sequence[str],
        references: Sequence[str] = (),
        outputs: Sequence[str] = (),
        mark: str = "  ",
    ) -> None:
        """Logs what the model makes of sources, whose first outputs may be known."""
        if not sources:
            return
        outputs, missing = list(outputs), sources[len(outputs) :]
        if missing:
            ids = self.examples.source_vocab.encode(missing)
            with self._nothing_drawn():
                found = self.model_in_training.generate(
                    ids, max_length=self.length_ratio
                )
            outputs += self.examples.target_vocab.decode(found.tokens)
        for k, (source, output) in enumerate(zip(sources, outputs, strict=True)):
            line = f"{mark}{source}  ->  {output}"
            if k < len(references) and references[k] != output:
                line += f"   (reference: {references[k]})"
            log.info("%s", as_line(line))

    @contextlib.contextmanager
    def _nothing_drawn(self) -> Iterator[None]:
        """Keeps what is measured and shown from changing what is learned.

        Keras draws the masks of recurrent dropout where none acts, too.
        """
        states = [v for v in self.model_in_training.variables if _is_seed(v)]
        values = [keras.ops.convert_to_numpy(state) for state in states]
        yield
        for state, value in zip(states, values, strict=True):
            state.assign(value)

    def _set_rate(self) -> None:
        """Lowers the rate where the figures say so."""
        settings = self.settings
        if self.plateau is not None:
            factor, patience = settings.plateau_factor, settings.plateau_patience
            self.plateau.factor = plateau_factor(
                self._values(),
                PLATEAU_FACTOR if factor is None else factor,
                PLATEAU_PATIENCE if patience is None else patience,
                settings.min_improvement,
            )

    # The state.

    def _rate(self) -> float:
        return float(keras.ops.convert_to_numpy(self._optimizer.learning_rate))

    @property
    def _optimizer(self) -> Any:
        optimizer = self.model_in_training.optimizer
        return getattr(optimizer, "inner_optimizer", optimizer)

    def _interval_tokens(self) -> float:
        return float(self.model_in_training._loss_tracker.count.numpy())

    def _interval_samples(self) -> float:
        metrics = self.model_in_training._compile_metrics.metrics
        whole = next(each for each in metrics if each.name == "sequence_accuracy")
        return float(whole.weight.numpy())

    def _variables(self) -> dict[str, Any]:
        """Returns every variable that the next update depends on, by name."""
        model = self.model_in_training
        measured = {id(variable) for variable in model.metrics_variables}
        groups = {
            "model": [v for v in model.variables if id(v) not in measured],
            "optimizer": model.optimizer.variables,
            "metric": model.metrics_variables,
        }
        return {
            f"{group}.{k}.{_NUMBER.sub('', variable.path, count=1)}": variable
            for group, variables in groups.items()
            for k, variable in enumerate(variables)
        }

    def _save(self) -> None:
        self.state.seconds = self._seconds()
        self.state.fingerprints = self.fingerprints
        self.state.variables = {
            name: np.asarray(keras.ops.convert_to_numpy(variable))
            for name, variable in self._variables().items()
        }
        # Reading a sum over several workers takes all of them, writing it the chief.
        if is_chief(self.strategy):
            save_state(self.place.path / STATE, self.state)


def _make_rate(settings: TrainingSettings) -> Any:
    """Returns the learning rate, a number or a schedule."""
    return make_schedule(
        settings.schedule,
        settings.learning_rate,
        half_life=settings.half_life,
        decay_steps=settings.decay_steps,
        decay_rate=settings.decay_rate,
        end_learning_rate=settings.end_learning_rate,
        warmup_steps=settings.warmup_steps,
    )


def _make_optimizer(settings: TrainingSettings, rate: Any) -> Any:
    return make_optimizer(
        settings.optimizer,
        rate,
        accumulation_steps=settings.accumulation_steps,
        global_clipnorm=settings.global_clipnorm or None,
        **{
            name: getattr(settings, name)
            for name in (
                "momentum",
                "nesterov",
                "unit_gain",
                "beta_1",
                "beta_2",
                "epsilon",
                "rho",
                "weight_decay",
                "clipvalue",
            )
        },
    )


def _is_seed(variable: Any) -> bool:
    return str(variable.path).endswith("seed_generator_state")


def _of_metrics(variables: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in variables.items() if k.startswith("metric.")}


def _config_of(
    model: Seq2SeqConfig | Mapping[str, Any] | None,
    examples: Examples | ShardedExamples,
) -> Seq2SeqConfig:
    """Returns the architecture, with the sizes of the vocabularies."""
    sizes = {
        "source_vocab_size": len(examples.source_vocab),
        "target_vocab_size": len(examples.target_vocab),
    }
    if isinstance(model, Seq2SeqConfig):
        model = model.to_dict()
    given = {k: v for k, v in (model or {}).items() if v is not None or k not in sizes}
    for name, size in sizes.items():
        if given.get(name, size) != size:
            raise ValueError(
                f"`{name}` must be {size}, the number of tokens of the vocabulary, or "
                f"be left out. Received: {given[name]}."
            )
    return Seq2SeqConfig.from_dict({**given, **sizes})


def _without_sizes(config: Seq2SeqConfig) -> dict[str, Any]:
    found = config.to_dict()
    for name in ("format_version", "source_vocab_size", "target_vocab_size"):
        del found[name]
    return found


def _length_ratio(
    examples: Examples | ShardedExamples, deviations: float | None
) -> LengthRatio | None:
    if deviations is None:
        return None
    if isinstance(examples, Examples):
        return LengthRatio.from_ids(examples.source, examples.target, deviations)
    # Lengths with </s>, which does not count.
    source, target = examples.source_lengths - 1, examples.target_lengths - 1
    filled = (source > 0) & (target > 0)
    ratios = target[filled] / source[filled]
    return LengthRatio(float(ratios.mean()), float(ratios.std()), deviations)


def _fingerprints(
    examples: Examples | ShardedExamples,
    validation: tuple[Sequence[str], Sequence[str]],
) -> dict[str, str]:
    """Returns a sum of each part of the data, which tells it from other data."""
    found = {}
    if isinstance(examples, ShardedExamples):
        found["prepared"] = examples.fingerprint
    else:
        for side, ids in (("source", examples.source), ("target", examples.target)):
            digest = hashlib.sha256(str(ids.shape).encode())
            digest.update(ids.tobytes())
            found[side] = digest.hexdigest()
    for side, texts in zip(("source", "target"), validation, strict=True):
        # Sizes too: where a text ends counts.
        data = [text.encode("utf-8", "surrogatepass") for text in texts]
        digest = hashlib.sha256(str([len(each) for each in data]).encode())
        digest.update(b"".join(data))
        found[f"validation_{side}"] = digest.hexdigest()
    return found


def _fingerprints_of_files(files: Mapping[str, str]) -> dict[str, str]:
    """Returns a sum of each file; of a model folder, of its model."""
    found = {}
    for name, path in files.items():
        place = pathlib.Path(path)
        with open(place / MODEL if place.is_dir() else place, "rb") as file:
            found[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found
