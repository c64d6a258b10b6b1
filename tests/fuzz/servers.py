"""The emulator under any request."""

from __future__ import annotations

import asyncio
import base64
import logging
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress

import orjson
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from cdp_orders_async.emulator import Emulator, Store, Switches, running
from cdp_orders_async.emulator.operations import V2, V2_1
from cdp_orders_async.emulator.records import Cause
from cdp_orders_async.emulator.service import Asked
from cdp_orders_async.emulator.store import EXTENSION_OWNERS, PART_KINDS
from tests.fuzz.corpus import REF, TOKENS, Json, anything, dumped, keys, leaves, times
from tests.fuzz.engine import Target, looped

QUIET = 0.01
"""Seconds without an answer after which the asker says that this was all."""
HANG = 5
"""Seconds after which a connection that neither answers nor ends is a finding."""

# The emulator.

AUTHORIZATION = b"Authorization: Basic " + base64.b64encode(b"key:token")
HEADERS = (
    *(b"Content-Type: application/json", b"Content-Type: application/json; charset=latin-1", b"Content-Type: a/b"),
    *(b"Transfer-Encoding: chunked", b"Content-Length: 5", b"Content-Length: -1", b"Content-Length: 99999999999"),
    *(b"Expect: 100-continue", b"Connection: close", b"Connection: keep-alive", b"Connection: upgrade"),
    *(
        b"Upgrade: websocket",
        b"Content-Encoding: gzip",
        b"Content-Encoding: br",
        b"Host: \xff",
        b"Host: a/b?c",
        b"Host:",
    ),
    *(
        b"X-Request-Id: \xff\xfe",
        b"X-Request-Id: " + b"x" * 9000,
        b"Authorization: Basic \xff",
        b"Authorization: Bearer",
    ),
    *(b": none", b"no colon", b" folded", b"\x00: 1", b"Cookie: a=b"),
)
SWITCHES = (
    Switches(),
    Switches(upsert=False, extension_post_existing="refuse", unknown_keys="refuse", delete_last_contact="refuse"),
    Switches(limit_max=3, repeat_next=True, unexpanded="ref", ignore_expand=True, refuse_identity_change=True),
)
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


def filled(switches: Switches = SWITCHES[0]) -> tuple[Emulator, dict[str, str]]:
    """Return an emulator with an order of every part, and the refs by kind, which are always the same."""
    emulator, refs = Emulator(switches=switches), dict[str, str]()
    fill(emulator.store, refs)
    return emulator, refs


def fill(store: Store, refs: dict[str, str]) -> None:
    """Put an order with every part into *store*."""
    person: Json = {"firstName": "Ada", "emails": ["ada@example.com"]}
    order: Json = {"referenceId": "R", "orderedAt": "2024-01-01T16:17:16Z", "price": 1, "currencyCode": "EUR"}
    item: Json = {"type": "A", "name": "B", "price": 1, "currencyCode": "EUR", "status": "C"}
    cause = Cause("", "", "")
    for kind, data in (("orders", order), ("items", item), ("contacts", person), ("consumers", person)):
        made = store.create(kind, data, cause, refs.get("orders", ""))
        refs[kind] = made.ref
        refs["guests"] = made.guest
    for kind, owner in EXTENSION_OWNERS.items():
        store.extend(kind, refs[owner], {"pair": 1}, cause)
    store.update(store.get("consumers", refs["consumers"]), {"orderItems": [refs["items"]]}, cause)


REFS = filled()[1]
KINDS = {"orderItems": "items", "orderContacts": "contacts", "orderConsumers": "consumers"}


def whole(path: str) -> str:
    """Put the refs that there are into a path."""
    collection = path.split("/")[2]
    extension = filled()[0].store.extension("order_extensions", REFS["orders"]).ref
    return path.replace("{ref}", REFS[KINDS.get(collection, collection)]).replace("{ext}", extension)


