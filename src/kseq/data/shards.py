"""Corpora larger than memory: pairs of ids in several files on disk."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Iterable
from typing import Any

import numpy as np

from kseq.config.checks import check_boolean, check_integer
from kseq.data.batches import Indices
from kseq.data.encoding import (
    LengthCounts,
    RaggedRows,
    check_not_empty,
    encode_chunks,
)
from kseq.data.vocabulary import Ids, Vocabulary, check_vocabulary
from kseq.storage.atomic_files import whole_folder

# The version of the file format. Other versions are not read.
FORMAT_VERSION = 1

_INDEX = "index.json"

# Words of four bytes around the data of a TFRecord. Before: the size (two words) and
# its check sum. After: the check sum of the data.
_WORDS_BEFORE, _WORDS_AFTER = 3, 1


class ShardedExamples:
    """Pairs of a source and a target as rows of ids, in shards on disk.

    `write_shards` writes the shards, and `ShardedExamples.open` opens them. Only the
    shard that was read last is in memory. The attribute `fingerprint` identifies the
    pairs and vocabularies.

    Example:
        >>> from kseq.data import ShardedExamples, Vocabulary, write_shards
        >>> vocab = Vocabulary(["a", "b"])
        >>> pairs = [("a b", "b"), ("b", "a"), ("a", "b b")]
        >>> write_shards(pairs, "corpus", vocab, vocab, shard_size=2)
        <ShardedExamples: 3 pairs in 2 shards>
        >>> examples = ShardedExamples.open("corpus", vocab, vocab)
        >>> source, target = examples.read(0, [1, 0])
        >>> source
        array([[5, 3, 0],
               [4, 5, 3]], dtype=int32)
    """

    def __init__(
        self,
        folder: pathlib.Path,
        source_vocab: Vocabulary,
        target_vocab: Vocabulary,
        index: dict[str, Any],
    ) -> None:
        self.folder = folder
        self.source_vocab = source_vocab
        self.target_vocab = target_vocab
        self.counts = LengthCounts(**index["counts"])
        self.fingerprint: str = index["digest"]
        self._files = index["shards"]
        self._cached: tuple[int, tuple[RaggedRows, RaggedRows]] | None = None

    @classmethod
    def open(
        cls,
        folder: str | os.PathLike[str],
        source_vocab: Vocabulary,
        target_vocab: Vocabulary,
    ) -> ShardedExamples:
        """Opens a folder that `write_shards` has written.

        Args:
            folder: str or path.
            source_vocab: `Vocabulary` of the sources, with the same tokens as when the
                shards were written.
            target_vocab: `Vocabulary` of the targets, with the same tokens.

        Returns:
            `ShardedExamples`.

        Raises:
            OSError: if a file cannot be read.
            ValueError: if the folder has another format version, a vocabulary has other
                tokens, or a file is damaged; the message names it.
        """
        folder = pathlib.Path(folder)
        path = folder / _INDEX
        text = path.read_bytes()
        try:
            index = json.loads(text)
            version = index["version"]
        except (ValueError, KeyError, TypeError):
            raise ValueError(
                f"{path} is not the index of a folder of shards. {_AGAIN}"
            ) from None
        if version != FORMAT_VERSION:
            raise ValueError(
                f"{path} must be of format version {FORMAT_VERSION}. Received: version "
                f"{version!r}. {_AGAIN}"
            )
        if index.get("digest") != _digest_of_index(index):
            raise ValueError(f"{path} is damaged. {_AGAIN}")
        for side, vocab in (("source", source_vocab), ("target", target_vocab)):
            check_vocabulary(f"{side}_vocab", vocab)
            actual, written = fingerprint(vocab), index["fingerprints"][side]
            if actual != written:
                raise ValueError(
                    f"`{side}_vocab` must have the tokens that {folder} was written "
                    f"with (fingerprint {written[:12]}). Received: {vocab!r}, "
                    f"fingerprint {actual[:12]}. Pass the vocabulary that the shards "
                    "were written with, or write them again with this one."
                )
        for shard in index["shards"]:
            for kind in ("records", "lengths"):
                name, size = shard[kind]["name"], shard[kind]["size"]
                _check_size(folder / name, (folder / name).stat().st_size, size)
        return cls(folder, source_vocab, target_vocab, index)

    def __len__(self) -> int:
        """Returns the number of pairs."""
        return self.counts.remaining

    def __repr__(self) -> str:
        """Returns a short description."""
        return f"<ShardedExamples: {len(self)} pairs in {self.shards} shards>"

    @property
    def shards(self) -> int:
        """The number of shards."""
        return len(self._files)

    @property
    def source_lengths(self) -> Indices:
        """Lengths of all sources in tokens, including `</s>`: int64, read from disk."""
        return np.concatenate([self.lengths(each)[0] for each in range(self.shards)])

    @property
    def target_lengths(self) -> Indices:
        """Lengths of all targets in tokens, including `</s>`: int64, read from disk."""
        return np.concatenate([self.lengths(each)[1] for each in range(self.shards)])

    def lengths(self, shard: int) -> tuple[Indices, Indices]:
        """Returns the lengths of the rows of a shard, without reading the rows.

        Args:
            shard: int, the number of the shard, from 0.

        Returns:
            A tuple `(source, target)` of int64 arrays of shape `(pairs,)`, in tokens,
            including `</s>`.

        Raises:
            OSError: if a file cannot be read.
            ValueError: if `shard` is out of range, or the file is damaged.
        """
        data = self._bytes(shard, "lengths")
        source, target = np.frombuffer(data, "<i4").reshape(2, -1)
        return source.astype(np.int64), target.astype(np.int64)

    def read(
        self, shard: int, rows: Any, widths: tuple[int, int] | None = None
    ) -> tuple[Ids, Ids]:
        """Returns some pairs of a shard.

        Args:
            shard: int, the number of the shard, from 0.
            rows: indices of pairs in the shard, or a slice.
            widths: tuple `(source, target)` of the lengths to pad to. Default: None,
                the longest of these rows.

        Returns:
            A tuple `(source, target)` of int32 arrays of shape `(rows, time)`, each row
            ended by `</s>` and padded on the right.

        Raises:
            OSError: if a file cannot be read.
            ValueError: if `shard` is out of range, or the file is damaged.
        """
        source_width, target_width = widths or (None, None)
        source, target = self._load(shard)
        return source.pad(rows, source_width), target.pad(rows, target_width)

    def _load(self, shard: int) -> tuple[RaggedRows, RaggedRows]:
        """Returns a shard, from memory if it was read last."""
        cached = self._cached
        if cached is not None and cached[0] == shard:
            return cached[1]
        # Free the memory before reading the next shard.
        cached = self._cached = None
        source, target = self.lengths(shard)
        # The other data in the file has a multiple of the size of an id, so the whole
        # file is one array of ids.
        words = np.frombuffer(self._bytes(shard, "records"), "<i4")
        sizes = _WORDS_BEFORE + source + target + _WORDS_AFTER
        begins = np.cumsum(sizes) - sizes + _WORDS_BEFORE
        loaded = (
            RaggedRows(words, begins, source),
            RaggedRows(words, begins + source, target),
        )
        self._cached = shard, loaded
        return loaded

    def _bytes(self, shard: int, kind: str) -> bytes:
        """Reads one file and verifies its check sum."""
        if not 0 <= shard < self.shards:
            raise ValueError(
                f"`shard` must be in 0..{self.shards - 1}. Received: {shard}."
            )
        written = self._files[shard][kind]
        path = self.folder / written["name"]
        data = path.read_bytes()
        _check_size(path, len(data), written["size"])
        if hashlib.sha256(data).hexdigest() != written["sha256"]:
            raise ValueError(f"{path} is damaged: its check sum is wrong. {_AGAIN}")
        return data


_AGAIN = "Write the shards again with kseq.data.write_shards."


def write_shards(
    pairs: Iterable[tuple[str, str]],
    folder: str | os.PathLike[str],
    source_vocab: Vocabulary,
    target_vocab: Vocabulary,
    *,
    shard_size: int = 100_000,
    max_source_length: int | None = None,
    max_target_length: int | None = None,
    overlong: str = "drop",
    overwrite: bool = False,
) -> ShardedExamples:
    """Encodes pairs of texts, read once, and writes the ids to shards on disk.

    The folder is written completely or not at all. A shard is a TFRecord file with one
    record per pair: the ids of the source and of the target, each ended by `</s>`, as
    little-endian int32. A second file per shard has the lengths of all sources, then of
    all targets, as int32. An index has the sizes and check sums of these files, and the
    fingerprints of the vocabularies.

    Training reads the shards in random order, and the pairs of each shard in random
    order, but it never mixes two shards. Shuffle a corpus first if it is sorted, for
    example by domain.

    Args:
        pairs: iterable of `(source, target)`, each a str.
        folder: str or path of the folder to write.
        source_vocab: `Vocabulary` of the sources.
        target_vocab: `Vocabulary` of the targets.
        shard_size: int, number of pairs per shard. One shard at a time must fit in
            memory. Default: 100,000.
        max_source_length: int or None, the maximum number of tokens of a source, not
            counting `</s>`. Default: None, no limit.
        max_target_length: int or None, the same for targets. Default: None.
        overlong: str, how to handle a longer pair, `"drop"` or `"truncate"`, as in
            `encode_pairs`. Default: `"drop"`.
        overwrite: bool, whether to replace an existing folder. Default: False.

    Returns:
        `ShardedExamples`; its `counts` are the `LengthCounts`.

    Raises:
        FileExistsError: if `folder` exists and `overwrite` is False.
        TypeError: if `pairs` does not consist of pairs of strings, or a vocabulary is
            not a `Vocabulary`.
        ValueError: if a number is out of range, `overlong` is unknown, or all pairs are
            dropped.

    Example:
        >>> from kseq.data import BatchStream, Vocabulary, write_shards
        >>> vocab = Vocabulary(["a", "b"])
        >>> lines = (("a " * n, "b " * n) for n in range(1, 6))
        >>> corpus = write_shards(
        ...     lines, "corpus", vocab, vocab, shard_size=2, max_source_length=4
        ... )
        >>> corpus, corpus.counts.dropped
        (<ShardedExamples: 4 pairs in 2 shards>, 1)
        >>> BatchStream(corpus, batch_size=2).steps(epoch=0)
        2
    """
    shard_size = check_integer("shard_size", shard_size, 1)
    check_boolean("overwrite", overwrite)
    chunks = encode_chunks(
        pairs,
        source_vocab,
        target_vocab,
        max_source_length=max_source_length,
        max_target_length=max_target_length,
        overlong=overlong,
    )
    counts = LengthCounts()
    shards: list[dict[str, Any]] = []
    with whole_folder(folder, overwrite, _INDEX) as temporary:
        writer = None
        for source, target, chunk_counts in chunks:
            counts += chunk_counts
            for row in range(len(source)):
                if writer is None:
                    writer = _ShardWriter(temporary, len(shards))
                writer.write(source[row], target[row])
                if len(writer) == shard_size:
                    shards.append(writer.close())
                    writer = None
        if writer is not None:
            shards.append(writer.close())
        check_not_empty(counts, max_source_length, max_target_length)
        index = {
            "version": FORMAT_VERSION,
            "fingerprints": {
                "source": fingerprint(source_vocab),
                "target": fingerprint(target_vocab),
            },
            "counts": dataclasses.asdict(counts),
            "shards": shards,
        }
        index["digest"] = _digest_of_index(index)
        (temporary / _INDEX).write_text(json.dumps(index, indent=1) + "\n")
    return ShardedExamples(pathlib.Path(folder), source_vocab, target_vocab, index)


class _ShardWriter:
    """Writes one shard, pair by pair."""

    def __init__(self, folder: pathlib.Path, number: int) -> None:
        import tensorflow as tf

        self._records = folder / f"{number:05d}.tfrecord"
        self._lengths = folder / f"{number:05d}.lengths"
        self._writer = tf.io.TFRecordWriter(os.fspath(self._records))
        self._sides: tuple[list[int], list[int]] = ([], [])

    def __len__(self) -> int:
        return len(self._sides[0])

    def write(self, source: Ids, target: Ids) -> None:
        record = np.concatenate((source, target)).astype("<i4", copy=False)
        self._writer.write(record.tobytes())
        for side, ids in zip(self._sides, (source, target), strict=True):
            side.append(len(ids))

    def close(self) -> dict[str, Any]:
        """Finishes the files, and returns the entry of the shard in the index."""
        self._writer.close()
        self._lengths.write_bytes(np.array(self._sides, "<i4").tobytes())
        return {
            kind: {
                "name": path.name,
                "size": path.stat().st_size,
                "sha256": _sha256(path),
            }
            for kind, path in (("records", self._records), ("lengths", self._lengths))
        }


def fingerprint(vocab: Vocabulary) -> str:
    """Returns a hash of the tokens of a vocabulary and their order.

    Args:
        vocab: `Vocabulary`.

    Returns:
        str, the SHA-256 of the tokens as a JSON list.
    """
    return hashlib.sha256(json.dumps(vocab.tokens).encode()).hexdigest()


def _digest_of_index(index: dict[str, Any]) -> str:
    """Returns the check sum of an index, without its own entry."""
    rest = {key: value for key, value in index.items() if key != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _sha256(path: pathlib.Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_size(path: pathlib.Path, size: int, written: int) -> None:
    """Raises an error unless a file has the size it was written with."""
    if size != written:
        raise ValueError(
            f"{path} is damaged: it must have {written} bytes. Received: {size}. "
            f"{_AGAIN}"
        )
