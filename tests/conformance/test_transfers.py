"""Whatever bytes come back, a call ends in time, in bounded memory, and in the value that they mean or in an error."""

from __future__ import annotations

import asyncio
import gzip
import tracemalloc
import zlib
from collections.abc import AsyncGenerator, Awaitable, Mapping
from contextlib import asynccontextmanager

import attrs
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdp_orders_async import (
    BadRequest,
    CdpError,
    CdpOrders,
    Delivery,
    NotFound,
    Order,
    OutcomeUnknown,
    Refused,
    Settings,
    Unreadable,
)
from tests.conformance.answering import CALLS, ONCE, REF, answering, connected, ended, http, listening, result
from tests.servers import read_body, read_head
from tests.session.endings import Loop
from tests.virtual import run_in

pytestmark = pytest.mark.usefixtures("way")

WHOLE = orjson.dumps({"ref": str(REF), "name": "ext", "items": []})
"""An answer that fits every call."""
HTML = b"<!DOCTYPE html><html><body>Sign in to the network</body></html>"


def chunks(*parts: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    """Return a body in chunks."""
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + end


def headed(body: bytes, *headers: str, status: str = "HTTP/1.1 200 OK") -> bytes:
    """Return an answer with exactly these headers."""
    return "\r\n".join([status, *headers, "", ""]).encode("latin-1") + body


def deflated(body: bytes) -> bytes:
    """Compress without the head that names the format, as some servers do."""
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(body) + packer.flush()


CHUNKED = "Transfer-Encoding: chunked"
GZIP = "Content-Encoding: gzip"
LENGTH = f"Content-Length: {len(WHOLE)}"
READ: Mapping[str, bytes] = {
    "200": http(WHOLE),
    "201": http(WHOLE, 201),
    "202": http(WHOLE, 202),
    "299": http(WHOLE, 299),
    "no content type": http(WHOLE),
    "content type of text": http(WHOLE, 200, "Content-Type: text/html; charset=utf-16"),
    "broken content type": http(WHOLE, 200, "Content-Type: ;;;=;"),
    "byte order mark": http(b"\xef\xbb\xbf" + WHOLE),
    "gzip": http(gzip.compress(WHOLE), 200, GZIP),
    "gzip in capitals": http(gzip.compress(WHOLE), 200, "Content-Encoding: GZIP"),
    "deflate": http(zlib.compress(WHOLE), 200, "Content-Encoding: deflate"),
    "raw deflate": http(deflated(WHOLE), 200, "Content-Encoding: deflate"),
    "identity": http(WHOLE, 200, "Content-Encoding: identity"),
    "chunks": headed(chunks(WHOLE), CHUNKED),
    "a chunk a byte": headed(chunks(*(bytes([byte]) for byte in WHOLE)), CHUNKED),
    "chunks with extensions and trailers": headed(
        b"%x;a=b\r\n%b\r\n0\r\nExpires: never\r\n\r\n" % (len(WHOLE), WHOLE), CHUNKED
    ),
    "chunks of gzip": headed(chunks(gzip.compress(WHOLE)), CHUNKED, GZIP),
    "no length": headed(WHOLE, "Connection: close"),
    "HTTP/1.0": headed(WHOLE, status="HTTP/1.0 200 OK"),
    "no reason": headed(WHOLE, LENGTH, status="HTTP/1.1 200 "),
    "reason in another alphabet": headed(WHOLE, LENGTH, status="HTTP/1.1 200 \xe9\xe8"),
    "after 100": headed(headed(WHOLE, LENGTH), status="HTTP/1.1 100 Continue"),
    "after 103": headed(headed(WHOLE, LENGTH), "Link: </a>", status="HTTP/1.1 103 Early Hints"),
    "100 headers": http(WHOLE, 200, *(f"X-{n}: {n}" for n in range(100))),
    "odd headers": http(WHOLE, 200, "X: \xe9", "X-Empty:", "Set-Cookie: =;;", "Retry-After: soon", "Date: never"),
}
"""Answers that are legal, however strange."""


@pytest.mark.parametrize("form", READ)
@pytest.mark.parametrize("name", ["create", "get"])
async def test_strange_but_legal(name: str, form: str) -> None:
    """A good answer is read in whatever form it comes."""
    assert await result(name, READ[form]) == Order(ref=REF)


@pytest.mark.parametrize("status", [200, 201])
@pytest.mark.parametrize("name", CALLS)
async def test_success_has_more_than_one_number(name: str, status: int) -> None:
    """200 where 201 is documented is no error, nor the other way round, for any form of call."""
    assert not isinstance(await result(name, http(WHOLE, status)), CdpError)


EMPTY: Mapping[str, bytes] = {
    "200": http(b""),
    "201": http(b"", 201),
    "204": headed(b"", status="HTTP/1.1 204 No Content"),
    "a line": http(b"\r\n"),
    "no chunks": headed(chunks(), CHUNKED),
}


@pytest.mark.parametrize("form", EMPTY)
@pytest.mark.parametrize("name", CALLS)
async def test_empty_success(name: str, form: str) -> None:
    """Success without a body is the end of a deletion; for all else it is done, and nobody can read what."""
    found = await result(name, EMPTY[form])
    if name == "delete":
        assert found is None
    else:
        assert isinstance(found, Unreadable)


UNREADABLE: Mapping[str, bytes] = {
    "a page": http(HTML, 200, "Content-Type: text/html"),
    "a page in gzip": http(gzip.compress(HTML), 200, GZIP),
    "deep brackets": http(b"[" * 100_000),
    "deep objects": http(b'{"ref":' * 100_000),
    "deep brackets that close": http(b"[" * 100_000 + b"]" * 100_000),
    "a number without end": http(b'{"ref": 1' + b"0" * 500_000 + b"}"),
    "half a document": http(WHOLE[:-1]),
    "two documents": http(WHOLE + WHOLE),
    "UTF-16": http(WHOLE.decode().encode("utf-16")),
    "gzip that ends early": http(gzip.compress(WHOLE)[:-12], 200, GZIP),
    "gzip that nobody speaks of": http(gzip.compress(WHOLE)),
    "gzip twice": http(gzip.compress(gzip.compress(WHOLE)), 200, "Content-Encoding: gzip, gzip"),
}
"""Answers that come whole, and are none."""
CUT: Mapping[str, bytes] = {
    "a length that is too long": headed(WHOLE, f"Content-Length: {len(WHOLE) + 1}"),
    "gzip that is none": http(WHOLE, 200, GZIP),
    "gzip with an error": http(gzip.compress(WHOLE)[:15] + b"\xff" * 3 + gzip.compress(WHOLE)[18:], 200, GZIP),
    "deflate that is none": http(WHOLE, 200, "Content-Encoding: deflate"),
    "a chunk without its end": headed(b"ff\r\n" + WHOLE, CHUNKED),
    "chunks without their end": headed(chunks(WHOLE, end=b""), CHUNKED),
}
"""Answers whose head says success, and whose body breaks off."""
LOST: Mapping[str, bytes] = {
    "nothing": b"",
    "an empty line": b"\r\n\r\n",
    "another protocol": b"SSH-2.0-OpenSSH\r\n\r\n",
    **{
        f"status line {line[:20]}": headed(WHOLE, LENGTH, status=line)
        for line in (
            *("HTTP/1.1 abc OK", "HTTP/1.1 99 OK", "HTTP/1.1 2000 OK", "HTTP/1.1 -1 OK", "HTTP/1.1  OK"),
            *("ICY 200 OK", "HTTP/9.9 200 OK", "HTTP/2 200", "HTTP/1.1 200 " + "a" * 1_000_000),
        )
    },
    **{
        f"header {header[:30]}": headed(WHOLE, LENGTH, header)
        for header in ("no colon", ": no name", "X: \0", "Y: " + "a" * 1_000_000, "Content-Length: 3", f"{CHUNKED}, x")
    },
    "100,000 headers": http(WHOLE, 200, *(f"X-{n}: {n}" for n in range(100_000))),
    **{f"length {length[:5]}": headed(WHOLE, f"Content-Length: {length}") for length in ("-5", "abc", "9" * 400)},
    "a length that is too short": headed(WHOLE, f"Content-Length: {len(WHOLE) - 1}"),
    "a length and chunks": headed(chunks(WHOLE), LENGTH, CHUNKED),
    **{f"chunk size {size[:5]}": headed(f"{size}\r\n".encode() + WHOLE, CHUNKED) for size in ("zz", "-5", "f" * 400)},
}
"""What is no answer at all."""


@pytest.mark.parametrize("form", UNREADABLE)
@pytest.mark.parametrize("name", ["create", "get", "delete", "list"])
async def test_success_that_says_nothing(name: str, form: str) -> None:
    """What came whole and is no answer is done, and unreadable."""
    found = await result(name, UNREADABLE[form])
    assert isinstance(found, Unreadable)
    assert (found.delivery, found.cut, len(found.start) <= 500) == (Delivery.DONE_UNREADABLE, False, True)


@pytest.mark.parametrize("form", CUT)
@pytest.mark.parametrize("name", ["create", "get", "delete", "list"])
async def test_success_that_breaks_off(name: str, form: str) -> None:
    """What broke off after its head is done, and its end is missed."""
    found = await result(name, CUT[form])
    assert isinstance(found, Unreadable)
    assert (found.delivery, found.cut) == (Delivery.DONE_UNREADABLE, True)


@pytest.mark.parametrize("form", LOST)
@pytest.mark.parametrize("name", ["create", "get", "delete", "list"])
async def test_no_answer(name: str, form: str) -> None:
    """What is no answer leaves it open whether anything was done."""
    found = await result(name, LOST[form])
    assert type(found) is OutcomeUnknown
    assert found.delivery is Delivery.UNKNOWN


@pytest.mark.parametrize("name", ["create", "get", "delete", "list"])
@pytest.mark.parametrize("form", ["br", "zstd"])
async def test_compression_that_may_be_unknown(name: str, form: str) -> None:
    """Bytes that are not as a compression would have them are an error, whether this machine can unpack it or not."""
    found = await result(name, http(WHOLE, 200, f"Content-Encoding: {form}"))
    assert isinstance(found, OutcomeUnknown | Unreadable)


@pytest.mark.parametrize(("status", "kind"), [(400, BadRequest), (404, NotFound), (418, Refused), (302, Refused)])
@pytest.mark.parametrize("body", [b"", HTML, b"[" * 100_000, b"\xff", b"null", b'{"message": 1e400}'])
@pytest.mark.parametrize("name", ["create", "get", "delete", "list"])
async def test_refusal_with_any_body(name: str, body: bytes, status: int, kind: type[Refused]) -> None:
    """A refusal is one whatever comes with it."""
    found = await result(name, http(body, status, "Content-Type: application/json"))
    assert type(found) is kind
    assert (found.status, found.message) == (status, None)


@settings(max_examples=100)
@given(data=st.data())
async def test_damaged_answers(data: st.DataObject) -> None:
    """Bytes that are changed, lost or added anywhere in an answer end in its value or an error."""
    whole = data.draw(st.sampled_from([*READ.values(), *UNREADABLE.values(), *CUT.values()]))[:2000]
    at = data.draw(st.integers(0, len(whole)))
    damaged = whole[:at] + data.draw(st.binary(max_size=4)) + whole[at + data.draw(st.integers(0, 4)) :]
    found = await result(data.draw(st.sampled_from(["create", "get"])), damaged)
    assert isinstance(found, CdpError | Order)


@settings(max_examples=100)
@given(st.binary(max_size=200))
async def test_noise(noise: bytes) -> None:
    """Noise, with a head before it or without, is no value."""
    for raw in (noise, headed(noise), headed(noise, CHUNKED), headed(noise, GZIP)):
        assert isinstance(await result("get", raw), CdpError)


async def test_two_answers_to_one_question() -> None:
    """What follows an answer is not taken for the answer to the next question."""
    other = orjson.dumps({"ref": "00000000-0000-4000-8000-000000000000"})
    async with answering(http(WHOLE) + http(other), closes=False) as cdp:
        for _ in range(3):
            assert await cdp.orders.get(REF) == Order(ref=REF)


MIB = 2**20
MOST = 32 * MIB
"""Bytes that a call to a hostile server may hold at most, the server in the same process included."""
ZEROS = zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
BOMB_HEAD, BOMB = (ZEROS.compress(bytes(MIB)) + ZEROS.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
"""A gzip of as many MiB of zeros as there are pieces of this, a thousandth of their size."""
SMALL = attrs.evolve(ONCE, max_answer=2**16)
IMPATIENT = attrs.evolve(ONCE, timeout=3)


@asynccontextmanager
async def pouring(
    head: bytes, piece: bytes, *, pause: float = 0, settings: Settings = ONCE
) -> AsyncGenerator[CdpOrders, None]:
    """Give a client of a server that sends *head* and then *piece* again and again, for ever."""

    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_body(reader, await read_head(reader, 1))
        writer.write(head)
        while not writer.transport.is_closing():
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause)

    async with listening(pour) as base_url, connected(base_url, settings) as cdp:
        yield cdp


async def peak(call: Awaitable[object]) -> tuple[object, int]:
    """Return what *call* ends in, and the most memory that it took."""
    tracemalloc.start()
    try:
        found = await ended(call)
        return found, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


CHUNK = b"10000\r\n" + bytes(0x10000) + b"\r\n"
ENDLESS: Mapping[str, tuple[bytes, bytes]] = {
    "a body": (headed(b""), bytes(0x10000)),
    "a body of a huge length": (headed(b"", f"Content-Length: {10**15}"), bytes(0x10000)),
    "chunks": (headed(b"", CHUNKED), CHUNK),
    "small chunks": (headed(b"", CHUNKED), b"1\r\n0\r\n" * 10_000),
    "one chunk": (headed(b"fffffffff\r\n", CHUNKED), bytes(0x10000)),
    "gzip": (headed(BOMB_HEAD, GZIP), BOMB),
    "deflate": (headed(BOMB_HEAD[10:], "Content-Encoding: deflate"), BOMB),
    "chunks of gzip": (
        headed(b"%x\r\n%b\r\n" % (len(BOMB_HEAD), BOMB_HEAD), CHUNKED, GZIP),
        b"%x\r\n%b\r\n" % (len(BOMB), BOMB),
    ),
}
"""Answers without an end: a head, and what comes after it again and again."""


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize("form", ENDLESS)
async def test_endless_answer(form: str, status: int) -> None:
    """An answer that does not end, or bursts when it is unpacked, is left at the limit, in little memory."""
    head, piece = ENDLESS[form]
    async with pouring(head.replace(b" 200 ", b" %d " % status), piece, settings=SMALL) as cdp:
        found, most = await peak(CALLS["create"](cdp))
    assert isinstance(found, Unreadable if status == 200 else BadRequest)
    assert most < MOST


async def test_bomb() -> None:
    """A MiB that unpacks to a GiB is left at the limit, in little memory."""
    bomb = BOMB_HEAD + BOMB * 1023
    assert len(bomb) < 2 * MIB
    async with answering(http(bomb, 200, GZIP)) as cdp:
        found, most = await peak(CALLS["get"](cdp))
    assert isinstance(found, Unreadable)
    assert found.problems == ("it is larger than 1,048,576 bytes",)
    assert most < MOST


@pytest.mark.parametrize("headers", [(f"Content-Length: {100 * MIB}",), ()])
async def test_hundred_mib(headers: tuple[str, ...]) -> None:
    """A body of 100 MiB is above the limit of the settings as they come, and takes not much more than the limit."""
    async with pouring(headed(b"", *headers), bytes(MIB), settings=Settings(retries=0)) as cdp:
        found, most = await peak(CALLS["get"](cdp))
    assert isinstance(found, Unreadable)
    assert most < 2 * Settings().max_answer


@pytest.mark.parametrize("size", [2**20, 2**20 + 1])
async def test_largest_answer(size: int) -> None:
    """The limit of the settings is a limit of whole answers, to the byte."""
    found = await result("get", http(WHOLE + b" " * (size - len(WHOLE))))
    assert isinstance(found, Order if size == ONCE.max_answer else Unreadable)


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (headed(b"")[:-2], b"X: y\r\n"),
        (headed(b"")[:-2], b"X"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"", b"\r\n"),
    ],
    ids=["headers", "a name", "heads", "lines"],
)
async def test_endless_head(head: bytes, piece: bytes) -> None:
    """A head that does not end is no answer, in little memory."""
    async with pouring(head, piece * (0x10000 // len(piece))) as cdp:
        found, most = await peak(CALLS["create"](cdp))
    assert isinstance(found, OutcomeUnknown)
    assert most < MOST


@pytest.mark.parametrize(
    ("head", "piece", "kind"),
    [
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n", OutcomeUnknown),
        (b"HTTP/1.1 ", b"2", OutcomeUnknown),
        (headed(b"")[:-2], b"X: y\r\n", OutcomeUnknown),
        (headed(b""), b" ", Unreadable),
        (headed(b"", "Content-Length: 100000"), b" ", Unreadable),
        (headed(b"", CHUNKED), b"1\r\n \r\n", Unreadable),
        (headed(BOMB_HEAD[:10], GZIP), b"\0\0\0\xff\xff", Unreadable),
    ],
    ids=["heads", "status line", "headers", "body", "body with a length", "chunks", "gzip of nothing"],
)
def test_slow_drip(head: bytes, piece: bytes, kind: type[CdpError]) -> None:
    """An answer that always goes on, a little at a time, ends when its time is over."""

    async def main(_: Loop) -> None:
        async with pouring(head, piece, pause=0.1, settings=IMPATIENT) as cdp:
            found = await ended(CALLS["create"](cdp))
        assert type(found) is kind

    run_in(Loop, main)
