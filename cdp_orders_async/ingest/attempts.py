"""How often one request was sent, and whether it is sent again: the loader's one loop of attempts asks this."""

from __future__ import annotations

from cdp_orders_async.errors import MAYBE_DONE, CdpError, DeadlineExceeded, PoolTimeout, Unreadable
from cdp_orders_async.ingest.context import LoadContext
from cdp_orders_async.pacing.health import Sign
from cdp_orders_async.session import BulkTransport, Timings, attempt_failed
from cdp_orders_async.wire import Transport

__all__ = ["Attempts"]

ROUNDS = 8
"""Attempts that a request gets while nothing but the request itself seems to be the reason that it fails."""
ALONE = 3
"""Answers 429, while other requests get through, after which one concerns this request alone."""
QUICK = 2.0
"""Seconds that a load which is not patient waits at most before the next attempt."""


class Attempts:
    """The failed attempts of one request of an *operation*, which leaves over *transport*."""

    def __init__(self, context: LoadContext, transport: Transport, operation: str, times: Timings) -> None:
        self.transport = transport
        """What the next attempt leaves over."""
        self._context = context
        self._operation = operation
        self._creates = operation.endswith(".create")
        self._times = times
        self._count = 0
        self._rounds = 0
        self._refused = 0
        self._wait = 0.0
        self._is_held = False  # the limiter holds it for that time, and that is waiting for its turn
        self._through = self._others()

    def failed(self, error: CdpError) -> bool:
        """Count an attempt that failed with *error*; tell whether another one may follow, the observers too."""
        again = self._may_follow(error)
        if not again:
            attempt_failed(again=False, wait=None)
        elif self._creates and error.delivery in MAYBE_DONE:  # a look-up decides
            attempt_failed(again=None, wait=None)
        else:
            attempt_failed(again=True, wait=self._wait)
        return again

    def resent(self) -> None:
        """Count an attempt that leaves now, after one that failed."""
        if isinstance(self.transport, BulkTransport):
            self.transport.session.stats.retries += 1

    def _may_follow(self, error: CdpError) -> bool:
        """Tell whether another attempt may follow the one that failed with *error*.

        A server that is not well fails every request, and one that is busy some: then the request waits for its turn.
        """
        context = self._context
        self._count += 1
        error.attempts = self._count
        through, self._through = self._through, self._others()
        others = self._through > through
        sign = context.record_result(error, self._operation)
        if sign is Sign.BUSY:
            self._refused += others
            self._rounds += not others and (self._is_alone or not context.patient)
        elif sign is Sign.UNWELL:
            self._rounds += others or not context.patient
        elif (sign is Sign.REQUEST and self._creates and isinstance(error, Unreadable)) or isinstance(
            error, DeadlineExceeded
        ):
            self._rounds += 1
        elif not isinstance(error, PoolTimeout):
            return False
        if self._rounds >= ROUNDS or context.halted:
            return False
        if isinstance(self.transport, BulkTransport):
            if self._is_alone and not self.transport.alone:
                self.transport = self.transport.on_its_own()
            wait, held = self.transport.hold(error, self._count)
            if not held and not context.patient:
                wait = min(wait, QUICK)
            self._wait, self._is_held = wait, held
        return True

    @property
    def _is_alone(self) -> bool:
        """Whether this request was refused again and again while others got through."""
        return self._refused >= ALONE

    async def wait(self) -> None:
        """Wait until the next attempt may be made."""
        if self._wait and not self._is_held:
            with self._context.waiting(self._times, "backoff"):
                await self._context.pause(self._wait)

    def _others(self) -> int:
        health = self._context.health
        return health.created if self._creates else health.answered
