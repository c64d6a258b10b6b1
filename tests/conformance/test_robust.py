"""Whatever an answer says, a call ends in the value that it means or in an error; nothing is misread."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from decimal import Context, Decimal
from uuid import UUID

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdp_orders_async import (
    CdpError,
    Consumer,
    Contact,
    Delivery,
    Extension,
    FlightSegment,
    Identifier,
    Link,
    Order,
    OrderItem,
    OrderItemV2,
    OrderV2,
    OutcomeUnknown,
    Page,
    Refused,
    Request,
    Resource,
    Unreadable,
)
from cdp_orders_async.models.common import camel
from cdp_orders_async.wire import is_object, parse_response, reads, reads_page
from tests.conformance.answering import REF
from tests.values import NOW

HREF = f"https://host/v2.1/orderItems/{REF}"
FIFTEEN = Context(prec=15)
MIDNIGHT = datetime(2024, 1, 1, tzinfo=UTC)


@attrs.frozen
class Form:
    """One way in which a value can stand in an answer, and what it means."""

    json: str
    """Nothing: the key is not there."""
    means: object = None
    fits: bool = True


def forms(means: object, *written: str) -> tuple[Form, ...]:
    """Return forms of one value."""
    return tuple(Form(one, means) for one in written)


def wrong(*written: str) -> tuple[Form, ...]:
    """Return what does not fit."""
    return tuple(Form(one, fits=False) for one in written)


ABSENT = forms(None, "", "null")
TEXT = (
    *forms("é", '"é"', r'"\u00e9"', r'"\u00E9"'),
    *forms("\U0001f600\x00/", r'"\ud83d\ude00\u0000\/"'),
    *forms("", '""'),
    *forms("SOMETHING NEW", '"SOMETHING NEW"'),
    *wrong("1", "true", "[]", '["a"]', "{}", r'"\ud83d"'),
)
TIME = (
    *forms(NOW, *(f'"2024-01-01{rest}"' for rest in (
        "T16:17:16Z", "T16:17:16.000Z", "T16:17:16.0000000Z", "T16:17:16+00:00", "T16:17:16-00:00", "T16:17:16+0000",
        "T21:47:16+05:30", "T16:17:16", " 16:17:16Z",
    )), '"20240101T161716Z"', '"2023-12-31T23:17:16-17:00"'),
    *forms(NOW + timedelta(milliseconds=123), '"2024-01-01T16:17:16.123Z"', '"2024-01-01T16:17:16,123Z"'),
    *forms(MIDNIGHT, '"2024-01-01"', '"2024-01-01T00:00Z"'),
    *wrong('"yesterday"', '""', "1704125836", "true", '"2024-13-01T00:00:00Z"', '"0001-01-01T00:00:00+01:00"', "[]"),
)  # fmt: skip
MONEY = (
    *forms(Decimal(50), "50", "50.0", "5e1", "5E+1", "500e-1"),
    *forms(Decimal("-45.1"), "-45.1", "-4.51e1"),
    *forms(Decimal(0), "0", "-0", "0.0", "-0.0e9"),
    *forms(Decimal("123456789012.345"), "123456789012.345"),
    *wrong('"50"', "true", "[]", "{}", "1e400", "-1e400", "1" * 400, "050", "+5", ".5", "NaN", "Infinity", "0x32"),
)
WHOLE = (
    *forms(2, "2", "2.0", "2e0"),
    *forms(-3, "-3"),
    *wrong("2.5", '"2"', "true", "[]", "1e400", "1" * 400),
)
REFERENCE = (
    *forms(REF, f'"{REF}"', f'"{str(REF).upper()}"', f'"{REF.hex}"'),
    *wrong('"1"', "1", "[]", '""', f'"{REF}0"'),
)
TEXTS = (
    *forms((), "[]"),
    *forms(("a", "b"), '["a", "b"]'),
    *wrong('"a"', "[1]", "[null]", "{}", '[["a"]]'),
)
LINK = (
    *forms(Link(href=HREF), f'{{"href": "{HREF}"}}', f'{{"rel": 1, "href": "{HREF}"}}'),
    *forms(Link(href=""), '{"href": ""}'),
    *wrong(f'"{HREF}"', "{}", '{"href": 1}', '{"href": null}', "[]"),
)
FORMS: Mapping[str, tuple[Form, ...]] = {
    **dict.fromkeys(("created_at", "modified_at", "ordered_at", "date_of_birth", "passport_expiry"), TIME),
    **dict.fromkeys(("price", "original_price"), MONEY),
    **dict.fromkeys(("emails", "phone_numbers", "street"), TEXTS),
    **dict.fromkeys(("order", "guest"), LINK),
    "quantity": WHOLE,
    "ref": REFERENCE,
    "identifiers": (
        *forms((Identifier(provider="a", id="b"),), '[{"id": "b", "provider": "a", "expiryDate": null, "more": {}}]'),
        *forms((Identifier(provider="a", id="b", expiry_date=NOW),),
               '[{"id": "b", "provider": "a", "expiryDate": "2024-01-01T17:17:16+01:00"}]'),
        *wrong('[{"id": "b"}]', '[{"id": "b", "provider": null}]', '{"id": "b", "provider": "a"}', "[null]"),
    ),
    "order_items": (
        *forms((REF,), f'{{"items": [{{"href": "{HREF}"}}]}}', f'{{"items": [{{"href": "{HREF.upper()}/?a=b"}}]}}'),
        *forms((), '{"items": []}'),
        *forms(None, f'{{"href": "{HREF}"}}'),
    ),
}  # fmt: skip
"""The forms of each field; those of all others are `TEXT`."""
SEGMENT = '{"id": "1", "departureDateTime": "2025-08-23T16:17Z", "gate": {}, "carrier": null}'
FORMS_V2: Mapping[str, tuple[Form, ...]] = {
    "quantity": (
        *forms(2, "2", "2.0", "2e0"),
        *forms(-3, "-3"),
        *forms(Decimal("2.5"), "2.5", "25e-1"),
        *wrong('"2"', "true", "[]", "1e400"),
    ),
    "flight_segments": (
        *forms((), "[]"),
        *forms((FlightSegment(id="1", departure_date_time="2025-08-23T16:17Z"),), f"[{SEGMENT}]"),
        *forms((FlightSegment(), FlightSegment(origin="")), '[{}, {"origin": ""}]'),
        *wrong("{}", '["1"]', "[null]", '[{"id": 1}]', '[{"departureDateTime": 1704125836}]'),
    ),
    **{
        name: (
            *forms((), '{"items": []}'),
            *forms((part(ref=REF, href=HREF),), f'{{"items": [{{"href": "{HREF}"}}]}}'),
            *forms((part(ref=REF),), f'{{"href": "x", "items": [{{"ref": "{REF}", "more": 1}}]}}'),
            *forms(None, f'{{"href": "{HREF}"}}'),
            *wrong('{"items": [{}]}', '{"items": ["x"]}', '{"items": [{"href": "x"}]}', '{"items": [{"ref": 1}]}'),
        )
        for name, part in (("contacts", Contact), ("consumers", Consumer), ("order_items", OrderItemV2))
    },
}
"""Those of version 2, where they are others."""
MODELS = (Order, OrderItem, Contact, Consumer, OrderV2, OrderItemV2)


def forms_of(model: type[object], name: str) -> tuple[Form, ...]:
    """Return the forms of a field."""
    return (FORMS_V2.get(name) if model in {OrderV2, OrderItemV2} else None) or FORMS.get(name, TEXT)


MORE = ("", '"more": {"deep": [{}]}', '"": null', '"Ref": 1', '"extra": 1e300')
SPACE = ("", " ", "\r\n\t", "\ufeff")


def fits(found: object) -> bool:
    """Tell a value from the error for an answer that does not fit."""
    if isinstance(found, CdpError):
        assert isinstance(found, Unreadable)
        assert found.delivery == Delivery.DONE_UNREADABLE
        assert found.cut == (not found.start.strip())  # an answer to a read with nothing in it did not come whole
        return False
    return True


def judge(raw: str | bytes, model: type[object]) -> object:
    """Return what reading *raw* as a *model* ends in."""
    body = raw if isinstance(raw, bytes) else raw.encode()
    try:
        return parse_response(Request("x.get", "GET", "/x", reads(model)), 200, body)
    except CdpError as error:
        return error


def judge_page(raw: str) -> Page[OrderItem] | None:
    """Return what *raw* is as a page of items, None where it does not fit."""
    try:
        return parse_response(Request("x.list", "GET", "/x", reads_page(OrderItem)), 200, raw.encode())
    except Unreadable:
        return None


@pytest.mark.parametrize("model", MODELS)
@settings(max_examples=250)
@given(data=st.data())
def test_every_form_of_every_field(model: type[attrs.AttrsInstance], data: st.DataObject) -> None:
    """Fields in all their forms, keys in any order, more of them and fewer: what fits is read right, else refused."""
    chosen: dict[str, Form] = {}
    for name in data.draw(st.permutations([field.name for field in attrs.fields(model)])):
        known = forms_of(model, name)
        right = [form for form in (*known, *(() if name == "ref" else ABSENT)) if form.fits]
        chosen[name] = data.draw(st.sampled_from(right), name)
    for name in data.draw(st.sets(st.sampled_from(sorted(chosen)), max_size=2)):
        bad = [form for form in forms_of(model, name) if not form.fits]
        chosen[name] = data.draw(st.sampled_from(bad or forms_of(model, name)), name)
    pairs = [f'"{camel(name)}": {form.json}' for name, form in chosen.items() if form.json]
    more = data.draw(st.sampled_from(MORE))
    raw = data.draw(st.sampled_from(SPACE)) + "{" + ", ".join([*pairs, *([more] if more else [])]) + "}"
    found = judge(raw, model)
    assert fits(found) == all(form.fits for form in chosen.values())
    if fits(found):
        assert found == model(**{name: form.means for name, form in chosen.items()})


@given(st.decimals(allow_nan=False, allow_infinity=False).filter(lambda x: abs(x.adjusted()) < 300))
def test_every_number_to_fifteen_digits(number: Decimal) -> None:
    """A number of any length is read right to the fifteen digits that a JSON number carries."""
    found = judge(f'{{"ref": "{REF}", "price": {number:e}}}', Order)
    assert isinstance(found, Order)
    assert found.price is not None
    assert FIFTEEN.plus(found.price) == FIFTEEN.plus(number)


@given(st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1)), st.integers(-1439, 1439))  # noqa: DTZ001 the zone is the other
def test_every_time_zone(moment: datetime, minutes: int) -> None:
    """A time in any zone is the same instant."""
    there = moment.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    found = judge(f'{{"ref": "{REF}", "createdAt": "{there.isoformat()}"}}', Order)
    assert isinstance(found, Order)
    assert found.created_at is not None
    assert (found.created_at, found.created_at.tzinfo) == (there, UTC)


def test_last_of_two_keys_counts() -> None:
    """A key that is there twice has its last value, as in most readers of JSON."""
    for model in (Order, OrderV2, OrderItem, OrderItemV2):
        assert judge(f'{{"status": "A", "ref": "{REF}", "status": "B"}}', model) == model(ref=REF, status="B")


PAIRS = (
    *forms("é", '"\\u00e9"'),
    *forms(0.1, "0.1", "1e-1"),
    Form("true", means=True),
    *forms(-(2**63), str(-(2**63))),
    *forms(2**64 - 1, str(2**64 - 1)),
    *wrong("null", "[]", "{}", '["a"]'),  # no pairs, so they are left out
)


@given(st.dictionaries(st.from_regex("[a-z]{4,6}", fullmatch=True).map("x".__add__), st.sampled_from(PAIRS)))
def test_every_form_of_pairs(pairs: dict[str, Form]) -> None:
    """Pairs of an extension are read with the types that they have; what cannot be one is left out."""
    written = "".join(f', "{key}": {form.json}' for key, form in pairs.items())
    found = judge(f'{{"ref": "{REF}", "name": "ext", "order": {{"href": "x"}}{written}}}', Extension)
    kept = {key: form.means for key, form in pairs.items() if form.fits}
    assert isinstance(found, Extension)
    assert {key: (type(one), one) for key, one in found.pairs.items()} == {
        key: (type(one), one) for key, one in kept.items()
    }


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from([HREF, str(REF)])
anything = st.recursive(
    LEAVES,
    lambda deeper: (
        st.lists(deeper, max_size=4)
        | st.fixed_dictionaries(
            {}, optional={"ref": st.just(str(REF)) | deeper, "items": st.lists(deeper), "next": deeper, "name": deeper}
        )
        | st.dictionaries(st.sampled_from(["href", "offset", "limit"]) | st.text(), deeper)
    ),
    max_leaves=8,
)


@settings(max_examples=300)
@given(anything)
def test_any_json_as_anything(value: object) -> None:
    """Any JSON is a value only where it has what makes it one: a reference, or a list of what has one."""
    raw = json.dumps(value)
    for model in MODELS:
        found = judge(raw, model)
        if fits(found):
            assert is_object(value)
            assert isinstance(found, Resource)
            assert found.ref == UUID(value["ref"])
    fits(judge(raw, Extension))
    if (page := judge_page(raw)) is not None:
        assert is_object(value)
        assert [entry.ref for entry in page.items] == [REF] * len(value.get("items") or [])
        assert page.has_next == isinstance(value.get("next"), dict)


@settings(max_examples=300)
@given(st.sampled_from([*range(300, 430), 499, *range(500, 520), 599, 999]), anything | st.binary(), st.booleans())
def test_any_refusal_is_one(status: int, body: object, creates: bool) -> None:  # noqa: FBT001 drawn
    """Whatever else a status says is a refusal, whatever its body; what its envelope lacks is None."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = Request("x.create", "POST", "/x", reads(Order), creates=creates)
    with pytest.raises(CdpError) as caught:
        parse_response(request, status, raw)
    refused = caught.value.__cause__ if isinstance(caught.value, OutcomeUnknown) else caught.value
    assert isinstance(refused, Refused)
    assert refused.status == status
    assert isinstance(refused.code, int | None)
    for words in (refused.message, refused.developer_message, refused.more_info_url):
        assert isinstance(words, str | None)


@settings(max_examples=300)
@given(st.data())
def test_damaged_documents(data: st.DataObject) -> None:
    """A document that was cut, or in which bytes changed, is read or refused, and never fails otherwise."""
    whole = (
        f'{{"ref": "{REF}", "price": 50, "createdAt": "2024-01-01T16:17:16Z", "contacts": {{"href": "é"}}}}'.encode()
    )
    at = data.draw(st.integers(0, len(whole) - 1))
    damaged = whole[:at] + data.draw(st.binary(max_size=3)) + whole[at + data.draw(st.integers(0, 3)) :]
    for model in (Order, OrderV2, Extension):
        fits(judge(damaged, model))
    assert not fits(judge(whole[:at], Order))
