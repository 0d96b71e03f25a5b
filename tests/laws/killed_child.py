"""A process that trains on command, and kills itself at a given event.

Each line of stdin is a command, a JSON object. It holds the `folder` to train in, the
folder of `shards` to train on (None: pairs in memory), and optionally the `event`, its
`count` and the `signal` to send to itself. The process prints a line when it is ready,
one at the first step of a training run, and one at the end of the run, with all events.
"""

import json
import os
import pathlib
import signal
import sys
import warnings
from collections.abc import Callable
from typing import Any

from kseq import TrainingSettings
from kseq.data import CopyTask, Examples, ShardedExamples
from kseq.training import RunInterruptedError, train
from kseq.training.loop import TrainingLoop
from kseq.training.validation import Validation

TASK = CopyTask(symbols=7, min_length=1, max_length=4)
# The learning rate is so high that the accuracy goes up and down. So the learning rate
# is lowered, and training ends without improvement.
MODEL = {
    "units": 8,
    "embedding_dim": 8,
    "cell": "gru",
    "attention": "dot",
    "embedding_dropout": 0.2,
    "recurrent_dropout": 0.1,
}
SETTINGS = TrainingSettings(
    batch_size=8,
    buckets=2,
    learning_rate=0.05,
    schedule="plateau",
    plateau_factor=0.5,
    plateau_patience=1,
    warmup_steps=4,
    accumulation_steps=2,
    teacher_forcing_ratio=0.7,
    metrics=("token_accuracy", "exact_match"),
    checkpoint_updates=3,
    keep_checkpoints=2,
    max_checkpoints_not_improved=3,
    min_updates=15,
    max_updates=60,
    seed=3,
)
# Names of files in events, by their suffixes.
FILES = {".npz": "state", ".csv": "metrics", ".yaml": "settings", ".json": "text"}

warnings.simplefilter("ignore")  # Keras's own
seen: list[str] = []
awaited: dict[str, Any] = {}


def event(kind: str, before_death: Callable[[], object] = lambda: None) -> None:
    seen.append(kind)
    if kind == "step" and seen.count("step") == 1:
        print("training", flush=True)
    if kind == awaited.get("event") and seen.count(kind) == awaited["count"]:
        before_death()
        os.kill(os.getpid(), getattr(signal, awaited["signal"]))


def file_kind(path: pathlib.Path) -> str:
    if path.suffix == ".keras":
        return "checkpoint" if path.parent.name == "checkpoints" else "model"
    return FILES.get(path.suffix, path.suffix)


def observe(owner: Any, name: str, kind: str, after: bool = False) -> None:
    original = getattr(owner, name)

    def observed(*arguments: Any, **keywords: Any) -> Any:
        if not after:
            event(kind)
        result = original(*arguments, **keywords)
        if after:
            event(kind)
        return result

    setattr(owner, name, observed)


def observe_files() -> None:
    replace, unlink = os.replace, pathlib.Path.unlink

    def observed_replace(source: Any, target: Any) -> None:
        kind = file_kind(pathlib.Path(target))
        half = os.path.getsize(source) // 2
        event(f"half-written {kind}", lambda: os.truncate(source, half))
        event(f"written {kind}")
        replace(source, target)
        event(f"put {kind}")

    def observed_unlink(path: pathlib.Path, missing_ok: bool = False) -> None:
        if path.suffix in (".npz", ".keras") and not path.name.startswith("."):
            event(f"remove {file_kind(path)}")
        unlink(path, missing_ok)

    os.replace, pathlib.Path.unlink = observed_replace, observed_unlink  # type: ignore


def run_command(command: dict[str, Any]) -> dict[str, Any]:
    awaited.clear()
    awaited.update(command)  # which may have no event
    seen.clear()
    pairs, held_out = TASK.split(60, 12, seed=0)
    examples: Examples | ShardedExamples = pairs
    if command["shards"]:
        examples = ShardedExamples.open(command["shards"], TASK.vocab, TASK.vocab)
    texts = held_out.source_texts(), held_out.target_texts()
    folder = command["folder"]
    try:
        result = train(
            folder, examples, texts, MODEL, SETTINGS, resume=True, verbose=False
        )
    except RunInterruptedError as error:
        return {"signal": error.signal}
    return {"reason": result.reason, "best": result.best, "events": list(seen)}


if __name__ == "__main__":
    observe(TrainingLoop, "on_train_batch_end", "step")
    observe(Validation, "measure", "validation", after=True)
    observe_files()
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(run_command(json.loads(line))), flush=True)