PATHS = (
    *((route.method, whole(route.path)) for version in (V2_1, V2) for route in version.operations),
    *(("GET", "/__ledger"), ("GET", "/__state"), ("POST", "/__reset")),
)
NAMES = ("offset", "limit", "expand", "sort", "referenceId", "guestRef", "name", "since", "orderItems")
VALUES = (
    *("R", "created::DESC", "orderedAt", "true", "0", "1", "3", "100", "-1", "9" * 18, "9" * 19, "\u0661", "1e3", ""),
    *("%00", "%ff", "%zz", "%F0%9F%98%80", "a|b", "a&b", "a=b", "#", ";"),
)
values = st.sampled_from(VALUES) | st.sampled_from(sorted(REFS.values()))
names = st.sampled_from(NAMES) | st.sampled_from(NAMES) | values
queries = st.lists(st.builds("{}={}".format, names, values), max_size=3).map("&".join)
usual_routes = st.tuples(st.sampled_from(PATHS), queries).map(lambda both: (both[0][0], f"{both[0][1]}?{both[1]}"))
places = st.sampled_from((REF, "", "%2e%2e", "a/b", "\xff", REFS["orders"].upper()))
odd_paths = st.sampled_from(
    [route.path for version in (V2_1, V2) for route in version.operations]
    + ["/", "*", "//", "http://h/v2.1/orders", "/v2.1/\x01"]
)
odd_routes = st.tuples(
    st.sampled_from((*METHODS, *METHODS, "HEAD", "OPTIONS", "CONNECT", "TRACE", "get", "PROPFIND", "\x00", "")),
    st.tuples(odd_paths, places, st.sampled_from(("", "EXT", "%00"))).map(
        lambda parts: parts[0].replace("{ref}", parts[1]).replace("{ext}", parts[2])
    ),
)
links = st.sampled_from(sorted(REFS.values())).map(lambda ref: {"href": f"http://x/v2/y/{ref}?a=b"})
uses = st.lists(links | anything, max_size=2).map(lambda entries: {"items": entries})
BODIES: dict[str, tuple[Json, ...]] = {
    "orders": (
        {"referenceId": "R", "orderedAt": "2024-01-01T16:17:16Z", "price": 1, "currencyCode": "EUR", "pointOfSale": ""},
    ),
    "orderItems": (
        {"type": "A", "name": "B", "price": 1, "currencyCode": "E", "status": "PENDING"},
        {"type": "CAR", "price": 1, "currencyCode": "E", "status": "PENDING", "productId": "p", "referenceId": "i"},
    ),
    "people": (
        {"firstName": "Ada", "lastName": "L", "emails": ["a@host"], "identifiers": [{"provider": "a", "id": "b"}]},
    ),
    "extensions": ({"pair": True}, {"key": "default", "pair": 1}),
}
MORE: Mapping[str, SearchStrategy[Json]] = {
    "orders": st.fixed_dictionaries({}, optional={"orderedAt": times, "price": leaves, "referenceId": leaves}),
    "orderItems": st.fixed_dictionaries(
        {}, optional={"orderedAt": times, "quantity": leaves, "flightSegments": anything}
    ),
    "people": st.fixed_dictionaries(
        {},
        optional={
            **dict.fromkeys(("dateOfBirth", "passportExpiry"), times),
            **dict.fromkeys(("identifiers", "emails"), anything),
            "orderItems": uses | anything,
            "guest": links | anything,
        },
    ),
    "extensions": st.dictionaries(keys, anything, max_size=3),
}


def body_of(path: str) -> SearchStrategy[bytes]:
    """Return bodies of what is at *path*, many of them good."""
    known = (part for part in reversed(path.partition("?")[0].split("/")) if part in BODIES)
    kind = "extensions" if "/ext" in path else "people" if path.count("C") or "/con" in path else next(known, "orders")
    whole = st.sampled_from(BODIES[kind])
    more = MORE[kind] | st.dictionaries(keys, anything, max_size=2)
    return (whole | st.tuples(whole, more).map(lambda both: both[0] | both[1]) | anything).map(dumped)


def request(
    route: tuple[str, str], body: bytes, headers: list[bytes], ends: str = "\r\n", *, own: bool = True
) -> bytes:
    """Write a request, with the headers that it needs if it has its *own*."""
    method, target = route
    lines = [f"{method} {target} HTTP/1.1".encode("latin-1", "replace"), *headers]
    if own:
        lines += [b"Host: 127.0.0.1", AUTHORIZATION, b"Content-Type: application/json"]
        lines += [b"Content-Length: %d" % len(body)]
    return ends.encode().join([*lines, b"Connection: close", b"", body])


