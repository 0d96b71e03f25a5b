import gzip
import os
import tracemalloc
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from kseq.data import CorpusCounts, read_parallel

texts = st.text(st.characters(codec="utf-8", exclude_characters="\n\r\ufeff"))


def written(folder: Path, *contents: str | bytes) -> list[Path]:
    """Files named a, b, ... of these contents."""
    paths = []
    for name, content in zip("abcdef", contents, strict=False):
        path = folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        paths.append(path)
    return paths


@given(st.lists(st.tuples(texts, texts)), st.booleans(), st.booleans())
def test_written_pairs_are_read_back(
    tmp_path_factory: pytest.TempPathFactory,
    pairs: list[tuple[str, str]],
    packed: bool,
    ended: bool,
) -> None:
    folder = tmp_path_factory.mktemp("pairs")
    paths = []
    for side, name in enumerate(["source", "target"]):
        data = "\n".join(pair[side] for pair in pairs).encode()
        if pairs and (ended or not pairs[-1][side]):
            data += b"\n"
        paths.append(folder / (f"{name}.gz" if packed else name))
        paths[-1].write_bytes(gzip.compress(data) if packed else data)
    corpus = read_parallel(*paths)
    assert list(corpus) == [(s, t) for s, t in pairs if s.strip() and t.strip()]
    assert corpus.counts is not None
    assert corpus.counts.pairs + corpus.counts.left_out == len(pairs)


def test_several_files_follow_each_other(tmp_path: Path) -> None:
    a, b, c, d = written(tmp_path, "1\n2", "3\n", "\ufeffone\ntwo\n", "three")
    corpus = read_parallel([a, str(b)], [str(c), d])
    assert list(corpus) == [("1", "one"), ("2", "two"), ("3", "three")]
    assert corpus.files == (str(a), str(b), str(c), str(d))


def test_a_line_separator_inside_a_text_shifts_nothing(tmp_path: Path) -> None:
    a, b = written(tmp_path, "x\u2028y\nz\n", "X\x85Y\nZ\n")
    assert list(read_parallel(a, b)) == [("x\u2028y", "X\x85Y"), ("z", "Z")]


@pytest.mark.parametrize(("sizes"), [(5, 7), (7, 5), (0, 1), (2000, 1)])
def test_unequal_line_counts_are_an_error_at_the_end_of_the_shorter(
    tmp_path: Path, sizes: tuple[int, int]
) -> None:
    a, b = written(tmp_path, *("x\n" * size for size in sizes))
    corpus = read_parallel(a, b)
    pairs = iter(corpus)
    for _ in range(min(sizes)):
        next(pairs)
    message = rf"a' and '.*b' must .* Received: {sizes[0]:,} and {sizes[1]:,} lines"
    with pytest.raises(ValueError, match=message):
        next(pairs)
    assert corpus.counts is None


def test_files_are_compared_pair_by_pair(tmp_path: Path) -> None:
    a, b, c, d = written(tmp_path, "1\n2\n", "3\n", "one\n", "two\nthree\n")
    with pytest.raises(ValueError, match=r"a' and '.*c' .* 2 and 1 lines"):
        list(read_parallel([a, b], [c, d]))


def test_invalid_utf8_is_an_error_that_names_file_and_line(tmp_path: Path) -> None:
    a, b = written(tmp_path, "1\n2\n3\n", b"one\nt\xfco\nthree\n")
    pairs = iter(read_parallel(a, b))
    assert next(pairs) == ("1", "one")
    with pytest.raises(ValueError, match="b, line 2: not UTF-8, byte 2 of the line"):
        next(pairs)


def test_invalid_utf8_can_be_skipped_and_is_counted(tmp_path: Path) -> None:
    a, b = written(tmp_path, b"1\n2\n\xff\n4\n", b"one\nt\xfco\n\xff\nfour\n")
    corpus = read_parallel(a, b, on_invalid="skip")
    assert list(corpus) == [("1", "one"), ("4", "four")]
    assert corpus.counts == CorpusCounts(pairs=2, invalid=2)


