"""What a cut brings: whether calls were refused for their rate or their number, or for reasons of their own."""

from __future__ import annotations

import math
from typing import Literal

from msgspec import Struct

__all__ = ["NOISIEST", "RARE", "SETTLED", "Trial", "spread"]

RARE = 0.01  # A server that refuses one call in a hundred may be left alone: that costs less than a lower rate.
SETTLED = 25  # From so many answers on, a share of refusals is known to about a fifth, which tells a half from a whole.
NOISIEST = 0.5  # A server that refuses half of all calls is spared, whatever the reason is.
LOUDEST = 0.4  # What is left of the refusals after a cut is no noise above this share: the rate is still far too high.
SECONDS = (
    2.0,
    10.0,
)  # A trial takes two seconds, since many limits count by the second, and ten at most, for its cost.
EXPECTED = 6  # In between, it takes as long as noise needs for six refusals: fewer could be none by chance.
FOUND = 4  # Fewer than three refusals in a trial may be an accident of a limit that was found well.


def spread(share: float, answers: float) -> float:
    """Return the standard deviation of a *share* that is found in so many *answers*."""
    return math.sqrt(share * (1 - share) / answers)


class Trial(Struct):
    """The calls that are sent after a cut, and what noise and a limit would make of them."""

    began: float  # when the first of them is sent
    rate: float  # calls per second, meanwhile
    share: float  # the share of refusals before the cut; noise leaves it as it is
    sample: float  # the answers by which that is known
    floor: float  # the share of refusals that is left if there is a limit
    answers: int = 0
    refusals: int = 0
    slowest: float = 0.0  # seconds that the slowest refusal took: so long the last of its calls may be out

    @property
    def until(self) -> float:
        """When the last of its calls is sent."""
        seconds = EXPECTED / max(self.share - self.floor, RARE) / self.rate
        return self.began + min(SECONDS[1], max(SECONDS[0], seconds))

    @property
    def left(self) -> float:
        """The share of refusals that is left."""
        return self.refusals / self.answers

    def count(self, refusals: int, sent: float) -> None:
        """Count the answer to a call that was sent then."""
        if sent <= self.until or self.answers < SETTLED:
            self.answers += 1
            self.refusals += refusals

    def verdict(self, now: float) -> Literal["worse", "noise", "limit"] | None:
        """Judge: it is worse than was known before the cut, noise, or a limit; None: that is not known yet."""
        if now <= self.until + self.slowest or self.answers < SETTLED:
            return None
        if self.left > min(NOISIEST, self.share + RARE + 2 * spread(self.share, self.answers)):
            return "worse"
        # The share before the cut was looked at because it was high, so that by chance it seems higher than it is.
        true = max(self.floor, self.share - spread(self.share, self.sample))
        noise = self.share < NOISIEST and self.refusals >= FOUND and (self.floor + true) / 2 < self.left
        still = self.refusals >= FOUND and self.left > self.floor + RARE + spread(self.left, self.answers)
        return "noise" if noise else "worse" if still else "limit"
