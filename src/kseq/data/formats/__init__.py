"""Formats of other systems, read and written."""

from kseq.data.formats.ctf import ctf_vocabulary, read_ctf, write_ctf
from kseq.data.formats.recordio import (
    read_recordio,
    recordio_answers,
    recordio_request,
    write_recordio,
)

__all__ = [
    "ctf_vocabulary",
    "read_ctf",
    "read_recordio",
    "recordio_answers",
    "recordio_request",
    "write_ctf",
    "write_recordio",
]
