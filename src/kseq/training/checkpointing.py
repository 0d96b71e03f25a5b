"""Checkpoints of a training run: validation, files, and the reason to stop."""

import dataclasses
import logging
import math
import re
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import keras
import numpy as np

from kseq.config.architecture import Seq2SeqConfig
from kseq.config.training import MODEL_METRICS, TrainingSettings
from kseq.data import Examples
from kseq.data.datasets import BatchStream
from kseq.data.shards import ShardedExamples
from kseq.distribution import get_strategy, is_chief
from kseq.models import Seq2Seq
from kseq.saving import load_vocabularies, write_model_config
from kseq.storage.best_checkpoint import as_costs, find_best
from kseq.storage.model_folder import ModelFolder
from kseq.storage.run_record import start_files, write_record
from kseq.storage.run_state import RunState, save_state
from kseq.training.early_stopping import (
    compute_plateau_factor,
    count_without_improvement,
    has_diverged,
)
from kseq.training.fingerprints import (
    check_fingerprints,
    fingerprint_data,
    fingerprint_files,
)
from kseq.training.learning_rates import Plateau
from kseq.training.run_log import checkpoint_line
from kseq.training.validation import Validation

log = logging.getLogger("kseq")

# Keras numbers layers without a name across the whole process.
_LAYER_NUMBER = re.compile(r"_[0-9]+(?=/)")
_PLATEAU_FACTOR, _PLATEAU_PATIENCE = 0.5, 2


class RunDivergedError(Exception):
    """The loss of a run is not finite, or worse than guessing."""


