"""Records of RecordIO-protobuf, as bytes."""

import contextlib
import io
import struct

import hypothesis.strategies as st
from hypothesis import given

from kseq.sagemaker.records import encode_record, read_records

MAGIC = 0xCED7230A
MAGIC_BYTES = b"\x0a\x23\xd7\xce"


def frame(payload: bytes) -> bytes:
    return struct.pack("<II", MAGIC, len(payload)) + payload + bytes(-len(payload) % 4)


def test_a_record_has_the_bytes_of_sagemakers_format() -> None:
    # By hand, from the definition of the message: field 1 is a map. Its entries have a
    # key (1) and a value (2) with an int32_tensor (7) of packed values (1).
    def field(number: int, content: bytes) -> bytes:
        return bytes([number << 3 | 2, len(content)]) + content

    def feature(name: bytes, ids: bytes) -> bytes:
        return field(1, field(1, name) + field(2, field(7, field(1, ids))))

    payload = feature(b"source", b"\x04\x05") + feature(b"target", b"\x96\x01")
    written = encode_record({"source": [4, 5], "target": [150]})
    assert written == frame(payload)
    assert written[:4] == MAGIC_BYTES
    assert len(written) % 4 == 0


@given(st.binary(max_size=60))
def test_any_bytes_are_records_or_a_plain_error(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        for position, features in read_records(io.BytesIO(frame(data)), "x"):
            assert position.startswith("x, record ")
            assert all(isinstance(ids, list) for ids in features.values())
    with contextlib.suppress(ValueError):
        assert not list(read_records(io.BytesIO(data), "x")) or data[:4] == MAGIC_BYTES
