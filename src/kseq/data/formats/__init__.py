"""Formats of other systems, read and written."""

from kseq.data.formats.ctf import read_ctf, write_ctf

__all__ = ["read_ctf", "write_ctf"]
