"""What holds calls back before they are sent: a rate, and a number of slots.

Both have two lanes: interactive callers overtake bulk work, which keeps a share. In a lane it is first in, first out.
Both make no object per grant beyond one future for whoever has to wait, and lose nothing when a waiter is cancelled.
Neither touches an event loop before somebody waits.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import NoneType
from typing import Generic, TypeVar
from warnings import warn

from cdp_orders_async.arguments import need

__all__ = ["ConnectionSlots", "Limiter"]

T = TypeVar("T")

SLACK = 0.05
"""Seconds of grants that a timer which fires late makes up for: a busy loop does not lower the rate."""
PROMPT = 0.01
"""Seconds that a timer may be late without a limit on what it makes up for: a hundredth of a second's grants."""
SHORTEST = 0.001
"""Seconds; uvloop's clock has this grain, and a shorter timer would spin."""
LONGEST = 3600.0
"""Seconds; a longer wait is slept in parts, since event loops refuse an endless timer."""
ROUNDING = 1e-9
"""What adding up a share such as 0.1 may lack of a whole grant."""


class _Waiters(Generic[T]):
    """Who waits: two lanes, in each whoever came first is next."""

    def __init__(self, bulk_share: float) -> None:
        if not 0 <= bulk_share <= 1:
            raise ValueError(f"bulk_share: {bulk_share} is not from 0 to 1")
        self.share = bulk_share  # of the grants, which the bulk lane keeps
        self._credit = 0.0  # grants that the bulk lane is owed
        self._lanes: tuple[deque[asyncio.Future[T]], ...] = (deque(), deque())  # interactive, bulk

    def __iter__(self) -> Iterator[asyncio.Future[T]]:
        return (waiter for lane in self._lanes for waiter in lane)

    def __len__(self) -> int:
        return sum(map(len, self._lanes))

    @property
    def interactive(self) -> int:
        """How many wait in the interactive lane."""
        return len(self._lanes[False])

    def ahead(self, *, bulk: bool) -> float:
        """Estimate how many go before one who joins now."""
        everybody = len(self)
        if bulk or self.share == 1:
            return everybody
        return min(everybody, self.interactive / (1 - self.share))

    def join(self, *, bulk: bool) -> asyncio.Future[T]:
        waiter: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._lanes[bulk].append(waiter)
        return waiter

    def leave(self, waiter: asyncio.Future[T], *, bulk: bool) -> None:
        with suppress(ValueError):  # `pop` may have dropped it already
            self._lanes[bulk].remove(waiter)

    def pop(self) -> asyncio.Future[T] | None:
        """Take out whoever is next and has not given up; None if nobody waits."""
        if not any(self._lanes):  # as after most calls
            return None
        interactive, bulk = map(self._first, self._lanes)
        if interactive and bulk:
            self._credit += self.share
            if self._credit >= 1 - ROUNDING:
                self._credit -= 1
                return bulk.popleft()
        lane = interactive or bulk
        return lane.popleft() if lane else None

    @staticmethod
    def _first(lane: deque[asyncio.Future[T]]) -> deque[asyncio.Future[T]]:
        """Return *lane* without those at its front who gave up."""
        while lane and lane[0].done():
            lane.popleft()
        return lane


