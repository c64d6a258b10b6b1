"""One attempt over our own connections: HTTP/1.1, one request at a time on each, answers parsed by httptools.

It does only what this API needs, for a fraction of the CPU of aiohttp. Any flaw of an answer ends its connection, so
that no answer is taken for the answer to another request.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import aiohappyeyeballs
from yarl import URL

from cdp_orders_async.addresses import is_encoded
from cdp_orders_async.errors import Delivery, Invalid, Violation
from cdp_orders_async.redact import Opaque
from cdp_orders_async.session.attempt import (
    HEADERS,
    NO_HEADERS,
    Answer,
    GivenUp,
    GivenUpCheck,
    HttpBackend,
    connection_error,
    cut_answer,
    deadline_error,
    describe,
    describe_certificate,
    describe_too_large,
    unusable_answer,
)
from cdp_orders_async.session.backends.connection import ENDED, Connection, describe_cause
from cdp_orders_async.session.backends.packing import UNPACKERS
from cdp_orders_async.session.backends.resolver import Resolver
from cdp_orders_async.session.backends.sockets import Sockets
from cdp_orders_async.session.backends.tunnel import head_of, open_tunnel, proxy_headers, tunnel_request
from cdp_orders_async.session.timeouts import Broken, Timeout
from cdp_orders_async.settings import Credentials, Settings, tls_of
from cdp_orders_async.timings import Timings
from cdp_orders_async.wire import Request

__all__ = ["HttptoolsBackend"]

NEXT_ADDRESS = 0.25  # seconds until the next address of a host is tried in parallel, as RFC 8305 advises
PACKED_OTHERWISE = "it is packed in a way that was not asked for"
UNASKED = {b"br", b"zstd"}
OVER_TLS = "must be aiohttp where the proxy is spoken to over TLS (https://)"


class HttptoolsBackend(HttpBackend):
    """Sends over our own connections, directly or through an HTTP proxy: by a tunnel (CONNECT) where there is TLS."""

    def __init__(self, base_url: str, credentials: Credentials, settings: Settings, clock: Callable[[], float]) -> None:
        super().__init__(base_url, credentials, settings, clock)
        named = {"Host": self.base_url.host_port_subcomponent or "", **HEADERS, "Accept-Encoding": "gzip, deflate"}
        named["Authorization"] = self._authorization.open()
        self._peer = self.base_url if self._proxy is None else URL(self._proxy)
        """The server, or the proxy before it: to this the connections go."""
        self._origin = ""  # before the path of each request: a proxy that opens no tunnel needs the whole URL
        self._tunnel: Opaque[bytes] | None = None
        if self._proxy is not None:
            if self._peer.scheme == "https":
                raise Invalid((Violation("http", OVER_TLS),))
            if self.base_url.scheme == "https":
                self._tunnel = Opaque(tunnel_request(self._peer, self.base_url))
            else:
                self._origin = str(self.base_url.origin())
                named.update(proxy_headers(self._peer))
        self._head = Opaque(head_of(" HTTP/1.1", {**named, "X-Request-Id": ""}))
        self._all: set[Connection] = set()
        self._resting: deque[Connection] = deque()
        """The idle connections, the last used at the end."""
        self._sweeper: asyncio.TimerHandle | None = None
        self._sockets = Sockets(settings.connections)
        self._resolver: Resolver

    async def send_once(
        self,
        request: Request[Any],
        request_id: str,
        left: float | None,
        times: Timings,
        headers: Mapping[str, str] = NO_HEADERS,
        given_up: GivenUpCheck | None = None,
    ) -> Answer:
        """Send once, with *left* seconds until the deadline, and return the answer; see `HttpBackend`."""
        data = self._written(request, request_id, headers)
        limit = Timeout(self._timeouts, left)
        connection = None
        start = sent = self._clock()
        try:
            with limit:
                connection = self._rested(creates=request.creates) or await self._connect()
                sent = self._clock()
                if given_up is not None and given_up():
                    raise GivenUp("it was given up before it left")
                problem = await connection.ask(data)
            if problem is not None:
                raise Broken(problem)  # noqa: TRY301 as what could not connect does
            self._came(connection.date)
            answer = connection.status, self._body(request, connection), connection.retry_after
            self._count(times, start, sent, connection.head_at or sent)
        except (Broken, TimeoutError) as error:
            cause = describe(error)
            if connection is not None and connection.head_at is not None:
                self._count(times, start, sent, connection.head_at)
                return cut_answer(request, connection.status, connection.retry_after, cause)
            began = connection is not None
            self._count(times, start, sent if began else self._clock(), self._clock())
            if connection is not None and connection.kept:
                self._suspect()
            if isinstance(error, TimeoutError) and limit.shortened:
                raise deadline_error(Delivery.UNKNOWN if began else Delivery.NOT_SENT) from None
            lasting = isinstance(error, Broken) and error.lasting
            raise connection_error(request, cause, began=began, lasting=lasting) from None
        finally:
            if connection is not None:
                self._rest(connection)
        return answer

    async def _open(self) -> None:
        self._tls = await tls_of(self._settings) if self.base_url.scheme == "https" else None
        self._resolver = Resolver(self._peer.raw_host, self._peer.port, asyncio.get_running_loop())

    async def _close(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
        for connection in self._all:
            connection.end()
        await self._resolver.aclose()
        await self._sockets.gone()

    def _written(self, request: Request[Any], request_id: str, headers: Mapping[str, str]) -> bytes:
        """Return the bytes of *request*; raises ValueError for a path that is not encoded."""
        target = self._prefix + request.path
        if request.query:
            target = self.base_url.with_path(target, encoded=True).with_query(request.query).raw_path_qs
        elif request.raw_query:
            target = f"{target}?{request.raw_query}"
        if not is_encoded(target):
            raise ValueError("a path must be encoded")
        head = f"{request.method} {self._origin}{target}{self._head.open()}{request_id}\r\n"
        for name, value in headers.items():
            head += f"{name}: {value}\r\n"
        if request.body is None:
            return f"{head}\r\n".encode()
        length = f"Content-Type: application/json\r\nContent-Length: {len(request.body)}\r\n\r\n"
        return (head + length).encode() + request.body

    def _body(self, request: Request[Any], connection: Connection) -> bytes:
        most, body = self._settings.max_answer, connection.body
        coding = connection.headers.get(b"content-encoding", b"").strip().lower()
        if body and coding in UNASKED:
            return unusable_answer(request, connection.status, PACKED_OTHERWISE, body, self.secrets)
        if body and coding in UNPACKERS:  # for any other coding the body is read as it is, as aiohttp does
            body = UNPACKERS[coding](body, most)
        if len(body) <= most:
            return bytes(body)
        return unusable_answer(request, connection.status, describe_too_large(most), body, self.secrets)

    def _count(self, times: Timings, start: float, sent: float, head: float) -> None:
        times.connect += sent - start
        times.server += head - sent
        times.body += self._clock() - head

    def _rested(self, *, creates: bool) -> Connection | None:
        """Return the idle connection that was used last; None if no one may take the request, a create or another."""
        oldest = self._timeouts.loop.time() - self._settings.keepalive
        while self._resting:
            connection = self._resting.pop()
            since = connection.rests_since
            if (
                connection.free
                and since > oldest
                and self._may_use(since, creates=creates)
                and not connection.has_spoken()
            ):
                return connection
            connection.end()
        return None

    def _rest(self, connection: Connection) -> None:
        """Keep *connection* for the next request, if it can take one."""
        if not connection.free:
            connection.end()
            return
        connection.kept, connection.rests_since = True, self._timeouts.loop.time()
        self._resting.append(connection)
        if self._sweeper is None:
            self._sweep()

    def _sweep(self) -> None:
        """Close the connections that were idle too long, and set the timer for the next."""
        self._sweeper, loop = None, self._timeouts.loop
        while self._resting:
            end = self._resting[0].rests_since + self._settings.keepalive
            if end > loop.time():
                self._sweeper = loop.call_at(end, self._sweep)
                return
            self._resting.popleft().end()

    async def _connect(self) -> Connection:
        """Open a connection; raises `Broken`."""
        host, loop = self.base_url.raw_host, self._timeouts.loop
        connection = Connection(self._all, self._settings.max_answer, self._settings.read_timeout, self._clock)
        try:
            with Timeout(self.waits, self._settings.connect_timeout):
                addresses = await self._resolver.addresses()
                await self._sockets.room()
                plain = await aiohappyeyeballs.start_connection(  # pyright: ignore[reportUnknownMemberType] a bare tuple
                    addresses, happy_eyeballs_delay=NEXT_ADDRESS, interleave=1, socket_factory=self._sockets.make
                )
                try:
                    if self._tunnel is not None:
                        await open_tunnel(plain, self._tunnel.open())
                except BaseException:
                    plain.close()
                    raise
                await loop.create_connection(
                    lambda: connection, sock=plain, ssl=self._tls, server_hostname=host if self._tls else None
                )
        except (OSError, UnicodeError) as error:
            connection.end()
            self._resolver.forget()
            flaw = describe_certificate(error, host)
            raise Broken(flaw or describe_cause(error), lasting=flaw is not None) from None
        except BaseException:
            connection.end()
            raise
        if not connection.free:
            connection.end()
            raise Broken(ENDED)
        return connection
