"""Kept connections that a gateway ends without a word: nothing is written on them if that can be known."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from typing import Literal, TypeAlias

import pytest

from cdp_orders_async.errors import OutcomeUnknown
from cdp_orders_async.session import Session
from cdp_orders_async.settings import Settings
from tests.conformance.answering import http, listening
from tests.servers import Cut, Reply, Server, read_body, read_head, serving
from tests.session.calling import METHODS, ask, calling, failure, no_wait
from tests.session.endings import Loop
from tests.session.test_network import authority, ca_file, good, trusting
from tests.virtual import run_in

__all__ = ["authority", "ca_file", "good", "trusting"]

pytestmark = pytest.mark.usefixtures("way")

PLAIN = Settings(retries=0, trust_env=False)
Manner: TypeAlias = Literal["end", "end at the next", "reset at the next", "silence at the next"]


def end_all(server: Server) -> None:
    """End what the server sends on its connections, before the client has a chance to read it."""
    for writer in server.streams.values():
        writer.get_extra_info("socket").shutdown(socket.SHUT_WR)


def speak_on_all(server: Server) -> None:
    """Send on each connection what nobody asked for, before the client has a chance to read it."""
    for writer in server.streams.values():
        writer.write(http(b"[]", 408))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("event", [end_all, speak_on_all])
async def test_nothing_is_written_after_an_end(method: str, event: object) -> None:
    """A kept connection that has just ended, or on which the server spoke, takes no request."""
    assert callable(event)
    async with serving() as server, calling(server.url, PLAIN) as session:
        await session.send(ask())
        event(server)
        assert await session.send(ask(method)) == b"{}"
        assert [asked.connection for asked in server.requests] == [1, 2]


@pytest.mark.parametrize("event", [end_all, speak_on_all])
async def test_nothing_is_written_after_an_end_over_tls(
    event: object, good: ssl.SSLContext, trusting: Settings
) -> None:
    """Over TLS a kept connection that has something to read is not used either."""
    assert callable(event)
    async with serving(tls=good) as server, calling(server.url, trusting) as session:
        await session.send(ask())
        event(server)
        assert await session.send(ask("POST")) == b"{}"
        assert [asked.connection for asked in server.requests] == [1, 2]


async def gateway(manner: Manner, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer the first request of a connection, and end the connection in a *manner* that says nothing before."""
    await read_body(reader, await read_head(reader, 1))
    writer.write(http(b"{}"))
    connection: socket.socket = writer.get_extra_info("socket")
    if manner == "end":
        connection.shutdown(socket.SHUT_WR)
        return
    await read_body(reader, await read_head(reader, 1))
    if manner == "reset at the next":
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    elif manner == "silence at the next":
        await reader.read()


async def losses(session: Session) -> int:
    """Create something, again after each lost answer and a look; return how many answers were lost."""
    for lost in range(5):
        try:
            await session.send(ask("POST"))
        except OutcomeUnknown:
            await session.send(ask())
        else:
            return lost
    raise AssertionError("the answers of all creates were lost")


@pytest.mark.parametrize("manner", ["end at the next", "reset at the next", "silence at the next"])
def test_gateway_that_ends_kept_connections(manner: Manner) -> None:
    """The first lost answer shows it; after that creates go over new connections, and none is lost."""
    settings = Settings(retries=3, trust_env=False, timeout=3)

    async def main(loop: Loop) -> None:
        async with (
            listening(lambda reader, writer: gateway(manner, reader, writer)) as url,
            calling(url, settings, uniform=no_wait, clock=loop.time) as session,
        ):
            assert [await losses(session) for _ in range(10)] == [0, 1, *[0] * 8]

    run_in(Loop, main)


async def test_gateway_that_ends_connections_at_once() -> None:
    """Where a connection has ended before the next request, no answer is lost at all."""
    async with (
        listening(lambda reader, writer: gateway("end", reader, writer)) as url,
        calling(url, PLAIN) as session,
    ):
        assert [await losses(session) for _ in range(10)] == [0] * 10


async def test_what_rested_at_a_loss_is_not_used() -> None:
    """After one lost answer the other connections that rested then take no request, whatever its method."""
    async with (
        serving(Reply(), Reply(), Reply(), Cut("head read"), Reply()) as server,
        calling(server.url, PLAIN) as session,
    ):
        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(session.send(ask()))
        assert isinstance(await failure(session, ask()), OutcomeUnknown)
        for _ in range(2):
            await session.send(ask())
        assert [asked.connection for asked in server.requests[4:]] == [4, 4]


async def test_suspicion_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A minute after the loss creates use kept connections again."""
    loop = asyncio.get_running_loop()
    async with serving(Reply(), Cut("head read"), Reply()) as server, calling(server.url, PLAIN) as session:
        await session.send(ask("POST"))
        await failure(session, ask("POST"))
        for _ in range(2):
            await session.send(ask("POST"))
        assert [asked.connection for asked in server.requests] == [1, 1, 2, 3]
        real = loop.time
        monkeypatch.setattr(loop, "time", lambda: real() + 61)
        for _ in range(3):
            await session.send(ask("POST"))
        assert len({asked.connection for asked in server.requests[-2:]}) == 1


async def test_loss_on_a_new_connection_is_no_suspicion() -> None:
    """An answer that a new connection lost says nothing about those that are kept."""
    async with serving(Cut("head read"), Reply()) as server, calling(server.url, PLAIN) as session:
        await failure(session, ask("POST"))
        for _ in range(2):
            await session.send(ask("POST"))
        assert [asked.connection for asked in server.requests] == [1, 2, 2]
