"""Pure comparisons of what was sent with what a server has."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import attrs
import pytest
from hypothesis import given

from cdp_orders_async import (
    Consumer,
    Contact,
    Extension,
    ExtensionValue,
    Identifier,
    Link,
    NewConsumer,
    NewConsumerV2,
    NewContact,
    NewContactV2,
    NewOrder,
    NewOrderItem,
    NewOrderItemV2,
    NewOrderV2,
    Order,
    OrderItem,
    OrderItemV2,
    OrderV2,
    differences,
)
from cdp_orders_async.ingest.compare import diff, extra_fields, may_match, merge, same_order
from cdp_orders_async.models.common import camel
from cdp_orders_async.wire import encode, reads, to_json
from tests import values
from tests.ingest.orders import WHEN, item, order
from tests.v2.samples import FLIGHT, ORDER, SEGMENT

REF = UUID("f1e81e6d-7f9b-4f3c-9a39-0a2b8d1a6a11")
OTHER = UUID("9e1b1b47-4d40-4f9f-86a4-7b5d4c7e1c55")
KEPT: dict[type[Any], type[Any]] = {
    NewOrder: Order,
    NewOrderItem: OrderItem,
    NewContact: Contact,
    NewConsumer: Consumer,
    NewOrderV2: OrderV2,
    NewOrderItemV2: OrderItemV2,
    NewContactV2: Contact,
    NewConsumerV2: Consumer,
}


def kept(sent: object, **changes: object) -> Any:  # noqa: ANN401 any resource
    """Return what a server has of what was *sent*, as it arrives over the wire, with some *changes*."""
    model = next(got for new, got in KEPT.items() if isinstance(sent, new))
    return attrs.evolve(reads(model)(encode({"ref": str(REF), **to_json(sent)})), **changes)


@given(values.orders | values.items | values.contacts)
def test_what_was_sent_is_what_is_kept(sent: NewOrder | NewOrderItem | NewContact) -> None:
    """A round trip over the wire leaves no difference, whatever was sent."""
    got = kept(sent)
    assert diff(sent, got) == ()
    assert may_match(sent, got)
    assert extra_fields(sent, got) == 0


@pytest.mark.parametrize(
    ("sent", "changes"),
    [
        (order(), {"price": Decimal(51)}),
        (order(channel="WEB"), {"channel": None}),
        (order(), {"ordered_at": WHEN + timedelta(seconds=1)}),
        (item("i1").item, {"name": "Bag"}),
        (NewContact(emails=("a@example.com",)), {"emails": ("b@example.com",)}),
        (NewContact(identifiers=(Identifier(provider="p", id="1"),)), {"identifiers": ()}),
    ],
)
def test_changed_fields_are_named(sent: NewOrder | NewOrderItem | NewContact, changes: dict[str, object]) -> None:
    """What differs is told by the name of its field."""
    assert diff(sent, kept(sent, **changes)) == tuple(changes)


def test_what_was_not_sent_says_nothing() -> None:
    """A field that the server fills in is no difference, but it is counted."""
    got = kept(order(), channel="WEB", status="UNKNOWN")
    assert diff(order(), got) == ()
    assert extra_fields(order(), got) == 2


def test_times_may_be_kept_to_the_second() -> None:
    """What a server cuts off a time is no difference."""
    sent = order(ordered_at=datetime(2024, 1, 1, 16, 17, 16, 999_999, tzinfo=UTC))
    assert diff(sent, kept(sent)) == ()
    assert diff(sent, kept(sent, ordered_at=WHEN)) == ()


@pytest.mark.parametrize(
    ("sent", "held", "different"),
    [
        ({"a": 1}, {"a": 1}, ()),
        ({"a": 1}, {"a": 1.0}, ()),
        ({"a": 1}, {"a": True}, ("a",)),
        ({"a": False}, {"a": 0}, ("a",)),
        ({"a": 1, "b": "x"}, {"a": 1, "c": 2}, ("b",)),
        ({"a": "1"}, {"a": 1}, ("a",)),
    ],
)
def test_extensions_differ_by_key(
    sent: dict[str, ExtensionValue], held: dict[str, ExtensionValue], different: tuple[str, ...]
) -> None:
    """A pair that is missing or has another value differs, by the rules of JSON; further pairs do not."""
    assert diff(sent, Extension(pairs=held)) == different


def test_links_are_compared_in_any_order() -> None:
    """Which items a consumer uses counts, and not in which order the server names them."""
    sent = NewConsumer(order_items=(REF, OTHER))
    assert diff(sent, Consumer(ref=REF, order_items=(OTHER, REF))) == ()
    assert diff(sent, Consumer(ref=REF, order_items=(REF,))) == ("order_items",)
    assert may_match(sent, Consumer(ref=REF, order_items=(REF,)))


@pytest.mark.parametrize(
    ("apart", "same"),
    [
        (timedelta(0), True),
        (timedelta(days=2), True),
        (timedelta(days=-2), True),
        (timedelta(days=2, seconds=1), False),
    ],
)
def test_orders_are_the_same_within_two_days(apart: timedelta, same: bool) -> None:  # noqa: FBT001 a parameter of the test
    """The API takes orders with one reference id for the same up to two days apart, both ends included."""
    got = kept(order(), ordered_at=WHEN + apart, price=Decimal(1))
    assert may_match(order(), got) == same


def test_an_order_without_its_time_is_the_same_by_its_reference_id() -> None:
    """Where a server leaves the time out, the reference id decides."""
    assert may_match(order("A"), Order(ref=REF, reference_id="A"))
    assert not may_match(order("A"), Order(ref=REF, reference_id="B"))


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({}, True),
        ({"price": Decimal(1), "status": "REFUNDED"}, True),
        ({"ordered_at": None}, True),
        ({"ordered_at": WHEN + timedelta(microseconds=999)}, True),
        ({"ordered_at": WHEN + timedelta(milliseconds=1)}, False),
        ({"ordered_at": WHEN - timedelta(microseconds=1)}, False),
        ({"ordered_at": WHEN - timedelta(seconds=1)}, False),
        ({"ordered_at": WHEN + timedelta(days=1)}, False),
        ({"reference_id": "a"}, False),
        ({"reference_id": " A"}, False),
        ({"reference_id": None}, False),
    ],
)
def test_an_order_is_known_by_its_reference_id_and_its_time(changes: dict[str, object], same: bool) -> None:  # noqa: FBT001 a parameter of the test
    """An order with another time has used the reference id again, or its time has changed."""
    assert same_order(order("A"), kept(order("A"), **changes)) is same


def test_a_server_may_show_whole_seconds() -> None:
    """The vendor's examples of 2.1 do: that is no other time."""
    sent = order("A", ordered_at=WHEN + timedelta(microseconds=500_999))
    for shown, same in (
        (timedelta(milliseconds=500), True),
        (timedelta(0), True),
        (timedelta(milliseconds=501), False),
        (timedelta(milliseconds=499), False),
        (timedelta(seconds=1), False),
    ):
        assert same_order(sent, kept(sent, ordered_at=WHEN + shown)) is same


