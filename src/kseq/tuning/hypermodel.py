"""The hypermodel: from keras-tuner's hyperparameters to a trained model."""

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
from keras_tuner.src.engine import metrics_tracking
from keras_tuner.src.engine import objective as kt_objective
from keras_tuner.src.engine.tuner_utils import SaveBestEpoch

from kseq.config import architecture
from kseq.config.architecture import Seq2SeqConfig
from kseq.config.checks import check_integer
from kseq.data import Examples
from kseq.metrics import METRICS
from kseq.metrics import get as get_metric
from kseq.models import build_seq2seq
from kseq.tuning.objectives import LOSS, EpochObjective
from kseq.tuning.space import (
    Training,
    architecture_names,
    conditions_of,
    only,
    parse_space,
    training_names,
    under,
)
from kseq.tuning.sweep_files import RUN, read_json, write_json

DIRECTIONS = {
    "loss": "min",
    "token_accuracy": "max",
    "sequence_accuracy": "max",
    "perplexity": "min",
}


def _teach_directions() -> None:
    """Lets keras-tuner know which way our metrics improve.

    It reads the direction of an objective that is given by name off Keras's own
    metrics, and has no place to add others.
    """
    infer = metrics_tracking.infer_metric_direction

    def infer_metric_direction(metric: Any) -> Any:
        name = metric.removeprefix("val_") if isinstance(metric, str) else ""
        return DIRECTIONS.get(name) or infer(metric)

    metrics_tracking.infer_metric_direction = infer_metric_direction


_teach_directions()


