"""What is closed is closed: no socket, no timer and no waiting call outlives its call or its client."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import aiohttp
import pytest
import trustme

from cdp_orders_async.errors import CdpError, NotSent, OutcomeUnknown
from cdp_orders_async.redact import Opaque
from cdp_orders_async.session import Session, SignedUrls
from cdp_orders_async.settings import Credentials, Settings
from tests.conformance.answering import http, listening
from tests.servers import Cut, Reply, read_body, read_head, serving
from tests.session.calling import (
    METHODS,
    TOKEN,
    Gate,
    Names,
    ask,
    calling,
    deaf_port,
    failure,
    sockets_to,
    until,
)
from tests.session.test_network import authority, ca_file, tls_server, trusting
from tests.ways import over

__all__ = ["authority", "ca_file", "trusting"]

pytestmark = pytest.mark.usefixtures("way")


class Speaker(asyncio.Protocol):
    """A server, as one of its connections."""

    made: ClassVar[list[asyncio.Transport]] = []
    """All connections."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.made.append(transport)
        self.begin(transport)

    def begin(self, transport: asyncio.Transport) -> None:
        """Speak."""


class Silent(Speaker):
    """It reads nothing once TLS stands, not even a goodbye."""

    def begin(self, transport: asyncio.Transport) -> None:
        transport.pause_reading()


class Once(Speaker):
    """It reads nothing after one request."""

    def data_received(self, data: bytes) -> None:
        if b"}" in data:  # the body is here
            self.made[-1].pause_reading()
            self.made[-1].write(http(b"{}"))


class Hasty(Speaker):
    """It answers and leaves before it was asked."""

    def begin(self, transport: asyncio.Transport) -> None:
        transport.write(http(b"no server", 503))
        transport.close()


async def turns() -> None:
    """Let the loop turn until the client has sent and read what it can."""
    for _ in range(20):
        await asyncio.sleep(0)


@asynccontextmanager
async def speaking(protocol: type[Speaker], tls: ssl.SSLContext) -> AsyncGenerator[str, None]:
    """Give the base URL of a server that speaks a *protocol* over TLS."""
    protocol.made.clear()
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0, ssl=tls)
    try:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for transport in protocol.made:
            transport.abort()
        await asyncio.sleep(0)


@pytest.mark.parametrize("end", ["time", "deadline", "cancel"])
async def test_silent_server_over_tls(end: str, authority: trustme.CA, trusting: Settings) -> None:
    """Calls that end while the server is silent leave no socket, so that there are never more than connections."""
    given = {"time": {"timeout": 0.5}, "deadline": {"deadline": 0.5}, "cancel": {}}[end]
    settings: dict[str, Any] = {"retries": 0, "connections": 2, "ca_file": trusting.ca_file, **given}
    tls = tls_server(authority.issue_cert("127.0.0.1"))
    async with speaking(Silent, tls) as url, calling(url, Settings(trust_env=False, **settings)) as session:
        # A call that waits until its deadline for a connection could end in the very step in which its handshake does.
        several = 2 if end == "deadline" else 4
        for n in range(1, 4):
            calls = asyncio.gather(*(session.send(ask("POST")) for _ in range(several)), return_exceptions=True)
            if end == "cancel":
                await until(lambda: len(Silent.made) == 2 * n)  # noqa: B023 it is awaited here
                await turns()
                calls.cancel()
            await asyncio.wait([calls])
            await turns()
            assert sockets_to(url) == 0


async def test_answered_connections_over_tls(authority: trustme.CA, trusting: Settings) -> None:
    """A kept connection whose server became silent is gone when the client is closed."""
    tls = tls_server(authority.issue_cert("127.0.0.1"))
    async with speaking(Once, tls) as url:
        async with calling(url, trusting) as session:
            await session.send(ask("POST"))
            assert sockets_to(url) == 1
        assert sockets_to(url) == 0


@pytest.mark.parametrize("way", ["aiohttp"], indirect=True)
@pytest.mark.parametrize("end", ["time", "cancel"])
async def test_silent_file_storage(end: str, authority: trustme.CA, trusting: Settings) -> None:
    """A transfer that ends while the file storage is silent leaves no socket."""
    tls = tls_server(authority.issue_cert("127.0.0.1"))
    async with speaking(Silent, tls) as url:
        transfer = asyncio.ensure_future(
            SignedUrls(trusting, 0.5 if end == "time" else 60.0).get(Opaque(f"{url}/signed"), 1_000)
        )
        if end == "cancel":
            await until(lambda: Silent.made)
            await turns()
            transfer.cancel()
        await asyncio.wait([transfer])
        await turns()
        assert sockets_to(url) == 0