def test_items_go_by_reference_id_or_by_content() -> None:
    """With a reference id only that counts, without it every field that was sent."""
    assert may_match(item("i1").item, kept(item("i1").item, price=Decimal(1)))
    assert not may_match(item("i1").item, kept(item("i2").item))
    assert not may_match(item("i1").item, kept(item().item))
    assert may_match(item().item, kept(item(description="window").item))
    assert not may_match(item(description="window").item, kept(item().item))


def test_people_go_by_identifiers_or_by_content() -> None:
    """All identifiers that were sent must be there; where either side has none, the content decides."""
    one, two = (Identifier(provider="CRM", id=number) for number in "12")
    sent = NewContact(first_name="Ann", identifiers=(one,))
    assert may_match(sent, Contact(ref=REF, first_name="Eve", identifiers=(two, one)))
    assert not may_match(sent, Contact(ref=REF, first_name="Ann", identifiers=(two,)))
    assert may_match(sent, Contact(ref=REF, first_name="Ann"))
    assert not may_match(sent, Contact(ref=REF, first_name="Eve"))
    assert may_match(NewContact(first_name="Ann"), Contact(ref=REF, first_name="Ann", identifiers=(one,)))


BORN = datetime(1985, 12, 24, 11, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("shown", "same"),
    [
        ("1985-12-24", True),
        ("1985-12-24T00:00Z", True),
        ("1985-12-24T00:00:00.000Z", True),
        ("1985-12-24T11:30:00Z", True),
        ("1985-12-24T23:59:59.999Z", True),
        ("1985-12-24T00:00:00+01:00", True),
        ("1985-12-24T00:00:00+05:45", True),
        ("1985-12-24T00:00:00+14:00", True),
        ("1985-12-24T00:00:00-12:00", True),
        ("1985-12-25", False),
        ("1985-12-23", False),
        ("1985-12-23T23:59:59Z", False),
        ("1985-12-23T11:30:00Z", False),
        ("1985-11-24", False),
    ],
)
@pytest.mark.parametrize("field", ["date_of_birth", "passport_expiry"])
@pytest.mark.parametrize("model", [NewContactV2, NewConsumerV2])
def test_dates_of_version_2_are_days(
    model: type[NewContactV2 | NewConsumerV2],
    field: str,
    shown: str,
    same: bool,  # noqa: FBT001 a parameter of the test
) -> None:
    """Version 2 calls it a date, so the server may keep the day alone, and show it at midnight wherever it is."""
    born: Any = {field: BORN}
    sent = model(first_name="Ann", last_name="Doe", **born)
    got = reads(KEPT[model])(encode({"ref": str(REF), **to_json(sent), camel(field): shown}))
    assert diff(sent, got) == (() if same else (field,))
    assert may_match(sent, got) is same


