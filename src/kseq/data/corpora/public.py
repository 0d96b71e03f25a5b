"""Public corpora that are downloaded from their sources: CMUDict and Multi30k."""

import os
import re
from collections.abc import Iterator

from kseq.config.checks import check_boolean, check_choice
from kseq.data.corpora.corpus import Corpus, Reading
from kseq.data.corpora.downloads import fetch
from kseq.data.corpora.lines import decode_line
from kseq.data.corpora.parallel import read_parallel

CMUDICT_URL = (
    "https://raw.githubusercontent.com/microsoft/CNTK/master/"
    "Examples/SequenceToSequence/CMUDict/Data"
)
CMUDICT_FILES = {
    "train": "cmudict-0.7b.train-dev-20-21",
    "dev": "cmudict-0.7b.train-dev-1-21",
    "test": "cmudict-0.7b.test",
}
MULTI30K_URL = (
    "https://raw.githubusercontent.com/multi30k/dataset/master/data/task1/raw"
)
MULTI30K_SPLITS = ("train", "val", "test_2016_flickr", "test")
MULTI30K_LANGUAGES = ("de", "en")

SHA256 = {
    "cmudict-0.7b.train-dev-20-21": (
        "61faa823e4a4bc64401522eb68db9543d33ee6f10dcacf5be65b1ef5fe08b6f3"
    ),
    "cmudict-0.7b.train-dev-1-21": (
        "c8bbfb8d57d8e0c1d2ce6fbc8891325fc4570ac2b9ae068088bc59e804a9c295"
    ),
    "cmudict-0.7b.test": (
        "ece787fd3d88c7b130d43e7c2307ac11e6dfb4c052d661c37808ec7ed1df8574"
    ),
    "train.de.gz": "726e39b2fa9eb9ffb6dc763fb35a179f80fae06ffc5d28b6ace5faa883de28a6",
    "train.en.gz": "d79cfa999dd4c51d2cb42499b6796d5a882c3a8a961923c25a898c90f8bbd56f",
    "val.de.gz": "f0cba2f995189cf5770f29a8a9a537a3ad3f51657ad873405082ff6863a5e75a",
    "val.en.gz": "14f7d25ddd868909a9213e361768460edcacdd6ab9d1e77b92560dc10c10dc28",
    "test_2016_flickr.de.gz": (
        "9204244e408ccb38d2a55cfcd344df15005fc42a07a6e55ca6c52b6ababb8cc8"
    ),
    "test_2016_flickr.en.gz": (
        "611d361c6334bc7246101d48097c13cf5c4413c5befc793cc629934359d532d9"
    ),
}

_VARIANT = re.compile(r"\(\d+\)$")  # follows a word with several pronunciations


def cmudict(
    split: str,
    *,
    folder: str | os.PathLike[str] | None = None,
    base_url: str | None = None,
    by_word: bool = True,
    verify: bool = True,
) -> Corpus:
    r"""Reads words and their pronunciations from CMUDict 0.7b, without stress.

    The source is a word, for the tokenizer `"characters"`. The target is its phonemes,
    separated by spaces, such as `"K AO R S"`. A word with several pronunciations is in
    several pairs. `Corpus.references` collects them: an output counts as correct if it
    equals any of them.

    The files are those of CNTK's grapheme-to-phoneme example, which are split by
    pronunciation, not by word. The development file has one pronunciation per word, and
    the training file has other pronunciations of 721 of these words.

    Args:
        split: str, `"train"` (108,132 pronunciations), `"dev"` (6,267 of 5,447 words)
            or `"test"` (12,855 of 11,994 words).
        folder: path or None, a folder with the files, or with a folder `cmudict` that
            has the files. Default: None, the files are downloaded once and cached.
        base_url: str or None, the URL to download from, in place of CNTK's repository.
            Default: None.
        by_word: bool, whether to move all pronunciations of the words in the
            development file to the end of the split `"dev"`. `"train"` counts them as
            excluded. False returns the files unchanged, with 108,952 and 5,447
            pronunciations. Default: True.
        verify: bool, whether to check the SHA-256 of the files. Default: True.

    Returns:
        A `Corpus`.

    Raises:
        OSError: if a file is missing or cannot be downloaded.
        ValueError: if `split` is unknown or a file is not the public one.

    Example:
        >>> from pathlib import Path
        >>> from kseq.data import cmudict
        >>> name = "cmudict-0.7b.train-dev-1-21"
        >>> _ = Path(name).write_text("ABADIE  AH B AE D IY\n")
        >>> list(cmudict("dev", folder=".", by_word=False, verify=False))
        [('ABADIE', 'AH B AE D IY')]

    Reference:
        The Carnegie Mellon University Pronouncing Dictionary, copyright Carnegie Mellon
        University, with a BSD-style license.
    """
    check_choice("split", split, tuple(CMUDICT_FILES))
    check_boolean("by_word", by_word)
    check_boolean("verify", verify)
    splits = [split]
    if by_word and split != "test":
        splits.append("dev" if split == "train" else "train")
    path, *others = (
        fetch(
            "cmudict",
            name,
            SHA256[name],
            CMUDICT_URL,
            folder=folder,
            base_url=base_url,
            verify=verify,
        )
        for name in map(CMUDICT_FILES.__getitem__, splits)
    )

    def read_train(reading: Reading) -> Iterator[tuple[str, str]]:
        dev = {word for other in others for word, _ in _entries(reading, other)}
        for word, phonemes in _entries(reading, path):
            if word in dev:
                reading.leave_out("excluded")
            else:
                yield word, phonemes

    def read_dev(reading: Reading) -> Iterator[tuple[str, str]]:
        words = set()
        for word, phonemes in _entries(reading, path):
            words.add(word)
            yield word, phonemes
        for other in others:
            yield from (
                entry for entry in _entries(reading, other) if entry[0] in words
            )

    read = read_train if split == "train" else read_dev
    return Corpus(read, [path, *others], "of words in the development set")


