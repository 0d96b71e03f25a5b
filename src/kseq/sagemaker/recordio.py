r"""RecordIO-protobuf, the training format of Amazon SageMaker's algorithms.

A file is records one after the other: the magic number 0xced7230a and the length of the
payload, both uint32 in little-endian order, the payload, and zeros up to a multiple of
4 bytes. A payload is a protocol buffer, `Record`, whose features `source` and `target`
hold int32 ids without `<s>`, `</s>` and padding. What the ids mean is in two JSON files
beside it, which `Vocabulary.load` reads.
"""

from __future__ import annotations

import functools
import io
import itertools
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np

from kseq.data.corpora.corpus import Corpus, Reading
from kseq.data.corpora.lines import Path, check_files
from kseq.data.vocabulary import Vocabulary, check_vocabulary
from kseq.special_tokens import SPECIAL_TOKENS, UNK
from kseq.storage.atomic_files import whole_file

_MAGIC = 0xCED7230A
_HEADER = struct.Struct("<II")
# The three bits above are a flag for records in several parts, which nobody writes.
_LONGEST = (1 << 29) - 1
_PIECE = 1 << 20  # bytes read at a time: a damaged length must not ask for gigabytes
_SIDES = ("source", "target")
_AT_A_TIME = 1024  # pairs encoded together


def read_recordio(
    paths: Path | Iterable[Path], source_vocab: Vocabulary, target_vocab: Vocabulary
) -> Corpus:
    """Reads pairs of sequences from RecordIO-protobuf files.

    A text is the tokens of a side, separated by spaces; the id 1 is `<unk>`.

    Args:
        paths: str or path, or an iterable of them: the files, one after the other.
        source_vocab: `Vocabulary` of the sources, which cuts texts at white space.
        target_vocab: `Vocabulary` of the targets, likewise.

    Returns:
        A `Corpus`. A pass raises ValueError where the file is not as described, at an
        id that the vocabulary does not have, and at `<pad>`, `<s>` and `</s>`; the
        message names the file, the record, from 0, and where it begins, in bytes.

    Raises:
        TypeError: if an argument has the wrong type.
        OSError: if the file does not exist or is a folder.
        ValueError: if a vocabulary does not cut at white space.

    Example:
        >>> from kseq.data import Vocabulary
        >>> from kseq.sagemaker import read_recordio, write_recordio
        >>> vocab = Vocabulary(["a", "b"])
        >>> write_recordio([("a b", "b"), ("c a", "a a")], "train.rec", vocab, vocab)
        2
        >>> list(read_recordio("train.rec", vocab, vocab))
        [('a b', 'b'), ('<unk> a', 'a a')]

    Reference:
        [Common data formats for training](https://docs.aws.amazon.com/sagemaker/latest/dg/cdf-training.html)
    """
    files = check_files("paths", paths)
    vocabs = _check_vocabs(source_vocab, target_vocab)

    def read_one(reading: Reading, file: str) -> Iterator[tuple[str, str]]:
        with open(file, "rb") as stream:
            shown = 0
            for where, features in read_records(stream, file):
                texts = []
                for side, vocab in zip(_SIDES, vocabs, strict=True):
                    if side not in features:
                        raise ValueError(f"{where}: it has no feature {side!r}.")
                    ids = features[side]
                    check_ids(ids, vocab, f"{where}, {side}")
                    texts.append(" ".join(vocab.ids_to_tokens(ids)))
                yield texts[0], texts[1]
                if stream.tell() - shown > _PIECE:
                    reading.add_progress(stream.tell() - shown)
                    shown = stream.tell()

    def read(reading: Reading) -> Iterator[tuple[str, str]]:
        for file in files:
            yield from read_one(reading, file)

    return Corpus(read, files)


