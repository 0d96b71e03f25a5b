"""The files of a sweep's folder that are kseq's own."""

import json
import pathlib
from typing import Any

from kseq.storage.atomic_files import whole_file

SWEEP = "sweep.json"  # what the sweep is made of
RUN = "run.json"  # of a trial: what it took
LOST = "lost.json"  # of a trial: how it was cut off
BEST = "best"  # the best model, a folder of Translator


def write_json(path: pathlib.Path, value: Any) -> None:
    """Writes a JSON file, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(value))


def read_json(path: pathlib.Path) -> dict[str, Any]:
    """Reads a JSON file; one that is not there is empty."""
    return json.loads(path.read_text()) if path.exists() else {}
