"""What an input says of an order, and what a server holds of it, in one form: so that they can be compared."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any

import attrs

from cdp_orders_async import Outcome
from cdp_orders_async.emulator import Emulator
from cdp_orders_async.emulator.records import Record, moment
from cdp_orders_async.wire import to_json
from tests.ingest.life import START, Key, Order
from tests.ingest.versions import Version

PARTS = ("items", "contacts", "consumers", "order_extensions", "item_extensions")


KINDS = {
    "order": "orders",
    "items": "items",
    "contact": "contacts",
    "consumers": "consumers",
    "ext": "order_extensions",
}


Json = dict[str, Any]


@attrs.frozen
class Said:
    """What an input says of one part."""

    kind: str
    data: Json
    uses: tuple[str, ...] = ()
    """The names of the items that a consumer uses."""


@attrs.frozen
class Told:
    """An outcome as it was told, with what the server held at that moment."""

    order: Order
    outcome: Outcome
    held: Mapping[str, Record]
    """Everything of orders with this key, by reference."""
    known: Collection[str]
    """What the call must have known before it began, by reference."""


def kind_of(name: str) -> str:
    """Return the kind of the part with this name."""
    return "item_extensions" if name.startswith("items/") and name.endswith("/ext") else KINDS[name.partition("/")[0]]


def said_of(order: Order, version: Version) -> dict[str, Said]:
    """Return what the input says of each part, by name."""
    graph = version.of(order.graph)
    said: dict[str, Said] = {"order": Said("orders", to_json(graph.order))}
    if graph.contact is not None:
        said["contact"] = Said("contacts", to_json(graph.contact))
    if graph.extension is not None:
        said["ext"] = Said("order_extensions", dict(graph.extension))
    names: dict[str | None, str] = {}
    for n, item in enumerate(graph.items):
        names[item.item.reference_id] = f"items/{n}"
        said[f"items/{n}"] = Said("items", to_json(item.item))
        if item.extension is not None:
            said[f"items/{n}/ext"] = Said("item_extensions", dict(item.extension))
    for n, user in enumerate(graph.consumers):
        uses = tuple(names[use] for use in user.uses)
        said[f"consumers/{n}"] = Said("consumers", to_json(user.consumer), uses)
    return said


def key_of(record: Record) -> Key:
    """Return the key of an order on the server."""
    hours = (moment(str(record.data["orderedAt"])) - START) / timedelta(hours=1)
    return str(record.data["referenceId"]), round(hours)


def held_of(emulator: Emulator, key: Key) -> dict[str, Record]:
    """Return everything that the server has of orders with this key, by reference."""
    store = emulator.store
    held: dict[str, Record] = {}
    for order in store.orders_called(key[0]):
        if key_of(order) == key:
            held[order.ref] = order
            for kind in PARTS[:-1]:
                held.update((part.ref, part) for part in store.parts(kind, order.ref))
            for item in store.parts("items", order.ref):
                held.update((part.ref, part) for part in store.parts("item_extensions", item.ref))
    return held


def differing(said: Said, record: Record, refs: Mapping[str, str]) -> set[str]:
    """Return the keys of what was said that have another value on the server; *refs* are those of parts, by name."""
    wrong = {key for key, value in said.data.items() if record.data.get(key) != value}
    if said.uses and set(links_of(record)) != {refs.get(use) for use in said.uses}:
        wrong.add("orderItems")
    return wrong


def links_of(record: Record) -> Sequence[Any]:
    """Return the references of the items that a consumer on the server uses."""
    links: Any = record.data.get("orderItems")
    return links or ()


def refs_of(outcome: Outcome, held: Mapping[str, Record]) -> dict[str, str]:
    """Return the reference on the server of each part that has one, by name.

    A load may know an extension by the reference of its owner.
    """
    given = {part.name: str(part.ref) for part in outcome.parts if part.ref is not None}
    for name, ref in given.items():
        if kind_of(name).endswith("extensions"):
            own = [one.ref for one in held.values() if one.kind == kind_of(name) and ref in {one.owner, one.ref}]
            given[name] = own[0] if own else ref
    return given
