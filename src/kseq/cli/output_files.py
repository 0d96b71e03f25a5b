"""Output files and folders, which are replaced only with `--overwrite`."""

import contextlib
import pathlib
from collections.abc import Iterator, Sequence

from kseq.cli.parsing import Parser
from kseq.storage.atomic_files import has_content, whole_folder
from kseq.storage.model_folder import ModelFolder


def add_output_arguments(
    parser: Parser, metavar: str = "FOLDER", what: str = ""
) -> None:
    """Adds the flags `--output` and `--overwrite`."""
    what = what or metavar.lower()
    parser.add_argument(
        "-o", "--output", type=str, metavar=metavar, help=f"{what} to write"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help=f"replace an existing {what}"
    )


def check_new_files(paths: Sequence[pathlib.Path], overwrite: bool) -> None:
    """Raises a `FileExistsError` if a file exists, unless it may be overwritten."""
    for path in paths:
        if path.is_dir():
            raise FileExistsError(f"'{path}' is a folder. Choose another name.")
        if path.exists() and not overwrite:
            raise _exists(path)


@contextlib.contextmanager
def new_folder(path: str, overwrite: bool) -> Iterator[pathlib.Path]:
    """Creates a folder, which appears at `path` only when the block succeeds.

    Args:
        path: Path of the folder.
        overwrite: Whether to replace an existing folder of kseq. A folder of a training
            run is never replaced.

    Yields:
        The temporary folder to write into.

    Raises:
        FileExistsError: If `path` exists and may not be replaced.
    """
    folder = ModelFolder(path)
    if overwrite:
        if folder.is_run():
            raise FileExistsError(
                f"'{path}' holds a training run and is not replaced. Choose another "
                "name."
            )
        folder.check_replaceable()
    elif has_content(path):
        raise _exists(path)
    with whole_folder(path, overwrite) as temporary:
        yield temporary


def _exists(path: str | pathlib.Path) -> FileExistsError:
    return FileExistsError(
        f"'{path}' exists already. Pass --overwrite to replace it, or choose another "
        "name."
    )
