"""One attempt is one send: what every way to send has, and how it is said how far a request got."""

from __future__ import annotations

import asyncio
import base64
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeAlias

from yarl import URL

from cdp_orders_async.errors import DeadlineExceeded, Delivery, NotSent, OutcomeUnknown, Unreadable
from cdp_orders_async.session.times import Times
from cdp_orders_async.session.watch import Watch
from cdp_orders_async.settings import Credentials, Settings, proxy_of
from cdp_orders_async.version import VERSION
from cdp_orders_async.wire import Request

__all__ = ["HEADERS", "Answer", "Http", "cut", "in_words", "late", "lost", "too_large", "unusable"]

Answer: TypeAlias = tuple[int, bytes, str | None]
"""Status, body and ``Retry-After``."""

HEADERS = {"Accept": "application/json", "User-Agent": f"cdp-orders-async/{VERSION}"}
START = 100  # bytes of a too large answer that its error keeps


class Http(ABC):
    """The connections to one server: opened on first use, and from then on part of that event loop.

    Raises `Invalid` where the settings or the environment name a proxy that cannot be used.
    """

    def __init__(self, base_url: str, credentials: Credentials, settings: Settings, clock: Callable[[], float]) -> None:
        self.base_url = URL(base_url)
        self._clock = clock
        self._prefix = self.base_url.raw_path.rstrip("/")
        self._authorization = _authorization(credentials)
        self._settings = settings
        self._proxy = proxy_of(settings, base_url)
        self._watch: Watch
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = 0  # a fork copies the loop too, and both copies would speak on one connection
        self._opening = asyncio.Lock()
        self._closed = False

    def ready(self) -> bool:
        """Return whether it can send, and `open` need not be asked."""
        here = asyncio.get_running_loop() is self._loop and os.getpid() == self._pid
        return here and not self._closed

    async def open(self) -> None:
        """Make it ready; `RuntimeError` after `aclose`, in a second event loop and after a fork."""
        if self._loop is None:
            async with self._opening:
                await self._open_first()
        if self._closed:
            msg = "the client is closed"
            raise RuntimeError(msg)
        if os.getpid() != self._pid:
            msg = "the client belongs to another process; make one client for each process"
            raise RuntimeError(msg)
        if asyncio.get_running_loop() is not self._loop:
            msg = "the client belongs to another event loop; make one client for each loop"
            raise RuntimeError(msg)

    async def aclose(self) -> None:
        """Close the connections. Closing twice is no error."""
        self._closed = True
        async with self._opening:
            if self._loop is not None:
                self._watch.close()
                if self._pid == os.getpid():
                    await self._close()

    @abstractmethod
    async def send_once(self, request: Request[Any], request_id: str, left: float | None, times: Times) -> Answer:
        """Send once, with *left* seconds until the deadline, and return the answer.

        Where the time went is added to *times*. Raises a `CdpError` that says how far the request got where no
        status came back.
        """

    @abstractmethod
    async def _open(self) -> None:
        """Make what it sends with."""

    @abstractmethod
    async def _close(self) -> None:
        """Close what `_open` made."""

    async def _open_first(self) -> None:
        if self._loop is None and not self._closed:
            await self._open()
            self._loop, self._pid = asyncio.get_running_loop(), os.getpid()
            self._watch = Watch(self._settings.timeout, self._loop)

    def _until(self, left: float | None) -> Watch:
        """Return what ends an attempt with *left* seconds until the deadline: that, if it is not long after all."""
        if left is None or left >= self._watch.seconds:
            return self._watch
        return Watch(max(left, 0.001), self._watch.loop)


def _authorization(credentials: Credentials) -> str:
    if credentials.bearer_token:
        return f"Bearer {credentials.bearer_token}"
    pair = f"{credentials.client_key}:{credentials.api_token}"
    return f"Basic {base64.b64encode(pair.encode()).decode()}"


def late(delivery: Delivery, attempts: int = 0, request_id: str | None = None) -> DeadlineExceeded:
    """Return the error for a passed deadline."""
    error = DeadlineExceeded("the deadline of the call passed, or cannot be met any more")
    error.delivery = delivery
    error.attempts = attempts
    error.request_id = request_id
    return error


def lost(request: Request[Any], cause: str, *, began: bool) -> NotSent | OutcomeUnknown:
    """Return the error for a request that got no status, *cause* in words; *began* where it had begun to leave."""
    if began:
        return OutcomeUnknown(f"{request.method} {request.path} was sent, but its answer was lost ({cause})")
    return NotSent(f"{request.method} {request.path} was not sent ({cause})")


def cut(request: Request[Any], status: int, retry_after: str | None, cause: str) -> Answer:
    """Judge an answer whose head came whole and whose body did not, *cause* in words: the status still counts."""
    if _succeeded(status):
        problem = f"its transfer broke off ({cause})"
        raise Unreadable(request.method, request.path, status, (problem,), cut=True) from None
    return status, b"", retry_after


def in_words(error: BaseException, reason: str | None = None) -> str:
    """Name a cause without its text, which may hold the query, or the URL of a proxy with its password."""
    if isinstance(error, TimeoutError):
        reason = "timed out"
    elif reason is None and isinstance(error, OSError) and error.errno:
        reason = os.strerror(error.errno)
    return f"{type(error).__name__}: {reason}" if reason else type(error).__name__


def unusable(request: Request[Any], status: int, problem: str, start: bytes | bytearray) -> bytes:
    """Judge an answer whose body, that begins with *start*, is of no use: return what counts as its body."""
    if _succeeded(status):
        raise Unreadable(request.method, request.path, status, (problem,), bytes(start[:START]))
    return b""  # half a refusal says nothing


def too_large(most: int) -> str:
    """Say that an answer has more than *most* bytes."""
    return f"it is larger than {most:,} bytes"


def _succeeded(status: int) -> bool:
    return 200 <= status < 300  # noqa: PLR2004 HTTP
