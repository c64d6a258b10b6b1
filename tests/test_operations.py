"""All operations of the API, over a real socket."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal
from uuid import UUID

import attrs
import pytest

from cdp_orders_async import CdpOrders, Consumer, Extension, NewConsumer, Order, OrderItem, Page
from cdp_orders_async.emulator import Emulator, Switches, running
from cdp_orders_async.kinds import V2_1
from tests.calls import CALLS, ITEM, ORDER, PAIRS, Refs, walked

OPERATIONS = Path(__file__).parent / "data" / "operations.txt"


def vendors() -> list[str]:
    """Return the operations that the vendor lists, by the names that they have here."""
    names = {(route.method, re.sub(r"\{\w+\}", "{}", route.path)): route.operation for route in V2_1.table.routes()}
    listed = [line.split() for line in OPERATIONS.read_text(encoding="utf-8").splitlines() if line[0] != "#"]
    return [
        names[method, re.sub(r"\{\w+\}", "{}", path.replace("{dataExtensionName}", "ext"))] for method, path in listed
    ]


async def test_every_operation_over_a_socket() -> None:
    """Each of the vendor's 39 operations is one call, which asks the server exactly once and nothing else."""
    emulator, refs, got = Emulator(), Refs(), dict[str, object]()
    async with (
        running(emulator) as base_url,
        CdpOrders(base_url=base_url, client_key="key", api_token="token") as cdp,  # noqa: S106 the emulator's own
    ):
        for operation, call in CALLS.items():
            got[operation] = answer = await call(cdp, refs)
            kind, _, verb = operation.partition(".")
            if verb == "create" and hasattr(refs, kind):
                ref: object = getattr(answer, "ref", None)
                assert isinstance(ref, UUID)
                setattr(refs, kind, ref)
    assert len(got) == 39
    assert emulator.requests == dict.fromkeys(vendors(), 1)
    assert_answers(got, refs)


@pytest.mark.parametrize("unexpanded", ["href", "ref"])
async def test_entries_that_are_not_expanded_are_fetched(unexpanded: Literal["href", "ref"]) -> None:
    """Where the server lists links only, walking fetches each entry, and pages hold what arrived."""
    emulator = Emulator(switches=Switches(ignore_expand=True, unexpanded=unexpanded, limit_max=2, repeat_next=True))
    async with (
        running(emulator) as base_url,
        CdpOrders(base_url=base_url, client_key="key", api_token="token") as cdp,  # noqa: S106 the emulator's own
    ):
        order = await cdp.orders.create(ORDER)
        items = [await cdp.items.create(order.ref, attrs.evolve(ITEM, name=str(n))) for n in range(5)]
        consumer = await cdp.consumers.create(order.ref, NewConsumer(order_items=tuple(item.ref for item in items)))
        assert await walked(cdp.items.list(order.ref)) == items
        assert emulator.requests["items.get"] == 5
        assert await walked(cdp.consumers.items(consumer.ref)) == items
        assert emulator.requests["items.get"] == 10
        assert [entry.ref for page in await walked(cdp.items.list(order.ref).pages()) for entry in page.items] == [
            item.ref for item in items
        ]
        assert emulator.requests["items.get"] == 10
        extension = await cdp.order_extensions.create(order.ref, PAIRS)
        assert await walked(cdp.order_extensions.list(order.ref)) == [extension]


def assert_answers(got: dict[str, object], refs: Refs) -> None:
    """Assert that the answers tell one story."""
    order, item, consumer, extension = (
        got[f"{kind}.create"] for kind in ("orders", "items", "consumers", "item_extensions")
    )
    assert isinstance(order, Order)
    assert isinstance(item, OrderItem)
    assert isinstance(consumer, Consumer)
    assert isinstance(extension, Extension)
    for kind in ("orders", "items", "contacts", "consumers", "order_extensions", "item_extensions"):
        created = got[f"{kind}.create"]
        assert got[f"{kind}.get"] == created
        assert got[f"{kind}.list"] == [created]
        assert got[f"{kind}.delete"] is None
    sent, kept = (attrs.asdict(one, recurse=False) for one in (ORDER, order))
    assert kept.items() >= sent.items()
    sent, kept = (attrs.asdict(one, recurse=False) for one in (ITEM, item))
    assert kept.items() >= sent.items()
    assert item.order is not None
    assert item.order.ref == refs.orders
    assert consumer.order_items == (refs.items,)
    assert extension.pairs == PAIRS
    assert got["consumers.items"] == [Page((item,), 0, 100, has_next=False)]
    changed = [got[f"{kind}.update"] for kind in ("orders", "items", "consumers", "item_extensions")]
    assert [getattr(one, "point_of_sale", None) for one in changed] == ["home", None, None, None]
    assert [getattr(one, "order_items", None) for one in changed] == [None, None, (), None]
    assert [getattr(one, "pairs", None) for one in changed] == [None, None, None, {**PAIRS, "color": "red"}]
    left = [got[f"{kind}.delete_fields"] for kind in ("order_extensions", "item_extensions")]
    assert [getattr(one, "pairs", None) for one in left] == [{}, {"withWarranty": True}]