class Seq2SeqHyperModel(keras_tuner.HyperModel):
    """A keras-tuner `HyperModel` over every setting of a model and its training.

    It serves each tuner of keras-tuner and those of your own: hand it to the tuner with
    `objective=hypermodel.objective` and call `tuner.search()` without data. Or let
    `search` do all that.

    A trial's initial weights and order of data are functions of `seed` and of the
    trial's hyperparameters alone (and of the number of the execution, with
    `executions_per_trial`): a trial gives the same result in any process, at any place
    in a sweep. For that, building a model seeds Python, numpy and TensorFlow.

    A combination that `Seq2SeqConfig` refuses is a failed trial with the refusal as its
    reason. So is a training that diverges: one in which after every epoch the
    validation loss is not finite, or the perplexity is more than twice the size of the
    target vocabulary. Of two epochs with the same score, the one with the lower
    validation loss is the better one.

    Args:
        data: Tuple of two `kseq.data.Examples`, to train on and to validate on. They
            give the sizes of the vocabularies.
        space: Mapping from names to what is tried: a `Choice` (or a list), an `Int`, a
            `Float`, a `Boolean`, or a single value, which is then the same in every
            trial. From a configuration file, mappings such as `{"type": "float", "low":
            1e-4, "high": 1e-2, "sampling": "log"}` stand for the classes. The names
            are the fields of `Seq2SeqConfig` and the training settings: `batch_size`
            (default 64), `epochs` (10), `optimizer` (`"adam"`), `learning_rate` and
            `global_clipnorm` (the optimizer's own), `label_smoothing` (0),
            `teacher_forcing_ratio` (1), `teacher_forcing_coin` (`"token"`) and
            `validation_batch_size` (256). Default: `default_space()`.
        objective: `"val_sequence_accuracy"` (default), `"val_token_accuracy"`,
            `"val_perplexity"`, `"val_loss"`, or a `keras_tuner.Objective` with any
            other name that `fit` reports.
        metrics: Further metrics to report: names, or Keras metrics, taken as patterns.
        seed: Integer. Default 0.
        **settings: Settings that are the same in every trial: `epochs=20`,
            `source_representation="one_hot"`, ... A default space leaves these out.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If a name is unknown, a condition names no field of the space or a
            value that its field never has, or an objective's direction is unknown.

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
        ...     epochs=1,
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
        self.train, self.valid = _checked_data(data)
        self.objective = _objective(objective)
        self.metrics = list(metrics)
        self.seed = check_integer("seed", seed, 0)
        self._tuned, self._fixed = parse_space(space, settings)
        self._conditions = conditions_of(self._tuned)
        # So that a mistake is told now, not trial by trial.
        training = Training(**only(training_names(), self._fixed))
        training.loss()
        training.new_optimizer()
        self._new_metrics()
        # How often the models of a trial were fitted, for `executions_per_trial`.
        self._executions: weakref.WeakKeyDictionary[Any, int] = (
            weakref.WeakKeyDictionary()
        )

    def values(self, hp: Any) -> dict[str, Any]:
        """Returns the settings of a trial, those that are the same in all included.

        Args:
            hp: The trial's `keras_tuner.HyperParameters`.

        Returns:
            Dict from names to values; a field whose condition does not hold is left
            out.
        """
        return {**self._fixed, **{k: v for k, (_, v) in self._sampled(hp).items()}}

    def config(self, hp: Any) -> Seq2SeqConfig:
        """Returns the configuration of a trial's model.

        Args:
            hp: The trial's `keras_tuner.HyperParameters`.

        Raises:
            ValueError: If `Seq2SeqConfig` refuses the combination.
        """
        chosen = only(architecture_names(), self.values(hp))
        return architecture.Seq2SeqConfig(
            source_vocab_size=len(self.train.source_vocab),
            target_vocab_size=len(self.train.target_vocab),
            **chosen,
        )

    def declare_hyperparameters(self, hp: Any) -> None:
        self._sampled(hp)

    def build(self, hp: Any) -> Any:
        """Builds and compiles the model of a trial.

        Args:
            hp: The trial's `keras_tuner.HyperParameters`.

        Returns:
            A compiled `Seq2Seq`; for a combination that is refused, a model whose `fit`
            raises the reason, so that only the trial fails.
        """
        try:
            training = self._training(hp)
            config = self.config(hp)
            keras.utils.set_random_seed(self._seed_of(hp))
            model = build_seq2seq(config)
            self._compile(model, training, training.new_optimizer(), [])
            # A checkpoint holds its state too, which Hyperband goes on from.
            model.optimizer.build(model.trainable_variables)
        except (ValueError, TypeError) as error:
            return _Refused(error)
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
        """Trains the model of a trial on the hypermodel's data; tuners call it.

        Args:
            hp: The trial's `keras_tuner.HyperParameters`.
            model: What `build` returned.
            *args: None: the data are the hypermodel's.
            callbacks: Keras callbacks.
            epochs: Number of epochs, from a tuner that decides it, such as Hyperband.
                Default: the setting `epochs`.
            initial_epoch: Number of epochs the model was trained before. Default 0.
            **kwargs: The further arguments of `keras.Model.fit`, such as `verbose`.

        Returns:
            The `History` of `fit`.
        """
        own = {"x", "y", "batch_size", "validation_data", "validation_split"} & {
            *kwargs
        }
        if args or own:
            raise keras_tuner.errors.FatalTypeError(
                "`tuner.search` must be called without data and without a batch size: "
                "those of Seq2SeqHyperModel are used. Received: "
                f"{', '.join(sorted(own)) or 'data'}."
            )
        objective = self._objective_of_tuner(callbacks)
        begin = time.perf_counter()
        record: dict[str, Any] = {
            "objective": objective.name,
            "direction": objective.direction,
        }
        execution = self._executions.get(hp, 0)
        try:
            if isinstance(model, _Refused):
                raise keras_tuner.errors.FailedTrialError(
                    str(model.error)
                ) from model.error
            record["parameters"] = model.count_params()
            training = self._training(hp)
            names = [name.removeprefix("val_") for name in objective.directions]
            known = {metric.name for metric in self._new_metrics()}
            if missing := [n for n in names if n in METRICS and n not in known]:
                # The tuner has another objective than the hypermodel.
                self._compile(model, training, model.optimizer, missing)
            for callback in callbacks:
                if isinstance(callback, SaveBestEpoch):
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
                epochs=training.epochs if epochs is None else epochs,
                initial_epoch=initial_epoch,
                callbacks=[*callbacks, _StopAtNan()],
                **kwargs,
            )
            history.history = _judged(history.history, objective)
        finally:
            self._executions[hp] = execution + 1
            record["seconds"] = round(time.perf_counter() - begin, 3)
            for callback in callbacks:
                # The one that keras-tuner adds knows where the trial is kept.
                if hasattr(callback, "tuner") and hasattr(callback, "trial"):
                    folder = callback.tuner.get_trial_dir(callback.trial.trial_id)
                    _record_run(folder, record, add=execution > 0)
        return history

    def _sampled(self, hp: Any) -> dict[str, tuple[Any, Any]]:
        """Declares the space; returns keras-tuner's and our value of active fields."""
        values = {}
        for name, entry in self._tuned.items():
            with under(hp, self._conditions[name]):
                raw = entry._declare(hp, name)
            if raw is not None:
                values[name] = (raw, entry._decode(raw))
        return values

    def _training(self, hp: Any) -> Training:
        return Training(**only(training_names(), self.values(hp)))

    def _seed_of(self, hp: Any) -> int:
        raw = {name: value for name, (value, _) in self._sampled(hp).items()}
        text = json.dumps([self.seed, raw, self._executions.get(hp, 0)], sort_keys=True)
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1

    def _new_metrics(self, further: Sequence[str] = ()) -> list[Any]:
        wanted = ["token_accuracy"]
        for name in (self.objective.name.removeprefix("val_"), *further):
            if name in METRICS and name not in wanted:
                wanted.append(name)
        for metric in self.metrics:
            if metric in wanted:
                continue
            if isinstance(metric, keras.metrics.Metric):
                metric = type(metric).from_config(metric.get_config())
            wanted.append(metric)
        return [get_metric(metric) for metric in wanted]

    def _compile(
        self, model: Any, training: Training, optimizer: Any, metrics: list[str]
    ) -> None:
        model.compile(
            optimizer=optimizer,
            loss=training.loss(),
            weighted_metrics=self._new_metrics(metrics),
            teacher_forcing_ratio=training.teacher_forcing_ratio,
            teacher_forcing_coin=training.teacher_forcing_coin,
        )

    def _objective_of_tuner(self, callbacks: Sequence[Any]) -> EpochObjective:
        """Returns the objective of the tuner that calls `fit`, ours without one."""
        objective = self.objective
        for callback in callbacks:
            # The one that keras-tuner adds.
            if hasattr(callback, "tuner") and hasattr(callback, "trial"):
                objective = callback.tuner.oracle.objective
        if isinstance(objective, kt_objective.DefaultObjective):
            raise keras_tuner.errors.FatalValueError(
                "`objective` of the tuner must be given, for instance "
                "objective=hypermodel.objective. Received: None."
            )
        return EpochObjective(objective, len(self.valid.target_vocab))


