"""A corpus: pairs of texts, read again in each pass, and counts of skipped pairs."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from kseq.data.corpora.lines import binary_lines, open_binary
from kseq.progress import progress

if TYPE_CHECKING:
    import pandas as pd

_LINES_PER_UPDATE = 1024  # of the progress bar


@dataclasses.dataclass(frozen=True)
class CorpusCounts:
    """Counts of the pairs that a pass returned or left out, each pair counted once.

    Args:
        pairs: int, number of pairs returned. Default: 0.
        empty_source: int, pairs left out because only the source is empty or white
            space. Default: 0.
        empty_target: int, the same for the target. Default: 0.
        empty_both: int, the same for both sides. Default: 0.
        invalid: int, pairs left out because a side is not UTF-8. Default: 0.
        too_long: int, pairs left out because a side has too many characters.
            Default: 0.
        excluded: int, pairs left out by a rule of the corpus, such as words that are in
            another split. Default: 0.

    Example:
        >>> from kseq.data import CorpusCounts
        >>> CorpusCounts(pairs=7, empty_source=2, invalid=1).left_out
        3
    """

    pairs: int = 0
    empty_source: int = 0
    empty_target: int = 0
    empty_both: int = 0
    invalid: int = 0
    too_long: int = 0
    excluded: int = 0

    @property
    def left_out(self) -> int:
        """Number of pairs left out, for any reason."""
        return sum(dataclasses.astuple(self)) - self.pairs


_REASONS = {
    "empty_source": "with an empty source",
    "empty_target": "with an empty target",
    "empty_both": "with both sides empty",
    "invalid": "of invalid UTF-8",
    "too_long": "with a line that is too long",
}


class Reading:
    """One pass over files: opens them, counts left-out pairs, and shows progress.

    The progress on stderr is in bytes. It appears if the pass takes over two seconds.

    Args:
        files: iterable of str, the files to read. Other names are ignored.
    """

    def __init__(self, files: Iterable[str]) -> None:
        self._left_out: Counter[str] = Counter()
        self._bar = progress(
            None,
            "reading",
            total=sum(os.path.getsize(file) for file in files if os.path.isfile(file)),
            unit="bytes",
            scaled=True,
        )

    def lines(self, path: str, max_length: int | None = None) -> Iterator[bytes]:
        """Reads the lines of a file, gzipped if its name ends in `.gz`.

        Args:
            path: str, the file.
            max_length: int or None, the maximum number of characters of a line.
                Default: None, no limit.

        Returns:
            An iterator of bytes, as from `kseq.data.corpora.lines.binary_lines`.

        Raises:
            OSError: if the file cannot be read.
            ValueError: if it is a damaged gzip file.
        """
        with open(path, "rb") as raw, open_binary(raw, path) as stream:
            shown = 0
            for number, line in enumerate(binary_lines(stream, path, max_length), 1):
                if number % _LINES_PER_UPDATE == 0:
                    self._bar.update(raw.tell() - shown)
                    shown = raw.tell()
                yield line
            self._bar.update(raw.tell() - shown)

    def add_progress(self, count: int) -> None:
        """Advances the progress bar, for bytes not read by `lines`.

        Args:
            count: int, number of bytes read since the last call.
        """
        self._bar.update(count)

    def leave_out(self, reason: str) -> None:
        """Counts a pair that is left out.

        Args:
            reason: str, a field of `CorpusCounts`.
        """
        self._left_out[reason] += 1

    def counts(self, pairs: int) -> CorpusCounts:
        """Returns the counts so far, with the given number of returned pairs."""
        return CorpusCounts(pairs, **self._left_out)

    def close(self) -> None:
        """Closes the progress bar."""
        self._bar.close()


class Corpus:
    """Pairs of a source and a target text, read again by each `iter()`.

    A pass holds one pair at a time in memory. Pairs with an empty side (empty or white
    space) are left out and counted.

    `read_parallel`, `read_table`, `read_ctf`, `cmudict` and `multi30k` return corpora.
    For your own format, pass a function that reads it.

    Args:
        read: callable that takes the `Reading` of a pass and returns an iterator of
            pairs of str. It calls `Reading.leave_out` for each pair it leaves out.
        files: list of str, the paths that `read` reads, or names of other sources, for
            the record of a run and for the progress bar.
        excluded: str, the text in `report` for pairs that `read` leaves out with the
            reason `"excluded"`. Default: `"excluded"`.

    Example:
        >>> from kseq.data import Corpus
        >>> corpus = Corpus(lambda reading: iter([("a", "A"), ("", "B")]), ["memory"])
        >>> list(corpus)
        [('a', 'A')]
        >>> corpus.counts.pairs, corpus.counts.empty_source
        (1, 1)
        >>> corpus.report()
        '1 pair; 1 left out: 1 with an empty source'
    """

    def __init__(
        self,
        read: Callable[[Reading], Iterable[tuple[str, str]]],
        files: Iterable[str],
        excluded: str = "excluded",
    ) -> None:
        self._read = read
        self._files = tuple(files)
        self._excluded = excluded
        self._counts: CorpusCounts | None = None

    @property
    def files(self) -> tuple[str, ...]:
        """The paths or names that the corpus reads."""
        return self._files

    @property
    def counts(self) -> CorpusCounts | None:
        """The counts of the last complete pass, or None before the first one."""
        return self._counts

    def __repr__(self) -> str:
        """Returns a short description."""
        return f"<Corpus of {', '.join(self._files)}>"

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """Iterates over the pairs, from the start of the files.

        Raises:
            OSError: if a file cannot be read.
            ValueError: if a file is not valid; the message names the file and the line.
        """
        reading = Reading(self._files)
        pairs = 0
        try:
            for source, target in self._read(reading):
                has_source, has_target = bool(source.strip()), bool(target.strip())
                if has_source and has_target:
                    pairs += 1
                    yield source, target
                elif has_target:
                    reading.leave_out("empty_source")
                elif has_source:
                    reading.leave_out("empty_target")
                else:
                    reading.leave_out("empty_both")
            self._counts = reading.counts(pairs)
        finally:
            reading.close()

    def lists(self) -> tuple[list[str], list[str]]:
        """Reads all pairs into memory.

        Returns:
            A tuple `(sources, targets)` of lists of str.

        Raises:
            OSError: if a file cannot be read.
            ValueError: if a file is not valid.

        Example:
            >>> from kseq.data import Corpus
            >>> Corpus(lambda _: iter([("a", "A"), ("b", "B")]), ["memory"]).lists()
            (['a', 'b'], ['A', 'B'])
        """
        sources, targets = [], []
        for source, target in self:
            sources.append(source)
            targets.append(target)
        return sources, targets

    def frame(self) -> pd.DataFrame:
        """Reads all pairs into a DataFrame.

        Returns:
            pandas DataFrame with the string columns `source` and `target`.

        Raises:
            OSError: if a file cannot be read.
            ValueError: if a file is not valid.
        """
        import pandas as pd

        sources, targets = self.lists()
        return pd.DataFrame({"source": sources, "target": targets})

    def references(self) -> dict[str, list[str]]:
        """Collects all targets of each source, for metrics with several references.

        Returns:
            dict from each source to the list of its distinct targets, both in the order
            of the corpus.

        Raises:
            OSError: if a file cannot be read.
            ValueError: if a file is not valid.

        Example:
            >>> from kseq.data import Corpus
            >>> pairs = [("READ", "R IY D"), ("RED", "R EH D"), ("READ", "R EH D")]
            >>> Corpus(lambda reading: iter(pairs), ["memory"]).references()
            {'READ': ['R IY D', 'R EH D'], 'RED': ['R EH D']}
        """
        # A dict serves as an ordered set.
        targets: dict[str, dict[str, None]] = {}
        for source, target in self:
            targets.setdefault(source, {})[target] = None
        return {source: list(distinct) for source, distinct in targets.items()}

    def report(self) -> str:
        """Describes the counts of the last complete pass in one line, for a log.

        Returns:
            str, such as "29,000 pairs; 3 left out: 2 with an empty source, 1 of invalid
            UTF-8".
        """
        counts = self._counts
        if counts is None:
            return "not read to the end yet"
        pairs = f"{counts.pairs:,} pair{'' if counts.pairs == 1 else 's'}"
        if not counts.left_out:
            return f"{pairs}; none left out"
        reasons = _REASONS | {"excluded": self._excluded}
        parts = [
            f"{count:,} {phrase}"
            for field, phrase in reasons.items()
            if (count := getattr(counts, field))
        ]
        return f"{pairs}; {counts.left_out:,} left out: {', '.join(parts)}"
