"""A server made of the OpenAPI file and nothing else: it refuses what the file does not describe, and keeps nothing."""

from __future__ import annotations

import functools
import string
from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeAlias
from urllib.parse import unquote
from uuid import UUID

import orjson
from aiohttp import web
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from cdp_orders_async.kinds import V2_1
from tests.conformance.contract import Json, Operation, document, errors, operations

Anything: TypeAlias = SearchStrategy[Any]

OPERATIONS = list(operations())
ANY_REF = "2d7de9df-45a2-45ea-872c-30e45139007d"
BESIDE: Mapping[str, frozenset[str]] = {
    # The vendor lists no query here, or expand alone; but the answers have offset, limit and next as all lists do.
    "listOrderContacts": frozenset(("offset", "limit")),
    "listOrderConsumers": frozenset(("offset", "limit")),
    "listConsumerOrderItems": frozenset(("offset", "limit", "expand")),
}
"""What the client sends although the file does not list it."""
COMPONENTS: Mapping[str, Mapping[str, Json]] = document()["components"]
PATHS: Mapping[str, Mapping[str, Json]] = document()["paths"]

HREFS = st.uuids().map("https://host/v2.1/things/{}".format)
FORMATS: Mapping[str, Anything] = {
    "uuid": st.uuids().map(str) | st.uuids().map(lambda ref: str(ref).upper()),
    "uri": HREFS | HREFS.map("{}?offset=0&limit=10".format),
    "date-time": st.datetimes().map(lambda moment: f"{moment.replace(year=max(moment.year, 2)).isoformat()}Z"),
}
LEAVES: Mapping[str, Anything] = {
    "string": st.text(max_size=9),
    "integer": st.integers(0, 2**31 - 1),
    "number": st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False),
    "boolean": st.booleans(),
}


def judged(method: str, path: str, query: Mapping[str, str], body: bytes | None) -> tuple[Operation, list[str]]:
    """Return which operation a request is to, and what is wrong with it."""
    segments = ((each, each.open_segments(method, path)) for each in OPERATIONS)
    [(operation, found)] = [(each, texts) for each, texts in segments if texts is not None]
    listed = {name: value for name, value in query.items() if name not in BESIDE.get(operation.id, ())}
    return operation, list(operation.misfits(found, listed, body))


def success(operation: Operation) -> tuple[int, Json | None]:
    """Return the status of a success, and the schema of its body, None for an empty one."""
    says: Mapping[str, Json] = PATHS[operation.path][operation.method.lower()]["responses"]
    [(status, answer)] = [(int(status), answer) for status, answer in says.items() if status < "300"]
    return status, answer["content"]["application/json"]["schema"] if "content" in answer else None


def whatever(schema: Json) -> Anything:  # noqa: PLR0911 one for each form of a schema
    """Return all that a schema allows."""
    match schema:
        case {"$ref": str(name)}:
            return component(name.rpartition("/")[2])
        case {"allOf": [one]}:
            return whatever(one)
        case {"anyOf": [*several]} | {"oneOf": [*several]}:
            return st.one_of([whatever(one) for one in several])
        case {"enum": [*words]}:
            return st.sampled_from(words)
        case {"type": "array", "items": entry}:
            return st.lists(whatever(entry), max_size=2)
        case {"type": "object"}:
            return thing(schema)
        case {"type": [*kinds]}:
            return st.one_of([LEAVES[kind] for kind in kinds])
        case _:
            reserved: list[str] = schema.get("not", {}).get("enum", [])
            leaf = FORMATS.get(schema.get("format", ""), LEAVES[schema["type"]])
            return leaf.filter(lambda text: text not in reserved) if reserved else leaf


@functools.cache
def component(name: str) -> Anything:
    """Return all that a schema with a name allows."""
    return whatever(COMPONENTS["schemas"][name])


def thing(schema: Json) -> SearchStrategy[Json]:
    """Return all objects that a schema allows; a page is the last one."""
    known = {name: whatever(each) for name, each in schema.get("properties", {}).items() if name != "next"}
    needed = {name: known.pop(name) for name in schema.get("required", ())}
    named: SearchStrategy[Json] = st.fixed_dictionaries(needed, optional=known)
    if "additionalProperties" not in schema:
        return named
    keys = st.text(string.ascii_lowercase, min_size=1).map("my".__add__)
    return st.builds(both, st.dictionaries(keys, whatever(schema["additionalProperties"]), max_size=3), named)


def both(pairs: Json, named: Json) -> Json:
    """Return an object with all pairs."""
    return pairs | named


class Mock:
    """Answers with what the file allows, which is drawn beforehand, by operation of this client."""

    def __init__(self, answers: Mapping[str, object]) -> None:
        self.asked: Counter[str] = Counter()
        self.refused: list[str] = []
        """What was wrong with the requests that the file does not describe."""
        self._answers = answers

    async def handle(self, request: web.BaseRequest) -> web.Response:
        """Answer one request."""
        body = await request.read() or None
        operation, misfits = judged(request.method, unquote(request.raw_path.partition("?")[0]), request.query, body)
        if body is not None and request.content_type != "application/json":
            misfits.append("Content-Type: is another one")
        if not request.headers.get("Authorization", "").startswith("Basic "):
            misfits.append("Authorization: is missing")
        self.asked[operation.id] += 1
        self.refused += [f"{operation.id}: {misfit}" for misfit in misfits]
        status, schema = (400, None) if misfits else success(operation)
        if schema is None:
            return web.Response(status=status)
        answer: Any = self._answers[operation.id]
        if request.method == "POST" and self.asked[operation.id] > 1 and "ref" in answer:
            answer = {**answer, "ref": str(UUID(int=self.asked[operation.id]))}  # no two things have one reference
        assert list(errors(schema, answer, operation.id)) == []
        return web.Response(status=status, body=orjson.dumps(answer), content_type="application/json")


def answers(*called: str) -> SearchStrategy[dict[str, object]]:
    """Return all answers that the file allows to the operations that this client calls so."""
    drawn: dict[str, Anything] = {}
    for route in V2_1.table.routes():
        operation, _ = judged(route.method, route.path.replace("{ref}", ANY_REF), {}, None)
        _, schema = success(operation)
        if route.operation in called and schema is not None:
            drawn[operation.id] = whatever(schema)
    return st.fixed_dictionaries(drawn)


@asynccontextmanager
async def mocking(drawn: Mapping[str, object]) -> AsyncGenerator[tuple[Mock, str], None]:
    """Serve a mock, and give its base URL with it."""
    mock = Mock(drawn)
    runner = web.ServerRunner(web.Server(mock.handle, access_log=None))
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield mock, f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
