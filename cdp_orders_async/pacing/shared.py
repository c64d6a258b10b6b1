"""A rate that several processes share: each takes leases of time slots from a common store, and grants its slots."""

from __future__ import annotations

import asyncio
import math
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from contextvars import Context

from msgspec import Struct

from cdp_orders_async.arguments import need
from cdp_orders_async.errors import Invalid, NotSent, Violation
from cdp_orders_async.pacing.limiter import LONGEST_TIMER, SHORTEST_TIMER, Waiters

__all__ = ["Lease", "SharedLimiter", "SlotStore", "check_rate"]

LEASE_SECONDS = 0.025
"""Seconds of the rate that a process has leased at most, unless the trip to the store takes long."""
LOWEST_RATE, HIGHEST_RATE = 0.001, 1_000_000
"""Requests a second that can be shared: a slot has its time to a microsecond."""
TRIPS = 3
"""The leased slots last at least so many trips to the store, so that the next ones come before they are used up."""
SLACK = 0.02
"""Seconds for which a slot can still be used: a timer may fire late. Then it passes unused."""
LOOK_SECONDS = 1.0
"""Seconds between two looks at the store while the next slot is far away: the rate may have changed."""
LONGEST_SECONDS = 1e9
"""The longest pause, some thirty years: a store may have no later time."""
CLOSED = "the shared limiter is closed"


class Lease(Struct, frozen=True):
    """Time slots for requests: at *start*, and then one every 1 / *rate* seconds."""

    start: float
    """The time of the first slot, in seconds of the clock of the store."""
    now: float
    """The time of the answer by the same clock."""
    rate: float
    """Requests a second of all processes."""
    changes: int
    """How often the rate was changed or paused so far: after a change, the slots of an earlier lease are void."""


class SlotStore(ABC):
    """The common store. Each method raises `NotSent` if the store cannot be reached for some seconds."""

    name: str
    """The name of the rate in the store."""

    @abstractmethod
    async def lease(self, count: int) -> Lease:
        """Return a lease of *count* slots that no other process has; 0 only looks at the rate."""

    @abstractmethod
    async def pause(self, seconds: float) -> None:
        """Let no slot begin in the next *seconds*."""

    @abstractmethod
    async def set_rate(self, rate: float) -> None:
        """Change the rate."""

    @abstractmethod
    async def aclose(self) -> None:
        """Close the connection to the store."""


