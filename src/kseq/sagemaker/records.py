"""RecordIO-protobuf: one record as bytes, and the ids in it.

A stream is a sequence of records: the magic number 0xced7230a and the length of the
payload, both uint32 in little-endian order, the payload, and zeros up to a multiple of
4 bytes. The payload is a protocol buffer, `Record`. Its features `source` and `target`
hold int32 ids without `<s>`, `</s>` and padding.
"""

from __future__ import annotations

import functools
import itertools
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np

from kseq.data.vocabulary import Vocabulary
from kseq.special_tokens import SPECIAL_TOKENS, UNK

_MAGIC = 0xCED7230A
_HEADER = struct.Struct("<II")
# The upper three bits mark a record in several parts, which no known program writes.
_MAX_LENGTH = (1 << 29) - 1
CHUNK_BYTES = 1 << 20  # read in chunks: a damaged length must not allocate gigabytes


def read_records(
    stream: BinaryIO, name: str
) -> Iterator[tuple[str, dict[str, list[int]]]]:
    """Reads the records of a stream.

    Args:
        stream: Binary stream, at the start of a record.
        name: Name of the stream in error messages.

    Yields:
        The position of a record, for error messages, and its features: a dict from
        names to lists of int. A feature without values, of any type, is an empty list.

    Raises:
        ValueError: If the stream is damaged, or a feature has another type.

    Example:
        >>> import io
        >>> from kseq.sagemaker.records import encode_record, read_records
        >>> stream = io.BytesIO(encode_record({"source": [4, 5]}))
        >>> list(read_records(stream, "a request"))
        [('a request, record 0 (byte 0)', {'source': [4, 5]})]
    """
    from google.protobuf.message import DecodeError

    offset = 0
    for number in itertools.count():
        position = f"{name}, record {number} (byte {offset})"
        header = _read(stream, _HEADER.size)
        if not header:
            return
        payload = _read_payload(stream, header, position)
        offset += _HEADER.size + len(payload)
        record = _record_class()()
        try:
            record.ParseFromString(payload[: _HEADER.unpack(header)[1]])
        except DecodeError as error:
            raise ValueError(
                f"{position}: the payload is not a `Record`: {str(error).lower()}. The "
                "file is damaged or has another format."
            ) from error
        features = {
            key: _read_int32(value, f"{position}, {key}")
            for key, value in record.features.items()
        }
        yield position, features


def encode_record(features: Mapping[str, Iterable[int]], metadata: str = "") -> bytes:
    """Encodes a record.

    Args:
        features: Mapping from names to int32 ids.
        metadata: Text about the record. Default: "", none.

    Returns:
        The record with its header and padding, bytes.
    """
    record = _record_class()()
    if metadata:
        record.metadata = metadata
    for key, ids in features.items():
        record.features[key].int32_tensor.values.extend(map(int, ids))
    payload = record.SerializeToString(deterministic=True)
    return _HEADER.pack(_MAGIC, len(payload)) + payload + bytes(-len(payload) % 4)


def check_ids(ids: Sequence[int], vocab: Vocabulary, name: str) -> None:
    """Checks that ids stand for tokens of a text: `<unk>` or tokens of the vocabulary.

    Args:
        ids: Ids of a text.
        vocab: `Vocabulary` of the text.
        name: Name of the ids in error messages.

    Raises:
        ValueError: If an id is not in the vocabulary, or stands for `<pad>`, `<s>` or
            `</s>`.
    """
    for index, token in enumerate(ids):
        if not UNK <= token < len(vocab):
            raise ValueError(
                f"{name}: ids must be in 1..{len(vocab) - 1}, the ids of the "
                f"vocabulary. Received: {token} at index {index}."
            )
        if UNK < token < len(SPECIAL_TOKENS):
            raise ValueError(
                f"{name}: ids must not contain {SPECIAL_TOKENS[token]}. Received: "
                f"{token} at index {index}."
            )


def encode_without_end(vocab: Vocabulary, texts: list[str]) -> Iterator[Any]:
    """Yields the ids of each text, without `</s>`.

    Args:
        vocab: `Vocabulary` of the texts.
        texts: The texts.
    """
    rows = vocab.encode(texts)
    for row, length in zip(rows, np.count_nonzero(rows, axis=1), strict=True):
        yield row[: length - 1]


def _read_payload(stream: BinaryIO, header: bytes, position: str) -> bytes:
    """Reads the payload after a header, with its padding."""
    if len(header) < _HEADER.size:
        raise ValueError(
            f"{position}: the header ends after {len(header)} of {_HEADER.size} bytes. "
            "The file is truncated."
        )
    magic, length = _HEADER.unpack(header)
    if magic != _MAGIC:
        raise ValueError(
            f"{position}: a record must begin with the magic number {_MAGIC:#x}. "
            f"Received: {magic:#x}. The file is damaged or has another format."
        )
    if length > _MAX_LENGTH:
        raise ValueError(
            f"{position}: the length must be at most {_MAX_LENGTH}. Received: {length}."
            " The file is damaged, or the record has several parts, which kseq does "
            "not read."
        )
    size = length + -length % 4
    payload = _read(stream, size)
    if len(payload) < size:
        raise ValueError(
            f"{position}: the payload ends after {len(payload)} of {size} bytes. The "
            "file is truncated, or the record's length is damaged."
        )
    return payload


def _read(stream: BinaryIO, size: int) -> bytes:
    """Reads `size` bytes, or fewer at the end of the stream."""
    chunks = []
    while size:
        chunk = stream.read(min(size, CHUNK_BYTES))
        if not chunk:
            break
        chunks.append(chunk)
        size -= len(chunk)
    return b"".join(chunks)


def _read_int32(value: Any, name: str) -> list[int]:
    """Returns the ids of a feature."""
    kind = value.WhichOneof("value")
    if kind == "int32_tensor":
        return list(value.int32_tensor.values)
    # A feature without values may have any type, or none.
    tensor = value if kind is None else getattr(value, kind)
    if not any(field.is_repeated and values for field, values in tensor.ListFields()):
        return []
    raise ValueError(f"{name}: the feature must be an int32_tensor. Received: {kind}.")


@functools.cache
def _record_class() -> Any:
    """Builds the protobuf class `Record` of aialgs.data, SageMaker's record format.

    It has its own descriptor pool, since another package in the process may define the
    same messages.
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
