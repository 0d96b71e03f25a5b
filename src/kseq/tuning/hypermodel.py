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

from kseq import config as architecture
from kseq import metrics as kseq_metrics
from kseq.checks import check_integer
from kseq.config import Seq2SeqConfig
from kseq.data import Examples
from kseq.models import build_seq2seq
from kseq.tuning.files import RUN, read_json, write_json
from kseq.tuning.space import (
    Training,
    architecture_names,
    conditions_of,
    only,
    parse_space,
    training_names,
    under,
)

DIRECTIONS = {
    "loss": "min",
    "token_accuracy": "max",
    "sequence_accuracy": "max",
    "perplexity": "min",
}


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
    reason.

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
            model.compile(
                optimizer=training.new_optimizer(),
                loss=training.loss(),
                weighted_metrics=self._new_metrics(),
                teacher_forcing_ratio=training.teacher_forcing_ratio,
                teacher_forcing_coin=training.teacher_forcing_coin,
            )
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
        begin = time.perf_counter()
        record: dict[str, Any] = {
            "objective": self.objective.name,
            "direction": self.objective.direction,
        }
        execution = self._executions.get(hp, 0)
        try:
            if isinstance(model, _Refused):
                raise keras_tuner.errors.FailedTrialError(
                    str(model.error)
                ) from model.error
            record["parameters"] = model.count_params()
            training = self._training(hp)
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
                callbacks=list(callbacks),
                **kwargs,
            )
            self._check_history(history.history)
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

    def _new_metrics(self) -> list[Any]:
        wanted = ["token_accuracy"]
        name = self.objective.name.removeprefix("val_")
        if name in kseq_metrics.METRICS and name not in wanted:
            wanted.append(name)
        for metric in self.metrics:
            if metric in wanted:
                continue
            if isinstance(metric, keras.metrics.Metric):
                metric = type(metric).from_config(metric.get_config())
            wanted.append(metric)
        return [kseq_metrics.get(metric) for metric in wanted]

    def _check_history(self, history: Mapping[str, Sequence[float]]) -> None:
        name = self.objective.name
        if name not in history:
            raise keras_tuner.errors.FatalValueError(
                f"`objective` must be one of what fit reports, {', '.join(history)}. "
                f"Received: {name!r}; add its metric to `metrics`."
            )
        if math.isnan(history[name][0]):  # keras-tuner takes no later epoch as better
            raise keras_tuner.errors.FailedTrialError(
                f"The training diverged: {name} is nan after the first epoch."
            )


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
    if isinstance(objective, keras_tuner.Objective):
        return objective
    known = {f"val_{name}": direction for name, direction in DIRECTIONS.items()}
    if objective not in known:
        near = difflib.get_close_matches(str(objective), known, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(
            f"`objective` must be one of {', '.join(map(repr, known))}, or a "
            "keras_tuner.Objective, which says whether to minimise or to maximise. "
            f"Received: {objective!r}.{hint}"
        )
    return keras_tuner.Objective(objective, known[objective])
