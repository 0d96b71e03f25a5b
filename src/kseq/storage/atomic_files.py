"""Atomic writing: a file or folder appears complete or not at all.

All writers of the package use `whole_file` and `whole_folder`. Their rules:

- A symbolic link remains. Its target is written, and created if it does not exist.
- Missing parent folders are created.
- After an error the old content is unchanged, and no new file remains.
- A device or a pipe, such as `/dev/null`, is written to, never replaced.
"""

import contextlib
import errno
import os
import pathlib
import re
import shutil
import stat
import tempfile
import uuid
import warnings
from collections.abc import Iterator

Path = str | os.PathLike[str]

_PREFIX = ".kseq."
# Matches the names from `_temporary_name`, which a killed program leaves behind.
TEMPORARY = re.compile(r"\..+\.[0-9a-f]{32}(\..*)?", re.DOTALL)
# Maximum number of bytes of the suffix of a temporary name; a name may have 255.
_MAX_SUFFIX_SIZE = 200


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[pathlib.Path]:
    """Yields a temporary name in the same folder, renamed to `path` at the end.

    The temporary name has the same suffix, since some writers depend on it. A reader
    sees either the old file or the new one. The old file remains after a crash. The new
    file has the mode of the old one.

    Args:
        path: The file to write. Missing parent folders are created.

    Yields:
        The path to write to.

    Raises:
        OSError: If the file cannot be written, or `path` is a folder. The error is
            raised before anything is yielded.
    """
    target = _resolve(path)
    if target.is_dir():
        raise IsADirectoryError(f"'{path}' is a folder and is not replaced by a file.")
    if os.path.exists(path) and not stat.S_ISREG(os.stat(path).st_mode):
        with tempfile.TemporaryDirectory() as folder:
            written = pathlib.Path(folder, _temporary_name(target))
            yield written
            with open(written, "rb") as source, open(path, "wb") as device:
                shutil.copyfileobj(source, device)
        return
    with _parents(target, path):
        temporary = target.with_name(_temporary_name(target))
        with _naming(path):
            open(temporary, "xb").close()
            temporary.unlink()  # some writers do not replace an existing file
        try:
            yield temporary
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
            if target.exists():
                shutil.copymode(target, temporary)
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_folder(
    path: Path, overwrite: bool = False, marker: str | None = None
) -> Iterator[pathlib.Path]:
    """Yields a temporary folder that becomes `path` at the end.

    The content of an existing folder is replaced, but not the folder itself: it may be
    a mount point or the current folder. It keeps its mode.

    Args:
        path: The folder to write. Missing parent folders are created.
        overwrite: Replace the content of an existing folder. Default: False.
        marker: Name of a file that a folder must hold to be replaced. Default: any
            folder may be replaced.

    Yields:
        The folder to write into.

    Raises:
        FileExistsError: If `path` is not empty and `overwrite` is False, if it lacks
            the `marker`, or if it is a file.
        OSError: If the folder cannot be written.
    """
    target = _resolve(path)
    exists = target.exists()
    if has_content(target):
        if not overwrite:
            raise FileExistsError(
                f"'{path}' exists already. Choose another name, or pass overwrite=True "
                "to replace it."
            )
        if not target.is_dir():
            raise FileExistsError(
                f"'{path}' is a file and is not replaced by a folder. Choose another "
                "name."
            )
        if marker is not None and not os.path.lexists(target / marker):
            raise FileExistsError(
                f"'{path}' lacks '{marker}', so it is not replaced. Choose another "
                "name."
            )
    with _parents(target, path):
        # A mount point has another file system than its parent.
        temporary = (target if exists else target.parent) / _temporary_name()
        try:
            with _naming(path):
                temporary.mkdir()
            yield temporary
            if exists:
                _replace_content(target, temporary)
            else:
                os.rename(temporary, target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def has_content(path: Path) -> bool:
    """Returns whether a path is a file, or a folder that is not empty.

    Args:
        path: The path. Temporary files of a killed program do not count.
    """
    path = pathlib.Path(path)
    if not path.is_dir():
        return path.exists()
    return not all(TEMPORARY.fullmatch(each.name) for each in path.iterdir())


def make_folder(path: Path) -> None:
    """Creates a folder and its parents, at the target of a link if `path` is one.

    Args:
        path: The folder, which may exist.

    Raises:
        OSError: If it cannot be created.
    """
    with _naming(path):
        _resolve(path).mkdir(parents=True, exist_ok=True)


def _resolve(path: Path) -> pathlib.Path:
    """Returns an absolute path without links, "." and ".."."""
    if not os.fspath(path):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "")
    target = pathlib.Path(os.path.realpath(path))
    _check_name(target, path)
    if target.is_symlink():  # `realpath` stops at a circle of links
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), os.fspath(path))
    return target


def _check_name(target: pathlib.Path, path: Path) -> None:
    """Raises OSError if a name is too long; the temporary name may be short enough."""
    with _naming(path), contextlib.suppress(FileNotFoundError):
        os.lstat(target)


def _temporary_name(target: pathlib.Path | None = None) -> str:
    """Returns a new temporary name with the suffixes of a path, as far as they fit."""
    suffix = ""
    for part in reversed(target.suffixes if target is not None else []):
        if len(os.fsencode(part + suffix)) > _MAX_SUFFIX_SIZE:
            break
        suffix = part + suffix
    return f"{_PREFIX}{uuid.uuid4().hex}{suffix}"


def _replace_content(target: pathlib.Path, new: pathlib.Path) -> None:
    """Replaces the content of a folder with the content of a subfolder."""
    old = target / f"{new.name}.old"
    old.mkdir()
    moves: list[tuple[pathlib.Path, pathlib.Path]] = []
    try:
        for entry in list(target.iterdir()):
            if entry not in (old, new):
                moves.append((entry, old / entry.name))
                os.rename(*moves[-1])
        for entry in list(new.iterdir()):
            moves.append((entry, target / entry.name))
            os.rename(*moves[-1])
    except BaseException:
        for before, after in reversed(moves):
            if not os.path.lexists(before):
                os.rename(after, before)
        old.rmdir()
        raise
    shutil.rmtree(old, ignore_errors=True)
    if old.exists():
        warnings.warn(
            f"The old content of '{target}' cannot be removed. It is in '{old}'.",
            stacklevel=4,
        )


@contextlib.contextmanager
def _parents(target: pathlib.Path, path: Path) -> Iterator[None]:
    """Creates the parents of a path; removes them again after an error."""
    missing = [each for each in target.parents if not each.exists()]
    try:
        with _naming(path):
            target.parent.mkdir(parents=True, exist_ok=True)
        _check_name(target, path)
        yield
    except BaseException:
        for folder in missing:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Makes errors of the file system name the caller's path."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error
