"""An order is what it was when it was given, whatever becomes of the objects that it was made of."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from decimal import Decimal
from typing import cast

import orjson
import pytest

from cdp_orders_async import (
    GraphItem,
    Identifier,
    MemoryJournal,
    NewContact,
    OrderGraph,
    Resources,
    Verdict,
    ingest,
    ingest_one,
)
from cdp_orders_async.emulator import Emulator
from tests.ingest.expectations import alike, stored, wanted
from tests.ingest.network import Network
from tests.ingest.orders import Json, item, order, whole
from tests.ingest.serving import BASE


@pytest.mark.parametrize("journaled", [True, False])
async def test_a_source_that_uses_its_objects_again(journaled: bool) -> None:  # noqa: FBT001 a parameter of the test
    """An order is what it was when the source gave it, whatever the source does with its parts afterwards."""

    def source() -> Iterator[OrderGraph]:
        first, phone, pairs = order(), item("i1"), dict[str, str | int]()
        ann = NewContact(first_name="Ann", identifiers=(Identifier(provider="CRM", id="1"),))
        items, emails = list[GraphItem](), list[str]()
        for n in range(4):
            first.reference_id, phone.item.name, pairs["n"] = f"A-{n}", f"Phone {n}", n
            for identifier in ann.identifiers or ():
                identifier.id = str(n)
            items[:], emails[:] = [phone], [f"{n}@example.com"]
            ann.emails = cast("tuple[str, ...]", emails)
            given = cast("tuple[GraphItem, ...]", items)
            graph = OrderGraph(order=first, items=given, contact=ann, extension=pairs)
            right.extend(orjson.loads(orjson.dumps(wanted([graph]))))
            yield graph
        first.reference_id = "none of them"

    right: list[Json] = []
    network = Network(Emulator())
    network.delay = 0.01
    journal = MemoryJournal() if journaled else None
    async with ingest(Resources(network, BASE), source(), journal=journal) as load:
        await load.run()
    assert load.counts == {Verdict.LOADED: 4}
    assert stored(network.emulator) == alike(right)


async def test_an_order_that_changes_while_it_is_loaded() -> None:
    """An order is what it was when it was given to `ingest_one`."""
    network = Network(Emulator())
    network.delay = 0.01
    graph = whole()
    right = wanted([graph])
    task = asyncio.create_task(ingest_one(Resources(network, BASE), graph))
    await asyncio.sleep(0)
    graph.order.price, graph.items[0].item.name = Decimal(7), "Other"
    assert (await task).verdict == Verdict.LOADED
    assert stored(network.emulator) == right
