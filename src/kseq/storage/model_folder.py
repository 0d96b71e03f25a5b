"""Model folders: their files, and what may be done with them.

config.json                  vocabulary and length settings, for `Translator.load`
vocab.source.json, ...       the vocabularies, and the files of their tokenizers
tokenizer.source.model       if they have any
model.keras                  the model; in a training run the best checkpoint
settings.yaml                every setting of a training run, and its data files
checkpoints/00001.keras      the checkpoints of a run, by number
metrics.csv                  a row for each checkpoint
log.txt                      the log of a run
state/                       the state to resume a run from
"""

import contextlib
import csv
import fcntl
import io
import json
import os
import pathlib
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

from kseq.storage.atomic_files import TEMPORARY, make_folder, whole_file

FORMAT_VERSION = 1
CONFIG = "config.json"
MODEL = "model.keras"
SETTINGS = "settings.yaml"
METRICS = "metrics.csv"
LOG = "log.txt"
CHECKPOINTS = "checkpoints"
STATE = "state"
_LOCK = ".lock"
_SHARDS = "shards"  # prepared data
_NAMES = (CONFIG, MODEL, SETTINGS, METRICS, LOG, CHECKPOINTS, STATE, _LOCK, _SHARDS)
# A run with a state or one of these is not removed without `overwrite`.
_RESULTS = (MODEL, METRICS, CHECKPOINTS)


