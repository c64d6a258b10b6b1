"""Check the write-ahead log that SQLite keeps beside the file of a journal."""

from __future__ import annotations

import re
import struct
from pathlib import Path
from types import MappingProxyType
from typing import Final

__all__ = ["is_broken", "read_log"]

_UINT32: Final = 2**32 - 1
_LOG_HEADER: Final = struct.Struct(">4I8s2I")  # magic, version, page size, number, salts, checksum
_FRAME_HEADER: Final = struct.Struct(">2I8s2I")  # page, pages there are after a commit or else 0, salts, checksum
_LEAST_PAGE: Final = 512  # bytes
LARGEST: Final = 2**30
"""The most bytes of a log; a load leaves some megabytes."""
_ORDERS: Final = MappingProxyType({0x377F0682: "<", 0x377F0683: ">"})
"""The byte order of the checksums in a log, by its magic number."""


def read_log(path: Path) -> bytes:
    """Return the log of the journal at *path*, empty if there is none; a log that is too large is cut."""
    try:
        with Path(f"{path}-wal").open("rb") as file:
            return file.read(LARGEST + 1)
    except FileNotFoundError:
        return b""


def is_broken(log: bytes, length: int) -> bool:
    """Tell whether commits of *log* would be lost, or pages are missing from both the log and its file.

    *length* is the size of the file in bytes. SQLite would silently drop those commits, or read zeros. It reads a log
    up to the first wrong checksum. Each commit is synced before the next one begins, so a loss of power can only have
    damaged the last one.
    """
    if not length:
        return True
    if not _LOG_HEADER.size <= len(log) <= LARGEST:
        return True
    magic, _, size, _, salts, *sums = _LOG_HEADER.unpack_from(log)
    order = _ORDERS.get(magic)
    if order is None or size < _LEAST_PAGE or _checksum(log[: _LOG_HEADER.size - 8], order, [0, 0]) != sums:
        return True
    at, pages = _LOG_HEADER.size, 0
    held: set[int] = set()
    while (end := at + _FRAME_HEADER.size + size) <= len(log):
        page, commit, its_salts, *its_sums = _FRAME_HEADER.unpack_from(log, at)
        sums = _checksum(log[at : at + 8] + log[at + _FRAME_HEADER.size : end], order, sums)
        if its_salts != salts or its_sums != sums:
            break
        at, pages = end, commit or pages
        held.add(page)
    after = (found.start() for found in re.finditer(re.escape(salts), log[at:]))
    lost = sum(any(log[at + start - 4 : at + start]) for start in after) > 1
    whole, rest = divmod(length, size)
    return lost or not held.issuperset(range(whole + 1, max(pages, whole + (rest > 0)) + 1))


def _checksum(data: bytes, order: str, sums: list[int]) -> list[int]:
    """Continue the checksum of a log; https://sqlite.org/fileformat2.html#checksum_algorithm."""
    s0, s1 = sums  # as SQLite calls them
    for first, second in struct.iter_unpack(f"{order}2I", data):
        s0 = s0 + first + s1 & _UINT32
        s1 = s1 + second + s0 & _UINT32
    return [s0, s1]
