"""One call while it goes on, and what the observers are told of it. Where nobody listens, no report is made."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any, TypeVar

from msgspec import Struct
from msgspec.structs import replace
from yarl import URL

from cdp_orders_async.errors import CdpError, Delivery, JournalError, NotSent, OutcomeUnknown, Unreadable
from cdp_orders_async.routes import V2, V2_1
from cdp_orders_async.telemetry import AttemptEnded, Call, CallEnded, CallStarted, Event
from cdp_orders_async.timings import Timings
from cdp_orders_async.wire import Request

__all__ = ["MAYBE_DONE", "OpenCall", "Report", "as_one_call", "attempt_failed", "judged", "report_of"]

T = TypeVar("T")

MAYBE_DONE = frozenset((Delivery.UNKNOWN, Delivery.DONE_UNREADABLE))
ROUTES = {(table.prefix, route.operation): route.path for table in (V2, V2_1) for route in table.routes()}
"""The templates of paths, by version and operation."""


class OpenCall(Struct):
    """One call, with all its attempts; of a load, one attempt."""

    id: str
    until: float | None
    """When its deadline is; a call of the loader has none."""
    times: Timings
    alone: bool = False
    """Whether its failures concern nobody else."""
    attempts: int = 0
    turn: float | None = None
    """When the last attempt was sent; None if it was not."""
    status: int | None = None
    """What the last attempt was answered."""
    doubt: Delivery | None = None
    """What earlier attempts leave."""
    report: Report | None = None
    """What the observers are told of it."""


class Report:
    """Tells of one *call*: its start, each attempt, its end. *clock* gives the time in seconds."""

    def __init__(self, call: Call, tell: Callable[[Event], None], clock: Callable[[], float], *, is_held: bool) -> None:
        self.call = call
        self.is_held = is_held
        """Whether a loop of attempts ends it."""
        self._tell = tell
        self._clock = clock
        self._began = clock()
        self._last: AttemptEnded | None = None
        self._noted: tuple[str, int] | None = None  # of the last attempt, its request id and its number in its call
        self._told = 0  # attempts
        self._ended = False
        tell(CallStarted(call))

    def goes_on_with(self, request: Request[Any]) -> bool:
        """Tell whether *request* is another attempt of this call."""
        return not self._ended and (self.call.method, self.call.path) == (request.method, request.path)

    def attempt(self, call: OpenCall, error: BaseException | None = None) -> None:
        """Note that an attempt ended; it is told once it is known whether another one follows."""
        self._noted = call.id, call.attempts
        delivery = "done"
        if isinstance(error, CdpError):
            delivery = str(error.delivery)
        elif error is not None:
            delivery = str(Delivery.NOT_SENT if call.turn is None else Delivery.UNKNOWN)
        self._last = AttemptEnded(
            call=self.call,
            number=1 if self._last is None else self._last.number + 1,
            request_id=call.id,
            seconds=0.0 if call.turn is None else self._clock() - call.turn,
            status=error.status if isinstance(error, Unreadable) else call.status,
            error=None if error is None else type(error).__name__,
            delivery=delivery,
        )

    def decided(self, *, again: bool | None, wait: float | None = None) -> None:
        """Tell of the last attempt, now that it is known whether it is followed by another one in *wait* seconds."""
        last = self._last
        if last is not None and last.number > self._told:
            self._told = last.number
            self._tell(replace(last, again=again, wait=wait) if again is not False else last)

    def succeeded(self, call: OpenCall) -> None:
        """Tell that the attempt and the call succeeded."""
        self.attempt(call)
        self.end()

    def failed(self, call: OpenCall, error: BaseException) -> None:
        """Note that the attempt failed, and the call too, unless a loop of attempts says what comes next."""
        if self._noted != (call.id, call.attempts):
            self.attempt(call, error)
        if not self.is_held:
            self.end(error, call.doubt)

    def end(self, error: BaseException | None = None, doubt: Delivery | None = None) -> None:
        """Tell the end, for *error* or as the last attempt ended; *doubt* is what earlier attempts leave."""
        last = self._last
        if self._ended or last is None:
            return
        self._ended = True
        self.decided(again=False)
        delivery = str(error.delivery) if isinstance(error, CdpError) else last.delivery
        if doubt is not None and delivery not in {"done", *MAYBE_DONE}:
            delivery = str(doubt)
        self._tell(
            CallEnded(
                call=self.call,
                request_id=last.request_id,
                seconds=self._clock() - self._began,
                status=last.status,
                attempts=last.number,
                error=last.error if error is None else type(error).__name__,
                delivery=delivery,
            )
        )


class _Loop:
    """A loop of attempts, and the call that it makes."""

    __slots__ = ("report",)

    def __init__(self) -> None:
        self.report: Report | None = None


LOOP: ContextVar[_Loop | None] = ContextVar("cdp_orders_async.loop", default=None)
"""The loop of attempts around what is sent in this context."""


async def as_one_call(attempts: Awaitable[T]) -> T:
    """Await *attempts*, which send one request until it succeeds or is given up; the observers see one call."""
    loop, error = _Loop(), None
    token = LOOP.set(loop)
    try:
        return await attempts
    except (CdpError, asyncio.CancelledError) as raised:
        error = None if isinstance(raised, JournalError) else raised
        raise
    finally:
        LOOP.reset(token)
        if loop.report is not None:
            loop.report.end(error)


def attempt_failed(*, again: bool | None, wait: float | None) -> None:
    """Say, in a loop of attempts, whether the attempt that failed is followed by another one in *wait* seconds."""
    loop = LOOP.get()
    if loop is not None and loop.report is not None:
        loop.report.decided(again=again, wait=wait)


def report_of(
    request: Request[Any],
    call: OpenCall,
    base_url: URL,
    order: tuple[str | None, str | None, int | None],
    tell: Callable[[Event], None],
    clock: Callable[[], float],
) -> Report:
    """Return the report of *request*: a new one, or that of the call of which it is the next attempt.

    *order* are the key, the file and the line of the order that it is for.
    """
    loop = LOOP.get()
    if loop is not None and loop.report is not None:
        if loop.report.goes_on_with(request):
            return loop.report
        loop.report.end()
    key, file, line = order
    version = request.path[: request.path.find("/", 1)]
    begun = Call(
        id=call.id,
        operation=request.operation,
        method=request.method,
        path=request.path,
        route=ROUTES.get((version, request.operation), request.path),
        host=base_url.host or "",
        port=base_url.port,
        began=time.time(),
        order=key,
        file=file,
        line=line,
    )
    report = Report(begun, tell, clock, is_held=loop is not None)
    if loop is not None:
        loop.report = report
    return report


def judged(call: OpenCall, error: CdpError) -> CdpError:
    """Judge *call*, which ends with *error*, by all its attempts: what one may have done, a later one does not undo."""
    if call.doubt in MAYBE_DONE and isinstance(error, NotSent):
        cause, error = error, OutcomeUnknown(f"an earlier attempt may have been done; the last: {error}")
        error.__cause__ = cause
    if call.doubt is not None and error.delivery not in MAYBE_DONE:
        error.delivery = call.doubt
    error.attempts, error.request_id = call.attempts, call.id
    return error
