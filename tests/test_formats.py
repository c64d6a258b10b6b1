"""Files that are no JSON lines are told from their first bytes; a bad line is not taken for a bad file."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import tarfile
import zipfile
from pathlib import Path

import pytest

from cdp_orders_async import GraphFile, InputError
from cdp_orders_async.sources.jsonlines import CHUNK
from tests.graphs import GOOD, ORDER, TEXT, read
from tests.packing import zstd

GIVE = "; give JSON lines, plain, gzip or zstd: one order on each line"
WIDE = "its text is UTF-16 or UTF-32, and must be UTF-8"
ARRAY = "it is a JSON array"
SPREAD = "its JSON is spread over several lines"
CURES = {
    ARRAY: "; jq -c '.[]' FILE > orders.jsonl makes lines of it",
    SPREAD: "; jq -c . FILE > orders.jsonl makes lines of it",
}
NONE = "its lines are not JSON objects"


def archived(data: bytes) -> bytes:
    """Return a tar archive with one file."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        entry = tarfile.TarInfo("orders.jsonl")
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))
    return packed.getvalue()


def stored(data: bytes) -> bytes:
    """Return a zip archive with one file that is not packed."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("orders.jsonl", data)
    return packed.getvalue()


FORMATS = {
    "utf-16": (TEXT.decode().encode("utf-16"), WIDE),
    "utf-16-le": (TEXT.decode().encode("utf-16-le"), WIDE),
    "utf-16-be": (b"\0\n" + TEXT.decode().encode("utf-16-be"), WIDE),
    "utf-32": (TEXT.decode().encode("utf-32"), WIDE),
    "utf-32-be": (TEXT.decode().encode("utf-32-be"), WIDE),
    "zip": (stored(TEXT), "it is a zip archive"),
    "tar": (archived(TEXT), "it is a tar archive"),
    "zstd": (zstd.compress(zstd.compress(TEXT)), "it is packed by zstd within another packing"),
    "bzip2": (bz2.compress(TEXT), "it is packed by bzip2"),
    "xz": (lzma.compress(TEXT), "it is packed by xz"),
    "lzma": (lzma.compress(TEXT, lzma.FORMAT_ALONE), "it is packed by lzma"),
    "gzip": (gzip.compress(gzip.compress(TEXT)), "it is packed by gzip within another packing"),
    "parquet": (b"PAR1\x15\x04\x15\n" + TEXT, "it is a Parquet file"),
    "sqlite": (b"SQLite format 3\0\x10\0" + TEXT, "it is an SQLite database"),
    "array": (b"[" + TEXT + b"]", ARRAY),
    "array, an order a line": (b"[\n" + GOOD + b",\n" + GOOD + b"\n]", ARRAY),
    "array on one line": (b"[" + GOOD + b"]", ARRAY),
    "array behind blank lines": (b"\xef\xbb\xbf\r\n \t\n  [\n" + GOOD + b"\n]", ARRAY),
    "pretty": (json.dumps(ORDER, indent=2).encode(), SPREAD),
    "pretty, several keys a line": (GOOD.replace(b", ", b",\n ").replace(b',"', b',\n"'), SPREAD),
    "pretty, a second line that is read later": (b'{"price": 1,\n"description": "' + b"x" * CHUNK + b'"}', SPREAD),
    "pretty within": (b'{"orders": [\n' + GOOD + b"\n]}", SPREAD),
    "CR": (TEXT.replace(b"\n", b"\r"), "its lines end in CR alone, and must end in LF"),
    "html": (b"<!DOCTYPE html>\n<html>", "it is HTML or XML"),
    "xml behind a BOM": (b'\xef\xbb\xbf<?xml version="1.0"?>\n<orders/>', "it is HTML or XML"),
    "csv": (b"referenceId,price\nB94TXY-1,50\n", NONE),
    "yaml": (b"- referenceId: B94TXY-1\n  price: 50\n", NONE),
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", FORMATS)
async def test_what_is_no_json_lines(name: str, tmp_path: Path, *, packed: bool) -> None:
    """Another format is told from its first bytes, also within gzip: one sentence, and no line."""
    content, what = FORMATS[name]
    path = tmp_path / "orders"
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(InputError) as caught:
        await read(GraphFile(path))
    assert str(caught.value) == f"{path} cannot be read: {what}{GIVE}{CURES.get(what, '')}"


@pytest.mark.parametrize(
    ("content", "good"),
    [
        (b"no JSON\n" + TEXT, [False, True, True]),
        (b'"order"\n\n' + TEXT, [False, True, True]),
        (b"no JSON\n", [False]),
        (GOOD[:20] + b"\n" + TEXT, [False, True, True]),
        (GOOD[: GOOD.index(b",") + 1] + b"\n" + TEXT, [False, True, True]),
        (TEXT + b"[]\nno JSON\n", [True, True, False, False]),
        (TEXT + b"[\n", [True, True, False]),
        (GOOD.replace(b"B94TXY-1", b"} {") + b"\r\n" + TEXT, [True, True, True]),
        (b"\r" + GOOD.replace(b",", b",\r") + b"\r\n" + TEXT, [True, True, True]),
        (b"\n" * 5000 + b"no JSON\n" + b"\n" * 200_000 + TEXT, [False, True, True]),
    ],
)
async def test_bad_line_is_no_bad_file(content: bytes, good: list[bool], tmp_path: Path) -> None:
    """A line that is wrong is told as such, wherever it stands."""
    path = tmp_path / "orders"
    for data in (content, gzip.compress(content)):
        path.write_bytes(data)
        assert [line.graph is not None for line in await read(GraphFile(path))] == good


async def test_members_of_gzip(tmp_path: Path) -> None:
    """All members of a gzip file are read, and the zeros that pad it; anything else behind them is refused."""
    path = tmp_path / "orders.gz"
    whole = gzip.compress(TEXT) + gzip.compress(b"") + gzip.compress(TEXT)
    path.write_bytes(whole + bytes(512))
    assert len(await read(GraphFile(path))) == 4
    for rest in (b"x", TEXT, whole[:5], whole[:-1]):
        path.write_bytes(whole + rest)
        with pytest.raises(InputError, match=r"cannot be read after line \d: it is cut off or damaged"):
            await read(GraphFile(path))
