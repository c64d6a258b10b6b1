"""What is wrong with one order, told within bounds: a line of a megabyte can break a million rules."""

from __future__ import annotations

from collections.abc import Iterable

from cdp_orders_async.errors import Violation

__all__ = ["COUNTED", "Findings"]

MOST_KEPT = 100
COUNTED = 10_000
"""After so many broken rules, what takes long to judge is not judged any more."""


class Findings:
    """The rules that one order breaks: the first are kept, the others are counted."""

    def __init__(self) -> None:
        self.kept: list[Violation] = []
        self.count = 0
        self.skipped = False
        """Whether some of the order was not judged, since more than enough is wrong."""

    def add(self, at: str, rule: str) -> None:
        """Note that the field *at* breaks a *rule*."""
        self.count += 1
        if self.count <= MOST_KEPT:
            self.kept.append(Violation(at, rule))

    def become(self, at: str, rule: str) -> None:
        """Note that the field *at* breaks a *rule*, in place of all that was noted before."""
        self.kept.clear()
        self.count, self.skipped = 0, False
        self.add(at, rule)

    def extend(self, found: Iterable[Violation], under: str = "$") -> None:
        """Note what was *found* with the part *under* that path, whose own paths begin at the part."""
        for one in found:
            self.add(under + one.field[1:], one.rule)

    @property
    def full(self) -> bool:
        """Whether what is added is only counted."""
        return self.count >= MOST_KEPT

    @property
    def enough(self) -> bool:
        """Whether nothing more has to be judged; who asks skips some of the order then."""
        self.skipped = self.skipped or self.count >= COUNTED
        return self.skipped

    @property
    def told(self) -> list[Violation]:
        """What is told: at most 100 broken rules, and how many there are beyond them."""
        more = self.count - len(self.kept)
        if not more:
            return self.kept
        least = "at least " if self.skipped else ""
        return [*self.kept, Violation("$", f"breaks {least}{more} more rule{'s' if more > 1 else ''}")]
