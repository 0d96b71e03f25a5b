"""Parallel text: two files whose lines are pairs."""

from collections.abc import Iterable, Iterator
from itertools import zip_longest

from kseq.config.checks import check_choice, check_integer
from kseq.data.corpora.corpus import Corpus, Reading
from kseq.data.corpora.lines import (
    TOO_LONG,
    NotUTF8Error,
    Path,
    check_files,
    decode_line,
)

ON_INVALID = ("error", "skip")

_MISSING = b"\n\n"  # stands for the lines that the shorter file lacks


def read_parallel(
    sources: Path | Iterable[Path],
    targets: Path | Iterable[Path],
    *,
    on_invalid: str = "error",
    max_line_length: int | None = None,
) -> Corpus:
    r"""Reads pairs from two files, or several pairs of files, with one text per line.

    Files are UTF-8, gzipped if the name ends in `.gz`. A byte order mark at the start
    is dropped. Only `"\n"` and `"\r\n"` end a line.

    Args:
        sources: path or list of paths, the files of the sources.
        targets: path or list of paths, one file for each file of the sources, with the
            same number of lines.
        on_invalid: str, how to handle a line that is not UTF-8: `"error"` raises an
            error, `"skip"` leaves out the pair and counts it. Default: `"error"`.
        max_line_length: int or None, the maximum number of characters of a line. Pairs
            with a longer line are left out and counted. Default: None, no limit.

    Returns:
        A `Corpus`. A pass raises ValueError if a file is not valid, or, at the end of
        the shorter file, if two files have different numbers of lines.

    Raises:
        TypeError: if an argument has the wrong type.
        OSError: if a file does not exist or is a folder.
        ValueError: if the sides have different numbers of files, a file is a pipe, or
            an option is unknown.

    Example:
        >>> from pathlib import Path
        >>> from kseq.data import read_parallel
        >>> _ = Path("train.de").write_text("ein Hund\n\nzwei Hunde\n")
        >>> _ = Path("train.en").write_text("a dog\na cat\ntwo dogs\n")
        >>> corpus = read_parallel("train.de", "train.en")
        >>> for source, target in corpus:
        ...     print(source, "->", target)
        ein Hund -> a dog
        zwei Hunde -> two dogs
        >>> corpus.report()
        '2 pairs; 1 left out: 1 with an empty source'
    """
    source_files = check_files("sources", sources)
    target_files = check_files("targets", targets)
    if len(source_files) != len(target_files):
        raise ValueError(
            "`sources` and `targets` must have the same number of files. Received: "
            f"{len(source_files)} and {len(target_files)} files."
        )
    check_choice("on_invalid", on_invalid, ON_INVALID)
    if max_line_length is not None:
        max_line_length = check_integer("max_line_length", max_line_length, 1)

    def read(reading: Reading) -> Iterator[tuple[str, str]]:
        for files in zip(source_files, target_files, strict=True):
            yield from _pairs(reading, files, on_invalid == "skip", max_line_length)

    return Corpus(read, source_files + target_files)


def _pairs(
    reading: Reading, files: tuple[str, str], skip: bool, max_length: int | None
) -> Iterator[tuple[str, str]]:
    """Reads one pair of files."""
    rows = zip_longest(
        *(reading.lines(file, max_length) for file in files), fillvalue=_MISSING
    )
    for number, row in enumerate(rows, 1):
        if _MISSING in row:
            shorter = row.index(_MISSING)
            counts = {files[shorter]: number - 1}
            counts[files[1 - shorter]] = number + sum(1 for _ in rows)
            raise ValueError(
                f"'{files[0]}' and '{files[1]}' must have the same number of lines. "
                f"Received: {counts[files[0]]:,} and {counts[files[1]]:,} lines; a "
                "line is missing or was split somewhere."
            )
        if TOO_LONG in row:
            reading.leave_out("too_long")
            continue
        try:
            source, target = (
                decode_line(line, file, number)
                for line, file in zip(row, files, strict=True)
            )
        except NotUTF8Error:
            if not skip:
                raise
            reading.leave_out("invalid")
            continue
        if max_length is not None and max(len(source), len(target)) > max_length:
            reading.leave_out("too_long")
        else:
            yield source, target
