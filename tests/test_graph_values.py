"""Whole orders as values: what they are made of, the ids of their items, and the keys of lines."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import attrs
import orjson
import pytest
from hypothesis import given

from cdp_orders_async import (
    V2,
    GraphConsumer,
    GraphFile,
    GraphItem,
    NewConsumer,
    NewContact,
    NewOrder,
    NewOrderItem,
    OrderGraph,
    assign_references,
    parse_graph,
)
from tests import values
from tests.graphs import GOOD, ITEM, KEY, ORDER, Json, read, refused, told, written
from tests.v2.samples import FLIGHT
from tests.v2.test_graphs import FILE

NEW = NewOrder(reference_id="B94TXY-1", ordered_at=values.NOW, price=Decimal(50), currency_code="EUR")
NEW_ITEM = NewOrderItem(type="MOBILE", name="AZ10", price=Decimal(105), currency_code="EUR", status="CONFIRMED")


@pytest.mark.parametrize(
    ("make", "given", "words"),
    [
        (OrderGraph, {"order": NEW_ITEM}, "order must be NewOrder or NewOrderV2, not NewOrderItem"),
        (OrderGraph, {"order": {}}, "order must be NewOrder or NewOrderV2, not dict"),
        (OrderGraph, {"order": NEW, "contact": NEW_ITEM}, "contact must be NewContact or NewContactV2 or None, not"),
        (OrderGraph, {"order": NEW, "items": NEW_ITEM}, "items must be tuple or list, not NewOrderItem"),
        (OrderGraph, {"order": NEW, "items": None}, "items must be tuple or list, not NoneType"),
        (OrderGraph, {"order": NEW, "items": (NEW_ITEM,)}, r"items\[0\] must be GraphItem, not NewOrderItem"),
        (OrderGraph, {"order": NEW, "consumers": (NewConsumer(),)}, r"consumers\[0\] must be GraphConsumer, not"),
        (OrderGraph, {"order": NEW, "extension": []}, "extension must be Mapping or None, not list"),
        (GraphItem, {"item": NEW}, "item must be NewOrderItem or NewOrderItemV2, not NewOrder"),
        (GraphItem, {"item": NEW_ITEM, "extension": "a"}, "extension must be Mapping or None, not str"),
        (GraphConsumer, {"consumer": NewContact()}, "consumer must be NewConsumer or NewConsumerV2, not NewContact"),
        (GraphConsumer, {"consumer": NewConsumer(), "uses": "I-1"}, "uses must be tuple or list, not str"),
        (GraphConsumer, {"consumer": NewConsumer(), "uses": (1,)}, r"uses\[0\] must be str, not int"),
        (parse_graph, {"value": ORDER, "api": "v2"}, "api must be Api, not str"),
        (GraphFile, {"path": 123}, "path must be str or PathLike, not int"),
        (GraphFile, {"path": None}, "path must be str or PathLike, not NoneType"),
        (GraphFile, {"path": "o.jsonl", "api": "v2"}, "api must be Api, not str"),
        (assign_references, {"graph": NEW}, "graph must be OrderGraph, not NewOrder"),
    ],
)
def test_what_is_of_the_wrong_type(make: Callable[..., object], given: dict[str, object], words: str) -> None:
    """Something of a wrong type is a TypeError in words, where it is given."""
    with pytest.raises(TypeError, match=f"^{words}"):
        make(**given)


def test_values_of_the_wrong_type() -> None:
    """What is within the models is judged by the rules."""
    wrong: dict[str, Any] = {"reference_id": 1, "ordered_at": "2024", "price": "1"}
    parts: dict[str, Any] = {"extension": {1: "a", "b": float("nan")}, "mode": "delete"}
    graph = OrderGraph(order=attrs.evolve(NEW, **wrong), **parts)
    assert [str(one) for one in graph.violations()] == [
        "$.referenceId: must be text",
        "$.orderedAt: must be a date and time with a time zone",
        "$.price: must be a number (a Decimal in Python)",
        "$.mode: must be 'insert' or 'upsert'",
        "$.extensions[0]: each key must be text",
        "$.extensions[0].b: must be a finite number",
    ]


def test_graph_that_breaks_many_rules() -> None:
    """Of a graph that was made in Python, too, a hundred broken rules are told and the others counted."""
    wrong = attrs.evolve(NEW_ITEM, name="")
    found = OrderGraph(order=NEW, items=(GraphItem(wrong),) * 250).violations()
    assert (len(found), str(found[-1])) == (101, "$: breaks 150 more rules")
    found = OrderGraph(order=NEW, consumers=(GraphConsumer(NewConsumer(), ("x",) * 20_001),) * 3).violations()
    assert (len(found), str(found[-1])) == (101, "$: breaks at least 19901 more rules")


@pytest.mark.parametrize("value", [[], "order", b"{}", 1, None])
def test_only_what_is_wrong_is_told_of_what_is_no_object(value: object) -> None:
    """Of what is no order at all, nothing is required."""
    assert refused(value) == ["$: must be an object"]
    assert refused({"schema": "order", "mode": "insert", "value": value}) == ["$: must be an object"]
    assert refused({**ORDER, "orderItems": [value, ITEM]}) == ["$.orderItems[0]: must be an object"]


@pytest.mark.parametrize(
    ("change", "key", "meant"),
    [
        ({}, "items", "orderItems"),
        ({}, "order_items", "orderItems"),
        ({}, "ORDERITEMS", "orderItems"),
        ({}, "consumer", "consumers"),
        ({}, "extension", "extensions"),
        ({}, "payment", "paymentType"),
        ({"currencyCode": None}, "currency", "currencyCode"),
        ({"orderedAt": None}, "order_date", "orderedAt"),
        ({}, "currency", None),
        ({}, "Price", None),
        ({}, "colour", None),
        ({}, "id", None),
        ({}, "x" * 1000, None),
    ],
)
def test_unknown_key(change: Json, key: str, meant: str | None) -> None:
    """A key that is nearly one of the API's is named with it, if that one is not there too."""
    value = {one: two for one, two in {**ORDER, **change}.items() if two is not None}
    way = "put its values into the order's extension" if meant is None else f"did you mean {meant}?"
    name = key if len(key) <= 64 else f"{key[:64]}…"
    assert f"$.{name}: is no key of version 2.1; {way}" in refused({**value, key: 1})


