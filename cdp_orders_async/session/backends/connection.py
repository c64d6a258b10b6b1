"""One connection, and the answer to its last request, parsed by httptools."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from cdp_orders_async.session.attempt import (
    HEAD_TOO_LARGE,
    LONGEST_HEAD,
    MOST_FRAMING,
    NO_BODY,
    describe,
    hearing,
    wait_asked,
)

__all__ = ["ENDED", "Connection", "describe_cause"]

BUFFER_BYTES = 16_384  # bytes that are read at a time, as many as a record of TLS has
ENDED = "the server closed the connection"
LENGTHS = {b"content-length", b"transfer-encoding"}
INTERIM = range(100, 200)
SWITCHED = 101  # the interim status after which no other answer comes


class Connection(asyncio.BufferedProtocol):
    """One connection, and the answer to its last request.

    Parameters: *opened*, the set of all open connections; *most*, the largest body in bytes; *silence*, the longest
    silence within an answer in seconds; *clock*, for the time when the head of an answer came.
    """

    def __init__(self, opened: set[Connection], most: int, silence: float | None, clock: Callable[[], float]) -> None:
        self._all, self._most, self._silence, self._clock = opened, most, silence, clock
        self._loop = asyncio.get_running_loop()
        self._buffer = memoryview(bytearray(BUFFER_BYTES))
        self._parser: HttpResponseParser
        self._patience: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport
        self.has_spoken: Callable[[], object]
        """Tells whether it has ended or has data to read that was not read yet; only for one that is free."""
        self._answered: asyncio.Future[str | None] = self._loop.create_future()
        self._answered.cancel()  # there is no request yet
        self._whole = False  # whether the answer is complete
        self._more = False  # whether data came after the answer, or the connection ends with it
        self._head = 0  # bytes of the head so far
        self._outside = 0  # bytes beside the body that its own do not explain
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
    def date(self) -> str | None:
        """The ``Date`` of the answer."""
        return self._text(b"date")

    @property
    def retry_after(self) -> str | None:
        """The seconds that the answer asks to wait."""
        asked = self._text(b"retry-after")
        return None if asked is None else wait_asked(asked, self.date)

    def _text(self, name: bytes) -> str | None:
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")

    def end(self, reason: str = "the connection was closed") -> None:
        """Close it; a request without its answer ends with *reason*."""
        self.free = False
        self._finish(reason)
        if self in self._all:  # otherwise it was never open
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take over the transport, and be free for a request."""
        self._transport = cast("asyncio.Transport", transport)
        self.has_spoken = hearing(transport)
        self._parser = HttpResponseParser(self)
        # The flaws of answers that aiohttp forgives; none of them moves the end of an answer.
        self._parser.set_dangerous_leniencies(
            lenient_headers=True, lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
        )
        self._all.add(self)
        self.free = True

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return the buffer that is read into."""
        del sizehint
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Parse the bytes that came."""
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
        """Take no further request: the server has closed its side."""
        self.free = False

    def connection_lost(self, exc: Exception | None) -> None:
        """End the request that waits, if there is one."""
        if exc is None and self.head_at is not None and not self.headers.keys() & LENGTHS:
            self._finish()  # a body without a length ends with its connection
        self.end(ENDED if exc is None else describe_cause(exc))
        self._all.discard(self)
        del self._parser  # it refers to this object: without a cycle, the garbage collector has no work

    def on_message_begin(self) -> None:
        """Note that data came after the answer."""
        self._more = self._whole

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header of the answer."""
        if b"\0" in value:
            raise ValueError("a header has no NUL")  # the parser makes an HttpParserError of it
        if self.head_at is None:  # otherwise it belongs to a trailer, or to a second answer
            self.headers[name.lower()] = value
            self._head += len(name) + len(value)

    def on_headers_complete(self) -> None:
        """Keep the status; an interim answer does not count."""
        if self.head_at is not None:
            return
        self.status = self._parser.get_status_code()
        if self.status in INTERIM and self.status != SWITCHED:
            self.headers, self._head = {}, 0
        else:
            self.head_at = self._clock()

    def on_body(self, body: bytes) -> None:
        """Keep a part of the body."""
        if not self._whole:
            self._outside = max(0, self._outside - MOST_FRAMING * len(body)) if self.body else 0
            self.body += body

    def on_message_complete(self) -> None:
        """Note that the answer is complete."""
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


def describe_cause(error: Exception) -> str:
    """Describe why a connection could not be opened, or ended."""
    # The texts of OpenSSL and of the resolver repeat nothing of the request or the answer.
    own = error.strerror if isinstance(error, (ssl.SSLError, socket.gaierror)) else None
    return describe(error, own)
