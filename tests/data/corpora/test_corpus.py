import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pandas as pd
import pytest
from hypothesis import given

from kseq.data import Corpus, CorpusCounts, read_parallel
from kseq.data.corpora import Reading

Pairs = list[tuple[str, str]]


def corpus_of(pairs: Pairs) -> Corpus:
    return Corpus(lambda reading: iter(pairs), ["memory"])


sides = st.sampled_from(["", " ", "\t\u2028", "a", "b c", " d "])


@given(st.lists(st.tuples(sides, sides)))
def test_every_pair_is_given_as_it_is_or_counted_as_left_out(pairs: Pairs) -> None:
    corpus = corpus_of(pairs)
    assert list(corpus) == [(s, t) for s, t in pairs if s.strip() and t.strip()]
    empty = [(not source.strip(), not target.strip()) for source, target in pairs]
    assert corpus.counts == CorpusCounts(
        pairs=empty.count((False, False)),
        empty_source=empty.count((True, False)),
        empty_target=empty.count((False, True)),
        empty_both=empty.count((True, True)),
    )
    assert corpus.counts is not None
    assert corpus.counts.pairs + corpus.counts.left_out == len(pairs)


def test_each_pass_reads_anew_and_counts_anew() -> None:
    pairs = [("a", "A"), ("", "B")]
    corpus = corpus_of(pairs)
    assert list(corpus) == list(corpus) == [("a", "A")]
    assert corpus.counts == CorpusCounts(pairs=1, empty_source=1)
    pairs.append(("c", "C"))
    assert list(corpus) == [("a", "A"), ("c", "C")]
    assert corpus.counts == CorpusCounts(pairs=2, empty_source=1)


def test_two_passes_at_a_time_do_not_disturb_each_other() -> None:
    corpus = corpus_of([("a", "A"), ("", "B"), ("c", "C")])
    assert list(zip(corpus, corpus, strict=True)) == [
        (("a", "A"), ("a", "A")),
        (("c", "C"), ("c", "C")),
    ]
    assert corpus.counts == CorpusCounts(pairs=2, empty_source=1)


def test_only_a_whole_pass_counts() -> None:
    corpus = corpus_of([("a", "A"), ("b", "B")])
    assert corpus.counts is None
    assert corpus.report() == "not read to the end yet"
    for _ in corpus:
        break
    assert corpus.counts is None
    list(corpus)
    assert corpus.counts == CorpusCounts(pairs=2)


def test_a_pass_holds_one_pair_at_a_time() -> None:
    read = 0

    def endless(reading: Reading) -> Iterator[tuple[str, str]]:
        nonlocal read
        while True:
            read += 1
            yield "a", "A"

    pairs = iter(Corpus(endless, []))
    assert [next(pairs) for _ in range(3)] == [("a", "A")] * 3
    assert read == 3


def test_the_report_says_what_was_left_out_and_why() -> None:
    def read(reading: Reading) -> Iterator[tuple[str, str]]:
        for reason in ["invalid", "too_long", "excluded", "excluded"]:
            reading.leave_out(reason)
        yield from [("a", "A")] * 29_000 + [("", "B")] * 2 + [("b", ""), ("", "")]

    corpus = Corpus(read, ["memory"], "of words to test")
    list(corpus)
    assert corpus.report() == (
        "29,000 pairs; 8 left out: 2 with an empty source, 1 with an empty target, "
        "1 with both sides empty, 1 of invalid UTF-8, 1 with a line that is too long, "
        "2 of words to test"
    )


def test_the_report_of_a_clean_pass_is_short() -> None:
    corpus = corpus_of([("a", "A")])
    list(corpus)
    assert corpus.report() == "1 pair; none left out"


def test_a_corpus_becomes_lists_or_a_frame() -> None:
    corpus = corpus_of([("a", "A"), ("", "x"), ("b", "B")])
    assert corpus.lists() == (["a", "b"], ["A", "B"])
    expected = pd.DataFrame({"source": ["a", "b"], "target": ["A", "B"]})
    pd.testing.assert_frame_equal(corpus.frame(), expected)


def test_references_are_distinct_and_in_order() -> None:
    corpus = corpus_of([("b", "2"), ("a", "1"), ("b", "1"), ("b", "2")])
    references = corpus.references()
    assert list(references.items()) == [("b", ["2", "1"]), ("a", ["1"])]


class Bar:
    """What a progress bar is told."""

    made: list["Bar"]

    def __init__(self, items: Any = None, **options: Any) -> None:
        self.options, self.bytes, self.closed = options, 0, False
        self.made.append(self)

    def update(self, size: int) -> None:
        self.bytes += size

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def bars(monkeypatch: pytest.MonkeyPatch) -> list[Bar]:
    monkeypatch.setattr(Bar, "made", [], raising=False)
    monkeypatch.setattr("tqdm.tqdm", Bar)
    monkeypatch.setattr("kseq.progress.on_terminal", lambda stream: True)
    return Bar.made


def test_long_reading_shows_a_bar_of_bytes(tmp_path: Path, bars: list[Bar]) -> None:
    files = [tmp_path / "a", tmp_path / "b"]
    for file in files:
        file.write_text("text\n" * 3000)
    pairs = iter(read_parallel(*files))
    for _ in range(2000):
        next(pairs)
    (bar,) = bars
    assert bar.options["total"] == 30_000
    assert bar.options["delay"] == 2
    assert 0 < bar.bytes < 30_000
    assert len(list(pairs)) == 1000
    assert bar.bytes == 30_000
    assert bar.closed


def test_a_pass_given_up_takes_its_bar_away(bars: list[Bar]) -> None:
    for _ in corpus_of([("a", "A"), ("b", "B")]):
        break
    assert [bar.closed for bar in bars] == [True]


def test_reading_imports_neither_tensorflow_nor_pandas() -> None:
    script = """if True:
        import sys
        from kseq.data import Corpus
        print(Corpus(lambda reading: iter([("a", "A")]), ["memory"]).lists())
        print({"tensorflow", "keras", "pandas"} & set(sys.modules))
    """
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert found.stdout == "(['a'], ['A'])\nset()\n"
