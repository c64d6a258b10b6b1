"""Answers straight to models: the same as by way of the codec, whatever they hold."""

from __future__ import annotations

import json
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdp_orders_async import Consumer, Contact, Order, OrderItem, OrderItemV2, OrderV2
from cdp_orders_async.models.common import camel
from cdp_orders_async.wire.codec import load, structure
from cdp_orders_async.wire.direct import decode, reader

EXAMPLES = Path(__file__).parent / "data" / "examples"
REF = "2d7de9df-45a2-45ea-872c-30e45139007d"
MODELS = (Order, OrderItem, Contact, Consumer, OrderV2, OrderItemV2)
LINK = {"href": f"https://host/v2.1/orders/{REF}"}
# No whole number of more than 64 bits: the codec reads it as a float, the short way exactly.
PIECES = st.sampled_from(
    [
        *("null", "true", "0", "-0", "1", "2.0", "1.50", "1e2", "1E400", "0.1", "NaN"),
        *('""', '"x"', '"50"', '"NaN"', '"\\ud83d\\ude00"', '"\\ud800"', '"\\u0000"', '"a\tb"', '"é"'),
        *(f'"{REF}"', f'"{REF.upper()}"', f'"{REF.replace("-", "")}"', f'"{{{REF}}}"', f'"urn:uuid:{REF}"'),
        *('"2024-01-01T16:17:16Z"', '"2024-01-01T16:17:16.000Z"', '"2024-01-01"', '"2024-01-01T16:17:16+05:45"'),
        *(
            '"2024-01-01T16:17:16"',
            '"2024-01-01T24:00:00Z"',
            '"2024-01-01T16:17:60Z"',
            '"2024-01-01T16:17:16.1234567Z"',
        ),
        *("[]", '["a","b"]', "[null]", '[{"provider":"CRM","id":"17","expiryDate":"2030-01-01T00:00:00Z"}]'),
        *(
            "{}",
            json.dumps(LINK),
            json.dumps({"items": [LINK]}),
            json.dumps({"items": [{**LINK, "ref": REF, "price": 5}]}),
        ),
    ]
)


def result(body: bytes, model: type[object], *, direct: bool) -> object:
    """Return what a body is read as, or what its error says."""
    try:
        return decode(body, model) if direct else structure(load(body), model)
    except ValueError as error:
        return type(error), error.args


@st.composite
def bodies(draw: st.DrawFn) -> tuple[type[object], bytes]:
    """Draw a model, and a body with some of its fields in any form, each once or twice."""
    model = draw(st.sampled_from(MODELS))
    keys = st.sampled_from([*(camel(field.name) for field in attrs.fields(model)), "unknown"])
    pairs = draw(st.lists(st.tuples(keys, PIECES), max_size=6))
    written = [f'"ref":"{REF}"', *(f'"{key}":{piece}' for key, piece in pairs)]
    return model, draw(st.sampled_from([b"", b" ", b"\xef\xbb\xbf"])) + f"{{{','.join(written)}}}".encode()


@given(bodies())
def test_the_codec_would_read_the_same(drawn: tuple[type[object], bytes]) -> None:
    """What an answer is read as does not depend on the way that it takes."""
    model, body = drawn
    assert result(body, model, direct=True) == result(body, model, direct=False)


@given(st.binary(max_size=40))
def test_garbage_is_refused_alike(body: bytes) -> None:
    """Bytes that are no JSON raise what the codec raises."""
    assert result(body, Order, direct=True) == result(body, Order, direct=False)


@pytest.mark.parametrize("model", MODELS)
def test_what_is_as_documented_takes_the_short_way(model: type[attrs.AttrsInstance]) -> None:
    """An answer with references, times and amounts in their documented form is read without the codec."""
    plain = b'{"ref":"%b","href":"https://host/x","createdAt":"2024-01-01T16:17:16.000Z","other":[1]}' % REF.encode()
    assert reader(model)(plain) == structure(load(plain), model)


def test_the_vendors_item_takes_the_short_way() -> None:
    """The vendor's example of an item is read without the codec."""
    body = (EXAMPLES / "order-item-response.json").read_bytes()
    assert reader(OrderItem)(body) == structure(load(body), OrderItem)
