"""The hypermodel: builds and trains models from keras-tuner's hyperparameters."""

import difflib
import hashlib
import json
import math
import pathlib
import time
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import keras_tuner

from kseq._compat import keras_tuner as compat
from kseq.config import architecture
from kseq.config.architecture import Seq2SeqConfig
from kseq.config.checks import check_integer, one_of
from kseq.data import Examples
from kseq.metrics import METRICS
from kseq.metrics import get as get_metric
from kseq.models import build_seq2seq
from kseq.tuning.objectives import LOSS, EpochObjective
from kseq.tuning.space import (
    architecture_names,
    conditions_of,
    parse_space,
    select,
    training_names,
)
from kseq.tuning.sweep_files import RUN, read_json, write_json
from kseq.tuning.trial_settings import TrialSettings

DIRECTIONS = {
    "loss": "min",
    "token_accuracy": "max",
    "sequence_accuracy": "max",
    "perplexity": "min",
}
compat.add_metric_directions(DIRECTIONS)


class Seq2SeqHyperModel(keras_tuner.HyperModel):
    """A keras-tuner `HyperModel` over every setting of a model and its training.

    It works with all tuners of keras-tuner and with custom ones: pass it to the tuner
    together with `objective=hypermodel.objective`, and call `tuner.search()` without
    data. The function `search` does both.

    The initial weights and the data order of a trial depend only on `seed` and the
    trial's hyperparameters (and, with `executions_per_trial`, on the number of the
    execution). A trial has the same result in any process and at any position of a
    sweep. To this end, building a model seeds Python, numpy and TensorFlow.

    A trial fails if `Seq2SeqConfig` refuses its combination of settings; the error is
    its reason. A trial also fails if its training diverges: after every epoch, the
    validation loss is not finite, or the perplexity is more than twice the size of the
    target vocabulary. Among epochs with equal scores, the one with the lowest
    validation loss is the best.

    Args:
        data: Tuple of two `kseq.data.Examples`, for training and for validation. They
            define the sizes of the vocabularies.
        space: Mapping from names of settings to the values to try: a `Choice` (or a
            list), an `Int`, a `Float`, a `Boolean`, or a single value for all trials.
            In a configuration file, mappings such as `{"type": "float", "low": 1e-4,
            "high": 1e-2, "sampling": "log"}` replace the classes. The names are the
            fields of `Seq2SeqConfig` and these training settings: `batch_size`
            (default 64), `max_epochs` (10), `optimizer` (`"adam"`, or any Keras
            optimizer), `learning_rate` and `global_clipnorm` (the optimizer's own),
            `label_smoothing` (0), `teacher_forcing_ratio` (1), `teacher_forcing_coin`
            (`"token"`) and `validation_batch_size` (256). Default: `default_space()`.
        objective: `"val_sequence_accuracy"` (default), `"val_token_accuracy"`,
            `"val_perplexity"`, `"val_loss"`, or a `keras_tuner.Objective` with the name
            of another metric that `fit` reports.
        metrics: Further metrics to report: names, or Keras metrics, which each trial
            copies. Default: none.
        seed: Seed of the trials. Default: 0.
        **settings: Settings that are the same in all trials, such as `max_epochs=20` or
            `source_representation="one_hot"`. They replace those of a default space.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If a name is unknown, a value is invalid, a `when` names a setting
            or a value that the space does not have, or the direction of the objective
            is unknown.

    Attributes:
        objective: The `keras_tuner.Objective`.

    Example:
        >>> import keras_tuner
        >>> from kseq.data import AdditionTask
        >>> from kseq.tuning import Float, Seq2SeqHyperModel
        >>> data = AdditionTask(digits=1).split(train_size=40, valid_size=10, seed=0)
        >>> hypermodel = Seq2SeqHyperModel(
        ...     data,
        ...     {"units": [4, 8], "learning_rate": Float(1e-3, 1e-1, sampling="log")},
        ...     max_epochs=1,
        ... )
        >>> tuner = keras_tuner.RandomSearch(
        ...     hypermodel,
        ...     objective=hypermodel.objective,
        ...     max_trials=1,
        ...     directory="sweeps",
        ... )
        >>> tuner.search(verbose=0)
        >>> tuner.get_best_models()[0].config.units in (4, 8)
        True
    """

    def __init__(
        self,
        data: tuple[Examples, Examples],
        space: Mapping[str, Any] | None = None,
        *,
        objective: Any = "val_sequence_accuracy",
        metrics: Sequence[Any] = (),
        seed: int = 0,
        **settings: Any,
    ) -> None:
        super().__init__(name="kseq")
        self.train, self.valid = _check_data(data)
        self.objective = _get_objective(objective)
        self.metrics = list(metrics)
        self.seed = check_integer("seed", seed, 0)
        self._tuned, self._fixed = parse_space(space, settings)
        self._conditions = conditions_of(self._tuned)
        # A mistake raises here, not in each trial.
        training = TrialSettings(**select(training_names(), self._fixed))
        training.loss()
        training.new_optimizer()
        self._new_metrics()
        # Number of models that each trial has trained, for `executions_per_trial`.
        self._executions: weakref.WeakKeyDictionary[Any, int] = (
            weakref.WeakKeyDictionary()
        )

    def values(self, hp: Any) -> dict[str, Any]:
        """Returns the settings of a trial, including the fixed ones.

        Args:
            hp: The trial's `keras_tuner.HyperParameters`.

        Returns:
            Dict from names to values, without the settings whose `when` is false.
        """
        return {**self._fixed, **{k: v for k, (_, v) in self._sampled(hp).items()}}

    def config(self, hp: Any) -> Seq2SeqConfig:
        """Returns the configuration of a trial's model.

        Args:
            hp: The trial's `keras_tuner.HyperParameters`.

        Raises:
            ValueError: If `Seq2SeqConfig` refuses the combination.
        """
        fields = select(architecture_names(), self.values(hp))
        return architecture.Seq2SeqConfig(
            source_vocab_size=len(self.train.source_vocab),
            target_vocab_size=len(self.train.target_vocab),
            **fields,
        )

    def declare_hyperparameters(self, hp: Any) -> None:
        self._sampled(hp)

    def build(self, hp: Any) -> Any:
        """Builds and compiles the model of a trial.

        Args:
            hp: The trial's `keras_tuner.HyperParameters`.

        Returns:
            A compiled `Seq2Seq`. For an invalid combination, a model whose `fit` raises
            the error, so that only this trial fails.
        """
        try:
            training = self._training(hp)
            config = self.config(hp)
            keras.utils.set_random_seed(self._seed_of(hp))
            model = build_seq2seq(config)
            self._compile(model, training, training.new_optimizer(), [])
            # Checkpoints include its state, with which Hyperband continues.
            model.optimizer.build(model.trainable_variables)
        except (ValueError, TypeError) as error:
            return _InvalidModel(error)
        return model

    def fit(
        self,
        hp: Any,
        model: Any,
        *args: Any,
        callbacks: Sequence[Any] = (),
        epochs: int | None = None,
        initial_epoch: int = 0,
        **kwargs: Any,
    ) -> Any:
        """Trains the model of a trial on the hypermodel's data. Tuners call it.

        Args:
            hp: The trial's `keras_tuner.HyperParameters`.
            model: Model that `build` returned.
            *args: Must be empty, since the hypermodel has the data.
            callbacks: Keras callbacks. Default: none.
            epochs: Number of the last epoch, from a tuner that sets it, such as
                Hyperband. Default: the setting `max_epochs`.
            initial_epoch: Number of epochs of earlier training. Default: 0.
            **kwargs: Further arguments of `keras.Model.fit`, such as `verbose`.

        Returns:
            The `History` of `fit`.
        """
        data = {"x", "y", "batch_size", "validation_data", "validation_split"}
        if args or data & set(kwargs):
            raise keras_tuner.errors.FatalTypeError(
                "`tuner.search` must be called without data and batch size, because "
                "Seq2SeqHyperModel has them. Received: "
                f"{', '.join(sorted(data & set(kwargs))) or 'data'}."
            )
        objective = self._objective_of_tuner(callbacks)
        begin = time.perf_counter()
        record: dict[str, Any] = {
            "objective": objective.name,
            "direction": objective.direction,
        }
        execution = self._executions.get(hp, 0)
        try:
            if isinstance(model, _InvalidModel):
                raise keras_tuner.errors.FailedTrialError(
                    str(model.error)
                ) from model.error
            record["parameters"] = model.count_params()
            training = self._training(hp)
            names = [name.removeprefix("val_") for name in objective.directions]
            known = {metric.name for metric in self._new_metrics()}
            if missing := [n for n in names if n in METRICS and n not in known]:
                # The tuner and the hypermodel have different objectives.
                self._compile(model, training, model.optimizer, missing)
            for callback in callbacks:
                if isinstance(callback, compat.SaveBestEpoch):
                    callback.objective = objective
            history = model.fit(
                self.train.dataset(
                    training.batch_size,
                    seed=self._seed_of(hp),
                    initial_epoch=initial_epoch,
                ),
                validation_data=self.valid.dataset(
                    training.validation_batch_size, shuffle=False
                ),
                epochs=training.max_epochs if epochs is None else epochs,
                initial_epoch=initial_epoch,
                callbacks=[*callbacks, _StopOnNan()],
                **kwargs,
            )
            history.history = _comparable(history.history, objective)
        finally:
            self._executions[hp] = execution + 1
            record["seconds"] = round(time.perf_counter() - begin, 3)
            for callback in callbacks:
                # keras-tuner's own callback knows the folder of the trial.
                if hasattr(callback, "tuner") and hasattr(callback, "trial"):
                    folder = callback.tuner.get_trial_dir(callback.trial.trial_id)
                    _record_run(folder, record, add=execution > 0)
        return history

    def _sampled(self, hp: Any) -> dict[str, tuple[Any, Any]]:
        """Declares the space.

        Returns:
            Dict from the names of active settings to keras-tuner's and our value.
        """
        values = {}
        for name, entry in self._tuned.items():
            with compat.conditional_scope(hp, self._conditions[name]):
                raw = entry._declare(hp, name)
            if raw is not None:
                values[name] = (raw, entry._decode(raw))
        return values

    def _training(self, hp: Any) -> TrialSettings:
        return TrialSettings(**select(training_names(), self.values(hp)))

    def _seed_of(self, hp: Any) -> int:
        raw = {name: value for name, (value, _) in self._sampled(hp).items()}
        text = json.dumps([self.seed, raw, self._executions.get(hp, 0)], sort_keys=True)
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1

    def _new_metrics(self, further: Sequence[str] = ()) -> list[Any]:
        metrics: list[Any] = ["token_accuracy"]
        for name in (self.objective.name.removeprefix("val_"), *further):
            if name in METRICS and name not in metrics:
                metrics.append(name)
        for metric in self.metrics:
            if metric in metrics:
                continue
            if isinstance(metric, keras.metrics.Metric):
                metric = type(metric).from_config(metric.get_config())
            metrics.append(metric)
        return [get_metric(metric) for metric in metrics]

    def _compile(
        self, model: Any, training: TrialSettings, optimizer: Any, metrics: list[str]
    ) -> None:
        model.compile(
            optimizer=optimizer,
            loss=training.loss(),
            weighted_metrics=self._new_metrics(metrics),
            teacher_forcing_ratio=training.teacher_forcing_ratio,
            teacher_forcing_coin=training.teacher_forcing_coin,
        )

    def _objective_of_tuner(self, callbacks: Sequence[Any]) -> EpochObjective:
        """Returns the objective of the tuner that calls `fit`. Default: ours."""
        objective = self.objective
        for callback in callbacks:
            # keras-tuner's own callback.
            if hasattr(callback, "tuner") and hasattr(callback, "trial"):
                objective = callback.tuner.oracle.objective
        if isinstance(objective, compat.DefaultObjective):
            raise keras_tuner.errors.FatalValueError(
                "`objective` of the tuner is required, such as "
                "objective=hypermodel.objective. Received: None."
            )
        return EpochObjective(objective, len(self.valid.target_vocab))


