"""Answers straight to models: the same as by way of the codec, whatever they hold."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from functools import partial
from pathlib import Path
from typing import TypeVar

import attrs
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cdp_orders_async import (
    Consumer,
    Contact,
    Extension,
    NewOrder,
    NewOrderItem,
    Order,
    OrderItem,
    OrderItemV2,
    OrderV2,
)
from cdp_orders_async.models.common import camel
from cdp_orders_async.resources.verbs import checked_writer
from cdp_orders_async.rules import check
from cdp_orders_async.wire.codec import encode, load, structure, to_json, with_ref
from cdp_orders_async.wire.direct import Listed, decode, decode_page, page_reader, reader
from tests import values

T = TypeVar("T")

EXAMPLES = Path(__file__).parent / "data" / "examples"
REF = "2d7de9df-45a2-45ea-872c-30e45139007d"
MODELS = (Order, OrderItem, Contact, Consumer, OrderV2, OrderItemV2, Extension)
LINK = {"href": f"https://host/v2.1/orders/{REF}"}
PIECES = st.sampled_from(
    [
        *("null", "true", "0", "-0", "1", "2.0", "1.50", "1e2", "1E400", "0.1", "NaN", "9" * 300),
        *("9223372036854775807", "18446744073709551616", "-9223372036854775809"),
        *('""', '"x"', '"50"', '"NaN"', '"\\ud83d\\ude00"', '"\\ud800"', '"\\u0000"', '"a\tb"', '"é"'),
        *(f'"{REF}"', f'"{REF.upper()}"', f'"{REF.replace("-", "")}"', f'"{{{REF}}}"', f'"urn:uuid:{REF}"'),
        *('"2024-01-01T16:17:16Z"', '"2024-01-01T16:17:16.000Z"', '"2024-01-01"', '"2024-01-01T16:17:16+05:45"'),
        *(
            '"2024-01-01T16:17:16"',
            '"2024-01-01T24:00:00Z"',
            '"2024-01-01T16:17:60Z"',
            '"2024-01-01T16:17:16.1234567Z"',
        ),
        *('"2024-01-01T16:17:16z"', '"2024-01-01 16:17:16+01"', '"20240101T161716Z"', '"2024-W01-1"', "1704125836"),
        *(
            "[]",
            '["a","b"]',
            '["\\ud800"]',
            '["a",1]',
            '[["a"]]',
            "[null]",
            '[{"provider":"CRM","id":"17","expiryDate":"2030-01-01T00:00:00Z"}]',
        ),
        *(
            "{}",
            json.dumps(LINK),
            '{"href":null}',
            '{"href":7}',
            '{"href":"x","href":"y","more":[1.5]}',
            json.dumps({"items": [LINK]}),
            json.dumps({"items": [{**LINK, "ref": REF, "price": 5}]}),
        ),
    ]
)
NUMBERS = st.from_regex(r"-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?", fullmatch=True)
MOMENTS = st.from_regex(
    r'"(0001|2024|9999)-(01|02|12)-(01|29|31)[Tt _](00|16|2[34]):(00|59):(00|59|60)([.,][0-9]{0,9})?'
    r'([Zz]|[+-](00|05|23|24):?(00|45|60)(:30)?)?"',
    fullmatch=True,
)
AMOUNTS = ("price", "originalPrice", "quantity")
TIMES = ("createdAt", "modifiedAt", "orderedAt", "dateOfBirth", "passportExpiry")


def forms(key: str) -> st.SearchStrategy[tuple[str, str]]:
    """Return what may stand under that key: anything, and in numbers and times every form of them."""
    likely = NUMBERS if key in AMOUNTS else MOMENTS if key in TIMES else PIECES
    return st.tuples(st.just(key), likely | PIECES)


def result(read: Callable[[], object]) -> object:
    """Return what *read* returns, or what its error says."""
    try:
        return read()
    except ValueError as error:
        return type(error), error.args


@st.composite
def bodies(draw: st.DrawFn) -> tuple[type[object], bytes]:
    """Draw a model, and a body with some of its fields in any form, each once or twice.

    What another value replaces is JSON that the codec takes: like the value of an unknown key, it may go unread.
    """
    model = draw(st.sampled_from(MODELS))
    keys = [camel(field.name) for field in attrs.fields(model)]
    pairs = draw(st.lists(st.sampled_from(keys).flatmap(forms), max_size=6))
    replaced = [piece for at, (key, piece) in enumerate(pairs) if key in dict(pairs[at + 1 :])]
    assume(not any(isinstance(result(partial(load, piece.encode())), tuple) for piece in replaced))
    written = [f'"ref":"{REF}","unknown":{{"a":[1]}}', *(f'"{key}":{piece}' for key, piece in pairs)]
    return model, draw(st.sampled_from([b"", b" ", b"\xef\xbb\xbf"])) + f"{{{','.join(written)}}}".encode()


def of_one_kind(one: object, other: object) -> bool:
    """Tell whether the fields of two models are of the same types, times in the same zone: 1 equals 1.0 and True."""
    kind = type(one)
    names = [field.name for field in attrs.fields(kind)] if attrs.has(kind) else []
    fields = [(getattr(one, name), getattr(other, name)) for name in names]
    return all(type(a) is type(b) and getattr(a, "tzinfo", None) is getattr(b, "tzinfo", None) for a, b in fields)


@given(bodies())
def test_the_codec_would_read_the_same(drawn: tuple[type[object], bytes]) -> None:
    """What an answer is read as does not depend on the way that it takes."""
    model, body = drawn
    found, expected = result(lambda: decode(body, model)), result(lambda: structure(load(body), model))
    assert found == expected
    assert of_one_kind(found, expected)


@given(bodies())
def test_the_codec_would_read_the_same_page(drawn: tuple[type[object], bytes]) -> None:
    """A page in which an entry has any form is its entries, or is refused with the place of the misfit."""
    model, body = drawn
    entry = body.removeprefix(b"\xef\xbb\xbf")
    page = b'{"offset":7,"limit":"many","next":{"href":"x"},"items":[{"href":"https://host/x/%b"},%b]}'
    found = result(lambda: decode_page(page % (REF.encode(), entry), model))
    bare = structure({"href": f"https://host/x/{REF}", "ref": REF}, model)
    one = result(lambda: structure(with_ref(load(entry)), model, "$.items[1]"))
    if isinstance(one, tuple):
        assert isinstance(found, tuple)
        assert found[0] is not ValueError or found == one
    else:
        assert found == Listed((bare, one), 7, "many", {"href": "x"})
        alone = b'{"items":[%b],"limit":3}' % entry
        assert result(lambda: decode_page(alone, model)) == Listed((one,), None, 3, None)


@given(st.binary(max_size=40))
def test_garbage_is_refused_alike(body: bytes) -> None:
    """Bytes that are no JSON raise what the codec raises."""
    assert result(lambda: decode(body, Order)) == result(lambda: structure(load(body), Order))


@pytest.mark.parametrize("model", MODELS)
def test_what_is_as_documented_takes_the_short_way(model: type[attrs.AttrsInstance]) -> None:
    """An answer with references, times and amounts in their documented form is read without the codec."""
    plain = b'{"ref":"%b","href":"https://host/x","createdAt":"2024-01-01T16:17:16.000Z","other":[1]}' % REF.encode()
    one = structure(load(plain), model)
    assert reader(model)(plain) == one
    if model is not Extension:
        assert page_reader(model)(b'{"items":[%b]}' % plain) == Listed((one,))


@pytest.mark.parametrize(
    ("written", "price"),
    [
        ("50.10", Decimal("50.10")),
        ("50", Decimal(50)),
        ("-1.5E-7", Decimal("-1.5E-7")),
        ("123456789012.345", Decimal("123456789012.345")),
        ("0.30000000000000004", None),  # more digits than a float is sure to keep
        ("1e400", None),
        ("1e-310", None),
        ("18446744073709551616", None),
        ("true", None),
        ('"50"', None),
    ],
)
def test_an_amount_of_15_digits_takes_the_short_way(written: str, price: Decimal | None) -> None:
    """An amount is read digit by digit; what is no amount, or a float would show otherwise, is left to the codec."""
    body = f'{{"ref":"{REF}","price":{written}}}'.encode()
    assert result(lambda: decode(body, OrderItem)) == result(lambda: structure(load(body), OrderItem))
    if price is None:
        with pytest.raises((ArithmeticError, TypeError)):
            reader(OrderItem)(body)
    else:
        assert str(reader(OrderItem)(body).price) == str(price)


@pytest.mark.parametrize(
    ("written", "moment"),
    [
        ("2024-01-01T16:17:15.9999996Z", "2024-01-01T16:17:16+00:00"),
        ("2024-01-01t16:17:16z", "2024-01-01T16:17:16+00:00"),
        ("2024-01-01T16:17:16", "2024-01-01T16:17:16+00:00"),
        ("2024-01-01T22:02:16+05:45", "2024-01-01T16:17:16+00:00"),
        ("2024-W01-1", "2024-01-01T00:00:00+00:00"),
        ("9999-12-31T23:59:59.9999999Z", "9999-12-31T23:59:59.999999+00:00"),
    ],
)
def test_a_time_is_read_alike(written: str, moment: str) -> None:
    """RFC 3339 is rounded to a microsecond, other ISO 8601 cut off, and all is in UTC, whichever way is taken."""
    body = f'{{"ref":"{REF}","orderedAt":"{written}"}}'.encode()
    for order in decode(body, Order), structure(load(body), Order):
        assert order.ordered_at is not None
        assert order.ordered_at.isoformat() == moment


def test_every_field_of_a_person_takes_the_short_way() -> None:
    """Lists of text, links, times and identifiers as documented are read without the codec."""
    fields = {
        "emails": ["ada@example.com"],
        "street": [],
        "dateOfBirth": "1815-12-10T00:00:00",
        "passportExpiry": "2030-01-01T00:00:00+05:45",
        "identifiers": [{"provider": "CRM", "id": "17", "expiryDate": "2030-01-01T00:00:00Z"}],
        "guest": LINK,
        "order": None,
    }
    body = json.dumps({"ref": REF, **fields}).encode()
    found, expected = reader(Contact)(body), structure(load(body), Contact)
    assert found == expected
    assert of_one_kind(found, expected)


def test_the_vendors_item_takes_the_short_way() -> None:
    """The vendor's example of an item is read without the codec."""
    body = (EXAMPLES / "order-item-response.json").read_bytes()
    assert reader(OrderItem)(body) == structure(load(body), OrderItem)


