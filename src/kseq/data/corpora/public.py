"""Public corpora, downloaded from their sources: CMUDict and Multi30k."""

import os
import re
from collections.abc import Iterator

from kseq.config.checks import check_boolean, check_choice
from kseq.data.corpora.corpus import Corpus, Reading
from kseq.data.corpora.downloads import fetch
from kseq.data.corpora.lines import decoded
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

_VARIANT = re.compile(r"\(\d+\)$")  # after a word: its second, third pronunciation


def cmudict(
    split: str,
    *,
    folder: str | os.PathLike[str] | None = None,
    base_url: str | None = None,
    by_word: bool = True,
    verify: bool = True,
) -> Corpus:
    r"""Reads words and their pronunciations from CMUDict 0.7b, without stress.

    The source is a word, to be cut by the tokenizer `"characters"`; the target is its
    phonemes, separated by spaces, as `"K AO R S"`. A word with several pronunciations
    stands in several pairs: `Corpus.references` collects them, and by the field's rule
    an output is right when it equals any of them.

    The files are those of CNTK's grapheme-to-phoneme example. They share out the
    pronunciations, not the words: the training file holds further pronunciations of 721
    of the words of the development file, which has one of each.

    Args:
        split: str, `"train"` (108,132 pronunciations), `"dev"` (6,267 of 5,447 words)
            or `"test"` (12,855 of 11,994 words).
        folder: path or None, a folder that holds the files, or holds a folder `cmudict`
            that does. Defaults to None: the files are downloaded once and cached.
        base_url: str or None, where to download from in place of CNTK's repository.
            Defaults to None.
        by_word: bool, whether all pronunciations of a word of the development file are
            in the split `"dev"`: `"train"` leaves them out, and counts them as
            excluded; in `"dev"` they follow its own. False takes the files as they are,
            108,952 and 5,447 pronunciations. Defaults to True.
        verify: bool, whether the files' SHA-256 must be that of the public files.
            Defaults to True.

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
        University; a licence in the manner of BSD's lets you use and pass it on.
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

    The texts are raw: neither cut into tokens nor lower-cased.

    Args:
        split: str, `"train"` (29,000 pairs), `"val"` (1,014) or `"test_2016_flickr"`
            (1,000), for short `"test"`.
        source: str, the language of the sources, `"de"` or `"en"`. Defaults to `"de"`.
        target: str, the other one. Defaults to `"en"`.
        folder: path or None, a folder that holds the files, or holds a folder
            `multi30k` that does. Defaults to None: the files are downloaded once and
            cached.
        base_url: str or None, where to download from in place of Multi30k's repository.
            Defaults to None.
        verify: bool, whether the files' SHA-256 must be that of the public files.
            Defaults to True.

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
            "`source` and `target` must be two languages. Received: "
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
        word, *phonemes = decoded(line, path, number).split() or [""]
        if not phonemes:
            raise ValueError(
                f"{path}, line {number}: must be a word and its phonemes. Received: "
                f"{decoded(line, path, number)!r}."
            )
        yield _VARIANT.sub("", word), " ".join(phonemes)
