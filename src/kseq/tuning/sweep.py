"""Sweeps from one call."""

import contextlib
import functools
import importlib.util
import io
import json
import os
import pathlib
import warnings
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import keras_tuner
import pandas as pd

from kseq.config.architecture import Seq2SeqConfig
from kseq.data import Examples
from kseq.models import Seq2Seq
from kseq.translator import Translator
from kseq.tuning.fault_tolerance import durable, is_worker
from kseq.tuning.hypermodel import Seq2SeqHyperModel
from kseq.tuning.reports import results
from kseq.tuning.space import Training, json_of, only, training_names
from kseq.tuning.sweep_files import BEST, SWEEP, read_json, write_json

FORMAT_VERSION = 1
TUNERS = {
    "random": keras_tuner.RandomSearch,
    "grid": keras_tuner.GridSearch,
    "hyperband": keras_tuner.Hyperband,
    "bayesian": keras_tuner.BayesianOptimization,
}


class Sweep:
    """A sweep that has run, as `search` returns it.

    Attributes:
        folder: Its folder, `directory/project_name`. `folder / "best"` is the best
            model, to be loaded by `Translator.load`.
        tuner: The tuner of keras-tuner.
        hypermodel: The `Seq2SeqHyperModel`.
    """

    def __init__(
        self, tuner: Any, hypermodel: Seq2SeqHyperModel, folder: pathlib.Path
    ) -> None:
        self.tuner = tuner
        self.hypermodel = hypermodel
        self.folder = folder

    def __repr__(self) -> str:
        """Returns the folder and the best score."""
        best = self._best
        score = "no finished trial" if best is None else f"best score {best.score:.4g}"
        return f"<Sweep in '{self.folder}': {score}>"

    def results(self) -> pd.DataFrame:
        """Returns the report, as the function `results` does."""
        return results(self.folder)

    @functools.cached_property
    def best_model(self) -> Seq2Seq:
        """The model of the best trial, with the weights of its best epoch."""
        # What keras-tuner prints while it rebuilds a model helps nobody.
        return self.tuner.load_model(self._need_best())

    @property
    def best_config(self) -> Seq2SeqConfig:
        """The configuration of the best trial's model."""
        return self.hypermodel.config(self._need_best().hyperparameters)

    @property
    def best_hyperparameters(self) -> dict[str, Any]:
        """All settings of the best trial, of the model and of the training."""
        return self.hypermodel.values(self._need_best().hyperparameters)

    @functools.cached_property
    def _best(self) -> Any:
        frame = results(self.folder)
        done = frame[frame["status"] == "COMPLETED"]
        if done.empty:
            return None
        path = self.folder / f"trial_{done['trial'].iloc[0]}" / "trial.json"
        return keras_tuner.engine.trial.Trial.load(str(path))

    def _need_best(self) -> Any:
        if self._best is None:
            raise RuntimeError(
                f"No trial of the sweep in '{self.folder}' has finished."
            )
        return self._best


