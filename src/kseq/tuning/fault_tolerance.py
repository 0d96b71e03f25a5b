"""What keras-tuner lacks: sweeps that survive a kill, of themselves or of a worker."""

import concurrent.futures
import contextlib
import functools
import itertools
import logging
import math
import os
import pathlib
import threading
import time
from collections.abc import Iterator
from typing import Any

import grpc  # type: ignore[import-untyped]
import keras_tuner
from keras_tuner.src import config as kt_config
from keras_tuner.src.distribute import utils as distribute
from keras_tuner.src.engine import conditions

from kseq.tuning.objectives import LOSS, Score, TrialDivergedError
from kseq.tuning.reports import reason_of
from kseq.tuning.sweep_files import LOST, RUN, read_json, write_json

FINISHED = ("COMPLETED", "FAILED")
# A trial that has taken three workers down with it is not given to a fourth.
MOST_LOSSES = 3
# Seconds a worker waits for its chief to appear.
CHIEF_TIMEOUT = 300.0


def is_worker() -> bool:
    """Whether this process runs trials that a chief hands out."""
    return distribute.has_chief_oracle() and not distribute.is_chief_oracle()


def durable(kind: Any) -> Any:
    """Returns a class of tuners like `kind` that survive a kill."""
    return type(f"Durable{kind.__name__}", (_DurableTuner, kind), {})


class _DurableTuner:
    """Makes a tuner go on after a kill, and tell its chief that it lives."""

    worker_timeout = 60.0
    _verbose: Any = 1
    _is_waiting = False
    _heart: threading.Event | None = None

    def _get_tuner_fname(self: Any) -> str:
        # Not named after the process: a chief goes on where one process alone was.
        return os.path.join(str(self.project_dir), "tuner.json")

    def _populate_initial_space(self: Any) -> None:
        _mend(self.oracle)
        super()._populate_initial_space()  # type: ignore[misc]

    def reload(self: Any) -> None:
        _mend(self.oracle)
        if not is_worker():
            super().reload()  # type: ignore[misc]

    def save(self: Any) -> None:
        if not is_worker():
            self.oracle.save()
            write_json(pathlib.Path(self._get_tuner_fname()), self.get_state())

    def search(self: Any, *args: Any, **kwargs: Any) -> None:
        self._verbose = kwargs.get("verbose", 1)
        # keras-tuner prints a condition's value whenever it is sent, from a forgotten
        # line of debugging.
        conditions.print = lambda *values: None
        if distribute.is_chief_oracle():
            self.oracle.verbose = self._verbose
            self.save()
            _serve(self.oracle, self.worker_timeout)
            return
        if is_worker():
            _await_chief(CHIEF_TIMEOUT)
        else:
            self.save()
        with _quiet():
            super().search(*args, **kwargs)  # type: ignore[misc]

    def pre_create_trial(self: Any) -> None:
        super().pre_create_trial()  # type: ignore[misc]
        if self._is_waiting:  # keras-tuner would ask again at once
            time.sleep(1)
        self._is_waiting = True

    def on_trial_begin(self: Any, trial: Any) -> None:
        self._is_waiting = False
        if is_worker():
            self._heart = threading.Event()
            every = self.worker_timeout / 6
            arguments = (self._heart, self.oracle, trial.trial_id, every)
            threading.Thread(target=_beat, args=arguments, daemon=True).start()
        super().on_trial_begin(trial)  # type: ignore[misc]

    def on_trial_end(self: Any, trial: Any) -> None:
        if self._heart is not None:
            self._heart.set()
        if trial.message:
            # keras-tuner sends a chief no message.
            folder = pathlib.Path(self.get_trial_dir(trial.trial_id))
            write_json(
                folder / RUN, {**read_json(folder / RUN), "message": trial.message}
            )
            if self._verbose:
                print(f"Trial {trial.trial_id} failed: {reason_of(trial.message)}")
        super().on_trial_end(trial)  # type: ignore[misc]


