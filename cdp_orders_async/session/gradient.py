"""Finds how many calls in flight a server bears, by the gradient of the latency, as Netflix's Gradient2 does."""

from __future__ import annotations

import math

import attrs

from cdp_orders_async.limiter import Slots

__all__ = ["Gradient"]

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
"""How much of the way to its new value the number goes at once."""


@attrs.define
class Gradient:
    """Steer a number of slots by the latency of the calls: fewer when it explodes, and all again when it is usual."""

    slots: Slots
    """The slots whose number it sets."""
    most: int
    """How many slots there may be."""

    _limit: float = attrs.field(init=False)  # the number of slots, with its fraction
    _usual: float = attrs.field(default=0.0, init=False)  # seconds of latency
    _began: float = attrs.field(default=0.0, init=False)  # when the first of those that are judged next came
    _seconds: float = attrs.field(default=0.0, init=False)  # the sum of them
    _count: int = attrs.field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self._limit = self.slots.size

    def answered(self, seconds: float, now: float) -> None:
        """Count an answer that took *seconds* to come."""
        if not self._count:
            self._began = now
        self._seconds += seconds
        self._count += 1
        if self._count >= ENOUGH and now >= self._began + WINDOW:
            self._judge(self._seconds / self._count, now - self._began)
            self._seconds = 0.0
            self._count = 0

    def _judge(self, latency: float, seconds: float) -> None:
        """Set the number of slots by a latency that is the average of *seconds*."""
        self._usual += (latency - self._usual) * (min(1.0, seconds / USUAL) if self._usual else 1.0)
        if 2 * (self.slots.size - self.slots.free) < self._limit:
            return  # too few calls to tell
        gradient = min(1.0, max(STEEPEST, TOLERANCE * self._usual / latency)) if latency else 1.0
        target = self._limit * gradient + math.sqrt(self._limit)
        self._limit = min(self._limit + WEIGHT * (target - self._limit), self.most)
        self.slots.resize(round(self._limit))
