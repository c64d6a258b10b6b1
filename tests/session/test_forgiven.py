"""Answers with flaws: both ways to send forgive the same ones, and refuse the same ones."""

from __future__ import annotations

import asyncio
import gc
import gzip
import zlib
from collections.abc import Mapping

import pytest

from cdp_orders_async.errors import MAYBE_DONE, OutcomeUnknown, Refused, ServerError, Unreadable
from cdp_orders_async.settings import Settings
from tests.servers import Reply, serving
from tests.session.calling import ask, calling, failure

pytestmark = pytest.mark.usefixtures("way")

BODY = b'{"a": 1}'
LENGTH = b"Content-Length: 8"
CHUNKED = b"Transfer-Encoding: chunked"
ONCE = Settings(retries=0, trust_env=False, timeout=10)


def answer(*headers: bytes, body: bytes = BODY, first: bytes = b"HTTP/1.1 200 OK", end: bytes = b"\r\n") -> bytes:
    """Return an answer as bytes."""
    return end.join((first, *headers, b"", body))


def packed(coding: bytes, body: bytes) -> bytes:
    """Return an answer whose *body* is said to have a *coding*."""
    return answer(b"Content-Encoding: " + coding, b"Content-Length: %d" % len(body), body=body)


def headless(body: bytes) -> bytes:
    """Return *body* deflated without the head of zlib."""
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflater.compress(body) + deflater.flush()


FORGIVEN = {
    "line feeds only": answer(LENGTH, end=b"\n"),
    "folded": answer(b"X-A: b\r\n c", LENGTH),
    "folded by a tab": answer(b"X-A: b\r\n\tc", LENGTH),
    "space before the colon": answer(b"Content-Length : 8"),
    "no reason": answer(LENGTH, first=b"HTTP/1.1 200"),
    "HTTP/1.0": answer(LENGTH, first=b"HTTP/1.0 200 OK"),
    "empty lines first": b"\r\n\r\n" + answer(LENGTH),
    "chunked in capitals": answer(b"Transfer-Encoding: CHUNKED", body=b"8\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "space after the size": answer(CHUNKED, body=b"8 \r\n" + BODY + b"\r\n0\r\n\r\n"),
    "extension of a chunk": answer(CHUNKED, body=b"8;a=b\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "gzip in capitals": packed(b"GZIP", gzip.compress(BODY)),
    "spaces around gzip": packed(b"  gzip ", gzip.compress(BODY)),
    "two members": packed(b"gzip", gzip.compress(BODY[:3]) + gzip.compress(BODY[3:])),
    "deflate": packed(b"deflate", zlib.compress(BODY)),
    "deflate without its head": packed(b"deflate", headless(BODY)),
    "coding none": packed(b"none", BODY),
    "coding of characters": packed(b"utf-8", BODY),
    "no coding": packed(b"", BODY),
    "interim": b"HTTP/1.1 100 Continue\r\n\r\n" + answer(LENGTH),
}
NO_ANSWER = {
    "NUL in a header": answer(b"X: a\0b", LENGTH),
    "control character in a name": answer(b"X\x01: a", LENGTH),
    "a bare CR": answer(b"X: a\rY: b", LENGTH),
    "no colon": answer(b"abc", LENGTH),
    "no name": answer(b": x", LENGTH),
    "two lengths": answer(LENGTH, b"Content-Length: 9"),
    "length and chunks": answer(LENGTH, CHUNKED, body=b"8\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "negative length": answer(b"Content-Length: -8"),
    "HTTP/2": answer(LENGTH, first=b"HTTP/2 200 OK"),
    "garbage first": b"xx" + answer(LENGTH),
}
UNREADABLE = {
    "zlib as gzip": packed(b"gzip", zlib.compress(BODY)),
    "gzip as deflate": packed(b"deflate", gzip.compress(BODY)),
    "more after gzip": packed(b"gzip", gzip.compress(BODY) + b"more"),
    "wrong checksum": packed(b"gzip", gzip.compress(BODY)[:-8] + b"\0" * 8),
}


@pytest.mark.parametrize("raw", FORGIVEN.values(), ids=FORGIVEN)
async def test_forgiven(raw: bytes) -> None:
    """An answer whose end and contents are clear is an answer."""
    async with serving(Reply(raw=raw)) as server, calling(server.url, ONCE) as session:
        assert await session.send(ask("POST")) == BODY


@pytest.mark.parametrize("raw", NO_ANSWER.values(), ids=NO_ANSWER)
async def test_no_answer(raw: bytes) -> None:
    """An answer that can be read in two ways says nothing of the request."""
    async with serving(Reply(raw=raw), Reply()) as server, calling(server.url, ONCE) as session:
        assert isinstance(await failure(session, ask("POST")), OutcomeUnknown)
        assert await session.send(ask()) == b"{}"


@pytest.mark.parametrize("raw", UNREADABLE.values(), ids=UNREADABLE)
async def test_unreadable(raw: bytes) -> None:
    """A body that cannot be unpacked was an answer, and its status counts."""
    async with serving(Reply(raw=raw)) as server, calling(server.url, ONCE) as session:
        assert isinstance(await failure(session, ask("POST")), Unreadable)


async def test_deflate_that_breaks_off() -> None:
    """A body without its end is no answer to a create, which may be done."""
    raw = packed(b"deflate", zlib.compress(BODY)[:-4])
    async with serving(Reply(raw=raw)) as server, calling(server.url, ONCE) as session:
        assert (await failure(session, ask("POST"))).delivery in MAYBE_DONE


async def test_folded_wait() -> None:
    """The time to wait is read from a folded line too."""
    raw = answer(b"Retry-After:\r\n 7", LENGTH, first=b"HTTP/1.1 429 Slow")
    async with serving(Reply(raw=raw)) as server, calling(server.url, ONCE) as session:
        error = await failure(session, ask("POST"))
    assert isinstance(error, Refused)
    assert error.retry_after == 7


async def test_an_answer_that_ends_http_is_closed() -> None:
    """An answer 101 leaves nothing that asyncio would tell of later, with its headers."""
    told: list[Mapping[str, object]] = []
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    loop.set_exception_handler(lambda _, context: told.append(context))
    raw = answer(b"Upgrade: h2c", b"Connection: Upgrade", first=b"HTTP/1.1 101 Switching Protocols", body=b"")
    async with serving(Reply(raw=raw)) as server, calling(server.url, ONCE) as session:
        assert isinstance(await failure(session, ask()), ServerError)
    gc.collect()
    assert told == []
