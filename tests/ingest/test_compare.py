"""What could be what: pure comparisons of what was sent with what a server has."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
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
    NewConsumer,
    NewContact,
    NewOrder,
    NewOrderItem,
    Order,
    OrderItem,
)
from cdp_orders_async.ingest.compare import diff, extra_fields, may_match, merge, same_order
from cdp_orders_async.wire import encode, reads, to_json
from tests import values
from tests.ingest.support import WHEN, item, order

REF = UUID("f1e81e6d-7f9b-4f3c-9a39-0a2b8d1a6a11")
OTHER = UUID("9e1b1b47-4d40-4f9f-86a4-7b5d4c7e1c55")
KEPT: dict[type[Any], type[Any]] = {NewOrder: Order, NewOrderItem: OrderItem, NewContact: Contact}


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