class SharedLimiter:
    """Grant calls at the *rate* that all processes with the same *store* share, evenly spaced.

    A lease has slots for callers that wait, and for no others, so that a process that rests takes nothing from the
    rest. While interactive and bulk callers of this process wait, *bulk_share* of the grants go to bulk. *clock* gives
    the time in seconds. Use it in one event loop.
    """

    def __init__(
        self,
        store: SlotStore,
        rate: float,
        *,
        bulk_share: float = 0.1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        need(bulk_share, float, "bulk_share")
        self._store = store
        self._rate = rate
        self._clock = clock
        self.on_rate: Callable[[float, float], None] = lambda _old, _new: None
        """Gets the old and the new rate when another process has changed it."""
        self._waiters = Waiters[float](bulk_share)  # the result is the time of the slot, to give it back
        self._slots: deque[float] = deque()
        self._offset = -math.inf  # the clock of the store minus ours, as far as it is certain
        self._trip = 0.0  # seconds that a lease takes to come
        self._changes: int | None = None
        self._paused_until = -math.inf
        self._wished_pause = False
        self._wished_rate: float | None = None
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def rate(self) -> float:
        """Requests a second of all processes, as far as this one knows."""
        return self._rate

    @property
    def waiting(self) -> int:
        """The number of callers of this process that wait for a slot."""
        return len(self._waiters)

    async def acquire(self, *, bulk: bool = False) -> None:
        """Wait for a slot, in the *bulk* lane or the interactive one. A cancelled caller uses up no slot.

        Raises `NotSent` if the store cannot be reached, or the limiter is closed.
        """
        if self._closed:
            raise NotSent(CLOSED)
        waiter = self._waiters.join(bulk=bulk)
        self._wake()
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.cancelled():
                self._waiters.leave(waiter, bulk=bulk)
            elif waiter.exception() is None:  # granted meanwhile: the next caller may have the slot
                self._slots.appendleft(waiter.result())
                self._wake()
            raise

    def pause(self, seconds: float) -> None:
        """Let no call of any process go for *seconds* from now; a pause never becomes shorter.

        This process stops at once, the others after the leases that they have. While the store is away no call goes,
        and when it is back it is told first.
        """
        need(seconds, float, "seconds", "seconds, a number")
        until = self._clock() + min(seconds, LONGEST_SECONDS)
        if until > self._paused_until and not self._closed:
            self._paused_until = until
            self._wished_pause = True
            self._slots.clear()
            self._work()

    def set_rate(self, rate: float) -> None:
        """Change the rate of all processes, in requests a second; raises `Invalid` for another rate."""
        check_rate(rate)
        if not self._closed:
            self._rate = self._wished_rate = rate
            self._work()

    async def aclose(self) -> None:
        """Close the connection to the store; the callers that wait get `NotSent`. Closing twice is not an error."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        if self._timer is not None:
            self._timer.cancel()
        self._fail(CLOSED)
        await self._store.aclose()

    def _wake(self) -> None:
        """Grant the slots whose time has come, set the timer for the next one, and ask for more if they are too few."""
        now, slots = self._clock(), self._slots
        while slots and slots[0] < now - SLACK:
            slots.popleft()
        while slots and slots[0] <= now and (waiter := self._waiters.pop()):
            waiter.set_result(slots.popleft())
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if slots and len(self._waiters):
            delay = min(max(slots[0] - now, SHORTEST_TIMER), LONGEST_TIMER)
            self._timer = asyncio.get_running_loop().call_later(delay, self._wake)
        if self._missing() or (self._is_far() and self._task is None):
            self._work()

    def _missing(self) -> int:
        """Return the number of slots to ask for now: none until half of the most is used, and then the other half.

        The slots of this process are those for which an interactive call of another process waits.
        """
        most = max(1, round(self._rate * max(LEASE_SECONDS, TRIPS * self._trip)))
        if len(self._slots) > most // 2:
            return 0
        return max(0, min(most, len(self._waiters)) - len(self._slots))

    def _is_far(self) -> bool:
        """Tell whether a caller waits for a slot that is so far away that the rate may change before it."""
        return bool(self._slots and len(self._waiters)) and self._slots[0] > self._clock() + LOOK_SECONDS

    def _work(self) -> None:
        """Let the task begin that talks to the store, or let it know the news."""
        self._news.set()
        if self._task is None and not self._closed:
            # In a context of its own: it outlives the call, and must not keep what belongs to that.
            self._task = asyncio.get_running_loop().create_task(self._talk(), context=Context())

    async def _talk(self) -> None:
        try:
            while True:
                self._news.clear()
                if (rate := self._wished_rate) is not None:
                    await self._store.set_rate(rate)
                    if self._wished_rate == rate:
                        self._wished_rate = None
                elif self._wished_pause:
                    until = self._paused_until
                    await self._store.pause(max(0.0, until - self._clock()))
                    self._wished_pause = self._paused_until > until
                elif count := self._missing():
                    await self._take(count)
                elif self._is_far():
                    await self._look()
                else:
                    return
        except NotSent as error:
            self._wished_rate = None
            self._fail(str(error), lasting=error.lasting)
        finally:
            self._task = None

    async def _take(self, count: int) -> None:
        asked = self._clock()
        lease = await self._store.lease(count)
        came = self._clock()
        self._trip += (came - asked - self._trip) / 8
        # The answer was made between `asked` and `came`. The clocks hardly drift, so the quickest answer tells best how
        # they differ: the slots of slower ones are not late. A difference that is impossible now means a new clock.
        least = lease.now - came
        self._offset = max(self._offset, least) if self._offset <= lease.now - asked else least
        self._heed(lease)
        if not self._wished_pause:
            start = lease.start - self._offset
            self._slots.extend(start + n / lease.rate for n in range(count))
        self._wake()

    async def _look(self) -> None:
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                await self._news.wait()
        except TimeoutError:
            self._heed(await self._store.lease(0))
            self._wake()

    def _heed(self, lease: Lease) -> None:
        """Drop the slots that were leased before another process changed the rate or paused."""
        if self._changes != lease.changes:
            self._changes = lease.changes
            self._slots.clear()
        if self._wished_rate is None and lease.rate != self._rate:
            old, self._rate = self._rate, lease.rate
            self.on_rate(old, lease.rate)

    def _fail(self, problem: str, *, lasting: bool = False) -> None:
        while (waiter := self._waiters.pop()) is not None:
            error = NotSent(problem)  # each call needs one of its own, to which it adds what it knows
            error.lasting = lasting
            waiter.set_exception(error)


def check_rate(rate: float) -> None:
    """Raise `Invalid` unless *rate* can be shared, and TypeError for another type."""
    need(rate, float, "rate", "requests a second, a number")
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        rule = f"must be from {LOWEST_RATE:g} to {HIGHEST_RATE:,} requests a second where processes share it"
        raise Invalid((Violation("rate", rule),))
