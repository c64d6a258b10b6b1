"""Whole orders for version 2, and what of them version 2.1 refuses."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import get_args

import orjson
import pytest
from hypothesis import given

from cdp_orders_async import (
    V2,
    V2_1,
    Api,
    GraphConsumer,
    GraphFile,
    GraphItem,
    Invalid,
    NewConsumerV2,
    NewOrder,
    NewOrderItemV2,
    OrderGraph,
    OrderItemTypeV2,
    OrderStatusV2,
    parse_graph,
)
from cdp_orders_async.ingest.parts import parts_of
from cdp_orders_async.wire import to_json
from tests import values
from tests.calls import walked
from tests.v2.samples import CONTACT, FLIGHT, GUEST, ORDER, SEGMENT


def rendered(graph: OrderGraph) -> dict[str, object]:
    """Return *graph* as the vendor's documents nest it."""

    def person(value: object) -> dict[str, object]:
        plain = to_json(value)
        return {**plain, "guest": {"href": f"/v2/guests/{plain['guest']}"}} if "guest" in plain else plain

    return {
        **to_json(graph.order),
        "contact": None if graph.contact is None else person(graph.contact),
        "orderItems": [to_json(part.item) for part in graph.items],
        "consumers": [
            {**person(user.consumer), "orderItems": [{"referenceId": reference} for reference in user.uses]}
            for user in graph.consumers
        ],
        "extensions": [] if graph.extension is None else [graph.extension],
    }


@given(values.graphs_v2())
def test_graph_is_read_as_it_was_written(graph: OrderGraph) -> None:
    """Any graph for version 2 keeps its rules and comes back equal; it can be planned like any other."""
    assert graph.violations(V2) == []
    assert parse_graph(orjson.loads(orjson.dumps(rendered(graph))), V2) == graph
    names = [part.name for part in parts_of(graph)]
    assert (
        len(names)
        == len(set(names))
        == 1
        + len(graph.items)
        + len(graph.consumers)
        + sum(part is not None for part in (graph.contact, graph.extension))
    )


def refused(value: object, api: Api) -> list[str]:
    """Return what is wrong with an order, in words."""
    with pytest.raises(Invalid) as caught:
        parse_graph(value, api)
    return [str(violation) for violation in caught.value.violations]


GRAPH = OrderGraph(
    order=ORDER,
    contact=CONTACT,
    items=(GraphItem(FLIGHT),),
    consumers=(GraphConsumer(NewConsumerV2(first_name="A", last_name="B", guest=GUEST), ("B94TXY-1-1",)),),
)
FILE = rendered(GRAPH)
RESERVED = (
    "$.orderItems[0].type: must not be FLIGHT in version 2.1: use another word, such as 'Flight', "
    "and put the flight details into the item's extension"
)
WAY = "put its values into the {}'s extension"


def test_file_of_version_2_over_version_2_1() -> None:
    """What version 2.1 does not take is named, each with what to send in its place."""
    item = {**to_json(FLIGHT), "name": "Dublin to London"}
    old = {**FILE, "orderItems": [item]}
    assert refused(old, V2_1) == [
        f"$.orderItems[0].passengerTypeCode: is no key of version 2.1; {WAY.format('item')}",
        f"$.orderItems[0].flightSegments: is no key of version 2.1; {WAY.format('item')}",
        "$.consumers[0].guest: is no key of version 2.1; name identifiers",
        RESERVED,
    ]
    plain = {key: value for key, value in item.items() if key not in {"passengerTypeCode", "flightSegments"}}
    assert refused({**FILE, "orderItems": [plain], "consumers": []}, V2_1) == [RESERVED]
    new = {**plain, "type": "Flight", "extensions": [{"origin": "DUB", "destination": "LHR"}]}
    graph = parse_graph({**FILE, "orderItems": [new], "consumers": []})
    assert isinstance(graph.order, NewOrder)


@pytest.mark.parametrize(
    ("change", "violations"),
    [
        ({"pointOfSale": None}, ["$.pointOfSale: must be text"]),
        ({"status": "SEARCHED"}, [f"$.status: must be one of {', '.join(get_args(OrderStatusV2))}"]),
        ({"contact": {"firstName": "A", "lastName": "B", "guest": {"href": "x"}}},
         ["$.contact.guest: must be a link to a guest"]),
        ({"contact": {"firstName": "A"}}, ["$.contact.lastName: is required"]),
        ({"contact": {"firstName": "A", "lastName": "B", "city": "C"}},
         [f"$.contact.city: is no key of version 2; {WAY.format('order')}"]),
        ({"orderItems": [{**to_json(FLIGHT), "flightSegments": [{**to_json(SEGMENT), "gate": "B"}]}], "consumers": []},
         ["$.orderItems[0].flightSegments[0].gate: is no key of version 2"]),
        ({"orderItems": [{**to_json(FLIGHT), "extensions": [{"a": 1}]}]},
         ["$.orderItems[0].extensions: of items are not in version 2"]),
        ({"orderItems": [{**to_json(FLIGHT), "currencyCode": "eur", "channel": "web"}]},
         ["$.orderItems[0].currencyCode: must be an ISO 4217 code of three capital letters",
          "$.orderItems[0].channel: must be in capitals"]),
        ({"orderItems": [{**to_json(FLIGHT), "flightSegments": [{**to_json(SEGMENT), "carrier": None}]}]},
         ["$.orderItems[0].flightSegments: each carrier is required"]),
        ({"orderItems": [{**to_json(FLIGHT), "type": "Flight"}]},
         [f"$.orderItems[0].type: must be one of {', '.join(get_args(OrderItemTypeV2))}"]),
    ],
)  # fmt: skip
def test_bad_orders(change: dict[str, object], violations: list[str]) -> None:
    """What version 2 does not take is told with its path."""
    assert parse_graph(FILE, V2) == GRAPH
    assert refused({**FILE, **change}, V2) == violations


def test_keys_of_batch_samples() -> None:
    """The keys that only the Batch API's pages show are taken, and sent under the same names."""
    item = {**to_json(FLIGHT), "consumerTypeCode": "ADT"}
    record = {"ref": str(GUEST), "schema": "order", "mode": "insert", "value": {**FILE, "orderItems": [item]}}
    (part,) = parse_graph(record, V2).items
    assert isinstance(part.item, NewOrderItemV2)
    assert part.item.consumer_type_code == "ADT"
    assert part.item.flight_segments is not None
    assert part.item.flight_segments[0].equipment_type == "73H"
    assert to_json(part.item) == item


async def test_file_of_orders(tmp_path: Path) -> None:
    """A file is read for the version that it is told to be for."""
    path = tmp_path / "orders.jsonl.gz"
    path.write_bytes(gzip.compress(orjson.dumps(FILE)))
    (line,) = await walked(GraphFile(path, V2))
    assert line.graph == GRAPH
    (line,) = await walked(GraphFile(path))
    assert line.graph is None
    assert len(line.violations) > 1


def test_graph_of_one_version_for_the_other() -> None:
    """A graph that was made in Python is told apart too."""
    assert GRAPH.violations(V2) == []
    assert [str(one) for one in GRAPH.violations()] == [
        "$: must be a NewOrder",
        "$.contact: must be a NewContact",
        "$.orderItems[0]: must be a NewOrderItem",
        "$.consumers[0]: must be a NewConsumer",
    ]