def write_recordio(
    pairs: Corpus | Iterable[tuple[str, str]],
    path: Path,
    source_vocab: Vocabulary,
    target_vocab: Vocabulary,
) -> int:
    """Writes pairs of texts as a RecordIO-protobuf file, whole or not at all.

    Args:
        pairs: `Corpus` or iterable of pairs of str. Those with an empty side are left
            out.
        path: str or path, the file to write; an older one is replaced.
        source_vocab: `Vocabulary` of the sources; what it does not have becomes
            `<unk>`.
        target_vocab: `Vocabulary` of the targets, likewise.

    Returns:
        int, the number of records written.

    Raises:
        TypeError: if an argument has the wrong type.
        OSError: if the file cannot be written.

    Example:
        >>> from pathlib import Path
        >>> from kseq.data import Vocabulary
        >>> from kseq.sagemaker import write_recordio
        >>> vocab = Vocabulary(["a", "b"])
        >>> write_recordio([("a b", "b"), ("a", " ")], "train.rec", vocab, vocab)
        1
        >>> Path("train.rec").stat().st_size % 4
        0
    """
    check_vocabulary("source_vocab", source_vocab)
    check_vocabulary("target_vocab", target_vocab)
    written = 0
    with whole_file(path) as temporary, open(temporary, "wb") as file:
        for sources, targets in _chunks(pairs):
            rows = zip(
                _encoded(source_vocab, sources),
                _encoded(target_vocab, targets),
                strict=True,
            )
            for source, target in rows:
                if len(source) and len(target):
                    file.write(record_bytes({"source": source, "target": target}))
                    written += 1
    return written


def recordio_request(texts: Sequence[str], source_vocab: Vocabulary) -> bytes:
    """Returns the body of a request to an endpoint, in RecordIO-protobuf.

    Args:
        texts: Sequence of str, the sources.
        source_vocab: `Vocabulary` of the sources; what it does not have becomes
            `<unk>`.

    Raises:
        TypeError: if an argument has the wrong type.

    Example:
        >>> from kseq.data import Vocabulary
        >>> from kseq.sagemaker import recordio_request
        >>> len(recordio_request(["a b", "b"], Vocabulary(["a", "b"]))) % 4
        0
    """
    check_vocabulary("source_vocab", source_vocab)
    rows = _encoded(source_vocab, list(texts))
    return b"".join(record_bytes({"source": row}) for row in rows)


def recordio_answers(body: bytes, target_vocab: Vocabulary) -> list[str]:
    """Returns the texts of an endpoint's answer in RecordIO-protobuf.

    Args:
        body: Body of the answer.
        target_vocab: `Vocabulary` of the targets.

    Returns:
        List of str, a text for each source of the request.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if the body is not as described, or has ids that the vocabulary does
            not have.

    Example:
        >>> from kseq.data import Vocabulary
        >>> from kseq.sagemaker import recordio_answers
        >>> from kseq.sagemaker.recordio import record_bytes
        >>> vocab = Vocabulary(["a", "b"])
        >>> recordio_answers(record_bytes({"target": [5, 4]}), vocab)
        ['b a']
    """
    check_vocabulary("target_vocab", target_vocab)
    texts = []
    for where, features in read_records(io.BytesIO(body), "the answer"):
        if "target" not in features:
            raise ValueError(f"{where}: it has no feature 'target'.")
        check_ids(features["target"], target_vocab, where)
        names = target_vocab.ids_to_tokens(features["target"])
        texts.append(target_vocab.tokenizer.detokenize(names))
    return texts