class Word(str):
    """Text of a kind of its own."""

    __slots__ = ()


class Colour(Enum):
    """Something whose value is text, but which is none."""

    RED = "red"


def tried(do: Callable[[], T]) -> T | Exception:
    """Return what *do* returns or raises."""
    try:
        return do()
    except Exception as error:  # noqa: BLE001 whatever it is
        return error


MISFITS: tuple[object, ...] = (None, "x", "\ud800", 7, 2.5, True, (), ("a",), object())
NEW = values.orders | values.items | values.contacts | values.orders_v2 | values.items_v2


def by_codec(new: object) -> bytes:
    """Write a model as the codec does."""
    return encode(to_json(new))


@given(NEW)
def test_the_codec_would_write_the_same(new: object) -> None:
    """What is sent does not depend on the way that it takes, and what keeps the rules takes the short one."""
    body = checked_writer(type(new))(new)
    assert load(body) == load(by_codec(new))
    assert [*load(body)] == [*load(by_codec(new))]


BAD: tuple[object, ...] = (
    *("", "x" * 129, "FLIGHT", "EURO", b"x", Colour.RED, Word(""), Word("x"), 2**31, -(2**31) - 1, 1.0),
    *(Decimal("NaN"), Decimal("1E+400"), Decimal("1.000000000000001"), datetime(2024, 1, 1), values.NOW),  # noqa: DTZ001 on purpose
    *(date(2024, 1, 1), ("\ud800",), [7], (values.IDENTIFIER,), (attrs.evolve(values.IDENTIFIER, id=""),)),
)


