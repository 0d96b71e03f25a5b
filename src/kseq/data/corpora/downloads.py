"""Files of public corpora: downloaded, verified and cached."""

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
    """Returns the path of a file, and downloads it if needed.

    Downloads are cached in the folder `kseq` of Keras's cache: `~/.keras`, or the
    environment variable `KERAS_HOME`. A file gets its final name when it is complete
    and verified.

    Args:
        corpus: str, the name of the corpus, and of its folder in the cache.
        name: str, the file's name.
        sha256: str, the SHA-256 of the file, in hexadecimal.
        public_url: str, the URL of the public folder with the file.
        folder: path or None, a folder with the file, or with a folder `corpus` that has
            the file. Nothing is downloaded then. Default: None.
        base_url: str or None, the URL to download from, in place of `public_url`.
            Default: None.
        verify: bool, whether to check the SHA-256 of the file. Default: True.

    Returns:
        str, the path.

    Raises:
        OSError: if the file is not in the folder, or cannot be downloaded.
        ValueError: if the SHA-256 is wrong, or `folder` and `base_url` are both given.
    """
    base = (public_url if base_url is None else base_url).rstrip("/")
    url = f"{base}/{name}"
    if folder is not None:
        if base_url is not None:
            raise ValueError(
                "`folder` and `base_url` must not both be given: files are either "
                f"read from a folder or downloaded. Received: {folder!r} and "
                f"{base_url!r}."
            )
        path = _find_in_folder(pathlib.Path(folder), corpus, name, url)
        if verify:
            _verify(path, path, sha256)
        return str(path)
    home = pathlib.Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser()
    # Another URL may have another file of the same name.
    url_hash = hashlib.sha256(base.encode()).hexdigest()[:12]
    cache = home / "kseq" / (corpus if base_url is None else f"{corpus}-{url_hash}")
    path = cache / name
    if path.is_file() and (not verify or _sha256(path) == sha256):
        return str(path)
    with whole_file(path) as temporary:
        _download(url, temporary)
        if verify:
            _verify(temporary, url, sha256)
    return str(path)


def _find_in_folder(
    folder: pathlib.Path, corpus: str, name: str, url: str
) -> pathlib.Path:
    """Returns the path of a file in the user's folder."""
    for path in (folder / name, folder / corpus / name):
        if path.is_file():
            return path
    raise FileNotFoundError(
        f"`folder` must contain the file '{name}', or a folder '{corpus}' with it. "
        f"Received: '{folder}'; the file is at {url}."
    )


def _download(url: str, path: pathlib.Path) -> None:
    """Downloads a file, or raises an error if the download is incomplete."""
    import keras

    try:
        # Keras shows progress on stdout, which may be redirected for results.
        with contextlib.redirect_stdout(sys.stderr):
            keras.utils.get_file(
                path.name, url, cache_dir=str(path.parent), cache_subdir=""
            )
    except Exception as error:  # Keras wraps the original in a plain Exception
        raise OSError(
            f"{url} could not be downloaded ({error.__context__ or error}); get it in "
            "another way and pass its `folder`."
        ) from error


def _verify(path: pathlib.Path, name: object, sha256: str) -> None:
    """Raises an error unless a file has the expected SHA-256."""
    actual = _sha256(path)
    if actual != sha256:
        raise ValueError(
            f"{name} is not the expected file: its SHA-256 must be {sha256}. Received: "
            f"{actual}; download it again, or pass verify=False to read it anyway."
        )


def _sha256(path: pathlib.Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
