"""The files that kseq adds to the folder of a sweep."""

import json
import pathlib
from typing import Any

from kseq.storage.atomic_files import whole_file

SWEEP = "sweep.json"  # arguments of the sweep
RUN = "run.json"  # of a trial: its objective, parameters and training time
LOST = "lost.json"  # of a trial: why it was interrupted
BEST = "best"  # model folder of the best trial


def write_json(path: pathlib.Path, value: Any) -> None:
    """Writes a JSON file; a kill never leaves a partial one."""
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(value))


def read_json(path: pathlib.Path) -> dict[str, Any]:
    """Reads a JSON file; a missing one is empty."""
    return json.loads(path.read_text()) if path.exists() else {}
