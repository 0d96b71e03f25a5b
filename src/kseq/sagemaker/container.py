"""The container contract of Amazon SageMaker: training jobs and endpoints.

What a container finds below its root, /opt/ml: `input/config/hyperparameters.json`,
`inputdataconfig.json` and `resourceconfig.json`; a folder `input/data/CHANNEL` for each
of the channels train, validation and vocab. What it leaves there: the model in `model`,
of which SageMaker makes model.tar.gz; `checkpoints`, from which a job that was
interrupted goes on; `output/data`; and the reason of a failure in `output/failure`.
"""

from __future__ import annotations

import json
import logging
import os
import pathlib
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kseq.data import Corpus, Examples, Vocabulary, encode_pairs
from kseq.sagemaker.archives import unpack
from kseq.sagemaker.hyperparameters import METRIC_NAMES, Job, read_hyperparameters
from kseq.sagemaker.recordio import read_recordio
from kseq.storage.atomic_files import whole_file
from kseq.storage.model_folder import ModelFolder
from kseq.training import RunInterruptedError
from kseq.training.run import open_run, set_up, train_in
from kseq.translator import Translator

log = logging.getLogger("kseq")

ROOT = "/opt/ml"
# What SageMaker shows of the reason of a failure.
_SHOWN = 1024
_SERVING = "serving.json"
_ARCHIVE = "model.tar.gz"
# SageMaker's names, in the channel vocab and in the model artifacts.
_VOCABS = "vocab.src.json", "vocab.trg.json"


def run_training(root: str | os.PathLike[str] = ROOT) -> None:
    """Runs a training job, or goes on with one that was interrupted.

    SIGTERM and SIGINT end it with its state saved and the best model so far in its
    place, as if it had come to its end.

    Args:
        root: The folder that stands for /opt/ml.

    Raises:
        Exception: Whatever has failed; its reason is in `output/failure` then.
    """
    place = pathlib.Path(root)
    try:
        _train(place)
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        folder = place / "output"
        with whole_file(folder / "failure") as temporary:
            temporary.write_text(reason[:_SHOWN], "utf-8")
        raise


def find_model(root: str | os.PathLike[str], work: str | os.PathLike[str]) -> Any:
    """Returns where the model of an endpoint is, and how it is to be served.

    Args:
        root: The folder that stands for /opt/ml. Its `model` holds what a training job
            has left, or model.tar.gz.
        work: An empty folder to unpack that in.

    Returns:
        The model folder, and the beam width.

    Raises:
        FileNotFoundError: If there is no model.
        ValueError: If the archive is not as it should be.
    """
    folder = pathlib.Path(root) / "model"
    archive = folder / _ARCHIVE
    if not (folder / _SERVING).exists() and archive.exists():
        unpack(archive, work)
        folder = pathlib.Path(work)
    if not (folder / _SERVING).exists():
        raise FileNotFoundError(
            f"'{folder}' holds no model of a training job: {_SERVING} is missing."
        )
    settings = json.loads((folder / _SERVING).read_text("utf-8"))
    return folder, int(settings["beam_size"])


def _train(root: pathlib.Path) -> None:
    config = root / "input" / "config"
    job = read_hyperparameters(_json(config / "hyperparameters.json"))
    _check_resources(_json(config / "resourceconfig.json", {}))
    channels = _channels(root, _json(config / "inputdataconfig.json", {}))
    set_up(job.settings)
    limits = {
        "max_source_length": job.max_source_length,
        "max_target_length": job.max_target_length,
    }
    run = root / "checkpoints" / "kseq"
    record = {**job.model, **limits, **job.settings.to_dict()}
    try:
        with open_run(run, record, resume=True) as (place, resumed):
            examples, validation = _read(channels, limits)
            result = train_in(
                place,
                examples,
                validation,
                job.model,
                job.settings,
                resumed,
                record=record,
                on_checkpoint=_tell(job),
            )
    except RunInterruptedError as error:
        print(error, flush=True)
        _leave_model(root, ModelFolder(run), job, channels["vocab"])
        return
    _leave_model(root, ModelFolder(run), job, channels["vocab"])
    with whole_file(root / "output" / "data" / "metrics.csv") as temporary:
        result.metrics.to_csv(temporary, index=False)


