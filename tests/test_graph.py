"""Whole orders from JSON data: what is read, and what is refused and where."""

from __future__ import annotations

from decimal import Decimal

import orjson
import pytest
from hypothesis import given

from cdp_orders_async import (
    GraphConsumer,
    GraphItem,
    NewConsumer,
    NewContact,
    NewOrder,
    NewOrderItem,
    OrderGraph,
    parse_graph,
)
from cdp_orders_async.graph import Pairs
from cdp_orders_async.wire import to_json
from tests import values
from tests.graphs import ITEM, ORDER, Json, refused

UNKNOWN = "is no key of version 2.1; put its values into the order's extension"
NO_KEY = "is no key of version 2.1"
UNKNOWN_OF_ITEM = "is no key of version 2.1; put its values into the item's extension"
PRIMITIVE = "must be text, a boolean or a number"


def extended(value: Json, pairs: Pairs | None) -> Json:
    """Return *value* with its extension as the vendor nests it."""
    return value if pairs is None else {**value, "extensions": [{"name": "ext", "key": "default", **pairs}]}


def rendered(graph: OrderGraph) -> Json:
    """Return *graph* as the vendor's documents nest it."""
    whole: Json = {**to_json(graph.order)}
    if graph.contact is not None:
        whole["contact"] = to_json(graph.contact)
    whole["orderItems"] = [extended(to_json(part.item), part.extension) for part in graph.items]
    whole["consumers"] = [
        {**to_json(user.consumer), "orderItems": [{"referenceId": reference} for reference in user.uses]}
        for user in graph.consumers
    ]
    return extended(whole, graph.extension)


@given(values.graphs())
def test_graph_is_read_as_it_was_written(graph: OrderGraph) -> None:
    """Any graph comes back equal from an import record, and from the bare order but for its mode."""
    value = rendered(graph)
    record = {"ref": "8e3ee1a2-9c54-4ae5-8a4b-3b8b8b1e2d11", "schema": "order", "mode": graph.mode, "value": value}
    assert parse_graph(orjson.loads(orjson.dumps(record))) == graph
    assert parse_graph(orjson.loads(orjson.dumps(value))).order == graph.order


def test_order_and_its_parts() -> None:
    """Each part is where the vendor nests it."""
    graph = parse_graph(
        {
            **ORDER,
            "contact": {"firstName": "Ada"},
            "orderItems": [{**ITEM, "extensions": [{"color": "obsidian"}]}],
            "consumers": [{"firstName": "Ada", "orderItems": [{"referenceId": "I-1"}]}, {}],
            "extensions": [{"name": "ext", "key": "default", "totalUnits": 8}],
        }
    )
    item = NewOrderItem(
        type="MOBILE", name="AZ10", price=Decimal(105), currency_code="EUR", status="CONFIRMED", reference_id="I-1"
    )
    assert graph == OrderGraph(
        order=NewOrder(reference_id="B94TXY-1", ordered_at=values.NOW, price=Decimal(50), currency_code="EUR"),
        contact=NewContact(first_name="Ada"),
        items=(GraphItem(item, {"color": "obsidian"}),),
        consumers=(GraphConsumer(NewConsumer(first_name="Ada"), ("I-1",)), GraphConsumer(NewConsumer())),
        extension={"totalUnits": 8},
    )
    assert graph.key == "B94TXY-1@2024-01-01T16:17:16+00:00"


def test_what_says_nothing_is_let_through() -> None:
    """Null is as good as absent, and so is what the server sets: refs, times, and the order time of an item."""
    empty = dict.fromkeys(["contact", "orderItems", "consumers", "extensions", "channel", "status"])
    kept = {"ref": "x", "href": "x", "createdAt": "x", "modifiedAt": "x"}
    item = {**ITEM, **kept, "orderedAt": ORDER["orderedAt"], "extensions": None, "vendor": None}
    assert parse_graph({**ORDER, **empty, **kept}) == parse_graph({**ORDER, "extensions": [], "consumers": []})
    assert parse_graph({**ORDER, "orderItems": [item]}) == parse_graph({**ORDER, "orderItems": [ITEM]})


@pytest.mark.parametrize(
    ("person", "emails"),
    [
        ({"email": "a@b"}, ("a@b",)),
        ({"email": "a@b", "emails": ["c@d"]}, ("a@b", "c@d")),
        ({"email": "a@b", "emails": ["c@d", "a@b"]}, ("c@d", "a@b")),
        ({"email": None, "emails": ["c@d"]}, ("c@d",)),
        ({"email": None}, None),
    ],
)
def test_single_email_of_the_batch_api(person: Json, emails: object) -> None:
    """The one ``email`` of the Batch API is among the ``emails``, of a contact and of a consumer."""
    graph = parse_graph({**ORDER, "contact": person, "consumers": [person]})
    assert graph.contact is not None
    assert graph.contact.emails == graph.consumers[0].consumer.emails == emails


