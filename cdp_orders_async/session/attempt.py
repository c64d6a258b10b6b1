"""One attempt is one send: the base of the HTTP backends, and the errors that say how far a request got."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import select
import selectors
import ssl
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from types import MappingProxyType
from typing import Any, NoReturn, TypeAlias

from yarl import URL

from cdp_orders_async.errors import DeadlineExceeded, Delivery, NotSent, OutcomeUnknown, Unreadable
from cdp_orders_async.pacing.retry import parse_retry_after
from cdp_orders_async.redact import NO_SECRETS, Secrets
from cdp_orders_async.session.timeouts import CLOSED, Broken, TimeoutPool
from cdp_orders_async.settings import Credentials, Settings, check_tls, proxy_of
from cdp_orders_async.timings import Timings
from cdp_orders_async.version import VERSION
from cdp_orders_async.wire import Request

__all__ = [
    "HEADERS",
    "HEAD_TOO_LARGE",
    "LONGEST_HEAD",
    "MOST_FRAMING",
    "NO_BODY",
    "NO_HEADERS",
    "Answer",
    "GivenUp",
    "GivenUpCheck",
    "HttpBackend",
    "connection_error",
    "cut_answer",
    "deadline_error",
    "describe",
    "describe_certificate",
    "describe_too_large",
    "hearing",
    "unusable_answer",
    "wait_asked",
]

Answer: TypeAlias = tuple[int, bytes, str | None]
"""Status, body and ``Retry-After``."""

NO_HEADERS: Mapping[str, str] = MappingProxyType({})
"""The headers of an attempt to which no observer adds any."""
HEADERS = {"Accept": "application/json", "User-Agent": f"cdp-orders-async/{VERSION}"}
KEPT_BYTES = 100  # bytes of an unusable answer that its error keeps
LONGEST_HEAD = 65_536  # bytes of a head, or of other data without a byte of a body, such as interim answers
MOST_FRAMING = 16  # bytes that may surround each byte of a body: those of a chunk of one byte are five, or a few more
HEAD_TOO_LARGE = f"the head of the answer is larger than {LONGEST_HEAD:,} bytes"
NO_BODY = f"{LONGEST_HEAD:,} bytes came after the head that are no part of the body"
FIRST_WINSOCK_ERROR = 10_000  # the errors of sockets on Windows have numbers from this one on
SUSPICION = 60.0  # seconds for which creates go over new connections after a kept one lost an answer


GivenUpCheck: TypeAlias = Callable[[], bool]
"""Tells, when a create has its connection, whether it must not leave any longer."""


class GivenUp(NotSent):
    """A create of the loader was not sent: when its turn came, the load created nothing any longer."""


class HttpBackend(ABC):
    """The connections to one server; it opens at the first call and then belongs to that event loop.

    Raises `Invalid` if the settings or the environment name a proxy or certificates that cannot be used.
    """

    def __init__(self, base_url: str, credentials: Credentials, settings: Settings, clock: Callable[[], float]) -> None:
        self.base_url = URL(base_url)
        self._clock = clock
        self._prefix = self.base_url.raw_path.rstrip("/")
        self._authorization = credentials.header()
        self.secrets = credentials.secrets()
        """The texts that are masked in all that the server says."""
        self._settings = settings
        self._proxy = proxy_of(settings, base_url)
        check_tls(settings)
        self._timeouts: TimeoutPool
        self.waits: TimeoutPool
        """The waits before a call is sent. They have no time limit, and end when the backend is closed."""
        self._lost_at = -math.inf  # when a kept connection last lost an answer
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = 0  # a fork copies the loop too, and both copies would speak on one connection
        self._opening = asyncio.Lock()
        self.closed = False
        """Whether it was closed: then it cannot be opened again."""
        self._date: str | None = None
        """The last ``Date`` of the server."""
        self._dated_at = 0.0
        """The Unix time of this machine when it first came."""
        self._skew: float | None = 0.0
        """What `clock_skew` has made of it; None until somebody asks."""

    def __reduce__(self) -> NoReturn:
        """Refuse to be copied or pickled, as `Session` does: a copy would hold a copy of the event loop."""
        raise TypeError("the connections of a client cannot be copied or pickled")

    def ready(self) -> bool:
        """Tell whether it can send, so that `open` need not be called."""
        here = asyncio.get_running_loop() is self._loop and os.getpid() == self._pid
        return here and not self.closed

    async def open(self) -> None:
        """Make it ready; raises `RuntimeError` after `aclose`, in a second event loop and after a fork.

        Raises `Broken` if it is closed meanwhile.
        """
        if self.closed:
            raise RuntimeError(CLOSED)
        if self._loop is None:
            async with self._opening:
                await self._open_first()
            if self.closed:
                raise Broken(CLOSED)
        if os.getpid() != self._pid:
            raise RuntimeError("the client belongs to another process; make one client for each process")
        if asyncio.get_running_loop() is not self._loop:
            raise RuntimeError("the client belongs to another event loop; make one client for each loop")

    async def aclose(self) -> None:
        """Close the connections and end the calls on them. Closing twice is not an error."""
        self.closed = True
        async with self._opening:
            if self._loop is not None and self._pid == os.getpid():
                both = self._timeouts, self.waits
                for pool in both:
                    pool.close()
                try:
                    for pool in both:
                        await pool.wait_closed()
                finally:
                    await self._close()

    @abstractmethod
    async def send_once(
        self,
        request: Request[Any],
        request_id: str,
        left: float | None,
        times: Timings,
        headers: Mapping[str, str] = NO_HEADERS,
        given_up: GivenUpCheck | None = None,
    ) -> Answer:
        """Send once, with *left* seconds until the deadline, and return the answer.

        The time is added to *times*. *headers*, which the observers add, are checked and none of the client's own. If
        no status came back, it raises a `CdpError` that says how far the request got.
        """

    @property
    def clock_skew(self) -> float:
        """Seconds by which the clock of the server is ahead of the one of this machine, as its last ``Date`` shows."""
        if self._skew is None:  # to read a date takes longer than the rest of what a load does with an answer
            moment = moment_of(self._date)
            self._skew = 0.0 if moment is None else moment.timestamp() - self._dated_at
        return self._skew

    def _came(self, date: str | None) -> None:
        """Note the ``Date`` of an answer."""
        if date is not None and date != self._date:
            self._date, self._dated_at, self._skew = date, time.time(), None

    @abstractmethod
    async def _open(self) -> None:
        """Make the objects that send."""

    @abstractmethod
    async def _close(self) -> None:
        """Close the objects that `_open` made."""

    async def _open_first(self) -> None:
        if self._loop is None and not self.closed:
            await self._open()
            self._loop, self._pid = asyncio.get_running_loop(), os.getpid()
            self._timeouts, self.waits = (
                TimeoutPool(seconds, self._loop) for seconds in (self._settings.timeout, math.inf)
            )

    def _may_use(self, used_at: float, *, creates: bool) -> bool:
        """Tell whether a kept connection that was last used at *used_at* may take a request, a create or another one.

        Some gateways drop kept connections without closing them. After a lost answer, the connections that were idle
        then are not used again, and creates, which cannot be sent again, use new connections for a while.
        """
        return used_at > self._lost_at and not (creates and self._timeouts.loop.time() < self._lost_at + SUSPICION)

    def _suspect(self) -> None:
        """Note that a kept connection lost an answer."""
        self._lost_at = self._timeouts.loop.time()


def deadline_error(delivery: Delivery, attempts: int = 0, request_id: str | None = None) -> DeadlineExceeded:
    """Return the error for a passed deadline."""
    error = DeadlineExceeded("the deadline of the call passed, or cannot be met any more")
    error.delivery = delivery
    error.attempts = attempts
    error.request_id = request_id
    return error


def connection_error(
    request: Request[Any], cause: str, *, began: bool, lasting: bool = False
) -> NotSent | OutcomeUnknown:
    """Return the error of a request without a status, for this *cause*; *began* says whether it had begun to leave.

    *lasting* says that the cause will probably not go away.
    """
    if began:
        return OutcomeUnknown(f"{request.method} {request.path} was sent, but its answer was lost ({cause})")
    error = NotSent(f"{request.method} {request.path} was not sent ({cause})")
    error.lasting = lasting
    return error


def cut_answer(request: Request[Any], status: int, retry_after: str | None, cause: str) -> Answer:
    """Return an answer whose body broke off for this *cause*; its status counts. Raise `Unreadable` after a success."""
    if _succeeded(status):
        problem = f"its transfer broke off ({cause})"
        raise Unreadable(request.method, request.path, status, (problem,), cut=True) from None
    return status, b"", retry_after


def describe(error: BaseException, reason: str | None = None) -> str:
    """Describe a cause without its text, which may hold the query, or the URL of a proxy with its password."""
    if isinstance(error, Broken):
        return str(error)
    if isinstance(error, TimeoutError):
        reason = "timed out"
    elif reason is None and isinstance(error, OSError):
        reason = _system_text(error)
    return f"{type(error).__name__}: {reason}" if reason else type(error).__name__


def _system_text(error: OSError) -> str | None:
    """Return the text of the system for an error; Windows has its own numbers, which the C library does not know."""
    own: int | None = getattr(error, "winerror", None)
    if not own and error.errno and error.errno < FIRST_WINSOCK_ERROR:
        return os.strerror(error.errno)
    if not (number := own or error.errno):
        return None
    import ctypes  # noqa: PLC0415 few need it

    name: Callable[[int], str] = getattr(ctypes, "FormatError", os.strerror)
    return name(number).rstrip(". ")


def describe_certificate(error: BaseException, host: str | None) -> str | None:
    """Say why the certificate of *host* is not trusted; None for any other *error*."""
    if not isinstance(error, ssl.SSLCertVerificationError):
        return None
    return f"the certificate of {host} is not trusted: {error.verify_message.rstrip('.')}"


def hearing(transport: asyncio.BaseTransport) -> Callable[[], object]:
    """Return a function that tells, without waiting, whether an idle connection has ended or has data to read.

    The data answers no request, so the connection cannot take another one. The function must not be called after the
    *transport* has closed its socket, because another one may have its number then.
    """
    number = transport.get_extra_info("socket").fileno()
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(number, select.POLLIN)
        return partial(poll.poll, 0)
    return partial(_is_readable, number)  # slower; Windows and some versions of macOS have no poll


def _is_readable(number: int) -> bool:
    with selectors.DefaultSelector() as selector:
        selector.register(number, selectors.EVENT_READ)
        return bool(selector.select(0))


def wait_asked(retry_after: str | None, date: str | None) -> str | None:
    """Return *retry_after*; if it is a date, return the seconds from the *date* of the same answer.

    The clocks of the server and of this machine may differ.
    """
    if retry_after is None or date is None or not any(map(str.isalpha, retry_after)):
        return retry_after
    if (now := moment_of(date)) is None:
        return retry_after
    with contextlib.suppress(ValueError, OverflowError):
        wait = parse_retry_after(retry_after, now)
        return None if wait is None else f"{wait:.3f}"
    return retry_after


def moment_of(date: str | None) -> datetime | None:
    """Return the moment of the header ``Date``, None if it has none."""
    try:
        moment = parsedate_to_datetime(date or "")
    except (ValueError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def unusable_answer(
    request: Request[Any], status: int, problem: str, start: bytes | bytearray, secrets: Secrets = NO_SECRETS
) -> bytes:
    """Return the body of an answer that cannot be used, none; raise `Unreadable` after a success.

    The error keeps the *start* of the body, with the *secrets* masked.
    """
    if _succeeded(status):
        raise Unreadable(request.method, request.path, status, (problem,), secrets.start(start, KEPT_BYTES))
    return b""


def describe_too_large(most: int) -> str:
    """Say that an answer has more than *most* bytes."""
    return f"it is larger than {most:,} bytes"


def _succeeded(status: int) -> bool:
    return 200 <= status < 300  # noqa: PLR2004 HTTP
