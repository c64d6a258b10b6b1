"""Servers of every fate, over real sockets in virtual time, and what is left of a client of theirs."""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
import weakref
from asyncio.sslproto import SSLProtocol
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Literal, TypeAlias, get_args

import attrs
import trustme

from cdp_orders_async.session import RateLimiter, Session
from cdp_orders_async.settings import Credentials, Settings
from tests.conformance.answering import http
from tests.session.calling import TOKEN
from tests.session.test_network import tls_server, trust
from tests.virtual import LoopbackLoop
from tests.ways import over

HOST = "api.test"
Tls: TypeAlias = Literal["no TLS", "TLS 1.2", "TLS 1.3"]
TLS: tuple[Tls, ...] = get_args(Tls)
VERSIONS = {"TLS 1.2": ssl.TLSVersion.TLSv1_2, "TLS 1.3": ssl.TLSVersion.TLSv1_3}
Fate: TypeAlias = Literal[
    "answer", "last answer", "in pieces", "503", "429", "garbage", "half a head", "half a body", "silence", "reset",
    "end", "taken", "deaf", "speaks first", "no handshake", "reset at once",
]  # fmt: skip
FATES: tuple[Fate, ...] = get_args(Fate)
OF_CONNECTIONS = FATES[-5:]
"""Those that come before a request; the others are what becomes of one."""
RAW: dict[Fate, bytes] = {
    "answer": http(b"{}"),
    "last answer": http(b"{}").replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),
    "in pieces": http(b"{}"),
    "503": http(b"{}", 503),
    "429": http(b"{}", 429),
    "garbage": b"\x00garbage\r\n\r\n",
    "half a head": http(b"{}")[:20],
    "half a body": http(b"x" * 50)[:-20],
}
SEVERAL = 3
"""Connections of a client."""
PATIENCE = 5
"""Turns of the loop that a call gets to end in after its session was closed."""
NOTHING = {"sockets": 0, "timers": 0, "tasks": 0}
"""What a closed client leaves."""


class Loop(LoopbackLoop):
    """A virtual loop for sockets, without threads, in which each name leads to this machine after some time."""

    def __init__(self) -> None:
        super().__init__()
        self.looks = 0
        """How many names were looked up."""
        self.slowness = 0.3
        """Seconds that a look-up takes."""

    async def getaddrinfo(self, host: object, port: object, **_: object) -> list[Any]:
        """Look a name up."""
        assert host in {HOST, "127.0.0.1"}
        self.looks += 1
        await asyncio.sleep(self.slowness)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    def timers(self) -> list[asyncio.TimerHandle]:
        """Return what is to run later, but for what servers over TLS wait for."""
        handles: list[asyncio.TimerHandle] = vars(self)["_scheduled"]
        found: list[asyncio.TimerHandle] = []
        for handle in handles:
            callback: object = getattr(handle, "_callback")  # noqa: B009 it is private
            of_server = getattr(getattr(callback, "__self__", None), "_server_side", False)
            if not (handle.cancelled() or of_server):
                found.append(handle)
        return found


class Connected:
    """The sockets of clients: those that are open, and how many there were at most."""

    def __init__(self) -> None:
        self._all: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self.most = 0

    @property
    def now(self) -> int:
        """How many are open."""
        return sum(one.fileno() >= 0 for one in self._all)

    def add(self, one: socket.socket) -> None:
        """Count one that begins to connect."""
        self._all.add(one)
        self.most = max(self.most, self.now)


@contextmanager
def connected() -> Generator[Connected, None, None]:
    """Count the sockets that connect."""
    counted, real = Connected(), socket.socket.connect

    def connect(one: socket.socket, address: Any) -> None:  # noqa: ANN401 of any family
        counted.add(one)
        real(one, address)

    socket.socket.connect = connect  # type: ignore[method-assign, assignment]
    try:
        yield counted
    finally:
        del socket.socket.connect


