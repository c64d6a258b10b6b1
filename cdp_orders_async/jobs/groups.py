"""Group equal findings of many orders: how many orders have each, and where the first one is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from msgspec import Struct

from cdp_orders_async.errors import Violation

__all__ = ["Group", "Groups", "rule_of"]

MOST = 1_000
"""The most different rules that are kept: a rule may hold a key of the input, and an input may have any keys."""
REST = "other rules"
INDEX = re.compile(r"\[[0-9]+\]")
COLUMN = re.compile(r" at column [0-9]+$")
MORE = re.compile(r"breaks .*[0-9]+ more rules?$")
"""Parts of a rule that differ from line to line although the fault is the same."""


class Group(Struct):
    """One rule, and the orders that break it."""

    rule: str
    count: int
    first: str
    """The place of the first of them, such as ``orders.jsonl:186``."""

    def __str__(self) -> str:
        return f"{self.count:,} x {self.rule}, first at {self.first}"

    def to_json(self) -> dict[str, object]:
        """Return it as JSON data."""
        return {"rule": self.rule, "count": self.count, "first": self.first}


class Groups:
    """Findings, grouped: two are equal where they differ only in an index, such as that of an item."""

    def __init__(self) -> None:
        self._groups: dict[str, Group] = {}

    def add(self, found: Iterable[Violation], place: str) -> None:
        """Note what is *found* in the order at that *place*; equal findings in one order count once."""
        for rule in dict.fromkeys(map(rule_of, found)):
            known = rule in self._groups or len(self._groups) < MOST
            group = self._groups.setdefault(rule if known else REST, Group(rule if known else REST, 0, place))
            group.count += 1

    def __iter__(self) -> Iterator[Group]:
        """Yield the groups, the largest first."""
        return iter(sorted(self._groups.values(), key=lambda group: -group.count))

    def __len__(self) -> int:
        return len(self._groups)

    def to_json(self) -> list[dict[str, object]]:
        """Return the groups as JSON data."""
        return [group.to_json() for group in self]


def rule_of(found: Violation) -> str:
    """Return the broken rule without what differs from line to line."""
    rule = MORE.sub("breaks more rules", COLUMN.sub("", found.rule))
    return f"{INDEX.sub('[]', found.field)} {rule}"