def multi30k(
    split: str,
    *,
    source: str = "de",
    target: str = "en",
    folder: str | os.PathLike[str] | None = None,
    base_url: str | None = None,
    verify: bool = True,
) -> Corpus:
    """Reads German and English descriptions of pictures from Multi30k, task 1.

    The texts are raw: neither tokenized nor lower-cased.

    Args:
        split: str, `"train"` (29,000 pairs), `"val"` (1,014) or `"test_2016_flickr"`
            (1,000), or `"test"` for short.
        source: str, the language of the sources, `"de"` or `"en"`. Default: `"de"`.
        target: str, the language of the targets. Default: `"en"`.
        folder: path or None, a folder with the files, or with a folder `multi30k` that
            has the files. Default: None, the files are downloaded once and cached.
        base_url: str or None, the URL to download from, in place of Multi30k's
            repository. Default: None.
        verify: bool, whether to check the SHA-256 of the files. Default: True.

    Returns:
        A `Corpus`.

    Raises:
        OSError: if a file is missing or cannot be downloaded.
        ValueError: if `split` or a language is unknown, or a file is not the public
            one.

    Example:
        >>> import gzip
        >>> from pathlib import Path
        >>> from kseq.data import multi30k
        >>> _ = Path("val.de.gz").write_bytes(gzip.compress(b"Ein Hund."))
        >>> _ = Path("val.en.gz").write_bytes(gzip.compress(b"A dog."))
        >>> list(multi30k("val", folder=".", verify=False))
        [('Ein Hund.', 'A dog.')]

    Reference:
        [Multi30K: Multilingual English-German Image
        Descriptions](https://arxiv.org/abs/1605.00459). For use in research.
    """
    check_choice("split", split, MULTI30K_SPLITS)
    check_choice("source", source, MULTI30K_LANGUAGES)
    check_choice("target", target, MULTI30K_LANGUAGES)
    check_boolean("verify", verify)
    if source == target:
        raise ValueError(
            "`source` and `target` must be different languages. Received: "
            f"{source!r} for both."
        )
    stem = "test_2016_flickr" if split == "test" else split
    paths = [
        fetch(
            "multi30k",
            name,
            SHA256[name],
            MULTI30K_URL,
            folder=folder,
            base_url=base_url,
            verify=verify,
        )
        for name in (f"{stem}.{source}.gz", f"{stem}.{target}.gz")
    ]
    return read_parallel(*paths)


def _entries(reading: Reading, path: str) -> Iterator[tuple[str, str]]:
    """Reads the words of a CMUDict file, each with one pronunciation."""
    for number, line in enumerate(reading.lines(path), 1):
        word, *phonemes = decode_line(line, path, number).split() or [""]
        if not phonemes:
            raise ValueError(
                f"{path}, line {number}: must be a word and its phonemes. Received: "
                f"{decode_line(line, path, number)!r}."
            )
        yield _VARIANT.sub("", word), " ".join(phonemes)
