"""Where inputs begin: real documents, JSON of every kind, and what can become of bytes on their way."""

from __future__ import annotations

import copy
import gzip
import importlib.resources
import json
import random
import re
from typing import Any

import orjson
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from cdp_orders_async.wire import is_list, is_object

Json = dict[str, Any]

PACKED = importlib.resources.files("cdp_orders_async") / "data" / "orders-50.jsonl.gz"
LINES = gzip.decompress(PACKED.read_bytes()).splitlines()
REF = "2d7de9df-45a2-45ea-872c-30e45139007d"

KEYS = re.findall(
    r"\w+",
    """
    referenceId orderedAt price currencyCode channel pointOfSale status paymentType cardType type name description
    productId originalPrice originalCurrencyCode vendor language quantity passengerTypeCode flightSegments
    departureDateTime arrivalDateTime title firstName lastName gender dateOfBirth emails email phoneNumbers
    nationality passportNumber passportExpiry identifiers provider id expiryDate street city state postCode country
    guest contact contacts consumers orderItems extensions ref href key createdAt modifiedAt order orderItem
    items offset limit first last next code message developerMessage moreInfoUrl value mode schema
    """,
)
TIMES = (
    *("2024-01-01T16:17:16Z", "2024-01-01T16:17:16.123456Z", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00"),
    *("9999-12-31T23:59:59-14:00", "2024-02-30", "2024-W01-1", "24:00", "20240101T16", "2024-01-01T16:17:60Z"),
    *("2024-01-01T16:17:16+24:00", "1969-12-31T23:59:59.999999999Z", "2024-01-01T16:17", "2024-01-01"),
)
WORDS = (
    *("", " ", "é", "\U0001f600", "\x00", "a\nb", "A" * 129, "\ufeff", "EUR", "WEB", "FLIGHT", "CONFIRMED", "DE", "|"),
    *("insert", "upsert", "order", "ext", "default", "B94TXY-1", *TIMES, REF, REF.upper(), f"{{{REF}}}"),
    *(f"https://host/v2.1/orderItems/{REF}", f"urn:uuid:{REF}", "http://[", "//", "?"),
)
NUMBERS = (0, -0.0, 1, 50.5, -1, 2**31, 2**53 + 1, 2**63, 2**64 - 1, -(2**63), 1e15, 0.1, 1e-300, 1e300, 5e-324)
leaves: SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(NUMBERS),
    st.sampled_from(WORDS),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
)
times: SearchStrategy[Any] = st.sampled_from(TIMES) | st.sampled_from(TIMES) | leaves
keys = st.sampled_from(KEYS) | st.sampled_from(KEYS) | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
PERSON = KEYS[KEYS.index("title") : KEYS.index("guest") + 1]
anything: SearchStrategy[Any] = st.recursive(
    leaves,
    lambda deeper: st.lists(deeper, max_size=4) | st.dictionaries(keys, deeper, max_size=5),
    max_leaves=12,
)
BEYOND = (float("nan"), float("inf"), -float("inf"), 10**400, -(10**4000), "\ud83d", "\udc80x")
"""What Python's own reader of JSON takes, and orjson does not."""

TOKENS = (
    *(b"null", b"true", b"NaN", b"1e400", b"-0", b"9" * 400, b"0.1e-400", b"1E5", b"[" * 2000, b'{"a":' * 300, b"[]"),
    *(
        b'"\\ud83d"',
        b'"\\u0000"',
        b"\xff",
        b"\xc0\x80",
        b"\xed\xa0\x80",
        b"\xef\xbb\xbf",
        b"\x00",
        b"\r\n",
        b"\n",
        b"\r",
    ),
    *(b"{}", b",", b":", b'"', b"\\", b'"ref":1,', b'"value":', b'"mode":"set",', b"\x1f\x8b", b"\x1f", b"\x1a"),
)


def dumped(value: object) -> bytes:
    """Write JSON data, also what only Python calls JSON, as ASCII."""
    return json.dumps(value).encode()


def changed(data: bytes, start: int, tokens: tuple[bytes, ...] = TOKENS) -> bytes:
    """Change *data* in some places: cut, doubled, overwritten, inserted; the same *start* makes the same changes."""
    draw = random.Random(start)  # noqa: S311 (it chooses changes)
    for _ in range(draw.choice((1, 1, 2, 3, 6))):
        at = draw.randint(0, len(data))
        end = min(len(data), at + draw.choice((1, 2, 4, draw.randint(1, 64), draw.randint(1, 3000))))
        new = draw.choice(tokens) if draw.random() < 0.7 else draw.randbytes(draw.randint(1, 4))
        match draw.randrange(6):
            case 0:
                data = data[:at] + new + data[at:]
            case 1:
                data = data[:at] + new + data[at + len(new) :]
            case 2:
                data = data[:at] + data[end:]
            case 3:
                data = data[:end] + data[at:end] + data[end:]
            case 4 if at < len(data):
                data = data[:at] + bytes([data[at] ^ 1 << draw.randrange(8)]) + data[at + 1 :]
            case _:
                data = data[:at]
    return data


def mutated(whole: SearchStrategy[bytes], tokens: tuple[bytes, ...] = TOKENS) -> SearchStrategy[bytes]:
    """Return what *whole* gives, often with changes."""
    return whole | st.builds(changed, whole, st.integers(0, 2**32), st.just(tokens))


def places(value: object) -> list[tuple[Any, Any]]:
    """Return every place in *value*: what contains it, and its key or index there."""
    found: list[tuple[Any, Any]] = []
    inside = list(value.items()) if is_object(value) else list(enumerate(value)) if is_list(value) else []
    for at, one in inside:
        found.append((value, at))
        found += places(one)
    return found


@st.composite
def reshaped(draw: st.DrawFn, leaf: SearchStrategy[Any] = anything, most: int = 4) -> object:
    """Draw a real order with its parts in which some values are others, missing, renamed, moved or doubled."""
    record: Json = orjson.loads(draw(st.sampled_from(LINES)))
    for part in ("orderItems", "consumers"):
        record["value"][part] = record["value"].get(part, [])[: draw(st.integers(0, 2))]
    value: list[Any] = [record if draw(st.booleans()) else record["value"]]
    for _ in range(draw(st.integers(0, most))):
        every = places(value)
        if not every:
            break
        container, at = every[draw(st.integers(0, len(every) - 1))]
        match draw(st.sampled_from(("replace", "replace", "remove", "add", "move"))):
            case "replace":
                container[at] = draw(leaf)
            case "remove" if container is not value:
                del container[at]
            case "add" if is_object(container):
                near = st.sampled_from(PERSON) if "firstName" in container else keys
                container[draw(near)] = draw(leaf)
            case "add":
                container.insert(at, copy.deepcopy(container[at]) if draw(st.booleans()) else draw(leaf))
            case _ if is_object(container):
                container[draw(keys)] = container.pop(at)
            case _:
                pass
    return value[0]
