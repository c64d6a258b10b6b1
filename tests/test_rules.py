"""The vendor's documented rules: what keeps each of them, and what breaks it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import attrs
import pytest
from hypothesis import given

from cdp_orders_async import (
    ConsumerChanges,
    ContactChanges,
    ExtensionValue,
    Identifier,
    Invalid,
    NewConsumer,
    NewContact,
    NewOrder,
    NewOrderItem,
    OrderChanges,
    OrderGraph,
    OrderItemChanges,
    Violation,
)
from cdp_orders_async.models.common import RESERVED_KEYS, camel
from cdp_orders_async.models.constraints import RESERVED_TYPES
from cdp_orders_async.rules import check, check_extension, check_limit, raise_invalid, rules_of
from tests import values

ORDER = NewOrder(reference_id="B94TXY-1", ordered_at=values.NOW, price=Decimal(50), currency_code="EUR")
ITEM = NewOrderItem(type="MOBILE", name="AZ10", price=Decimal(105), currency_code="EUR", status="CONFIRMED")
CONSUMER = NewConsumer()
CHANGES: Mapping[type, type] = {
    NewOrder: OrderChanges,
    NewOrderItem: OrderItemChanges,
    NewContact: ContactChanges,
    NewConsumer: ConsumerChanges,
}
FIXED = {"reference_id", "ordered_at"}
LAST = datetime.max.replace(tzinfo=UTC)
WEST = timezone(timedelta(hours=-1))


def evolved(base: Any, fields: Mapping[str, object]) -> object:  # noqa: ANN401 any model
    """Return *base* with other *fields*, whether they fit or not."""
    changed: object = attrs.evolve(base, **fields)
    return changed


@pytest.mark.parametrize(
    ("base", "field", "good"),
    [
        (ORDER, "reference_id", ["A", "Ünï", " "]),
        (ORDER, "ordered_at", [values.NOW, LAST, datetime(2030, 1, 1, tzinfo=WEST)]),
        (ORDER, "price", [Decimal(0), Decimal("-45.5"), 50, Decimal("123456789012345E+20"), Decimal("0.100")]),
        (ORDER, "currency_code", ["EUR", "XXX"]),
        (ORDER, "channel", ["WEB", "OTHER", None]),
        (ORDER, "point_of_sale", ["", "home", None]),
        (ORDER, "status", ["PARTIALY_REFUNDED", "SEARCHED", None]),
        (ITEM, "type", ["MOBILE", "Flight", "flight", "FLIGHT "]),
        (ITEM, "name", ["x" * 128, "ü" * 128]),
        (ITEM, "currency_code", ["EUR", "points"]),
        (ITEM, "status", ["Confirmed"]),
        (ITEM, "quantity", [0, -1, 2**31 - 1, -(2**31), None]),
        (ITEM, "original_price", [Decimal("1E-7"), None]),
        (CONSUMER, "gender", ["male", "female", "unknown", None]),
        (CONSUMER, "date_of_birth", [values.NOW, datetime(1, 1, 1, tzinfo=UTC)]),
        (CONSUMER, "passport_expiry", [LAST]),
        (CONSUMER, "emails", [(), ("a", "b"), ["a"]]),
        (CONSUMER, "identifiers", [(), (values.IDENTIFIER,), [Identifier(provider="a", id="b")]]),
        (CONSUMER, "country", ["IE"]),
        (CONSUMER, "order_items", [(), (UUID(int=1),), [UUID(int=1)]]),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_good_values(base: object, field: str, good: list[object]) -> None:
    """What the vendor documents as right is let through, to create and to change."""
    table, _ = rules_of(CHANGES[type(base)])
    for value in good:
        changed = evolved(base, {field: value})
        assert check(type(base), changed) == []
        if field in table and value is not None:
            assert check(CHANGES[type(base)], {field: value}) == []


TEXT, MONEY, MOMENT = (
    "must be text",
    "must be a number (a Decimal in Python)",
    "must be a date and time with a time zone",
)
CHANNELS = (
    "must be one of WEB, MOBILE_WEB, MOBILE_APP, CALL_CENTER, AIRPORT_KIOSK, BRANCH, KIOSK, OFFLINE, GDS, OTA, OTHER"
)
DIGITS, FINITE, INT = (
    "must have at most 15 significant digits: round it, as 3.3000000000000003 to 3.30",
    "must be a finite number",
    "must be an integer of 32 bits",
)
RESERVED = (
    "must not be {} in version 2.1: use another word, such as '{}', and put the {} details into the item's extension"
)


@pytest.mark.parametrize(
    ("base", "field", "value", "rule"),
    [
        (ORDER, "reference_id", "", "must not be empty"),
        (ORDER, "reference_id", 7, TEXT),
        (ORDER, "reference_id", "\ud800", "must be valid Unicode"),
        (ORDER, "ordered_at", datetime(2024, 1, 1), MOMENT),  # noqa: DTZ001 that is the point
        (ORDER, "ordered_at", "2024-01-01T16:17:16Z", MOMENT),
        (ORDER, "ordered_at", values.NOW.date(), MOMENT),
        (ORDER, "ordered_at", datetime.max.replace(tzinfo=WEST), MOMENT),
        (ORDER, "price", 0.1, MONEY),
        (ORDER, "price", True, MONEY),
        (ORDER, "price", "1", MONEY),
        (ORDER, "price", Decimal("0.1234567890123456"), DIGITS),
        (ORDER, "price", 1234567890123456, DIGITS),
        (ORDER, "price", Decimal("NaN"), FINITE),
        (ORDER, "price", Decimal("-Infinity"), FINITE),
        (ORDER, "price", Decimal("1E+301"), FINITE),
        (ORDER, "price", Decimal("1E-301"), FINITE),
        (ORDER, "currency_code", "eur", "must be an ISO 4217 code of three capital letters"),
        (ORDER, "currency_code", "EURO", "must be an ISO 4217 code of three capital letters"),
        (ORDER, "currency_code", "EUR\n", "must be an ISO 4217 code of three capital letters"),
        (ORDER, "channel", "PHONE", CHANNELS),
        (ORDER, "channel", ["WEB"], CHANNELS),
        (ORDER, "payment_type", 1, TEXT),
        (ITEM, "type", "FLIGHT", RESERVED.format("FLIGHT", "Flight", "flight")),
        (ITEM, "type", "LOAN_APPLICATION", RESERVED.format("LOAN_APPLICATION", "Loan application", "loan application")),
        (ITEM, "type", "", "must not be empty"),
        (ITEM, "name", "x" * 129, "must be at most 128 characters"),
        (ITEM, "name", "", "must not be empty"),
        (ITEM, "status", "", "must not be empty"),
        (ITEM, "quantity", 1.0, INT),
        (ITEM, "quantity", True, INT),
        (ITEM, "quantity", 2**31, INT),
        (ITEM, "original_price", 1.5, MONEY),
        (CONSUMER, "gender", "Male", "must be one of male, female, unknown"),
        (CONSUMER, "date_of_birth", LAST, "must be in the past"),
        (CONSUMER, "date_of_birth", "1815-12-10", MOMENT),
        (CONSUMER, "passport_expiry", datetime(2024, 1, 1), MOMENT),  # noqa: DTZ001 that is the point
        (CONSUMER, "emails", "ada@example.com", "must be a list of text"),
        (CONSUMER, "emails", ("a", None), TEXT),
        (CONSUMER, "identifiers", "x", "must be a list of Identifier"),
        (CONSUMER, "identifiers", ({"provider": "a", "id": "b"},), "must be a list of Identifier"),
        (
            CONSUMER,
            "identifiers",
            (Identifier(provider="a", id=""),),
            "each id must not be empty",
        ),
        (
            CONSUMER,
            "identifiers",
            (values.IDENTIFIER, Identifier(provider="a", id="b", expiry_date=datetime(2024, 1, 1))),  # noqa: DTZ001
            f"each expiryDate {MOMENT}",
        ),
        (CONSUMER, "country", "IRL", "must be an ISO 3166-1 code of two capital letters"),
        (CONSUMER, "order_items", ("8e3ee1a2-9c54-4ae5-8a4b-3b8b8b1e2d11",), "must be a list of UUIDs"),
        (CONSUMER, "order_items", UUID(int=1), "must be a list of UUIDs"),
    ],
)
def test_bad_values(base: object, field: str, value: object, rule: str) -> None:
    """Each broken rule is told with its field and path, to create and to change, and without the value."""
    changed = evolved(base, {field: value})
    path = camel(field)
    assert check(type(base), changed) == [Violation(f"$.{path}", rule)]
    assert check(type(base), changed, "$.a[3]") == [Violation(f"$.a[3].{path}", rule)]
    fixed = isinstance(base, NewOrder) and field in FIXED
    wrong = "is not a field that can change" if fixed else rule
    assert check(CHANGES[type(base)], {field: value}) == [Violation(f"$.{path}", wrong)]


def test_reserved_types() -> None:
    """Each word that the vendor reserves is refused as a type."""
    assert len(RESERVED_TYPES) == 7
    for word in RESERVED_TYPES:
        (found,) = check(OrderItemChanges, {"type": word})
        assert found.rule.startswith(f"must not be {word} in version 2.1: ")


@pytest.mark.parametrize(
    ("base", "required"),
    [
        (ORDER, ["reference_id", "ordered_at", "price", "currency_code"]),
        (ITEM, ["type", "name", "price", "currency_code", "status"]),
        (CONSUMER, []),
    ],
)
def test_required_fields(base: attrs.AttrsInstance, required: list[str]) -> None:
    """All that is required and not there is told at once."""
    empty = evolved(base, dict.fromkeys(attrs.asdict(base, recurse=False)))
    assert {*check(type(base), empty)} == {Violation(f"$.{camel(field)}", "is required") for field in required}


def test_changes_need_no_field_and_know_no_other() -> None:
    """Any subset may change; a key that is no field, or is the wire's, or is None, may not."""
    assert check(OrderChanges, {}) == []
    wrong = {"price": Decimal(1), "pointOfSale": "home", "colour": 1, "status": None}
    found = check(OrderChanges, wrong)
    assert [str(one) for one in found[:2]] == [
        "$.pointOfSale: is not a field that can change",
        "$.colour: is not a field that can change",
    ]
    assert [one.field for one in found[2:]] == ["$.status"]