async def test_file_storage_without_end() -> None:
    """What is no body of a transfer is counted too."""
    raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"x" * 1_000_000
    async with serving(Cut("in the body", "stall", Reply(raw=raw))) as server:
        with pytest.raises(OutcomeUnknown, match="that are no part of the body"):
            await SignedUrls(Settings(trust_env=False), 60.0).get(Opaque(f"{server.url}/signed"), 1_000)


async def test_server_that_speaks_first(authority: trustme.CA, trusting: Settings) -> None:
    """A new connection that is of no use is one failure, and not the first of many connections."""
    tls = tls_server(authority.issue_cert("127.0.0.1"))
    tls.maximum_version = ssl.TLSVersion.TLSv1_2
    for method in ("GET", "POST"):
        async with speaking(Hasty, tls) as url, calling(url, trusting) as session:
            error = await failure(session, ask(method))
        assert isinstance(error, NotSent)
        assert len(Hasty.made) == 1


def made(url: str, **given: Any) -> Session:  # noqa: ANN401 whatever a session takes
    """Make a session."""
    return Session(url, Credentials("key", TOKEN), over(Settings(retries=0, trust_env=False)), **given)


async def closed_under(session: Session, reached: Callable[[], object], method: str = "POST") -> CdpError:
    """Close *session* when its call has *reached* something, and return what the call ends with."""
    ends: list[int] = []

    async def call() -> CdpError:
        try:
            return await failure(session, ask(method))
        finally:
            task = asyncio.current_task()
            ends.append(task.cancelling() if task else -1)

    task = asyncio.create_task(call())
    await until(reached)
    await turns()
    await session.aclose()
    error = await task
    assert ends == [0]
    return error


@pytest.mark.parametrize("method", METHODS)
async def test_close_while_a_name_is_looked_up(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call whose host is still looked up was not sent."""
    loop, asked = asyncio.get_running_loop(), asyncio.Event()

    async def never(*_: object, **__: object) -> object:
        asked.set()
        return await loop.create_future()

    monkeypatch.setattr(loop, "getaddrinfo", never)
    error = await closed_under(made("http://localhost:1"), asked.is_set, method)
    assert isinstance(error, NotSent)
    assert str(error) == f"{method} /v2.1/orders was not sent (the client is closed)"


@pytest.mark.parametrize("method", METHODS)
async def test_close_while_connecting(method: str) -> None:
    """A call that still connects was not sent, and its socket is gone with the client."""
    with deaf_port() as url:
        session, before = made(url), sockets_to(None)
        error = await closed_under(session, lambda: sockets_to(None) > before, method)
        assert str(error) == f"{method} /v2.1/orders was not sent (the client is closed)"
        assert isinstance(error, NotSent)
        assert sockets_to(None) == before


async def test_close_within_the_handshake() -> None:
    """The same holds while TLS is negotiated."""
    async with serving(Cut("accepted", "stall")) as server:
        url = server.url.replace("http:", "https:")
        error = await closed_under(made(url), server.arrived.is_set)
        assert str(error) == "POST /v2.1/orders was not sent (the client is closed)"
        assert isinstance(error, NotSent)
        assert sockets_to(url) == 0


@pytest.mark.parametrize("phase", ["body read", "in the body"])
async def test_close_while_an_answer_is_awaited(phase: str) -> None:
    """A call in flight ends with a verdict, also with a session of one's own, and its connection is gone."""
    step = Cut("body read", "stall") if phase == "body read" else Cut("in the body", "stall")
    async with aiohttp.ClientSession() as own:
        for given in (None, own):
            settings = Settings(retries=0, trust_env=False)
            async with serving(step) as server:
                session = Session(
                    server.url, Credentials("key", TOKEN), settings if given else over(settings), http=given
                )
                error = await closed_under(session, server.arrived.is_set)
                assert error.delivery == ("unknown" if phase == "body read" else "done_unreadable")
                assert "the client is closed" in str(error)
                assert sockets_to(server.url) == 0


async def test_close_while_a_turn_is_awaited() -> None:
    """A call that waits for its turn opens no connection when the turn comes after the end."""
    gate = Gate()
    async with serving() as server:
        session = made(server.url, limiter=gate)
        call = asyncio.create_task(failure(session, ask("POST")))
        await gate.reached.wait()
        await session.aclose()
        gate.opened.set()
        error = await call
        assert isinstance(error, NotSent)
        assert "the client is closed" in str(error)
        assert server.connections == 0


@pytest.mark.parametrize("way", ["aiohttp"], indirect=True)
async def test_your_session_closes_under_calls() -> None:
    """Where the aiohttp session that was passed in is closed, no call ends as if somebody had cancelled it."""
    async with serving(Cut("body read", "stall")) as server:
        own = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1))
        async with calling(server.url, Settings(retries=0, trust_env=False), http=own) as session:
            calls = [asyncio.create_task(failure(session, ask("POST"))) for _ in range(3)]
            await server.arrived.wait()
            await own.close()
            errors = [await call for call in calls]
    assert sorted(type(error).__name__ for error in errors) == ["NotSent", "NotSent", "OutcomeUnknown"]


