"""The session: it decides when a call may be sent, and retries it. One attempt is one send."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import time
from collections.abc import Awaitable, Callable, Generator, Iterable, Sequence
from datetime import UTC, datetime
from types import NoneType
from typing import Literal, TypeVar
from uuid import UUID

import attrs
from aiohttp import ClientSession, TraceConfig
from msgspec import Struct

from cdp_orders_async.arguments import need, need_method
from cdp_orders_async.errors import (
    CdpError,
    Delivery,
    Invalid,
    NotSent,
    OutcomeUnknown,
    PoolTimeout,
    RateLimited,
    ServerError,
    Violation,
)
from cdp_orders_async.pacing.health import overload
from cdp_orders_async.pacing.limiter import ConnectionSlots, Limiter
from cdp_orders_async.pacing.retry import Retries, RetryBudget, backoff, may_resend, parse_retry_after
from cdp_orders_async.redact import Secrets, sealed, strip_frames
from cdp_orders_async.session.attempt import (
    NO_HEADERS,
    Answer,
    GivenUp,
    connection_error,
    deadline_error,
)
from cdp_orders_async.session.autorate import Autorate
from cdp_orders_async.session.backends import backend
from cdp_orders_async.session.calls import OpenCall, Report, judged, report_of
from cdp_orders_async.session.sharing import RateLimiter, SecondLimiter
from cdp_orders_async.session.stats import Stats
from cdp_orders_async.session.timeouts import CLOSED, Broken, Timeout, TimeoutPool
from cdp_orders_async.settings import Credentials, Settings
from cdp_orders_async.telemetry import REFUSED_FOR_LOAD, Event, Observer, PartAdopted, checked, switch, tell
from cdp_orders_async.timings import Timings
from cdp_orders_async.wire import Request, parse_response

__all__ = ["BulkTransport", "GivenUp", "RateLimiter", "Session"]

T = TypeVar("T")

LONGEST_PAUSE = 300.0  # seconds that a Retry-After can hold up every call, even if it asks for more
READS = "GET"
DECIDED = frozenset(range(400, 500)) - REFUSED_FOR_LOAD
"""The statuses of errors that answer the request: it would get them again."""


class BulkTransport(Struct, frozen=True):
    """A transport for the loader: each `send` is one attempt, in the bulk lane or the interactive lane.

    A call waits for its permit without a limit in time. The caller decides whether it is sent again.
    """

    session: Session
    times: Timings
    """Counts the time of its calls."""
    halted: Callable[[], bool] = lambda: False
    """Tells, when a request that writes has its permit, whether nothing may be written now."""
    bulk: bool = True
    """Whether interactive calls go first."""
    alone: bool = False
    """Whether a 429 concerns only its own call: then no other call is held up, and the rate does not change."""
    order: str | None = None
    """The key of its order, for the observers; *file* and *line* are the place of the order in the input."""
    file: str | None = None
    line: int | None = None
    load: str | None = None
    """The id of the load."""
    waits: TimeoutPool | None = None
    """The waits of the load before its calls are sent: once it is closed, a call that has to wait is given up."""
    on_failure: Callable[[CdpError, str], object] | None = None
    """Gets the error and the operation of each attempt that failed, of a call that the session may send again."""

    async def send(self, request: Request[T], /) -> T:
        """Send *request* once."""
        return await self.session.send_once(request, self)

    def adopted(self, part: str, kind: str, ref: UUID | None) -> None:
        """Count a *part* of the order that a look-up found on the server as *ref*."""
        session = self.session
        session.stats.adopted += 1
        if self.order is not None and self.line is not None and session.is_watched:
            session.tell(PartAdopted(part=part, kind=kind, ref=ref, order=self.order, file=self.file, line=self.line))


class Session:
    """Sends requests: pool, authentication, TLS, times, rate limit and retries.

    It opens at the first call and then belongs to that event loop. Parameters: *http*, your own aiohttp session: its
    client middlewares are not used, and it is never closed; *limiter*, a second limiter beside its own;
    *trace_configs*, for the aiohttp session that it makes; *observers*, functions that get each event; *clock*, which
    gives the time in seconds; *uniform*, which gives a random number between two. Raises TypeError for an argument of
    another type.
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
        observers: Iterable[Observer] = (),
        clock: Callable[[], float] = time.monotonic,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        need(base_url, str, "base_url")
        need(credentials, Credentials, "credentials")
        need(settings, Settings, "settings")
        need(http, (ClientSession, NoneType), "http")
        if limiter is not None:
            need_method(limiter, "acquire", "limiter", "a RateLimiter, which has a method acquire")
        need(trace_configs, Sequence, "trace_configs")
        for number, config in enumerate(trace_configs):
            need(config, TraceConfig, f"trace_configs[{number}]")
        self.settings = settings
        self.stats = Stats()
        need(observers, Iterable, "observers", "a list of functions that take an event")
        self._observers = checked(observers)
        self._is_watched = switch(self._observers)
        rate = None if settings.rate == "auto" else settings.rate
        self.limiter = Limiter(rate, burst=settings.burst, clock=clock, bulk_share=settings.bulk_share)
        self._second: SecondLimiter | None = None
        if limiter is not None:
            self._use(limiter)
        self._http = backend(base_url, credentials, settings, http, trace_configs, clock)
        self._slots = ConnectionSlots(settings.connections, bulk_share=settings.bulk_share)
        self.autorate: Autorate | None = None
        """Finds the rate that the server accepts, up to the rate of the settings; None without a rate."""
        if settings.rate is not None:
            self.autorate = Autorate(self.limiter, self._slots, rate, clock)
            self.autorate.on_change = self.tell
        self.on_close: dict[Callable[[CdpError], None], None] = {}
        """Functions that are called when the session is closed, before its connections end."""
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
        raise TypeError("a session cannot be pickled; pickle its Settings and make a new one")

    def set_rate(self, rate: float | Literal["auto"] | None) -> None:
        """Change the setting *rate* from now on, for the calls that wait too.

        Requests per second, ``auto`` or None, as in `Settings`; raises `Invalid` for another value. With a
        `PostgresLimiter` it is the rate of all processes, which is neither ``auto`` nor None.
        """
        changed = attrs.evolve(self.settings, rate=rate)
        is_shared = self._second is not None and self._second.set_rate(rate)
        self.settings = changed
        most = None if rate == "auto" else rate
        if rate is None and self.autorate is not None:
            self.autorate.retire()
            self.autorate = None
            self._slots.resize(self.settings.connections)
        elif self.autorate is not None:
            self.autorate.set_most(most)
        elif rate is not None and not is_shared:
            self.autorate = Autorate(self.limiter, self._slots, most, self._clock)
            self.autorate.on_change = self.tell

    @contextlib.contextmanager
    def sharing(self, limiter: RateLimiter) -> Generator[None, None, None]:
        """Use a second *limiter* while the block lasts; raises `Invalid` if there is one, or the rate is ``auto``."""
        if self._second is not None:
            raise Invalid((Violation("shared_rate", "cannot be given: the client has a shared_limiter"),))
        rate = self.settings.rate
        self._use(limiter)
        try:
            yield
        finally:
            self._second = None
            if rate is None:
                self.set_rate(None)

    def _use(self, limiter: RateLimiter) -> None:
        second = SecondLimiter(limiter)
        self.settings = second.check(self.settings)
        second.on_rate(self._follow)
        self._second = second

    def _follow(self, old: float, new: float) -> None:
        """Go on at the *new* rate of all processes, unless this one was given a rate of its own."""
        if self.settings.rate == old:
            self.settings = attrs.evolve(self.settings, rate=new)
            if self.autorate is not None:
                self.autorate.set_most(new)

    async def aclose(self) -> None:
        """Close the connections; a session that was passed in stays open. Closing twice is not an error.

        Calls that wait or connect end with `NotSent`. No task, timer or socket is left afterwards.
        """
        for closed in list(self.on_close):
            closed(NotSent(CLOSED))
        await self._http.aclose()

    @property
    def secrets(self) -> Secrets:
        """The texts that nobody may see, which are masked in what a server says."""
        return self._http.secrets

    @property
    def paused_for(self) -> float:
        """Seconds for which an answer holds up all calls, or all reads or all writes; 0 when none does."""
        autorate = self.autorate
        if autorate is None:
            return self.limiter.paused_for
        return max(autorate.limiter(reads=reads).paused_for for reads in (False, True))

    @property
    def clock_skew(self) -> float:
        """Seconds by which the clock of the server is ahead of the one of this machine; 0 if it is not known."""
        return self._http.clock_skew

    @property
    def is_watched(self) -> bool:
        """Whether an observer or the log gets the events."""
        return self._is_watched()

    def tell(self, event: Event) -> None:
        """Pass *event* to the log and the observers."""
        tell(self._observers, event)

    async def send(self, request: Request[T], /, sender: BulkTransport | None = None) -> T:
        """Send *request*, again where that is safe, and return its result; raises a `CdpError`, as `Resources` says.

        A *sender* can be halted, and hears of each attempt that failed.
        """
        deadline = self.settings.deadline
        until = None if deadline is None else self._clock() + deadline
        call = OpenCall(self._new_id(), until, self.stats.times)
        if self._is_watched():
            call.report = self._report(request, call, sender)
        try:
            while True:
                call.attempts += 1
                try:
                    result = await self._attempt(request, call, sender)
                except CdpError as error:
                    if sender is not None and sender.on_failure is not None:
                        sender.on_failure(error, request.operation)
                    wait = self._failed(request, call, strip_frames(error))
                    try:
                        await self._wait(request, lambda: asyncio.sleep(wait), sender)  # noqa: B023 it is awaited here
                    except NotSent as closed:
                        failure = judged(call, strip_frames(closed))
                        raise failure from failure.__cause__
                    call.times.backoff += wait
                    self.stats.retries += 1
                else:
                    self._budget.earn()
                    if call.report is not None:
                        call.report.succeeded(call)
                    return result
        except BaseException as error:
            if call.report is not None:
                call.report.failed(call, error)
            raise

    async def send_once(self, request: Request[T], bulk: BulkTransport) -> T:
        """Make one attempt to send *request* for the loader, and return its result; raises a `CdpError`.

        A `CancelledError` has the attribute *delivery*, a `Delivery`, if the request was not sent.
        """
        call = OpenCall(self._new_id(), None, bulk.times, alone=bulk.alone, attempts=1)
        if self._is_watched():
            call.report = self._report(request, call, bulk)
        try:
            result = await self._attempt(request, call, bulk)
        except BaseException as error:
            if isinstance(error, CdpError):
                self._note(request, call, strip_frames(error))
                error.attempts, error.request_id = 1, call.id
            elif isinstance(error, asyncio.CancelledError) and call.sent_at is None:
                vars(error)["delivery"] = Delivery.NOT_SENT
            if call.report is not None:
                call.report.failed(call, error)
            raise
        if call.report is not None:
            call.report.succeeded(call)
        return result

    def hold(self, error: CdpError, attempt: int, *, alone: bool = False) -> tuple[float, bool]:
        """Hold up all calls if *error* asks for it, unless it concerns its own call *alone*.

        Returns the seconds to wait after the attempt number *attempt*, from 1, and whether all calls were held up.
        """
        answered = error.__cause__ if isinstance(error, OutcomeUnknown) else error
        wait = backoff(attempt, self._retries, self._uniform)
        if not isinstance(answered, (RateLimited, ServerError)) or answered.retry_after is None:
            return wait, False
        wait = max(wait, min(answered.retry_after, LONGEST_PAUSE))
        if not alone:
            # One answer holds up all calls: if each task waited alone, the server would be asked again and again.
            reads, autorate = answered.method == READS, self.autorate
            limiter = self.limiter if autorate is None else autorate.limiter(reads=reads)
            limiter.pause_until(self._clock() + wait)
            if self._second is not None:
                self._second.pause(wait)
        return wait, not alone

    def _new_id(self) -> str:
        return f"{self._run}-{next(self._numbers)}"

    def _report(self, request: Request[T], call: OpenCall, bulk: BulkTransport | None = None) -> Report:
        order = (None, None, None, None) if bulk is None else (bulk.order, bulk.file, bulk.line, bulk.load)
        return report_of(request, call, self._http.base_url, order, self.tell, self._clock)

    async def _attempt(self, request: Request[T], call: OpenCall, sender: BulkTransport | None = None) -> T:
        clock, times, stats = self._clock, call.times, self.stats
        autorate, reads, limiter = self.autorate, request.method == READS, self.limiter
        if autorate is not None:
            limiter = autorate.limiter(reads=reads)
        call.sent_at = call.status = None
        if not self._http.ready():
            await self._open(request)
        asked = sent_at = clock()
        if not self._slots.acquire_nowait():
            await self._wait_for_slot(request, call.until, sender)
            sent_at = clock()
            times.connection += sent_at - asked
        waited = 0.0
        try:
            if self._second is not None or not limiter.acquire_nowait():
                asked = sent_at
                await self._wait_for_permit(limiter, request, call.until, times, sender)
                sent_at = clock()
                waited = sent_at - asked
            given_up = sender.halted if sender is not None and not reads else None
            if given_up is not None and given_up():
                raise GivenUp("it was given up before it got its permit")
            call.sent_at = sent_at
            if autorate is not None:
                autorate.sent(reads=reads)
            # A call of the loader has no deadline before it is sent.
            left = self.settings.deadline if call.until is None else call.until - sent_at
            headers = NO_HEADERS if call.report is None else call.report.started(call, waited)
            stats.requests += 1
            stats.in_flight += 1
            try:
                answer = await self._http.send_once(request, call.id, left, times, headers, given_up)
            except BaseException as error:  # noqa: BLE001 it is raised again
                raise strip_frames(error)  # noqa: B904 it is the same error
            finally:
                stats.in_flight -= 1
        finally:
            self._slots.release()
        return self._read(request, call, sent_at, answer, autorate)

    def _read(
        self, request: Request[T], call: OpenCall, sent_at: float, answer: Answer, autorate: Autorate | None
    ) -> T:
        """Return the result of the *answer* to *request*, or raise its error."""
        call.status, body, retry_after = answer
        came = self._clock()
        self.stats.answers.add(came - sent_at)
        wait = None if retry_after is None else parse_retry_after(retry_after, datetime.now(UTC))
        try:
            result = parse_response(request, call.status, body, wait, self._http.secrets)
        finally:
            done = self._clock()
            call.times.decode += done - came
        if autorate is not None:
            autorate.answered(done - sent_at, reads=request.method == READS)
        self.stats.answered += 1
        return result

    def _failed(self, request: Request[T], call: OpenCall, error: CdpError) -> float:
        """Return the seconds until *request* is sent again after *error*; otherwise raise the error of the call."""
        self._note(request, call, error)
        if call.report is not None:
            call.report.attempt(call, error)
        failure = judged(call, error)
        wait, _ = self.hold(error, call.attempts)
        may = may_resend(error, creates=request.creates) and call.attempts <= self._retries.limit
        if not may or self._http.closed or not (isinstance(error, RateLimited) or self._budget.spend()):
            raise failure from failure.__cause__
        if call.until is not None and self._clock() + wait >= call.until:
            raise deadline_error(failure.delivery, call.attempts, call.id) from failure
        if failure.delivery is not Delivery.NOT_SENT:
            call.doubt = failure.delivery
        if call.report is not None:
            call.report.decided(again=True, wait=wait)
        return wait

    def _note(self, request: Request[T], call: OpenCall, error: CdpError) -> None:
        """Count a failed attempt, also in the automatic rate."""
        self.stats.refused += call.status in REFUSED_FOR_LOAD
        self.stats.answered += call.status in DECIDED
        if self.autorate is None or call.sent_at is None or call.alone:
            return
        seconds = self._clock() - call.sent_at
        sign = overload(error, late=seconds >= self.settings.timeout)
        if sign is None:
            self.autorate.answered(seconds, reads=request.method == READS)
        elif sign.why:
            self.autorate.refused(seconds, sign.why, sign.asked, reads=request.method == READS)

    async def _open(self, request: Request[T]) -> None:
        try:
            await self._http.open()
        except Broken as error:
            raise connection_error(request, str(error), began=False) from None

    async def _wait(
        self,
        request: Request[T],
        waited_for: Callable[[], Awaitable[object]],
        sender: BulkTransport | None,
        seconds: float | None = None,
    ) -> None:
        """Wait before *request* of a *sender* is sent, for at most *seconds*.

        Raises `TimeoutError` after that, `NotSent` if the session is closed meanwhile, `GivenUp` if *sender* is halted.
        """
        of_load = None if sender is None else sender.waits
        try:
            with Timeout(self._http.waits, seconds):
                if of_load is None:
                    await waited_for()
                else:
                    with Timeout(of_load):
                        await waited_for()
        except Broken as error:
            if self._http.closed:
                raise connection_error(request, CLOSED, began=False) from None
            if of_load is not None and of_load.closed:
                raise GivenUp("it was given up before its turn") from None
            raise error.__cause__ or error from None  # the user's own limiter was cancelled, not its caller

    async def _wait_for_slot(self, request: Request[T], until: float | None, sender: BulkTransport | None) -> None:
        bulk = sender is not None and sender.bulk
        left = None if until is None else until - self._clock()
        pool = self.settings.pool_timeout
        bounds = [bound for bound in (left, pool) if bound is not None]
        try:
            await self._wait(request, lambda: self._slots.acquire(bulk=bulk), sender, min(bounds, default=None))
        except TimeoutError:
            if pool is not None and (left is None or pool < left):
                raise PoolTimeout(f"no connection became free within {pool} s") from None
            raise deadline_error(Delivery.NOT_SENT) from None

    async def _wait_for_permit(
        self,
        limiter: Limiter,
        request: Request[T],
        until: float | None,
        times: Timings,
        sender: BulkTransport | None,
    ) -> None:
        bulk = sender is not None and sender.bulk
        began = self._clock()
        delay = limiter.delay(bulk=bulk)
        lane = limiter.overtaking() if bulk else 0.0
        if until is not None and began + delay >= until:
            raise deadline_error(Delivery.NOT_SENT)
        try:
            left = None if until is None else until - began
            await self._wait(request, lambda: self._acquire_permit(limiter, request, bulk=bulk), sender, left)
        except TimeoutError:
            raise deadline_error(Delivery.NOT_SENT) from None
        finally:
            waited = self._clock() - began
            times.lane += min(lane, waited)
            times.rate += max(0.0, waited - lane)

    async def _acquire_permit(self, limiter: Limiter, request: Request[T], *, bulk: bool) -> None:
        await limiter.acquire(bulk=bulk)
        if self._second is not None:
            await self._second.acquire(request, bulk=bulk)
