"""Archives of models, unpacked without trusting them."""

import os
import pathlib
import shutil
import tarfile


def unpack(archive: str | os.PathLike[str], folder: str | os.PathLike[str]) -> None:
    """Unpacks a gzipped tar archive of plain files and folders.

    Modes, owners and times are not taken over.

    Args:
        archive: The file.
        folder: Where to; it is made.

    Raises:
        OSError: If the file cannot be read, or the folder not be written.
        ValueError: If the archive is damaged, or has anything but plain files and
            folders below its top: links, devices, absolute paths, paths with "..".

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
            # All of them are looked at before any is written.
            members = [(each, _place(archive, each)) for each in opened.getmembers()]
            root.mkdir(parents=True, exist_ok=True)
            for member, place in members:
                if member.isdir():
                    (root / place).mkdir(parents=True, exist_ok=True)
                    continue
                (root / place).parent.mkdir(parents=True, exist_ok=True)
                content = opened.extractfile(member)
                assert content is not None  # it is a plain file
                # "x": a second member of one name would write through what is there.
                with content, open(root / place, "xb") as file:
                    shutil.copyfileobj(content, file)
    except (tarfile.TarError, EOFError) as error:
        raise ValueError(
            f"'{os.fspath(archive)}' cannot be unpacked: it is damaged, or not a "
            f"gzipped tar archive ({error})."
        ) from error


def _place(
    archive: str | os.PathLike[str], member: tarfile.TarInfo
) -> pathlib.PurePosixPath:
    """Returns where a member belongs below the top, or raises."""
    place = pathlib.PurePosixPath(member.name)
    if (
        not (member.isreg() or member.isdir())
        or place.is_absolute()
        or ".." in place.parts
        or "\\" in member.name
        or "\0" in member.name
    ):
        raise ValueError(
            f"'{os.fspath(archive)}' has {member.name!r}, which is not a plain file or "
            "folder below its top, and is not unpacked."
        )
    return place