class _StopAtNan(keras.callbacks.Callback):
    """Ends a training whose weights are lost."""

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        if math.isnan((logs or {}).get(LOSS, 0.0)):
            self.model.stop_training = True


def _judged(
    history: Mapping[str, Sequence[float]], objective: EpochObjective
) -> dict[str, Sequence[float]]:
    """Returns a history in which keras-tuner finds the best epoch.

    Raises:
        FailedTrialError: If no epoch has a model that can be used.
        FatalValueError: If a metric of the objective is not reported.
    """
    for name in objective.directions:
        if name not in history:
            raise keras_tuner.errors.FatalValueError(
                f"`objective` must be one of what fit reports, {', '.join(history)}. "
                f"Received: {name!r}; add its metric to `metrics`."
            )
    names = [name for name in (*objective.directions, LOSS) if name in history]
    epochs = [
        dict(zip(names, values, strict=True))
        for values in zip(*(history[name] for name in names), strict=True)
    ]
    faults = [objective.fault(epoch) for epoch in epochs]
    if faults and (last := faults[-1]) and all(faults):
        raise last
    judged = [objective.judged(epoch) for epoch in epochs]
    # keras-tuner warns about any other metric that is nan.
    others = {k: v for k, v in history.items() if not any(map(math.isnan, v))}
    return others | {name: [epoch[name] for epoch in judged] for name in names}


class _Refused(keras.Model):
    """Stands for a model that cannot be built, until the trial that asked for it runs.

    keras-tuner builds models before the first trial too, where an error would end the
    whole sweep.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(name="refused")
        self.error = error

    def fit(self, *args: Any, **kwargs: Any) -> Any:
        raise keras_tuner.errors.FailedTrialError(str(self.error)) from self.error


def _record_run(folder: Any, record: dict[str, Any], add: bool) -> None:
    path = pathlib.Path(folder) / RUN
    before = read_json(path) if add else {}
    record["seconds"] += before.get("seconds", 0.0)
    write_json(path, record)


def _checked_data(data: Any) -> tuple[Examples, Examples]:
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


def _objective(objective: Any) -> Any:
    is_one = not isinstance(objective, kt_objective.MultiObjective)
    if isinstance(objective, keras_tuner.Objective) and is_one:
        return objective
    known = {f"val_{name}": direction for name, direction in DIRECTIONS.items()}
    if not isinstance(objective, str) or objective not in known:
        near = difflib.get_close_matches(str(objective), known, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(
            f"`objective` must be one of {', '.join(map(repr, known))}, or a "
            'keras_tuner.Objective such as Objective("val_bleu", direction="max"). '
            f"Received: {objective!r}.{hint}"
        )
    return keras_tuner.Objective(objective, known[objective])