def test_unknown_keys_of_parts() -> None:
    """Each part has keys of its own."""
    contact = {"first_name": "Ada", "identifiers": [{"provider": "a", "id": "b", "expiry_date": None}]}
    assert refused({**ORDER, "contact": contact, "orderItems": [{**ITEM, "extention": None}]}) == [
        "$.contact.first_name: is no key of version 2.1; did you mean firstName?",
        "$.contact.identifiers[0].expiry_date: is no key of version 2.1; did you mean expiryDate?",
        "$.orderItems[0].extention: is no key of version 2.1; did you mean extensions?",
    ]


def test_key_of_an_extension_is_named() -> None:
    """Of fifty keys, the wrong one is named; what would rule a terminal is not repeated."""
    pairs = {**{f"key{n}": n for n in range(48)}, "store_id": 1, "a\x1b[2J": 1}
    rule = "each key must be camelCase, letters and digits only"
    expected = [f"$.extensions[0].{key}: {rule}" for key in ("store_id", "***")]
    assert refused({**ORDER, "extensions": [pairs]}) == expected
    assert refused({**ORDER, "price": "1", "extensions": [pairs]}) == ["$.price: must be a number", *expected]
    item = {**ITEM, "extensions": [{"a\nb": 1}]}
    assert refused({**ORDER, "orderItems": [item]}) == [f"$.orderItems[0].extensions[0].***: {rule}"]


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({}, KEY),
        ({"price": "x"}, KEY),
        ({"price": "x", "orderedAt": "2024-01-01T17:17:16+01:00"}, KEY),
        ({"orderedAt": "yesterday"}, "B94TXY-1"),
        ({"orderedAt": 1}, "B94TXY-1"),
        ({"orderedAt": "0001-01-01T00:00:00+14:00"}, "B94TXY-1"),
        ({"referenceId": 1}, None),
        ({"referenceId": ""}, None),
        ({"referenceId": None}, None),
        ({"price": "x", "referenceId": "a\x1b[2J\n"}, "a\ufffd[2J\ufffd@2024-01-01T16:17:16+00:00"),
    ],
)
async def test_key_of_a_line(change: Json, key: str | None, tmp_path: Path) -> None:
    """A line has the key of its order, as far as it can be read, whatever else is wrong."""
    value = {**ORDER, **change}
    record = {"schema": "guest" if change else "order", "mode": "insert", "value": value}
    path = written(tmp_path / "o.jsonl", orjson.dumps(value), orjson.dumps(record))
    lines = await read(GraphFile(path))
    assert [line.key for line in lines] == [key, key]
    assert [line.graph is None for line in lines] == [bool(change)] * 2
    assert all(line.graph is None or line.graph.key == key for line in lines)


