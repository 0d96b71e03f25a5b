import gzip
import io
import json
import os
import threading
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from kseq.data import read_lines
from kseq.data.corpora.lines import as_line, json_line

# Characters at which Python's own splitlines would end a line, and ours must not.
LURES = "\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"

texts = st.text(st.sampled_from("aä字" + LURES) | st.characters(codec="utf-8")).filter(
    lambda text: "\n" not in text and not text.endswith("\r")
)


def lines_of(data: bytes) -> list[str]:
    return list(read_lines(io.BytesIO(data)))


@given(
    st.lists(texts, min_size=1).filter(lambda lines: not lines[0].startswith("\ufeff")),
    st.sampled_from(["\n", "\r\n"]),
)
def test_lines_end_by_line_feeds_and_by_nothing_else(
    lines: list[str], end: str
) -> None:
    assert lines_of("".join(line + end for line in lines).encode()) == lines


@given(st.text(st.sampled_from("a\\\n\r" + LURES)))
def test_what_is_written_as_a_line_is_one_for_any_reader(text: str) -> None:
    line = as_line(text)
    assert (f"{line}\n").splitlines() == [line]
    assert lines_of(f"{line}\n".encode()) == [line]
    if "\\" not in text:
        assert line.encode().decode("unicode_escape") == text
    json_text = json_line({"text": text})
    assert json_text.splitlines() == [json_text]
    assert json.loads(json_text) == {"text": text}


def test_json_in_a_line_is_plain_utf8() -> None:
    assert json_line(["é字😀"]) == '["é字😀"]'
    assert json.loads(json_line("\udcff").encode()) == "\udcff"


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"", []),
        (b"\n", [""]),
        (b"a", ["a"]),
        (b"a\n", ["a"]),
        (b"a\n\n", ["a", ""]),
        (b"a\rb\r\r\n", ["a\rb\r"]),
        (b"a\r", ["a\r"]),
        (b"\xef\xbb\xbfa\n\xef\xbb\xbfb", ["a", "\ufeffb"]),
        (b"\xef\xbb\xbf", [""]),
    ],
)
def test_odd_ends_of_files_are_read_exactly(data: bytes, lines: list[str]) -> None:
    assert lines_of(data) == lines


def test_a_gzipped_file_is_read_like_a_plain_one(tmp_path: Path) -> None:
    data = b"\xef\xbb\xbfa b\r\n\nc"
    (tmp_path / "plain.txt").write_bytes(data)
    (tmp_path / "packed.gz").write_bytes(gzip.compress(data, mtime=0))
    assert list(read_lines(tmp_path / "plain.txt")) == ["a b", "", "c"]
    assert list(read_lines(str(tmp_path / "packed.gz"))) == ["a b", "", "c"]


def test_a_line_is_given_before_the_next_one_arrives() -> None:
    end, begin = os.pipe()
    with open(end, "rb") as reader, open(begin, "wb", buffering=0) as writer:
        lines = read_lines(reader)
        for text in ["first", "second"]:
            writer.write(f"{text}\n".encode())
            got: list[str] = []
            thread = threading.Thread(target=lambda got=got: got.append(next(lines)))
            thread.start()
            thread.join(timeout=10)
            stuck = thread.is_alive()
            if stuck:
                writer.close()  # so that the thread ends
            assert (got, stuck) == ([text], False)


def test_a_stream_is_left_open() -> None:
    stream = io.BytesIO(b"a\n")
    assert list(read_lines(stream)) == ["a"]
    assert not stream.closed


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a\nb\nok \xff\n", r"x.txt, line 3: not UTF-8, byte 4 of the line is 0xff\."),
        (b"a\n\xed\xa0\x80\n", "line 2: not UTF-8"),  # half a surrogate pair
        (b"a\ncut \xc3", "line 2: not UTF-8"),
        ("a\n".encode("utf-16"), "line 1: .* looks like UTF-16: convert it"),
        (
            gzip.compress(b"a\n", mtime=0),
            r"line 1: .* looks gzipped: its name must end in \.gz",
        ),
    ],
)
def test_what_is_not_utf8_is_named_by_file_and_line(
    tmp_path: Path, data: bytes, message: str
) -> None:
    path = tmp_path / "x.txt"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=message):
        list(read_lines(path))


def damaged(data: bytes) -> bytes:
    changed = bytearray(data)
    changed[len(data) // 2] ^= 0xFF
    return bytes(changed)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"no gzip\n", id="not gzip"),
        pytest.param(gzip.compress(b"a\n" * 99, mtime=0)[:-9], id="truncated"),
        pytest.param(
            gzip.compress(b"a\n" * 99, mtime=0)[:-8] + bytes(8), id="wrong sum"
        ),
        pytest.param(damaged(gzip.compress(os.urandom(999))), id="corrupt"),
    ],
)
def test_a_damaged_gzip_file_is_an_error_that_names_it(
    tmp_path: Path, data: bytes
) -> None:
    path = tmp_path / "x.gz"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"x\.gz"):
        list(read_lines(path))


def test_a_truncated_gzip_file_says_how_far_it_was_read(tmp_path: Path) -> None:
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(b"a\nb\n", mtime=0)[:-8])
    lines = read_lines(path)
    assert [next(lines), next(lines)] == ["a", "b"]
    with pytest.raises(ValueError, match="not a complete gzip file: after line 2"):
        next(lines)


@pytest.mark.parametrize("source", [io.StringIO("a\n"), b"a\n", ["a"], None, 3])
def test_only_paths_and_binary_streams_are_read(source: Any) -> None:
    with pytest.raises(TypeError, match=r"binary stream.*sys\.stdin\.buffer"):
        read_lines(source)


def test_missing_files_and_folders_are_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no file '.*absent'"):
        read_lines(tmp_path / "absent")
    with pytest.raises(IsADirectoryError, match="a folder"):
        read_lines(tmp_path)