@pytest.mark.parametrize("way", ["aiohttp"], indirect=True)
async def test_cancelled_by_nobody() -> None:
    """A resolver that lets a cancellation out, which nobody asked for, fails the call and ends no task."""

    class Broken(Names):
        async def resolve(self, *_: object, **__: object) -> Any:  # noqa: ANN401 it returns nothing
            raise asyncio.CancelledError

    connector = aiohttp.TCPConnector(resolver=Broken(), use_dns_cache=False)
    async with (
        aiohttp.ClientSession(connector=connector) as own,
        calling("http://localhost:1", Settings(retries=0, trust_env=False), http=own) as session,
    ):
        error = await failure(session, ask("POST"))
    assert isinstance(error, NotSent)
    assert "what it waited for was cancelled" in str(error)


async def test_cancelled_while_closing() -> None:
    """A cancellation that somebody did ask for stays one, though the client is closed at the same moment."""
    async with serving(Cut("body read", "stall")) as server:
        session = made(server.url)
        call = asyncio.create_task(session.send(ask("POST")))
        await server.arrived.wait()
        call.cancel()
        await session.aclose()
        await asyncio.wait([call])
        assert call.cancelled()


async def test_deadlines_leave_no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A timer ends with its call, also where the deadline comes before the timeout."""
    loop = asyncio.get_running_loop()
    timers: list[asyncio.TimerHandle] = []
    real = loop.call_at

    def noting(*args: Any, **given: Any) -> asyncio.TimerHandle:  # noqa: ANN401 as it is
        timers.append(real(*args, **given))
        return timers[-1]

    monkeypatch.setattr(loop, "call_at", noting)
    settings = Settings(trust_env=False, deadline=20, timeout=30)
    async with serving() as server, calling(server.url, settings) as session:
        for _ in range(10):
            await session.send(ask())
    assert len(timers) >= 10
    assert [timer for timer in timers if not timer.cancelled() and timer.when() > loop.time()] == []


@pytest.mark.parametrize("deadline", [120, 20])
@pytest.mark.parametrize("size", [2, 100_000])
async def test_answer_that_came_while_the_loop_stood_still(
    deadline: float, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that is here is read, though the loop stood still until long after the time was over."""
    loop = asyncio.get_running_loop()
    real = loop.time

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_body(reader, await read_head(reader, 1))
        writer.write(http(b"x" * size))
        monkeypatch.setattr(loop, "time", lambda: real() + 100)
        await reader.read()

    settings = Settings(retries=0, trust_env=False, timeout=30, deadline=deadline)
    async with listening(talk) as url, calling(url, settings) as session:
        assert await session.send(ask("POST")) == b"x" * size


async def test_no_answer_while_the_loop_stood_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where none is here the time is over."""
    loop = asyncio.get_running_loop()
    real = loop.time

    async def talk(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await read_body(reader, await read_head(reader, 1))
        monkeypatch.setattr(loop, "time", lambda: real() + 100)
        await reader.read()

    async with listening(talk) as url, calling(url, Settings(retries=0, trust_env=False)) as session:
        assert isinstance(await failure(session, ask("POST")), OutcomeUnknown)


async def test_close_of_a_client_by_its_own_call() -> None:
    """A call that closes its own client, as a hook of aiohttp may, does not wait for itself."""
    trace = aiohttp.TraceConfig()
    sessions: list[Session] = []

    async def closes(*_: object) -> None:
        await sessions[0].aclose()

    trace.on_request_end.append(closes)
    async with serving() as server:
        sessions.append(
            Session(
                server.url,
                Credentials("key", TOKEN),
                Settings(retries=0, trust_env=False),
                trace_configs=[trace],
            )
        )
        assert await sessions[0].send(ask()) == b"{}"


def test_sockets_are_found() -> None:
    """What counts the sockets of these tests sees one that is open."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        with socket.create_connection(server.getsockname()):
            assert sockets_to(url) == 1
        assert sockets_to(url) == 0
