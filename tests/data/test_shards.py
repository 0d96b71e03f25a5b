import json
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from laws.children import run_child

from kseq.data import (
    BatchStream,
    ShardedExamples,
    Vocabulary,
    encode_pairs,
    write_shards,
)

WORDS = Vocabulary(["a", "b", "c"])
PAIRS = [("a " * (i % 4), "b c " * (i % 3)) for i in range(10)]


def write(folder: Path, **options: object) -> ShardedExamples:
    return write_shards(PAIRS, folder, WORDS, WORDS, shard_size=4, **options)


def all_pairs(examples: ShardedExamples) -> list:
    """Every pair in the order of the files, as lists of ids without padding."""
    pairs = []
    for shard in range(examples.shards):
        for source, target in zip(*examples.read(shard, slice(None)), strict=True):
            pairs.append((source[source > 0].tolist(), target[target > 0].tolist()))
    return pairs


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
@given(
    lengths=st.lists(
        st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=12
    ),
    shard_size=st.integers(1, 13),
)
def test_what_is_read_is_what_was_written(
    tmp_path: Path, lengths: list, shard_size: int
) -> None:
    pairs = [("a " * s, "b " * t) for s, t in lengths]
    written = write_shards(
        iter(pairs), tmp_path / "c", WORDS, WORDS, shard_size=shard_size, overwrite=True
    )
    found = ShardedExamples.open(tmp_path / "c", WORDS, WORDS)
    expected, counts = encode_pairs(pairs, WORDS, WORDS)
    for examples in (written, found):
        assert len(examples) == len(pairs)
        assert examples.shards == -(-len(pairs) // shard_size)
        assert examples.counts == counts
        assert all_pairs(examples) == [
            (source[source > 0].tolist(), target[target > 0].tolist())
            for source, target in zip(expected.source, expected.target, strict=True)
        ]
        assert examples.source_lengths.tolist() == [s + 1 for s, _ in lengths]
        assert examples.target_lengths.tolist() == [t + 1 for _, t in lengths]
    assert written.fingerprint == found.fingerprint


def test_limits_of_length_are_those_of_encoding(tmp_path: Path) -> None:
    limits = {"max_source_length": 2, "max_target_length": 3}
    for overlong in ("drop", "truncate"):
        examples = write(tmp_path / overlong, overlong=overlong, **limits)
        expected, counts = encode_pairs(
            PAIRS, WORDS, WORDS, overlong=overlong, **limits
        )
        assert examples.counts == counts
        assert len(examples) == len(expected)
        assert [target for _, target in all_pairs(examples)] == [
            row[row > 0].tolist() for row in expected.target
        ]


def test_rows_are_padded_to_the_longest_or_as_wanted(tmp_path: Path) -> None:
    examples = write(tmp_path / "c")
    source, target = examples.read(0, np.array([1, 0]))
    assert source.tolist() == [[4, 3], [3, 0]]
    assert target.tolist() == [[5, 6, 3], [3, 0, 0]]
    assert source.dtype == target.dtype == np.int32
    source, target = examples.read(0, [1], (4, 5))
    assert source.tolist() == [[4, 3, 0, 0]]
    assert target.tolist() == [[5, 6, 3, 0, 0]]


def test_shards_are_tfrecords_that_others_can_read(tmp_path: Path) -> None:
    write(tmp_path / "c")
    records = tf.data.TFRecordDataset(sorted(map(str, tmp_path.glob("c/*.tfrecord"))))
    ids = [tf.io.decode_raw(record, tf.int32).numpy().tolist() for record in records]
    expected, _ = encode_pairs(PAIRS, WORDS, WORDS)
    assert ids == [
        [*source[source > 0].tolist(), *target[target > 0].tolist()]
        for source, target in zip(expected.source, expected.target, strict=True)
    ]


def test_other_pairs_have_another_fingerprint(tmp_path: Path) -> None:
    first = write(tmp_path / "first")
    again = write(tmp_path / "again")
    other = write_shards(PAIRS[::-1], tmp_path / "other", WORDS, WORDS, shard_size=4)
    assert first.fingerprint == again.fingerprint != other.fingerprint


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    def failing() -> Iterator[tuple[str, str]]:
        yield from PAIRS * 300
        raise RuntimeError("the disk is gone")

    folder = tmp_path / "c"
    with pytest.raises(RuntimeError, match="the disk is gone"):
        write_shards(failing(), folder, WORDS, WORDS, shard_size=100)
    with pytest.raises(ValueError, match="at least one pair"):
        write_shards([], folder, WORDS, WORDS)
    with pytest.raises(ValueError, match="overlong='truncate'"):
        write_shards([("a a", "a")], folder, WORDS, WORDS, max_source_length=1)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_replaced_on_request_only(tmp_path: Path) -> None:
    write(tmp_path / "c")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        write(tmp_path / "c")
    assert len(write(tmp_path / "c", max_source_length=2, overwrite=True)) == 8


@pytest.mark.parametrize("side", ["source", "target"])
def test_other_vocabularies_are_refused_by_name(tmp_path: Path, side: str) -> None:
    write(tmp_path / "c")
    # The same tokens in another order are other ids.
    other = Vocabulary(["b", "a", "c"])
    vocabs = {"source_vocab": WORDS, "target_vocab": WORDS, f"{side}_vocab": other}
    with pytest.raises(ValueError, match=f"`{side}_vocab` must have the tokens"):
        ShardedExamples.open(tmp_path / "c", **vocabs)
    with pytest.raises(TypeError, match=f"`{side}_vocab` must be a Vocabulary"):
        ShardedExamples.open(tmp_path / "c", **{**vocabs, f"{side}_vocab": None})
    # The same tokens in another object are the same.
    ShardedExamples.open(tmp_path / "c", WORDS, Vocabulary(["a", "b", "c"]))


def test_another_format_version_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "c")
    path = tmp_path / "c" / "index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": 99}))
    with pytest.raises(
        ValueError, match=r"index\.json must be of format version 1.*99"
    ):
        ShardedExamples.open(tmp_path / "c", WORDS, WORDS)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '"version"'])
