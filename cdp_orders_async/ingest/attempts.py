"""Count the attempts of one request, and decide whether it is sent again."""

from __future__ import annotations

from msgspec.structs import replace

from cdp_orders_async.errors import (
    MAYBE_DONE,
    CdpError,
    DeadlineExceeded,
    NotSent,
    PoolTimeout,
    Refused,
    ServerError,
    Unreadable,
)
from cdp_orders_async.ingest.context import LoadContext
from cdp_orders_async.pacing.health import Sign
from cdp_orders_async.pacing.retry import may_resend
from cdp_orders_async.session import BulkTransport, Timings, attempt_failed
from cdp_orders_async.wire import Transport

__all__ = ["Attempts", "not_there"]

ROUNDS = 8
"""The most attempts of a request that fails for a reason of its own, while other requests succeed."""
ALONE = 2
"""After so many refusals for the load while other requests succeed, a refusal concerns this request alone. Each refusal
before that can make all calls wait. A third pause of one length would look like a limit that begins anew each time."""
QUICK = 2.0
"""The longest wait in seconds before the next attempt of a load that is not patient."""


class Attempts:
    """The failed attempts of one request of an *operation* over *transport*."""

    def __init__(self, context: LoadContext, transport: Transport, operation: str, times: Timings) -> None:
        self.transport = transport
        """The transport of the next attempt."""
        self._context = context
        self._operation = operation
        self._creates = operation.endswith(".create")
        self._times = times
        self._count = 0
        self._rounds = 0
        self._refused = 0
        self._wait = 0.0
        self._is_held = False  # whether the limiter makes it wait, instead of `wait`
        self._through = self._others()
        self._read = context.health.read

    def failed(self, error: CdpError) -> bool:
        """Count an attempt that failed with *error*; tell the caller and the observers whether another may follow."""
        again = self._may_follow(error)
        if not again:
            attempt_failed(again=False, wait=None)
        elif self._creates and error.delivery in MAYBE_DONE:  # a look-up decides
            attempt_failed(again=None, wait=None)
        else:
            attempt_failed(again=True, wait=self._wait)
        return again

    def resent(self) -> None:
        """Count a further attempt, which is sent now."""
        if isinstance(self.transport, BulkTransport):
            self.transport.session.stats.retries += 1

    def _may_follow(self, error: CdpError) -> bool:
        """Tell whether another attempt may follow the one that failed with *error*.

        If the server is not well, every request fails, and if it is busy, some do: then the request only waits. If no
        order is left that could show whether the server does creates, the request has to end some time: a next run
        tries it again.
        """
        context = self._context
        self._count += 1
        error.attempts = self._count
        through, self._through = self._through, self._others()
        others = self._through > through
        read, self._read = self._read, context.health.read
        sign = context.record_result(error, self._operation)
        self._refused += others and sign in {Sign.BUSY, Sign.UNWELL}
        if sign is Sign.BUSY:
            self._rounds += not others and (self._is_alone or not context.patient)
        elif sign is Sign.UNWELL:
            alone = context.is_at_end and self._read > read  # the API answers the look-ups
            # Then what refuses the create, and is not the API, probably does so for its content.
            is_barred = alone and isinstance(error, (Refused, Unreadable)) and not isinstance(error, ServerError)
            self._rounds += others or not context.patient or is_barred
            if alone and context.health.is_stuck:
                self._rounds = self._count
        elif (
            isinstance(error, DeadlineExceeded)
            or (self._creates and isinstance(error, Unreadable))
            or (isinstance(error, Refused) and may_resend(error, creates=self._creates))  # it came too late
        ):
            self._rounds += 1
        elif not isinstance(error, PoolTimeout):
            return False
        if self._rounds >= ROUNDS or context.halted:
            return False
        if isinstance(self.transport, BulkTransport):
            transport = self.transport = self._alone(self.transport)
            wait, held = transport.session.hold(error, self._count, alone=transport.alone)
            if not held and not context.patient:
                wait = min(wait, QUICK)
            self._wait, self._is_held = wait, held
        return True

    def _alone(self, transport: BulkTransport) -> BulkTransport:
        """Return the *transport* of the next attempt, which holds up no other call once this request is alone."""
        if transport.alone or not self._is_alone:
            return transport
        if (autorate := transport.session.autorate) is not None:
            autorate.acquit()
        return replace(transport, alone=True)

    @property
    def _is_alone(self) -> bool:
        """Whether this request was refused repeatedly while others succeeded."""
        return self._refused >= ALONE

    async def wait(self) -> None:
        """Wait until the next attempt may be made."""
        if self._wait and not self._is_held:
            with self._context.waiting(self._times, "backoff"):
                await self._context.pause(self._wait)

    def _others(self) -> int:
        health = self._context.health
        return health.created if self._creates else health.answered


def not_there(error: CdpError) -> NotSent:
    """Return the failure of a part whose answer was lost with *error*, and that is certainly not on the server."""
    absent = NotSent(f"it is not on the server: its answer was lost, and a look-up found nothing ({error})")
    absent.attempts, absent.request_id = error.attempts, error.request_id
    return absent
