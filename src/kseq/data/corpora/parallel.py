"""Parallel text: two files, a line of one belongs to the same line of the other."""

from collections.abc import Iterable, Iterator
from itertools import zip_longest

from kseq.config.checks import check_choice, check_integer
from kseq.data.corpora.corpus import Corpus, Reading
from kseq.data.corpora.lines import (
    TOO_LONG,
    NotUTF8Error,
    Path,
    check_files,
    decoded,
)

ON_INVALID = ("error", "skip")

_END = b"\n\n"  # in place of the lines that the shorter file lacks


def read_parallel(
    sources: Path | Iterable[Path],
    targets: Path | Iterable[Path],
    *,
    on_invalid: str = "error",
    max_line_length: int | None = None,
) -> Corpus:
    r"""Reads pairs from two files, or from several pairs of files, one text a line.

    Files are UTF-8, gzipped where the name ends in `.gz`; a byte order mark at the
    start is dropped. A line ends at `"\n"` or `"\r\n"` and nowhere else.

    Args:
        sources: path or list of paths, the files of the sources.
        targets: path or list of paths, as many; the i-th one belongs to the i-th of
            the sources and has as many lines.
        on_invalid: str, what to do about a line that is not UTF-8: `"error"` raises,
            `"skip"` leaves its pair out and counts it. Defaults to `"error"`.
        max_line_length: int or None, the most characters of a line; pairs with a longer
            one are left out and counted, and a line of over four bytes for each
            character allowed is not looked at further. Defaults to None, no limit.

    Returns:
        A `Corpus`. A pass raises ValueError where a file is not what it should be: when
        two files turn out to have different numbers of lines, at the end of the
        shorter one.

    Raises:
        TypeError: if an argument has the wrong type.
        OSError: if a file does not exist or is a folder.
        ValueError: if the sides differ in their number of files, a file is a pipe, or
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
            "`sources` and `targets` must name as many files. Received: "
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
    reading: Reading, files: tuple[str, str], skip: bool, most: int | None
) -> Iterator[tuple[str, str]]:
    """Reads one pair of files."""
    rows = zip_longest(*(reading.lines(file, most) for file in files), fillvalue=_END)
    for number, row in enumerate(rows, 1):
        if _END in row:
            shorter = row.index(_END)
            counts = {files[shorter]: number - 1}
            counts[files[1 - shorter]] = number + sum(1 for _ in rows)
            raise ValueError(
                f"'{files[0]}' and '{files[1]}' must have the same number of lines. "
                f"Received: {counts[files[0]]:,} and {counts[files[1]]:,} lines; a "
                "line is missing or was cut in two somewhere."
            )
        if TOO_LONG in row:
            reading.leave_out("too_long")
            continue
        try:
            source, target = (
                decoded(line, file, number)
                for line, file in zip(row, files, strict=True)
            )
        except NotUTF8Error:
            if not skip:
                raise
            reading.leave_out("invalid")
            continue
        if most is not None and max(len(source), len(target)) > most:
            reading.leave_out("too_long")
        else:
            yield source, target
