"""The limits that hold calls back before they are sent: a rate, and a number of slots.

Both have two lanes: interactive callers overtake bulk work, which keeps a share. Within a lane, the first caller is
served first. A caller that has to wait costs one future, any other caller no object, and a cancelled caller uses up
nothing. Neither limit needs an event loop before a caller waits.
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

__all__ = ["LONGEST_TIMER", "SHORTEST_TIMER", "ConnectionSlots", "Limiter", "Waiters"]

T = TypeVar("T")

SLACK = 0.05
"""Seconds of permits that are made up for when a timer fires late: a busy loop does not lower the rate."""
PROMPT = 0.01
"""If a timer is at most so many seconds late, all the permits that it missed are granted at once."""
SHORTEST_TIMER = 0.001
"""Seconds: the resolution of uvloop's clock. A shorter timer would fire again and again."""
LONGEST_TIMER = 3600.0
"""Seconds: a longer wait is slept in parts, since event loops refuse an endless timer."""
ROUNDING_ERROR = 1e-9
"""The sum of shares such as 0.1 may be so much below a whole permit."""


class Waiters(Generic[T]):
    """The callers that wait, in two lanes; within a lane, the first caller is next."""

    def __init__(self, bulk_share: float) -> None:
        if not 0 <= bulk_share <= 1:
            raise ValueError(f"bulk_share: {bulk_share} is not from 0 to 1")
        self.share = bulk_share  # of the permits, which the bulk lane keeps
        self._credit = 0.0  # permits that the bulk lane is owed
        self._lanes: tuple[deque[asyncio.Future[T]], ...] = (deque(), deque())  # interactive, bulk

    def __iter__(self) -> Iterator[asyncio.Future[T]]:
        return (waiter for lane in self._lanes for waiter in lane)

    def __len__(self) -> int:
        return sum(map(len, self._lanes))

    @property
    def interactive(self) -> int:
        """The number of callers in the interactive lane."""
        return len(self._lanes[False])

    def ahead(self, *, bulk: bool) -> float:
        """Estimate how many callers go before a caller that joins now."""
        waiting = len(self)
        if bulk or self.share == 1:
            return waiting
        return min(waiting, self.interactive / (1 - self.share))

    def join(self, *, bulk: bool) -> asyncio.Future[T]:
        """Add a caller to a lane, and return the future that tells it of its permit."""
        waiter: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._lanes[bulk].append(waiter)
        return waiter

    def leave(self, waiter: asyncio.Future[T], *, bulk: bool) -> None:
        """Remove a caller that gave up."""
        with suppress(ValueError):  # `pop` may have dropped it already
            self._lanes[bulk].remove(waiter)

    def pop(self) -> asyncio.Future[T] | None:
        """Take out the next caller that has not given up; None if no caller waits."""
        if not any(self._lanes):  # nearly always
            return None
        interactive, bulk = map(self._first, self._lanes)
        if interactive and bulk:
            self._credit += self.share
            if self._credit >= 1 - ROUNDING_ERROR:
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
        self._waiters = Waiters[float](bulk_share)  # the result is the cost of the permit, to give it back
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
        """The number of callers that wait for a permit."""
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
        """Estimate the seconds that a caller that comes now, in the *bulk* lane or the other, would wait."""
        return max(0.0, self._due - self._clock() + self._waiters.ahead(bulk=bulk) * self._interval)

    def overtaking(self) -> float:
        """Estimate the seconds that a bulk caller waits because of the interactive callers that wait now."""
        return self._waiters.interactive * self._interval

    def acquire_nowait(self) -> bool:
        """Use a permit if there is one right now and no caller waits; tell whether there was."""
        now = self._clock()
        due = self._due
        if due > now or self._timer is not None:  # there is a timer while a caller waits
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
        """Wait for a permit, in the *bulk* lane or the interactive one. A cancelled caller uses up no permit."""
        if self.acquire_nowait():
            return
        waiter = self._waiters.join(bulk=bulk)
        if self._timer is None:
            self._arm()
        try:
            await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled():  # granted meanwhile: the next caller may have the permit
                self._due = max(self._due - min(waiter.result(), self._interval), self._paused_until)
                self._granted -= 1
                self._arm()
            else:
                self._waiters.leave(waiter, bulk=bulk)
                if not self._waiters:  # otherwise the timer stays: many callers that give up would put it off
                    self._arm()
            raise

    def another(self, rate: float | None) -> Limiter:
        """Return a limiter with another *rate* that is otherwise equal, a pause included."""
        other = Limiter(rate, burst=self._burst, bulk_share=self._waiters.share, clock=self._clock)
        other.pause_until(self._paused_until)
        return other

    def set_rate(self, rate: float | None, burst: int | None = None) -> None:
        """Change the rate, and the burst if it is given, also for the callers that wait.

        *rate*: calls per second, None for no limit. Raises the errors of the constructor, and changes nothing then.
        """
        self._configure(rate, self._burst if burst is None else burst)
        self._due = min(self._due, max(self._clock(), self._paused_until) + self._interval)
        self._arm()

    def pause_until(self, when: float) -> None:
        """Grant nothing before *when*, a time of the limiter's clock; a pause never becomes shorter.

        After it, calls go on at the rate: the calls that it held back do not go all at once.
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
        """Set the timer for the next caller, or remove it if no caller waits."""
        now = self._clock()
        self._hold(now)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiter = next(iter(self._waiters), None)
        if waiter is not None:
            delay = min(max(self._due - now, SHORTEST_TIMER), LONGEST_TIMER)
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
        """Grant no more permits in the second after a late timer than in any other second."""
        while self._late and self._late[0][0] <= now - 1:
            self._late.popleft()
        for began, before in self._late:
            if self._granted - before < self._most:
                break
            self._due = max(self._due, began + 1)


class ConnectionSlots:
    """Hand out *size* slots; within a lane, the first caller is served first.

    While interactive and bulk callers wait, the share *bulk_share* of the slots, from 0 to 1, goes to bulk.
    Raises `ValueError` for a size below 1 or another share.
    """

    def __init__(self, size: int, *, bulk_share: float = 0.1) -> None:
        self._size = self._free = 0
        self._waiters = Waiters[None](bulk_share)
        self.resize(size)

    def __repr__(self) -> str:
        return f"ConnectionSlots({self._size}, free={self.free}, waiting={self.waiting})"

    @property
    def size(self) -> int:
        """The number of slots."""
        return self._size

    @property
    def free(self) -> int:
        """The number of free slots; 0 while a caller waits."""
        return max(0, self._free)

    @property
    def waiting(self) -> int:
        """The number of callers that wait for a slot."""
        return len(self._waiters)

    def acquire_nowait(self) -> bool:
        """Take a slot if one is free right now; tell whether there was. The caller must `release` it."""
        if self._free <= 0:
            return False
        self._free -= 1
        return True

    async def acquire(self, *, bulk: bool = False) -> None:
        """Wait for a slot, in the *bulk* lane or the interactive one. The caller must `release` it.

        A caller that is cancelled holds no slot.
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
        """Give a slot back, directly to the next caller; raises `RuntimeError` if no slot is held."""
        if self._free == self._size:
            raise RuntimeError("release() without acquire()")
        self._add(1)

    def resize(self, size: int) -> None:
        """Change the number of slots: new ones are handed out at once, surplus ones are dropped when they come back.

        Raises `ValueError` for a size below 1.
        """
        if size < 1:
            raise ValueError(f"size: {size} is below 1")
        added = size - self._size
        self._size = size
        self._add(added)

    def _add(self, slots: int) -> None:
        self._free += slots  # below 0 while callers hold surplus slots
        while self._free > 0 and (waiter := self._waiters.pop()):
            self._free -= 1
            waiter.set_result(None)
