"""Cut a stream of import records into gzip files, and give each record its UUID: pure, without input or output."""

from __future__ import annotations

import hashlib
import struct
import zlib
from uuid import UUID

__all__ = ["Packer", "place_of", "record_ref"]

HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
"""The head of a gzip file without a name, a time or a system, so that equal records make equal bytes."""
LEVEL = 6
PENDING = 256 * 1024
"""More bytes than the compressor holds back: 32 KiB of input, and at most 16,384 symbols of its output."""
GROWTH = 1.001
"""Data that cannot be compressed grows by less than this factor."""
MOST_FILES = 2**30


class Packer:
    """Makes the bytes of one gzip file of at most *most_bytes* bytes and *most_records* records."""

    def __init__(self, most_bytes: int, most_records: int) -> None:
        self.size = 0
        """The bytes so far."""
        self.records = 0
        self._most_bytes = most_bytes
        self._most_records = most_records
        self._deflate = zlib.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._crc = 0
        self._length = 0

    def has_room(self, record: bytes) -> bool:
        """Tell whether *record* certainly fits; into an empty file any record goes."""
        if not self.records:
            return True
        certain = self.size + PENDING + int(len(record) * GROWTH)
        return self.records < self._most_records and certain <= self._most_bytes

    def add(self, record: bytes) -> bytes:
        """Add *record*, which has no line end; return the next bytes of the file."""
        line = record + b"\n"
        self.records += 1
        self._crc = zlib.crc32(line, self._crc)
        self._length += len(line)
        head = HEADER if self.records == 1 else b""
        return self._told(head + self._deflate.compress(line))

    def finish(self) -> bytes:
        """Return the last bytes of the file."""
        tail = struct.pack("<II", self._crc, self._length & 0xFFFFFFFF)
        return self._told(self._deflate.flush() + tail)

    @property
    def checksum(self) -> str:
        """The MD5 of the bytes so far, in hexadecimal digits."""
        return self._md5.hexdigest()

    def _told(self, data: bytes) -> bytes:
        self._md5.update(data)
        self.size += len(data)
        return data


def record_ref(folder: bytes, file: int, n: int) -> UUID:
    """Return the UUID of the record *n*, from 0, of the *file* with this number; *folder* has 8 random bytes.

    The log of a batch names records by these, and `place_of` reads them back.
    """
    return UUID(bytes=folder + struct.pack(">II", file % MOST_FILES, n), version=4)


def place_of(ref: str, folder: bytes, file: int) -> int | None:
    """Return the place of the record *ref* in the *file*; None for the record of another file."""
    try:
        read = UUID(ref)
    except ValueError:
        return None
    (n,) = struct.unpack(">I", read.bytes[12:])
    return n if read == record_ref(folder, file, n) else None