@pytest.mark.parametrize(
    ("model", "value", "rule"),
    [
        (NewOrder, {"reference_id": "B94TXY-1"}, "must be a NewOrder"),
        (NewOrder, ITEM, "must be a NewOrder"),
        (NewContact, CONSUMER, "must be a NewContact"),
        (NewContact, None, "must be a NewContact"),
        (OrderChanges, ORDER, "must be a dict of the fields that change"),
        (ContactChanges, None, "must be a dict of the fields that change"),
    ],
)
def test_what_is_no_such_thing(model: type, value: object, rule: str) -> None:
    """Something else is refused as a whole: half of it may look right."""
    assert check(model, value) == [Violation("$", rule)]


def test_every_field_has_a_rule() -> None:
    """The rules cover what is sent, field by field."""
    for new, changes in CHANGES.items():
        assert rules_of(new)[0].keys() == {field.name for field in attrs.fields(new)}
        assert rules_of(changes)[0].keys() == changes.__annotations__.keys()


@given(values.graphs())
def test_good_graphs(graph: OrderGraph) -> None:
    """Whatever keeps the rules is let through as a whole."""
    assert graph.violations() == []


@given(values.pairs)
def test_good_pairs(pairs: dict[str, ExtensionValue]) -> None:
    """Primitive values under camelCase keys are let through."""
    assert check_extension(pairs) == []


