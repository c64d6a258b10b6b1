"""JSON lines of which nothing is lost in silence: doubled keys, long numbers, and what is far too much."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cdp_orders_async import V2, GraphFile
from cdp_orders_async.graph import Findings, read_json
from tests.graphs import GOOD, ITEM, KEY, ORDER, read, told, written
from tests.security.test_bombs import at_most

TWICE = "must be given only once"
AS_TEXT = "must be a number that arrives digit for digit: send this one as text, in quotes"
ROUND = "must be a number that arrives digit for digit: round it to at most 15 digits"


async def line_of(tmp_path: Path, raw: bytes) -> list[str]:
    """Return what is wrong with a line of a file, in words."""
    (line,) = await read(GraphFile(written(tmp_path / "o.jsonl", raw)))
    assert (line.graph is None) == bool(line.violations)
    return told(line)


# Doubled keys.

PERSON = b'{"firstName":"Ada","identifiers":[{"provider":"CRM","id":"1"}]}'
WHOLE = orjson.dumps({**ORDER, "extensions": [{"name": "ext", "a": "x"}]})[:-1] + (
    b',"contact":%b,"orderItems":[%b,%b],"consumers":[%b]}'
    % (PERSON, orjson.dumps({**ITEM, "extensions": [{"b": 1}]}), orjson.dumps({**ITEM, "referenceId": "I-2"}), PERSON)
)
RECORD = b'{"ref":"1","schema":"order","mode":"insert","value":%b}' % WHOLE


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        (b'"price":50', b'"price":50,"price":50', "$.price"),
        (b'"price":50', b'"price":60, "pr\\u0069ce" : 50', "$.price"),
        (b'"price":50', b'"price":{"a":1,"a":2},"price":50', "$.price"),
        (b'"orderItems":', b'"orderItems":[],"orderItems":', "$.orderItems"),
        (b'"I-2"', b'"I-2","name":"AZ11"', "$.orderItems[1].name"),
        (b'"b":1', b'"b":1,"b":1', "$.orderItems[0].extensions[0].b"),
        (b'"a":"x"', b'"a":"x:y","a":"x"', "$.extensions[0].a"),
        (b'"contact":{', b'"contact":{"firstName":"Eve",', "$.contact.firstName"),
        (b'"contact":{"firstName":"Ada",', b'"contact":{"identifiers":[],', "$.contact.identifiers"),
        (b'"id":"1"}]},"orderItems"', b'"id":"1","id":"2"}]},"orderItems"', "$.contact.identifiers[0].id"),
        (b'"consumers":[{', b'"consumers":[{"firstName":"Eve",', "$.consumers[0].firstName"),
    ],
)
async def test_doubled_key(old: bytes, new: bytes, path: str, tmp_path: Path) -> None:
    """A key that an object has twice is a broken rule of that line, wherever the object is; its path is told."""
    for good in (WHOLE, RECORD):
        assert await line_of(tmp_path, good) == []
        assert good.count(old) == 1
        assert f"{path}: {TWICE}" in await line_of(tmp_path, good.replace(old, new))


@pytest.mark.parametrize(
    ("new", "path"),
    [(b'"mode":"upsert","mode"', "$.mode"), (b'"ref":1,"mode"', "$.ref"), (b'"value":1,"mode"', "$.value")],
)
async def test_doubled_key_of_a_record(new: bytes, path: str, tmp_path: Path) -> None:
    """The import record around an order is judged as the order is."""
    assert await line_of(tmp_path, RECORD.replace(b'"mode"', new)) == [f"{path}: {TWICE}"]


async def test_doubled_key_of_a_segment(tmp_path: Path) -> None:
    """What only version 2 has is judged too."""
    item = json.dumps({"name": "x", "flightSegments": [{"origin": "DUB"}]}).replace('"DUB"', '"DUB", "origin": "LHR"')
    path = written(
        tmp_path / "o.jsonl", orjson.dumps({**ORDER, "orderItems": [0]}).replace(b"0]", item.encode() + b"]")
    )
    (line,) = await read(GraphFile(path, V2))
    assert told(line)[0] == f"$.orderItems[0].flightSegments[0].origin: {TWICE}"


class Pairs(NamedTuple):
    """An object, of which keys may be doubled."""

    pairs: list[tuple[str, Tree]]


Tree: TypeAlias = "str | int | float | bool | list[Any] | Pairs | None"

texts = st.text(st.sampled_from('ab:"\\ é\u2028\n{,}03e'), max_size=6)
leaves = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
trees: st.SearchStrategy[Tree] = st.recursive(
    leaves | texts,
    lambda deeper: st.lists(deeper, max_size=4) | st.lists(st.tuples(texts, deeper), max_size=4).map(Pairs),
    max_leaves=15,
)


def spelled(tree: Tree, draw: st.DrawFn) -> str:
    """Write JSON in one of its spellings: with spaces or escapes wherever there may be some."""
    space = draw(st.sampled_from(["", "", " ", "\t", "\r "]))
    if isinstance(tree, Pairs):
        inside = [f"{space}{spelled(key, draw)}{space}:{spelled(one, draw)}" for key, one in tree.pairs]
        return f"{{{','.join(inside)}{space}}}"
    if isinstance(tree, list):
        return f"[{f'{space},'.join(spelled(one, draw) for one in tree)}{space}]"
    if isinstance(tree, str) and draw(st.booleans()):
        return '"' + "".join(f"\\u{ord(char):04x}" for char in tree) + '"'
    return json.dumps(tree, ensure_ascii=draw(st.booleans()))


def has_doubled(tree: Tree) -> bool:
    """Tell whether any object has a key twice."""
    if isinstance(tree, Pairs):
        keys = [key for key, _ in tree.pairs]
        return len(set(keys)) < len(keys) or any(has_doubled(one) for _, one in tree.pairs)
    return isinstance(tree, list) and any(map(has_doubled, tree))


@st.composite
def documents(draw: st.DrawFn) -> tuple[Tree, bytes]:
    """Draw an object and one of its spellings."""
    tree = Pairs(draw(st.lists(st.tuples(texts, trees), max_size=5)))
    return tree, spelled(tree, draw).encode()


@given(documents())
def test_doubled_keys_are_always_found(document: tuple[Tree, bytes]) -> None:
    """However an object is spelled, a doubled key in it is found, and none is found where there is none."""
    tree, text = document
    found = Findings()
    assert read_json(text, found) == json.loads(text)
    assert bool(found.count) == has_doubled(tree)
    assert {violation.rule for violation in found.kept} <= {TWICE}


@given(documents())
def test_good_data_is_read_as_before(document: tuple[Tree, bytes]) -> None:
    """What is read is what any reader of JSON makes of it, of the same types."""
    _, text = document
    assert repr(read_json(text, Findings())) == repr(orjson.loads(text))


# Numbers.

NUMBER = r"-?(0|[1-9][0-9]{0,24})(\.[0-9]{1,24})?([eE][-+]?[0-9]{1,3})?"


def kept(token: str) -> bool:
    """Tell whether a reader that knows whole numbers of 64 bits and floats keeps the value of *token*."""
    if token.lstrip("-").isdigit() and -(2**63) <= Decimal(token) < 2**64:
        return True
    value = float(token)
    return abs(value) != float("inf") and Decimal(repr(value)) == Decimal(token)


@given(st.from_regex(NUMBER, fullmatch=True), st.sampled_from(["", " "]))
@example("1e400", "")
@example("1e-400", "")
@example("-0", "")
@example("1" * 5000, "")
@example("18446744073709551615", "")
@example("18446744073709551616", "")
@example("100000000000000000000", "")
@example("1180591620717411303424", "")
def test_no_digit_is_lost_in_silence(token: str, space: str) -> None:
    """A number arrives digit for digit, or breaks a rule."""
    found = Findings()
    text = f'{{"extensions":[{{"a":1,{space}"n":{token}{space}}}],"b":"\\u00e9"}}'
    value = read_json(text.encode(), found)
    if kept(token):
        assert found.kept == []
        sent = orjson.dumps(value["extensions"][0]["n"])
        assert Decimal(sent.decode()) == Decimal(token)
    else:
        assert [str(one) for one in found.kept] == [f"$.extensions[0].n: {AS_TEXT}"]


@pytest.mark.parametrize(
    ("old", "new", "wrong"),
    [
        (b'"a":"x"', b'"a":123456789012345678901234567890', f"$.extensions[0].a: {AS_TEXT}"),
        (b'"b":1', b'"b":0.1000000000000000055', f"$.orderItems[0].extensions[0].b: {AS_TEXT}"),
        (b'"b":1', b'"price":1e400', f"$.orderItems[0].extensions[0].price: {AS_TEXT}"),
        (b'"price":50', b'"price":50.00000000000000001', f"$.price: {ROUND}"),
        (b'"price":50', b'"price":1e400', f"$.price: {ROUND}"),
        (b'"I-2"', b'"I-2","quantity":1.00000000000000000001', f"$.orderItems[1].quantity: {ROUND}"),
        (b'"price":50', b'"price":3.3000000000000003',
         "$.price: must have at most 15 significant digits: round it, as 3.3000000000000003 to 3.30"),
    ],
)  # fmt: skip
async def test_number_that_would_change(old: bytes, new: bytes, wrong: str, tmp_path: Path) -> None:
    """A price or a value of an extension that would not arrive as it stands is refused, and it is said what to do."""
    for good in (WHOLE, RECORD):
        assert await line_of(tmp_path, good.replace(old, new)) == [wrong]


@pytest.mark.parametrize("number", [b"1.10", b"9007199254740993", b"18446744073709551615", b"1e2", b"0.1", b"-0"])
async def test_number_that_arrives(number: bytes, tmp_path: Path) -> None:
    """Equal numbers are the same number, and whole numbers of 64 bits are kept."""
    (line,) = await read(GraphFile(written(tmp_path / "o.jsonl", WHOLE.replace(b'"a":"x"', b'"a":%b' % number))))
    assert line.graph is not None
    assert line.graph.extension is not None
    assert Decimal(orjson.dumps(line.graph.extension["a"]).decode()) == Decimal(number.decode())


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity", b"01", b"+1", b".5"])
async def test_what_is_no_number(number: bytes, tmp_path: Path) -> None:
    """What only some readers of JSON take for a number is no JSON, also beside a number that is too large."""
    (wrong,) = await line_of(tmp_path, GOOD.replace(b"50", number))
    assert wrong.startswith("$: must be JSON: ")
    (wrong,) = await line_of(tmp_path, GOOD.replace(b"50", b'1e400,"x":' + number))
    assert wrong.startswith("$: must be JSON: ")


# Far too much.


@pytest.mark.parametrize(
    ("part", "count", "last"),
    [
        (b'"orderItems":[%b]' % b",".join([b"1"] * 500_000), 101, "$: breaks 499900 more rules"),
        (b'"orderItems":[%b]' % b",".join([b"{}"] * 300_000), 101, "$: breaks at least 9900 more rules"),
        (b'"consumers":[%b]' % b",".join([b'{"city":1}'] * 1000), 101, "$: breaks 900 more rules"),
        (b'"consumers":[%b]' % b",".join([b'{"city":1}'] * 101), 101, "$: breaks 1 more rule"),
        (b'"contact":{"emails":[%b]}' % b",".join([b"1"] * 500_000), 1,
         "$.contact.emails: must have at most 1,000 entries"),
        (b'"contact":{"identifiers":[%b]}' % b",".join([b"{}"] * 200_000), 1,
         "$.contact.identifiers: must have at most 1,000 entries"),
        (b'"extensions":[{%b}]' % b",".join(b'"K%d":1' % n for n in range(100_000)), 1,
         "$.extensions[0]: must have at most 100 pairs"),
        (b",".join(b'"k%d":1' % n for n in range(100_000)), 101, "$: breaks 99900 more rules"),
        (b'"x":[%b]' % b",".join([b"1e-400"] * 100_000), 101, "$: breaks at least 9901 more rules"),
        (b'"x":[%b]' % b",".join([b"1"] * 1_000_001), 1, "$: must hold at most 1,000,000 values"),
        (b'"x":1e-400,"y":%b' % (b"[" * 1000 + b"]" * 1000), 1, "$: must not be nested so deep"),
        (b'"x":%b' % (b"[" * 10**6), 1, "$: must be JSON: depth limit exceeded"),
    ],
    ids=["items", "objects", "consumers", "one", "emails", "identifiers", "pairs", "keys", "numbers", "values", "deep",
         "deeper"],
)  # fmt: skip
async def test_line_that_breaks_a_million_rules(part: bytes, count: int, last: str, tmp_path: Path) -> None:
    """However much is wrong with a line, what is told of it is short, and takes little memory."""
    path = written(tmp_path / "o.jsonl", GOOD[:-1] + b"," + part + b"}", GOOD)
    with at_most(60):
        bad, good = await read(GraphFile(path))
    assert (bad.graph, good.graph is None) == (None, False)
    assert (len(bad.violations), told(bad)[-1].partition(" at column ")[0]) == (count, last)
    assert len("".join(told(bad))) < 20_000
    assert bad.key in {KEY, None}