class _StopOnNan(keras.callbacks.Callback):
    """Ends a training once the validation loss is nan."""

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        if math.isnan((logs or {}).get(LOSS, 0.0)):
            self.model.stop_training = True


def _comparable(
    history: Mapping[str, Sequence[float]], objective: EpochObjective
) -> dict[str, Sequence[float]]:
    """Returns a history in which keras-tuner finds the best epoch.

    Raises:
        FailedTrialError: If no epoch has a usable model.
        FatalValueError: If the history lacks a metric of the objective.
    """
    for name in objective.directions:
        if name not in history:
            raise keras_tuner.errors.FatalValueError(
                f"`objective` must be a metric that fit reports: {', '.join(history)}. "
                f"Received: {name!r}; add its metric to `metrics`."
            )
    names = [name for name in (*objective.directions, LOSS) if name in history]
    epochs = [
        dict(zip(names, values, strict=True))
        for values in zip(*(history[name] for name in names), strict=True)
    ]
    errors = [objective.error(epoch) for epoch in epochs]
    if errors and (last := errors[-1]) and all(errors):
        raise last
    epochs = [objective.comparable(epoch) for epoch in epochs]
    # keras-tuner warns about any other metric that is nan.
    others = {k: v for k, v in history.items() if not any(map(math.isnan, v))}
    return others | {name: [epoch[name] for epoch in epochs] for name in names}


