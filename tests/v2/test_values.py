"""What version 2 sends and shows, and its rules."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, get_args

import attrs
import orjson
import pytest
from hypothesis import given

from cdp_orders_async import (
    Consumer,
    FlightSegment,
    NewConsumer,
    NewConsumerV2,
    NewContact,
    NewContactV2,
    NewOrder,
    NewOrderItem,
    NewOrderItemV2,
    NewOrderV2,
    OrderItemStatusV2,
    OrderItemTypeV2,
    OrderItemV2,
    OrderStatusV2,
    OrderV2,
    Violation,
)
from cdp_orders_async.models.common import camel
from cdp_orders_async.rules import check, rules_of
from cdp_orders_async.wire import encode, reads, structure, to_json
from tests import values
from tests.v2.samples import BASE, CONTACT, FLIGHT, GUEST, KEPT, ORDER, REF, SEGMENT


def assert_kept(new: attrs.AttrsInstance) -> None:
    """Assert that *new*, sent and kept, comes back equal, field by field and exactly."""
    sent = orjson.loads(encode(to_json(new)))
    names = [field.name for field in attrs.fields(type(new)) if field.name not in {"guest", "order_items"}]
    kept = reads(KEPT[type(new)])(encode({**sent, "ref": str(REF), "guest": None, "orderItems": None}))
    assert {name: getattr(kept, name) for name in names} == {name: getattr(new, name) for name in names}
    if "guest" in sent:
        sent["guest"] = {"href": f"{BASE}/v2/guests/{sent['guest']}?x=y"}
    assert structure(sent, type(new)) == new


@given(values.orders_v2 | values.items_v2 | values.contacts_v2 | values.consumers_v2)
def test_what_is_sent_is_kept(
    new: NewOrderV2 | NewOrderItemV2 | NewContactV2 | NewConsumerV2,
) -> None:
    """Whatever text, money, time and segments a value has, it keeps every rule and comes back equal."""
    assert check(type(new), new) == []
    assert_kept(new)


SAMPLE = {
    "href": f"{BASE}/v2/orders/{REF}?expand=orderItems",
    "ref": str(REF),
    "createdAt": "2025-01-01T16:17:16.000Z",
    "modifiedAt": "2025-01-01T16:17:16.500Z",
    "referenceId": "B94TXY-1",
    "orderedAt": "2025-01-01T16:17:16.000Z",
    "price": 30.6,
    "currencyCode": "EUR",
    "paymentType": "Card",
    "cardType": "Visa",
    "pointOfSale": "spinair.com",
    "channel": "WEB",
    "status": "PARTIALY_CONFIRMED",
    "contacts": {"href": f"{BASE}/v2/orders/{REF}/contacts"},
    "consumers": {"items": [{"href": f"{BASE}/v2/orderConsumers/{GUEST}"}]},
    "orderItems": {"items": [{"ref": str(GUEST), "type": "FLIGHT", "flightSegments": [{"id": "1", "gate": "B"}]}]},
}


def test_order_as_version_2_shows_it() -> None:
    """The parts of an order are links to a list, links, or whole; times have milliseconds."""
    order = reads(OrderV2)(encode(SAMPLE))
    assert order.price == Decimal("30.6")
    assert order.ordered_at == datetime.fromisoformat("2025-01-01T16:17:16Z")
    assert order.contacts is None
    assert order.consumers == (Consumer(ref=GUEST, href=f"{BASE}/v2/orderConsumers/{GUEST}"),)
    assert order.order_items == (OrderItemV2(ref=GUEST, type="FLIGHT", flight_segments=(FlightSegment(id="1"),)),)


@pytest.mark.parametrize(
    ("written", "means", "sent"),
    [
        ("2", 2, b"2"),
        ("2.5", Decimal("2.5"), b"2.5"),
        ("-0.10", Decimal("-0.1"), b"-0.1"),
        ("null", None, None),
    ],
)
def test_quantity_need_not_be_whole(written: str, means: object, sent: bytes | None) -> None:
    """In version 2 a quantity is any number, read and sent exactly."""
    item = reads(OrderItemV2)(f'{{"ref": "{REF}", "quantity": {written}}}'.encode())
    assert (type(item.quantity), item.quantity) == (type(means), means)
    plain = to_json(attrs.evolve(FLIGHT, quantity=item.quantity))
    assert (encode(plain["quantity"]) if "quantity" in plain else None) == sent


@pytest.mark.parametrize("written", ['"2"', "true", "[]"])
def test_quantity_is_a_number(written: str) -> None:
    """What is no number is no quantity."""
    with pytest.raises(ValueError, match=r"^must be a number @ \$\.quantity$"):
        reads(OrderItemV2)(f'{{"ref": "{REF}", "quantity": {written}}}'.encode())


def test_people_show_nobody() -> None:
    """No personal value of a person to send is in its text."""
    person = attrs.asdict(values.CONTACT, recurse=False)
    kept = {field.name for field in attrs.fields(NewConsumerV2)}
    shown = repr(NewConsumerV2(**{key: value for key, value in person.items() if key in kept}))
    assert [secret for secret in values.SECRETS if secret in shown] == []


def test_every_field_has_a_rule() -> None:
    """The rules cover what is sent, field by field, and what is required of a model is required to send."""
    for model in KEPT:
        table, required = rules_of(model)
        assert table.keys() == {field.name for field in attrs.fields(model)}
        assert required == {field.name for field in attrs.fields(model) if field.default is attrs.NOTHING}


def evolved(base: Any, field: str, value: object) -> object:  # noqa: ANN401 any model
    """Return *base* with another *value*, whether it fits or not."""
    changed: object = attrs.evolve(base, **{field: value})
    return changed


NEEDED = FlightSegment(
    id="1234",
    origin="DUB",
    destination="LHR",
    departure_date_time="2025-08-15T16:00Z",
    arrival_date_time="2025-08-15T17:20:00.000Z",
    fare_class="Economy",
    carrier="FR",
    flight_number="459",
)
"""A segment with nothing more than it needs."""
MOMENT = "must be a date and time with a time zone"
CURRENCY = "must be an ISO 4217 code of three capital letters"
LOCAL = "must be a local date and time that ends in Z: 2025-08-23T16:17Z"


@pytest.mark.parametrize(
    ("base", "field", "good"),
    [
        (ORDER, "status", [*get_args(OrderStatusV2), None]),
        (ORDER, "payment_type", ["Card", "Barter", None]),
        (FLIGHT, "type", [*get_args(OrderItemTypeV2)]),
        (FLIGHT, "status", [*get_args(OrderItemStatusV2)]),
        (FLIGHT, "price", [Decimal(-45)]),
        (FLIGHT, "name", [None, "x" * 128]),
        (FLIGHT, "ordered_at", [None, values.NOW]),
        (FLIGHT, "channel", ["WEB", "OUR_OWN_SHOP", "2", None]),
        (FLIGHT, "original_currency_code", ["NZD", None]),
        (FLIGHT, "consumer_type_code", ["ADT", "adult", None]),
        (FLIGHT, "flight_segments", [None, (), [SEGMENT], (SEGMENT, SEGMENT), (NEEDED,)]),
        (CONTACT, "guest", [None, GUEST]),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_good_values(base: attrs.AttrsInstance, field: str, good: list[object]) -> None:
    """What the vendor documents as right is let through."""
    for value in good:
        assert check(type(base), evolved(base, field, value)) == []


@pytest.mark.parametrize(
    ("base", "field", "value", "rule"),
    [
        (ORDER, "point_of_sale", None, "is required"),
        (ORDER, "point_of_sale", "", "must not be empty"),
        (ORDER, "status", "BROWSED", f"must be one of {', '.join(get_args(OrderStatusV2))}"),
        (FLIGHT, "type", "Flight", f"must be one of {', '.join(get_args(OrderItemTypeV2))}"),
        (FLIGHT, "type", "MORTGAGE", f"must be one of {', '.join(get_args(OrderItemTypeV2))}"),
        (FLIGHT, "status", "BROWSED", f"must be one of {', '.join(get_args(OrderItemStatusV2))}"),
        (FLIGHT, "product_id", None, "is required"),
        (FLIGHT, "reference_id", None, "is required"),
        (FLIGHT, "name", "x" * 129, "must be at most 128 characters"),
        (FLIGHT, "ordered_at", datetime(2025, 1, 1), MOMENT),  # noqa: DTZ001 that is the point
        (FLIGHT, "flight_segments", SEGMENT, "must be a list of FlightSegment"),
        (FLIGHT, "flight_segments", ({"id": "1"},), "must be a list of FlightSegment"),
        (FLIGHT, "currency_code", "eur", CURRENCY),
        (FLIGHT, "original_currency_code", "US$", CURRENCY),
        (FLIGHT, "channel", "web", "must be in capitals"),
        (FLIGHT, "channel", 1, "must be text"),
        (CONTACT, "first_name", None, "is required"),
        (CONTACT, "last_name", "", "must not be empty"),
        (CONTACT, "guest", str(GUEST), "must be a UUID"),
    ],
)  # fmt: skip
def test_bad_values(base: attrs.AttrsInstance, field: str, value: object, rule: str) -> None:
    """Each broken rule is told with its field."""
    assert check(type(base), evolved(base, field, value)) == [Violation(f"$.{camel(field)}", rule)]


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        *(
            ({one.name: None}, f"each {camel(one.name)} is required")
            for one in attrs.fields(FlightSegment)
            if getattr(NEEDED, one.name) is not None
        ),
        ({"id": ""}, "each id must not be empty"),
        ({"fare_class": ""}, "each fareClass must not be empty"),
        ({"origin": "dub"}, "each origin must be in capitals"),
        ({"origin": ""}, "each origin must not be empty"),
        ({"origin": "\ud800"}, "each origin must be valid Unicode"),
        ({"carrier": "Fr"}, "each carrier must be in capitals"),
        ({"booking_class": "y"}, "each bookingClass must be in capitals"),
        ({"equipment_type": "a320"}, "each equipmentType must be in capitals"),
        ({"departure_date_time": "2025-08-23T16:17"}, f"each departureDateTime {LOCAL}"),
        ({"departure_date_time": "2025-02-30T16:17Z"}, f"each departureDateTime {LOCAL}"),
        ({"arrival_date_time": "2025-08-23T16:17+01:00"}, f"each arrivalDateTime {LOCAL}"),
        ({"arrival_date_time": ""}, f"each arrivalDateTime {LOCAL}"),
    ],
)
def test_bad_segments(changes: dict[str, object], rule: str) -> None:
    """Each segment has what the vendor's table requires, in the form that the table names."""
    assert check(type(FLIGHT), evolved(FLIGHT, "flight_segments", (NEEDED,))) == []
    bad = attrs.evolve(NEEDED, **changes)  # type: ignore[arg-type]  # that is the point
    found = check(type(FLIGHT), evolved(FLIGHT, "flight_segments", (NEEDED, bad)))
    assert found == [Violation("$.flightSegments", rule)]


@pytest.mark.parametrize(
    ("model", "value"),
    [
        (NewOrder, ORDER),
        (NewOrderItem, FLIGHT),
        (NewContact, CONTACT),
        (NewConsumer, NewConsumerV2(first_name="A", last_name="B")),
        (NewContactV2, NewContact(first_name="A", last_name="B")),
    ],
)
def test_models_of_the_other_version(model: type, value: object) -> None:
    """A model of one version is none of the other, whatever they share."""
    assert check(model, value) == [Violation("$", f"must be a {model.__name__}")]
