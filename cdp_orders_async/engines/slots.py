"""The time slots of one rate, granted by one object to all who ask."""

from __future__ import annotations

import time
from collections.abc import Callable

from cdp_orders_async.pacing.shared import Lease, check_rate

__all__ = ["Slots"]


class Slots:
    """Grant slots at *rate* requests a second, evenly spaced: the generic cell rate algorithm.

    *clock* gives the time in seconds. Slots that nobody asked for in time are gone. Raises `Invalid` for a rate that
    cannot be shared.
    """

    def __init__(self, rate: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        check_rate(rate)
        self.rate = float(rate)
        """Requests a second of all who ask."""
        self._clock = clock
        self._due = self._paused_until = clock()
        self._changes = 0

    def lease(self, count: int) -> Lease:
        """Return a lease of *count* slots that nobody else has; 0 only looks at the rate."""
        now = self._clock()
        start = max(now, self._due)
        if count:
            self._due = start + count / self.rate
        return Lease(start, now, self.rate, self._changes)

    def pause(self, seconds: float) -> None:
        """Let no slot begin in the next *seconds*."""
        self._changes += 1
        self._paused_until = max(self._paused_until, self._clock() + seconds)
        self._due = max(self._due, self._paused_until)

    def set_rate(self, rate: float) -> None:
        """Change the rate; the next slot is at most one of the new slots away, unless there is a pause."""
        check_rate(rate)
        if rate != self.rate:
            self._changes += 1
            self.rate = float(rate)
            self._due = max(self._paused_until, min(self._due, self._clock() + 1 / rate))
