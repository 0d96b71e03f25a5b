"""Sweeps that continue after a process was killed: their own, or that of a worker."""

import contextlib
import os
import pathlib
import threading
import time
from typing import Any

import grpc  # type: ignore[import-untyped]
import keras_tuner

from kseq._compat import keras_tuner as compat
from kseq.tuning.objectives import LOSS, Score, TrialDivergedError
from kseq.tuning.reports import last_error_line
from kseq.tuning.sweep_files import LOST, RUN, read_json, write_json

# Number of lost workers after which a trial fails and is not run again.
MAX_LOSSES = 3
# Seconds that a worker waits for its chief to answer.
CHIEF_TIMEOUT = 300.0


def fault_tolerant(kind: Any) -> Any:
    """Returns a subclass of a tuner class whose sweeps continue after a kill."""
    return type(f"FaultTolerant{kind.__name__}", (_FaultTolerantTuner, kind), {})


class _FaultTolerantTuner:
    """Resumes a sweep from its folder; a worker reports to its chief regularly."""

    worker_timeout = 60.0
    _verbose: Any = 1
    _is_waiting = False
    _trial_ended: threading.Event | None = None

    def _get_tuner_fname(self: Any) -> str:
        # One name for all processes: a chief resumes the sweep of a single process.
        return os.path.join(str(self.project_dir), "tuner.json")

    def _populate_initial_space(self: Any) -> None:
        _make_fault_tolerant(self.oracle)
        super()._populate_initial_space()  # type: ignore[misc]

    def reload(self: Any) -> None:
        _make_fault_tolerant(self.oracle)
        if not compat.is_worker():
            super().reload()  # type: ignore[misc]

    def save(self: Any) -> None:
        if not compat.is_worker():
            self.oracle.save()
            write_json(pathlib.Path(self._get_tuner_fname()), self.get_state())

    def search(self: Any, *args: Any, **kwargs: Any) -> None:
        self._verbose = kwargs.get("verbose", 1)
        with compat.quiet():
            if compat.is_chief():
                self.oracle.verbose = self._verbose
                self.save()
                compat.serve_oracle(
                    self.oracle, lambda: self.oracle.end_lost(self.worker_timeout)
                )
                return
            if compat.is_worker():
                _wait_for_chief(CHIEF_TIMEOUT)
            else:
                self.save()
            super().search(*args, **kwargs)  # type: ignore[misc]

    def pre_create_trial(self: Any) -> None:
        super().pre_create_trial()  # type: ignore[misc]
        if self._is_waiting:  # keras-tuner asks for the next trial without a pause
            time.sleep(1)
        self._is_waiting = True

    def on_trial_begin(self: Any, trial: Any) -> None:
        self._is_waiting = False
        if compat.is_worker():
            self._trial_ended = threading.Event()
            interval = self.worker_timeout / 6
            arguments = (self._trial_ended, self.oracle, trial.trial_id, interval)
            threading.Thread(
                target=_send_heartbeats, args=arguments, daemon=True
            ).start()
        super().on_trial_begin(trial)  # type: ignore[misc]

    def on_trial_end(self: Any, trial: Any) -> None:
        if self._trial_ended is not None:
            self._trial_ended.set()
        if trial.message:
            # The chief reads it from the file: keras-tuner does not send messages.
            folder = pathlib.Path(self.get_trial_dir(trial.trial_id))
            write_json(
                folder / RUN, {**read_json(folder / RUN), "message": trial.message}
            )
            if self._verbose:
                print(
                    f"Trial {trial.trial_id} failed: {last_error_line(trial.message)}"
                )
        super().on_trial_end(trial)  # type: ignore[misc]


