"""Files of public corpora: found in a folder or downloaded, verified, cached."""

import contextlib
import hashlib
import os
import pathlib
import sys

from kseq.storage.atomic_files import whole_file


def fetch(
    corpus: str,
    name: str,
    sha256: str,
    public_url: str,
    *,
    folder: str | os.PathLike[str] | None = None,
    base_url: str | None = None,
    verify: bool = True,
) -> str:
    """Returns the path of a file, downloaded unless it is at hand.

    Downloads are kept in the folder `kseq` of Keras's own cache: `~/.keras`, or what
    the environment variable `KERAS_HOME` names. A file gets its name once it is whole
    and verified.

    Args:
        corpus: str, the corpus's name: its folder in the cache.
        name: str, the file's name.
        sha256: str, the sum of the file, in hexadecimal.
        public_url: str, the public folder that holds the file.
        folder: path or None, a folder that holds the file, or holds a folder `corpus`
            that does. Then nothing is downloaded. Defaults to None.
        base_url: str or None, the folder to download from in place of the public one.
            Defaults to None.
        verify: bool, whether the file's sum must be right. Defaults to True.

    Returns:
        str, the path.

    Raises:
        OSError: if the file is not in the folder, or cannot be downloaded.
        ValueError: if its sum is wrong, or `folder` and `base_url` are both given.
    """
    base = (public_url if base_url is None else base_url).rstrip("/")
    url = f"{base}/{name}"
    if folder is not None:
        if base_url is not None:
            raise ValueError(
                "`folder` and `base_url` must not both be given: files are read from "
                f"the one or downloaded from the other. Received: {folder!r} and "
                f"{base_url!r}."
            )
        path = _in_folder(pathlib.Path(folder), corpus, name, url)
        if verify:
            _verify(path, path, sha256)
        return str(path)
    home = pathlib.Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser()
    # What another place holds under the same name may be another file.
    place = hashlib.sha256(base.encode()).hexdigest()[:12]
    cache = home / "kseq" / (corpus if base_url is None else f"{corpus}-{place}")
    path = cache / name
    if path.is_file() and (not verify or _sum_of(path) == sha256):
        return str(path)
    with whole_file(path) as temporary:
        _download(url, temporary)
        if verify:
            _verify(temporary, url, sha256)
    return str(path)


def _in_folder(folder: pathlib.Path, corpus: str, name: str, url: str) -> pathlib.Path:
    """Returns the path of a file that a user has."""
    for path in (folder / name, folder / corpus / name):
        if path.is_file():
            return path
    raise FileNotFoundError(
        f"`folder` must hold the file '{name}', or a folder '{corpus}' that does. "
        f"Received: '{folder}'; the file is at {url}."
    )


def _download(url: str, path: pathlib.Path) -> None:
    """Downloads a file; one that breaks off raises."""
    import keras

    try:
        # Keras shows its progress on stdout, where results may be going.
        with contextlib.redirect_stdout(sys.stderr):
            keras.utils.get_file(
                path.name, url, cache_dir=str(path.parent), cache_subdir=""
            )
    except Exception as error:  # Keras raises a bare Exception from the true one
        raise OSError(
            f"{url} could not be downloaded ({error.__context__ or error}); get it in "
            "another way and pass the `folder` that holds it."
        ) from error


def _verify(path: pathlib.Path, name: object, sha256: str) -> None:
    """Raises unless a file has the sum it should have."""
    found = _sum_of(path)
    if found != sha256:
        raise ValueError(
            f"{name} is not the file expected: its SHA-256 must be {sha256}. Received: "
            f"{found}; get it anew, or pass verify=False to read it all the same."
        )


def _sum_of(path: pathlib.Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
