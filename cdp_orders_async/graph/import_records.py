"""A whole order as an import record of the Batch API, and the orders that the Batch API cannot take.

Source: the vendor's pages on the Batch API: batch-file-formatting-requirements.html, order-data-model.html,
order-item-data-model.html and send-additional-order-data.html.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cdp_orders_async.errors import Violation
from cdp_orders_async.graph.values import GraphConsumer, GraphItem, OrderGraph, Pairs
from cdp_orders_async.wire import encode, to_json

__all__ = ["import_record", "not_importable"]

MOST_PAIRS = 50
"""The most pairs of an extension in the Batch API; the REST API takes twice as many."""
ALWAYS = (("channel", "channel"), ("point_of_sale", "pointOfSale"))
"""The fields of an order that the Batch API requires in each mode, and the REST API does not."""
FOR_INSERT = (*ALWAYS, ("status", "status"), ("payment_type", "paymentType"))
OF_ITEM = (
    ("product_id", "productId"),
    ("name", "name"),
    ("description", "description"),
    ("vendor", "vendor"),
)
"""The fields of an item that the Batch API requires. Version 2.1 of the REST API requires only the name."""
REQUIRED = "is required by the Batch API"
TOO_MANY = f"must have at most {MOST_PAIRS} pairs in the Batch API"
ONE_EMAIL = "must be at most one in the Batch API"
NO_UPSERT = "cannot be sent in mode upsert by the Batch API, which inserts items only"
NO_GUEST = "cannot be sent by the Batch API: name identifiers"


def not_importable(graph: OrderGraph) -> list[Violation]:
    """Return the rules of the Batch API that *graph*, which keeps the rules of the REST API, breaks."""
    order = graph.order
    inserts = graph.mode == "insert"
    needed = FOR_INSERT if inserts else ALWAYS
    found = [Violation(f"$.{key}", REQUIRED) for name, key in needed if not getattr(order, name)]
    if inserts and order.payment_type == "Card" and not order.card_type:
        found.append(Violation("$.cardType", f"{REQUIRED} where paymentType is Card"))
    if graph.extension is not None and len(graph.extension) > MOST_PAIRS:
        found.append(Violation("$.extensions[0]", TOO_MANY))
    if graph.items and not inserts:
        found.append(Violation("$.orderItems", NO_UPSERT))
    for n, entry in enumerate(graph.items):
        _judge_item(entry, n, found)
    if graph.contact is not None:
        _judge_person(graph.contact, "$.contact", found)
    for n, user in enumerate(graph.consumers):
        _judge_person(user.consumer, f"$.consumers[{n}]", found)
    return found


def _judge_item(entry: GraphItem, n: int, found: list[Violation]) -> None:
    item: Any = entry.item
    if not (item.product_id and item.name and item.description and item.vendor):
        found += [Violation(f"$.orderItems[{n}].{key}", REQUIRED) for name, key in OF_ITEM if not getattr(item, name)]
    if entry.extension is not None and len(entry.extension) > MOST_PAIRS:
        found.append(Violation(f"$.orderItems[{n}].extensions[0]", TOO_MANY))


def _judge_person(person: Any, at: str, found: list[Violation]) -> None:  # noqa: ANN401 one of several models
    if person.emails is not None and len(person.emails) > 1:
        found.append(Violation(f"{at}.emails", ONE_EMAIL))
    if getattr(person, "guest", None) is not None:
        found.append(Violation(f"{at}.guest", NO_GUEST))


def import_record(graph: OrderGraph, ref: str) -> bytes:
    """Return *graph* as one line of a batch file, without its line end; *ref* is the UUID of the record."""
    value: dict[str, Any] = to_json(graph.order)
    if graph.contact is not None:
        value["contact"] = _person(graph.contact)
    if graph.items:
        value["orderItems"] = [_item(entry) for entry in graph.items]
    if graph.consumers:
        value["consumers"] = [_consumer(user) for user in graph.consumers]
    if graph.extension is not None:
        value["extensions"] = _extensions(graph.extension)
    return encode({"ref": ref, "schema": "order", "mode": graph.mode, "value": value})


def _item(entry: GraphItem) -> dict[str, Any]:
    fields = to_json(entry.item)
    return fields if entry.extension is None else {**fields, "extensions": _extensions(entry.extension)}


def _consumer(user: GraphConsumer) -> dict[str, Any]:
    fields = _person(user.consumer)
    return {**fields, "orderItems": [{"referenceId": use} for use in user.uses]} if user.uses else fields


def _person(person: object) -> dict[str, Any]:
    """Return a person with the one ``email`` that the Batch API has in place of ``emails``."""
    fields = to_json(person)
    emails: Sequence[str] = fields.pop("emails", ())
    return {**fields, "email": emails[0]} if emails else fields


def _extensions(pairs: Pairs) -> list[dict[str, Any]]:
    return [{"name": "ext", "key": "default", **pairs}]
