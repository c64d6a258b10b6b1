"""Read what a server has of one order, with all its parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any
from uuid import UUID

from msgspec import Struct, field

from cdp_orders_async.client import Resources, ResourcesV2
from cdp_orders_async.ingest.compare import diff, extra_fields, may_match
from cdp_orders_async.ingest.parts import LISTED, Part
from cdp_orders_async.ingest.reading import all_entries, found, items_of
from cdp_orders_async.models import Extension
from cdp_orders_async.redact import Opaque
from cdp_orders_async.resources import Listing

__all__ = ["Snapshot", "read_order", "read_snapshot"]

NO_REFS: Mapping[str, UUID | None] = MappingProxyType({})


class Snapshot(Struct, eq=False):
    """What a server has of one order."""

    ref: UUID
    order: Opaque[Any]
    """The order as the server keeps it."""
    doubles: tuple[UUID, ...] = ()
    """The references of further orders that the server takes for the same."""
    parts: dict[str, Opaque[dict[UUID, Any]]] = field(default_factory=dict[str, Opaque[dict[UUID, Any]]])
    """The parts, by kind and reference."""
    extensions: dict[UUID, Opaque[Extension]] = field(default_factory=dict[UUID, Opaque[Extension]])
    """The extensions, by the reference of the order or item that they extend."""

    def listed(self, kind: str) -> Mapping[UUID, Any]:
        """Return the parts of a *kind* by reference."""
        return self.parts[kind].open()


async def read_order(
    cdp: Resources | ResourcesV2, order: Part, ref: UUID | None, is_foreign: Callable[[UUID], bool]
) -> Snapshot | None:
    """Return what the server has of *order* itself, without its parts; None if it has none.

    *ref* is its reference, if that is known: else it is the order with its reference id and its time that fits best.
    An order of which *is_foreign* tells that it belongs to another line of the input is left alone.
    """
    listed = await _entries(cdp.orders.list(reference_id=order.value.reference_id))
    stored = listed.pop(ref, None) if ref is not None else None
    if stored is None and ref is not None:  # its reference id may have changed, and lists may lag
        stored = await found(cdp.orders.get(ref))
    same = [one for one in listed.values() if may_match(order.value, one) and not is_foreign(one.ref)]
    if ref is None and same:
        stored = min(same, key=lambda one: (len(diff(order.value, one)), extra_fields(order.value, one)))
        same.remove(stored)
    return None if stored is None else Snapshot(stored.ref, Opaque(stored), tuple(one.ref for one in same))


async def read_snapshot(
    cdp: Resources | ResourcesV2,
    snapshot: Snapshot,
    parts: Sequence[Part] = (),
    refs: Mapping[str, UUID | None] = NO_REFS,
    *,
    with_links: bool,
) -> None:
    """Add to a *snapshot* of an order its parts and their extensions.

    *parts* are those of the input, and *refs* their known references by name: a part that a list does not show is asked
    for by its reference. *with_links* reads also which items each consumer uses.
    """
    for kind in LISTED:
        known = [ref for part in parts if part.kind == kind and (ref := refs.get(part.name)) is not None]
        snapshot.parts[kind] = Opaque(await _parts(getattr(cdp, kind), snapshot.ref, known))
    if with_links:
        for consumer in snapshot.listed("consumers").values():
            consumer.order_items = await items_of(cdp, consumer)
    owners = {"order_extensions": [snapshot.ref], "item_extensions": list(snapshot.listed("items"))}
    for kind, its in owners.items():
        if not hasattr(cdp, kind):  # version 2 has none of items
            continue
        extensions: Any = getattr(cdp, kind)
        for owner in its:
            extension = await found(extensions.get(owner))
            if extension is not None:
                snapshot.extensions[owner] = Opaque(extension)


async def _parts(resource: Any, order: UUID, known: Sequence[UUID]) -> dict[UUID, Any]:  # noqa: ANN401 any resource
    """Return the parts of an *order* in a list, and those with *known* references that the list does not show."""
    listed = await _entries(resource.list(order))
    for ref in known:
        if ref not in listed and (missed := await found(resource.get(ref))) is not None:
            listed[ref] = missed
    return listed


async def _entries(listing: Listing[Any]) -> dict[UUID, Any]:
    """Return the whole entries of a list by their references, without entries that were deleted meanwhile."""
    entries = {entry.ref: entry for entry in await all_entries(listing)}
    whole = {ref: await found(listing.whole(entry)) for ref, entry in entries.items()}
    return {ref: entry for ref, entry in whole.items() if entry is not None}
