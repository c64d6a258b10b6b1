"""The bodies of answers that came packed."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import Any, cast

from cdp_orders_async.session.timeouts import Broken

__all__ = ["UNPACKERS"]

GZIP = 16 + zlib.MAX_WBITS
MOST_MEMBERS = 1_024
"""Members of a body of gzip, as many as aiohttp takes: each costs time, also an empty one."""
WINDOW = 65_536
"""Bytes that are unpacked at a time: zlib copies what it does not need."""


def _gunzipped(body: bytearray, most: int) -> bytearray:
    """Return the contents of all members of *body*, at most one byte more than *most*; raises `Broken`."""
    unpacked, at = bytearray(), 0
    for _ in range(MOST_MEMBERS):
        member = zlib.decompressobj(GZIP)
        while at < len(body) and not member.eof:
            part = body[at : at + WINDOW]
            unpacked += _decompressed(member, part, most + 1 - len(unpacked))
            if len(unpacked) > most:
                return unpacked
            at += len(part) - len(member.unused_data)
        if at == len(body):
            return unpacked
    raise Broken("it is packed in too many members")


def _inflated(body: bytearray, most: int) -> bytearray:
    """Return the contents of *body*, at most one byte more than *most*; raises `Broken`."""
    # Some servers send deflate without its head: the first byte shows it.
    headless = body[0] & 15 != zlib.DEFLATED
    packed = zlib.decompressobj(-zlib.MAX_WBITS if headless else zlib.MAX_WBITS)
    unpacked = bytearray(_decompressed(packed, body, most + 1))
    if len(unpacked) <= most and not packed.eof:
        raise Broken("it is packed, and breaks off")
    return unpacked


def _decompressed(packed: Any, data: bytes | bytearray, most: int) -> bytes:  # noqa: ANN401 zlib does not name it
    try:
        return cast("bytes", packed.decompress(data, most))
    except zlib.error:
        raise Broken("it cannot be unpacked") from None


UNPACKERS: Mapping[bytes, Callable[[bytearray, int], bytearray]] = {b"gzip": _gunzipped, b"deflate": _inflated}
"""For each coding a function of the packed body and of the most bytes that it may have."""
