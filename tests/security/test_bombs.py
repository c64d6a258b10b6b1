"""What is small and becomes large takes no more memory than it may: packed answers, packed files, endless lines."""

from __future__ import annotations

import gzip
import importlib
import io
import tracemalloc
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
import pytest

from cdp_orders_async import BadRequest, GraphFile, Settings, Unreadable
from cdp_orders_async.sources.jsonlines import CHUNK, LONGEST_LINE, lines
from tests.cli.support import orders
from tests.packing import zstd
from tests.servers import Reply, serving
from tests.session.calling import ask, calling, failure
from tests.ways import Way

MIB = 2**20
LARGE = 256
"""MiB that a bomb becomes."""
BOUNDED = Settings(retries=0, trust_env=False, max_answer=MIB)


def packed(coding: str, before: bytes = b"", after: bytes = b"") -> bytes:
    """Return a little that becomes `LARGE` MiB."""
    pieces = [before, *[b" " * MIB] * LARGE, after]
    if coding == "br":
        brotli: Any = importlib.import_module("brotli")  # this way, because it has no types
        return bytes(brotli.compress(b"".join(pieces), quality=1))
    if coding == "zstd":
        return zstd.compress(b"".join(pieces))
    packer = zlib.compressobj(1, zlib.DEFLATED, 31 if coding == "gzip" else 15)
    return b"".join([*map(packer.compress, pieces), packer.flush()])


@contextmanager
def at_most(mib: int) -> Generator[None, None, None]:
    """See that no more memory is taken meanwhile."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < mib * MIB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("told", [True, False], ids=["length", "chunks"])
@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
async def test_answer_is_bounded(coding: str, told: bool, way: Way) -> None:  # noqa: FBT001 a parameter
    """A packed answer that becomes too large is given up at max_answer, done or refused, whatever it is packed with."""
    bomb = packed(coding, b'{"message": "')
    body, lengths = (
        (bomb, {})
        if told
        else (b"%x\r\n%b\r\n0\r\n\r\n" % (len(bomb), bomb), {"Content-Length": "", "Transfer-Encoding": "chunked"})
    )
    replies = [Reply(status, body, {"Content-Encoding": coding, **lengths}) for status in (200, 400)]
    async with serving(*replies) as server, calling(server.url, BOUNDED) as session:
        with at_most(8):
            done, refused = [await failure(session, ask("POST")) for _ in replies]
    known = server.requests[0].headers["accept-encoding"].split(", ")
    assert isinstance(done, Unreadable)
    assert isinstance(refused, BadRequest)
    if coding in known:
        assert done.problems == ("it is larger than 1,048,576 bytes",)
    else:
        assert (way, done.problems) == ("httptools", ("it is packed in a way that was not asked for",))


async def test_an_answer_in_many_pieces_is_given_up(way: Way) -> None:
    """Each member of gzip takes time to unpack, also an empty one: a small answer would hold up everything."""
    body = gzip.compress(b"", mtime=0) * 10_000 + gzip.compress(b"{}")
    async with serving(Reply(200, body, {"Content-Encoding": "gzip"})) as server, calling(server.url) as session:
        error = await failure(session, ask("POST"))
    assert isinstance(error, Unreadable)
    why = {"aiohttp": "ClientPayloadError", "httptools": "it is packed in too many members"}[way]
    assert error.problems == (f"its transfer broke off ({why})",)


@pytest.mark.parametrize(
    "body", [b"[" * 10**7, b'{"a":' * 10**6, b"[" * 10**6 + b"]" * 10**6], ids=["arrays", "objects", "closed"]
)
async def test_deep_answer_is_unreadable(body: bytes) -> None:
    """An answer that is nothing but depth is no JSON that anybody reads."""
    async with serving(Reply(400, body)) as server, calling(server.url) as session:
        error = await failure(session, ask("POST"))
    assert isinstance(error, BadRequest)
    assert error.message is None


@pytest.mark.parametrize("start", [b'{"referenceId": "', b""], ids=["order", "blank"])
async def test_file_is_bounded(start: bytes, tmp_path: Path) -> None:
    """A packed file that becomes too large for a line is told with the line's number, and the rest of it is read."""
    (good,) = orders(1)
    line = orjson.dumps(good) + b"\n"
    path = tmp_path / "o.jsonl.gz"
    path.write_bytes(packed("gzip", line + start, b'"}\n' + line))
    with at_most(4 * LONGEST_LINE // MIB):
        read = [(one.number, one.graph is None, list(map(str, one.violations))) async for one in GraphFile(path)]
    assert read == [(1, False, []), (2, True, ["$: must be at most 16,777,216 bytes long"]), (3, False, [])]


class Endless(io.BufferedIOBase):
    """A line without end."""

    def read1(self, size: int = -1, /) -> bytes:
        """Read some of it."""
        return b"a" * size


def test_endless_line_is_bounded() -> None:
    """A line without end is told once, and its further pieces are not even kept."""
    with at_most(4):
        (cut,) = next(lines(Endless(), MIB))
    assert len(cut) == MIB + 1
    pieces = iter([*[b"a" * CHUNK] * 1024, b"\nb\n", b""])

    class Ending(io.BufferedIOBase):
        def read1(self, size: int = -1, /) -> bytes:
            del size
            return next(pieces)

    batches = lines(Ending(), 16 * MIB)
    assert [len(cut) for cut in next(batches)] == [16 * MIB + 1]
    with at_most(2):
        assert list(islice(batches, 2)) == [[b"b"]]