async def test_key_that_is_not_sure(tmp_path: Path) -> None:
    """Of two reference ids, neither is the key; a long one is cut; a broken line has one too."""
    twice = GOOD[:-1] + b',"referenceId":"B"}'
    moved = GOOD[:-1] + b',"orderedAt":"2024-01-01T16:17:17Z"}'
    long = orjson.dumps({**ORDER, "referenceId": "x" * 100_000, "price": "x"})
    lines = await read(GraphFile(written(tmp_path / "o.jsonl", twice, moved, long, GOOD[:-1], b"[]")))
    assert [line.key and len(line.key) for line in lines] == [None, 8, 220 + 1 + 26, len(KEY), None]


@given(values.graphs())
def test_assigned_references_tell_items_apart(graph: OrderGraph) -> None:
    """Each item has an id, those that had one have the same, and no two assigned ones are equal."""
    made = assign_references(graph)
    ids = [one.item.reference_id for one in made.items]
    old = [one.item.reference_id for one in graph.items]
    new = [one for one, before in zip(ids, old, strict=True) if not before]
    assert None not in ids
    assert [one for one, before in zip(ids, old, strict=True) if before] == [one for one in old if one]
    assert len({*new}) == len(new)
    assert not {*new} & {*old}
    assert made.violations() == [] or any("" in one.uses for one in graph.consumers)
    assert assign_references(made) is made
    assert attrs.evolve(made, items=()) == attrs.evolve(graph, items=())


async def test_assigned_references(tmp_path: Path) -> None:
    """The id comes from the order and the place, so that a change to one item changes no other's id."""
    bare = {key: value for key, value in ITEM.items() if key != "referenceId"}
    items = [
        bare,
        ITEM,
        {**bare, "referenceId": ""},
        {**bare, "referenceId": None},
        {**ITEM, "referenceId": "B94TXY-1#4"},
    ]
    value = {**ORDER, "orderItems": items, "consumers": [{"orderItems": [{"referenceId": "I-1"}]}]}
    made = assign_references(parse_graph(value))
    ids = ["B94TXY-1#1", "I-1", "B94TXY-1#3", "B94TXY-1#4#", "B94TXY-1#4"]
    assert [one.item.reference_id for one in made.items] == ids
    path = written(tmp_path / "o.jsonl", orjson.dumps(value), orjson.dumps({**value, "referenceId": 1}))
    line, wrong = await read(GraphFile(path, assign_references=True))
    assert line.graph == made
    assert told(wrong) == ["$.referenceId: must be text"]
    (line, _) = await read(GraphFile(path))
    assert line.graph == parse_graph(value)
    changed = parse_graph({**value, "orderItems": [{**bare, "price": 1}, *items[1:]]})
    assert [one.item.reference_id for one in assign_references(changed).items] == ids


async def test_assigned_references_of_version_2(tmp_path: Path) -> None:
    """Version 2 requires an id of each item, which a file need not have then."""
    item = {
        key: value for key, value in orjson.loads(orjson.dumps(FILE["orderItems"]))[0].items() if key != "referenceId"
    }
    path = written(tmp_path / "o.jsonl", orjson.dumps({**FILE, "orderItems": [item], "consumers": []}))
    (line,) = await read(GraphFile(path, V2))
    assert told(line) == ["$.orderItems[0].referenceId: is required"]
    (line,) = await read(GraphFile(path, V2, assign_references=True))
    assert line.graph is not None
    assert line.graph.items[0].item == attrs.evolve(FLIGHT, reference_id=f"{FILE['referenceId']}#1")