@pytest.mark.parametrize("zone", [timedelta(0), timedelta(hours=13), -timedelta(hours=11)])
def test_dates_are_days_in_utc(zone: timedelta) -> None:
    """A time of one's own zone is sent in UTC, and that is the day that the server keeps."""
    born = datetime(1985, 12, 24, 6, tzinfo=timezone(zone))
    sent = NewContactV2(first_name="Ann", last_name="Doe", date_of_birth=born)
    day = str(to_json(sent)["dateOfBirth"])[:10]
    assert diff(sent, reads(Contact)(encode({"ref": str(REF), **to_json(sent), "dateOfBirth": day}))) == ()


def test_times_are_no_days() -> None:
    """Version 2.1 calls a date of birth a date and a time, and so does version 2 the expiry of an identifier."""
    sent = NewContact(date_of_birth=BORN)
    assert diff(sent, kept(sent, date_of_birth=BORN - timedelta(hours=1))) == ("date_of_birth",)
    old = NewContactV2(
        first_name="Ann", last_name="Doe", identifiers=(Identifier(provider="P", id="1", expiry_date=BORN),)
    )
    other = (Identifier(provider="P", id="1", expiry_date=BORN - timedelta(hours=1)),)
    assert diff(old, kept(old, identifiers=other)) == ("identifiers",)


@pytest.mark.parametrize(
    ("sent", "shown", "same"),
    [
        ("2025-08-23T16:17Z", "2025-08-23T16:17:00.000Z", True),
        ("2025-08-23T16:17:00.000Z", "2025-08-23T16:17Z", True),
        ("2025-08-23T16:17:00Z", "2025-08-23T16:17:00", True),
        ("2025-08-23T16:17Z", "2025-08-23T16:17:00+00:00", True),
        ("2025-08-23T16:17Z", "2025-08-23T16:18:00.000Z", False),
        ("2025-08-23T16:17Z", "2025-08-24T16:17Z", False),
        ("2025-08-23T16:17Z", "soon", False),
        ("2025-08-23T16:17Z", None, False),
    ],
)
@pytest.mark.parametrize("name", ["departure_date_time", "arrival_date_time"])
def test_times_of_flights_are_compared_in_any_form(name: str, sent: str, shown: str | None, same: bool) -> None:  # noqa: FBT001 a parameter of the test
    """The vendor writes them without seconds, and other times with milliseconds."""
    flight = attrs.evolve(FLIGHT, flight_segments=(attrs.evolve(SEGMENT, **{name: sent}),))
    got = kept(flight, flight_segments=(attrs.evolve(SEGMENT, **{name: shown}),))
    assert diff(flight, got) == (() if same else ("flight_segments",))


