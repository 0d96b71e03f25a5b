"""Unpacks model archives from sources that are not trusted."""

import os
import pathlib
import shutil
import tarfile


def unpack(archive: str | os.PathLike[str], folder: str | os.PathLike[str]) -> None:
    """Unpacks a gzipped tar archive of plain files and folders.

    Modes, owners and times are ignored.

    Args:
        archive: The file.
        folder: The folder to create.

    Raises:
        OSError: If the file cannot be read, or the folder cannot be written.
        ValueError: If the archive is damaged, or has a link, a device, an absolute path
            or a path with "..".

    Example:
        >>> import pathlib, tarfile
        >>> from kseq.sagemaker.archives import unpack
        >>> _ = pathlib.Path("a.txt").write_text("a")
        >>> with tarfile.open("model.tar.gz", "w:gz") as archive:
        ...     archive.add("a.txt")
        >>> unpack("model.tar.gz", "model")
        >>> pathlib.Path("model/a.txt").read_text()
        'a'
    """
    root = pathlib.Path(folder)
    try:
        with tarfile.open(archive, "r:gz") as opened:
            # Checks all members before it writes any.
            members = [
                (each, root / _check_path(archive, each))
                for each in opened.getmembers()
            ]
            root.mkdir(parents=True, exist_ok=True)
            for member, path in members:
                if member.isdir():
                    path.mkdir(parents=True, exist_ok=True)
                    continue
                path.parent.mkdir(parents=True, exist_ok=True)
                content = opened.extractfile(member)
                assert content is not None  # it is a regular file
                # "x" refuses a second member with the same name.
                with content, open(path, "xb") as file:
                    shutil.copyfileobj(content, file)
    except (tarfile.TarError, EOFError) as error:
        raise ValueError(
            f"'{os.fspath(archive)}' cannot be unpacked: it is damaged or not a "
            f"gzipped tar archive ({error})."
        ) from error


def _check_path(
    archive: str | os.PathLike[str], member: tarfile.TarInfo
) -> pathlib.PurePosixPath:
    """Returns the relative path of a member, or raises ValueError."""
    path = pathlib.PurePosixPath(member.name)
    if (
        not (member.isreg() or member.isdir())
        or path.is_absolute()
        or ".." in path.parts
        or "\\" in member.name
        or "\0" in member.name
    ):
        raise ValueError(
            f"'{os.fspath(archive)}' must have only regular files and folders with "
            f"relative paths. Received: {member.name!r}."
        )
    return path