class _FaultTolerantOracle:
    """Writes whole files, and restores a complete state after a kill."""

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
        """Reloads the trials, and queues the interrupted ones.

        keras-tuner itself runs a trial again if it ended just before the kill, never
        runs a trial that began just before the kill, and forgets its position in a
        grid.
        """
        super().reload()  # type: ignore[misc]
        missing = [i for i in self.start_order if i not in self.trials]
        if missing:
            raise RuntimeError(
                f"'{self._project_dir}' must hold the folder of each trial. It lacks "
                f"trial_{missing[0]}; pass overwrite=True to start again."
            )
        # The oracle creates a trial that is not in its file again, with equal values.
        self.trials = {i: self.trials[i] for i in dict.fromkeys(self.start_order)}
        for trial in self.trials.values():
            if trial.status == "COMPLETED":
                self.score_trial(trial)
        self.ongoing_trials = {}
        self._retry_queue = []
        for trial_id, trial in reversed(self.trials.items()):
            if trial.status in compat.FINISHED:
                continue
            if trial.status == "RUNNING":
                self._record_loss(trial, "interrupted")
            self._reset(trial)
            self._retry_queue.append(trial_id)
        self.end_order = [i for i in self.end_order if i in self.trials] + [
            trial_id
            for trial_id, trial in self.trials.items()
            if trial.status in compat.FINISHED and trial_id not in self.end_order
        ]
        compat.restore_grid_order(self)

    @keras_tuner.synchronized
    def create_trial(self: Any, tuner_id: str) -> Any:
        self._last_contact[tuner_id] = time.monotonic()
        if tuner_id in self.ongoing_trials:
            self._record_loss(self.ongoing_trials[tuner_id], f"lost with '{tuner_id}'")
        self._retry_queue = [
            i for i in self._retry_queue if self.trials[i].status not in compat.FINISHED
        ]
        trial = super().create_trial(tuner_id)  # type: ignore[misc]
        if trial.status == "STOPPED" and self.ongoing_trials:
            # This worker stays, to run the trial of a worker that is lost.
            self.tuner_ids.add(tuner_id)
            trial.status = "IDLE"
        return trial

    def populate_space(self: Any, trial_id: str) -> Any:
        if self.consecutive_failures() >= self.max_consecutive_failed_trials:
            return {"status": "STOPPED", "values": None}
        with compat.failed_trials_as_worst(self):
            return super().populate_space(trial_id)  # type: ignore[misc]

    def score_trial(self: Any, trial: Any) -> None:
        super().score_trial(trial)  # type: ignore[misc]
        has_loss = trial.metrics.exists(LOSS)
        loss = trial.metrics.get_last_value(LOSS) if has_loss else None
        trial.score = Score(trial.score, loss, self.objective.direction)

    def _check_consecutive_failures(self) -> None:
        """Does nothing: keras-tuner's error loses the last trial.

        `populate_space` ends the sweep instead.
        """

    def get_trial(self: Any, trial_id: str) -> Any:
        self._last_contact[f"trial {trial_id}"] = time.monotonic()
        return super().get_trial(trial_id)  # type: ignore[misc]

    @keras_tuner.synchronized
    def end_trial(self: Any, trial: Any) -> None:
        if trial.trial_id in self.end_order:  # a result that comes after the timeout
            self._remove_ongoing(trial.trial_id)
            return
        known = self.trials[trial.trial_id]
        if len(known.hyperparameters.space) == len(trial.hyperparameters.space):
            # gRPC has changed their order.
            trial.hyperparameters = known.hyperparameters
        if trial.status != "COMPLETED" and not trial.message:
            folder = pathlib.Path(self._get_trial_dir(trial.trial_id))
            trial.message = read_json(folder / RUN).get("message")
        super().end_trial(trial)  # type: ignore[misc]

    @keras_tuner.synchronized
    def end_lost(self: Any, timeout: float) -> None:
        """Queues the trials of workers that have not reported in time.

        Args:
            timeout: Maximum time in seconds between two reports of a worker.
        """
        now = time.monotonic()
        for tuner_id, trial in list(self.ongoing_trials.items()):
            keys = (f"trial {trial.trial_id}", tuner_id)
            contacts = [self._last_contact.get(key) for key in keys]
            if now - max(at for at in contacts if at is not None) <= timeout:
                continue
            self._remove_ongoing(trial.trial_id)
            losses = self._record_loss(trial, f"lost with '{tuner_id}'")
            retry = losses < MAX_LOSSES
            if retry:
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
                outcome = "will be run again" if retry else "failed"
                print(f"Trial {trial.trial_id}, lost with '{tuner_id}', {outcome}.")
        idle = self.tuner_ids - set(self.ongoing_trials)
        self.tuner_ids -= {
            i for i in idle if now - self._last_contact.get(i, now) > timeout
        }

    def consecutive_failures(self) -> int:
        """Returns the number of trials that failed since the last success.

        A diverged trial counts as a success: it is a result, not a sign of a mistake.
        """
        failed = [
            self.trials[i].status == "FAILED"
            and TrialDivergedError.__name__ not in (self.trials[i].message or "")
            for i in reversed(self.end_order)
        ]
        return failed.index(False) if False in failed else len(failed)

    def last_failure(self) -> str | None:
        """Returns the id of the trial that failed last; None without a failure."""
        failed = [i for i in self.end_order if self.trials[i].status == "FAILED"]
        return failed[-1] if failed else None

    def _remove_ongoing(self: Any, trial_id: str) -> None:
        for tuner_id, trial in list(self.ongoing_trials.items()):
            if trial.trial_id == trial_id:
                del self.ongoing_trials[tuner_id]
                self.tuner_ids.discard(tuner_id)

    def _reset(self, trial: Any) -> None:
        """Resets a trial, so that it is run again."""
        trial.status = "INVALID"
        # Without this, keras-tuner uses the metrics of the interrupted run.
        trial.metrics = type(trial.metrics)()

    def _record_loss(self: Any, trial: Any, reason: str) -> int:
        """Records why a trial was interrupted; returns how many workers it lost."""
        path = pathlib.Path(self._get_trial_dir(trial.trial_id)) / LOST
        losses = [*read_json(path).get("losses", []), reason]
        write_json(path, {"losses": losses})
        return sum(loss.startswith("lost") for loss in losses)


def _make_fault_tolerant(oracle: Any) -> None:
    if not isinstance(oracle, _FaultTolerantOracle):
        compat.add_base_class(oracle, _FaultTolerantOracle)
        # Times of the last messages of workers, and of those about trials.
        oracle._last_contact = {}


def _wait_for_chief(timeout: float) -> None:
    channel = grpc.insecure_channel(compat.chief_address())
    try:
        grpc.channel_ready_future(channel).result(timeout=timeout)
    except grpc.FutureTimeoutError:
        raise RuntimeError(
            f"No chief has answered for {timeout:.0f} s at {compat.chief_address()}, "
            "the address in KERASTUNER_ORACLE_IP and KERASTUNER_ORACLE_PORT. Start the "
            "chief, or check whether the sweep has ended."
        ) from None
    finally:
        channel.close()


def _send_heartbeats(
    stop: threading.Event, oracle: Any, trial_id: str, interval: float
) -> None:
    """Reports to the chief regularly, by asking for the trial."""
    while not stop.wait(interval):
        # The chief may be away for a while.
        with contextlib.suppress(grpc.RpcError, ValueError):
            oracle.get_trial(trial_id)