class _InvalidModel(keras.Model):
    """Replaces a model that cannot be built, until its trial runs.

    keras-tuner also builds models before the first trial, where an error would end the
    sweep.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(name="invalid")
        self.error = error

    def fit(self, *args: Any, **kwargs: Any) -> Any:
        raise keras_tuner.errors.FailedTrialError(str(self.error)) from self.error


def _record_run(folder: Any, record: dict[str, Any], add: bool) -> None:
    path = pathlib.Path(folder) / RUN
    before = read_json(path) if add else {}
    record["seconds"] += before.get("seconds", 0.0)
    write_json(path, record)


def _check_data(data: Any) -> tuple[Examples, Examples]:
    if not (
        isinstance(data, tuple | list)
        and len(data) == 2
        and all(isinstance(part, Examples) for part in data)
    ):
        raise TypeError(
            "`data` must be two kseq.data.Examples, (train, valid). Received: "
            f"{data!r}."
        )
    train, valid = data
    for side in ("source_vocab", "target_vocab"):
        sizes = [len(getattr(part, side)) for part in (train, valid)]
        if sizes[0] != sizes[1]:
            raise ValueError(
                f"`data` must have the same {side} in both parts. Received: "
                f"vocabularies of {sizes[0]} and {sizes[1]} tokens."
            )
    return train, valid


def _get_objective(objective: Any) -> Any:
    is_single = not isinstance(objective, compat.MultiObjective)
    if isinstance(objective, keras_tuner.Objective) and is_single:
        return objective
    known = {f"val_{name}": direction for name, direction in DIRECTIONS.items()}
    if not isinstance(objective, str) or objective not in known:
        near = difflib.get_close_matches(str(objective), known, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(
            f"`objective` must be {one_of(known)}, or a "
            'keras_tuner.Objective such as Objective("val_bleu", direction="max"). '
            f"Received: {objective!r}.{hint}"
        )
    return keras_tuner.Objective(objective, known[objective])
