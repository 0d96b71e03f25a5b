"""A sweep in one call."""

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

from kseq._compat.keras_tuner import is_worker
from kseq.config.architecture import Seq2SeqConfig
from kseq.config.checks import one_of
from kseq.data import Examples
from kseq.models import Seq2Seq
from kseq.translator import Translator
from kseq.tuning.fault_tolerance import fault_tolerant
from kseq.tuning.hypermodel import Seq2SeqHyperModel
from kseq.tuning.ranges import to_json
from kseq.tuning.reports import results
from kseq.tuning.space import select, training_names
from kseq.tuning.sweep_files import BEST, SWEEP, read_json, write_json
from kseq.tuning.trial_settings import TrialSettings

FORMAT_VERSION = 1
TUNERS = {
    "random": keras_tuner.RandomSearch,
    "grid": keras_tuner.GridSearch,
    "hyperband": keras_tuner.Hyperband,
    "bayesian": keras_tuner.BayesianOptimization,
}


class Sweep:
    """A finished sweep, the result of `search`.

    Attributes:
        folder: Folder of the sweep, `directory/project_name`. `folder / "best"` is the
            model folder of the best model, for `Translator.load`.
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
        """Returns the report of the function `results`."""
        return results(self.folder)

    @functools.cached_property
    def best_model(self) -> Seq2Seq:
        """The model of the best trial, with the weights of its best epoch."""
        return self.tuner.load_model(self._best_trial())

    @property
    def best_config(self) -> Seq2SeqConfig:
        """The configuration of the best trial's model."""
        return self.hypermodel.config(self._best_trial().hyperparameters)

    @property
    def best_hyperparameters(self) -> dict[str, Any]:
        """All settings of the best trial, for the model and for the training."""
        return self.hypermodel.values(self._best_trial().hyperparameters)

    @functools.cached_property
    def _best(self) -> Any:
        frame = results(self.folder)
        done = frame[frame["status"] == "COMPLETED"]
        if done.empty:
            return None
        path = self.folder / f"trial_{done['trial'].iloc[0]}" / "trial.json"
        return keras_tuner.engine.trial.Trial.load(str(path))

    def _best_trial(self) -> Any:
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
    """Trains models with different settings, and returns the best model.

    keras-tuner chooses the settings. The results are in the folder
    `directory/project_name`. After a kill, the same call resumes the sweep: it keeps
    the finished trials and runs the others. A finished sweep trains nothing again; a
    larger `max_trials` adds trials. The subfolder `best` is the model folder of the
    best model, for `Translator.load`.

    Several processes share a sweep if they make the same call and have keras-tuner's
    environment variables `KERASTUNER_TUNER_ID`, `KERASTUNER_ORACLE_IP` and
    `KERASTUNER_ORACLE_PORT`. One process is the chief, the others run the trials.

    Args:
        data: Tuple of two `kseq.data.Examples`, for training and for validation.
        space: Mapping from names of settings to the values to try, as for
            `Seq2SeqHyperModel`. Default: `default_space()`.
        tuner: `"random"` (default), `"grid"`, `"hyperband"`, `"bayesian"`, or a
            subclass of `keras_tuner.Tuner` with the usual arguments.
        objective: Objective, as for `Seq2SeqHyperModel`. Default:
            `"val_sequence_accuracy"`.
        max_trials: Maximum number of trials, including failed ones. Not valid with
            `"hyperband"`, which derives it from `max_epochs`. Default: 10; with
            `"grid"`, all combinations.
        directory: Folder of sweeps. Default: `"sweeps"`.
        project_name: Name of this sweep. Default: `"sweep"`.
        seed: Seed of the hyperparameters, of the initial weights and of the data order.
            Default: 0.
        overwrite: Delete a sweep with the same name first. Default: False, which
            resumes it.
        callbacks: Keras callbacks, which each trial copies. Default: none.
        metrics: Further metrics to report: names, or Keras metrics. Default: none.
        max_consecutive_failed_trials: Number of consecutive failed trials after which
            the sweep ends with a warning. Default: 10.
        worker_timeout: Maximum time in seconds between two reports of a worker. After
            it, the chief gives the trial to another worker. Default: 60.
        verbose: 0 prints nothing, 1 each trial and Keras's progress bar, 2 one line per
            epoch. Default: 1.
        tuner_settings: Further arguments of the tuner, such as `{"factor": 3}` or
            `{"executions_per_trial": 3}`. Default: none.
        **settings: Settings that are the same in all trials, such as `max_epochs=20`.

    Returns:
        A `Sweep` with `best_model`, `best_config`, `best_hyperparameters` and
        `results()`.

    Raises:
        ImportError: If a package that `"bayesian"` needs is missing.
        RuntimeError: If no trial succeeds.
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
        ...     max_epochs=1,
        ...     verbose=0,
        ... )
        >>> sweep.results()["status"].tolist()
        ['COMPLETED', 'COMPLETED']
        >>> sweep.best_model.generate(data[1].source[:1], max_length=3).tokens.shape[0]
        1
    """
    kind = _get_tuner_class(tuner)
    hypermodel = Seq2SeqHyperModel(
        data, space, objective=objective, metrics=metrics, seed=seed, **settings
    )
    arguments: dict[str, Any] = dict(tuner_settings or {})
    if issubclass(kind, keras_tuner.Hyperband):
        _check_hyperband(hypermodel, max_trials)
        training = TrialSettings(**select(training_names(), hypermodel._fixed))
        arguments["max_epochs"] = training.max_epochs
    if max_trials is not None:
        arguments["max_trials"] = max_trials
    folder = pathlib.Path(directory) / project_name
    worker = is_worker()
    record = _sweep_record(hypermodel, kind, arguments)
    if not worker:
        _check_folder(folder, record, overwrite)
    # keras-tuner always prints a message about a reload.
    with contextlib.ExitStack() as stack:
        if not verbose:
            stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        tuner = fault_tolerant(kind)(
            hypermodel,
            objective=hypermodel.objective,
            seed=hypermodel.seed + 1,  # keras-tuner draws a seed for 0
            directory=str(directory),
            project_name=project_name,
            overwrite=overwrite and not worker,
            max_consecutive_failed_trials=max_consecutive_failed_trials,
            **arguments,
        )
    tuner.worker_timeout = worker_timeout
    if not worker:
        folder.mkdir(parents=True, exist_ok=True)  # keras-tuner deletes an old sweep
        write_json(folder / SWEEP, record)
    tuner.search(callbacks=list(callbacks), verbose=verbose)
    sweep = Sweep(tuner, hypermodel, folder)
    if not worker:
        _save_best(sweep, max_consecutive_failed_trials)
    return sweep