@given(NEW)
def test_what_breaks_a_rule_does_not_take_the_short_way(new: attrs.AttrsInstance) -> None:
    """What the rules find fault with is not written; anything else that is written, says the same as without them."""
    for name in (field.name for field in attrs.fields(type(new))):
        right = getattr(new, name)
        for wrong in MISFITS + BAD:
            setattr(new, name, wrong)
            written = tried(lambda: checked_writer(type(new))(new))
            if check(type(new), new):
                assert isinstance(written, Exception), (name, wrong)
            elif not isinstance(written, Exception):
                assert load(written) == load(by_codec(new))
        setattr(new, name, right)


@pytest.mark.parametrize("amount", ["105.50", "100", "1E+2", "-0", "0.1", "123456789012345", "1.5E-7"])
def test_amounts_are_numbers(amount: str) -> None:
    """An amount is sent as a JSON number of the same value, whatever its digits look like."""
    item = NewOrderItem(type="X", name="x", price=Decimal(amount), currency_code="EUR", status="OK")
    assert json.loads(checked_writer(NewOrderItem)(item), parse_float=Decimal, parse_int=Decimal)["price"] == Decimal(
        amount
    )


def test_text_and_references_may_be_of_their_own_kind() -> None:
    """A subclass of text, such as that of an enumeration, is sent as the text that it is."""
    new = NewOrder(reference_id=Word("B-1"), ordered_at=values.NOW, price=Decimal(5), currency_code=Word("EUR"))
    assert load(by_codec(new)) == {
        "referenceId": "B-1",
        "orderedAt": values.NOW.isoformat()[:19] + "Z",
        "price": 5,
        "currencyCode": "EUR",
    }
