"""What keeps every rule in an order, and is seldom meant so."""

from __future__ import annotations

import types
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from cdp_orders_async.errors import Violation
from cdp_orders_async.graph import OrderGraph
from cdp_orders_async.models.common import AnyPerson, camel, once_a_model

__all__ = ["doubts"]

EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
CLOCKS_DIFFER = timedelta(minutes=5)
"""What a clock that is fast may be ahead."""
IDS = {"reference_id": "referenceId", "product_id": "productId"}


def doubts(graph: OrderGraph, now: datetime) -> Iterator[Violation]:
    """Yield what is doubtful in an order that keeps every rule; *now* tells what is in the future."""
    order = graph.order
    yield from _of_model(order, "$", now)
    for n, entry in enumerate(graph.items):
        if found := list(_of_model(entry.item, "$.orderItems[]", now)):
            yield from (Violation(one.field.replace("[]", f"[{n}]", 1), one.rule) for one in found)
    if any([entry.item.currency_code != order.currency_code for entry in graph.items]):
        yield Violation("$.orderItems", "have another currency than their order")
    elif graph.items and not _adds_up(graph):
        yield Violation("$.price", "is not the sum of the prices of the items, with or without their quantities")
    if graph.contact is not None:
        yield from _of_person(graph.contact, "$.contact")
    for n, user in enumerate(graph.consumers):
        yield from _of_person(user.consumer, f"$.consumers[{n}]")


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
    yield from _unknown_words(model, at)


def _of_person(person: AnyPerson, at: str) -> Iterator[Violation]:
    yield from _unknown_words(person, at)
    for n, identifier in enumerate(person.identifiers or ()):
        for name in ("provider", "id"):
            if not getattr(identifier, name).strip():
                yield Violation(f"{at}.identifiers[{n}].{name}", "is blank")


def _unknown_words(model: object, at: str) -> Iterator[Violation]:
    for name, words in _words(type(model)):
        value = getattr(model, name)
        if value is not None and value not in words:
            yield Violation(f"{at}.{camel(name)}", "is a word outside the vendor's list")


@once_a_model
def _words(model: type[Any]) -> list[tuple[str, frozenset[str]]]:
    """Return the fields of *model* for which the vendor lists words, though it may take others, and those words."""
    fields: list[tuple[str, frozenset[str]]] = []
    for name, hint in get_type_hints(model).items():
        members = get_args(hint) if get_origin(hint) in {Union, types.UnionType} else ()
        lists = [get_args(member) for member in members if get_origin(member) is Literal]
        if lists:
            fields.append((name, frozenset().union(*lists)))
    return fields
