"""What holds calls back before they are sent: a rate, and a number of slots.

Both are first in, first out, make no object per grant beyond one future for whoever has to wait, and lose
nothing when a waiter is cancelled. Neither touches an event loop before somebody waits.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable

__all__ = ["Limiter", "Slots"]

SLACK = 0.05
"""Seconds of grants that a timer which fires late makes up for: a busy loop does not lower the rate."""
PROMPT = 0.01
"""Seconds that a timer may be late without a limit on what it makes up for: a hundredth of a second's grants."""
SHORTEST = 0.001
"""Seconds; uvloop's clock has this grain, and a shorter timer would spin."""
LONGEST = 3600.0
"""Seconds; a longer wait is slept in parts, since event loops refuse an endless timer."""


class Limiter:
    """Grant *rate* calls a second (None: no limit), evenly spaced, in the order in which they were asked for.

    After a time of rest, *burst* calls may go at once. *clock* gives the time in seconds; it is not the loop's
    own, since uvloop's is coarse. A rate that is not above 0 or a burst below 1 raises `ValueError`.

    The algorithm is GCRA: one number, the time from which the next call is due, and one timer for all who wait.
    No span of one second gets more than 1.01 * *rate* + *burst* + 1 grants, however late timers fire.
    """

    __slots__ = (
        "_burst",
        "_clock",
        "_due",
        "_granted",
        "_interval",
        "_late",
        "_most",
        "_paused_until",
        "_rate",
        "_timer",
        "_tolerance",
        "_waiters",
    )

    def __init__(self, rate: float | None, *, burst: int = 1, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._due = self._paused_until = -math.inf
        self._granted = 0
        self._late: deque[tuple[float, int]] = deque()  # of the last second: when a timer was late, grants before it
        self._timer: asyncio.TimerHandle | None = None
        self._waiters: deque[asyncio.Future[float]] = deque()  # a grant is what it cost, to give it back
        self._configure(rate, burst)

    def __repr__(self) -> str:
        return (
            f"Limiter(rate={self._rate}, burst={self._burst}, waiting={self.waiting}, "
            f"delay={self.delay():.3f}, paused_for={self.paused_for:.3f})"
        )

    @property
    def rate(self) -> float | None:
        """Calls per second; None is no limit."""
        return self._rate

    @property
    def burst(self) -> int:
        """How many calls may go at once after a time of rest."""
        return self._burst

    @property
    def waiting(self) -> int:
        """How many callers wait for their grant."""
        return len(self._waiters)

    @property
    def paused_for(self) -> float:
        """Seconds until the pause ends; 0 when there is none."""
        return max(0.0, self._paused_until - self._clock())

    def delay(self) -> float:
        """Estimate how many seconds a caller that came now would wait behind those who already do."""
        return max(0.0, self._due - self._clock() + len(self._waiters) * self._interval)

    async def acquire(self) -> None:
        """Wait for this caller's turn. A caller that is cancelled uses up no grant."""
        now = self._clock()
        due = self._due
        if due <= now and not self._waiters:
            rested = now - self._tolerance
            self._due = (due if due > rested else rested) + self._interval  # noqa: FURB136 - max() costs 0.1 us
            self._granted += 1
            if self._late:
                self._hold(now)
            return
        waiter: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        if self._timer is None:
            self._arm()
        try:
            await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled():  # granted meanwhile: the next one may have it
                self._due = max(self._due - min(waiter.result(), self._interval), self._paused_until)
                self._granted -= 1
                self._arm()
            elif waiter in self._waiters:  # and not dropped by the timer yet
                self._waiters.remove(waiter)
                if not self._waiters:  # else the timer stays, or many who give up would put it off
                    self._arm()
            raise

    def set_rate(self, rate: float | None, burst: int | None = None) -> None:
        """Change the rate, and the burst if it is given, for everybody, those who wait included.

        Calls per second, None for no limit. A value that the constructor would refuse changes nothing.
        """
        self._configure(rate, self._burst if burst is None else burst)
        self._due = min(self._due, max(self._clock(), self._paused_until) + self._interval)
        self._arm()

    def pause_until(self, when: float) -> None:
        """Grant nothing before *when*, a time of the limiter's clock; a pause is never made shorter.

        Afterwards calls go on at the rate: what the pause held back does not go at once.
        """
        if when > self._paused_until:
            self._paused_until = when
            self._due = max(self._due, when)

    def _configure(self, rate: float | None, burst: int) -> None:
        if rate is not None and not rate > 0:
            raise ValueError(f"rate: {rate} is not above 0")
        if burst < 1:
            raise ValueError(f"burst: {burst} is below 1")
        self._rate = rate
        self._burst = burst
        self._interval = 0.0 if rate is None else 1 / rate
        self._tolerance = (burst - 1) * self._interval
        self._most = math.inf if rate is None else 1.01 * rate + burst

    def _arm(self) -> None:
        """Set the one timer for whoever is first, or take it away when nobody waits."""
        now = self._clock()
        self._hold(now)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._waiters:
            delay = min(max(self._due - now, SHORTEST), LONGEST)
            self._timer = self._waiters[0].get_loop().call_later(delay, self._wake)

    def _wake(self) -> None:
        now = self._clock()
        self._due = max(self._due, now - SLACK)
        if self._due < now - PROMPT:
            self._late.append((now, self._granted))
        while self._waiters and self._due <= now:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(self._interval)
                self._due += self._interval
                self._granted += 1
                self._hold(now)
        self._arm()

    def _hold(self, now: float) -> None:
        """Let the second that a late timer began get no more grants than any other."""
        while self._late and self._late[0][0] <= now - 1:
            self._late.popleft()
        for began, before in self._late:
            if self._granted - before < self._most:
                break
            self._due = max(self._due, began + 1)


class Slots:
    """Hand out *size* slots, the deepest stage first, so that work that was begun is finished first.

    A size below 1 raises `ValueError`.
    """

    __slots__ = ("_free", "_size", "_waiters")

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError(f"size: {size} is below 1")
        self._size = self._free = size
        self._waiters: dict[int, deque[asyncio.Future[None]]] = {}

    def __repr__(self) -> str:
        return f"Slots({self._size}, free={self._free}, waiting={self.waiting})"

    @property
    def free(self) -> int:
        """How many slots nobody holds; never above 0 while somebody waits."""
        return self._free

    @property
    def waiting(self) -> int:
        """How many callers wait for a slot."""
        return sum(map(len, self._waiters.values()))

    async def acquire(self, stage: int = 0) -> None:
        """Wait for a slot, which the caller must `release`; one that is cancelled holds none.

        *stage* tells how deep in its work the caller is, from 0: deeper ones go first, equal ones in the order
        of asking. A negative one raises `ValueError`.
        """
        if stage < 0:
            raise ValueError(f"stage: {stage} is negative")
        if self._free:
            self._free -= 1
            return
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(stage, deque()).append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled():
                self.release()
            elif waiter in self._waiters.get(stage, ()):  # unless `release` has dropped it first
                self._waiters[stage].remove(waiter)
                self._drop_if_empty(stage)
            raise

    def release(self) -> None:
        """Give a slot back, straight to whoever is next; `RuntimeError` if none is held."""
        if self._free == self._size:
            raise RuntimeError("release() without acquire()")
        while self._waiters:
            stage = max(self._waiters)
            waiter = self._waiters[stage].popleft()
            self._drop_if_empty(stage)
            if not waiter.done():
                waiter.set_result(None)
                return
        self._free += 1

    def _drop_if_empty(self, stage: int) -> None:
        if not self._waiters[stage]:
            del self._waiters[stage]
