"""Every request that the client can make is one that the OpenAPI file describes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from operator import attrgetter
from typing import Any, TypeVar, get_type_hints
from urllib.parse import parse_qsl, unquote, urlsplit
from uuid import UUID

import attrs
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from cdp_orders_async import (
    CdpOrders,
    ConsumerChanges,
    ContactChanges,
    NewConsumer,
    OrderChanges,
    OrderItemChanges,
    Request,
    Resources,
    ResourcesV2,
    Settings,
)
from cdp_orders_async.kinds import V2_1
from cdp_orders_async.wire import parse_response
from tests import values
from tests.calls import CALLS, Refs, walked
from tests.conformance.attributes import attributes, bad, names
from tests.conformance.mock import OPERATIONS, judged
from tests.servers import Reply, serving

T = TypeVar("T")

ANYTHING = orjson.dumps({"ref": "2d7de9df-45a2-45ea-872c-30e45139007d", "href": "https://host/x", "items": []})
"""An answer that fits every operation."""


async def test_every_call_over_a_socket() -> None:
    """Each operation is called as the file describes it, down to the bytes on the wire."""
    async with (
        serving(Reply(body=ANYTHING)) as server,
        CdpOrders(base_url=server.url, client_key="key", api_token="token", settings=Settings(trust_env=False)) as cdp,  # noqa: S106 it guards nothing
    ):
        for call in CALLS.values():
            await call(cdp, Refs())
    found: list[str] = []
    for asked in server.ledger:
        url = urlsplit(asked.target)
        body = asked.body or None
        operation, misfits = judged(asked.method, unquote(url.path), dict(parse_qsl(url.query)), body)
        assert misfits == [], operation.id
        assert asked.headers["authorization"] == "Basic a2V5OnRva2Vu"
        assert asked.headers.get("content-type") == (None if body is None else "application/json")
        found.append(operation.id)
    assert sorted(found) == sorted(each.id for each in OPERATIONS)


class Recorder:
    """A transport that keeps what it is to send, and answers the same to everything."""

    def __init__(self) -> None:
        self.requests: list[Request[Any]] = []

    async def send(self, request: Request[T], /) -> T:
        """Keep *request*."""
        self.requests.append(request)
        return parse_response(request, 200, ANYTHING)


def changed(new: SearchStrategy[Any], changes: type) -> SearchStrategy[dict[str, Any]]:
    """Return changes of any fields to values as *new* has them."""
    names = sorted(get_type_hints(changes))

    def some(drawn: object, kept: set[str]) -> dict[str, Any]:
        return {name: value for name in sorted(kept) if (value := getattr(drawn, name)) is not None}

    return st.builds(some, new, st.sets(st.sampled_from(names)))


REF = st.uuids()


def using(user: NewConsumer, refs: tuple[UUID, ...] | None) -> NewConsumer:
    """Return *user*, who uses items."""
    return attrs.evolve(user, order_items=refs)


USERS = st.builds(using, values.consumers, st.none() | st.lists(REF, max_size=3).map(tuple))
BODIES: Mapping[str, tuple[SearchStrategy[Any], SearchStrategy[Any]]] = {
    "orders": (values.orders, changed(values.orders, OrderChanges)),
    "items": (values.items, changed(values.items, OrderItemChanges)),
    "contacts": (values.contacts, changed(values.contacts, ContactChanges)),
    "consumers": (USERS, changed(USERS, ConsumerChanges)),
    "order_extensions": (values.pairs, values.pairs),
    "item_extensions": (values.pairs, values.pairs),
}
"""What each kind takes for a new one, and for changes."""
BY_REFERENCE = st.fixed_dictionaries(
    {"reference_id": values.texts}, optional={"sort": st.sampled_from(["created", "created::DESC"])}
)
BY_GUEST = st.fixed_dictionaries({"guest_ref": REF}, optional={"sort": st.sampled_from(["created", "orderedAt::DESC"])})
NAMES = st.none() | st.lists(values.filled.filter(lambda name: "|" not in name), min_size=1)


@st.composite
def arguments(draw: st.DrawFn, operation: str) -> tuple[list[Any], dict[str, Any]]:
    """Draw what an operation may be called with."""
    kind, _, verb = operation.partition(".")
    given_: list[Any] = [] if operation in {"orders.create", "orders.list"} else [draw(REF)]
    options: dict[str, Any] = draw(BY_REFERENCE | BY_GUEST) if operation == "orders.list" else {}
    if verb in {"list", "items"}:
        options["limit"] = draw(st.integers(1, 100))
    elif verb in {"create", "replace", "update"}:
        given_.append(draw(BODIES[kind][verb == "update"]))
    elif verb == "delete_fields":
        given_.append(draw(NAMES))
    return given_, options


@pytest.mark.parametrize("operation", [route.operation for route in V2_1.table.routes()])
@settings(max_examples=25)
@given(data=st.data())
def test_whatever_is_sent_is_described(operation: str, data: st.DataObject) -> None:
    """Whatever a call is given, its request keeps the file's rules for path, query and body, and has no key beside."""
    recorder = Recorder()
    called = attrgetter(operation)(Resources(recorder, "https://host"))
    positional, options = data.draw(arguments(operation))

    async def call() -> None:
        waited = called(*positional, **options)
        await (walked(waited) if operation.endswith((".list", ".items")) else waited)

    asyncio.run(call())
    [request] = recorder.requests
    assert judged(request.method, request.path, request.query, request.body)[1] == []


BODIES_V2: Mapping[str, SearchStrategy[Any]] = {
    "orders": values.orders_v2,
    "items": values.items_v2,
    "contacts": values.contacts_v2,
    "consumers": values.consumers_v2,
}


@pytest.mark.parametrize("verb", ["create", "update"])
@pytest.mark.parametrize("kind", BODIES_V2)
@settings(max_examples=25)
@given(data=st.data())
def test_whatever_version_2_sends_is_described(kind: str, verb: str, data: st.DataObject) -> None:
    """Whatever a call of version 2 is given, its body has the attributes of the tables that it needs, and no other."""
    recorder = Recorder()
    called = attrgetter(f"{kind}.{verb}")(ResourcesV2(recorder, "https://host"))
    refs = [] if (kind, verb) == ("orders", "create") else [data.draw(REF)]
    asyncio.run(called(*refs, data.draw(BODIES_V2[kind])))
    [request] = recorder.requests
    rows = attributes("v2", kind).values()
    body: dict[str, Any] = orjson.loads(request.body or b"")
    assert names(rows, "required") <= body.keys() <= names(rows, "required", "optional")
    wrong = {row.name: {repr(one) for one in bad("v2", row)} for row in rows}
    assert [name for name, value in body.items() if repr(value) in wrong[name]] == []
