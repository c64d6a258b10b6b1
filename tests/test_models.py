"""What is sent and what is kept: nothing is lost on the way, and no personal value is shown."""

from __future__ import annotations

import copy
import pickle
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import attrs
import orjson
import pytest
from hypothesis import given

from cdp_orders_async import (
    Consumer,
    ConsumerChanges,
    Contact,
    ContactChanges,
    Extension,
    ExtensionValue,
    GraphConsumer,
    GraphItem,
    Identifier,
    InputLine,
    Link,
    NewConsumer,
    NewContact,
    NewOrder,
    NewOrderItem,
    Order,
    OrderChanges,
    OrderGraph,
    OrderItem,
    OrderItemChanges,
    Page,
    Settings,
)
from cdp_orders_async.models import common
from cdp_orders_async.models.common import camel
from cdp_orders_async.wire import encode, reads, structure, to_json
from tests import values

EXAMPLES = Path(__file__).parent / "data" / "examples"
REF = "2d7de9df-45a2-45ea-872c-30e45139007d"
KEPT: Mapping[type[attrs.AttrsInstance], type[attrs.AttrsInstance]] = {
    NewOrder: Order,
    NewOrderItem: OrderItem,
    NewContact: Contact,
    NewConsumer: Consumer,
}


def fields(model: type[attrs.AttrsInstance]) -> set[str]:
    """Return the names of the fields of a model."""
    return {field.name for field in attrs.fields(model)}


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("order-item-request", NewOrderItem),
        ("order-item-response", OrderItem),
    ],
)
def test_vendors_examples_round_trip(name: str, model: type[attrs.AttrsInstance]) -> None:
    """Each of the vendor's examples is read whole: written again, it is the same JSON."""
    example = (EXAMPLES / f"{name}.json").read_bytes()
    written: object = orjson.loads(encode(to_json(reads(model)(example))))
    assert written == orjson.loads(example)


def test_vendors_extension_is_your_pairs() -> None:
    """The vendor's examples of an extension hold nothing but pairs of your own, each with its type."""
    example = (EXAMPLES / "order-extension-request.json").read_bytes()
    assert reads(Extension)(example) == Extension(pairs=orjson.loads(example))
    pairs = reads(Extension)((EXAMPLES / "order-item-extension-request.json").read_bytes()).pairs
    assert pairs == {"withWarranty": True, "color": "obsidian", "capacityInGb": 128}
    assert [type(value) for value in pairs.values()] == [bool, str, int]


def assert_kept(new: attrs.AttrsInstance) -> None:
    """Assert that *new*, sent and kept, comes back equal, field by field and exactly."""
    sent = encode(to_json(new))
    kept = reads(KEPT[type(new)])(encode({**orjson.loads(sent), "ref": REF}))
    assert {name: getattr(kept, name) for name in fields(type(new))} == attrs.asdict(new, recurse=False)
    assert structure(orjson.loads(sent), type(new)) == new


@given(values.orders)
def test_order_is_kept_as_sent(new: NewOrder) -> None:
    """Whatever text, money and time an order has, it comes back equal."""
    assert_kept(new)


@given(values.items)
def test_item_is_kept_as_sent(new: NewOrderItem) -> None:
    """Whatever text, money and number an item has, it comes back equal."""
    assert_kept(new)


@given(values.contacts)
def test_contact_is_kept_as_sent(new: NewContact) -> None:
    """Whatever texts, times and identifiers a contact has, they come back equal."""
    assert_kept(new)


@given(values.consumers)
def test_consumer_is_kept_as_sent(new: NewConsumer) -> None:
    """Whatever texts, times and identifiers a consumer has, they come back equal."""
    assert_kept(new)


@given(values.pairs)
def test_extension_is_kept_as_sent(pairs: dict[str, ExtensionValue]) -> None:
    """Whatever primitive values an extension has, they come back equal, and of the same type."""
    kept = reads(Extension)(encode(pairs)).pairs
    assert kept == pairs
    assert {key: type(value) for key, value in kept.items()} == {key: type(value) for key, value in pairs.items()}


