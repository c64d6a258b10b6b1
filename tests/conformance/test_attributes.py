"""Models, rules and emulator are the vendor's tables of attributes: no attribute more, none less, none otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, get_args, get_type_hints

import attrs
import pytest

from cdp_orders_async import FlightSegment, Identifier
from cdp_orders_async.emulator import Emulator, Switches
from cdp_orders_async.emulator.records import moment
from cdp_orders_async.emulator.rules import V2_1_RULES, V2_RULES, Rules
from cdp_orders_async.kinds import V2, V2_1, Api, Kind
from cdp_orders_async.models.common import camel
from cdp_orders_async.rules import check, rules_of
from cdp_orders_async.wire import encode, reads, structure
from tests.conformance.attributes import KINDS, Attribute, Json, Version, attributes, bad, good, names, refused
from tests.conformance.contract import document
from tests.emulator.talking import Talk, talking

APIS: Mapping[Version, Api] = {"v2": V2, "v2.1": V2_1}
SERVED: Mapping[Version, Mapping[str, Rules]] = {"v2": V2_RULES, "v2.1": V2_1_RULES}
BOTH: tuple[Version, ...] = ("v2", "v2.1")
SCHEMAS = {"orders": "Order", "items": "OrderItem", "contacts": "OrderContact", "consumers": "OrderConsumer"}
TO_PARTS = {"contacts", "consumers", "orderItems", "extensions"}
"""What the file of version 2.1 infers: the links of an order to its parts, which this client has no use for."""


def kind_of(version: Version, kind: str) -> Kind[Any, Any, Any]:
    """Return the row of the API for a kind."""
    return next(one for one in APIS[version].kinds if one.name == kind)


def fields(model: type[attrs.AttrsInstance]) -> set[str]:
    """Return the names that the fields of a model have on the wire."""
    return {camel(field.name) for field in attrs.fields(model)}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("version", BOTH)
def test_models_are_the_tables(version: Version, kind: str) -> None:
    """What is sent and what is kept have the attributes of the tables, and need those that they need."""
    rows = attributes(version, kind).values()
    row = kind_of(version, kind)
    assert fields(row.new) == names(rows, "required", "optional")
    assert fields(row.stored) >= names(rows, "required", "optional", "answer")
    assert fields(row.stored) - names(rows, "required", "optional", "answer") == (
        {"street", "city", "state", "postCode"} if version == "v2" and kind in {"contacts", "consumers"} else set()
    )  # both versions read persons alike
    table, required = rules_of(row.new)
    assert {camel(name) for name in table} == names(rows, "required", "optional")
    assert {camel(name) for name in required} == names(rows, "required")
    for name, hint in get_type_hints(row.new).items():
        limit, words = (attributes(version, kind)[camel(name)].limit, attributes(version, kind)[camel(name)].words)
        assert literals(hint) == ({*words} if limit.startswith("one of") else set()), name


def literals(hint: object) -> set[str]:
    """Return the words that a type hint lists."""
    return {hint} if isinstance(hint, str) else {word for part in get_args(hint) for word in literals(part)}


@pytest.mark.parametrize("version", BOTH)
def test_parts_of_attributes_are_the_tables(version: Version) -> None:
    """Identifiers and flight segments have the attributes of their tables."""
    assert fields(Identifier) == attributes(version, "identifiers").keys()
    assert fields(FlightSegment) == attributes("v2", "segments").keys()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("version", BOTH)
def test_emulator_is_the_tables(version: Version, kind: str) -> None:
    """The emulator takes the attributes of the tables, needs those that they need, and knows those of answers."""
    rows = attributes(version, kind).values()
    rules = SERVED[version][kind]
    assert rules.fields.keys() == names(rows, "required", "optional")
    assert set(rules.required) == names(rows, "required")
    assert rules.served == names(rows, "answer", "ignored")
    assert set(rules.past) == {row.name for row in rows if row.type == "past"}


@pytest.mark.parametrize("kind", KINDS)
def test_file_is_the_tables(kind: str) -> None:
    """The OpenAPI file has the same attributes, needs the same, and limits them alike."""
    rows = attributes("v2.1", kind)
    schemas: Json = document()["components"]["schemas"]
    written, shown = schemas[f"{SCHEMAS[kind]}Write"], schemas[SCHEMAS[kind]]
    for schema, uses in ((written, ("required", "optional")), (shown, ("required", "optional", "answer"))):
        extra = {"createdAt", "modifiedAt"} if schema is written else TO_PARTS
        own = schema["properties"].keys() - (extra if kind == "orders" else set())
        assert own == names(rows.values(), *uses)
    assert set(written.get("required", ())) == names(rows.values(), "required")
    for name in shown["properties"].keys() & names(rows.values(), "required", "optional"):
        row, says = rows[name], written["properties"][name]
        assert set(says.get("enum", ())) == ({*row.words} if row.limit.startswith("one of") else set())
        assert set(says.get("not", {}).get("enum", ())) == ({*row.words} if row.limit.startswith("none of") else set())
        assert (f"at most {says.get('maxLength')}" == row.limit) is ("maxLength" in says)


def body_of(version: Version, kind: str) -> Json:
    """Return a body with only what is needed."""
    return {row.name: row.examples[0] for row in attributes(version, kind).values() if row.use == "required"}


def refuses(model: type[attrs.AttrsInstance], body: Json) -> bool:
    """Tell whether the client would not send *body*, because it cannot be read or breaks a rule."""
    try:
        return check(model, structure(body, model)) != []
    except ValueError:
        return True


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("version", BOTH)
def test_client_takes_what_fits(version: Version, kind: str) -> None:
    """The client takes every example, word and limit, and nothing beyond them, and misses what is needed."""
    model = kind_of(version, kind).new
    body = body_of(version, kind)
    assert not refuses(model, body)
    for row in attributes(version, kind).values():
        if row.use in {"required", "optional"}:
            for value in good(version, row):
                assert not refuses(model, {**body, row.name: value}), (row.name, value)
            for value in bad(version, row):
                assert refuses(model, {**body, row.name: value}), (row.name, value)
            assert refuses(model, {**body, row.name: None}) is (row.use == "required")
            if row.limit.startswith("one of"):
                [(_, rule)] = check(model, structure({**body, row.name: "?"}, model))
                assert listed(rule) == {*row.words}


def listed(rule: str) -> set[str]:
    """Return the words that the words of a rule list."""
    return {*rule.partition(" one of ")[2].removesuffix(".").split(", ")}


def same(row: Attribute, sent: Any, shown: Any) -> bool:  # noqa: ANN401 any JSON
    """Tell whether an answer shows what was sent: other spellings of a time are the same time."""
    match row.type:
        case "time" | "past":
            return moment(sent) == moment(shown)
        case "identifiers":
            return [{**one, "expiryDate": None} for one in sent] == [{**one, "expiryDate": None} for one in shown]
        case "link":
            return bool(sent == shown)
        case _:
            return bool(sent == shown and type(sent) is type(shown))


async def place(talk: Talk, version: Version, kind: str) -> tuple[str, Mapping[str, Json]]:
    """Make an order with an item and a guest; return where a *kind* is created, and links to those two."""
    prefix = f"/{version}/orders"
    order = (await talk("POST", prefix, body_of(version, "orders"))).ref
    item = (await talk("POST", f"{prefix}/{order}/orderItems", body_of(version, "items"))).json
    guest = (await talk("POST", f"{prefix}/{order}/contacts", body_of(version, "contacts"))).json["guest"]
    part = "orderItems" if kind == "items" else kind
    path = prefix if kind == "orders" else f"{prefix}/{order}/{part}"
    return path, {"guest": guest, "orderItems": {"items": [{"href": item["href"]}]}}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("version", BOTH)
async def test_emulator_takes_what_fits(version: Version, kind: str) -> None:
    """The emulator takes the same, shows it as it was sent and so that the client reads it, and refuses the rest."""
    emulator = Emulator(switches=Switches(upsert=False), clock=lambda: datetime.fromisoformat("2026-01-01T00:00:00Z"))
    async with talking(emulator=emulator) as talk:
        path, links = await place(talk, version, kind)
        body = body_of(version, kind)
        for row in attributes(version, kind).values():
            if row.use not in {"required", "optional"}:
                continue
            for value in (*good(version, row), *([links[row.name]] if row.name in links else [])):
                answer = await talk("POST", path, {**body, row.name: value})
                assert answer.status == 201, (row.name, value, answer.text)
                assert same(row, value, answer.json[row.name]), (row.name, value, answer.json[row.name])
                reads(kind_of(version, kind).stored)(encode(answer.json))
            for value in refused(version, row):
                answer = await talk("POST", path, {**body, row.name: value})
                assert answer.status == 400, (row.name, value)
                assert answer.json["message"].startswith(f"{row.name}: ")
                if " of " in row.limit and value in ("", *row.words):
                    assert listed(answer.json["message"]) == {*row.words}
            answer = await talk("POST", path, {**body, row.name: None})
            assert answer.status == (400 if row.use == "required" else 201)
            if row.use == "required":
                assert answer.json["message"] == f"{row.name}: may not be null."
