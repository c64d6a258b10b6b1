"""The session: who may send when, and the retry loop of a single call. One attempt is one send."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import random
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Protocol, TypeVar

from aiohttp import ClientSession, TraceConfig
from msgspec import Struct, field
from msgspec.structs import replace

from cdp_orders_async.errors import (
    CdpError,
    Delivery,
    Invalid,
    NotSent,
    OutcomeUnknown,
    PoolTimeout,
    RateLimited,
    Refused,
    ServerError,
    Unreadable,
    Violation,
)
from cdp_orders_async.limiter import Limiter, Slots
from cdp_orders_async.redact import bare, sealed
from cdp_orders_async.retry import Retries, RetryBudget, backoff, may_resend, parse_retry_after
from cdp_orders_async.session.attempt import Http, late
from cdp_orders_async.session.governor import Governor
from cdp_orders_async.session.over_aiohttp import OverAiohttp
from cdp_orders_async.session.times import Times
from cdp_orders_async.settings import Credentials, Settings
from cdp_orders_async.wire import Request, answer

__all__ = ["BulkTransport", "RateLimiter", "Session", "Stats"]

T = TypeVar("T")

logger = logging.getLogger("cdp_orders_async")

LONGEST_PAUSE = 300.0  # seconds that a Retry-After can hold up every call; a longer one is not obeyed in full
UNAVAILABLE = 503
MAYBE_DONE = frozenset((Delivery.UNKNOWN, Delivery.DONE_UNREADABLE))


class RateLimiter(Protocol):
    """A limiter of your own, for instance one that several processes share."""

    async def acquire(self) -> None:
        """Return when one request may leave."""
        ...


class Stats(Struct):
    """What a session did so far."""

    requests: int = 0
    """Attempts that were made, each one send at most."""
    retries: int = 0
    """Attempts after the first of a call."""
    in_flight: int = 0
    times: Times = field(default_factory=Times)
    """Where the time of the calls went that were not part of a load."""


def _never() -> bool:
    return False


class BulkTransport(Struct, frozen=True):
    """A transport for the loader: each `send` is one attempt, in the lane of bulk work or the interactive one.

    A call waits for its turn as long as it takes, and whoever sends decides whether it is sent again.
    """

    session: Session
    times: Times
    """Where the time of its calls is counted."""
    halted: Callable[[], bool] = _never
    """Asked when a turn comes, whether nothing may be created any more."""
    bulk: bool = True
    """Whether interactive calls go first."""
    alone: bool = False
    """Whether a 429 concerns its own call only: then nobody else is held up, and the rate stays as it is."""

    async def send(self, request: Request[T], /) -> T:
        """Send *request* once."""
        return await self.session.send_once(request, self)

    def on_its_own(self) -> BulkTransport:
        """Return a transport for one call that is refused again and again while others are not."""
        return replace(self, alone=True)

    def hold(self, error: CdpError, attempt: int) -> float:
        """Hold everybody up where *error* asks for it; return the seconds that its own call must wait beside that.

        *attempt* is the number of the attempt that failed, from 1; another one follows.
        """
        self.session.stats.retries += 1
        wait, held = self.session.hold(error, attempt, alone=self.alone)
        return 0.0 if held else wait  # the limiter holds it, and that is waiting for its turn


class _Call(Struct):
    """One call, with all its attempts."""

    id: str
    bulk: BulkTransport | None
    """What sends it, where the loader does."""
    until: float | None
    """When its deadline is; a call of the loader has none."""
    times: Times
    attempts: int = 0
    turn: float | None = None
    """When the last attempt was sent; None if it was not."""
    doubt: Delivery | None = None
    """What earlier attempts leave."""


class Session:
    """Sends requests: pool, authentication, TLS, times, rate limit and retries.

    It opens on first use and then belongs to that event loop. *http* is a session of your own, which is
    used as it is, without its client middlewares, and never closed.
    """

    @sealed
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
        rate = None if settings.rate == "auto" else settings.rate
        self.limiter = Limiter(rate, burst=settings.burst, clock=clock, bulk_share=settings.bulk_share)
        self._shared_limiter = limiter
        self._http = _http(base_url, credentials, settings, http, trace_configs, clock)
        self._slots = Slots(settings.connections, bulk_share=settings.bulk_share)
        self.governor: Governor | None = None
        """What finds the rate, where the settings leave it to the client."""
        if settings.rate == "auto":
            self.governor = Governor(self.limiter, self._slots, most=settings.connections, clock=clock)
        self._retries = Retries(limit=settings.retries)
        self._budget = RetryBudget()
        self._clock = clock
        self._uniform = uniform
        self._run = os.urandom(4).hex()
        self._numbers = itertools.count(1)

    def __repr__(self) -> str:
        return f"<Session {self._http.base_url}: {self.stats.in_flight} in flight, {self._slots}, {self.limiter}>"

    def __reduce__(self) -> str:
        """Refuse to be pickled: sockets cannot travel, and the API token must not."""
        msg = "a session cannot be pickled; pickle its Settings and make a new one"
        raise TypeError(msg)

    async def aclose(self) -> None:
        """Close the connections; a session that was passed in stays open. Closing twice is no error."""
        await self._http.aclose()

    async def send(self, request: Request[T], /) -> T:
        """Send *request*, again where that is safe, and return its result."""
        deadline = self.settings.deadline
        until = None if deadline is None else self._clock() + deadline
        call = _Call(self._new_id(), None, until, self.stats.times)
        while True:
            call.attempts += 1
            try:
                result = await self._attempt(request, call)
            except CdpError as error:
                wait = self._failed(request, call, bare(error))
                await asyncio.sleep(wait)
                call.times.backoff += wait
                self.stats.retries += 1
            else:
                self._budget.earn()
                if logger.isEnabledFor(logging.DEBUG):
                    _log(request, call, None)
                return result

    async def send_once(self, request: Request[T], bulk: BulkTransport) -> T:
        """Make one attempt to send *request* for the loader, and return its result.

        A `CancelledError` has the `Delivery` in its attribute *delivery* where the request did not leave.
        """
        call = _Call(self._new_id(), bulk, None, bulk.times, 1)
        try:
            result = await self._attempt(request, call)
        except CdpError as error:
            self._note(request, call, bare(error))
            error.attempts, error.request_id = 1, call.id
            raise
        except asyncio.CancelledError as error:
            if call.turn is None:
                vars(error)["delivery"] = Delivery.NOT_SENT
            raise
        if logger.isEnabledFor(logging.DEBUG):
            _log(request, call, None)
        return result

    def hold(self, error: CdpError, attempt: int, *, alone: bool = False) -> tuple[float, bool]:
        """Hold every call up where *error* asks for it, unless it is told to concern its own call *alone*.

        Returns the seconds to wait after the attempt number *attempt*, and whether everybody was held up.
        """
        answered = error.__cause__ if isinstance(error, OutcomeUnknown) else error
        asked = answered.retry_after if isinstance(answered, (RateLimited, ServerError)) else None
        wait = max(backoff(attempt, self._retries, self._uniform), min(asked or 0.0, LONGEST_PAUSE))
        # A governor lowers the rate by itself, and a pause would only lower it further.
        held = not alone and (asked is not None or (isinstance(error, RateLimited) and self.governor is None))
        if held:
            # One answer holds up everybody: each task waiting by itself would ask again and again.
            self.limiter.pause_until(self._clock() + wait)
        return wait, held

    def _new_id(self) -> str:
        return f"{self._run}-{next(self._numbers)}"

    async def _attempt(self, request: Request[T], call: _Call) -> T:
        clock, times, sender, stats = self._clock, call.times, call.bulk, self.stats
        bulk = sender is not None and sender.bulk
        call.turn = None
        if not self._http.ready():
            await self._http.open()
        asked = turn = clock()
        if not self._slots.take():
            await self._wait_for_slot(request.stage, call.until, bulk=bulk)
            turn = clock()
            times.connection += turn - asked
        try:
            if self._shared_limiter is not None or not self.limiter.take():
                await self._wait_for_turn(call.until, times, bulk=bulk)
                turn = clock()
            if sender is not None and request.creates and sender.halted():
                raise NotSent("it was given up before its turn came")
            call.turn = turn
            if self.governor is not None:
                self.governor.sent()
            # A call of the loader has no deadline before it is sent.
            left = self.settings.deadline if call.until is None else call.until - turn
            stats.requests += 1
            stats.in_flight += 1
            try:
                status, body, retry_after = await self._http.send_once(request, call.id, left, times)
            except BaseException as error:  # noqa: BLE001 it is raised again
                raise bare(error)  # noqa: B904 it is the same error
            finally:
                stats.in_flight -= 1
        finally:
            self._slots.release()
        came = clock()
        wait = None if retry_after is None else parse_retry_after(retry_after, datetime.now(UTC))
        try:
            result = answer(request, status, body, wait, self._http.secrets)
        finally:
            done = clock()
            times.decode += done - came
        if self.governor is not None:
            self._govern(None, done - turn)
        return result

    def _failed(self, request: Request[T], call: _Call, error: CdpError) -> float:
        """Return the seconds until *request* is sent again after *error*; raise it, for the whole call, where never."""
        self._note(request, call, error)
        failure = error if call.doubt is None else _doubtful(error, call.doubt)
        failure.attempts = call.attempts
        failure.request_id = call.id
        wait, _ = self.hold(error, call.attempts)
        may = may_resend(error, creates=request.creates) and call.attempts <= self._retries.limit
        may = may and not self._http.closed
        if not may or not (isinstance(error, RateLimited) or self._budget.spend()):
            raise failure from failure.__cause__
        if call.until is not None and self._clock() + wait >= call.until:
            raise late(failure.delivery, call.attempts, call.id) from failure
        if failure.delivery in MAYBE_DONE:
            call.doubt = failure.delivery
        return wait

    def _note(self, request: Request[T], call: _Call, error: CdpError) -> None:
        """Log a failed attempt, and tell the governor of it."""
        _log(request, call, error)
        if call.bulk is None or not call.bulk.alone:
            self._govern(error, None if call.turn is None else self._clock() - call.turn)

    def _govern(self, error: CdpError | None, seconds: float | None) -> None:
        """Tell the governor what came of an attempt that took *seconds*; None if it was not made."""
        if self.governor is None or seconds is None:
            return
        answered = error.__cause__ if isinstance(error, OutcomeUnknown) else error
        refused = isinstance(answered, RateLimited) or (
            isinstance(answered, ServerError) and answered.status == UNAVAILABLE
        )
        late = error is not None and seconds >= self.settings.timeout
        if refused or late:
            self.governor.refused(seconds)
        elif error is None or isinstance(answered, (Refused, Unreadable)):
            self.governor.answered(seconds)

    async def _wait_for_slot(self, stage: int, until: float | None, *, bulk: bool) -> None:
        left = None if until is None else until - self._clock()
        pool = self.settings.pool_timeout
        bounds = [bound for bound in (left, pool) if bound is not None]
        if not bounds:
            await self._slots.acquire(stage, bulk=bulk)
            return
        try:
            async with asyncio.timeout(min(bounds)):
                await self._slots.acquire(stage, bulk=bulk)
        except TimeoutError:
            if pool is not None and (left is None or pool < left):
                msg = f"no connection became free within {pool} s"
                raise PoolTimeout(msg) from None
            raise late(Delivery.NOT_SENT) from None

    async def _wait_for_turn(self, until: float | None, times: Times, *, bulk: bool) -> None:
        began = self._clock()
        delay = self.limiter.delay(bulk=bulk)
        lane = self.limiter.overtaking() if bulk else 0.0
        if until is not None and began + delay >= until:
            raise late(Delivery.NOT_SENT)
        try:
            async with asyncio.timeout(None if until is None else until - began):
                await self.limiter.acquire(bulk=bulk)
                if self._shared_limiter is not None:
                    await self._shared_limiter.acquire()
        except TimeoutError:
            raise late(Delivery.NOT_SENT) from None
        finally:
            waited = self._clock() - began
            times.lane += min(lane, waited)
            times.rate += max(0.0, waited - lane)


def _http(
    base_url: str,
    credentials: Credentials,
    settings: Settings,
    session: ClientSession | None,
    trace_configs: Sequence[TraceConfig],
    clock: Callable[[], float],
) -> Http:
    """Return what sends as *settings* ask for; raises `Invalid` where that cannot be."""
    if settings.http == "aiohttp":
        return OverAiohttp(base_url, credentials, settings, session, trace_configs, clock)
    if session is not None or trace_configs:
        raise Invalid((Violation("http", "must be aiohttp where an http_session or trace_configs are given"),))
    try:
        # An extra, and so loaded only where it is asked for.
        from cdp_orders_async.session.over_httptools import OverHttptools  # noqa: PLC0415
    except ImportError:
        rule = "needs an extra: pip install 'cdp-orders-async[httptools]'"
        raise Invalid((Violation("http", rule),)) from None
    return OverHttptools(base_url, credentials, settings, clock)


def _log(request: Request[T], call: _Call, error: CdpError | None) -> None:
    """Log one attempt, by allow-list: no body, no query, no header."""
    verdict = "done" if error is None else f"{type(error).__name__}, {error.delivery}"
    logger.debug(
        "%s %s, attempt %d: %s",
        request.method,
        request.path,
        call.attempts,
        verdict,
        extra={
            "cdp_operation": request.operation,
            "cdp_request_id": call.id,
            "cdp_attempt": call.attempts,
            "cdp_delivery": "done" if error is None else str(error.delivery),
        },
    )


def _doubtful(error: CdpError, doubt: Delivery) -> CdpError:
    """Judge a call by all its attempts: what an earlier one may have done, a later failure does not undo."""
    if isinstance(error, NotSent):
        cause, error = error, OutcomeUnknown(f"an earlier attempt may have been done; the last: {error}")
        error.__cause__ = cause
    if error.delivery not in MAYBE_DONE:
        error.delivery = doubt
    return error
