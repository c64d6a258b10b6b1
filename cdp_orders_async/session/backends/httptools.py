"""One attempt over our own connections: HTTP/1.1, one request at a time on each, answers parsed by httptools.

It does only what this API needs, for a fraction of the CPU of aiohttp. Any flaw of an answer ends its connection, so
that no answer is taken for the answer to another request.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import zlib
from collections import deque
from collections.abc import Callable
from typing import Any, cast

import aiohappyeyeballs
from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from cdp_orders_async.errors import Delivery, Invalid, Violation
from cdp_orders_async.redact import Opaque
from cdp_orders_async.session.attempt import (
    HEAD_TOO_LARGE,
    HEADERS,
    LONGEST_HEAD,
    NO_BODY,
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
    has_spoken,
    unusable_answer,
    wait_asked,
)
from cdp_orders_async.session.backends.resolver import Resolver
from cdp_orders_async.session.backends.sockets import Sockets
from cdp_orders_async.session.timeouts import Broken, Timeout
from cdp_orders_async.settings import Credentials, Settings, tls_of
from cdp_orders_async.timings import Timings
from cdp_orders_async.wire import Request

__all__ = ["HttptoolsBackend"]

BUFFER_BYTES = 16_384  # bytes that are read at a time, as many as a record of TLS has
NEXT_ADDRESS = 0.25  # seconds until the next address of a host is tried in parallel, as RFC 8305 advises
PACKED_OTHERWISE = "it is packed in a way that was not asked for"
ENDED = "the server closed the connection"
PACKED = {b"gzip", b"deflate"}
GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
LENGTHS = {b"content-length", b"transfer-encoding"}
INTERIM = range(100, 200)
SWITCHED = 101  # the interim status after which no other answer comes


class _Connection(asyncio.BufferedProtocol):
    """One connection, and the answer to its last request.

    Parameters: *opened*, the set of all open connections; *most*, the largest body in bytes; *silence*, the longest
    silence within an answer in seconds; *clock*, for the time when the head of an answer came.
    """

    def __init__(self, opened: set[_Connection], most: int, silence: float | None, clock: Callable[[], float]) -> None:
        self._all, self._most, self._silence, self._clock = opened, most, silence, clock
        self._loop = asyncio.get_running_loop()
        self._buffer = memoryview(bytearray(BUFFER_BYTES))
        self._parser: HttpResponseParser
        self._patience: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport
        self._answered: asyncio.Future[str | None] = self._loop.create_future()
        self._answered.cancel()  # there is no request yet
        self._whole = False  # whether the answer is complete
        self._more = False  # whether data came after the answer, or the connection ends with it
        self._head = 0  # bytes of the head so far
        self._outside = 0  # bytes since the last byte of a body
        self.free = False
        """Whether a request may be written to it."""
        self.kept = False
        """Whether it had an earlier request."""
        self.rests_since = 0.0
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.head_at: float | None = None
        """The time when the head of the answer was complete."""
        self.body = bytearray()

    def ask(self, request: bytes) -> asyncio.Future[str | None]:
        """Write *request*; the future gets None when the answer is here, or else the reason why it ended."""
        self.free = False
        self._whole = self._more = False
        self.status = self._head = self._outside = 0
        self.headers, self.head_at, self.body = {}, None, bytearray()
        self._answered = answered = self._loop.create_future()
        self._wait()
        self._transport.write(request)
        return answered

    @property
    def retry_after(self) -> str | None:
        """The seconds that the answer asks to wait."""
        texts = (self.headers.get(name) for name in (b"retry-after", b"date"))
        return wait_asked(*(None if text is None else text.decode("latin-1") for text in texts))

    @property
    def has_spoken(self) -> bool:
        """Whether it has ended or has data to read that was not read yet."""
        return has_spoken(self._transport)

    def end(self, reason: str = "the connection was closed") -> None:
        """Close it; a request without its answer ends with *reason*."""
        self.free = False
        self._finish(reason)
        if self in self._all:  # otherwise it was never open
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._parser = HttpResponseParser(self)
        self._all.add(self)
        self.free = True

    def get_buffer(self, sizehint: int) -> memoryview:
        del sizehint
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._answered.done():
            self.end()  # data without a request
            return
        self._wait()
        self._outside += nbytes
        try:
            self._parser.feed_data(self._buffer[:nbytes])
        except HttpParserUpgrade:
            self._more = True
        except HttpParserError as error:
            self.head_at = None  # it is not HTTP, even if its head was
            self.end(type(error).__name__)
            return
        if self._head > LONGEST_HEAD:
            self.head_at = None
            self.end(HEAD_TOO_LARGE)
        elif self._whole:
            self.free = not (self._more or self._transport.get_write_buffer_size())
            self._finish()
        elif len(self.body) > self._most:
            self._finish()
            self.end()
        elif self._outside > LONGEST_HEAD:
            self.end(HEAD_TOO_LARGE if self.head_at is None else NO_BODY)

    def eof_received(self) -> None:
        self.free = False

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is None and self.head_at is not None and not self.headers.keys() & LENGTHS:
            self._finish()  # a body without a length ends with its connection
        self.end(ENDED if exc is None else _describe(exc))
        self._all.discard(self)
        del self._parser  # it refers to this object: without a cycle, the garbage collector has no work

    def on_message_begin(self) -> None:
        self._more = self._whole

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.head_at is None:  # otherwise it belongs to a trailer, or to a second answer
            self.headers[name.lower()] = value
            self._head += len(name) + len(value)

    def on_headers_complete(self) -> None:
        if self.head_at is not None:
            return
        self.status = self._parser.get_status_code()
        if self.status in INTERIM and self.status != SWITCHED:
            self.headers, self._head = {}, 0
        else:
            self.head_at = self._clock()

    def on_body(self, body: bytes) -> None:
        if not self._whole:
            self.body += body
            self._outside = 0

    def on_message_complete(self) -> None:
        if self.head_at is not None and not self._whole:
            self._whole, self._more = True, not self._parser.should_keep_alive()

    def _finish(self, problem: str | None = None) -> None:
        self._wait(stop=True)
        if not self._answered.done():
            self._answered.set_result(problem)

    def _wait(self, *, stop: bool = False) -> None:
        """Start the timer for silence again, or stop it."""
        if self._silence is not None:
            if self._patience is not None:
                self._patience.cancel()
            self._patience = None if stop else self._loop.call_later(self._silence, self.end, "timed out")


class HttptoolsBackend(HttpBackend):
    """Sends over our own connections, without a proxy."""

    def __init__(self, base_url: str, credentials: Credentials, settings: Settings, clock: Callable[[], float]) -> None:
        super().__init__(base_url, credentials, settings, clock)
        if self._proxy is not None:
            rule = "must be aiohttp where there is a proxy; CDP_TRUST_ENV=no ignores that of the environment"
            raise Invalid((Violation("http", rule),))
        named = {"Host": self.base_url.host_port_subcomponent, **HEADERS, "Accept-Encoding": "gzip, deflate"}
        lines = [f"{name}: {value}" for name, value in {**named, "Authorization": self._authorization.open()}.items()]
        self._head = Opaque("\r\n".join([" HTTP/1.1", *lines, "X-Request-Id: "]))
        self._all: set[_Connection] = set()
        self._resting: deque[_Connection] = deque()
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
        given_up: GivenUpCheck | None = None,
    ) -> Answer:
        """Send once, with *left* seconds until the deadline, and return the answer; see `HttpBackend`."""
        data = self._written(request, request_id)
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
        self._resolver = Resolver(self.base_url.raw_host, self.base_url.port, asyncio.get_running_loop())

    async def _close(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
        for connection in self._all:
            connection.end()
        await self._resolver.aclose()
        await self._sockets.gone()

    def _written(self, request: Request[Any], request_id: str) -> bytes:
        """Return the bytes of *request*; raises ValueError for a path that is not encoded."""
        target = self._prefix + request.path
        if request.query:
            target = self.base_url.with_path(target, encoded=True).with_query(request.query).raw_path_qs
        if " " in target or not (target.isascii() and target.isprintable()):
            raise ValueError("a path must be encoded")
        head = f"{request.method} {target}{self._head.open()}{request_id}\r\n"
        if request.body is None:
            return f"{head}\r\n".encode()
        length = f"Content-Type: application/json\r\nContent-Length: {len(request.body)}\r\n\r\n"
        return (head + length).encode() + request.body

    def _body(self, request: Request[Any], connection: _Connection) -> bytes:
        most, body = self._settings.max_answer, connection.body
        coding = connection.headers.get(b"content-encoding", b"identity").lower()
        if body and coding != b"identity":
            if coding not in PACKED:
                return unusable_answer(request, connection.status, PACKED_OTHERWISE, body, self.secrets)
            body = _unpacked(body, coding, most)
        if len(body) <= most:
            return bytes(body)
        return unusable_answer(request, connection.status, describe_too_large(most), body, self.secrets)

    def _count(self, times: Timings, start: float, sent: float, head: float) -> None:
        times.connect += sent - start
        times.server += head - sent
        times.body += self._clock() - head

    def _rested(self, *, creates: bool) -> _Connection | None:
        """Return the idle connection that was used last; None if no one may take the request, a create or another."""
        oldest = self._timeouts.loop.time() - self._settings.keepalive
        while self._resting:
            connection = self._resting.pop()
            since = connection.rests_since
            if (
                connection.free
                and since > oldest
                and self._may_use(since, creates=creates)
                and not connection.has_spoken
            ):
                return connection
            connection.end()
        return None

    def _rest(self, connection: _Connection) -> None:
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

    async def _connect(self) -> _Connection:
        """Open a connection; raises `Broken`."""
        host, loop = self.base_url.raw_host, self._timeouts.loop
        connection = _Connection(self._all, self._settings.max_answer, self._settings.read_timeout, self._clock)
        try:
            with Timeout(self.waits, self._settings.connect_timeout):
                addresses = await self._resolver.addresses()
                await self._sockets.room()
                plain = await aiohappyeyeballs.start_connection(  # pyright: ignore[reportUnknownMemberType] a bare tuple
                    addresses, happy_eyeballs_delay=NEXT_ADDRESS, interleave=1, socket_factory=self._sockets.make
                )
                await loop.create_connection(
                    lambda: connection, sock=plain, ssl=self._tls, server_hostname=host if self._tls else None
                )
        except (OSError, UnicodeError) as error:
            connection.end()
            self._resolver.forget()
            flaw = describe_certificate(error, host)
            raise Broken(flaw or _describe(error), lasting=flaw is not None) from None
        except BaseException:
            connection.end()
            raise
        if not connection.free:
            connection.end()
            raise Broken(ENDED)
        return connection


def _unpacked(body: bytearray, coding: bytes, most: int) -> bytearray:
    """Return the unpacked *body*, at most one byte more than *most*; raises `Broken`."""
    # Some servers send deflate without its head: the first byte shows it.
    headless = coding == b"deflate" and body[0] & 15 != zlib.DEFLATED
    try:
        return bytearray(zlib.decompressobj(-zlib.MAX_WBITS if headless else GZIP_OR_ZLIB).decompress(body, most + 1))
    except zlib.error:
        raise Broken("it cannot be unpacked") from None


def _describe(error: Exception) -> str:
    # The texts of OpenSSL and of the resolver repeat nothing of the request or the answer.
    own = error.strerror if isinstance(error, (ssl.SSLError, socket.gaierror)) else None
    return describe(error, own)