@pytest.mark.parametrize(
    ("change", "violations"),
    [
        ({"price": None}, ["$.price: must be a number"]),
        ({"orderedAt": "yesterday"}, ["$.orderedAt: must be a time, such as 2024-01-01T16:17:16Z"]),
        (
            {"orderedAt": 0, "price": "1"},
            ["$.orderedAt: must be a time, such as 2024-01-01T16:17:16Z", "$.price: must be a number"],
        ),
        ({"currencyCode": "euro"}, ["$.currencyCode: must be an ISO 4217 code of three capital letters"]),
        ({"colour": 1, "Price": 1}, [f"$.colour: {UNKNOWN}", f"$.Price: {UNKNOWN}"]),
        (
            {"lineItems": [], "products": {}, "note": None},
            [f"$.{key}: {NO_KEY}" for key in ("lineItems", "products", "note")],
        ),
        ({"orderItems": [{**ITEM, "tags": ["a"]}]}, [f"$.orderItems[0].tags: {NO_KEY}"]),
        ({"orderItems": [{**ITEM, "colour": "red"}]}, [f"$.orderItems[0].colour: {UNKNOWN_OF_ITEM}"]),
        ({"consumers": [{"firstName": "Ada", "loyal": True}]}, [f"$.consumers[0].loyal: {NO_KEY}"]),
        ({"contact": "Ada"}, ["$.contact: must be an object"]),
        ({"contact": {"orderItems": 1}}, [f"$.contact.orderItems: {NO_KEY}"]),
        ({"contact": {"email": 1}}, ["$.contact.emails[0]: must be text"]),
        ({"contact": {"email": "a", "emails": "b"}}, ["$.contact.emails: must be a list"]),
        ({"contact": {"dateOfBirth": "9999-01-01T00:00Z"}}, ["$.contact.dateOfBirth: must be in the past"]),
        (
            {"contact": {"identifiers": [{"provider": "a", "id": "b", "type": 1}, 2]}},
            [f"$.contact.identifiers[0].type: {NO_KEY}", "$.contact.identifiers[1]: must be an object"],
        ),
        (
            {"contact": {"identifiers": [{"provider": "a", "expiryDate": 1}]}},
            [
                "$.contact.identifiers[0].id: is required",
                "$.contact.identifiers[0].expiryDate: must be a date, such as 2024-01-31",
            ],
        ),
        (
            {"orderedAt": "2024-13-01", "price": "fifty", "currencyCode": "EURO"},
            [
                "$.orderedAt: must be a time, such as 2024-01-01T16:17:16Z",
                "$.price: must be a number",
                "$.currencyCode: must be an ISO 4217 code of three capital letters",
            ],
        ),
        (
            {
                "price": "fifty",
                "contact": {
                    "dateOfBirth": "31/01/1990",
                    "firstName": 1,
                    "identifiers": [
                        {"provider": 1, "id": ""},
                        {"provider": "a", "id": "b"},
                        {"provider": "", "id": "b"},
                    ],
                },
                "orderItems": [{**ITEM, "price": "fifty", "name": "x" * 129}],
                "consumers": [{"orderItems": [{"referenceId": "I-1"}, {"referenceId": "I-9"}]}],
            },
            [
                "$.price: must be a number",
                "$.contact.dateOfBirth: must be a date, such as 2024-01-31",
                "$.contact.identifiers[0].provider: must be text",
                "$.contact.firstName: must be text",
                "$.contact.identifiers[0].id: must not be empty",
                "$.contact.identifiers[2].provider: must not be empty",
                "$.orderItems[0].price: must be a number",
                "$.orderItems[0].name: must be at most 128 characters",
                "$.consumers[0].orderItems[1].referenceId: must name exactly one item of this order",
            ],
        ),
        ({"orderItems": "I-1"}, ["$.orderItems: must be a list"]),
        (
            {"orderItems": "I-1", "consumers": [{"orderItems": [{"referenceId": "I-1"}]}]},
            ["$.orderItems: must be a list"],
        ),
        (
            {"orderItems": [ITEM, {"vendor": None}]},
            [f"$.orderItems[1].{key}: is required" for key in ("price", "currencyCode", "type", "name", "status")],
        ),
        (
            {"orderItems": [*[ITEM] * 3, {**ITEM, "name": "x" * 129}]},
            ["$.orderItems[3].name: must be at most 128 characters"],
        ),
        ({"orderItems": [{**ITEM, "flightSegments": "x"}]}, [f"$.orderItems[0].flightSegments: {UNKNOWN_OF_ITEM}"]),
        (
            {"orderItems": [{**ITEM, "orderedAt": "2024-01-02T00:00:00Z"}]},
            [f"$.orderItems[0].orderedAt: {UNKNOWN_OF_ITEM}"],
        ),
        (
            {"orderItems": [{**ITEM, "extensions": [{"a": None, "b": ["x"]}]}]},
            [f"$.orderItems[0].extensions[0].{key}: {PRIMITIVE}" for key in "ab"],
        ),
        ({"extensions": "ext"}, ["$.extensions: must be a list"]),
        ({"extensions": [1]}, ["$.extensions[0]: must be an object"]),
        ({"extensions": [{"a": 1}, {"b": 2}]}, ["$.extensions: must have at most one extension"]),
        (
            {"extensions": [{"name": "mine", "key": None}]},
            ["$.extensions[0].name: must be 'ext'", "$.extensions[0].key: must be 'default'"],
        ),
        ({"extensions": [{"ref": "x"}]}, ["$.extensions[0].ref: is a key that the server sets itself"]),
        ({"consumers": [1]}, ["$.consumers[0]: must be an object"]),
        (
            {"consumers": [{"orderItems": ["I-1", {"referenceId": 1}]}]},
            [f"$.consumers[0].orderItems[{n}].referenceId: must name an item of this order" for n in (0, 1)],
        ),
        ({"consumers": [{"orderItems": "I-1"}]}, ["$.consumers[0].orderItems: must be a list"]),
        (
            {"consumers": [{"city": None}, {"orderItems": [{"referenceId": "I-9"}]}], "orderItems": [ITEM]},
            ["$.consumers[1].orderItems[0].referenceId: must name exactly one item of this order"],
        ),
        (
            {"consumers": [{"orderItems": [{"referenceId": "I-1"}]}], "orderItems": [ITEM, ITEM]},
            ["$.consumers[0].orderItems[0].referenceId: must name exactly one item of this order"],
        ),
    ],
)
def test_bad_orders(change: Json, violations: list[str]) -> None:
    """What is wrong with an order is told with its path, bare or in an import record."""
    assert refused({**ORDER, **change}) == violations
    assert refused({"schema": "order", "mode": "insert", "value": {**ORDER, **change}}) == violations


