"""Orders to load, and their parts."""

from __future__ import annotations

import importlib.resources
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import attrs

from cdp_orders_async import (
    GraphConsumer,
    GraphFile,
    GraphItem,
    Identifier,
    NewConsumer,
    NewContact,
    NewOrder,
    NewOrderItem,
    OrderGraph,
)

Json = dict[str, Any]

WHEN = datetime(2024, 1, 1, 16, 17, 16, tzinfo=UTC)


def order(reference_id: str = "A", **rest: object) -> NewOrder:
    """Return an order."""
    values: Json = {"ordered_at": WHEN, "price": Decimal(50), "currency_code": "EUR", **rest}
    return NewOrder(reference_id=reference_id, **values)


def item(
    reference_id: str | None = None, extension: Mapping[str, str | int] | None = None, **rest: object
) -> GraphItem:
    """Return an item with the same values each time, except those that are given."""
    values: Json = {"type": "SEAT", "name": "Seat", "price": Decimal("9.5"), "currency_code": "EUR", "status": "OK"}
    values.update(rest)
    return GraphItem(NewOrderItem(reference_id=reference_id, **values), extension)


def person(name: str | None = "Ann", *ids: str) -> Json:
    """Return the fields of a person."""
    identifiers = tuple(Identifier(provider="CRM", id=one) for one in ids) or None
    return {"first_name": name, "identifiers": identifiers}


def consumer(name: str | None = "Ann", *ids: str, uses: Sequence[str] = ()) -> GraphConsumer:
    """Return a consumer who uses some items."""
    return GraphConsumer(NewConsumer(**person(name, *ids)), tuple(uses))


def whole(reference_id: str = "A") -> OrderGraph:
    """Return an order with every kind of part."""
    return OrderGraph(
        order=order(reference_id, channel="WEB"),
        contact=NewContact(**person("Ann", "1"), emails=("ann@example.com",)),
        items=(item("i1", {"seat": "1A"}), item("i2"), item(None, {"seat": "1B"}), item(), item()),
        consumers=(consumer("Ann", "1", uses=["i1", "i2"]), consumer("Bob")),
        extension={"campaign": "spring", "visits": 3},
    )


async def sample() -> list[OrderGraph]:
    """Return the packaged orders."""
    packed = importlib.resources.files("cdp_orders_async") / "data" / "orders-50.jsonl.gz"
    with importlib.resources.as_file(packed) as path:
        return [line.graph async for line in GraphFile(path) if line.graph is not None]


def count(graphs: Iterable[OrderGraph]) -> int:
    """Count the parts of orders."""
    return sum(
        1
        + (graph.contact is not None)
        + (graph.extension is not None)
        + len(graph.items)
        + len(graph.consumers)
        + sum(one.extension is not None for one in graph.items)
        for graph in graphs
    )


def later(graph: OrderGraph, time: timedelta) -> OrderGraph:
    """Return *graph*, ordered later."""
    return attrs.evolve(graph, order=attrs.evolve(graph.order, ordered_at=graph.order.ordered_at + time))