SENT: Mapping[type[attrs.AttrsInstance], str] = {
    NewOrder: """
    {"referenceId":"B94TXY-1","orderedAt":"2024-01-01T16:17:16.005Z","price":30.6,"currencyCode":"EUR",
    "channel":"WEB","paymentType":"Card","cardType":"Visa","pointOfSale":"web","status":"CONFIRMED"}
    """,
    NewOrderItem: """
    {"price":50,"currencyCode":"EUR","type":"MOBILE","name":"é","status":"PURCHASED","description":"256 GB",
    "originalPrice":-0.1,"originalCurrencyCode":"USD","vendor":"XYZ","language":"EN","channel":"WEB",
    "productId":"1233-44","referenceId":"A-1","quantity":2}
    """,
    NewContact: """
    {"gender":"male","dateOfBirth":"1990-01-01T00:00:00Z","emails":["a","b"],
    "identifiers":[{"provider":"P","id":"1"}],"country":"IE","firstName":"A","street":[],"city":"Cork"}
    """,
}


@pytest.mark.parametrize("model", SENT)
def test_a_value_has_one_text(model: type[attrs.AttrsInstance]) -> None:
    """What is sent stays the same to the byte from release to release: journals hold its hash."""
    sent = "".join(map(str.strip, SENT[model].splitlines()))
    assert encode(to_json(structure(orjson.loads(sent), model))).decode() == sent


@pytest.mark.parametrize(
    ("amount", "written"),
    [
        ("50", b"50"),
        ("50.00", b"50"),
        ("-45", b"-45"),
        ("0.1", b"0.1"),
        ("-0.0", b"0"),
        ("123456789012.345", b"123456789012.345"),
        ("0.00000000123456789012345", b"1.23456789012345e-9"),
        ("123456789012345E+6", b"1.23456789012345e+20"),
        ("1E+300", b"1e+300"),
        ("1E-300", b"1e-300"),
    ],
)
def test_money_is_a_plain_number(amount: str, written: bytes) -> None:
    """An amount is the shortest JSON number that is exactly it, however large."""
    sent = encode(to_json(OrderItem(ref=UUID(REF), price=Decimal(amount))))
    assert sent == b'{"ref":"' + REF.encode() + b'","price":' + written + b"}"
    assert reads(OrderItem)(sent).price == Decimal(amount)


@pytest.mark.parametrize(
    ("moment", "written"),
    [
        (datetime(2024, 1, 1, 16, 17, 16, tzinfo=UTC), "2024-01-01T16:17:16Z"),
        (datetime(2024, 1, 1, 16, 17, 16, 5000, UTC), "2024-01-01T16:17:16.005Z"),
        (datetime(2024, 1, 1, 16, 17, 16, 5999, UTC), "2024-01-01T16:17:16.005Z"),
        (datetime.fromisoformat("2024-01-01T01:00:00+02:00"), "2023-12-31T23:00:00Z"),
    ],
)
def test_times_are_written_in_utc(moment: datetime, written: str) -> None:
    """A time is written in UTC, with milliseconds where there are any, as in the vendor's examples."""
    assert to_json(Order(ref=UUID(REF), ordered_at=moment)) == {"ref": REF, "orderedAt": written}


