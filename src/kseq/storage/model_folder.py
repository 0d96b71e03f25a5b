"""The folder of a model: what lies in it, under which name, and how it is written.

config.json                  what a `Translator` is made of
vocab.source.json, ...       the vocabularies and, where there are any, the
tokenizer.source.model       tokenizers' files
model.keras                  the model: of a training run the best checkpoint
settings.yaml                of a run: every choice, and its data files
checkpoints/00001.keras      its models by number
metrics.csv                  a row for each checkpoint
log.txt                      what was printed
state/                       what resuming it takes
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
_SHARDS = "shards"  # of prepared data
_OURS = (CONFIG, MODEL, SETTINGS, METRICS, LOG, CHECKPOINTS, STATE, _LOCK, _SHARDS)
# With a state or one of these, a run has something to lose.
_MADE = (MODEL, METRICS, CHECKPOINTS)


class ModelFolder:
    """The folder of a model or of a training run.

    Args:
        path: The folder; it need not exist.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = pathlib.Path(path)

    @property
    def model(self) -> pathlib.Path:
        """The model that is used: of a training run the best so far."""
        return self.path / MODEL

    @property
    def settings(self) -> pathlib.Path:
        """Every choice of the run, as YAML."""
        return self.path / SETTINGS

    @property
    def log(self) -> pathlib.Path:
        """What the run has printed."""
        return self.path / LOG

    def is_run(self) -> bool:
        """Whether a training run has been begun here."""
        return self.settings.is_file()

    def has_state(self) -> bool:
        """Whether a training run has saved its state here."""
        return any((self.path / STATE).glob("*.npz"))

    def checkpoint(self, number: int) -> pathlib.Path:
        """Returns where the model of a checkpoint lies.

        Args:
            number: Its number, from 1.
        """
        return self.path / CHECKPOINTS / f"{number:05d}.keras"

    def checkpoints(self) -> dict[int, pathlib.Path]:
        """Returns the checkpoints that are there, by their numbers."""
        found = (self.path / CHECKPOINTS).glob("[0-9]*.keras")
        return {int(path.stem): path for path in sorted(found) if path.stem.isdigit()}

    def find_checkpoint(self, number: int | None) -> pathlib.Path:
        """Returns the model of a checkpoint, or the one that is used.

        Args:
            number: Number of a checkpoint. None: the model that is used.

        Raises:
            FileNotFoundError: If there is none; the message lists those there are.
        """
        if number is None:
            if not self.model.is_file():
                why = (
                    "The training has not come to its first checkpoint."
                    if self.is_run()
                    else "It is not the folder of a model."
                )
                raise FileNotFoundError(f"'{self.path}' lacks {MODEL}. {why}")
            return self.model
        found = self.checkpoints()
        if number not in found:
            there = ", ".join(map(str, found)) or "none"
            raise FileNotFoundError(
                f"'{self.path}' has no checkpoint {number}. There are: {there}."
            )
        return found[number]

    def read_config(self) -> dict[str, Any]:
        """Returns what `config.json` says.

        Raises:
            FileNotFoundError: If it is not there.
            ValueError: If it is of a newer kseq, or something else.
        """
        path = self.path / CONFIG
        if not path.is_file():
            raise FileNotFoundError(
                f"'{self.path}' is not the folder of a model: it lacks {CONFIG}."
            )
        foreign = f"'{path}' is not the configuration of a model of kseq."
        try:
            config = json.loads(path.read_text("utf-8"))
        except ValueError as error:
            raise ValueError(foreign) from error
        version = config.get("format_version") if isinstance(config, dict) else None
        if not isinstance(version, int):
            raise ValueError(foreign)
        if version > FORMAT_VERSION:
            raise ValueError(
                f"'{self.path}' has format version {version}, but this kseq reads "
                f"versions up to {FORMAT_VERSION}. Install a newer kseq."
            )
        if not {"source_vocab", "target_vocab"} <= set(config):
            raise ValueError(foreign)
        return config

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Writes `config.json`.

        Args:
            config: What it is to say, besides the versions.
        """
        from importlib.metadata import version

        versions = {"format_version": FORMAT_VERSION, "kseq_version": version("kseq")}
        text = json.dumps({**versions, **config}, indent=2, ensure_ascii=False)
        with whole_file(self.path / CONFIG) as temporary:
            # A surrogate, in the name of a file, becomes its escape in JSON.
            temporary.write_bytes((text + "\n").encode("utf-8", "backslashreplace"))

    def write_rows(self, rows: list[dict[str, Any]]) -> None:
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

    def metrics(self) -> Any:
        """Returns `metrics.csv` as a pandas DataFrame.

        Raises:
            FileNotFoundError: If no checkpoint has been made here.
        """
        import pandas as pd

        path = self.path / METRICS
        if not path.is_file() or not path.stat().st_size:
            raise FileNotFoundError(f"'{self.path}' has no {METRICS} of a training.")
        return pd.read_csv(path)

    def has_checkpoint(self, number: int) -> bool:
        """Returns whether a checkpoint is there, and all of it.

        Args:
            number: Its number.
        """
        try:
            with zipfile.ZipFile(self.checkpoint(number)) as archive:
                return archive.testzip() is None
        except (OSError, zipfile.BadZipFile):
            return False

    def use_checkpoint(self, number: int) -> None:
        """Makes a checkpoint the model that is used.

        Args:
            number: Its number.
        """
        with whole_file(self.model) as temporary:
            shutil.copyfile(self.checkpoint(number), temporary)

    def remove_old(self, keep: int, best: int | None) -> None:
        """Removes checkpoints.

        Args:
            keep: How many of the last to keep; 0 keeps all.
            best: One to keep besides.
        """
        found = self.checkpoints()
        for number in list(found)[:-keep] if keep else []:
            if number != best:
                found[number].unlink()

    def may_resume(self, resume: bool, overwrite: bool) -> bool:
        """Returns whether there is a run to go on with; nothing is touched.

        Args:
            resume: Go on with the run that is there, if one is.
            overwrite: Remove what a run or `Translator.save` has left there.

        Raises:
            FileExistsError: If something is there that is not to be touched.
            ValueError: If both are asked for.
        """
        if resume and overwrite:
            raise ValueError(
                "`resume` and `overwrite` exclude each other. Received: both."
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
        self._check_all_ours()
        return False

    def check_replaceable(self) -> None:
        """Raises FileExistsError unless kseq has written all that is in the folder.

        A folder that is empty or does not exist may be replaced.
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
                f"'{self.path}' is not a folder of kseq: it holds something else, and "
                "is not replaced. Choose another name."
            ) from error
        self._check_all_ours()

    def _check_all_ours(self) -> None:
        foreign = [path.name for path in self._entries() if not _is_ours(path.name)]
        if foreign:
            raise FileExistsError(
                f"'{self.path}' holds '{foreign[0]}', which is not kseq's, and is not "
                "replaced. Choose another name."
            )

    def clear(self) -> None:
        """Removes the files that kseq writes, but for the lock."""
        # First what makes it a run: one that is half removed is not to be resumed.
        self.settings.unlink(missing_ok=True)
        for path in self._entries():
            if not _is_ours(path.name) or path.name == _LOCK:
                continue
            _remove(path)

    def sweep(self) -> None:
        """Removes what a killed program was writing."""
        for folder in (self.path, self.path / CHECKPOINTS, self.path / STATE):
            for path in folder.glob(".*"):
                if TEMPORARY.fullmatch(path.name):
                    _remove(path)

    def _entries(self) -> list[pathlib.Path]:
        return sorted(self.path.iterdir()) if self.path.is_dir() else []

    def _has_content(self) -> bool:
        """Whether anything is there to lose, which a run without a state has not."""
        visible = [
            path.name for path in self._entries() if not path.name.startswith(".")
        ]
        if self.is_run() and not self.has_state() and not set(visible) & set(_MADE):
            return not all(map(_is_ours, visible))
        return bool(visible)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keeps another program from training in the folder, which is made if need be.

        Raises:
            FileExistsError: If one does.
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


def _is_ours(name: str) -> bool:
    return (
        name in _OURS
        or name.startswith(("vocab.", "tokenizer."))
        or TEMPORARY.fullmatch(name) is not None
    )


def _remove(path: pathlib.Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
