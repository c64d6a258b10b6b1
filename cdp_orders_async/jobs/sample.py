"""How many of an input's orders are on the server: a sample is read there, and nothing is written."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from random import Random
from types import CellType
from typing import TypeVar

import attrs

from cdp_orders_async.client import CdpOrders, CdpOrdersV2
from cdp_orders_async.graph import OrderGraph
from cdp_orders_async.ingest.edits import AmbiguousError
from cdp_orders_async.ingest.lookup import Lookup
from cdp_orders_async.ingest.parts import parts_of

__all__ = ["Presence", "Sample"]

T = TypeVar("T")

NEVER = float("-inf")
AT_ONCE = 8
"""Orders that are looked for at the same time."""


@attrs.define
class Presence:
    """How many orders of a sample are on the server."""

    sample: int = 0
    """Orders that were looked for, by reference id and time."""
    whole: int = 0
    """Those of them that are there with each part."""
    part: int = 0
    """Those that are there, and miss a part."""

    @property
    def absent(self) -> int:
        """Those that are not there."""
        return self.sample - self.whole - self.part

    def to_json(self) -> dict[str, object]:
        """Return the counts as JSON data."""
        return {"sample": self.sample, "whole": self.whole, "part": self.part, "absent": self.absent}


class Sample:
    """At most *size* orders, drawn by *random* so that each order of an input is in it with the same probability."""

    def __init__(self, size: int, random: Random) -> None:
        self._size = size
        self._random = random
        self._offered = 0
        self._drawn: list[CellType] = []  # cells, which no text shows

    def offer(self, graph: OrderGraph) -> None:
        """Take *graph* into the sample, or not."""
        self._offered += 1
        if len(self._drawn) < self._size:
            self._drawn.append(CellType(graph))
        elif (place := self._random.randrange(self._offered)) < self._size:
            self._drawn[place] = CellType(graph)

    async def compare(self, client: CdpOrders | CdpOrdersV2) -> Presence:
        """Look for the orders of the sample on the server."""
        presence = Presence(sample=len(self._drawn))
        left = list(self._drawn)

        async def work() -> None:
            while left:
                there, parts = await _count(left.pop().cell_contents, client)
                presence.whole += there == parts
                presence.part += 0 < there < parts

        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(min(AT_ONCE, len(left))):
                    tasks.create_task(work())
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None
        return presence


async def _count(graph: OrderGraph, client: CdpOrders | CdpOrdersV2) -> tuple[int, int]:
    """Return how many parts of an order the server has, and how many there are."""
    parts = parts_of(graph)
    lookup = Lookup(parts, client, _once, time.monotonic, None)
    order = parts[0]
    for part in parts:
        part.in_doubt = True
    found = await lookup.orders(order, NEVER)
    if not found:
        return 0, len(parts)
    order.ref = found[0].ref
    for part in parts[1:]:
        if part.owner_ref is not None:
            try:
                stored = await lookup.find(part, NEVER, settled=True)
            except AmbiguousError:  # several could be the part, so it is there
                continue
            part.ref = stored and (stored.ref or part.owner_ref)
    return sum(part.ref is not None for part in parts), len(parts)


def _once(make: Callable[[], Awaitable[T]], _: str) -> Awaitable[T]:
    return make()