class Peer(asyncio.Protocol):
    """One connection of a server: *draw* tells the fate of it and of each request."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._buffer = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._server.peers.append(transport)
        match self._server.begin():
            case "deaf":
                transport.pause_reading()
            case "speaks first":
                transport.write(http(b"no server", 503))
                asyncio.get_running_loop().call_soon(transport.close)  # it may have broken off just now
            case "reset at once":
                transport.abort()
            case _:
                pass

    def data_received(self, data: bytes) -> None:
        """Answer each request that is here."""
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        length = next((int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length:")), 0)
        if found and len(rest) >= length:
            self._buffer = rest[length:]
            identity = next(line for line in head.split(b"\r\n") if line.startswith(b"X-Request-Id: "))
            self._answer(self._server.asked(identity[14:].decode()))

    def _answer(self, fate: Fate) -> None:
        raw = RAW.get(fate, b"")
        if fate == "in pieces":
            self._write([raw[:30], raw[30:-1], raw[-1:]])
        else:
            self._transport.write(raw)
        if fate in {"last answer", "end"}:
            asyncio.get_running_loop().call_soon(self._transport.close)
        elif fate == "reset":
            self._transport.abort()

    def _write(self, pieces: Sequence[bytes]) -> None:
        self._transport.write(pieces[0])
        if pieces[1:]:
            asyncio.get_running_loop().call_soon(self._write, pieces[1:])


class Deaf(asyncio.Protocol):
    """A connection on which nothing is said, not even of TLS."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        assert isinstance(transport, asyncio.Transport)
        self._server.peers.append(transport)


class Server:
    """Draws a fate for each connection and each request."""

    def __init__(self, fates: Callable[[], Fate], tls: ssl.SSLContext | None) -> None:
        self._fates = fates
        self._tls = tls
        self.url = ""
        self.peers: list[asyncio.Transport] = []
        self.requests: list[str] = []
        """The identity of each request that came whole."""
        self.fates: Counter[Fate] = Counter()
        """How many met each."""
        self._now: Fate = "taken"

    def connection(self) -> asyncio.BaseProtocol:
        """Return what speaks on the next connection."""
        self._now = self._draw(OF_CONNECTIONS, "taken")
        if self._now == "no handshake":
            return Deaf(self)
        if self._tls is None:
            return Peer(self)
        loop = asyncio.get_running_loop()
        nobody: Any = None  # waits for the handshake
        return SSLProtocol(loop, Peer(self), self._tls, nobody, server_side=True)

    def begin(self) -> Fate:
        """Return the fate of a connection that has begun."""
        return self._now

    def asked(self, identity: str) -> Fate:
        """Note a request; return its fate."""
        self.requests.append(identity)
        return self._draw([fate for fate in FATES if fate not in OF_CONNECTIONS], "answer")

    def _draw(self, among: Any, other: Fate) -> Fate:  # noqa: ANN401 fates
        fate = self._fates()
        fate = fate if fate in among else other
        self.fates[fate] += 1
        return fate


@asynccontextmanager
async def meeting(fates: Callable[[], Fate], tls: ssl.SSLContext | None = None) -> AsyncGenerator[Server, None]:
    """Run a server of such *fates*."""
    server = Server(fates, tls)
    listener = await asyncio.get_running_loop().create_server(server.connection, "127.0.0.1", 0)
    server.url = f"{'https' if tls else 'http'}://{HOST}:{listener.sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        listener.close()
        for transport in server.peers:
            transport.abort()
        await turns(3)


async def turns(number: int) -> None:
    """Let the loop turn."""
    for _ in range(number):
        await asyncio.sleep(0)


@attrs.frozen
class Trust:
    """The two sides of TLS: what the server shows and what the client trusts; neither where there is none."""

    server: ssl.SSLContext | None = None
    client: ssl.SSLContext | None = None

    @classmethod
    def of(cls, authority: trustme.CA, tls: Tls) -> Trust:
        """Make them, for one version of TLS."""
        if tls == "no TLS":
            return cls()
        server, client = tls_server(authority.issue_cert(HOST)), ssl.create_default_context()
        server.minimum_version = server.maximum_version = VERSIONS[tls]
        trust(authority, client)
        return cls(server, client)


def opened(loop: Loop, server: Server, trust: Trust, limiter: RateLimiter | None = None, **given: Any) -> Session:  # noqa: ANN401 settings
    """Make a session with that *server*."""
    settings = Settings(trust_env=False, connections=SEVERAL, ssl_context=trust.client, **given)
    dice = random.Random(1)  # noqa: S311 no secret
    return Session(
        server.url, Credentials("key", TOKEN), over(settings), limiter=limiter, clock=loop.time, uniform=dice.uniform
    )


def left(loop: Loop, counted: Connected, *known: asyncio.Task[Any] | None) -> dict[str, int]:
    """Return how many sockets, timers and tasks there are, but for the *known* tasks and this one."""
    tasks = asyncio.all_tasks() - {asyncio.current_task(), *known}
    return {"sockets": counted.now, "timers": len(loop.timers()), "tasks": len(tasks)}