def test_reserved_type() -> None:
    """An item of a type that version 2.1 reserves is refused by name, and it is said what to send instead."""
    (wrong,) = refused({**ORDER, "orderItems": [{**ITEM, "type": "FLIGHT"}]})
    assert wrong == (
        "$.orderItems[0].type: must not be FLIGHT in version 2.1: use another word, such as 'Flight', "
        "and put the flight details into the item's extension"
    )


SCHEMA, MODE = "$.schema: must be 'order'", "$.mode: must be 'insert' or 'upsert'"


@pytest.mark.parametrize(
    ("record", "violations"),
    [
        ({"schema": "guest", "mode": "upsert"}, [SCHEMA]),
        ({"schema": "order", "mode": "delete"}, [MODE]),
        ({"schema": "order"}, [MODE]),
        ({"schema": ["order"], "mode": ["insert"]}, [SCHEMA, MODE]),
        ({"schema": {}, "mode": {}}, [SCHEMA, MODE]),
        ({"schema": "order", "mode": "insert", "value": [ORDER]}, ["$: must be an object"]),
    ],
)
def test_bad_records(record: Json, violations: list[str]) -> None:
    """An import record that is not of an order, or neither inserts nor upserts, is refused."""
    assert refused({"value": ORDER, **record})[: len(violations)] == violations


@pytest.mark.parametrize("value", [[], "order", 1, None])
def test_what_is_no_object(value: object) -> None:
    """A line has to be an object."""
    assert refused(value)[0] == "$: must be an object"


def test_many_uses_are_counted_once() -> None:
    """An order with very many items and uses is judged in time that grows with it, not with its square."""
    named = [{"referenceId": str(n)} for n in range(20_000)]
    graph = parse_graph(
        {**ORDER, "orderItems": [{**ITEM, **one} for one in named], "consumers": [{"orderItems": named}]}
    )
    assert len(graph.consumers[0].uses) == 20_000
