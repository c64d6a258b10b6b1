"""Connections of our own: when one is kept, when it is not, and what they cannot do."""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import gc
import gzip
import socket
import sys
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
import uvloop

from cdp_orders_async.errors import CdpError, Invalid, NotSent, OutcomeUnknown, Unreadable
from cdp_orders_async.session import Session
from cdp_orders_async.session.backends.connection import Connection
from cdp_orders_async.settings import Credentials, Settings
from cdp_orders_async.wire import Request
from tests.conformance.answering import http, listening
from tests.servers import Cut, Proxy, Reply, read_body, read_head, serving
from tests.session.calling import METHODS, TOKEN, ask, calling, closed_port, failure, until
from tests.session.test_network import bare_environment

__all__ = ["bare_environment"]

OWN = Settings(retries=0, trust_env=False, http="httptools")


@pytest.fixture(autouse=True)
def own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every call of this file go over them."""
    monkeypatch.setattr("tests.ways.chosen", "httptools")


def made(url: str, **given: Any) -> Session:  # noqa: ANN401 whatever a session takes
    """Make a session."""
    return Session(url, Credentials("key", TOKEN), OWN, **given)


async def test_what_only_aiohttp_knows() -> None:
    """Tracing and a session of aiohttp are refused, and not left out in silence."""
    async with aiohttp.ClientSession() as session:
        for given in ({"trace_configs": [aiohttp.TraceConfig()]}, {"http": session}):
            with pytest.raises(Invalid, match=r"^http: must be aiohttp where an http_session or trace_configs are"):
                made("https://api.test", **given)


async def test_proxy_over_tls_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that is spoken to over TLS is not passed by in silence, and the refusal says what helps."""
    async with serving(kind=Proxy) as proxy:
        url = proxy.url.replace("http:", "https:")
        monkeypatch.setenv("HTTPS_PROXY", url)
        for settings in (Settings(proxy=url), Settings()):
            with pytest.raises(Invalid, match=r"^http: must be aiohttp where the proxy is spoken to over TLS"):
                async with calling("https://api.test", settings):
                    pass
        assert proxy.connections == 0


@pytest.mark.parametrize(
    ("raw", "cause"),
    [
        (b"", "the proxy closed the connection"),
        (b"HTTP/1.1 200 OK\r\nX: y", "the proxy closed the connection"),
        (b"no HTTP\r\n\r\n", "the proxy gave an answer that is not HTTP"),
        (b"HTTP/1.1 407 Who\r\n\r\n", "the proxy refused a tunnel: status 407"),
        (b"HTTP/1.1 302 There\r\nLocation: /\r\n\r\n", "the proxy refused a tunnel: status 302"),
        (b"HTTP/1.1 200 OK\r\n\r\nmore", "the proxy sent data before the tunnel was used"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000, "the head of the answer of the proxy is too large"),
    ],
    ids=["nothing", "cut", "garbage", "refused", "redirect", "early data", "too large"],
)
async def test_tunnel_that_fails(raw: bytes, cause: str) -> None:
    """A tunnel that is not made sends nothing, leaves no socket, and says why."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader, 1)
        writer.write(raw)
        await writer.drain()

    async with listening(talk) as url:
        proxy = url.replace("//", "//user:canary@")
        async with calling("https://api.test", Settings(retries=0, proxy=proxy)) as session:
            error = await failure(session, ask("POST"))
    assert isinstance(error, NotSent)
    assert f"({cause})" in str(error)


def test_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra the refusal names it."""
    real: Callable[..., Any] = builtins.__import__

    def as_without(name: str, *args: Any) -> Any:  # noqa: ANN401 as it is
        if name.startswith("httptools"):
            raise ModuleNotFoundError(name=name)
        return real(name, *args)

    for module in ("connection", "httptools"):
        monkeypatch.delitem(sys.modules, f"cdp_orders_async.session.backends.{module}", raising=False)
    monkeypatch.setattr(builtins, "__import__", as_without)
    with pytest.raises(Invalid, match=r"^http: needs an extra: pip install 'cdp-orders-async\[httptools\]'$"):
        made("https://api.test")


@pytest.mark.parametrize("path", ["/a b", "/a\r\nX: y", "/a\x00", "/ü", "/a\u2028"])
async def test_path_that_would_be_more_than_a_path(path: str) -> None:
    """What would end the path, or begin another line, is sent nowhere."""
    async with serving() as server, calling(server.url) as session:
        with pytest.raises(ValueError, match=r"^a path must be encoded"):
            await session.send(Request("orders.some", "GET", path, bytes))
        assert server.requests == []
        assert await session.send(ask()) == b"{}"