usual = usual_routes.flatmap(
    lambda route: st.builds(request, st.just(route), body_of(route[1]), st.just(list[bytes]()))
)
odd = st.builds(
    request,
    usual_routes | odd_routes,
    body_of("/v2.1/orders") | st.binary(max_size=9),
    st.lists(st.sampled_from(HEADERS), max_size=2),
    st.sampled_from(("\r\n", "\r\n", "\n", "\r")),
    own=st.booleans(),
)
several = st.lists(usual | odd, max_size=3).map(lambda each: b"".join(each).replace(b"Connection: close", b"X: y"))
asked = usual | usual | odd | several
HTTP = (
    *TOKENS,
    *HEADERS,
    b"\r\n\r\n",
    b"HTTP/1.0",
    b"HTTP/2.0",
    b"HTTP/1.1",
    b"5\r\nabcde\r\n",
    b"0\r\n\r\n",
    b"%",
    b"?",
)


class Told(logging.Handler):
    """Keeps what was logged as an error."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.records: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        self.records.append(self.format(record))


@asynccontextmanager
async def emulators() -> AsyncGenerator[Callable[[bytes], Awaitable[None]], None]:
    """Serve an emulator that is filled anew for each case."""
    told = Told()
    logging.getLogger().addHandler(told)
    emulator, _ = filled()
    try:
        async with running(emulator) as base_url:

            async def check(data: bytes) -> None:
                switches = SWITCHES[data[:1] in {b"P", b"D"} and sum(data) % len(SWITCHES)]
                emulator.store.switches = switches
                emulator.reset()
                fill(emulator.store, {})
                told.records.clear()
                reply = await talk(int(base_url.rpartition(":")[2]), data)
                assert told.records == []
                assert not reply or reply.startswith(b"HTTP/"), reply[:100]
                assert not re.search(rb"^HTTP/\S+ 500", reply, re.MULTILINE), reply
                assert_consistent(emulator)

            yield check
    finally:
        logging.getLogger().removeHandler(told)
        emulator.close()


async def talk(port: int, data: bytes) -> bytes:
    """Send *data*, and return what comes until the connection ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    reply = bytearray()
    try:
        with suppress(ConnectionError):
            writer.write(data)
            with suppress(TimeoutError):
                while chunk := await asyncio.wait_for(reader.read(65536), QUIET):
                    reply += chunk
            if not reader.at_eof():
                writer.write_eof()
                async with asyncio.timeout(HANG):
                    reply += await reader.read()
    finally:
        writer.transport.abort()
    return bytes(reply)


def assert_consistent(emulator: Emulator) -> None:
    """Assert that what the emulator keeps fits together, and can be shown."""
    store = emulator.store
    assert [effect["sequence"] for effect in store.effects] == list(range(1, len(store.effects) + 1))
    assert store.counts.total() == len(store.effects)
    assert {effect["effect"] for effect in store.effects} <= {"created", "updated", "replaced", "deleted"}
    for kind in ("orders", *PART_KINDS["orders"], *PART_KINDS["items"]):
        for record in store.all(kind):
            assert store.get("orders", record.order) in store.all("orders")
            if kind != "orders":
                assert record in store.parts(kind, record.owner)
            if record.guest:
                assert store.get("guests", record.guest) in store.all("guests")
            if kind == "consumers":
                assert all(item.order == record.order for item in store.items_of(record))
    for order in store.all("orders"):
        assert order in store.orders_called(str(order.data["referenceId"]))
    for path in ("/__state", "/__ledger"):
        endpoint, open_segments = emulator.find("GET", path)
        whole = Asked("GET", path, {}, "http://h", AUTHORIZATION.decode().partition(": ")[2], "", None, b"")
        reply = emulator.answer(endpoint, open_segments, whole)
        assert reply.status == 200
        orjson.dumps(reply.body)


TARGETS = (Target("emulator", asked, looped(emulators), HTTP, 2),)
