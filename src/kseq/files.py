"""Files that are whole or not there at all."""

import contextlib
import os
import pathlib
import shutil
import uuid
from collections.abc import Iterator


@contextlib.contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """Gives a temporary name in the same folder, renamed to `path` if all went well.

    The temporary name has the same suffix, since writers look at it. A reader sees the
    old file or the new one; a crash leaves the old one.

    Args:
        path: Where the file is to be.

    Yields:
        The path to write to.
    """
    path = pathlib.Path(path)
    temporary = _beside(path)
    try:
        yield temporary
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_folder(
    path: str | os.PathLike[str], overwrite: bool = False
) -> Iterator[pathlib.Path]:
    """Gives a temporary folder beside `path`, renamed to it if all went well.

    Args:
        path: Where the folder is to be.
        overwrite: Replace an existing folder. Default False.

    Yields:
        The folder to write into.

    Raises:
        FileExistsError: If `path` exists and `overwrite` is False.
    """
    path = pathlib.Path(path)
    if path.exists() and not overwrite:
        raise FileExistsError(
            f"'{path}' exists already. Choose another name, or pass overwrite=True to "
            "replace it."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path)
    temporary.mkdir()
    try:
        yield temporary
        if path.exists():
            old = temporary.with_name(f"{temporary.name}.old")
            os.rename(path, old)
            os.rename(temporary, path)
            shutil.rmtree(old) if old.is_dir() else old.unlink()
        else:
            os.rename(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _beside(path: pathlib.Path) -> pathlib.Path:
    suffix = "".join(path.suffixes)
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}{suffix}")
