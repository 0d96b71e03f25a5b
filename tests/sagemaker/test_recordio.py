"""RecordIO-protobuf files: written, read back, and damaged."""

import struct
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from kseq.data import CorpusCounts, Vocabulary
from kseq.sagemaker import read_recordio, write_recordio
from kseq.sagemaker.records import _record_class, encode_record

VOCAB = Vocabulary(["a", "b", "ä"])
MAGIC = 0xCED7230A

words = st.lists(st.sampled_from(["a", "b", "ä", "<unk>"]), max_size=40)
pairs_of_texts = st.lists(st.tuples(*[words.map(" ".join)] * 2), max_size=5)


def frame(payload: bytes) -> bytes:
    return struct.pack("<II", MAGIC, len(payload)) + payload + bytes(-len(payload) % 4)


def rec(folder: Path, *records: bytes) -> Path:
    path = folder / "x.rec"
    path.write_bytes(b"".join(records))
    return path


def test_pairs_are_written_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "x.rec"
    assert write_recordio([("a b", "ä"), ("c", "b a")], path, VOCAB, VOCAB) == 2
    pairs = [("a b", "ä"), ("<unk>", "b a")]
    assert list(read_recordio(path, VOCAB, VOCAB)) == pairs


def test_more_pairs_than_are_encoded_together_are_all_written(tmp_path: Path) -> None:
    pairs = [(" ".join("ab"[k % 2] * (k % 7 + 1)), "a") for k in range(2500)]
    path = tmp_path / "x.rec"
    assert write_recordio(pairs, path, VOCAB, VOCAB) == 2500
    assert list(read_recordio(path, VOCAB, VOCAB)) == pairs


def test_pairs_with_an_empty_side_are_dropped_and_counted(tmp_path: Path) -> None:
    path = rec(
        tmp_path,
        encode_record({"source": [4], "target": []}),
        encode_record({"source": [], "target": [4]}),
        encode_record({"source": [4], "target": [5]}),
    )
    corpus = read_recordio(path, VOCAB, VOCAB)
    assert list(corpus) == [("a", "b")]
    assert corpus.counts == CorpusCounts(pairs=1, empty_source=1, empty_target=1)


def test_unknown_words_and_special_tokens_become_unk(
    tmp_path: Path,
) -> None:
    path = tmp_path / "x.rec"
    write_recordio([("a <s> c </s>", "<pad> b")], path, VOCAB, VOCAB)
    assert list(read_recordio(path, VOCAB, VOCAB)) == [
        ("a <unk> <unk> <unk>", "<unk> b")
    ]


def whole_record() -> bytes:
    return encode_record({"source": [4, 5, 4], "target": [6]})


@pytest.mark.parametrize("length", range(1, len(whole_record())))
def test_a_truncated_file_is_an_error_wherever_it_ends(
    tmp_path: Path, length: int
) -> None:
    one = whole_record()
    path = rec(tmp_path, one, one[:length])
    message = rf"x.rec, record 1 \(byte {len(one)}\): .* ends after .* truncated"
    with pytest.raises(ValueError, match=message):
        list(read_recordio(path, VOCAB, VOCAB))


def floats(name: str) -> bytes:
    record = _record_class()()
    record.features["target"].int32_tensor.values.append(4)
    getattr(record.features["source"], name).values.append(4.0)
    return record.SerializeToString(deterministic=True)


@pytest.mark.parametrize(
    ("damaged", "message"),
    [
        (b"PK\x03\x04" + bytes(8), "magic number 0xced7230a. Received: 0x4034b50"),
        (
            struct.pack("<II", MAGIC, 1 << 29) + b"abc",
            "length must be at most .*several parts",
        ),
        (
            struct.pack("<II", MAGIC, (1 << 29) - 1) + b"abc",
            "ends after 3 of 536870912",
        ),
        (frame(b"\xff" * 12), "payload is not a `Record`"),
        (
            frame(floats("float32_tensor")),
            "source: the feature must be an int32_tensor. Rec.*32",
        ),
        (frame(floats("float64_tensor")), "Received: float64_tensor"),
        (encode_record({"source": [4]}), "the feature 'target' is missing"),
        (encode_record({"target": [4]}), "the feature 'source' is missing"),
        (encode_record({"source": [7], "target": [4]}), r"1\.\.6.*: 7 at index 0"),
        (encode_record({"source": [4, -1], "target": [4]}), r"Received: -1 at index 1"),
        (encode_record({"source": [4], "target": [0]}), r"target: ids .*Received: 0"),
        (encode_record({"source": [2], "target": [4]}), "must not contain <s>"),
        (encode_record({"source": [4], "target": [4, 3]}), "must not contain </s>"),
    ],
)
def test_an_error_names_the_damaged_record_and_its_offset(
    tmp_path: Path, damaged: bytes, message: str
) -> None:
    one = whole_record()
    path = rec(tmp_path, one, one, damaged)
    corpus = read_recordio(path, VOCAB, VOCAB)
    position = rf"x.rec, record 2 \(byte {2 * len(one)}\)"
    with pytest.raises(ValueError, match=f"{position}.*{message}"):
        list(corpus)


def test_a_vocabulary_must_have_the_whitespace_tokenizer(tmp_path: Path) -> None:
    path = rec(tmp_path, whole_record())
    letters: Any = Vocabulary(["a"], tokenizer="characters")
    with pytest.raises(ValueError, match=r"`target_vocab` must have .*'characters'"):
        read_recordio(path, VOCAB, letters)
    with pytest.raises(TypeError, match="`source_vocab`"):
        read_recordio(path, {"a": 4}, VOCAB)  # type: ignore[arg-type]
    with pytest.raises(OSError, match=r"missing\.rec"):
        read_recordio(tmp_path / "missing.rec", VOCAB, VOCAB)


@given(pairs_of_texts)
def test_any_pairs_are_written_and_read_back(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, str]]
) -> None:
    path = tmp_path_factory.mktemp("rec") / "x.rec"
    complete = [pair for pair in pairs if all(pair)]
    assert write_recordio(pairs, path, VOCAB, VOCAB) == len(complete)
    corpus = read_recordio(path, VOCAB, VOCAB)
    assert list(corpus) == list(corpus) == complete
    assert corpus.counts == CorpusCounts(pairs=len(complete))
    # A corpus can be written too, with the same result.
    copy = path.with_name("copy.rec")
    write_recordio(corpus, copy, VOCAB, VOCAB)
    assert copy.read_bytes() == path.read_bytes()