def _save_best(sweep: Sweep, limit: int) -> None:
    """Saves the best model; warns if a sweep ended early."""
    frame = sweep.results()
    oracle = sweep.tuner.oracle
    hint = f"kseq.tuning.results('{sweep.folder}') lists them"
    failed = frame[frame["status"] == "FAILED"]
    last = oracle.last_failure()
    if last is not None:
        reason = frame.loc[frame["trial"] == last, "reason"].iloc[0]
    if sweep._best is None:
        error = f" Last error: {reason}" if last is not None else ""
        raise RuntimeError(
            f"No trial of the sweep succeeded, and {len(failed)} failed; {hint}.{error}"
        )
    if oracle.consecutive_failures() >= limit:
        warnings.warn(
            f"The sweep ended early: {limit} consecutive trials failed; {hint}. To "
            "continue, increase `max_consecutive_failed_trials`. Last error: "
            f"{reason}",
            stacklevel=3,
        )
    train = sweep.hypermodel.train
    Translator(sweep.best_model, train.source_vocab, train.target_vocab).save(
        sweep.folder / BEST, overwrite=True
    )


def _get_tuner_class(tuner: Any) -> Any:
    if isinstance(tuner, type) and issubclass(tuner, keras_tuner.Tuner):
        kind = tuner
    elif isinstance(tuner, str) and tuner in TUNERS:
        kind = TUNERS[tuner]
    else:
        raise ValueError(
            f"`tuner` must be {one_of(TUNERS)}, or a subclass of keras_tuner.Tuner. "
            f"Received: {tuner!r}."
        )
    if issubclass(kind, keras_tuner.BayesianOptimization):
        for module in ("scipy", "sklearn"):
            if importlib.util.find_spec(module) is None:
                raise ImportError(
                    "tuner='bayesian' needs scipy and scikit-learn: "
                    "pip install 'kseq[bayesian]'"
                )
    return kind


def _check_hyperband(hypermodel: Seq2SeqHyperModel, max_trials: int | None) -> None:
    if max_trials is not None:
        raise ValueError(
            "`max_trials` must be left out with Hyperband, which derives the number of "
            "trials from `max_epochs` and the tuner settings `factor` and "
            f"`hyperband_iterations`. Received: {max_trials}."
        )
    if "max_epochs" in hypermodel._tuned:
        raise ValueError(
            "`max_epochs` must be a single number with Hyperband, which sets the "
            "number of epochs of each trial. Received: a range."
        )


def _sweep_record(
    hypermodel: Seq2SeqHyperModel, kind: type, arguments: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns everything that the results of a sweep depend on, for its folder."""
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
            name: [type(entry).__name__, entry._describe(), to_json(entry.when)]
            for name, entry in hypermodel._tuned.items()
        },
        "settings": {k: to_json(v) for k, v in hypermodel._fixed.items()},
        "tuner_settings": {
            k: to_json(v) for k, v in arguments.items() if k != "max_trials"
        },
    }


def _check_folder(
    folder: pathlib.Path, record: Mapping[str, Any], overwrite: bool
) -> None:
    """Checks that a folder is empty or holds the same sweep, or may be deleted."""
    if not folder.exists() or not any(folder.iterdir()):
        return
    old = read_json(folder / SWEEP)
    if overwrite:
        if not old and not (folder / "oracle.json").exists():
            raise ValueError(
                f"'{folder}' is not the folder of a sweep, and is not deleted. "
                "Choose another `project_name`."
            )
        return
    hint = "Choose another `project_name`, or pass overwrite=True."
    if not old:
        if list(folder.glob("trial_*")):
            raise ValueError(f"'{folder}' holds trials of another program. {hint}")
        return
    new = json.loads(json.dumps(record))
    for name in new:
        if old.get(name) != new[name]:
            raise ValueError(
                f"'{folder}' holds a sweep with another `{name}`. {hint} Before: "
                f"{old.get(name)}. Received: {new[name]}."
            )