def read_records(
    stream: BinaryIO, name: str
) -> Iterator[tuple[str, dict[str, list[int]]]]:
    """Reads the records of a stream.

    Args:
        stream: Binary stream, at the start of a record.
        name: What errors call it.

    Yields:
        What an error may call the record, and its features: a list of int for each
        name. A feature without values, of whatever type, is an empty list.

    Raises:
        ValueError: If the stream is not as described.

    Example:
        >>> import io
        >>> from kseq.sagemaker.recordio import read_records, record_bytes
        >>> stream = io.BytesIO(record_bytes({"source": [4, 5]}))
        >>> list(read_records(stream, "a request"))
        [('a request, record 0 (byte 0)', {'source': [4, 5]})]
    """
    from google.protobuf.message import DecodeError

    offset = 0
    for number in itertools.count():
        where = f"{name}, record {number} (byte {offset})"
        header = _read(stream, _HEADER.size)
        if not header:
            return
        payload = _payload(stream, header, where)
        offset += _HEADER.size + len(payload)
        record = _record_class()()
        try:
            record.ParseFromString(payload[: _HEADER.unpack(header)[1]])
        except DecodeError as error:
            raise ValueError(
                f"{where}: its payload is no `Record`, {str(error).lower()}. The file "
                "is damaged or of another format."
            ) from error
        yield (
            where,
            {
                key: _int32(value, f"{where}, {key}")
                for key, value in record.features.items()
            },
        )


def record_bytes(features: Mapping[str, Iterable[int]], metadata: str = "") -> bytes:
    """Returns a record as it stands in a file.

    Args:
        features: int32 ids for each name.
        metadata: A text about the record. Default: none.
    """
    record = _record_class()()
    if metadata:
        record.metadata = metadata
    for key, ids in features.items():
        record.features[key].int32_tensor.values.extend(map(int, ids))
    payload = record.SerializeToString(deterministic=True)
    return _HEADER.pack(_MAGIC, len(payload)) + payload + bytes(-len(payload) % 4)


def check_ids(ids: Sequence[int], vocab: Vocabulary, where: str) -> None:
    """Raises where ids are not those of a vocabulary's tokens, or of `<unk>`.

    Args:
        ids: Ids of a text.
        vocab: `Vocabulary` they are of.
        where: What the error calls them.

    Raises:
        ValueError: If one is not.
    """
    for position, token in enumerate(ids):
        if not UNK <= token < len(vocab):
            raise ValueError(
                f"{where}: ids must be in 1..{len(vocab) - 1}, as the vocabulary has. "
                f"Received: {token} at index {position}."
            )
        if UNK < token < len(SPECIAL_TOKENS):
            raise ValueError(
                f"{where}: {SPECIAL_TOKENS[token]} must not be stored. Received: "
                f"{token} at index {position}."
            )


def _payload(stream: BinaryIO, header: bytes, where: str) -> bytes:
    """Returns the payload of a record with its padding, after its header."""
    if len(header) < _HEADER.size:
        raise ValueError(
            f"{where}: it ends within its header, after {len(header)} of "
            f"{_HEADER.size} bytes. The file is cut off."
        )
    magic, length = _HEADER.unpack(header)
    if magic != _MAGIC:
        raise ValueError(
            f"{where}: it must begin with the magic number {_MAGIC:#x}. Received: "
            f"{magic:#x}. The file is damaged or of another format."
        )
    if length > _LONGEST:
        raise ValueError(
            f"{where}: it is a part of a record in several parts, or its length, "
            f"{length}, is damaged. Records must be whole."
        )
    size = length + -length % 4
    payload = _read(stream, size)
    if len(payload) < size:
        raise ValueError(
            f"{where}: it ends after {len(payload)} of {size} bytes of its payload. "
            "The file is cut off, or the record's length is damaged."
        )
    return payload


def _read(stream: BinaryIO, size: int) -> bytes:
    """Reads so many bytes, or those that are left."""
    pieces = []
    while size:
        piece = stream.read(min(size, _PIECE))
        if not piece:
            break
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def _int32(value: Any, where: str) -> list[int]:
    """Returns the ids of a feature."""
    kind = value.WhichOneof("value")
    if kind == "int32_tensor":
        return list(value.int32_tensor.values)
    # A feature with no values may be of any type, or of none.
    tensor = value if kind is None else getattr(value, kind)
    if not any(field.is_repeated and values for field, values in tensor.ListFields()):
        return []
    raise ValueError(f"{where}: it must be an int32_tensor. Received: {kind}.")