class ModelFolder:
    """The folder of a model or of a training run.

    Args:
        path: Path of the folder, which may not exist yet.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = pathlib.Path(path)
        self.model = self.path / MODEL
        self.settings = self.path / SETTINGS
        self.log = self.path / LOG
        self.state = self.path / STATE

    def is_run(self) -> bool:
        """Returns whether the folder holds a training run."""
        return self.settings.is_file()

    def has_state(self) -> bool:
        """Returns whether the folder holds the state of a training run."""
        return any(self.state.glob("*.npz"))

    def checkpoint(self, number: int) -> pathlib.Path:
        """Returns the path of a checkpoint, which may not exist.

        Args:
            number: Number of the checkpoint, from 1.
        """
        return self.path / CHECKPOINTS / f"{number:05d}.keras"

    def checkpoints(self) -> dict[int, pathlib.Path]:
        """Returns the paths of the existing checkpoints, by their numbers."""
        paths = (self.path / CHECKPOINTS).glob("[0-9]*.keras")
        return {int(path.stem): path for path in sorted(paths) if path.stem.isdigit()}

    def find_checkpoint(self, number: int | None) -> pathlib.Path:
        """Returns the path of an existing checkpoint.

        Args:
            number: Number of the checkpoint. None: the model of the folder.

        Raises:
            FileNotFoundError: If it does not exist. The message lists the checkpoints.
        """
        if number is None:
            if not self.model.is_file():
                reason = (
                    "The training has not reached its first checkpoint."
                    if self.is_run()
                    else "It is not a model folder."
                )
                raise FileNotFoundError(f"'{self.path}' lacks {MODEL}. {reason}")
            return self.model
        checkpoints = self.checkpoints()
        if number not in checkpoints:
            numbers = ", ".join(map(str, checkpoints)) or "none"
            raise FileNotFoundError(
                f"'{self.path}' has no checkpoint {number}. Its checkpoints: {numbers}."
            )
        return checkpoints[number]

    def read_config(self) -> dict[str, Any]:
        """Reads `config.json`.

        Raises:
            FileNotFoundError: If it is missing.
            ValueError: If a newer version of kseq or another program wrote it.
        """
        path = self.path / CONFIG
        if not path.is_file():
            raise FileNotFoundError(
                f"'{self.path}' is not a model folder: it lacks {CONFIG}."
            )
        foreign = f"'{path}' is not the configuration of a kseq model."
        try:
            config = json.loads(path.read_text("utf-8"))
        except ValueError as error:
            raise ValueError(foreign) from error
        version = config.get("format_version") if isinstance(config, dict) else None
        if not isinstance(version, int):
            raise ValueError(foreign)
        if version > FORMAT_VERSION:
            raise ValueError(
                f"'{self.path}' has format version {version}, but this version of kseq "
                f"reads versions up to {FORMAT_VERSION}. Install a newer kseq."
            )
        if not {"source_vocab", "target_vocab"} <= set(config):
            raise ValueError(foreign)
        return config

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Writes `config.json`.

        Args:
            config: Its entries, without the versions.
        """
        from importlib.metadata import version

        versions = {"format_version": FORMAT_VERSION, "kseq_version": version("kseq")}
        text = json.dumps({**versions, **config}, indent=2, ensure_ascii=False)
        with whole_file(self.path / CONFIG) as temporary:
            # A file name may hold a surrogate, which becomes an escape in JSON.
            temporary.write_bytes((text + "\n").encode("utf-8", "backslashreplace"))

    def write_metrics(self, rows: list[dict[str, Any]]) -> None:
        """Writes `metrics.csv`.

        Args:
            rows: A dict for each checkpoint, all with the same keys.
        """
        text = io.StringIO()
        if rows:
            writer = csv.DictWriter(text, rows[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        with whole_file(self.path / METRICS) as temporary:
            temporary.write_text(text.getvalue(), "utf-8")

    def read_metrics(self) -> Any:
        """Reads `metrics.csv` as a pandas DataFrame.

        Raises:
            FileNotFoundError: If the folder has no checkpoint yet.
        """
        import pandas as pd

        path = self.path / METRICS
        if not path.is_file() or not path.stat().st_size:
            raise FileNotFoundError(
                f"'{self.path}' has no {METRICS} of a training run."
            )
        return pd.read_csv(path)

    def has_checkpoint(self, number: int) -> bool:
        """Returns whether a checkpoint exists and is undamaged.

        Args:
            number: Number of the checkpoint.
        """
        try:
            with zipfile.ZipFile(self.checkpoint(number)) as archive:
                return archive.testzip() is None
        except (OSError, zipfile.BadZipFile):
            return False

    def use_checkpoint(self, number: int) -> None:
        """Makes a checkpoint the model of the folder.

        Args:
            number: Number of the checkpoint.
        """
        with whole_file(self.model) as temporary:
            shutil.copyfile(self.checkpoint(number), temporary)

    def remove_old_checkpoints(self, keep: int, best: int | None) -> None:
        """Removes all but the most recent checkpoints.

        Args:
            keep: Number of most recent checkpoints to keep; 0 keeps all.
            best: Number of one more checkpoint to keep, or None.
        """
        checkpoints = self.checkpoints()
        for number in list(checkpoints)[:-keep] if keep else []:
            if number != best:
                checkpoints[number].unlink()

    def check_resumable(self, resume: bool, overwrite: bool) -> bool:
        """Returns whether the folder holds a run to resume, without any change to it.

        Args:
            resume: Resume an existing run.
            overwrite: Replace an existing run or saved translator.

        Raises:
            FileExistsError: If the folder holds files that must not be replaced.
            ValueError: If both arguments are True.
        """
        if resume and overwrite:
            raise ValueError(
                "Only one of `resume` and `overwrite` can be True. Received: both."
            )
        if resume and self.is_run() and self.has_state():
            return True
        if self.path.exists() and not self.path.is_dir():
            raise FileExistsError(f"'{self.path}' is a file and is not replaced.")
        if not self._has_content():
            return False
        if resume:
            missing = "a saved state" if self.is_run() else SETTINGS
            raise FileExistsError(
                f"'{self.path}' exists already and cannot be resumed: it lacks "
                f"{missing}. Pass `overwrite` to replace it, or choose another name."
            )
        if not overwrite:
            way_out = (
                "Pass `resume` to continue it, `overwrite` to replace it"
                if self.is_run()
                else "Pass `overwrite` to replace it"
            )
            raise FileExistsError(
                f"'{self.path}' exists already. {way_out}, or choose another name."
            )
        self._check_no_foreign_files()
        return False

    def check_replaceable(self) -> None:
        """Raises FileExistsError unless kseq has written every file of the folder.

        An empty or missing folder may be replaced.
        """
        if self.path.exists() and not self.path.is_dir():
            raise FileExistsError(
                f"'{self.path}' is a file and is not replaced. Choose another name."
            )
        if not self._entries():
            return
        try:
            self.read_config()
        except (FileNotFoundError, ValueError) as error:
            raise FileExistsError(
                f"'{self.path}' is not a model folder, so it is not replaced. Choose "
                "another name."
            ) from error
        self._check_no_foreign_files()

    def _check_no_foreign_files(self) -> None:
        foreign = [each.name for each in self._entries() if not _is_kseq(each.name)]
        if foreign:
            raise FileExistsError(
                f"'{self.path}' holds '{foreign[0]}', which is not from kseq, so it is "
                "not replaced. Choose another name."
            )

    def clear(self) -> None:
        """Removes the files that kseq writes, except the lock."""
        # The settings first: without them a half-removed run cannot be resumed.
        self.settings.unlink(missing_ok=True)
        for path in self._entries():
            if not _is_kseq(path.name) or path.name == _LOCK:
                continue
            _remove(path)

    def remove_temporary_files(self) -> None:
        """Removes files that a killed program has not finished writing."""
        for folder in (self.path, self.path / CHECKPOINTS, self.state):
            for path in folder.glob(".*"):
                if TEMPORARY.fullmatch(path.name):
                    _remove(path)

    def _entries(self) -> list[pathlib.Path]:
        return sorted(self.path.iterdir()) if self.path.is_dir() else []

    def _has_content(self) -> bool:
        """Returns whether the folder holds more than a run without results."""
        visible = [
            path.name for path in self._entries() if not path.name.startswith(".")
        ]
        if self.is_run() and not self.has_state() and not set(visible) & set(_RESULTS):
            return not all(map(_is_kseq, visible))
        return bool(visible)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Locks the folder for one training program; creates a missing folder.

        Raises:
            FileExistsError: If another program has locked it.
        """
        make_folder(self.path)
        with open(self.path / _LOCK, "w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise FileExistsError(
                    f"Another program is training in '{self.path}'."
                ) from None
            yield


def _is_kseq(name: str) -> bool:
    return (
        name in _NAMES
        or name.startswith(("vocab.", "tokenizer."))
        or TEMPORARY.fullmatch(name) is not None
    )


def _remove(path: pathlib.Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
