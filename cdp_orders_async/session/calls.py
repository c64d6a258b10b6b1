"""A call in progress, and its report to the observers. Without an observer or a log there is no report."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from typing import Any, TypeVar

from msgspec import Struct
from msgspec.structs import replace
from yarl import URL

from cdp_orders_async.errors import MAYBE_DONE, CdpError, Delivery, JournalError, NotSent, OutcomeUnknown, Unreadable
from cdp_orders_async.routes import V2, V2_1
from cdp_orders_async.session.attempt import HEADERS, NO_HEADERS
from cdp_orders_async.telemetry import AttemptEnded, AttemptStarted, Call, CallEnded, CallStarted, Event
from cdp_orders_async.timings import Timings
from cdp_orders_async.wire import Request

__all__ = ["OpenCall", "Report", "as_one_call", "attempt_failed", "judged", "report_of"]

T = TypeVar("T")

ROUTES = {(table.prefix, route.operation): route.path for table in (V2, V2_1) for route in table.routes()}
"""The templates of paths, by version and operation."""


HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~\w-]+", re.ASCII)
OWN_HEADERS = frozenset(map(str.lower, HEADERS)) | {
    "accept-encoding",
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "host",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-request-id",
}
"""The headers that no observer may send, in small letters: the client's own, and those of the connection."""


class OpenCall(Struct):
    """One call with all its attempts; the loader makes one for each attempt."""

    id: str
    until: float | None
    """The time of its deadline; a call of the loader has none."""
    times: Timings
    alone: bool = False
    """Whether its failures concern no other call."""
    attempts: int = 0
    sent_at: float | None = None
    """The time when the last attempt was sent; None if it was not sent."""
    status: int | None = None
    """The status of the answer to the last attempt."""
    doubt: Delivery | None = None
    """How far an earlier attempt got that may have had an effect."""
    report: Report | None = None
    """Its report to the observers."""


class Report:
    """Tells the observers the start, each attempt and the end of one *call*. *clock* gives the time in seconds."""

    def __init__(self, call: Call, tell: Callable[[Event], None], clock: Callable[[], float], *, is_held: bool) -> None:
        self.call = call
        self.is_held = is_held
        """Whether a loop of attempts decides when the call ends."""
        self._tell = tell
        self._clock = clock
        self._began = clock()
        self._last: AttemptEnded | None = None
        self._noted: tuple[str, int] | None = None  # the request id and the number of the last attempt
        self._told = 0  # the number of attempts that the observers know
        self._ended = False
        tell(CallStarted(call))

    def goes_on_with(self, request: Request[Any]) -> bool:
        """Tell whether *request* is another attempt of this call."""
        return not self._ended and (self.call.method, self.call.path) == (request.method, request.path)

    def started(self, call: OpenCall, waited: float) -> Mapping[str, str]:
        """Tell that the next attempt is sent now, after *waited* seconds for the rate; return the headers to add."""
        number = 1 if self._last is None else self._last.number + 1
        headers: dict[str, str] = {}
        self._tell(AttemptStarted(call=self.call, number=number, request_id=call.id, waited=waited, headers=headers))
        return {name: value for name, value in headers.items() if _is_header(name, value)} if headers else NO_HEADERS

    def attempt(self, call: OpenCall, error: BaseException | None = None) -> None:
        """Note that an attempt ended; the observers get it when it is known whether another one follows."""
        self._noted = call.id, call.attempts
        delivery = "done"
        if isinstance(error, CdpError):
            delivery = str(error.delivery)
        elif error is not None:
            delivery = str(Delivery.NOT_SENT if call.sent_at is None else Delivery.UNKNOWN)
        self._last = AttemptEnded(
            call=self.call,
            number=1 if self._last is None else self._last.number + 1,
            request_id=call.id,
            seconds=0.0 if call.sent_at is None else self._clock() - call.sent_at,
            status=error.status if isinstance(error, Unreadable) else call.status,
            error=None if error is None else type(error).__name__,
            delivery=delivery,
        )

    def decided(self, *, again: bool | None, wait: float | None = None) -> None:
        """Tell the last attempt, and whether another one follows in *wait* seconds."""
        last = self._last
        if last is not None and last.number > self._told:
            self._told = last.number
            self._tell(replace(last, again=again, wait=wait) if again is not False else last)

    def succeeded(self, call: OpenCall) -> None:
        """Tell that the attempt and the call succeeded."""
        self.attempt(call)
        self.end()

    def failed(self, call: OpenCall, error: BaseException) -> None:
        """Note that the attempt failed, and the call too, unless a loop of attempts decides that."""
        if self._noted != (call.id, call.attempts):
            self.attempt(call, error)
        if not self.is_held:
            self.end(error, call.doubt)

    def end(self, error: BaseException | None = None, doubt: Delivery | None = None) -> None:
        """Tell the end of the call: *error*, or else the end of the last attempt; *doubt* is from earlier attempts."""
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
    """A loop of attempts, and the report of its call."""

    __slots__ = ("report",)

    def __init__(self) -> None:
        self.report: Report | None = None


LOOP: ContextVar[_Loop | None] = ContextVar("cdp_orders_async.loop", default=None)
"""The loop that the requests of this context belong to."""


async def as_one_call(attempts: Awaitable[T]) -> T:
    """Await *attempts*, a loop that sends one request until it succeeds or is given up; observers see one call."""
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
    """Tell the observers, in a loop of attempts, whether another attempt follows the failed one in *wait* seconds."""
    loop = LOOP.get()
    if loop is not None and loop.report is not None:
        loop.report.decided(again=again, wait=wait)


def report_of(
    request: Request[Any],
    call: OpenCall,
    base_url: URL,
    order: tuple[str | None, str | None, int | None, str | None],
    tell: Callable[[Event], None],
    clock: Callable[[], float],
) -> Report:
    """Return the report of *request*: a new one, or the report of its call if it is a further attempt.

    *order* holds the key, the file and the line of its order, and the id of its load.
    """
    loop = LOOP.get()
    if loop is not None and loop.report is not None:
        if loop.report.goes_on_with(request):
            return loop.report
        loop.report.end()
    key, file, line, load = order
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
        load=load,
    )
    report = Report(begun, tell, clock, is_held=loop is not None)
    if loop is not None:
        loop.report = report
    return report


def _is_header(name: object, value: object) -> bool:
    """Tell whether an observer may send a header; a line break would begin another one."""
    if not (isinstance(name, str) and isinstance(value, str)):
        return False
    is_own = name.lower() in OWN_HEADERS
    return not is_own and HEADER_NAME.fullmatch(name) is not None and value.isascii() and value.isprintable()


def judged(call: OpenCall, error: CdpError) -> CdpError:
    """Return the error of the whole *call*; *error* is the last attempt's, and an earlier one may have been done."""
    if call.doubt in MAYBE_DONE and isinstance(error, NotSent):
        cause, error = error, OutcomeUnknown(f"an earlier attempt may have been done; the last: {error}")
        error.__cause__ = cause
    if call.doubt is not None and error.delivery not in MAYBE_DONE:
        error.delivery = call.doubt
    error.attempts, error.request_id = call.attempts, call.id
    return error