@pytest.fixture(params=["UTC", "Asia/Kathmandu"])
def _here(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", request.param)
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("_here")
@pytest.mark.parametrize(
    "text",
    [
        "2024-01-01T16:17:16Z",
        "2024-01-01T16:17:16.000Z",
        "2024-01-01T16:17Z",
        "2024-01-01T16:17:16",
        "2024-01-01T17:17:16+01:00",
        "2024-01-01T16:17:16.000000000Z",
    ],
)
def test_times_are_read_in_every_form(text: str) -> None:
    """A time is aware and in UTC, with or without fraction and zone, wherever the machine stands."""
    got = reads(Order)(encode({"ref": REF, "orderedAt": text})).ordered_at
    assert got is not None
    assert got.utcoffset() == timedelta(0)
    assert got.replace(second=16) == values.NOW


def test_changes_are_fields_of_what_is_sent() -> None:
    """What may change is what may be sent, but for an order's identity."""
    changes: list[tuple[type[attrs.AttrsInstance], type, set[str]]] = [
        (NewOrder, OrderChanges, {"reference_id", "ordered_at"}),
        (NewOrderItem, OrderItemChanges, set()),
        (NewContact, ContactChanges, set()),
        (NewConsumer, ConsumerChanges, set()),
    ]
    for new, change, fixed in changes:
        assert set(change.__annotations__) == fields(new) - fixed


def test_kept_has_what_is_sent() -> None:
    """Every field that is sent is kept under the same name."""
    for new, kept in KEPT.items():
        assert fields(new) - fields(kept) == set()


def test_only_the_ref_is_certain() -> None:
    """A resource that has nothing but its ref is read, all else being None."""
    for kept in KEPT.values():
        got = reads(kept)(encode({"ref": REF.upper()}))
        assert attrs.asdict(got) == {**dict.fromkeys(fields(kept)), "ref": UUID(REF)}


@pytest.mark.parametrize(
    ("name", "wire"),
    [("ref", "ref"), ("reference_id", "referenceId"), ("original_currency_code", "originalCurrencyCode")],
)
def test_names_on_the_wire(name: str, wire: str) -> None:
    """snake_case becomes camelCase."""
    assert camel(name) == wire


@pytest.mark.parametrize(
    ("href", "ref"),
    [
        (f"https://host/v2.1/orderItems/{REF}", REF),
        (f"https://host/v2.1/orderItems/{REF.upper()}/", REF),
        (f"/v2/orders/{REF}?expand=orderItems", REF),
        (f"https://host/v2.1/orders/{REF}/extensions/ext", None),
        (f"https://host/v2.1/orders?guestRef={REF}", None),
        ("", None),
    ],
)
def test_link_knows_its_ref(href: str, ref: str | None) -> None:
    """The ref of a link is the last segment of its path, where that is a UUID."""
    assert Link(href=href).ref == (ref and UUID(ref))


def people() -> list[object]:
    """Return whatever may hold somebody's data, with somebody in it."""
    person = attrs.asdict(values.CONTACT, recurse=False)
    contact = Contact(ref=UUID(REF), **person)
    graph = OrderGraph(
        order=NewOrder(reference_id="A", ordered_at=values.NOW, price=Decimal(1), currency_code="EUR"),
        contact=values.CONTACT,
        consumers=(GraphConsumer(NewConsumer(**person)),),
        extension={"who": "Lovelace"},
        items=(
            GraphItem(
                NewOrderItem(type="A", name="A", price=Decimal(1), currency_code="EUR", status="A"), {"who": "Ada"}
            ),
        ),
    )
    return [
        values.CONTACT,
        NewConsumer(**person),
        contact,
        Consumer(ref=UUID(REF), **person),
        Identifier(provider="CRM", id="B7524AE6"),
        Extension(pairs={"who": "Ada"}),
        Page((contact,), 0, 10, has_next=False),
        graph,
        InputLine("input.jsonl", 1, graph),
    ]


@pytest.mark.parametrize("value", people(), ids=lambda value: type(value).__name__)
def test_repr_shows_nobody(value: object) -> None:
    """No personal value is in the text of a model, or of what holds it."""
    shown = f"{value!r} {value}"
    assert [secret for secret in values.SECRETS if secret in shown] == []


def test_repr_shows_which_fields_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of personal values, the text shows the names and what tells one value from another, in this process alone."""

    def marks(contact: NewContact) -> dict[str, str]:
        return dict(pair.split("=<") for pair in repr(contact)[len("NewContact(") : -1].split(", "))

    ada, city = marks(NewContact(first_name="Ada", city="Cork")), "London"
    assert ada.keys() == {"first_name", "city"}
    assert marks(NewContact(first_name="Ada", city="Cork")) == ada
    other = marks(NewContact(first_name="Ada", city=city))
    assert {name for name, mark in other.items() if mark != ada[name]} == {"city"}
    alike = marks(NewContact(first_name="A", last_name="A"))
    assert alike["first_name"] != alike["last_name"]
    assert repr(NewContact(identifiers=(Identifier(provider="P", id="1"),))) != repr(
        NewContact(identifiers=(Identifier(provider="P", id="2"),))
    )
    assert repr(NewContact()) == "NewContact()"
    monkeypatch.setattr(common, "_KEY", bytes(16))
    assert marks(NewContact(first_name="Ada", city="Cork")) != ada


def test_repr_leaves_out_what_is_absent() -> None:
    """A field that has no value is not in the text, and one that has another default than None is."""
    assert repr(Link(href="/v2.1/orders")) == "Link(href='/v2.1/orders')"
    assert repr(Order(ref=UUID(REF), status="NEW")) == f"Order(ref=UUID('{REF}'), status='NEW')"
    assert "deadline=None" in repr(Settings(deadline=None))
    assert "deadline=120.0" in repr(Settings())


@pytest.mark.parametrize("value", people(), ids=lambda value: type(value).__name__)
def test_models_can_be_copied_and_pickled(value: object) -> None:
    """A model survives the way to another process, and a copy is equal."""
    assert pickle.loads(pickle.dumps(value)) == value  # noqa: S301 our own bytes
    assert copy.deepcopy(value) == value
