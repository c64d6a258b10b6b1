"""The calls of an undo: what waits before it is sent can be given up, and it is known how long nothing succeeds."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Callable
from typing import TypeVar

from cdp_orders_async.errors import MAYBE_DONE, CdpError, NotSent, OutcomeUnknown, RateLimited
from cdp_orders_async.pacing.health import Sign, sign_of
from cdp_orders_async.pacing.retry import RetryBudget, may_resend
from cdp_orders_async.session import (
    BulkTransport,
    GivenUp,
    Session,
    TimeoutPool,
    Timings,
    as_one_call,
    attempt_failed,
)
from cdp_orders_async.wire import Request

__all__ = ["UndoCalls"]

T = TypeVar("T")

STOPPED = "it was given up before it was sent"


class UndoCalls:
    """A transport over *session* that sends again as the session does, until it is halted; *clock*, in seconds."""

    def __init__(self, session: Session, clock: Callable[[], float] = time.monotonic) -> None:
        self.trouble: CdpError | None = None
        """The last failure because the server is not well or busy; None if it did anything since."""
        self._session = session
        self._clock = clock
        self._since = 0.0  # the time of the first such failure
        self._budget = RetryBudget()
        self._halted = asyncio.Event()
        self._waits = TimeoutPool(math.inf, asyncio.get_running_loop())
        self._once = BulkTransport(session, Timings(), self._halted.is_set, bulk=False, waits=self._waits)

    @property
    def troubled_for(self) -> float:
        """Seconds in which nothing has succeeded because the server is not well or busy."""
        return 0.0 if self.trouble is None else self._clock() - self._since

    def halt(self) -> None:
        """Give up what waits before it is sent, and send nothing more; what is in flight may finish."""
        self._halted.set()
        self._waits.close()

    async def send(self, request: Request[T], /) -> T:
        """Send *request*, again where that is safe.

        Raises a `CdpError`; it is `GivenUp` only if the request was halted and the server has not done it.
        """
        return await as_one_call(self._send(request))

    async def _send(self, request: Request[T]) -> T:
        began, deadline = self._clock(), self._session.settings.deadline
        attempts, doubt = 0, None
        while True:
            attempts += 1
            try:
                if self._halted.is_set():
                    raise GivenUp(STOPPED)
                result = await self._once.send(request)
            except CdpError as error:
                failure = error if doubt is None else _judged(error, doubt)
                failure.attempts = attempts
                wait = self._wait_after(request, error, attempts)
                ends = wait is None or (deadline is not None and self._clock() + wait >= began + deadline)
                attempt_failed(again=not ends, wait=None if ends else wait)
                if wait is None or ends:
                    if self._halted.is_set() and isinstance(failure, NotSent):
                        raise GivenUp(STOPPED) from failure
                    raise failure from failure.__cause__
                if failure.delivery in MAYBE_DONE and request.method != "GET":
                    doubt = failure
                await self._pause(wait)
                self._session.stats.retries += 1
            else:
                self.trouble = None
                self._budget.earn()
                return result

    def _wait_after(self, request: Request[T], error: CdpError, attempts: int) -> float | None:
        """Return the seconds until *request*, which failed with *error*, is sent again; None: it is not."""
        if isinstance(error, GivenUp):
            return None
        sign = sign_of(error, request.operation)
        if sign in {Sign.UNWELL, Sign.BUSY}:
            self._since = self._clock() if self.trouble is None else self._since
            self.trouble = error
        elif sign is not Sign.LOCAL:
            self.trouble = None
        wait, _ = self._session.hold(error, attempts)
        may = may_resend(error, creates=request.creates) and attempts <= self._session.settings.retries
        return wait if may and (isinstance(error, RateLimited) or self._budget.spend()) else None

    async def _pause(self, seconds: float) -> None:
        """Sleep, but wake up when the calls are halted."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._halted.wait()


def _judged(error: CdpError, doubt: CdpError) -> CdpError:
    """Return the error of a call that failed with *error*, after an attempt whose *doubt* says it may be done."""
    if not isinstance(error, NotSent):
        error.delivery = error.delivery if error.delivery in MAYBE_DONE else doubt.delivery
        return error
    why = doubt if isinstance(error, GivenUp) else error
    judged = OutcomeUnknown(f"an earlier attempt may have been done; the last: {why}")
    judged.delivery, judged.request_id, judged.__cause__ = doubt.delivery, doubt.request_id, error
    return judged