class Limiter:
    """Grant *rate* calls a second (None: no limit), evenly spaced, in each lane in the order of asking.

    After a time of rest, *burst* calls may go at once. While interactive and bulk callers wait, *bulk_share* of the
    grants, from 0 to 1, go to bulk. *clock* gives the time in seconds; it is not the loop's own, since uvloop's is
    coarse. A rate that is not above 0, a burst below 1 or such a share raises `ValueError`, another type
    TypeError.

    The algorithm is GCRA: one number, the time from which the next call is due, and one timer for all who wait.
    No span of one second gets more than 1.01 * *rate* + *burst* + 1 grants, however late timers fire.
    """

    def __init__(
        self,
        rate: float | None,
        *,
        burst: int = 1,
        bulk_share: float = 0.1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        need(bulk_share, float, "bulk_share")
        self._clock = clock
        self._due = self._paused_until = -math.inf
        self._granted = 0
        self._late: deque[tuple[float, int]] = deque()  # of the last second: when a timer was late, grants before it
        self._timer: asyncio.TimerHandle | None = None
        self._waiters = _Waiters[float](bulk_share)  # a grant is what it cost, to give it back
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
    def interactive(self) -> int:
        """How many of them are interactive, and so go first."""
        return self._waiters.interactive

    @property
    def paused_for(self) -> float:
        """Seconds until the pause ends; 0 when there is none."""
        return max(0.0, self._paused_until - self._clock())

    def delay(self, *, bulk: bool = False) -> float:
        """Estimate how many seconds a caller that came now, in the lane for *bulk* or the other, would wait."""
        return max(0.0, self._due - self._clock() + self._waiters.ahead(bulk=bulk) * self._interval)

    def overtaking(self) -> float:
        """Estimate how many seconds the interactive callers who wait now keep a bulk caller waiting."""
        return self._waiters.interactive * self._interval

    def acquire_nowait(self) -> bool:
        """Use a grant if there is one right now and nobody waits; tell whether there was."""
        now = self._clock()
        due = self._due
        if due > now or self._timer is not None:  # there is a timer while somebody waits
            return False
        rested = now - self._tolerance
        self._due = (due if due > rested else rested) + self._interval  # noqa: FURB136 - max() costs 0.1 us
        self._granted += 1
        if self._late:
            self._hold(now)
        return True

    def take(self) -> bool:
        """Do the same as `acquire_nowait`, under its old name."""
        warn(
            "Limiter.take is now acquire_nowait; the old name goes in the next release",
            DeprecationWarning,
            stacklevel=2,
        )
        return self.acquire_nowait()

    async def acquire(self, *, bulk: bool = False) -> None:
        """Wait for this caller's turn, in the lane for *bulk* or before it. One that is cancelled uses up no grant."""
        if self.acquire_nowait():
            return
        waiter = self._waiters.join(bulk=bulk)
        if self._timer is None:
            self._arm()
        try:
            await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled():  # granted meanwhile: the next one may have it
                self._due = max(self._due - min(waiter.result(), self._interval), self._paused_until)
                self._granted -= 1
                self._arm()
            else:
                self._waiters.leave(waiter, bulk=bulk)
                if not self._waiters:  # else the timer stays, or many who give up would put it off
                    self._arm()
            raise

    def another(self, rate: float | None) -> Limiter:
        """Return a limiter of its own *rate* that is else like this one, a pause included."""
        other = Limiter(rate, burst=self._burst, bulk_share=self._waiters.share, clock=self._clock)
        other.pause_until(self._paused_until)
        return other

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
        need(when, float, "when", "seconds, a number")
        if when > self._paused_until:
            self._paused_until = when
            self._due = max(self._due, when)

    def _configure(self, rate: float | None, burst: int) -> None:
        need(rate, (float, NoneType), "rate")
        need(burst, int, "burst")
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
        waiter = next(iter(self._waiters), None)
        if waiter is not None:
            delay = min(max(self._due - now, SHORTEST), LONGEST)
            self._timer = waiter.get_loop().call_later(delay, self._wake)

    def _wake(self) -> None:
        now = self._clock()
        self._due = max(self._due, now - SLACK)
        if self._due < now - PROMPT:
            self._late.append((now, self._granted))
        while self._due <= now and (waiter := self._waiters.pop()):
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


class ConnectionSlots:
    """Hand out *size* slots, in each lane in the order of asking.

    While interactive and bulk callers wait, *bulk_share* of the slots that come free, from 0 to 1, go to bulk.
    A size below 1 or such a share raises `ValueError`.
    """

    def __init__(self, size: int, *, bulk_share: float = 0.1) -> None:
        self._size = self._free = 0
        self._waiters = _Waiters[None](bulk_share)
        self.resize(size)

    def __repr__(self) -> str:
        return f"ConnectionSlots({self._size}, free={self.free}, waiting={self.waiting})"

    @property
    def size(self) -> int:
        """How many slots there are."""
        return self._size

    @property
    def free(self) -> int:
        """How many slots nobody holds; never above 0 while somebody waits."""
        return max(0, self._free)

    @property
    def waiting(self) -> int:
        """How many callers wait for a slot."""
        return len(self._waiters)

    def acquire_nowait(self) -> bool:
        """Take a slot, which the caller must `release`, if one is free right now; tell whether there was."""
        if self._free <= 0:
            return False
        self._free -= 1
        return True

    async def acquire(self, *, bulk: bool = False) -> None:
        """Wait for a slot, which the caller must `release`, in the lane for *bulk* or the one before it.

        One that is cancelled holds none.
        """
        if self.acquire_nowait():
            return
        waiter = self._waiters.join(bulk=bulk)
        try:
            await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled():
                self.release()
            else:
                self._waiters.leave(waiter, bulk=bulk)
            raise

    def release(self) -> None:
        """Give a slot back, straight to whoever is next; `RuntimeError` if none is held."""
        if self._free == self._size:
            raise RuntimeError("release() without acquire()")
        self._add(1)

    def resize(self, size: int) -> None:
        """Change how many slots there are: new ones are handed out at once, others are dropped as they come back.

        A size below 1 raises `ValueError`.
        """
        if size < 1:
            raise ValueError(f"size: {size} is below 1")
        added = size - self._size
        self._size = size
        self._add(added)

    def _add(self, slots: int) -> None:
        self._free += slots  # below 0 as long as more are held than there are
        while self._free > 0 and (waiter := self._waiters.pop()):
            self._free -= 1
            waiter.set_result(None)
