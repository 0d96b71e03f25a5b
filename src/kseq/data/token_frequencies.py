"""The tokens of texts, sorted by frequency."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from kseq.config.checks import check_integer
from kseq.data.corpora.corpus import Reading
from kseq.data.corpora.lines import decode_line
from kseq.data.tokenizers import Tokenizer
from kseq.special_tokens import SPECIAL_TOKENS


def check_limits(
    min_frequency: Any, max_size: Any, ties: Any
) -> tuple[int, int | None, bool]:
    """Returns the checked limits of `Vocabulary.build`, `ties` as `descending`."""
    if ties not in ("ascending", "descending"):
        raise ValueError(
            f"`ties` must be 'ascending' or 'descending'. Received: {ties!r}."
        )
    return (
        check_integer("min_frequency", min_frequency, 1),
        None if max_size is None else check_integer("max_size", max_size, 1),
        ties == "descending",
    )


def frequent_tokens(
    texts: Iterable[str],
    tokenizer: Tokenizer,
    min_frequency: int,
    max_size: int | None,
    descending: bool,
) -> list[str]:
    """Returns the ordinary tokens of texts, the most frequent first."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(tokenizer.tokenize(text))
    for special in SPECIAL_TOKENS:
        # In a text they are unknown words.
        counts.pop(special, None)
    tokens = [token for token, count in counts.items() if count >= min_frequency]
    tokens.sort(reverse=descending)
    tokens.sort(key=lambda token: -counts[token])
    return tokens[:max_size]


def read_files(files: Iterable[str]) -> Iterator[str]:
    """Reads the lines of files, with one progress bar."""
    reading = Reading(files)
    try:
        for file in files:
            for number, line in enumerate(reading.lines(file), 1):
                yield decode_line(line, file, number)
    finally:
        reading.close()
