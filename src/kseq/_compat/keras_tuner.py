"""Private or broken parts of keras-tuner 1.4.8.

tests/_compat/test_keras_tuner.py has a test for each entry. It fails when a new version
of keras-tuner makes the entry unnecessary.
"""

import builtins
import concurrent.futures
import contextlib
import functools
import itertools
import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import grpc  # type: ignore[import-untyped]
import keras_tuner
from keras_tuner.src import config
from keras_tuner.src.distribute import utils as distribute
from keras_tuner.src.engine import conditions, metrics_tracking

# Private: the public API has no test for these kinds of objects.
# Test: test_objectives_and_callbacks_are_private.
from keras_tuner.src.engine.conditions import Parent as Parent
from keras_tuner.src.engine.objective import DefaultObjective as DefaultObjective
from keras_tuner.src.engine.objective import MultiObjective as MultiObjective
from keras_tuner.src.engine.tuner_utils import SaveBestEpoch as SaveBestEpoch

FINISHED = ("COMPLETED", "FAILED")


def add_metric_directions(directions: Mapping[str, str]) -> None:
    """Registers whether metrics are minimized or maximized.

    Why: keras-tuner infers the direction of an objective that is passed by name, but
    only for Keras's own metrics. The change lasts, since any tuner may need it.
    Test: test_directions_of_other_metrics_are_unknown.

    Args:
        directions: Dict from the names of metrics to `"min"` or `"max"`.
    """
    infer = metrics_tracking.infer_metric_direction

    @functools.wraps(infer)
    def infer_metric_direction(metric: Any) -> Any:
        name = metric.removeprefix("val_") if isinstance(metric, str) else ""
        return directions.get(name) or infer(metric)

    metrics_tracking.infer_metric_direction = infer_metric_direction


@contextlib.contextmanager
def conditional_scope(hp: Any, parents: list[Parent]) -> Iterator[None]:
    """Declares hyperparameters that are active while several conditions hold.

    Why: `hp.conditional_scope` raises for a second parent that is not a child of the
    first one.
    Test: test_a_conditional_scope_has_one_parent.

    Args:
        hp: `keras_tuner.HyperParameters`.
        parents: The conditions.
    """
    hp._conditions.extend(parents)
    try:
        yield
    finally:
        del hp._conditions[len(hp._conditions) - len(parents) :]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Suppresses output that would hide the output of a sweep.

    Why: keras-tuner prints the traceback of a failed trial, which is in its folder too,
    and the value of a condition at each conversion for gRPC. TensorFlow warns that each
    trial has its own graph.
    Test: test_debugging_output_is_printed.
    """
    logger = logging.getLogger("tensorflow")
    logger.addFilter(_is_not_about_retracing)
    debug, config.DEBUG = config.DEBUG, False
    conditions.print = lambda *values: None
    try:
        yield
    finally:
        conditions.print = builtins.print
        config.DEBUG = debug
        logger.removeFilter(_is_not_about_retracing)


def _is_not_about_retracing(record: logging.LogRecord) -> bool:
    return "triggered tf.function retracing" not in record.getMessage()


def is_worker() -> bool:
    """Returns whether this process runs the trials of a chief.

    Why: private. Test: test_the_roles_of_processes_are_private.
    """
    return distribute.has_chief_oracle() and not distribute.is_chief_oracle()


def is_chief() -> bool:
    """Returns whether this process distributes trials.

    Why: private. Test: test_the_roles_of_processes_are_private.
    """
    return distribute.is_chief_oracle()


def serve_oracle(oracle: Any, check_workers: Callable[[], None]) -> None:
    """Answers workers until all of them have ended.

    Why: keras-tuner's own loop waits forever for a worker that was killed.
    Test: test_the_roles_of_processes_are_private.

    Args:
        oracle: `keras_tuner.Oracle`.
        check_workers: Called twice a second, to remove lost workers.
    """
    # Only a chief needs the code that keras-tuner generates for gRPC.
    from keras_tuner.src import protos
    from keras_tuner.src.distribute import oracle_chief

    server = grpc.server(concurrent.futures.ThreadPoolExecutor(max_workers=1))
    servicer = oracle_chief.OracleServicer(oracle)
    protos.get_service_grpc().add_OracleServicer_to_server(servicer, server)
    server.add_insecure_port(chief_address())
    server.start()
    while not (servicer.stop_triggered and oracle_chief.exit_chief(oracle)):
        time.sleep(0.5)
        check_workers()
    server.stop(grace=5).wait()


def chief_address() -> str:
    """Returns the address of the chief, from keras-tuner's environment variables."""
    ip, port = os.environ["KERASTUNER_ORACLE_IP"], os.environ["KERASTUNER_ORACLE_PORT"]
    return f"{ip}:{port}"


def add_base_class(instance: Any, base: type) -> None:
    """Puts a base class before the class of an object.

    Why: tuners create their oracles themselves, from fixed classes.
    Test: test_tuners_create_their_oracles.

    Args:
        instance: The object.
        base: Its methods override those of the object's class.
    """
    kind = type(instance)
    instance.__class__ = type(f"{base.__name__}{kind.__name__}", (base, kind), {})


def restore_grid_order(oracle: Any) -> None:
    """Restores the position of a grid search from its trials.

    Why: `GridSearchOracle` does not save it.
    Test: test_a_grid_search_does_not_save_its_position.

    Args:
        oracle: `keras_tuner.Oracle`; other oracles do not change.
    """
    if not isinstance(oracle, keras_tuner.oracles.GridSearchOracle):
        return
    values = {i: trial.hyperparameters.values for i, trial in oracle.trials.items()}

    def compare(one: str, other: str) -> int:
        return oracle._compare(values[one], values[other])

    ordered = sorted(oracle.trials, key=functools.cmp_to_key(compare))
    oracle._ordered_ids = type(oracle._ordered_ids)()
    for trial_id in ordered:
        oracle._ordered_ids.insert(trial_id)
    oracle._populate_next = ordered


@contextlib.contextmanager
def failed_trials_as_worst(oracle: Any) -> Iterator[None]:
    """Ranks the failed trials of a Hyperband round last, while the context is open.

    Why: keras-tuner promotes the best trials of a round when more trials are completed
    than the next round leaves out. If too many failed, that never happens.
    Test: test_hyperband_promotes_the_best_where_others_have_failed.

    Args:
        oracle: `keras_tuner.Oracle`; other oracles do not change.
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