@pytest.mark.parametrize(
    ("sent", "changes"),
    [
        (order(point_of_sale=""), {"point_of_sale": None}),
        (NewContact(city=""), {"city": None}),
        (NewContact(emails=()), {"emails": None}),
        (NewContact(identifiers=()), {"identifiers": None}),
        (NewConsumer(order_items=()), {"order_items": None}),
        (attrs.evolve(FLIGHT, flight_segments=()), {"flight_segments": None}),
        (
            attrs.evolve(FLIGHT, flight_segments=(attrs.evolve(SEGMENT, fare_family=""),)),
            {"flight_segments": (attrs.evolve(SEGMENT, fare_family=None),)},
        ),
    ],
)
def test_what_is_empty_is_not_there(sent: Any, changes: dict[str, object]) -> None:  # noqa: ANN401 any model
    """A server need not keep empty text and empty lists, and a load must not send them again and again."""
    got = kept(sent, **changes)
    assert diff(sent, got) == ()
    assert may_match(sent, got)


def test_an_empty_pair_is_not_there() -> None:
    """So it is in an extension; zero and false are values."""
    assert diff({"a": ""}, Extension(pairs={})) == ()
    assert diff({"a": 0, "b": False}, Extension(pairs={})) == ("a", "b")


def test_what_was_emptied_differs() -> None:
    """Empty text and an empty list take away what the server has."""
    assert diff(NewContact(city="", emails=()), Contact(ref=REF, city="Cork", emails=("a",))) == ("emails", "city")


def test_lists_may_be_lists() -> None:
    """A list in Python is as good as a tuple."""
    one = Identifier(provider="CRM", id="1")
    sent: Any = NewContact(emails=["a", "b"], identifiers=[one])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert diff(sent, Contact(ref=REF, emails=("a", "b"), identifiers=(one,))) == ()
    assert diff(sent, Contact(ref=REF, emails=("b", "a"), identifiers=(one,))) == ("emails",)
    assert not may_match(sent, Contact(ref=REF, emails=("a", "b"), identifiers=(Identifier(provider="CRM", id="2"),)))


def test_identifiers_are_compared_in_any_order() -> None:
    """Which identifiers a person has counts, and not in which order or how often they are named."""
    one, two = (Identifier(provider="CRM", id=number) for number in "12")
    dated = attrs.evolve(two, expiry_date=WHEN)
    sent = NewContact(identifiers=(one, two, one))
    assert diff(sent, Contact(ref=REF, identifiers=(dated, one))) == ()
    assert diff(sent, Contact(ref=REF, identifiers=(one,))) == ("identifiers",)
    assert diff(NewContact(identifiers=(one,)), Contact(ref=REF, identifiers=(one, two))) == ("identifiers",)
    assert diff(NewContact(identifiers=(dated,)), Contact(ref=REF, identifiers=(two,))) == ("identifiers",)


@pytest.mark.parametrize(("sent", "shown"), [("50", "50.0"), ("50.00", "50"), ("30.6", "30.60"), ("1E+3", "1000.0")])
def test_numbers_are_compared_by_value(sent: str, shown: str) -> None:
    """However many zeros a price and a quantity are written with, they are the same."""
    item_v2 = attrs.evolve(FLIGHT, price=Decimal(sent), quantity=Decimal(sent))
    body = encode({"ref": str(REF), **to_json(attrs.evolve(FLIGHT, price=Decimal(7), quantity=Decimal(8)))})
    body = body.replace(b'"price":7', b'"price":' + shown.encode()).replace(
        b'"quantity":8', b'"quantity":' + shown.encode()
    )
    assert diff(item_v2, reads(OrderItemV2)(body)) == ()


