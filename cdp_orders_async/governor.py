"""Finds the rate and the concurrency that a server bears, for an API that documents neither a limit nor 429.

The rate follows CUBIC, as TCP does (RFC 9438): cut at refusals, back to the old maximum quickly, past it carefully.
The concurrency follows the gradient of the latency, as Netflix's Gradient2 does.
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
KEPT = 0.85
"""What a cut leaves of the rate."""
PLATEAU = 10.0
"""Seconds from a cut to the old maximum."""
DOUBLING = 15.0
"""Seconds, at least, in which the rate doubles beyond the old maximum."""
PAUSE = 0.5
"""Seconds after a cut in which nothing else changes: what was sent before it is still coming back."""
STEP = 0.1
"""Seconds between two raises of the rate."""
LONGEST_STEP = 2.0
"""Seconds that a raise makes up for; more than that without a call is rest."""
USED = 0.7
"""The share of the rate that calls must use before it is raised."""
N = 50; F = 1.5
FEW=1
RARE = 0.02
"""The share of answers up to which refusals are mishaps, and no sign of a limit."""
LEAST_RATE = 0.5
"""Calls per second that no cut goes below."""

WINDOW = 0.5
"""Seconds whose latencies make one sample."""
ENOUGH = 10
"""Latencies that a sample needs at least."""
LONG = 60.0
"""Seconds over which the usual latency is averaged."""
TOLERANCE = 2.0
"""How many times the usual latency is still usual."""
WEIGHT = 0.2
"""The share of the newly computed limit in the next one."""
LEAST_SLOTS = 4
"""Calls in flight that no cut goes below."""


@attrs.define
class _Frequency:
    """Events per second, an average that forgets."""

    value: float = 0.0
    at: float = 0.0

    def add(self, now: float) -> None:
        """Count an event."""
        self.value = self(now) + 1 / MEMORY
        self.at = now

    def __call__(self, now: float) -> float:
        return self.value * math.exp((self.at - now) / MEMORY)


class Governor:
    """Steer the rate of *limiter* and the size of *slots*, up to *most*, by what becomes of the calls.

    There is no limit to the rate before the server refuses. *clock* gives the time in seconds. It has no timer: all
    that it does, it does when it is told of a call.
    """

    __slots__ = (
        "_age", "_answered", "_began", "_clock", "_count", "_cut", "_good", "_grown", "_limit", "_limiter", "_most",
        "_peak", "_sent", "_slots", "_share", "_sum", "_usual",
    )  # fmt: skip

    def __init__(
        self, limiter: Limiter, slots: Slots, *, most: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limiter = limiter
        self._slots = slots
        self._most = most
        self._clock = clock
        self._sent, self._good = _Frequency(), _Frequency()
        self._answered = False  # since the last cut
        self._share = 0.0
        self._cut = self._grown = -math.inf  # when
        self._peak: float | None = None  # the rate before the last cut; None: no maximum is known
        self._age = 0.0  # seconds along the curve from the last cut
        self._limit = float(slots.size)
        self._usual = 0.0  # seconds of latency
        self._began = -math.inf  # the sample
        self._sum = 0.0
        self._count = 0

    def __repr__(self) -> str:
        return f"Governor(rate={self.rate}, limit={self.limit})"

    @property
    def rate(self) -> float | None:
        """Calls per second that the server seems to bear; None as long as it refused nothing."""
        return self._limiter.rate

    @property
    def limit(self) -> int:
        """Calls in flight that the server seems to bear."""
        return self._slots.size

    def sent(self) -> None:
        """Count a call that leaves now."""
        now = self._clock()
        self._sent.add(now)
        rate, since = self._limiter.rate, now - self._grown
        if rate is None or since < STEP or now < self._cut + PAUSE:
            return
        self._grown = now
        if self._sent(now) >= USED * rate:
            self._limiter.set_rate(self._raised(rate, min(since, LONGEST_STEP)))

    def answered(self, seconds: float) -> None:
        """Count a call whose answer, which shows no overload, took *seconds* to come."""
        now = self._clock()
        self._good.add(now)
        self._learn(0, now)
        self._answered = True
        if not self._count:
            self._began = now
        self._sum += seconds
        self._count += 1
        if self._count >= ENOUGH and now >= self._began + WINDOW:
            self._judge(self._sum / self._count, now - self._began)
            self._sum, self._count = 0.0, 0

    def refused(self, seconds: float = 0.0) -> None:
        """Count a call that the server refused, or did not answer in time, *seconds* after it left."""
        now = self._clock()
        if now < self._cut + PAUSE or now - seconds < self._cut:
            return
        if self._learn(1, now) < FEW:
            return
        good, before = self._good(now), self._limiter.rate
        if before is None:
            rate = KEPT * good
        elif self._answered:
            rate = min(KEPT * before, good)
            if self._peak is not None or self._grown > self._cut:
                self._peak = before
        else:
            rate = KEPT * before  # it is down rather than overloaded, and the maximum holds when it is back
        rate = max(rate, LEAST_RATE)
        if self._peak is not None:
            self._age = PLATEAU * (1 - math.cbrt((1 - rate / self._peak) / (1 - KEPT)))
        self._limiter.set_rate(rate)
        self._cut = now
        self._share = 0.0
        self._answered = False

    def _learn(self, refused: int, now: float) -> float:
        """Average the share of refusals over a second, but 50 answers at least; return how much it is."""
        weight = 1 / max(N, self._sent(now))
        self._share += (refused - self._share) * weight
        return self._share / max(F * weight, RARE)

    def _raised(self, rate: float, seconds: float) -> float:
        if self._peak is None:
            return rate * 2**seconds
        self._age += seconds
        curve = self._peak * (1 + (1 - KEPT) * (self._age / PLATEAU - 1) ** 3)
        return min(curve, max(rate, self._peak) * 2 ** (seconds / DOUBLING))

    def _judge(self, latency: float, seconds: float) -> None:
        self._usual += (latency - self._usual) * (min(1.0, seconds / LONG) if self._usual else 1.0)
        if self._usual > TOLERANCE * latency:
            self._usual *= 0.95  # what was usual under load is so no longer
        limit = self._limit
        if 2 * (self._slots.size - self._slots.free) < limit:
            return  # the calls are too few to tell
        gradient = min(1.0, max(0.5, TOLERANCE * self._usual / max(latency, 1e-9)))
        limit += WEIGHT * (limit * gradient + math.sqrt(limit) - limit)
        self._limit = min(max(limit, LEAST_SLOTS), self._most)
        self._slots.resize(round(self._limit))