def test_extension_holds_a_hundred_pairs() -> None:
    """A hundred pairs are let through, one more is not, and none is fine."""
    hundred: dict[str, object] = {f"key{n}": n for n in range(100)}
    assert check_extension({}) == check_extension(hundred) == []
    assert check_extension({**hundred, "more": 1}) == [Violation("$", "must have at most 100 pairs")]


CAMEL_CASE = "each key must be camelCase, letters and digits only"


@pytest.mark.parametrize("key", ["", "A", "Abc", "1a", "a_b", "a-b", "a b", "é", "aé", "a|b"])
def test_extension_keys_are_camel_case(key: str) -> None:
    """A key is a small letter and then letters and digits; a bad one is named, unless it may be a value."""
    named = "***" if set(key) & set(" é|") else key
    assert check_extension({"good": 1, key: 1, "fine": 2}) == [Violation(f"$.{named}", CAMEL_CASE)]


def test_extension_keys_are_named_within_bounds() -> None:
    """A key that is named is on one line, not longer than a line, and text."""
    long = "a" * 100_000
    found = check_extension({"a\n\x1b[31m": 1, long: None, "é" * 100: 1, 7: 1})
    assert [one.field for one in found] == ["$.***", f"$.{'a' * 64}…", "$.***", "$"]
    assert found[-1].rule == "each key must be text"


def test_very_large_extension_is_judged_by_its_size() -> None:
    """Of a million pairs, it is told once that they are too many."""
    pairs = {f"key_{n}": n for n in range(1001)}
    assert check_extension(pairs) == [Violation("$", "must have at most 100 pairs")]
    del pairs["key_0"]
    assert len(check_extension(pairs)) == 1001


@pytest.mark.parametrize("key", sorted(RESERVED_KEYS))
def test_extension_keys_of_the_server(key: str) -> None:
    """The server's own keys cannot be pairs."""
    assert check_extension({key: "x"}, "$.e") == [Violation(f"$.e.{key}", "is a key that the server sets itself")]


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        ("\udfff", "must be valid Unicode"),
        (2**64, "must be an integer of 64 bits: send a longer one as text"),
        (-(2**63) - 1, "must be an integer of 64 bits: send a longer one as text"),
        (float("nan"), "must be a finite number"),
        (float("-inf"), "must be a finite number"),
        (None, "must be text, a boolean or a number"),
        ([], "must be text, a boolean or a number"),
        ({}, "must be text, a boolean or a number"),
        (Decimal(1), "must be text, a boolean or a number"),
    ],
)
def test_extension_values_are_primitive(value: object, rule: str) -> None:
    """Nothing nested, nothing empty, and no number that JSON cannot hold."""
    assert check_extension({"a": value}) == [Violation("$.a", rule)]


@pytest.mark.parametrize(("limit", "good"), [(-1, False), (0, False), (1, True), (100, True), (101, False)])
def test_limit(limit: int, *, good: bool) -> None:
    """A page has from 1 to 100 entries."""
    assert check_limit(limit) == ([] if good else [Violation("limit", "must be from 1 to 100")])


def test_refusal_tells_everything() -> None:
    """All violations are in one error, which is a ValueError; without any there is none."""
    raise_invalid([])
    with pytest.raises(ValueError, match=r"^\$\.a: is required; \$\.b: must be text$") as caught:
        raise_invalid([Violation("$.a", "is required"), Violation("$.b", "must be text")])
    assert isinstance(caught.value, Invalid)
    assert caught.value.violations == (("$.a", "is required"), ("$.b", "must be text"))