def _encoded(vocab: Vocabulary, texts: list[str]) -> Iterator[Any]:
    """Returns the ids of each text, without `</s>`."""
    rows = vocab.encode(texts)
    for row, length in zip(rows, np.count_nonzero(rows, axis=1), strict=True):
        yield row[: length - 1]


def _chunks(
    pairs: Iterable[tuple[str, str]],
) -> Iterator[tuple[list[str], list[str]]]:
    """Cuts pairs into lists of sources and of targets."""
    sources: list[str] = []
    targets: list[str] = []
    for source, target in pairs:
        sources.append(source)
        targets.append(target)
        if len(sources) == _AT_A_TIME:
            yield sources, targets
            sources, targets = [], []
    if sources:
        yield sources, targets


def _check_vocabs(*vocabs: Vocabulary) -> tuple[Vocabulary, ...]:
    for side, vocab in zip(_SIDES, vocabs, strict=True):
        check_vocabulary(f"{side}_vocab", vocab)
        if vocab.tokenizer.name != "whitespace":
            raise ValueError(
                f"`{side}_vocab` must cut texts at white space, as the tokens of the "
                f"file are joined by it. Received: {vocab.tokenizer.name!r}."
            )
    return vocabs


@functools.cache
def _record_class() -> Any:
    """Returns the class of `Record`, made from its description.

    The description is that of aialgs.data in SageMaker's documentation. A pool of its
    own keeps it apart from one that another package in the process may have made.
    """
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="record.proto", package="aialgs.data", syntax="proto2"
    )

    def add(message: Any, name: str, number: int, kind: Any, **more: Any) -> None:
        message.field.add(
            name=name,
            number=number,
            **({"type_name": kind} if isinstance(kind, str) else {"type": kind}),
            **{"label": field.LABEL_OPTIONAL, **more},
        )

    packed = {
        "label": field.LABEL_REPEATED,
        "options": descriptor_pb2.FieldOptions(packed=True),
    }
    tensors = {
        "Float32Tensor": (field.TYPE_FLOAT, 2),
        "Float64Tensor": (field.TYPE_DOUBLE, 3),
        "Int32Tensor": (field.TYPE_INT32, 7),
    }
    value = descriptor_pb2.DescriptorProto(name="Value")
    value.oneof_decl.add(name="value")
    for name, (kind, number) in tensors.items():
        tensor = file.message_type.add(name=name)
        add(tensor, "values", 1, kind, **packed)
        add(tensor, "keys", 2, field.TYPE_UINT64, **packed)
        add(tensor, "shape", 3, field.TYPE_UINT64, **packed)
        name = name.replace("Tensor", "_tensor").lower()
        add(value, name, number, f".aialgs.data.{tensor.name}", oneof_index=0)
    several = file.message_type.add(name="Bytes")
    add(several, "value", 1, field.TYPE_BYTES, label=field.LABEL_REPEATED)
    add(several, "content_type", 2, field.TYPE_STRING)
    add(value, "bytes", 9, ".aialgs.data.Bytes", oneof_index=0)
    file.message_type.append(value)
    record = file.message_type.add(name="Record")
    for number, name in enumerate(("features", "label"), 1):
        entry = record.nested_type.add(name=f"{name.title()}Entry")
        entry.options.map_entry = True
        add(entry, "key", 1, field.TYPE_STRING)
        add(entry, "value", 2, ".aialgs.data.Value")
        entries = f".aialgs.data.Record.{entry.name}"
        add(record, name, number, entries, label=field.LABEL_REPEATED)
    for number, name in enumerate(("uid", "metadata", "configuration"), 3):
        add(record, name, number, field.TYPE_STRING)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(
        pool.FindMessageTypeByName("aialgs.data.Record")
    )