async def test_kept_connections_are_few() -> None:
    """What is asked at once takes as many connections, and what comes later those that were last used."""
    async with serving() as server, calling(server.url) as session:
        async with asyncio.TaskGroup() as group:
            for _ in range(5):
                group.create_task(session.send(ask()))
        used = {asked.connection for asked in server.requests}
        for _ in range(3):
            await session.send(ask())
        assert server.connections == len(used) == 5
        assert len({asked.connection for asked in server.requests[5:]}) == 1


async def test_rested_connections_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that rested too long is closed by itself, and is not used even where that is still to come."""
    async with serving() as server, calling(server.url, Settings(keepalive=0.05, trust_env=False)) as session:
        async with asyncio.TaskGroup() as group:
            for _ in range(2):
                group.create_task(session.send(ask()))
        open_ones = list(server.streams.values())
        await until(lambda: all(writer.transport.is_closing() for writer in open_ones))
        await session.send(ask())
        assert server.connections == 3
        loop = asyncio.get_running_loop()
        later = loop.time() + 1
        monkeypatch.setattr(loop, "time", lambda: later)
        await session.send(ask())
    assert server.connections == 4


@pytest.mark.parametrize(
    "step",
    [
        Reply(headers={"Connection": "close"}),
        Reply(raw=b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}"),
        Cut("in the body", reply=Reply(raw=b"HTTP/1.1 200 OK\r\n\r\n{}")),
    ],
    ids=["it says so", "HTTP/1.0", "no length"],
)
async def test_answer_that_ends_its_connection(step: Reply | Cut) -> None:
    """After an answer that is the last one of its connection, the next request takes another one."""
    async with serving(step) as server, calling(server.url) as session:
        for _ in range(3):
            assert await session.send(ask("POST")) == b"{}"
    assert [asked.connection for asked in server.requests] == [1, 2, 3]


async def test_closed_connections_leave_no_garbage() -> None:
    """What is left of a closed connection goes at once: a long load may make many, and collects garbage seldom."""
    gc.collect()
    gc.disable()
    try:
        steps: list[Reply | Cut] = [
            Reply(headers={"Connection": "close"}),
            Cut("head read"),
            Cut("in the body", "reset"),
            Reply(),
        ]
        async with serving(*steps) as server, calling(server.url) as session:
            for _ in steps[:-1]:
                with contextlib.suppress(CdpError):
                    await session.send(ask())
            assert await session.send(ask()) == b"{}"
            assert server.connections == len(steps)
            for _ in range(3):  # the turns of the loop in which the last one ends
                await asyncio.sleep(0)
            left = [one for one in gc.get_objects() if isinstance(one, Connection)]
            assert len(left) == 1
    finally:
        gc.enable()


async def test_connection_that_the_server_closed_is_not_used() -> None:
    """A kept connection that the server has ended is known to be, so nothing is written into it."""
    said = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_body(reader, await read_head(reader, 1))
        writer.write(http(b"{}"))
        await said.wait()

    async with listening(talk) as base_url, calling(base_url) as session:
        assert await session.send(ask("POST")) == b"{}"
        said.set()
        for _ in range(20):  # until the client has read it
            await asyncio.sleep(0)
        assert await session.send(ask("POST")) == b"{}"


@pytest.mark.parametrize(
    "interim", [b"HTTP/1.1 100 Continue\r\nX: y\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 3]
)
async def test_interim_answers_keep_the_connection(interim: bytes) -> None:
    """What comes before an answer is none, and leaves nothing of itself in it."""
    raw = interim.replace(b"X: y", b"Content-Encoding: gzip") + http(b"{}")
    async with serving(Reply(raw=raw)) as server, calling(server.url) as session:
        for _ in range(2):
            assert await session.send(ask("POST")) == b"{}"
        assert server.connections == 1


async def test_another_protocol_is_no_answer() -> None:
    """A server that switches to another protocol, which nobody asked for, leaves a create open."""
    raw = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\nmore"
    async with serving(Reply(raw=raw), Reply()) as server, calling(server.url) as session:
        error = await failure(session, ask("POST"))
        assert isinstance(error, OutcomeUnknown)
        assert await session.send(ask()) == b"{}"
        assert server.connections == 2


@pytest.mark.parametrize("after", [b"HTTP/1.1", http(b"[]"), http(b"[]", 500)[:-1]])
async def test_what_follows_an_answer_is_none(after: bytes) -> None:
    """An answer that nobody asked for is not mixed with the one before, nor taken for the next one."""
    async with serving(Reply(raw=http(b"{}") + after), Reply(body=b"2")) as server, calling(server.url) as session:
        assert await session.send(ask("POST")) == b"{}"
        assert await session.send(ask("POST")) == b"2"
        assert server.connections == 2


@pytest.mark.parametrize("after", [b"0", b"\0", b"{}"])
async def test_what_is_no_http_after_an_answer(after: bytes) -> None:
    """Where no answer can follow, even the one before is in doubt, for its length is."""
    async with serving(Reply(raw=http(b"{}") + after), Reply(body=b"2")) as server, calling(server.url) as session:
        assert isinstance(await failure(session, ask("POST")), OutcomeUnknown)
        assert await session.send(ask("POST")) == b"2"
        assert server.connections == 2


async def test_early_answer_to_a_large_request() -> None:
    """A connection on which the request is still leaving when its answer comes takes no other one."""
    connections = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        asked = await read_head(reader, connections)
        writer.write(http(b"{}", 413 if connections == 1 else 200))
        await read_body(reader, asked)
        await reader.read()

    async with listening(talk) as base_url, calling(base_url) as session:
        error = await failure(session, ask("PUT", body=b"x" * 20_000_000))
        assert getattr(error, "status", None) == 413
        assert await session.send(ask()) == b"{}"
    assert connections == 2


async def test_trailer_is_no_header() -> None:
    """What a trailer says counts as little as with aiohttp."""
    raw = b"HTTP/1.1 429 Slow\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nRetry-After: 9\r\n\r\n"
    async with serving(Reply(raw=raw)) as server, calling(server.url) as session:
        error = await failure(session, ask())
    assert (getattr(error, "status", None), getattr(error, "retry_after", 0)) == (429, None)


async def test_packed_in_another_way() -> None:
    """An answer that is packed in a way that was not asked for was done, and is unreadable."""
    reply = Reply(body=gzip.compress(b"{}"), headers={"Content-Encoding": "br"})
    async with serving(reply) as server, calling(server.url) as session:
        error = await failure(session, ask("POST"))
    assert isinstance(error, Unreadable)
    assert (error.problems, error.cut) == (("it is packed in a way that was not asked for",), False)


async def test_name_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that has no address was sent nothing."""

    def nowhere(*_: object, **__: object) -> object:
        raise socket.gaierror(socket.EAI_NONAME, "no such host")

    async with calling(f"https://{'a' * 64}.test") as session:
        assert isinstance(await failure(session, ask("POST")), NotSent)
    monkeypatch.setattr(socket, "getaddrinfo", nowhere)
    async with calling("https://host.invalid") as session:
        error = await failure(session, ask("POST"))
    assert isinstance(error, NotSent)
    assert str(error).endswith("was not sent (gaierror: no such host)")