class _DurableOracle:
    """Makes an oracle's state whole on disk, and complete after a kill."""

    trials: dict[str, Any]
    start_order: list[str]
    end_order: list[str]
    ongoing_trials: dict[str, Any]
    tuner_ids: set[str]
    max_consecutive_failed_trials: int

    def save(self: Any) -> None:
        write_json(pathlib.Path(self._get_oracle_fname()), self.get_state())

    def _save_trial(self: Any, trial: Any) -> None:
        folder = pathlib.Path(self._get_trial_dir(trial.trial_id))
        write_json(folder / "trial.json", trial.get_state())

    def reload(self: Any) -> None:
        """Reloads the trials, and queues those that were cut off.

        keras-tuner by itself runs a trial again that ended just before the kill, leaves
        one for ever that began just before it, and loses its place in a grid.
        """
        super().reload()  # type: ignore[misc]
        missing = [i for i in self.start_order if i not in self.trials]
        if missing:
            raise RuntimeError(
                f"'{self._project_dir}' must hold the folder of each trial. It lacks "
                f"trial_{missing[0]}; pass overwrite=True to begin anew."
            )
        # A trial that the oracle's file does not name is drawn again, the same.
        self.trials = {i: self.trials[i] for i in dict.fromkeys(self.start_order)}
        for trial in self.trials.values():
            if trial.status == "COMPLETED":
                self.score_trial(trial)
        self.ongoing_trials = {}
        self._retry_queue = []
        for trial_id, trial in reversed(self.trials.items()):
            if trial.status in FINISHED:
                continue
            if trial.status == "RUNNING":
                self._note_loss(trial, "interrupted")
            self._reset(trial)
            self._retry_queue.append(trial_id)
        self.end_order = [i for i in self.end_order if i in self.trials] + [
            trial_id
            for trial_id, trial in self.trials.items()
            if trial.status in FINISHED and trial_id not in self.end_order
        ]
        if isinstance(self, keras_tuner.oracles.GridSearchOracle):
            values = {
                i: trial.hyperparameters.values for i, trial in self.trials.items()
            }
            ordered = sorted(
                self.trials,
                key=functools.cmp_to_key(
                    lambda one, other: self._compare(values[one], values[other])
                ),
            )
            self._ordered_ids = type(self._ordered_ids)()
            for trial_id in ordered:
                self._ordered_ids.insert(trial_id)
            self._populate_next = ordered

    @keras_tuner.synchronized
    def create_trial(self: Any, tuner_id: str) -> Any:
        self._seen[tuner_id] = time.monotonic()
        if tuner_id in self.ongoing_trials:
            self._note_loss(self.ongoing_trials[tuner_id], f"lost with '{tuner_id}'")
        self._retry_queue = [
            i for i in self._retry_queue if self.trials[i].status not in FINISHED
        ]
        trial = super().create_trial(tuner_id)  # type: ignore[misc]
        if trial.status == "STOPPED" and self.ongoing_trials:
            # Somebody must be there to run it should its worker be lost.
            self.tuner_ids.add(tuner_id)
            trial.status = "IDLE"
        return trial

    def populate_space(self: Any, trial_id: str) -> Any:
        if self.failures_in_a_row() >= self.max_consecutive_failed_trials:
            return {"status": "STOPPED", "values": None}
        with _failures_lose(self):
            return super().populate_space(trial_id)  # type: ignore[misc]

    def score_trial(self: Any, trial: Any) -> None:
        super().score_trial(trial)  # type: ignore[misc]
        known = trial.metrics.exists(LOSS)
        loss = trial.metrics.get_last_value(LOSS) if known else None
        trial.score = Score(trial.score, loss, self.objective.direction)

    def _check_consecutive_failures(self) -> None:
        """Leaves it to `populate_space`: keras-tuner's error loses the last trial."""

    def get_trial(self: Any, trial_id: str) -> Any:
        self._seen[f"trial {trial_id}"] = time.monotonic()
        return super().get_trial(trial_id)  # type: ignore[misc]

    @keras_tuner.synchronized
    def end_trial(self: Any, trial: Any) -> None:
        if trial.trial_id in self.end_order:  # its worker had been given up
            self._drop(trial.trial_id)
            return
        known = self.trials[trial.trial_id]
        if len(known.hyperparameters.space) == len(trial.hyperparameters.space):
            # The way through gRPC has put them into another order.
            trial.hyperparameters = known.hyperparameters
        if trial.status != "COMPLETED" and not trial.message:
            folder = pathlib.Path(self._get_trial_dir(trial.trial_id))
            trial.message = read_json(folder / RUN).get("message")
        super().end_trial(trial)  # type: ignore[misc]

    @keras_tuner.synchronized
    def give_up_lost(self: Any, timeout: float) -> None:
        """Queues the trials of workers that have been silent for too long."""
        now = time.monotonic()
        for tuner_id, trial in list(self.ongoing_trials.items()):
            seen = [self._seen.get(f"trial {trial.trial_id}"), self._seen.get(tuner_id)]
            if now - max(at for at in seen if at is not None) <= timeout:
                continue
            self._drop(trial.trial_id)
            losses = self._note_loss(trial, f"lost with '{tuner_id}'")
            again = losses < MOST_LOSSES
            if again:
                self._reset(trial)
                self._retry_queue.append(trial.trial_id)
            else:
                trial.status = "FAILED"
                trial.message = f"Its workers were lost {losses} times."
                self.end_order.append(trial.trial_id)
                if isinstance(self, keras_tuner.oracles.GridSearchOracle):
                    self._populate_next.append(trial.trial_id)
            self._save_trial(trial)
            self.save()
            if self.verbose:
                fate = "will be run again" if again else "failed"
                print(f"Trial {trial.trial_id}, lost with '{tuner_id}', {fate}.")
        idle = self.tuner_ids - set(self.ongoing_trials)
        self.tuner_ids -= {i for i in idle if now - self._seen.get(i, now) > timeout}

    def failures_in_a_row(self) -> int:
        """Returns how many of the trials that ended last have failed.

        A diverged trial is a result of the search, and no sign of a mistake.
        """
        failed = [
            self.trials[i].status == "FAILED"
            and TrialDivergedError.__name__ not in (self.trials[i].message or "")
            for i in reversed(self.end_order)
        ]
        return failed.index(False) if False in failed else len(failed)

    def last_failure(self) -> str | None:
        """Returns the trial that failed last."""
        failed = [i for i in self.end_order if self.trials[i].status == "FAILED"]
        return failed[-1] if failed else None

    def _drop(self: Any, trial_id: str) -> None:
        for tuner_id, trial in list(self.ongoing_trials.items()):
            if trial.trial_id == trial_id:
                del self.ongoing_trials[tuner_id]
                self.tuner_ids.discard(tuner_id)

    def _reset(self, trial: Any) -> None:
        """Makes a trial one that is to be run."""
        trial.status = "INVALID"
        # Else keras-tuner would take what it reported before it was cut off.
        trial.metrics = type(trial.metrics)()

    def _note_loss(self: Any, trial: Any, how: str) -> int:
        path = pathlib.Path(self._get_trial_dir(trial.trial_id)) / LOST
        losses = [*read_json(path).get("losses", []), how]
        write_json(path, {"losses": losses})
        return sum(loss.startswith("lost") for loss in losses)


