"""The circuit breaker: while the server is down, a load waits instead of failing order after order."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from typing import Literal

__all__ = ["Breaker"]

EARLY = 0.02
"""Seconds before its time at which a probe may go: a timer fires up to one tick of the clock early, 16 ms on Windows.
To wait for the rest would end at once, again and again."""


class Breaker:
    """Stop all calls after many failures in a row, then try with one call at a time.

    It opens after *threshold* failures without a success between them. After *pause* seconds it lets one call
    through, the probe: a success closes it, a failure opens it for twice as long, up to *max_pause* seconds. If a probe
    reports neither (its call was cancelled), the next probe goes after the same time.

    If creates failed, a read that succeeds proves nothing: it does not close the breaker, the failures still count, and
    the next call is the probe.

    *clock* gives the time in seconds. A number that is not above 0 raises `ValueError`.
    """

    def __init__(
        self,
        threshold: int = 20,
        pause: float = 5.0,
        max_pause: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        for name, value in (("threshold", threshold), ("pause", pause), ("max_pause", max_pause)):
            if not value > 0:
                raise ValueError(f"{name}: {value} is not above 0")
        self.creates_fail = False
        """Whether a create is among the failures in a row."""
        self.until: float | None = None
        """The time when a call is tried again; None while calls pass."""
        self._threshold, self._pause, self._max_pause, self._clock = threshold, pause, max_pause, clock
        self._failures = 0  # in a row
        self._wait = 0.0  # seconds that it stays open this time
        self._probing = False
        self._waiters: dict[asyncio.Future[None], None] = {}

    @property
    def state(self) -> Literal["closed", "open", "half-open"]:
        """Whether calls pass ("closed"), wait ("open"), or are tried one at a time ("half-open")."""
        if self.until is None:
            return "closed"
        return "half-open" if self._probing or self._clock() >= self.until else "open"

    @property
    def open_for(self) -> float:
        """Seconds until a call is tried again; 0 unless it is open."""
        return 0.0 if self.until is None or self._probing else max(0.0, self.until - self._clock())

    def success(self, *, creates: bool = True) -> None:
        """Count a call that the server answered, a create or a read: all calls may go."""
        if not self._failures and self.until is None:
            return
        if self.creates_fail and not creates:
            if self._probing:
                self._probing = False
                self.until = self._clock()
                self._wake()
            return
        self._failures = 0
        self.creates_fail = False
        self.until = None
        self._probing = False
        self._wake()

    def retire(self) -> None:
        """Let all calls go from now on: no failure opens it again."""
        self._threshold = sys.maxsize
        self.success()

    def failure(self, *, creates: bool = True) -> None:
        """Count a call, a create or a read, that failed because the server is not well.

        While the breaker is open, only the failure of the probe counts, not those of calls that were sent before.
        """
        self._failures += 1
        self.creates_fail = self.creates_fail or creates
        if self.until is None and self._failures >= self._threshold:
            self._wait = min(self._pause, self._max_pause)
        elif self._probing:
            self._wait = min(2 * self._wait, self._max_pause)
        else:
            return
        self.until = self._clock() + self._wait
        self._probing = False

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self) -> None:
        """Return at once if it is closed; otherwise when it closes, or when this call is the probe."""
        while self.until is not None:
            now = self._clock()
            if now >= self.until - EARLY:
                self.until = now + self._wait
                self._probing = True
                return
            waiter = asyncio.get_running_loop().create_future()
            self._waiters[waiter] = None
            try:
                await asyncio.wait({waiter}, timeout=self.until - now)
            finally:
                del self._waiters[waiter]
