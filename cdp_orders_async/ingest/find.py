"""Looking up what became of a create, and deciding which thing on the server it is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import attrs

from cdp_orders_async.client import Resources
from cdp_orders_async.errors import NotFound
from cdp_orders_async.ingest.match import could_be, differences
from cdp_orders_async.ingest.plan import Part, Work
from cdp_orders_async.kinds import CONSUMERS, ITEM_EXTENSIONS, ITEMS, ORDER_EXTENSIONS, ORDERS

__all__ = ["Finder", "SeveralError"]


class SeveralError(Exception):
    """More than one thing on the server could be the part."""


@attrs.define(eq=False)
class Finder:
    """Looks for the parts of one order; they share what was listed."""

    work: Work
    cdp: Resources
    clock: Callable[[], float]
    may_claim: Callable[[UUID], Awaitable[bool]]
    """Tells whether an order belongs to no other order of the input."""
    _lists: dict[str, tuple[float, list[Any]]] = attrs.field(factory=dict[str, tuple[float, list[Any]]])
    _listing: asyncio.Lock = attrs.field(factory=asyncio.Lock)

    async def look(self, n: int, after: float) -> Any:  # noqa: ANN401 any resource
        """Return what the server has of part *n*, None if nothing; what was listed before *after* does not count.

        Raises `SeveralError` where it would be a guess.
        """
        part = self.work.parts[n]
        if part.kind is ORDER_EXTENSIONS or part.kind is ITEM_EXTENSIONS:
            return await self._extension(part.kind is ITEM_EXTENSIONS, self.work.refs[part.owner])
        sent = self.work.sent(n)
        taken = {ref for m, ref in self.work.refs.items() if self.work.parts[m].kind is part.kind}
        others = {one.item.reference_id for one in self.work.graph.items} - {None}
        candidates = [
            got
            for got in await self._listed(part, after)
            if got.ref not in taken
            and could_be(sent, got)
            and (part.kind is not ITEMS or part.value.reference_id or got.reference_id not in others)
            and (part.kind is not ORDERS or await self.may_claim(got.ref))
        ]
        found = await self._choose(n, candidates)
        if found is not None and part.kind is CONSUMERS and part.uses and found.order_items is None:
            links = [item.ref async for page in self.cdp.consumers.items(found.ref).pages() for item in page.items]
            found.order_items = tuple(links)
        return found

    async def current(self, n: int, ref: UUID) -> Any:  # noqa: ANN401 any resource
        """Fetch what the server has under the *ref* of part *n*; raises `NotFound`."""
        part = self.work.parts[n]
        resource: Any = getattr(self.cdp, part.kind.name)
        if part.kind is ORDER_EXTENSIONS or part.kind is ITEM_EXTENSIONS:
            return await resource.get(self.work.refs[part.owner])
        return await resource.get(ref)

    async def _listed(self, part: Part, after: float) -> list[Any]:
        async with self._listing:
            taken, listed = self._lists.get(part.kind.name, (float("-inf"), []))
            if taken < after:
                taken = self.clock()
                resource: Any = getattr(self.cdp, part.kind.name)
                if part.kind is ORDERS:
                    entries = resource.list(reference_id=part.value.reference_id)
                else:
                    entries = resource.list(self.work.refs[0])
                listed = [entry async for entry in entries]
                self._lists[part.kind.name] = (taken, listed)
            return listed

    async def _choose(self, n: int, candidates: list[Any]) -> Any:  # noqa: ANN401 any resource
        """Return the one of *candidates* that is part *n*; twins may take any of as many as they are."""
        if len(candidates) <= 1:
            return candidates[0] if candidates else None
        sent = self.work.sent(n)
        exact = [got for got in candidates if not differences(sent, got)]
        if len(exact) == 1:
            return exact[0]
        parts = self.work.parts
        twins = [m for m in self.work.open if parts[n].group and parts[m].group == parts[n].group]
        if len(candidates) > len(twins):
            raise SeveralError
        extension = next((one for one in parts if one.owner == n and one.kind is ITEM_EXTENSIONS), None)
        if extension is None:
            return candidates[0]
        # Twins may differ in their extensions alone: then those tell which is which.
        held = [(got, await self._extension(True, got.ref)) for got in candidates]  # noqa: FBT003 of an item
        mine = [got for got, pairs in held if pairs is not None and not differences(extension.value, pairs)]
        free = [got for got, pairs in held if pairs is None]
        if not mine and not free:
            raise SeveralError
        return (mine or free)[0]

    async def _extension(self, of_item: bool, owner: UUID) -> Any:  # noqa: ANN401, FBT001 an Extension or None
        extensions = self.cdp.item_extensions if of_item else self.cdp.order_extensions
        try:
            return await extensions.get(owner)
        except NotFound:
            return None
