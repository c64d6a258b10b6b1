"""What a cut of the rate brings: whether calls were refused for the rate, or for reasons of their own."""

from __future__ import annotations

import math
from typing import Literal

from msgspec import Struct

from cdp_orders_async.session.cubic import Cubic, between

__all__ = ["NOISIEST", "RARE", "SURE", "Trial", "spread"]

RARE = 0.01
"""The share of refusals that is as good as none."""
SURE = 2.0
"""Standard deviations that are no chance."""
NOISIEST = 0.5
"""The share of refusals from which on a server needs relief, whatever the reason."""
LOUDEST = 0.4
"""The share of refusals from which on what is left is not taken for noise."""
SECONDS = (2.0, 10.0)
"""Seconds, at least and at most, in which the calls of a trial are sent; in between, as many as would bring..."""
EXPECTED = 6
"""...so many refusals by noise alone..."""
FOUND = 3
"""...of which so many make it noise."""
KNOWN = 25
"""Answers, at least, of a trial; and those before the cut that make it noise: in fewer, the share of a limit that has
just fallen can look as small as what is left of it after the cut."""


def spread(share: float, answers: float) -> float:
    """Return the standard deviation of a *share* that is found in so many *answers*."""
    return math.sqrt(share * (1 - share) / answers)


class Trial(Struct):
    """The calls that are sent after a cut, and what noise and a limit would make of them."""

    began: float
    """When the first of them is sent."""
    rate: float
    """Calls per second, meanwhile."""
    before: tuple[float | None, Cubic]
    """The rate before the cut, and how it grew."""
    share: float
    """The share of refusals before the cut; noise leaves it as it is."""
    sample: float
    """The answers by which that is known."""
    floor: float
    """The share of refusals that is left if there is a limit."""
    answers: int = 0
    refusals: int = 0

    @property
    def until(self) -> float:
        """When the last of its calls is sent."""
        return self.began + between(SECONDS, EXPECTED / max(self.share - self.floor, RARE) / self.rate)

    @property
    def left(self) -> float:
        """The share of refusals that is left."""
        return self.refusals / self.answers

    def count(self, refusals: int, sent: float) -> None:
        """Count the answer to a call that was sent then."""
        if sent <= self.until or self.answers < KNOWN:
            self.answers += 1
            self.refusals += refusals

    def verdict(self) -> Literal["worse", "noise", "limit"] | None:
        """Judge: it is worse than was known before the cut, noise, or a limit; None: that is not known yet."""
        if self.answers < KNOWN:
            return None
        if self.left > min(NOISIEST, self.share + RARE + SURE * spread(self.share, self.answers)):
            return "worse"
        both = 1 / (1 / self.sample + 1 / self.answers)
        least = max((self.share + self.floor) / 2, self.share - SURE * spread(self.share, both))
        noise = self.share < NOISIEST and self.refusals >= FOUND and least < self.left < LOUDEST
        if noise and self.sample < KNOWN:
            return "worse"
        return "noise" if noise else "limit"
