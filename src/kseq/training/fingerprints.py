"""Fingerprints of the data of a run, so that it is resumed on the same data only."""

import hashlib
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from kseq.data import Examples
from kseq.data.shards import ShardedExamples
from kseq.storage.model_folder import MODEL, ModelFolder
from kseq.storage.run_record import changed_start_files, data_files

# Names of the parts of the data in error messages.
_PARTS = {
    "source": "training sources",
    "target": "training targets",
    "prepared": "prepared training data",
    "validation_source": "validation sources",
    "validation_target": "validation targets",
}


def fingerprint_data(
    examples: Examples | ShardedExamples,
    validation: tuple[Sequence[str], Sequence[str]],
) -> dict[str, str]:
    """Returns a hash of each part of the training data and the validation texts."""
    fingerprints = {}
    if isinstance(examples, ShardedExamples):
        fingerprints["prepared"] = examples.fingerprint
    else:
        for side, ids in (("source", examples.source), ("target", examples.target)):
            digest = hashlib.sha256(str(ids.shape).encode())
            digest.update(ids.tobytes())
            fingerprints[side] = digest.hexdigest()
    for side, texts in zip(("source", "target"), validation, strict=True):
        data = [text.encode("utf-8", "surrogatepass") for text in texts]
        # With the lengths: joined, ["ab", "c"] and ["a", "bc"] are the same bytes.
        digest = hashlib.sha256(str([len(each) for each in data]).encode())
        digest.update(b"".join(data))
        fingerprints[f"validation_{side}"] = digest.hexdigest()
    return fingerprints


def fingerprint_files(files: Mapping[str, str]) -> dict[str, str]:
    """Returns a hash of each file; for a model folder, of its model."""
    fingerprints = {}
    for name, path in files.items():
        file_path = pathlib.Path(path)
        if file_path.is_dir():
            file_path = file_path / MODEL
        with open(file_path, "rb") as file:
            fingerprints[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return fingerprints


def check_fingerprints(
    folder: ModelFolder,
    record: Mapping[str, Any],
    data: Mapping[str, str],
    saved: Mapping[str, str],
) -> None:
    """Raises ValueError unless a run has the data and files that it began with.

    Args:
        folder: The model folder of the run.
        record: Every setting of the resumed run, by name.
        data: Fingerprints of its data.
        saved: Fingerprints that the run began with.
    """
    files = fingerprint_files(changed_start_files(folder, record))
    for name, fingerprint in {**data, **files}.items():
        if fingerprint != saved.get(name):
            paths = data_files(record, name)
            location = f" in {', '.join(map(repr, paths))}" if paths else ""
            part = _PARTS.get(name, f"contents of `{name}`")
            raise ValueError(
                f"The {part}{location} differ from the data that the run in "
                f"'{folder.path}' began with. A run can only be resumed with the same "
                "data, but the paths of its files may differ."
            )
