"""Tell the format of a file from its first bytes: one sentence in place of an error for each line."""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["GZIP", "bare", "is_zstd", "packed", "what_else"]

BOM = b"\xef\xbb\xbf"
GZIP = b"\x1f\x8b"
BEGINNINGS = {
    b"PK": "it is a zip archive",
    GZIP: "it is packed by gzip within another packing",
    b"\x1f\x9d": "it is packed by compress",
    b"BZh": "it is packed by bzip2",
    b"\xfd7zXZ\x00": "it is packed by xz",
    b"\x5d\x00\x00": "it is packed by lzma",
    b"\x04\x22\x4d\x18": "it is packed by lz4",
    b"\xff\x06\x00\x00sNaPpY": "it is packed by snappy",
    b"LZIP": "it is packed by lzip",
    b"7z\xbc\xaf\x27\x1c": "it is a 7z archive",
    b"Rar!": "it is a rar archive",
    b"PAR1": "it is a Parquet file",
    b"PARE": "it is a Parquet file",
    b"ORC": "it is an ORC file",
    b"ARROW1": "it is an Arrow file",
    b"Obj\x01": "it is an Avro file",
    b"SQLite format 3\x00": "it is an SQLite database",
    b"\xd0\xcf\x11\xe0": "it is a file of Microsoft Office",
    b"%PDF": "it is a PDF file",
}
ZSTD = re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18")
"""The beginning of a frame, or of one that is skipped."""
TAR, TAR_AT = b"ustar", 257
UTF_16 = (b"\xff\xfe", b"\xfe\xff")
WIDE = 4
"""The bytes of the widest form of a letter: ASCII in UTF-16 or UTF-32 has a zero in them."""
CR_ALONE = re.compile(rb"\}[ \t\r]*\r[ \t\r]*\{")
"""The end of an order, a line end that is no LF, and the next order."""

ARRAY = "it is a JSON array"
SPREAD = "its JSON is spread over several lines"
CURES = {
    ARRAY: "; jq -c '.[]' FILE > orders.jsonl makes lines of it",
    SPREAD: "; jq -c . FILE > orders.jsonl makes lines of it",
}
ONE_ORDER_A_LINE = "give JSON lines, plain, gzip or zstd: one order on each line"


def is_zstd(first: bytes) -> bool:
    """Tell whether a file with these *first* bytes is packed by zstd."""
    return ZSTD.match(first) is not None


def bare(line: bytes) -> bytes:
    """Return *line* without what may stand around its JSON."""
    return line.removeprefix(BOM).strip()


def what_else(raw: bytes, texts: Sequence[bytes]) -> str | None:
    """Return in words the format of a file that is not JSON lines; None where it may be JSON lines.

    Parameters: *raw*, its first line that is not blank; *texts*, that line and the next, as `bare` returns them.
    """
    what = packed(raw) or _text(raw, *texts)
    if what is None and len(texts) > 1 and not any(text.startswith(b"{") for text in texts):
        what = "its lines are not JSON objects"
    return what and f"{what}; {ONE_ORDER_A_LINE}{CURES.get(what, '')}"


def packed(first: bytes) -> str | None:
    """Return in words the format of a file with these *first* bytes, if it is one that is no text."""
    if first[TAR_AT:].startswith(TAR):
        return "it is a tar archive"
    if is_zstd(first):
        return "it is packed by zstd within another packing"
    return next((what for beginning, what in BEGINNINGS.items() if first.startswith(beginning)), None)


def _text(first: bytes, text: bytes, following: bytes = b"{") -> str | None:
    if first.startswith(UTF_16) or 0 in first[:WIDE]:
        return "its text is UTF-16 or UTF-32, and must be UTF-8"
    if text.startswith(b"["):
        return ARRAY
    if text.startswith(b"<"):
        return "it is HTML or XML"
    is_cut = text.endswith(b",") and not following.startswith(b"{")  # a single bad line is no bad file
    if text.startswith(b"{") and (text.endswith((b"{", b"[")) or is_cut):
        return SPREAD
    if CR_ALONE.search(text):
        return "its lines end in CR alone, and must end in LF"
    return None
