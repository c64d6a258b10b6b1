"""Looking up what became of a create, and deciding which thing on the server it is."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar
from uuid import UUID

import attrs
from msgspec import Struct, field

from cdp_orders_async.client import Resources, ResourcesV2
from cdp_orders_async.errors import NotFound
from cdp_orders_async.graph import OrderGraph
from cdp_orders_async.ingest.compare import diff as differences
from cdp_orders_async.ingest.compare import extra_fields as unasked
from cdp_orders_async.ingest.compare import may_match as could_be
from cdp_orders_async.ingest.plan import EXTENSIONS, Part
from cdp_orders_async.models import Extension
from cdp_orders_async.resources import Listing

__all__ = ["Finder", "SeveralError"]

T = TypeVar("T")

NEVER = float("-inf")


class Patiently(Protocol):
    """Something that does what may be done again and again until it succeeds, or is given up."""

    def __call__(self, make: Callable[[], Awaitable[T]], /) -> Awaitable[T]:
        """Return what *make* gives."""
        ...


class SeveralError(Exception):
    """More than one thing on the server could be the part."""


class Finder(Struct, eq=False):
    """Looks for the parts of one order; they share what was listed."""

    graph: OrderGraph
    parts: Sequence[Part]
    journaled: Collection[UUID]
    """The references that the journal knows for this order, also of parts that the input has no more."""
    cdp: Resources | ResourcesV2
    clock: Callable[[], float]
    patiently: Patiently
    """Makes each request."""
    may_claim: Callable[[UUID], Awaitable[bool]]
    """Tells whether an order belongs to no other order of the input."""
    namesakes: set[UUID]
    """The orders on the server that could be this one, also those that belong to others of the input."""
    _lists: dict[str, tuple[float, list[Any]]] = field(default_factory=dict[str, tuple[float, list[Any]]])
    _extensions: dict[UUID | None, tuple[float, Extension | None]] = field(
        default_factory=dict["UUID | None", tuple[float, "Extension | None"]]
    )
    _listing: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def taken(self) -> set[UUID]:
        """The references that belong to a part of this order."""
        return {*self.journaled, *(part.ref for part in self.parts if part.ref is not None)}

    async def look(self, part: Part, after: float) -> Any:  # noqa: ANN401 any resource
        """Return what the server has of *part*, None if nothing; what was read before *after* does not count.

        Raises `SeveralError` where it would be a guess.
        """
        if part.kind in EXTENSIONS:
            return await self._extension(part.kind, part.under, after)
        sent, listed = part.sent(), await self._listed(part, after)
        taken = self.taken
        candidates = [got for got in listed if got.ref not in taken and could_be(sent, got)]
        if part.kind == "orders":
            self.namesakes.update(got.ref for got in candidates)
            candidates = [got for got in candidates if await self.may_claim(got.ref)]
        elif part.kind == "items" and not part.value.reference_id:
            others = {one.item.reference_id for one in self.graph.items} - {None}
            candidates = [got for got in candidates if got.reference_id not in others]
        elif part.kind == "consumers":
            candidates = [await self._with_links(got) for got in candidates]
        return await self._best(part, candidates, after) if candidates else None

    async def current(self, part: Part) -> Any:  # noqa: ANN401 any resource
        """Fetch what the server has under the reference of *part*; raises `NotFound`."""
        resource: Any = getattr(self.cdp, part.kind)
        got = await self.patiently(partial(resource.get, part.under if part.kind in EXTENSIONS else part.ref))
        return await self._with_links(got) if part.kind == "consumers" else got

    async def _listed(self, part: Part, after: float) -> list[Any]:
        async with self._listing:
            taken, listed = self._lists.get(part.kind, (NEVER, []))
            if taken <= after:
                taken = self.clock()
                resource: Any = getattr(self.cdp, part.kind)
                if part.kind == "orders":
                    listing = resource.list(reference_id=part.value.reference_id)
                else:
                    listing = resource.list(part.under)
                # Where something is deleted meanwhile, or a page is served twice, an entry can come twice.
                entries = {entry.ref: entry for entry in await self.patiently(partial(_all_of, listing))}
                listed, known = list[Any](), self.taken
                for ref, entry in entries.items():
                    if ref not in known:
                        with contextlib.suppress(NotFound):
                            listed.append(await self.patiently(partial(listing.whole, entry)))
                self._lists[part.kind] = (taken, listed)
            return listed

    async def _with_links(self, consumer: Any) -> Any:  # noqa: ANN401 a Consumer
        """Return *consumer* with the links to its items, which version 2.1 may show only in a list of their own."""
        cdp = self.cdp
        if isinstance(cdp, Resources) and consumer.order_items is None and any(part.uses for part in self.parts):
            items = await self.patiently(partial(_all_of, cdp.consumers.items(consumer.ref)))
            consumer.order_items = tuple(item.ref for item in items)
        return consumer

    async def _extension(self, kind: str, owner: UUID | None, after: float) -> Extension | None:
        taken, found = self._extensions.get(owner, (NEVER, None))
        if taken <= after:
            taken = self.clock()
            resource: Any = getattr(self.cdp, kind)
            try:
                found = await self.patiently(partial(resource.get, owner))
            except NotFound:
                found = None
            self._extensions[owner] = (taken, found)
        return found

    async def _best(self, part: Part, candidates: list[Any], after: float) -> Any:  # noqa: ANN401 any resource
        """Return the one of *candidates* that fits *part* best, None if each fits another part better.

        Parts of one group that are in doubt share the candidates: those that are equal may take any of as many
        as they are.
        """
        sought = [one for one in self.parts if one.in_doubt and one.group == part.group]
        if len(candidates) == 1 and len(sought) <= 1:
            return candidates[0]
        extensions = {one.owner: one for one in self.parts if one.kind == "item_extensions"}
        # Equal parts fit alike, so one of each sort is compared; twins may differ in their extensions alone.
        sorts: dict[tuple[bytes, bytes], Part] = {}
        counts: Counter[Part] = Counter()
        for one in (part, *(one for one in sought if one is not part)):
            extension = extensions.get(one)
            counts[sorts.setdefault((one.digest, extension.digest if extension else b""), one)] += 1
        held: list[Extension | None] = [None] * len(candidates)
        if any(one in extensions for one in counts):
            held = [await self._extension("item_extensions", got.ref, after) for got in candidates]
        fits = {
            one: [_fit(one, extensions.get(one), *pair) for pair in zip(candidates, held, strict=True)]
            for one in counts
        }
        mine = [i for i, fit in enumerate(fits[part]) if all(fit <= other[i] for other in fits.values())]
        if not mine:
            return None
        best = min(fits[part][i] for i in mine)
        mine = [i for i in mine if fits[part][i] == best]
        if len(mine) > sum(count for one, count in counts.items() if any(fits[one][i] == best for i in mine)):
            raise SeveralError
        return candidates[mine[0]]


def _fit(part: Part, extension: Part | None, got: Any, held: Extension | None) -> tuple[int, ...]:  # noqa: ANN401 any resource
    """Return how well *got*, with the extension *held*, fits *part*: the smaller, the better."""
    # As long as it is not known which links it will have, they may be those of *got*.
    linked = all(use.ref for use in part.uses)
    sent = part.sent() if linked else attrs.evolve(part.value, order_items=got.order_items)
    if held is None:  # it may still get one: twins without an extension are looked for before those with one
        beside = 0
    elif extension is None or differences(extension.value, held):
        beside = 2
    else:
        beside = int(unasked(extension.value, held) > 0)
    wrong = bool(differences(sent, got))
    return (not could_be(sent, got), wrong, 0 if wrong else unasked(sent, got), beside)


async def _all_of(listing: Listing[T]) -> list[T]:
    """Return the entries of a list as they arrive."""
    return [entry async for page in listing.pages() for entry in page.items]