@dataclasses.dataclass
class Checkpointer:
    """Makes the checkpoints of a training run, and decides when the run ends.

    It holds the state of the run. Call `begin` or `resume` before anything else.

    Attributes:
        folder: The model folder of the run.
        examples: The training data.
        validation: The validation data.
        stream: The batches of the training data.
        config: The architecture.
        settings: `TrainingSettings`.
        plateau: Schedule of the learning rate that depends on the optimized metric.
            None: the learning rate does not depend on it.
        record: Every setting of the run, by name.
        on_checkpoint: Called after each checkpoint with its row of `metrics.csv`.
    """

    folder: ModelFolder
    examples: Examples | ShardedExamples
    validation: Validation
    stream: BatchStream
    config: Seq2SeqConfig
    settings: TrainingSettings
    plateau: Plateau | None
    record: Mapping[str, Any]
    on_checkpoint: Callable[[Mapping[str, Any]], None] | None

    def __post_init__(self) -> None:
        self.strategy = get_strategy(self.settings.strategy)
        self.state = RunState()
        self._start_time = time.perf_counter()
        self._metric_values: Mapping[str, np.ndarray] = {}

    def begin(self, model: Seq2Seq) -> None:
        """Begins a new run: writes the files that a folder has from the beginning."""
        self._set_model(model)
        log.info(
            "%d parameters, %d pairs, %d batches per epoch",
            model.count_params(),
            len(self.examples),
            self.stream.steps(0),
        )
        if self.stream.buckets is not None:
            bounds = ", ".join(map(str, self.stream.buckets))
            log.info("buckets, (source, target) tokens with </s>: %s", bounds)
        self.state.fingerprints = self._fingerprint_data()
        self.state.fingerprints |= fingerprint_files(start_files(self.record))
        if is_chief(self.strategy):
            write_model_config(
                self.folder,
                self.examples.source_vocab,
                self.examples.target_vocab,
                model=self.config,
                length_ratio=self.validation.length_ratio,
            )
        self.save_state()

    def resume(self, model: Seq2Seq, state: RunState) -> None:
        """Continues a run; raises ValueError if the data or the model differ."""
        self._set_model(model)
        self._check_vocabularies()
        check_fingerprints(
            self.folder, self.record, self._fingerprint_data(), state.fingerprints
        )
        self._restore(state)
        self._start_time = time.perf_counter() - state.seconds
        self._update_learning_rate()
        if is_chief(self.strategy):
            self._restore_files()
            # Only now: the check of the data has passed.
            write_record(self.folder, self.record)
        log.info("resumed after %d updates", self.updates)

    def _set_model(self, model: Seq2Seq) -> None:
        self.model = model
        # The same weights without an optimizer.
        self._model_to_save = Seq2Seq(self.config, dtype=self.settings.dtype)

    def _fingerprint_data(self) -> dict[str, str]:
        return fingerprint_data(self.examples, self.validation.texts)

    def _check_vocabularies(self) -> None:
        saved = load_vocabularies(self.folder)
        for side, vocab in zip(("source", "target"), saved, strict=True):
            if vocab != getattr(self.examples, f"{side}_vocab"):
                raise ValueError(
                    f"The {side} vocabulary in '{self.folder.path}' is not the "
                    "vocabulary of the training data."
                )

    def _restore(self, state: RunState) -> None:
        """Sets every variable to its saved value."""
        # `fit` creates and resets the metrics when it begins.
        self._metric_values, saved = _split_metrics(state.variables)
        _, variables = _split_metrics(self._variables())
        for name in {**variables, **saved}:
            if (
                name not in saved
                or name not in variables
                or tuple(variables[name].shape) != saved[name].shape
            ):
                raise ValueError(
                    f"The state in '{self.folder.path}' is from another model or "
                    f"another version of kseq: {name} does not fit."
                )
        for name, variable in variables.items():
            variable.assign(saved[name])
        self.state = state

    def _restore_files(self) -> None:
        """Writes the files that a killed run may not have written."""
        if not self.state.rows:
            return
        self.folder.write_metrics(self.state.rows)
        best = self.best
        if self.folder.has_checkpoint(best):
            self.folder.use_checkpoint(best)
        else:
            warnings.warn(
                f"'{self.folder.checkpoint(best)}' is missing or damaged; "
                f"'{self.folder.model.name}' is not changed.",
                stacklevel=2,
            )

    def restore_metrics(self) -> None:
        """Sets the training metrics to their saved values, once after `resume`."""
        variables = self._variables()
        for name, value in self._metric_values.items():
            variables[name].assign(value)
        self._metric_values = {}

    # The state of the run.

    @property
    def updates(self) -> int:
        """Number of updates."""
        return self.state.steps // self.settings.accumulation_steps

    @property
    def epoch(self) -> float:
        """Number of epochs."""
        return self.stream.epochs_at(self.state.steps)

    @property
    def seconds(self) -> float:
        """Total time in seconds, across all resumed runs."""
        return time.perf_counter() - self._start_time

    @property
    def best(self) -> int:
        """Number of the best checkpoint, the first of equal ones."""
        return find_best(self._costs()) + 1

    @property
    def learning_rate(self) -> float:
        """The current learning rate."""
        optimizer: Any = self.model.optimizer
        # With mixed_float16 an outer optimizer scales the loss.
        optimizer = getattr(optimizer, "inner_optimizer", optimizer)
        return float(keras.ops.convert_to_numpy(optimizer.learning_rate))

    @property
    def tokens_per_second(self) -> float:
        """Target tokens per second in the training steps since the last checkpoint."""
        return self._per_second(self._metric("loss").count)

    @property
    def samples_per_second(self) -> float:
        """Pairs per second in the training steps since the last checkpoint."""
        return self._per_second(self._metric("sequence_accuracy").weight)

    def _per_second(self, count: Any) -> float:
        return float(count.numpy()) / max(self.state.interval_seconds, 1e-9)

    def _metric(self, name: str) -> Any:
        """Returns a metric of the model, the loss included."""
        for metric in self.model.metrics:
            for each in (metric, *getattr(metric, "metrics", ())):
                if each.name == name:
                    return each
        raise KeyError(name)

    def _costs(self) -> list[float]:
        """Returns the optimized metric of each checkpoint, lower is better."""
        metric = str(self.settings.optimized_metric)
        return as_costs(metric, (row[f"valid_{metric}"] for row in self.state.rows))

    # Decisions.

    def reason_to_stop(self) -> str:
        """Returns why training ends now; an empty string if it continues."""
        if not self.state.steps:
            return ""
        settings, epoch = self.settings, self.epoch
        if settings.max_updates is not None and self.updates >= settings.max_updates:
            return f"{self.updates} updates"
        if settings.max_epochs is not None and epoch >= settings.max_epochs:
            return f"{epoch:g} epochs"
        if settings.max_seconds is not None and self.seconds >= settings.max_seconds:
            return f"{settings.max_seconds:g} seconds"
        count = count_without_improvement(self._costs(), settings.min_improvement)
        limit = settings.max_checkpoints_not_improved
        if (
            limit
            and count >= limit
            and self.updates >= settings.min_updates
            and epoch >= settings.min_epochs
        ):
            return f"{count} checkpoints without a better {settings.optimized_metric}"
        return ""

    def _check_perplexity(self, perplexity: float) -> None:
        vocab_size = len(self.examples.target_vocab)
        if has_diverged(math.log(perplexity), vocab_size):
            self.raise_diverged(
                f"The perplexity on the validation data is {perplexity:.3g}, worse "
                f"than guessing among {vocab_size} tokens,"
            )

    def raise_diverged(self, problem: str) -> NoReturn:
        """Logs and raises a `RunDivergedError` whose message begins with `problem`."""
        best = (
            f"The best checkpoint is {self.best}."
            if self.state.rows
            else "There is no checkpoint yet."
        )
        message = (
            f"{problem} after {self.updates} updates, at a learning rate of "
            f"{self.learning_rate:.3g}. Lower the learning rate, or clip gradients "
            f"more. {best}"
        )
        log.info("%s", message)
        raise RunDivergedError(message)

    def _update_learning_rate(self) -> None:
        """Lowers the learning rate of a `Plateau` without improvement."""
        settings = self.settings
        if self.plateau is not None:
            factor, patience = settings.plateau_factor, settings.plateau_patience
            self.plateau.factor = compute_plateau_factor(
                self._costs(),
                _PLATEAU_FACTOR if factor is None else factor,
                _PLATEAU_PATIENCE if patience is None else patience,
                settings.min_improvement,
            )

    # Files.

    def make_checkpoint(self, logs: Mapping[str, Any]) -> None:
        """Validates the model and writes a checkpoint.

        The state is written last: a killed run without it makes the checkpoint again.
        """
        settings, state = self.settings, self.state
        number = len(state.rows) + 1
        row = {
            "checkpoint": number,
            "updates": self.updates,
            "epoch": round(self.epoch, 4),
            "seconds": 0.0,
            "learning_rate": float(f"{self.learning_rate:.7g}"),  # of a float32
            "tokens_per_second": round(self.tokens_per_second, 1),
            **{f"train_{name}": float(logs[name]) for name in MODEL_METRICS},
        }
        metrics, outputs = self.validation.measure(self.model, self.input_strategy)
        row |= {f"valid_{name}": value for name, value in metrics.items()}
        row["seconds"] = round(self.seconds, 2)
        self._check_perplexity(metrics["perplexity"])
        state.rows.append(row)
        state.interval_seconds = 0.0
        self._update_learning_rate()
        self.model.reset_metrics()
        best = self.best
        log.info("%s", checkpoint_line(row, list(metrics), is_best=best == number))
        self.validation.log_outputs(self.model, outputs)
        if is_chief(self.strategy):
            self._model_to_save.set_weights(self.model.get_weights())
            path = self.folder.checkpoint(number)
            path.parent.mkdir(exist_ok=True)
            self._model_to_save.save(path)
            if best == number:
                self.folder.use_checkpoint(number)
            self.folder.write_metrics(state.rows)
        self.save_state()
        if is_chief(self.strategy):
            self.folder.remove_old_checkpoints(settings.keep_checkpoints, best)
        if self.on_checkpoint is not None:
            self.on_checkpoint(dict(row))

    @property
    def input_strategy(self) -> Any:
        """The strategy that splits batches; None with one replica."""
        return self.strategy if self.strategy.num_replicas_in_sync > 1 else None

    def save_state(self) -> None:
        """Writes the state of the run."""
        self.state.seconds = self.seconds
        self.state.variables = {
            name: np.asarray(keras.ops.convert_to_numpy(variable))
            for name, variable in self._variables().items()
        }
        # All workers take part in reading a variable, but only the chief writes.
        if is_chief(self.strategy):
            save_state(self.folder.state, self.state)

    def _variables(self) -> dict[str, Any]:
        """Returns every variable that the next update depends on, by name."""
        model = self.model
        metric_ids = {id(variable) for variable in model.metrics_variables}
        groups = {
            "model": [v for v in model.variables if id(v) not in metric_ids],
            "optimizer": model.optimizer.variables,
            "metric": model.metrics_variables,
        }
        return {
            f"{group}.{k}.{_LAYER_NUMBER.sub('', variable.path, count=1)}": variable
            for group, variables in groups.items()
            for k, variable in enumerate(variables)
        }


def _split_metrics(
    variables: Mapping[str, Any],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the variables of metrics, and the others."""
    metrics = {k: v for k, v in variables.items() if k.startswith("metric.")}
    return metrics, {k: v for k, v in variables.items() if k not in metrics}
