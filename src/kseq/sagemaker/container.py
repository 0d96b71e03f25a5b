"""The container contract of Amazon SageMaker: training jobs and endpoints.

A container reads these files below its root, /opt/ml:

- `input/config/hyperparameters.json`, `inputdataconfig.json`, `resourceconfig.json`
- `input/data/CHANNEL`: a folder for each of the channels train, validation and vocab
- `model`: for an endpoint, the files of a training job, or model.tar.gz

A training job writes these:

- `model`: the best model, which SageMaker packs as model.tar.gz
- `checkpoints`: the run, from which an interrupted job resumes
- `output/data/metrics.csv`: the metrics of the checkpoints
- `output/failure`: the reason of a failure
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
# Maximum number of characters of a failure that SageMaker shows.
_MAX_FAILURE_LENGTH = 1024
_SERVING_FILE = "serving.json"
_ARCHIVE = "model.tar.gz"
# Names of the vocabularies in the channel vocab and in the model folder.
_VOCAB_FILES = "vocab.src.json", "vocab.trg.json"


def run_training(root: str | os.PathLike[str] = ROOT) -> None:
    """Runs a training job, or resumes an interrupted one.

    After SIGTERM or SIGINT the job saves its state and the best model so far, and ends
    without an error.

    Args:
        root: The root folder. Default: `"/opt/ml"`.

    Raises:
        Exception: Any error of the job. The reason is also written to
            `output/failure`.
    """
    path = pathlib.Path(root)
    try:
        _train(path)
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        with whole_file(path / "output" / "failure") as temporary:
            temporary.write_text(reason[:_MAX_FAILURE_LENGTH], "utf-8")
        raise


def find_model(
    root: str | os.PathLike[str], work: str | os.PathLike[str]
) -> tuple[pathlib.Path, int]:
    """Finds the model of an endpoint.

    Args:
        root: The root folder. Its `model` has the files of a training job, or
            model.tar.gz.
        work: An empty folder, for the contents of model.tar.gz.

    Returns:
        The model folder, and the beam width.

    Raises:
        FileNotFoundError: If there is no model.
        ValueError: If the archive is not valid.
    """
    folder = pathlib.Path(root) / "model"
    archive = folder / _ARCHIVE
    if not (folder / _SERVING_FILE).exists() and archive.exists():
        unpack(archive, work)
        folder = pathlib.Path(work)
    if not (folder / _SERVING_FILE).exists():
        raise FileNotFoundError(
            f"'{folder}' has no model of a training job: {_SERVING_FILE} is missing."
        )
    settings = json.loads((folder / _SERVING_FILE).read_text("utf-8"))
    return folder, int(settings["beam_size"])


def _train(root: pathlib.Path) -> None:
    config = root / "input" / "config"
    job = read_hyperparameters(_read_json(config / "hyperparameters.json"))
    _check_resources(_read_json(config / "resourceconfig.json", {}))
    channels = _list_channels(root, _read_json(config / "inputdataconfig.json", {}))
    set_up(job.settings)
    limits = {
        "max_source_length": job.max_source_length,
        "max_target_length": job.max_target_length,
    }
    run = root / "checkpoints" / "kseq"
    record = {**job.model, **limits, **job.settings.to_dict()}
    try:
        with open_run(run, record, resume=True) as (folder, resumed):
            examples, validation = _read_channels(channels, limits)
            result = train_in(
                folder,
                examples,
                validation,
                job.model,
                job.settings,
                resumed,
                record=record,
                on_checkpoint=_metric_printer(job),
            )
    except RunInterruptedError as error:
        print(error, flush=True)
        _write_model(root, ModelFolder(run), job, channels["vocab"])
        return
    _write_model(root, ModelFolder(run), job, channels["vocab"])
    with whole_file(root / "output" / "data" / "metrics.csv") as temporary:
        result.metrics.to_csv(temporary, index=False)


def _read_channels(
    channels: Mapping[str, Sequence[pathlib.Path]], limits: Mapping[str, int]
) -> tuple[Examples, tuple[list[str], list[str]]]:
    """Reads the training examples, and the validation sources and targets."""
    vocabs = [
        Vocabulary.load(_find_file(channels["vocab"], name)) for name in _VOCAB_FILES
    ]
    corpora = {
        part: _open_corpus(channels[part], vocabs) for part in ("train", "validation")
    }
    examples, counts = encode_pairs(
        corpora["train"], vocabs[0], vocabs[1], **limits, overlong="truncate"
    )
    texts = corpora["validation"].lists()
    for part, size in (("train", len(examples)), ("validation", len(texts[0]))):
        log.info("%s: %s", part, corpora[part].report())
        if not size:
            raise ValueError(
                f"The channel {part} has no pair with two sides that are not empty."
            )
    log.info("%d pairs are truncated to the maximum lengths", counts.truncated)
    sides = [
        [
            vocab.tokenizer.detokenize(vocab.tokenizer.tokenize(text)[:limit])
            for text in side
        ]
        for side, vocab, limit in zip(texts, vocabs, limits.values(), strict=True)
    ]
    return examples, (sides[0], sides[1])


def _metric_printer(job: Job) -> Callable[[Mapping[str, Any]], None]:
    """Returns a function that prints the metrics of a checkpoint.

    SageMaker reads them from the log, by the regular expressions of the job.
    """

    def print_metrics(row: Mapping[str, Any]) -> None:
        name = job.training_metric
        values = {f"train:{name}": row[f"train_{METRIC_NAMES[name]}"]}
        for name, metric in METRIC_NAMES.items():
            if metric in job.settings.metrics:
                values[f"validation:{name}"] = row[f"valid_{metric}"]
        for name, value in values.items():
            print(f"{name}={value:.6g}", flush=True)

    return print_metrics


def _write_model(
    root: pathlib.Path, run: ModelFolder, job: Job, vocabs: Sequence[pathlib.Path]
) -> None:
    """Writes the best model so far, and the files to serve it."""
    if not run.model.exists():
        log.info("the run has no checkpoint yet, so no model is written")
        return
    folder = root / "model"
    folder.mkdir(parents=True, exist_ok=True)
    # A mounted folder cannot be replaced, so each file is replaced by itself.
    with tempfile.TemporaryDirectory() as work:
        Translator.load(run.path).save(pathlib.Path(work) / "model")
        files = sorted((pathlib.Path(work) / "model").iterdir())
        for path in [*files, *(_find_file(vocabs, name) for name in _VOCAB_FILES)]:
            with whole_file(folder / path.name) as temporary:
                shutil.copyfile(path, temporary)
    with whole_file(folder / _SERVING_FILE) as temporary:
        temporary.write_text(json.dumps({"beam_size": job.beam_width}), "utf-8")


def _read_json(path: pathlib.Path, default: Any = None) -> Any:
    """Reads a JSON object."""
    if not path.exists() and default is not None:
        return default
    try:
        content = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(f"'{path}' is missing.") from None
    except ValueError as error:
        raise ValueError(f"'{path}' is not JSON in UTF-8: {error}.") from error
    if not isinstance(content, dict):
        raise ValueError(f"'{path}' must hold a JSON object.")
    return content


def _check_resources(resources: Mapping[str, Any]) -> None:
    hosts = resources.get("hosts", [])
    if len(hosts) > 1:
        raise ValueError(
            f"InstanceCount must be 1: a job runs on one machine. Received: "
            f"{len(hosts)}."
        )


def _list_channels(
    root: pathlib.Path, config: Mapping[str, Any]
) -> dict[str, list[pathlib.Path]]:
    """Lists the files of each channel."""
    channels = {}
    for name in ("train", "validation", "vocab"):
        mode = config.get(name, {}).get("TrainingInputMode", "File")
        if mode == "Pipe":
            raise ValueError(
                f"The channel {name} must have the input mode File. Received: Pipe."
            )
        folder = root / "input" / "data" / name
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        if not files:
            raise FileNotFoundError(
                f"The channel {name} must have files. '{folder}' has none."
            )
        channels[name] = files
    return channels


def _find_file(files: Sequence[pathlib.Path], name: str) -> pathlib.Path:
    matches = [path for path in files if path.name == name]
    if len(matches) != 1:
        raise FileNotFoundError(
            f"The channel vocab must have one file {name}. Received: "
            f"{', '.join(path.name for path in files)}."
        )
    return matches[0]


def _open_corpus(files: Sequence[pathlib.Path], vocabs: Sequence[Vocabulary]) -> Corpus:
    """Opens the pairs in all RecordIO files of a channel."""
    records = [path for path in files if path.suffix == ".rec"]
    if not records:
        raise FileNotFoundError(
            "The channels train and validation must have files *.rec. Received: "
            f"{', '.join(path.name for path in files)}."
        )
    return read_recordio(records, *vocabs)
