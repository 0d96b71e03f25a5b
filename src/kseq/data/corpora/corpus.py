"""A corpus: pairs of texts that are read anew in each pass, and what a pass met."""

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

_LINES_AN_UPDATE = 1024  # of the progress bar


@dataclasses.dataclass(frozen=True)
class CorpusCounts:
    """What a pass over a corpus met: each pair counts once, given or left out.

    Args:
        pairs: Pairs given.
        empty_source: Pairs left out because the source alone is empty or white space.
        empty_target: Likewise for the target alone.
        empty_both: Likewise for both.
        invalid: Pairs left out because a side is not UTF-8.
        too_long: Pairs left out because a side has more characters than allowed.
        excluded: Pairs left out by the corpus's own rule, such as words that another
            split holds.

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
        """The pairs left out, for whatever reason."""
        return sum(dataclasses.astuple(self)) - self.pairs


_REASONS = {
    "empty_source": "with an empty source",
    "empty_target": "with an empty target",
    "empty_both": "with both sides empty",
    "invalid": "of invalid UTF-8",
    "too_long": "with a line that is too long",
}


class Reading:
    """One pass over files: it opens them, counts what is left out, shows progress.

    It shows on stderr how many bytes are read, if the pass takes over two seconds.

    Args:
        files: iterable of str, what the pass will read; names that are no files count
            nothing.
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
            max_length: int or None, the most characters of a line. Defaults to None,
                no limit.

        Returns:
            An iterator of bytes, as `kseq.data.corpora.lines.binary_lines` gives them.

        Raises:
            OSError: if the file cannot be read.
            ValueError: if it is a damaged gzip file.
        """
        with open(path, "rb") as raw, open_binary(raw, path) as stream:
            shown = 0
            for number, line in enumerate(binary_lines(stream, path, max_length), 1):
                if number % _LINES_AN_UPDATE == 0:
                    self._bar.update(raw.tell() - shown)
                    shown = raw.tell()
                yield line
            self._bar.update(raw.tell() - shown)

    def show(self, count: int) -> None:
        """Moves the progress bar on, by bytes read elsewhere than in `lines`.

        Args:
            count: int, bytes read since the last call.
        """
        self._bar.update(count)

    def leave_out(self, reason: str) -> None:
        """Counts a pair that is not given.

        Args:
            reason: str, a field of `CorpusCounts`.
        """
        self._left_out[reason] += 1

    def counts(self, pairs: int) -> CorpusCounts:
        """Returns what was met so far, beside so many pairs given."""
        return CorpusCounts(pairs, **self._left_out)

    def close(self) -> None:
        """Takes the progress bar away."""
        self._bar.close()


class Corpus:
    """Pairs of a source and a target text, read anew by each `iter()`.

    A pass holds one pair at a time, never the whole. Pairs with an empty side (nothing
    but white space) are left out, and counted: nothing is left out silently.

    The readers make corpora: `read_parallel`, `read_table`, `read_ctf`, `cmudict` and
    `multi30k`. For a format of your own pass a function that reads it.

    Args:
        read: callable, given the `Reading` of a pass it returns an iterator of pairs of
            str. What it leaves out it tells to `Reading.leave_out`.
        files: list of str, the paths that `read` reads, or names of other sources; for
            a run's record and for the progress bar.
        excluded: str, what `report` says of pairs that `read` leaves out as
            `"excluded"`. Defaults to `"excluded"`.

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
        """The paths or names of what the corpus reads."""
        return self._files

    @property
    def counts(self) -> CorpusCounts | None:
        """What the last whole pass met; None before the first has come to its end."""
        return self._counts

    def __repr__(self) -> str:
        """Returns a short description."""
        return f"<Corpus of {', '.join(self._files)}>"

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """Iterates over the pairs, from the start of the files.

        Raises:
            OSError: if a file cannot be read.
            ValueError: if a file is not what it should be; the message names the file
                and the line.
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
            ValueError: if a file is not what it should be.

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
            ValueError: if a file is not what it should be.
        """
        import pandas as pd

        sources, targets = self.lists()
        return pd.DataFrame({"source": sources, "target": targets})

    def references(self) -> dict[str, list[str]]:
        """Reads all targets of each source, for rules that accept any reference.

        Returns:
            dict, a source -> list of its distinct targets, both in the corpus's order.

        Raises:
            OSError: if a file cannot be read.
            ValueError: if a file is not what it should be.

        Example:
            >>> from kseq.data import Corpus
            >>> pairs = [("READ", "R IY D"), ("RED", "R EH D"), ("READ", "R EH D")]
            >>> Corpus(lambda reading: iter(pairs), ["memory"]).references()
            {'READ': ['R IY D', 'R EH D'], 'RED': ['R EH D']}
        """
        # A dict for each, as a set that keeps its order.
        targets: dict[str, dict[str, None]] = {}
        for source, target in self:
            targets.setdefault(source, {})[target] = None
        return {source: list(distinct) for source, distinct in targets.items()}

    def report(self) -> str:
        """Returns one sentence for a log: what the last whole pass met.

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