def _read(
    channels: Mapping[str, Sequence[pathlib.Path]], limits: Mapping[str, int]
) -> tuple[Examples, tuple[list[str], list[str]]]:
    """Reads the channels: what to train on, and texts to validate on."""
    vocabs = [Vocabulary.load(_only(channels["vocab"], name)) for name in _VOCABS]
    corpora = {
        part: _corpus(channels[part], vocabs) for part in ("train", "validation")
    }
    examples, counts = encode_pairs(
        corpora["train"], vocabs[0], vocabs[1], **limits, overlong="truncate"
    )
    texts = corpora["validation"].lists()
    for part, size in (("train", len(examples)), ("validation", len(texts[0]))):
        log.info("%s: %s", part, corpora[part].report())
        if not size:
            raise ValueError(f"The channel {part} has no pair of two filled sides.")
    log.info("%d pairs are cut to their greatest lengths", counts.truncated)
    sides = [
        [vocab.tokenizer.join(vocab.tokenizer.cut(text)[:limit]) for text in side]
        for side, vocab, limit in zip(texts, vocabs, limits.values(), strict=True)
    ]
    return examples, (sides[0], sides[1])


def _tell(job: Job) -> Callable[[Mapping[str, Any]], None]:
    """Returns what tells the figures of a checkpoint, as metrics are told from logs."""

    def tell(row: Mapping[str, Any]) -> None:
        name = job.training_metric
        told = {f"train:{name}": row[f"train_{METRIC_NAMES[name]}"]}
        for name, metric in METRIC_NAMES.items():
            if metric in job.settings.metrics:
                told[f"validation:{name}"] = row[f"valid_{metric}"]
        for name, value in told.items():
            print(f"{name}={value:.6g}", flush=True)

    return tell


def _leave_model(
    root: pathlib.Path, run: ModelFolder, job: Job, vocabs: Sequence[pathlib.Path]
) -> None:
    """Puts the best model so far, and what it takes to serve it, in its place."""
    if not run.model.exists():
        log.info("there is no checkpoint yet, so there is no model")
        return
    folder = root / "model"
    folder.mkdir(parents=True, exist_ok=True)
    # The folder itself may be a mounted one, which nothing can take the place of.
    with tempfile.TemporaryDirectory() as work:
        Translator.load(run.path).save(pathlib.Path(work) / "model")
        files = sorted((pathlib.Path(work) / "model").iterdir())
        for path in [*files, *(_only(vocabs, name) for name in _VOCABS)]:
            with whole_file(folder / path.name) as temporary:
                shutil.copyfile(path, temporary)
    with whole_file(folder / _SERVING) as temporary:
        temporary.write_text(json.dumps({"beam_size": job.beam_width}), "utf-8")


def _json(path: pathlib.Path, default: Any = None) -> Any:
    """Reads a JSON object."""
    if not path.exists() and default is not None:
        return default
    try:
        found = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(f"'{path}' is missing.") from None
    except ValueError as error:
        raise ValueError(f"'{path}' is not JSON in UTF-8: {error}.") from error
    if not isinstance(found, dict):
        raise ValueError(f"'{path}' must hold a JSON object.")
    return found


def _check_resources(resources: Mapping[str, Any]) -> None:
    hosts = resources.get("hosts", [])
    if len(hosts) > 1:
        raise ValueError(
            f"A job runs on one machine. Received: {len(hosts)} hosts; ask for an "
            "InstanceCount of 1."
        )


def _channels(
    root: pathlib.Path, config: Mapping[str, Any]
) -> dict[str, list[pathlib.Path]]:
    """Returns the files of each channel."""
    found = {}
    for name in ("train", "validation", "vocab"):
        mode = config.get(name, {}).get("TrainingInputMode", "File")
        if mode == "Pipe":
            raise ValueError(
                f"The channel {name} must be of input mode File, not Pipe."
            )
        folder = root / "input" / "data" / name
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        if not files:
            raise FileNotFoundError(
                f"The channel {name} must hold files. '{folder}' has none."
            )
        found[name] = files
    return found


def _only(files: Sequence[pathlib.Path], name: str) -> pathlib.Path:
    found = [path for path in files if path.name == name]
    if len(found) != 1:
        raise FileNotFoundError(
            f"The channel vocab must hold {name} once. Received: "
            f"{', '.join(path.name for path in files)}."
        )
    return found[0]


def _corpus(files: Sequence[pathlib.Path], vocabs: Sequence[Vocabulary]) -> Corpus:
    """Returns the pairs of all the record files of a channel."""
    records = [path for path in files if path.suffix == ".rec"]
    if not records:
        raise FileNotFoundError(
            "A channel of records must hold files *.rec. Received: "
            f"{', '.join(path.name for path in files)}."
        )
    return read_recordio(records, *vocabs)