def _mend(oracle: Any) -> None:
    # Tuners make their oracles themselves: the class can only be changed afterwards.
    if not isinstance(oracle, _DurableOracle):
        kind = type(oracle)
        oracle.__class__ = type(f"Durable{kind.__name__}", (_DurableOracle, kind), {})
        oracle._seen = {}


@contextlib.contextmanager
def _failures_lose(oracle: Any) -> Iterator[None]:
    """Lets failed trials be the losers of their round of Hyperband.

    keras-tuner promotes the best of a round once more trials have completed than will
    be dropped, and never does if too many have failed.
    """
    failed = []
    for bracket in getattr(oracle, "_brackets", ()):
        for past, following in itertools.pairwise(bracket["rounds"]):
            promoted = {entry["past_id"] for entry in following}
            trials = [oracle.trials[i["id"]] for i in past if i["id"] in oracle.trials]
            if any(
                trial.status == "COMPLETED" and trial.trial_id not in promoted
                for trial in trials
            ):
                failed += [trial for trial in trials if trial.status == "FAILED"]
    worst = -math.inf if oracle.objective.direction == "max" else math.inf
    for trial in failed:
        trial.status, trial.score = "COMPLETED", worst
    try:
        yield
    finally:
        for trial in failed:
            trial.status, trial.score = "FAILED", None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps away what would bury a sweep's own output."""
    logger = logging.getLogger("tensorflow")
    logger.addFilter(_is_no_advice)
    # The whole traceback of a failed trial: it is in trial.json, its reason is shown.
    debug, kt_config.DEBUG = kt_config.DEBUG, False
    try:
        yield
    finally:
        kt_config.DEBUG = debug
        logger.removeFilter(_is_no_advice)


def _is_no_advice(record: logging.LogRecord) -> bool:
    # Each trial has a graph of its own, which TensorFlow advises against at length.
    return "triggered tf.function retracing" not in record.getMessage()


def _serve(oracle: Any, timeout: float) -> None:
    """Answers workers until all have been told to stop, or are gone."""
    # Not at the top: what keras-tuner generates for gRPC is for a chief alone.
    from keras_tuner.src import protos
    from keras_tuner.src.distribute import oracle_chief

    server = grpc.server(concurrent.futures.ThreadPoolExecutor(max_workers=1))
    servicer = oracle_chief.OracleServicer(oracle)
    protos.get_service_grpc().add_OracleServicer_to_server(servicer, server)
    server.add_insecure_port(_chief_address())
    server.start()
    while not (servicer.stop_triggered and oracle_chief.exit_chief(oracle)):
        time.sleep(0.5)
        oracle.give_up_lost(timeout)
    server.stop(grace=5).wait()


def _await_chief(timeout: float) -> None:
    channel = grpc.insecure_channel(_chief_address())
    try:
        grpc.channel_ready_future(channel).result(timeout=timeout)
    except grpc.FutureTimeoutError:
        raise RuntimeError(
            f"No chief has answered for {timeout:.0f} s at {_chief_address()}, where "
            "KERASTUNER_ORACLE_IP and KERASTUNER_ORACLE_PORT point. Start one; or has "
            "the sweep ended?"
        ) from None
    finally:
        channel.close()


def _chief_address() -> str:
    ip, port = os.environ["KERASTUNER_ORACLE_IP"], os.environ["KERASTUNER_ORACLE_PORT"]
    return f"{ip}:{port}"


def _beat(stop: threading.Event, oracle: Any, trial_id: str, every: float) -> None:
    """Tells the chief that the worker lives, by asking for its trial."""
    while not stop.wait(every):
        with contextlib.suppress(grpc.RpcError, ValueError):  # the chief may be away
            oracle.get_trial(trial_id)