def search(
    data: tuple[Examples, Examples],
    space: Mapping[str, Any] | None = None,
    *,
    tuner: Any = "random",
    objective: Any = "val_sequence_accuracy",
    max_trials: int | None = None,
    directory: str | os.PathLike[str] = "sweeps",
    project_name: str = "sweep",
    seed: int = 0,
    overwrite: bool = False,
    callbacks: Sequence[Any] = (),
    metrics: Sequence[Any] = (),
    max_consecutive_failed_trials: int = 10,
    worker_timeout: float = 60.0,
    verbose: Any = 1,
    tuner_settings: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Sweep:
    """Tries models with keras-tuner; keeps every result and hands back the best model.

    The sweep lives in the folder `directory/project_name`. Killed at any moment and
    called again with the same arguments, it keeps the trials that had finished and runs
    the rest; a finished one is not run again, unless a larger `max_trials` asks for
    more. The best model is saved as `best/` in the folder, for `Translator.load`.

    With keras-tuner's variables `KERASTUNER_TUNER_ID`, `KERASTUNER_ORACLE_IP` and
    `KERASTUNER_ORACLE_PORT` set, several processes that make the same call share the
    sweep: one is the chief, the others run the trials.

    Args:
        data: Tuple of two `kseq.data.Examples`, to train on and to validate on.
        space: Mapping from names to what is tried, as `Seq2SeqHyperModel` takes it.
            Default: `default_space()`.
        tuner: `"random"` (default), `"grid"`, `"hyperband"`, `"bayesian"`, or a tuner
            class that takes keras-tuner's usual arguments.
        objective: As `Seq2SeqHyperModel` takes it. Default `"val_sequence_accuracy"`.
        max_trials: Number of trials, failed ones included. Default: keras-tuner's, 10;
            a whole grid. Not for `"hyperband"`, where it follows from `epochs`.
        directory: Folder of sweeps. Default `"sweeps"`.
        project_name: Name of this sweep. Default `"sweep"`.
        seed: Integer. The sweep is a function of it: the hyperparameters tried, each
            trial's initial weights, and its order of data. Default 0.
        overwrite: Delete a sweep of the same name first. Default False: go on with it.
        callbacks: Keras callbacks; each trial gets copies.
        metrics: Further metrics to report: names, or Keras metrics.
        max_consecutive_failed_trials: The sweep ends with a warning once that many
            trials in a row have failed. Default 10.
        worker_timeout: Seconds of silence after which a chief gives a worker up and its
            trial to another. Default 60.
        verbose: 0 is silent; 1 (default) shows each trial and Keras's progress bar; 2
            one line an epoch.
        tuner_settings: Further arguments of the tuner, such as `{"factor": 3}` or
            `{"executions_per_trial": 3}`.
        **settings: Settings that are the same in every trial: `epochs=20`, ...

    Returns:
        A `Sweep`: `best_model`, `best_config`, `best_hyperparameters`, `results()`.

    Raises:
        ImportError: If a package that `"bayesian"` needs is missing.
        RuntimeError: If the sweep ends without a trial that succeeded.
        ValueError: If an argument is invalid, or the folder holds another sweep.

    Example:
        >>> from kseq.data import AdditionTask
        >>> from kseq.tuning import search
        >>> data = AdditionTask(digits=1).split(train_size=40, valid_size=10, seed=0)
        >>> sweep = search(
        ...     data,
        ...     {"units": [4, 8]},
        ...     tuner="grid",
        ...     objective="val_perplexity",
        ...     epochs=1,
        ...     verbose=0,
        ... )
        >>> sweep.results()["status"].tolist()
        ['COMPLETED', 'COMPLETED']
        >>> sweep.best_model.generate(data[1].source[:1], max_length=3).tokens.shape[0]
        1
    """
    kind = _tuner_class(tuner)
    hypermodel = Seq2SeqHyperModel(
        data, space, objective=objective, metrics=metrics, seed=seed, **settings
    )
    arguments: dict[str, Any] = dict(tuner_settings or {})
    if issubclass(kind, keras_tuner.Hyperband):
        _check_hyperband(hypermodel, max_trials)
        arguments["max_epochs"] = Training(
            **only(training_names(), hypermodel._fixed)
        ).epochs
    if max_trials is not None:
        arguments["max_trials"] = max_trials
    folder = pathlib.Path(directory) / project_name
    works_for_chief = is_worker()
    record = _sweep_record(hypermodel, kind, arguments)
    if not works_for_chief:
        _check_folder(folder, record, overwrite)
    # keras-tuner reports a reload whatever it is told.
    with contextlib.ExitStack() as stack:
        if not verbose:
            stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        found = durable(kind)(
            hypermodel,
            objective=hypermodel.objective,
            seed=hypermodel.seed + 1,  # keras-tuner takes 0 for "any"
            directory=str(directory),
            project_name=project_name,
            overwrite=overwrite and not works_for_chief,
            max_consecutive_failed_trials=max_consecutive_failed_trials,
            **arguments,
        )
    found.worker_timeout = worker_timeout
    if not works_for_chief:
        folder.mkdir(parents=True, exist_ok=True)  # keras-tuner has deleted an old one
        write_json(folder / SWEEP, record)
    found.search(callbacks=list(callbacks), verbose=verbose)
    sweep = Sweep(found, hypermodel, folder)
    if not works_for_chief:
        _conclude(sweep, max_consecutive_failed_trials)
    return sweep


def _conclude(sweep: Sweep, limit: int) -> None:
    """Says why a sweep ended early; saves the best model."""
    frame = sweep.results()
    oracle = sweep.tuner.oracle
    where = f"kseq.tuning.results('{sweep.folder}') lists them"
    failed = frame[frame["status"] == "FAILED"]
    last = oracle.last_failure()
    if last is not None:
        reason = frame.loc[frame["trial"] == last, "reason"].iloc[0]
    if sweep._best is None:
        why = f" The last one: {reason}" if last is not None else ""
        raise RuntimeError(
            f"The sweep ended with no trial that succeeded, and {len(failed)} that "
            f"failed; {where}.{why}"
        )
    if oracle.failures_in_a_row() >= limit:
        warnings.warn(
            f"The sweep ended early: {limit} trials in a row failed; {where}. To go "
            f"on, raise `max_consecutive_failed_trials`. The last one: {reason}",
            stacklevel=3,
        )
    train = sweep.hypermodel.train
    Translator(sweep.best_model, train.source_vocab, train.target_vocab).save(
        sweep.folder / BEST, overwrite=True
    )


def _tuner_class(tuner: Any) -> Any:
    if isinstance(tuner, type) and issubclass(tuner, keras_tuner.Tuner):
        kind = tuner
    elif isinstance(tuner, str) and tuner in TUNERS:
        kind = TUNERS[tuner]
    else:
        raise ValueError(
            f"`tuner` must be one of {', '.join(map(repr, TUNERS))}, or a class of "
            f"keras_tuner.Tuner's kind. Received: {tuner!r}."
        )
    if issubclass(kind, keras_tuner.BayesianOptimization):
        for module in ("scipy", "sklearn"):
            if importlib.util.find_spec(module) is None:
                raise ImportError(
                    "Bayesian optimization needs scipy and scikit-learn, which are not "
                    "both installed: pip install 'kseq[bayesian]'"
                )
    return kind


def _check_hyperband(hypermodel: Seq2SeqHyperModel, max_trials: int | None) -> None:
    if max_trials is not None:
        raise ValueError(
            "`max_trials` must be left out with Hyperband, whose number of trials "
            "follows from `epochs` and the tuner settings `factor` and "
            f"`hyperband_iterations`. Received: {max_trials}."
        )
    if "epochs" in hypermodel._tuned:
        raise ValueError(
            "`epochs` must be a single number with Hyperband, which gives each trial a "
            "share of them. Received: a range."
        )


def _sweep_record(
    hypermodel: Seq2SeqHyperModel, kind: type, arguments: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns all that a sweep's results depend on, for its folder."""
    train, valid = hypermodel.train, hypermodel.valid
    return {
        "format_version": FORMAT_VERSION,
        "tuner": kind.__name__,
        "objective": hypermodel.objective.name,
        "direction": hypermodel.objective.direction,
        "seed": hypermodel.seed,
        "data": [
            [len(part), zlib.crc32(part.source.tobytes() + part.target.tobytes())]
            for part in (train, valid)
        ],
        "space": {
            name: [type(entry).__name__, entry._describe(), json_of(entry.when)]
            for name, entry in hypermodel._tuned.items()
        },
        "settings": {k: json_of(v) for k, v in hypermodel._fixed.items()},
        "tuner_settings": {
            k: json_of(v) for k, v in arguments.items() if k != "max_trials"
        },
    }


def _check_folder(
    folder: pathlib.Path, record: Mapping[str, Any], overwrite: bool
) -> None:
    """Refuses to mix two sweeps, or to delete what is none."""
    if not folder.exists() or not any(folder.iterdir()):
        return
    begun = read_json(folder / SWEEP)
    if overwrite:
        if not begun and not (folder / "oracle.json").exists():
            raise ValueError(
                f"'{folder}' holds something else than a sweep and is not deleted. "
                "Choose another `project_name`."
            )
        return
    way_out = "Choose another `project_name`, or pass overwrite=True."
    if not begun:
        if list(folder.glob("trial_*")):
            raise ValueError(
                f"'{folder}' holds trials that another program has left. {way_out}"
            )
        return
    now = json.loads(json.dumps(record))
    for name in now:
        if begun.get(name) != now[name]:
            raise ValueError(
                f"'{folder}' holds a sweep with another `{name}`. {way_out} It was: "
                f"{begun.get(name)}. Received: {now[name]}."
            )