@pytest.mark.parametrize("longest", [4, 5, 19, 20, 21, 25, 26, 200_000])
@pytest.mark.parametrize("character", ["x", "ä", "字", "🙂"])
def test_lines_over_the_limit_are_left_out_and_counted(
    tmp_path: Path, longest: int, character: str
) -> None:
    lines = ["a", character * longest, "b", "c", character * 5]
    a, b = written(tmp_path, "\ufeff" + "\r\n".join(lines), "A\nB\nC\nD\nE\n")
    for pair in [(a, b), (b, a)]:
        corpus = read_parallel(*pair, max_line_length=5)
        kept = [len(line) <= 5 for line in lines]
        assert len(list(corpus)) == sum(kept)
        assert corpus.counts == CorpusCounts(sum(kept), too_long=kept.count(False))


def test_the_limit_holds_for_the_first_line_too(tmp_path: Path) -> None:
    a, b = written(tmp_path, "\ufeff" + "🙂" * 5 + "\r\n" + "🙂" * 6, "A\nB")
    assert list(read_parallel(a, b, max_line_length=5)) == [("🙂" * 5, "A")]


def test_a_huge_line_over_the_limit_is_not_held_in_memory(tmp_path: Path) -> None:
    a, b = written(tmp_path, b"x" * 8_000_000 + b"\ny", "X\nY")
    corpus = read_parallel(a, b, max_line_length=1000)
    tracemalloc.start()
    try:
        assert list(corpus) == [("y", "Y")]
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def test_a_damaged_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    a, b = tmp_path / "a.gz", tmp_path / "b"
    a.write_bytes(gzip.compress(b"x\ny\n")[:-5])
    b.write_text("X\nY\n")
    with pytest.raises(
        ValueError, match=r"a\.gz is not a complete gzip file: after line"
    ):
        list(read_parallel(a, b))


def test_files_are_looked_for_at_once(tmp_path: Path) -> None:
    (a,) = written(tmp_path, "x\n")
    with pytest.raises(FileNotFoundError, match=r"`targets`: there is no .*absent"):
        read_parallel(a, tmp_path / "absent")
    with pytest.raises(IsADirectoryError, match="`sources` must be a file"):
        read_parallel(tmp_path, a)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match=r"more than once.*a pipe or a device"):
        read_parallel(a, tmp_path / "pipe")


def test_a_file_that_has_gone_is_an_error_of_the_pass(tmp_path: Path) -> None:
    a, b = written(tmp_path, "x\n", "X\n")
    corpus = read_parallel(a, b)
    b.unlink()
    with pytest.raises(FileNotFoundError, match="b'"):
        list(corpus)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"on_invalid": "ignore"}, ValueError, "'error', 'skip'. Received: 'ignore'"),
        ({"max_line_length": 0}, ValueError, "at least 1. Received: 0"),
        ({"max_line_length": "9"}, TypeError, "Received: '9'"),
        ({"sources": []}, ValueError, "`sources` must name at least one file"),
        ({"sources": 3}, TypeError, "`sources` must be a path or a list of paths"),
        ({"sources": [b"a"]}, TypeError, "b'a' of type bytes in the list"),
        ({"sources": b"a"}, TypeError, "b'a' of type bytes"),
    ],
)
def test_bad_options_are_refused(
    tmp_path: Path, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    a, b = written(tmp_path, "x\n", "X\n")
    with pytest.raises(error, match=message):
        read_parallel(**{"sources": a, "targets": b, **options})


def test_the_sides_need_as_many_files(tmp_path: Path) -> None:
    a, b = written(tmp_path, "x\n", "X\n")
    with pytest.raises(
        ValueError, match=r"the same number of files\. Received: 2 and 1"
    ):
        read_parallel([a, a], b)
