"""What ends a load that goes wrong: too many errors, or too long a time without success."""

from __future__ import annotations

from types import NoneType

from cdp_orders_async.arguments import need
from cdp_orders_async.client import CdpOrders, CdpOrdersV2
from cdp_orders_async.errors import DeadlineExceeded, Invalid, Violation, counted
from cdp_orders_async.ingest import Outcome, Verdict
from cdp_orders_async.jobs.events import Message, OnEvent
from cdp_orders_async.jobs.loading import Loading

__all__ = ["ERRORS", "Limits", "check_limits"]

ERRORS = (Verdict.INVALID, Verdict.FAILED, Verdict.PARTIAL, Verdict.UNKNOWN, Verdict.CONFLICT)
"""The verdicts that *max_errors* counts."""


def check_limits(max_errors: int | None, give_up: float | None) -> None:
    """Raise `Invalid` for limits that cannot be, TypeError for what is no number."""
    need(max_errors, (int, NoneType), "max_errors")
    need(give_up, (float, NoneType), "give_up")
    found: list[Violation] = []
    if max_errors is not None and not max_errors > 0:
        found.append(Violation("max_errors", "must be above 0"))
    if give_up is not None and not give_up > 0:
        found.append(Violation("give_up", "must be above 0"))
    if found:
        raise Invalid(tuple(found))


class Limits:
    """Ends a load over *client* after *max_errors* errors, or after *give_up* seconds without success; None: never.

    Only time counts in which orders are under way, and the server refuses them, is not well, or does not process a
    batch. After errors, requests in flight have *drain* seconds to finish.
    """

    def __init__(
        self,
        client: CdpOrders | CdpOrdersV2,
        *,
        max_errors: int | None,
        give_up: float | None,
        drain: float,
        on_event: OnEvent,
    ) -> None:
        self.reason: str | None = None
        """The sentence that says why the load ended; None if errors did not end it."""
        self._client = client
        self._load: Loading | None = None
        self._max_errors = max_errors
        self._give_up = give_up
        self._drain = drain
        self._on_event = on_event
        self._errors = 0
        self._succeeded = -1
        self._refused = 0
        self._since: float | None = None  # when the trouble began that no success has ended

    def watch(self, load: Loading) -> None:
        """End this *load*."""
        self._load = load

    def hear(self, outcome: Outcome) -> None:
        """Count one *outcome*, and end the load if it is an error too many."""
        load = self._load
        if load is None or outcome.verdict not in ERRORS:
            return
        self._errors += 1
        if self._errors != self._max_errors or load.error is not None:
            return
        orders = counted(self._errors, "order that failed or is", "orders that failed or are")
        self.reason = f"the load ended after {orders} invalid (max_errors={self._max_errors})"
        load.stop(self._drain)
        self._on_event(Message(f"Stopping because of errors: what is in flight has {self._drain:g} s to finish."))

    def look(self) -> None:
        """End the load if nothing has succeeded for too long."""
        load, limiter, stats = self._load, self._client.session.limiter, self._client.session.stats
        if self._give_up is None or load is None:
            return
        if load.succeeded != self._succeeded or not load.under_way or load.held:
            self._succeeded, self._refused, self._since = load.succeeded, stats.refused, None
            return
        now = load.clock()
        waits = load.paused or load.trouble or limiter.paused_for > 0 or load.waits_for
        if self._since is None and (waits or stats.refused > self._refused):
            self._since = now
        if self._since is not None and now - self._since >= self._give_up and load.error is None:
            why = load.paused or load.waits_for or load.trouble or "it refuses each request, and asks to wait"
            text = (
                f"{self._client.base_url}: nothing has succeeded for {self._give_up:g} s, and the load gave up: {why}"
            )
            load.fail(DeadlineExceeded(text))