def test_an_index_that_is_none_is_named(tmp_path: Path, text: str) -> None:
    write(tmp_path / "c")
    (tmp_path / "c" / "index.json").write_text(text)
    with pytest.raises(ValueError, match=r"c/index\.json is not the index"):
        ShardedExamples.open(tmp_path / "c", WORDS, WORDS)


def test_a_folder_without_index_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere/index\.json"):
        ShardedExamples.open(tmp_path / "nowhere", WORDS, WORDS)


@pytest.mark.parametrize("name", ["00001.tfrecord", "00001.lengths"])
def test_a_truncated_shard_is_named_when_it_is_opened(
    tmp_path: Path, name: str
) -> None:
    written = write(tmp_path / "c")
    path = tmp_path / "c" / name
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ValueError, match=f"{name} is damaged.*write_shards"):
        ShardedExamples.open(tmp_path / "c", WORDS, WORDS)
    with pytest.raises(ValueError, match=f"{name} is damaged"):
        all_pairs(written)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=name):
        ShardedExamples.open(tmp_path / "c", WORDS, WORDS)


@pytest.mark.parametrize(
    "name", ["index.json", "00000.tfrecord", "00001.tfrecord", "00002.lengths"]
)
def test_one_flipped_bit_is_noticed_and_its_file_named(
    tmp_path: Path, name: str
) -> None:
    write(tmp_path / "c")
    path = tmp_path / "c" / name
    data = bytearray(path.read_bytes())
    # In the index: within a check sum.
    data[data.index(b"sha256") + 12 if name == "index.json" else 13] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(ValueError, match=f"{name} is damaged"):
        all_pairs(ShardedExamples.open(tmp_path / "c", WORDS, WORDS))


def test_training_on_a_damaged_shard_stops_with_its_name(tmp_path: Path) -> None:
    examples = write(tmp_path / "c")
    path = tmp_path / "c" / "00001.tfrecord"
    path.write_bytes(path.read_bytes()[:-4])
    stream = BatchStream(examples, batch_size=2)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"00001\.tfrecord is"):
        list(stream.dataset().take(stream.steps(0)))


def test_a_shard_is_kept_until_another_is_read(tmp_path: Path) -> None:
    examples = write(tmp_path / "c")
    before = examples.read(0, [1])
    (tmp_path / "c" / "00000.tfrecord").unlink()
    for side, again in zip(before, examples.read(0, [1]), strict=True):
        np.testing.assert_array_equal(side, again)
    examples.read(1, [1])
    with pytest.raises(FileNotFoundError, match="00000"):
        examples.read(0, [1])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"shard_size": 0}, ValueError, "`shard_size` must be"),
        ({"overwrite": 1}, TypeError, "`overwrite` must be"),
        ({"overlong": "cut"}, ValueError, "`overlong` must be"),
        ({"max_source_length": 0}, ValueError, "`max_source_length` must be"),
        ({"target_vocab": None}, TypeError, "`target_vocab` must be"),
    ],
)
def test_writing_checks_its_arguments(
    tmp_path: Path, options: dict, error: type[Exception], message: str
) -> None:
    arguments = {"source_vocab": WORDS, "target_vocab": WORDS}
    with pytest.raises(error, match=message):
        write_shards(PAIRS, tmp_path / "c", **{**arguments, **options})
    assert list(tmp_path.iterdir()) == []


def test_a_shard_out_of_range_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"`shard` must be in 0\.\.2. Received: 3"):
        write(tmp_path / "c").read(3, [0])


LARGER_THAN_MEMORY = """
    import itertools
    import re
    import resource
    import sys

    import tensorflow as tf

    from kseq.data import BatchStream, Vocabulary, write_shards

    folder = sys.argv[1]
    vocab = Vocabulary([f"w{i}" for i in range(50)])
    lines = [" ".join(f"w{(i * j) % 50}" for j in range(127)) for i in range(1, 9)]
    corpus = ((lines[i % 8], lines[i % 5]) for i in itertools.count())


    def stream(name, pairs):
        part = itertools.islice(corpus, pairs)
        examples = write_shards(part, f"{folder}/{name}", vocab, vocab, shard_size=4000)
        stream = BatchStream(examples, batch_size=100)
        dataset = stream.dataset().take(stream.steps(0))
        return examples, sum(int(tf.size(targets)) for _, targets in dataset)


    # A small one first: TensorFlow starts its threads, which take memory of their own.
    stream("small", 5000)
    status = open("/proc/self/status").read()
    used = int(re.search(r"VmData:\\s+(\\d+) kB", status)[1]) * 1024
    limit = 16 << 20
    resource.setrlimit(resource.RLIMIT_DATA, (used + limit, used + limit))
    examples, tokens = stream("large", 27_000)
    assert tokens == 27_000 * 128, tokens
    assert 2 * 4 * tokens > 1.5 * limit
    try:
        whole = [examples.read(shard, slice(None)) for shard in range(examples.shards)]
    except MemoryError:
        print("too large to be loaded whole")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
def test_a_corpus_larger_than_memory_is_written_and_trained_on(tmp_path: Path) -> None:
    assert "too large" in run_child(LARGER_THAN_MEMORY, tmp_path)
