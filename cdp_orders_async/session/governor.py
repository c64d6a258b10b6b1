"""Finds the rate and the concurrency that a server bears, since the API documents neither a limit nor 429.

The rate follows CUBIC, as TCP does (RFC 9438): cut when calls are refused, soon back near the old maximum, and
carefully past it. The concurrency follows the gradient of the latency, as Netflix's Gradient2 does.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import attrs

from cdp_orders_async.limiter import Limiter, Slots

__all__ = ["Governor"]

MEMORY = 0.5
"""Seconds over which events are averaged."""
SAMPLE = 75
"""Answers, at least, over which the share of refusals is averaged; where more come in a second, over a second."""
RARE = 0.02
"""The share of refusals up to which they are mishaps; of a slow sample, a single one."""
KEPT = 0.85
"""What a cut leaves of the rate, at most."""
PAUSE = 0.5
"""Seconds after a cut until the rate changes again."""
PLATEAU = 12.0
"""Seconds from a usual cut until the rate is the old maximum again."""
DOUBLING = 15.0
"""Seconds in which the rate at most doubles beyond the old maximum."""
STEP = 0.1
"""Seconds between two raises of the rate."""
LONGEST_STEP = 2.0
"""Seconds that a raise makes up for; a longer time without calls is rest."""
USED = 0.7
"""The share of the rate that calls must use for it to be raised."""
LEAST_RATE = 0.5
"""Calls per second that no cut goes below."""

WINDOW = 0.5
"""Seconds, at least, whose latencies are judged together."""
ENOUGH = 10
"""Latencies, at least, that are judged together."""
USUAL = 60.0
"""Seconds over which the usual latency is averaged."""
TOLERANCE = 2.0
"""How many times the usual latency is no sign of overload."""
STEEPEST = 0.5
"""The least gradient; with it and room for a queue of the square root, no cut goes below 4 calls in flight."""
WEIGHT = 0.2
"""How much of the way to its new value the concurrency goes at once."""


@attrs.define
class _Frequency:
    """How many events a second there are of late."""

    value: float = 0.0
    at: float = 0.0

    def add(self, now: float) -> None:
        self.value = self.per_second(now) + 1 / MEMORY
        self.at = now

    def per_second(self, now: float) -> float:
        return self.value * math.exp((self.at - now) / MEMORY)


@attrs.define
class Governor:
    """Steer a rate and a number of slots by what becomes of the calls.

    The rate has no limit until the server refuses calls; the slots have the size that they were given. It owns no
    timer: it changes them when it is told of a call, and so never while nothing is sent.
    """

    limiter: Limiter
    """The limiter whose rate it sets."""
    slots: Slots
    """The slots whose number it sets."""
    most: int
    """How many slots there may be."""
    clock: Callable[[], float] = time.monotonic
    """Gives the time in seconds."""

    _sent: _Frequency = attrs.field(factory=_Frequency, init=False)
    _good: _Frequency = attrs.field(factory=_Frequency, init=False)
    _share: float = attrs.field(default=0.0, init=False)  # of the answers that are refusals, since the last cut
    _answered: bool = attrs.field(default=False, init=False)  # whether any was good since the last cut
    _cut: float = attrs.field(default=-math.inf, init=False)  # when
    _raised: float = attrs.field(default=-math.inf, init=False)  # when, or else when cut
    _peak: float | None = attrs.field(default=None, init=False)  # the rate that was too high, once one is known
    _age: float = attrs.field(default=0.0, init=False)  # seconds along the curve since a usual cut
    _limit: float = attrs.field(init=False)  # the number of slots, with its fraction
    _usual: float = attrs.field(default=0.0, init=False)  # seconds of latency
    _began: float = attrs.field(default=0.0, init=False)  # when the first of those that are judged next came
    _seconds: float = attrs.field(default=0.0, init=False)  # the sum of them
    _count: int = attrs.field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self._limit = self.slots.size

    def __repr__(self) -> str:
        return f"Governor(rate={self.rate}, limit={self.limit})"

    @property
    def rate(self) -> float | None:
        """Calls per second that the server seems to bear; None while it has refused none."""
        return self.limiter.rate

    @property
    def limit(self) -> int:
        """Calls in flight that the server seems to bear."""
        return self.slots.size

    def sent(self) -> None:
        """Count a call that leaves now."""
        now = self.clock()
        self._sent.add(now)
        rate = self.limiter.rate
        since = now - self._raised
        if rate is None or since < STEP or now < self._cut + PAUSE or not self._answered:
            return
        self._raised = now
        if self._sent.per_second(now) >= USED * rate:  # else nothing is known of a higher one
            self.limiter.set_rate(self._higher(rate, min(since, LONGEST_STEP)))

    def answered(self, seconds: float) -> None:
        """Count a call whose answer, which shows no overload, took *seconds* to come."""
        now = self.clock()
        self._good.add(now)
        self._learn(0, now)
        self._answered = True
        if not self._count:
            self._began = now
        self._seconds += seconds
        self._count += 1
        if self._count >= ENOUGH and now >= self._began + WINDOW:
            self._judge(self._seconds / self._count, now - self._began)
            self._seconds = 0.0
            self._count = 0

    def refused(self, seconds: float = 0.0) -> None:
        """Count a call that the server refused for its load, or left without an answer, *seconds* after it was sent.

        What was sent before the last cut says nothing about the rate since.
        """
        now = self.clock()
        if now < self._cut + PAUSE or now - seconds < self._cut:
            return
        self._learn(1, now)
        if self._share > RARE:
            self._lower(now)

    def _learn(self, refusals: int, now: float) -> None:
        self._share += (refusals - self._share) / max(SAMPLE, self._sent.per_second(now))

    def _lower(self, now: float) -> None:
        before = self.limiter.rate
        good = self._good.per_second(now)
        if before is None:
            rate = KEPT * good
        elif self._answered:
            rate = min(KEPT * before, good)
            if self._peak is not None or self._raised > self._cut:  # a first guess may have been far too low
                self._peak = before
        else:
            rate = KEPT * before  # it is down rather than overloaded: the maximum will hold when it is back
        rate = max(rate, LEAST_RATE)
        if self._peak is not None:
            self._age = PLATEAU * (1 - math.cbrt((1 - rate / self._peak) / (1 - KEPT)))
        self.limiter.set_rate(rate)
        self._cut = self._raised = now
        self._share = 0.0
        self._answered = False

    def _higher(self, rate: float, seconds: float) -> float:
        if self._peak is None:
            return rate * 2**seconds
        self._age += seconds
        curve = self._peak * (1 + (1 - KEPT) * (self._age / PLATEAU - 1) ** 3)
        return min(curve, max(rate, self._peak) * 2 ** (seconds / DOUBLING))

    def _judge(self, latency: float, seconds: float) -> None:
        """Set the number of slots by a latency that is the average of *seconds*."""
        self._usual += (latency - self._usual) * (min(1.0, seconds / USUAL) if self._usual else 1.0)
        if 2 * (self.slots.size - self.slots.free) < self._limit:
            return  # too few calls to tell
        gradient = min(1.0, max(STEEPEST, TOLERANCE * self._usual / latency)) if latency else 1.0
        target = self._limit * gradient + math.sqrt(self._limit)
        self._limit = min(self._limit + WEIGHT * (target - self._limit), self.most)
        self.slots.resize(round(self._limit))
