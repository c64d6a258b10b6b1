"""Finds how many calls in flight a server bears, by the gradient of the latency, as Netflix's Gradient2 does."""

from __future__ import annotations

import math

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


class Gradient:
    """Steer a number of slots by the latency of the calls: fewer when it explodes, and all again when it is usual."""

    def __init__(self, slots: Slots, most: int) -> None:
        self.slots = slots
        """The slots whose number it sets."""
        self.most = most
        """How many slots there may be."""
        self._limit: float = slots.size  # with its fraction
        self._usual = 0.0  # seconds of latency
        self._began = 0.0  # when the first of those that are judged next came
        self._seconds = 0.0  # the sum of them
        self._count = 0

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
