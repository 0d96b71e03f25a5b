"""File formats of other systems."""

from kseq.data.formats.ctf import ctf_vocabulary, read_ctf, write_ctf

__all__ = [
    "ctf_vocabulary",
    "read_ctf",
    "write_ctf",
]
