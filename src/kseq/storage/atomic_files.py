"""Files and folders that appear whole or not at all.

All writers of the package use `whole_file` and `whole_folder`. One set of rules:

- A link stays: what it points to is written, also where that does not exist yet.
- Missing parents are made.
- After an error the old content is in place, and nothing new is left behind.
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
# The names that `_temporary` gives, in a folder where a killed program was writing.
TEMPORARY = re.compile(r"\..+\.[0-9a-f]{32}(\..*)?", re.DOTALL)
# Most bytes of a suffix that a temporary name keeps; a name may have 255.
_MOST_OF_SUFFIX = 200


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[pathlib.Path]:
    """Yields a temporary name in the same folder, renamed to `path` at the end.

    The temporary name has the same suffix, since writers look at it. A reader sees the
    old file or the new one, and a crash leaves the old one. The new file has the mode
    of the old one.

    Args:
        path: The file to write; missing parents are made.

    Yields:
        The path to write to.

    Raises:
        OSError: If nothing can be written there, or `path` is a folder; before the
            temporary name is given.
    """
    place = _true_place(path)
    if place.is_dir():
        raise IsADirectoryError(f"'{path}' is a folder and is not replaced by a file.")
    if os.path.exists(path) and not stat.S_ISREG(os.stat(path).st_mode):
        with tempfile.TemporaryDirectory() as folder:
            written = pathlib.Path(folder, _temporary(place))
            yield written
            with open(written, "rb") as source, open(path, "wb") as target:
                shutil.copyfileobj(source, target)
        return
    with _parents(place, path):
        temporary = place.with_name(_temporary(place))
        with _about(path):
            open(temporary, "xb").close()
            temporary.unlink()  # some writers take a file that exists for the result
        try:
            yield temporary
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
            if place.exists():
                shutil.copymode(place, temporary)
            os.replace(temporary, place)
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_folder(
    path: Path, overwrite: bool = False, marker: str | None = None
) -> Iterator[pathlib.Path]:
    """Yields a temporary folder that becomes `path` at the end.

    An empty folder is filled. A folder that has content keeps its place and its mode,
    since it may be a mount point or the current folder; its content is replaced.

    Args:
        path: The folder to write; missing parents are made.
        overwrite: Replace the content of an existing folder. Default False.
        marker: Name of an entry that shows that the folder may be replaced: one of
            another kind never is. Default: any folder may.

    Yields:
        The folder to write into.

    Raises:
        FileExistsError: If `path` has content and `overwrite` is False, if it lacks the
            `marker`, or if it is a file.
        OSError: If nothing can be written there.
    """
    place = _true_place(path)
    exists = place.exists()
    if has_content(place):
        if not overwrite:
            raise FileExistsError(
                f"'{path}' exists already. Choose another name, or pass overwrite=True "
                "to replace it."
            )
        if not place.is_dir():
            raise FileExistsError(
                f"'{path}' is a file and is not replaced by a folder. Choose another "
                "name."
            )
        if marker is not None and not os.path.lexists(place / marker):
            raise FileExistsError(
                f"'{path}' lacks '{marker}', so it holds something else, and is not "
                "replaced. Choose another name."
            )
    with _parents(place, path):
        # Where there is a folder, the new content must be on its file system.
        temporary = (place if exists else place.parent) / _temporary()
        try:
            with _about(path):
                temporary.mkdir()
            yield temporary
            if exists:
                _replace_content(place, temporary)
            else:
                os.rename(temporary, place)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def has_content(path: Path) -> bool:
    """Returns whether a path is a file, or a folder that has something to lose.

    Args:
        path: The path; what a killed program was writing in it does not count.
    """
    place = pathlib.Path(path)
    if not place.is_dir():
        return place.exists()
    return not all(TEMPORARY.fullmatch(each.name) for each in place.iterdir())


def make_folder(path: Path) -> None:
    """Makes a folder and its parents, where a link points to if `path` is one.

    Args:
        path: The folder; one that exists is left as it is.

    Raises:
        OSError: If it cannot be made.
    """
    with _about(path):
        _true_place(path).mkdir(parents=True, exist_ok=True)


def _true_place(path: Path) -> pathlib.Path:
    """Returns an absolute path without links, "." and ".."."""
    if not os.fspath(path):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "")
    place = pathlib.Path(os.path.realpath(path))
    _check_name(place, path)
    if place.is_symlink():  # what is left of a circle of links
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), os.fspath(path))
    return place


def _check_name(place: pathlib.Path, path: Path) -> None:
    """Raises where a name is too long, as temporary names are not."""
    with _about(path), contextlib.suppress(FileNotFoundError):
        os.lstat(place)


def _temporary(place: pathlib.Path | None = None) -> str:
    """Returns a new temporary name, with the suffixes of the final one that fit."""
    suffix = ""
    for part in reversed(place.suffixes if place is not None else []):
        if len(os.fsencode(part + suffix)) > _MOST_OF_SUFFIX:
            break
        suffix = part + suffix
    return f"{_PREFIX}{uuid.uuid4().hex}{suffix}"


def _replace_content(place: pathlib.Path, new: pathlib.Path) -> None:
    """Moves the content of a folder within it up, in place of what is there."""
    old = place / f"{new.name}.old"
    old.mkdir()
    moves: list[tuple[pathlib.Path, pathlib.Path]] = []
    try:
        for entry in list(place.iterdir()):
            if entry not in (old, new):
                moves.append((entry, old / entry.name))
                os.rename(*moves[-1])
        for entry in list(new.iterdir()):
            moves.append((entry, place / entry.name))
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
            f"The old content of '{place}' cannot be removed; it is in '{old}'.",
            stacklevel=4,
        )


@contextlib.contextmanager
def _parents(place: pathlib.Path, path: Path) -> Iterator[None]:
    """Makes the parents of a path, and removes those it made after an error."""
    missing = [each for each in place.parents if not each.exists()]
    try:
        with _about(path):
            place.parent.mkdir(parents=True, exist_ok=True)
        _check_name(place, path)
        yield
    except BaseException:
        for folder in missing:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


@contextlib.contextmanager
def _about(path: Path) -> Iterator[None]:
    """Makes errors of the file system name the path that the caller gave."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error
