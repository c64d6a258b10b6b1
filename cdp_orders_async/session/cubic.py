"""How a rate grows after a cut, by CUBIC as in TCP (RFC 9438)."""

from __future__ import annotations

from msgspec import Struct

__all__ = ["KEPT", "Cubic", "between"]

KEPT = 0.85
"""What a usual cut leaves of the rate."""
PLATEAU = (10.0, 30.0)
"""Seconds, at least and at most, from a cut until the rate is the old maximum again; in between, as many as take..."""
CYCLE = 250
"""...so many calls, of which the few that are refused before the next cut are one in a hundred."""
DOUBLING = 12.0
"""Seconds in which the rate at most doubles beyond the old maximum."""


def between(bounds: tuple[float, float], value: float) -> float:
    """Return what of the *bounds* and all in between is next to *value*."""
    return min(bounds[1], max(bounds[0], value))


class Cubic(Struct):
    """A rate that is soon back near its old maximum, stays there, and goes carefully past it."""

    start: float
    """The rate after the cut."""
    peak: float | None = None
    """The rate that was too high; None: no such rate is known, and it doubles each second."""
    age: float = 0.0
    """Seconds of growth since the cut."""

    def higher(self, rate: float, seconds: float) -> float:
        """Grow for *seconds*, and return the rate that follows *rate* then."""
        if self.peak is None:
            return rate * 2**seconds
        self.age += seconds
        beyond = self.age / between(PLATEAU, CYCLE / self.peak) - 1
        depth = self.peak - self.start if beyond < 0 else self.peak * (1 - KEPT)
        return min(self.peak + depth * beyond**3, max(rate, self.peak) * 2 ** (seconds / DOUBLING))
