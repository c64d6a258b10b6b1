"""The head of an answer, and what comes with no byte of a body: bounded, with the same bounds in both ways."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from cdp_orders_async.errors import Delivery, OutcomeUnknown, Unreadable
from cdp_orders_async.settings import Settings
from tests.conformance.answering import http, listening
from tests.servers import Cut, Reply, read_body, read_head, serving
from tests.session.calling import ask, calling, failure

pytestmark = pytest.mark.usefixtures("way")

TOO_LARGE = "the head of the answer is larger than 65,536 bytes"
NO_BODY = "65,536 bytes came after the head that are no part of the body"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
LARGE = [f"X-Long: {'x' * 9_000}"], [f"X-Long: {'x' * 60_000}"], [f"X-{n}: {'x' * 40}" for n in range(1_000)]
LARGER = [f"X-Long: {'x' * 66_000}"], [f"X-Long: {'x' * 500_000}"], [f"X-{n}: {'x' * 40}" for n in range(2_000)]
IDS = ["one", "long", "many"]


@pytest.mark.parametrize("headers", LARGE, ids=IDS)
async def test_large_head_is_read(headers: list[str]) -> None:
    """What gateways put into a head, long or often, is no hindrance."""
    async with serving(Reply(raw=http(b"{}", 200, *headers))) as server, calling(server.url) as session:
        for _ in range(2):
            assert await session.send(ask("POST")) == b"{}"
        assert server.connections == 1


@pytest.mark.parametrize("headers", LARGER, ids=IDS)
@pytest.mark.parametrize("body", [b"{}", b"x" * 100_000])
async def test_larger_head_is_no_answer(headers: list[str], body: bytes) -> None:
    """A larger one says nothing of what was done, and the reason is said."""
    async with serving(Reply(raw=http(body, 200, *headers)), Reply()) as server, calling(server.url) as session:
        error = await failure(session, ask("POST"))
        assert isinstance(error, OutcomeUnknown)
        assert f"({TOO_LARGE})" in str(error)
        assert await session.send(ask()) == b"{}"


@pytest.mark.parametrize("way", ["aiohttp"], indirect=True)
@pytest.mark.parametrize("size", [9_000, 66_000])
async def test_session_of_your_own_has_the_same_bounds(size: int) -> None:
    """The bounds of a session that was passed in are not those that it has by itself."""
    raw = http(b"{}", 200, f"X-Long: {'x' * size}")
    async with (
        serving(Reply(raw=raw)) as server,
        aiohttp.ClientSession() as own,
        calling(server.url, http=own) as session,
    ):
        if size < 65_536:
            assert await session.send(ask()) == b"{}"
        else:
            assert TOO_LARGE in str(await failure(session, ask()))


@pytest.mark.parametrize("way", ["aiohttp"], indirect=True)
@pytest.mark.parametrize(
    "raw",
    [b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 2_000, CHUNKED + b"2\r\n{}\r\n0\r\n" + b"X: y\r\n" * 2_000],
    ids=["head", "trailers"],
)
async def test_session_of_your_own_keeps_no_lines_without_end(raw: bytes) -> None:
    """Over a session that was passed in nobody counts the bytes of a head that goes on: its lines are bounded."""
    async with (
        serving(Cut("in the body", "stall", Reply(raw=raw))) as server,
        aiohttp.ClientSession() as own,
        calling(server.url, http=own) as session,
    ):
        error = await failure(session, ask("POST"))
        assert error.delivery in {Delivery.UNKNOWN, Delivery.DONE_UNREADABLE}
        assert "the head of the answer has more than 1,024 lines" in str(error)


async def test_interim_answers_without_end() -> None:
    """Answers that are none are counted, however many come."""
    raw = b"HTTP/1.1 102 Processing\r\n\r\n" * 50_000
    async with serving(Cut("in the body", "stall", Reply(raw=raw)), Reply()) as server, calling(server.url) as session:
        error = await failure(session, ask("POST"))
        assert isinstance(error, OutcomeUnknown)
        assert TOO_LARGE in str(error)
        assert await session.send(ask()) == b"{}"


@pytest.mark.parametrize(
    "after",
    [
        b"1;" + b"x" * 1_000_000,
        (b"1;" + b"x" * 10_000 + b"\r\n \r\n") * 100,
        b"2\r\n{}\r\n0\r\n" + b"X: y\r\n" * 100_000,
        b"2\r\n{}\r\n0\r\nX: " + b"y" * 1_000_000,
    ],
    ids=["chunk extension", "many chunk extensions", "many trailers", "long trailer"],
)
async def test_what_is_no_body_without_end(after: bytes) -> None:
    """What stands between and after chunks is counted too, and the answer counts as cut off."""
    raw = CHUNKED + after
    async with serving(Cut("in the body", "stall", Reply(raw=raw)), Reply()) as server, calling(server.url) as session:
        error = await failure(session, ask("POST"))
        assert isinstance(error, Unreadable)
        assert error.cut
        assert NO_BODY in str(error)
        assert await session.send(ask()) == b"{}"


async def test_chunks_that_are_none() -> None:
    """A body whose chunks break the rules ends at once, and not when the time is over."""
    raw = CHUNKED + b"2\r\n{}\r\n"

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_body(reader, await read_head(reader, 1))
        writer.write(raw)
        for _ in range(20):  # until the client has read it
            await asyncio.sleep(0)
        writer.write(b"no chunk\r\n\r\n")
        await reader.read()

    async with listening(talk) as url, calling(url, Settings(retries=0, trust_env=False, timeout=1000)) as session:
        error = await failure(session, ask("POST"))
    assert error.delivery in {Delivery.UNKNOWN, Delivery.DONE_UNREADABLE}


async def test_large_body_in_small_chunks() -> None:
    """What a body in chunks needs beside its bytes counts for nothing."""
    raw = CHUNKED + b"1\r\nx\r\n" * 50_000 + b"0\r\n\r\n"
    async with serving(Reply(raw=raw)) as server, calling(server.url) as session:
        assert await session.send(ask()) == b"x" * 50_000


async def test_answers_that_nobody_asked_for() -> None:
    """A connection on which answers go on after the one that was asked for ends at once, and not when it is needed."""
    ended: list[bool] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_body(reader, await read_head(reader, 1))
        writer.write(http(b"{}"))
        await answered.wait()
        writer.write(http(b"x" * 1_000) * 100)
        for _ in range(50):  # until the client has read it
            await asyncio.sleep(0)
        ended.append(writer.transport.is_closing() or reader.at_eof())
        seen.set()

    answered, seen = asyncio.Event(), asyncio.Event()
    async with listening(talk) as url, calling(url) as session:
        assert await session.send(ask()) == b"{}"
        answered.set()
        await seen.wait()
    assert ended == [True]
