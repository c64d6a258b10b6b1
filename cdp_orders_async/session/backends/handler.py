"""A connection of aiohttp."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.streams import EMPTY_PAYLOAD

from cdp_orders_async.session.attempt import HEAD_TOO_LARGE, LONGEST_HEAD, MOST_FRAMING, NO_BODY, hearing
from cdp_orders_async.session.timeouts import Broken

__all__ = ["BrokenConnection", "Handler"]


class BrokenConnection(Broken, aiohttp.ClientError):
    """`Broken`, as an error that aiohttp passes on."""


class Handler(ResponseHandler):
    """A connection that ends at once when it is closed, and that limits the data outside of a body.

    aiohttp ends TLS with a handshake. If the server does not answer it, the connection stays open for half a minute,
    even after its pool was closed.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        # All here: Python makes a slow dictionary of an object that gets several attributes after many were made.
        self.hears: Callable[[], object] = bool  # until it is connected
        self.used_at: float | None = None
        """The time of its last request."""
        self.received = 0
        """The bytes that came since."""
        self._outside = 0  # bytes beside the body that its own do not explain

    def begin(self, now: float) -> None:
        """Take a request."""
        self.used_at = now
        self._payload = None
        self.received = self._outside = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Be ready for a request."""
        self.hears = hearing(transport)
        super().connection_made(transport)

    def has_spoken(self) -> bool:
        """Tell, without waiting, whether it has ended or has data to read."""
        return not self.is_connected() or bool(self.hears())

    def close(self) -> None:
        """End at once."""
        self.abort()

    def resume_reading(self, *args: Any, **given: Any) -> None:  # noqa: ANN401 aiohttp's
        """Read on, if it does not."""
        if self._reading_paused:  # aiohttp asks after each body, and would feed its parser nothing
            super().resume_reading(*args, **given)

    def data_received(self, data: bytes) -> None:
        """Parse *data*, and end an answer that has too much beside its body."""
        body = self._payload
        before = 0
        if body is not None and body is not EMPTY_PAYLOAD:
            if data and body.is_eof():
                self.abort()  # data after the end of an answer
                return
            before = body.total_bytes
        super().data_received(data)
        if self.received or len(data) > LONGEST_HEAD:  # nearly always an answer comes in one piece
            self._count(len(data), before)
        self.received += len(data)
        error = self.exception()
        if error is not None and (body := self._payload) is not None and body is not EMPTY_PAYLOAD:
            # aiohttp would let the reader of the body wait.
            body.set_exception(error if isinstance(error, Broken) else aiohttp.ClientPayloadError())

    def _count(self, count: int, before: int) -> None:
        """Count *count* more bytes, *before* them so many of the body; end an answer with too much beside its body."""
        body = None if self._payload is EMPTY_PAYLOAD else self._payload
        more = 0 if body is None else body.total_bytes - before
        if not before:
            self._outside = 0 if more else self.received + count
        else:
            self._outside = max(0, self._outside + count - MOST_FRAMING * more) if more else self._outside + count
        if self._outside > LONGEST_HEAD and self.transport is not None:
            self.transport.pause_reading()  # the reader of the answer closes the connection
            self.set_exception(BrokenConnection(HEAD_TOO_LARGE if body is None else NO_BODY))