def test_merge_keeps_what_was_not_sent() -> None:
    """Where nothing was sent, the value on the server is sent again: a link as the reference that it stands for."""
    sent = NewContactV2(first_name="Ann", last_name="Doe")
    guest, elsewhere = Link(href=f"https://host/v2/guests/{OTHER}"), Link(href=f"https://host/v2/orders/{REF}")
    got = Contact(ref=REF, first_name="Eve", last_name="Doe", emails=("a",), city="Cork", guest=guest, order=elsewhere)
    merged = merge(sent, got, ())
    assert merged == NewContactV2(first_name="Ann", last_name="Doe", emails=("a",), guest=OTHER)
    assert merge(attrs.evolve(sent, guest=REF), got, ()).guest == REF
    assert merge(sent, attrs.evolve(got, guest=Link(href="x")), ()).guest is None
    user = merge(NewConsumerV2(first_name="A", last_name="B"), Consumer(ref=REF, guest=guest, order_items=(REF,)), ())
    assert (user.guest, user.order_items) == (OTHER, (REF,))


def test_merge_of_fixed_fields() -> None:
    """What cannot change is sent as it is on the server."""
    sent = attrs.evolve(ORDER, reference_id="other", status=None, price=Decimal(1))
    merged = merge(sent, kept(ORDER), ("reference_id", "ordered_at"))
    assert merged == attrs.evolve(ORDER, price=Decimal(1))


def test_merge_of_parts() -> None:
    """Of identifiers and flight segments too, what was not sent stays as it is on the server."""
    one, two = (Identifier(provider="CRM", id=number) for number in "12")
    dated = attrs.evolve(two, expiry_date=WHEN)
    sent = NewContactV2(first_name="Ann", last_name="Doe", identifiers=(one, two))
    assert merge(sent, Contact(ref=REF, identifiers=(dated,)), ()).identifiers == (one, dated)
    flight = attrs.evolve(FLIGHT, flight_segments=(attrs.evolve(SEGMENT, fare_family=None, origin="ORK"),))
    assert merge(flight, kept(FLIGHT), ()).flight_segments == (attrs.evolve(SEGMENT, origin="ORK"),)
    twins = (SEGMENT, attrs.evolve(SEGMENT, fare_family=None))
    assert merge(attrs.evolve(FLIGHT, flight_segments=twins), kept(FLIGHT), ()).flight_segments == twins


def test_differences_name_fields_and_keys() -> None:
    """What a program sent and what it got back can be compared in its own words."""
    assert differences(order(), kept(order())) == ()
    assert differences(order(), kept(order(), price=Decimal(1), status="REFUNDED")) == ("price",)
    assert differences(FLIGHT, kept(FLIGHT, name="Other")) == (() if FLIGHT.name is None else ("name",))
    assert differences({"a": 1, "b": "x"}, Extension(pairs={"a": 2, "b": "x", "c": 3})) == ("a",)


@pytest.mark.parametrize(
    ("new", "got", "words"),
    [
        (NewContact(), Consumer(ref=REF), "got must be Contact, not Consumer"),
        (order(), order(), "got must be Order, not NewOrder"),
        (ORDER, Order(ref=REF), "got must be OrderV2, not Order"),
        (FLIGHT, OrderItem(ref=REF), "got must be OrderItemV2, not OrderItem"),
        ({"a": 1}, {"a": 1}, "got must be Extension, not dict"),
        (
            Order(ref=REF),
            order(),
            "new must be what is sent, such as NewOrder, or the pairs of an extension, not Order",
        ),
        (
            None,
            Order(ref=REF),
            "new must be what is sent, such as NewOrder, or the pairs of an extension, not NoneType",
        ),
    ],
)
def test_differences_take_what_belongs_together(new: Any, got: Any, words: str) -> None:  # noqa: ANN401 any model
    """What was sent comes first; a part is compared with a part of its kind and version."""
    with pytest.raises(TypeError) as caught:
        differences(new, got)
    assert str(caught.value) == words
