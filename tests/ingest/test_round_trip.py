"""Whatever is sent, and whatever form the server shows it in, is found again: loading it twice changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import attrs
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from cdp_orders_async.emulator import Emulator, Switches
from cdp_orders_async.ingest.compare import diff, may_match, merge
from tests import values
from tests.calls import walked
from tests.ingest.network import Network
from tests.ingest.orders import whole
from tests.ingest.serving import BASE
from tests.ingest.versions import NEW, OLD, Version

uses = st.none() | st.lists(st.uuids(), max_size=2).map(tuple)


def using(consumers: SearchStrategy[Any]) -> SearchStrategy[Any]:
    """Return *consumers* who use items, or do not say."""
    return st.tuples(consumers, uses).map(lambda pair: attrs.evolve(pair[0], order_items=pair[1]))


ANY: Mapping[Version, Mapping[str, SearchStrategy[Any]]] = {
    NEW: {
        "orders": values.orders,
        "items": values.items,
        "contacts": values.contacts,
        "consumers": using(values.consumers),
        "order_extensions": values.pairs,
        "item_extensions": values.pairs,
    },
    OLD: {
        "orders": values.orders_v2,
        "items": values.items_v2,
        "contacts": values.contacts_v2,
        "consumers": using(values.consumers_v2),
        "order_extensions": values.pairs,
    },
}
"""Every kind of part in each version, and all its values."""
parts = st.sampled_from([(version, kind) for version, kinds in ANY.items() for kind in kinds]).flatmap(
    lambda part: st.tuples(st.just(part[0]), st.just(part[1]), ANY[part[0]][part[1]])
)


class Server:
    """An emulator that holds an order with an item and a contact, without a network."""

    def __init__(self, version: Version, switches: Switches) -> None:
        self.cdp: Any = version.resources(Network(Emulator(switches=switches)), BASE)
        self.graph = version.of(whole("its order"))

    async def fill(self) -> None:
        """Create what other parts hang on."""
        self.order: UUID = (await self.cdp.orders.create(self.graph.order)).ref
        self.item: UUID = (await self.cdp.items.create(self.order, self.graph.items[0].item)).ref
        contact = await self.cdp.contacts.create(self.order, self.graph.contact)
        self.guest: UUID = contact.guest.ref

    def linked(self, value: Any) -> Any:  # noqa: ANN401 a model or pairs
        """Return *value* with links to what is there, where it may have any."""
        links: dict[str, object] = {"guest": self.guest, "order_items": (self.item,)}
        there = {name: link for name, link in links.items() if getattr(value, name, None)}
        return attrs.evolve(value, **there) if there else value

    async def keep(self, kind: str, value: Any) -> list[Any]:  # noqa: ANN401 a model or pairs
        """Create *value* and return it as the answer shows it, and as it can be fetched and listed."""
        resource = getattr(self.cdp, kind)
        owner = self.item if kind == "item_extensions" else self.order
        if kind == "orders":
            made = await resource.create(value)
            listing = resource.list(reference_id=value.reference_id)
        else:
            made = await resource.create(owner, value)
            listing = resource.list(owner)
        fetched = await resource.get(owner if kind.endswith("extensions") else made.ref)
        return [made, fetched, *(one for one in await walked(listing) if one.ref == made.ref)]


readings = st.builds(
    Switches,
    upsert=st.just(False),  # noqa: FBT003 hypothesis has no names here
    unexpanded=st.sampled_from(["href", "ref"]),
    ignore_expand=st.booleans(),
    limit_max=st.sampled_from([1, 2, 100]),
    clamp_silently=st.booleans(),
    repeat_next=st.booleans(),
    dates_only=st.booleans(),
)


@given(parts, readings)
async def test_what_was_sent_is_found_again(part: tuple[Version, str, Any], switches: Switches) -> None:
    """No value of any field, in either version, differs from what a server then shows of it, however it shows it."""
    version, kind, value = part
    server = Server(version, switches)
    await server.fill()
    sent = server.linked(value)
    shown = await server.keep(kind, sent)
    assert len(shown) == 3
    for got in shown:
        assert diff(sent, got) == ()
        assert may_match(sent, got)
        if not kind.endswith("extensions"):
            again = merge(sent, got, ())
            assert (diff(again, got), diff(sent, got)) == ((), ())
