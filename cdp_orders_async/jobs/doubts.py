"""What keeps every rule in an order, and is seldom meant so."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

from cdp_orders_async.errors import Violation
from cdp_orders_async.graph import OrderGraph
from cdp_orders_async.models.common import AnyPerson, Channel, OrderStatus, camel

__all__ = ["doubts"]

EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
CLOCKS_DIFFER = timedelta(minutes=5)
"""What a clock that is fast may be ahead."""
IDS = {"reference_id": "referenceId", "product_id": "productId"}
WORDS = {
    "status": frozenset(get_args(OrderStatus)),
    "channel": frozenset(get_args(Channel)),
    "payment_type": frozenset({"Card", "Paypal", "Voucher", "ATM", "Cash", "Other"}),
    "card_type": frozenset({"Mastercard", "Visa", "Diners", "American Express"}),
}
"""The words that the vendor names for fields of orders and items, some of which may hold any text."""


def doubts(graph: OrderGraph, now: datetime) -> Iterator[Violation]:
    """Yield what is doubtful in an order that keeps every rule; *now* tells what is in the future.

    The paths have no indexes: one finding stands for all items, or people, of the order.
    """
    order = graph.order
    yield from _of_model(order, "$", now)
    for entry in graph.items:
        yield from _of_model(entry.item, "$.orderItems[]", now)
    if {entry.item.currency_code for entry in graph.items} - {order.currency_code}:
        yield Violation("$.orderItems", "have another currency than their order")
    elif graph.items and not _adds_up(graph):
        yield Violation("$.price", "is not the sum of the prices of the items, with or without their quantities")
    if graph.contact is not None:
        yield from _of_person(graph.contact, "$.contact")
    for user in graph.consumers:
        yield from _of_person(user.consumer, "$.consumers[]")


def _adds_up(graph: OrderGraph) -> bool:
    """Tell whether the items cost what the order does. The vendor does not say whether a price is that of one piece."""
    items, price = [entry.item for entry in graph.items], graph.order.price
    if sum([item.price for item in items]) == price:
        return True
    return sum([item.price * (1 if item.quantity is None else item.quantity) for item in items]) == price


def _of_model(model: Any, at: str, now: datetime) -> Iterator[Violation]:  # noqa: ANN401 an order or an item
    for name, key in IDS.items():
        value = getattr(model, name, None)
        if value is not None and not value.strip():
            yield Violation(f"{at}.{key}", "is blank")
    moment = getattr(model, "ordered_at", None)
    if moment is not None and not EARLIEST <= moment <= now + CLOCKS_DIFFER:
        yield Violation(f"{at}.orderedAt", "is before 2000" if moment < EARLIEST else "is in the future")
    for name, words in WORDS.items():
        value = getattr(model, name, None)
        if value is not None and value not in words:
            yield Violation(f"{at}.{camel(name)}", "is none of the words that the vendor names")


def _of_person(person: AnyPerson, at: str) -> Iterator[Violation]:
    for identifier in person.identifiers or ():
        if not identifier.provider.strip():
            yield Violation(f"{at}.identifiers[].provider", "is blank")
        if not identifier.id.strip():
            yield Violation(f"{at}.identifiers[].id", "is blank")
