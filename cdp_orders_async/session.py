"""The session manager: the only client module that imports aiohttp.

One retry loop, ours, and one attempt is one send: aiohttp's own resend after a dropped connection is
switched off, because it hides a second send. Every failure says how far its request got.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import logging
import random
import secrets
import ssl
import time
import urllib.request
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Protocol, TypeVar

import aiohttp
import attrs
from aiohttp import ClientHandlerType, ClientRequest, ClientResponse, ClientSession, TraceConfig
from yarl import URL

from cdp_orders_async.errors import (
    CdpError,
    DeadlineExceeded,
    Delivery,
    NotSent,
    OutcomeUnknown,
    PoolTimeout,
    RateLimited,
    Refused,
    Unreadable,
)
from cdp_orders_async.limiter import Limiter, Slots
from cdp_orders_async.retry import Retries, RetryBudget, backoff, may_resend, parse_retry_after
from cdp_orders_async.settings import Credentials, Settings
from cdp_orders_async.wire import Request, answer

__all__ = ["ClientSession", "Patient", "RateLimiter", "Session", "Stats", "TraceConfig"]

T = TypeVar("T")

logger = logging.getLogger("cdp_orders_async")

LONGEST_PAUSE = 300.0  # seconds that a Retry-After can hold up every call; a longer one is not obeyed in full


class RateLimiter(Protocol):
    """A limiter of your own, for instance one that several processes share."""

    async def acquire(self) -> None:
        """Return when one request may leave."""
        ...


@attrs.define
class Stats:
    """What a session did so far."""

    requests: int = 0
    """Attempts that were made, each one send at most."""
    retries: int = 0
    """Attempts after the first of a call."""
    in_flight: int = 0


class _Dropped(Exception):
    """A lost connection, in a form that aiohttp does not answer by sending again."""


async def _no_hidden_resend(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
    try:
        return await handler(request)
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _Dropped from error


class _Body(aiohttp.BytesPayload):
    """The bytes of a body that know whether they have begun to leave."""

    began = False

    async def write(self, writer: aiohttp.abc.AbstractStreamWriter) -> None:
        self.began = True
        await super().write(writer)

    async def write_with_length(self, writer: aiohttp.abc.AbstractStreamWriter, content_length: int | None) -> None:
        self.began = True
        await super().write_with_length(writer, content_length)


@attrs.frozen
class Patient:
    """A transport for bulk work, whose calls wait for their turn as long as it takes."""

    session: Session

    async def send(self, request: Request[T], /) -> T:
        """Send *request*; its deadline begins when it is first sent."""
        return await self.session.send(request, patient=True)


class Session:
    """Sends requests: pool, authentication, TLS, times, rate limit and retries.

    It opens on first use and then belongs to that event loop. *http* is a session of your own, which is
    used as it is, without its client middlewares, and never closed.
    """

    def __init__(
        self,
        base_url: str,
        credentials: Credentials,
        settings: Settings,
        *,
        http: ClientSession | None = None,
        limiter: RateLimiter | None = None,
        trace_configs: Sequence[TraceConfig] = (),
        clock: Callable[[], float] = time.monotonic,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self.settings = settings
        self.stats = Stats()
        self.limiter = Limiter(settings.rate, burst=settings.burst, clock=clock)
        self._shared_limiter = limiter
        self._base_url = URL(base_url)
        self._authorization = _authorization(credentials)
        self._http = http
        self._owns_http = http is None
        self._trace_configs = list(trace_configs)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._opening = asyncio.Lock()
        self._closed = False
        self._proxy: str | None = None
        self._slots = Slots(settings.connections)
        self._retries = Retries(limit=settings.retries)
        self._budget = RetryBudget()
        self._clock = clock
        self._uniform = uniform
        self._timeout = aiohttp.ClientTimeout(
            total=settings.timeout, sock_connect=settings.connect_timeout, sock_read=settings.read_timeout
        )
        self._agent = f"cdp-orders-async/{version('cdp-orders-async')}"
        self._run = secrets.token_hex(4)
        self._numbers = itertools.count(1)

    def __repr__(self) -> str:
        return f"<Session {self._base_url}: {self.stats.in_flight} in flight, {self._slots}, {self.limiter}>"

    def __reduce__(self) -> str:
        """Refuse to be pickled: sockets cannot travel, and the API token must not."""
        msg = "a session cannot be pickled; pickle its Settings and make a new one"
        raise TypeError(msg)

    async def aclose(self) -> None:
        """Close the connections; a session that was passed in stays open. Closing twice is no error."""
        self._closed = True
        if self._http is not None and self._owns_http:
            await self._http.close()

    async def send(self, request: Request[T], /, *, patient: bool = False) -> T:
        """Send *request*, again where that is safe, and return its result.

        The deadline of a *patient* call begins when it is first sent, however long it waited for its turn.
        """
        until = None if self.settings.deadline is None or patient else self._clock() + self.settings.deadline
        request_id = f"{self._run}-{next(self._numbers)}"
        for attempt in itertools.count(1):
            try:
                result = await self._send_once(request, request_id, until)
            except CdpError as error:
                if attempt == 1 and patient and self.settings.deadline is not None:
                    until = self._clock() + self.settings.deadline
                error.attempts = attempt
                error.request_id = request_id
                self._log(request, request_id, attempt, error)
                await self._before_resend(request, attempt, error, until)
                self.stats.retries += 1
            else:
                self._budget.earn()
                self._log(request, request_id, attempt, None)
                return result
        raise AssertionError  # a count has no end

    async def _before_resend(self, request: Request[T], attempt: int, error: CdpError, until: float | None) -> None:
        """Wait until *request* may be sent again, or raise: *error*, or that the deadline cannot be met."""
        limited = isinstance(error, RateLimited)
        wait = backoff(attempt, self._retries, self._uniform)
        asked = error.retry_after if isinstance(error, Refused) else None
        if limited or asked is not None:
            # One answer holds up everybody: each task waiting by itself would ask again and again.
            wait = max(wait, min(asked or 0.0, LONGEST_PAUSE))
            self.limiter.pause_until(self._clock() + wait)
        may = may_resend(error, creates=request.creates) and attempt <= self._retries.limit
        if not may or not (limited or self._budget.spend()):
            raise error
        if until is not None and self._clock() + wait >= until:
            raise _late(error.delivery, attempt, error.request_id) from error
        await asyncio.sleep(wait)

    async def _send_once(self, request: Request[T], request_id: str, until: float | None) -> T:
        http = self._http if self._loop is not None else await self._open()
        if self._closed or http is None:
            msg = "the client is closed"
            raise RuntimeError(msg)
        if asyncio.get_running_loop() is not self._loop:
            msg = "the client belongs to another event loop; make one client for each loop"
            raise RuntimeError(msg)
        await self._take_slot(request.stage, until)
        try:
            await self._take_turn(until)
            timeout = self._timeout
            if until is not None and (left := until - self._clock()) < self.settings.timeout:
                timeout = attrs.evolve(timeout, total=max(left, 0.001))
            self.stats.requests += 1
            self.stats.in_flight += 1
            try:
                status, body, retry_after = await self._attempt(http, request, request_id, timeout)
            finally:
                self.stats.in_flight -= 1
        finally:
            self._slots.release()
        wait = None if retry_after is None else parse_retry_after(retry_after, datetime.now(UTC))
        return answer(request, status, body, wait)

    async def _take_slot(self, stage: int, until: float | None) -> None:
        if self._slots.free:
            await self._slots.acquire(stage)
            return
        left = None if until is None else until - self._clock()
        pool = self.settings.pool_timeout
        bounds = [bound for bound in (left, pool) if bound is not None]
        try:
            async with asyncio.timeout(min(bounds, default=None)):
                await self._slots.acquire(stage)
        except TimeoutError:
            if pool is not None and (left is None or pool < left):
                msg = f"no connection became free within {pool} s"
                raise PoolTimeout(msg) from None
            raise _late(Delivery.NOT_SENT) from None

    async def _take_turn(self, until: float | None) -> None:
        delay = self.limiter.delay()
        if until is not None and self._clock() + delay >= until:
            raise _late(Delivery.NOT_SENT)
        if self._shared_limiter is None and not delay:
            await self.limiter.acquire()
            return
        try:
            async with asyncio.timeout(None if until is None else until - self._clock()):
                await self.limiter.acquire()
                if self._shared_limiter is not None:
                    await self._shared_limiter.acquire()
        except TimeoutError:
            raise _late(Delivery.NOT_SENT) from None

    async def _attempt(
        self, http: ClientSession, request: Request[T], request_id: str, limits: aiohttp.ClientTimeout
    ) -> tuple[int, bytes, str | None]:
        """Send once; return status, body and ``Retry-After``, or raise how far it got."""
        headers = {
            "Authorization": self._authorization,
            "Accept": "application/json",
            "User-Agent": self._agent,
            "X-Request-Id": request_id,
        }
        body = None
        if request.body is not None:
            body = _Body(request.body, content_type="application/json")
        url = self._base_url.with_path(self._base_url.raw_path.rstrip("/") + request.path, encoded=True)
        if request.query:
            url = url.with_query(request.query)
        response = None
        try:
            response = await http.request(
                request.method,
                url,
                data=body,
                headers=headers,
                timeout=limits,
                proxy=self._proxy,
                allow_redirects=False,
                middlewares=(_no_hidden_resend,),
            )
            return response.status, await self._read(request, response), response.headers.get("Retry-After")
        except (_Dropped, aiohttp.ClientError, TimeoutError, ConnectionError) as error:
            cause = error.__cause__ if isinstance(error, _Dropped) and error.__cause__ is not None else error
            if response is not None:
                return self._cut(request, response, cause)
            late = isinstance(cause, TimeoutError) and limits is not self._timeout
            began = body.began if body is not None else not _never_connected(cause)
            if late:
                raise _late(Delivery.UNKNOWN if began else Delivery.NOT_SENT) from cause
            if began:
                msg = f"{request.method} {request.path} was sent, but its answer was lost ({_in_words(cause)})"
                raise OutcomeUnknown(msg) from cause
            msg = f"{request.method} {request.path} was not sent ({_in_words(cause)})"
            raise NotSent(msg) from cause
        except BaseException:
            if response is not None:
                response.close()
            raise

    def _cut(
        self, request: Request[T], response: ClientResponse, cause: BaseException
    ) -> tuple[int, bytes, str | None]:
        """Judge an answer whose head came whole and whose body did not: the status still counts."""
        response.close()
        if 200 <= response.status < 300:  # noqa: PLR2004 HTTP
            problem = f"its transfer broke off ({_in_words(cause)})"
            raise Unreadable(request.method, request.path, response.status, (problem,), cut=True) from cause
        return response.status, b"", response.headers.get("Retry-After")

    async def _read(self, request: Request[T], response: ClientResponse) -> bytes:
        most = self.settings.max_answer
        length = response.content_length
        if length is not None and length <= most and "Content-Encoding" not in response.headers:
            return await response.read()
        body = bytearray()
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > most:
                response.close()
                problem = f"it is larger than {most:,} bytes"
                raise Unreadable(request.method, request.path, response.status, (problem,), bytes(body[:100]))
        return bytes(body)

    async def _open(self) -> ClientSession | None:
        async with self._opening:
            if self._loop is not None or self._closed:
                return self._http
            self._proxy = self.settings.proxy or (_env_proxy(self._base_url) if self.settings.trust_env else None)
            if self._http is None:
                context = self.settings.ssl_context
                if context is None and self._base_url.scheme == "https":
                    # Reading the certificates takes tens of milliseconds, which the loop must not wait.
                    context = await asyncio.to_thread(_tls, self.settings.ca_file)
                self._http = ClientSession(
                    connector=aiohttp.TCPConnector(
                        limit=self.settings.connections, keepalive_timeout=self.settings.keepalive, ssl=context or True
                    ),
                    cookie_jar=aiohttp.DummyCookieJar(),
                    trace_configs=self._trace_configs,
                )
            self._loop = asyncio.get_running_loop()
            return self._http

    def _log(self, request: Request[T], request_id: str, attempt: int, error: CdpError | None) -> None:
        """Log one attempt, by allow-list: no body, no query, no header."""
        if not logger.isEnabledFor(logging.DEBUG):
            return
        verdict = "done" if error is None else f"{type(error).__name__}, {error.delivery}"
        logger.debug(
            "%s %s, attempt %d: %s",
            request.method,
            request.path,
            attempt,
            verdict,
            extra={
                "cdp_operation": request.operation,
                "cdp_request_id": request_id,
                "cdp_attempt": attempt,
                "cdp_delivery": "done" if error is None else str(error.delivery),
            },
        )


def _authorization(credentials: Credentials) -> str:
    if credentials.bearer_token:
        return f"Bearer {credentials.bearer_token}"
    pair = f"{credentials.client_key}:{credentials.api_token}"
    return f"Basic {base64.b64encode(pair.encode()).decode()}"


def _late(delivery: Delivery, attempts: int = 0, request_id: str | None = None) -> DeadlineExceeded:
    error = DeadlineExceeded("the deadline of the call passed, or cannot be met any more")
    error.delivery = delivery
    error.attempts = attempts
    error.request_id = request_id
    return error


def _never_connected(error: BaseException) -> bool:
    refused = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.ClientHttpProxyError)
    return isinstance(error, refused)


def _in_words(error: BaseException) -> str:
    """Name a cause without its text, which may hold the URL of a proxy with its password."""
    reason = getattr(error, "strerror", None) or getattr(getattr(error, "os_error", None), "strerror", None)
    if isinstance(error, TimeoutError):
        reason = "timed out"
    return f"{type(error).__name__}: {reason}" if reason else type(error).__name__


def _tls(ca_file: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _env_proxy(url: URL) -> str | None:
    """Return the proxy that the environment names for *url*; aiohttp's own way would read netrc too."""
    if urllib.request.proxy_bypass(f"{url.host}:{url.port}"):
        return None
    return urllib.request.getproxies().get(url.scheme)
