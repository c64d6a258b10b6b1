"""The broken rules of one order, up to a limit: a line of a megabyte can break a million rules."""

from __future__ import annotations

from collections.abc import Iterable

from cdp_orders_async.errors import Violation

__all__ = ["COUNTED", "Findings"]

MOST_KEPT = 100
COUNTED = 10_000
"""After so many broken rules, slow checks are skipped."""


class Findings:
    """The rules that one order breaks: the first are kept, the others are counted."""

    def __init__(self) -> None:
        self.kept: list[Violation] = []
        self.count = 0
        self.skipped = False
        """Whether some checks were skipped, because very many rules are broken."""

    def add(self, at: str, rule: str) -> None:
        """Note that the field *at* breaks a *rule*."""
        self.count += 1
        if self.count <= MOST_KEPT:
            self.kept.append(Violation(at, rule))

    def become(self, at: str, rule: str) -> None:
        """Replace all violations with one: the field *at* breaks a *rule*."""
        self.kept.clear()
        self.count, self.skipped = 0, False
        self.add(at, rule)

    def extend(self, found: Iterable[Violation], under: str = "$") -> None:
        """Add the violations *found* in the part with the path *under*; their own paths begin at the part."""
        for violation in found:
            self.add(under + violation.field[1:], violation.rule)

    @property
    def full(self) -> bool:
        """Whether further violations are only counted."""
        return self.count >= MOST_KEPT

    @property
    def enough(self) -> bool:
        """Whether the caller skips further checks."""
        self.skipped = self.skipped or self.count >= COUNTED
        return self.skipped

    @property
    def told(self) -> list[Violation]:
        """At most 100 violations, and one that gives the number of the others."""
        more = self.count - len(self.kept)
        if not more:
            return self.kept
        least = "at least " if self.skipped else ""
        return [*self.kept, Violation("$", f"breaks {least}{more} more rule{'s' if more > 1 else ''}")]
