"""Calls through a session, as resources make them."""

from __future__ import annotations

import asyncio
import gc
import socket
import time
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Literal, TypeAlias

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from cdp_orders_async.errors import CdpError
from cdp_orders_async.session import BulkTransport, RateLimiter, Session, Timings, TraceConfig
from cdp_orders_async.settings import Credentials, Settings
from cdp_orders_async.telemetry import Observer
from cdp_orders_async.wire import Request
from tests.ways import over

METHODS = ("GET", "PUT", "PATCH", "DELETE", "POST")
TOKEN = "canary-token"  # noqa: S105 it guards nothing
ONCE = Settings(retries=0, trust_env=False)
Place: TypeAlias = Literal["here", "nowhere"]
"""Where a name leads."""


def ask(
    method: str = "GET",
    *,
    query: Mapping[str, str] | None = None,
    body: bytes | None = None,
) -> Request[bytes]:
    """Return a request; a POST creates, and its body, as that of PUT and PATCH, is small."""
    if body is None and method in {"PUT", "PATCH", "POST"}:
        body = b'{"price": 50}'
    return Request(
        "orders.some",
        method,
        "/v2.1/orders",
        bytes,
        query or {},
        body,
        creates=method == "POST",
    )


def no_wait(low: float, high: float) -> float:
    """Draw the shortest wait."""
    del high
    return low


@asynccontextmanager
async def calling(
    url: str,
    settings: Settings = ONCE,
    *,
    http: aiohttp.ClientSession | None = None,
    limiter: RateLimiter | None = None,
    trace_configs: Sequence[TraceConfig] = (),
    observers: Sequence[Observer] = (),
    clock: Callable[[], float] = time.monotonic,
    uniform: Callable[[float, float], float] = no_wait,
) -> AsyncGenerator[Session, None]:
    """Open a session, and close it afterwards."""
    session = Session(
        url,
        Credentials("key", TOKEN),
        settings if http or trace_configs else over(settings),
        http=http,
        limiter=limiter,
        trace_configs=trace_configs,
        observers=observers,
        clock=clock,
        uniform=uniform,
    )
    try:
        yield session
    finally:
        await session.aclose()


def bulk_of(session: Session) -> BulkTransport:
    """Return what sends the calls of a load over *session*."""
    return BulkTransport(session, Timings())


async def failure(session: Session | BulkTransport, request: Request[bytes]) -> CdpError:
    """Return the error that a call ends with."""
    try:
        await session.send(request)
    except CdpError as error:
        return error
    raise AssertionError("the call succeeded")


async def until(condition: Callable[[], object]) -> None:
    """Let others run until *condition* holds."""
    while not condition():  # noqa: ASYNC110 what is waited for sets no event
        await asyncio.sleep(0)


class Names(AbstractResolver):
    """A resolver of host names that follows a plan, one step for each look-up, the last one for ever."""

    def __init__(self, *plan: Place) -> None:
        self._plan = list(plan)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Look *host* up."""
        if (self._plan.pop(0) if len(self._plan) > 1 else self._plan[0]) == "nowhere":
            raise OSError(None, "no such host")
        at = ResolveResult(hostname=host, host="127.0.0.1", port=port, family=family, proto=0, flags=0)
        return [at]

    async def close(self) -> None:
        """Hold nothing."""


@asynccontextmanager
async def resolving(*plan: Place) -> AsyncGenerator[aiohttp.ClientSession, None]:
    """Make an aiohttp session whose names are resolved after *plan*, once for each connection."""
    connector = aiohttp.TCPConnector(resolver=Names(*plan), use_dns_cache=False, force_close=True)
    async with aiohttp.ClientSession(connector=connector) as http:
        yield http


@contextmanager
def deaf_port() -> Generator[str, None, None]:
    """Give the URL of a port that answers no attempt to connect."""
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for waiting in (first, second):  # its queue is full then
            waiting.settimeout(0)
            waiting.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def sockets_to(url: str | None) -> int:
    """Return how many open sockets of this process lead to the port of *url*; None counts all for the internet."""
    found = 0
    for one in gc.get_objects():
        if issubclass(type(one), socket.socket) and one.fileno() >= 0 and one.family == socket.AF_INET:
            found += url is None or _port_of(one) == int(url.rpartition(":")[2])
    return found


def _port_of(one: socket.socket) -> int | None:
    try:
        port: int = one.getpeername()[1]
    except OSError:  # it listens, or still connects
        return None
    return port


def closed_port() -> str:
    """Return the URL of a port where nobody listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{unused.getsockname()[1]}"


class Gate:
    """A limiter of one's own that lets nobody through before it is opened."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()

    async def acquire(self) -> None:
        """Wait for the gate to open."""
        self.reached.set()
        await self.opened.wait()