async def test_address_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several addresses the one that answers is used."""
    loop = asyncio.get_running_loop()
    async with serving() as server:
        here, dead = (int(url.rpartition(":")[2]) for url in (server.url, closed_port()))
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in (dead, here)]

        async def addresses(*_: object, **__: object) -> object:
            return found

        monkeypatch.setattr(loop, "getaddrinfo", addresses)
        async with calling(server.url) as session:
            assert await session.send(ask()) == b"{}"


async def test_close_while_connecting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that is there only after the client was closed is closed too, and nothing is sent on it."""
    loop = asyncio.get_running_loop()
    real, asked, go_on = loop.getaddrinfo, asyncio.Event(), asyncio.Event()

    async def slowly(host: str, port: int, **given: int) -> object:
        asked.set()
        await go_on.wait()
        return await real(host, port, **given)

    monkeypatch.setattr(loop, "getaddrinfo", slowly)
    async with serving() as server:
        session = made(server.url)
        call = asyncio.create_task(failure(session, ask("POST")))
        await asked.wait()
        await session.aclose()
        go_on.set()
        error = await call
        assert str(error).endswith("was not sent (the client is closed)")
        assert isinstance(error, NotSent)
        assert server.requests == []


def test_uvloop() -> None:
    """All of it holds on uvloop."""

    async def main() -> None:
        async with serving() as server, calling(server.url) as session:
            for method in METHODS * 3:
                assert await session.send(ask(method)) == b"{}"
            assert server.connections == 1
        async with serving(Cut("done"), Cut("in the body"), Reply(429)) as server, calling(server.url) as session:
            errors = [await failure(session, ask("POST")) for _ in range(3)]
        assert [str(error.delivery) for error in errors] == ["unknown", "done_unreadable", "refused"]
        async with calling(closed_port()) as session:
            assert isinstance(await failure(session, ask()), NotSent)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
