"""Other people's clients get what they expect of the emulator, in the words and the forms in which they ask."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

import aiohttp
import attrs
import orjson
import pytest

from cdp_orders_async.emulator import Emulator, running
from cdp_orders_async.emulator.records import moment
from tests.conformance.attributes import Json

BASIC = f"Authorization: {aiohttp.encode_basic_auth('key', 'token')}"
TYPE = "Content-Type: application/json"
HOST = "Host: localhost"
ORDER = (
    b'{\r\n"orderedAt": "2021-11-11T15:00:03.123Z",\r\n"price": 100.00,\r\n"currencyCode": "USD",\r\n'
    b'"referenceId": "00001",\r\n"paymentType": "Card",\r\n"cardType": "Visa",\r\n"pointOfSale": "default",\r\n'
    b'"channel": "WEB",\r\n"status": "PURCHASED"\r\n}'
)
"""An order as a collection of requests has it that somebody wrote by hand."""


@attrs.frozen
class Wire:
    """Talks to an emulator in bytes."""

    port: int

    async def __call__(self, line: str, *headers: str, body: bytes = b"", waits: bool = False) -> tuple[int, Json]:
        """Send one request, its body only when told to go on where it *waits*; return status and JSON."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            async with asyncio.timeout(60):
                head = "\r\n".join([line, BASIC, *headers, "Connection: close", "", ""]).encode()
                writer.write(head if waits else head + body)
                if waits:
                    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
                    writer.write(body)
                answer, _, rest = (await reader.read()).partition(b"\r\n\r\n")
        finally:
            writer.close()
        read: Json = orjson.loads(rest or b"{}")
        return int(answer.split()[1]), read


@asynccontextmanager
async def talking() -> AsyncGenerator[Wire, None]:
    """Serve an emulator and talk to it."""
    async with running(Emulator()) as base_url:
        yield Wire(int(base_url.rpartition(":")[2]))


def length(body: bytes) -> str:
    """Return the header that tells the length of a body."""
    return f"Content-Length: {len(body)}"


CHUNKS = b"%x\r\n%b\r\n%x;x=y\r\n%b\r\n0\r\n\r\n" % (5, ORDER[:5], len(ORDER) - 5, ORDER[5:])
POSTS: Mapping[str, tuple[tuple[str, ...], bytes]] = {
    "nothing more than needed": ((HOST, TYPE, length(ORDER)), ORDER),
    "names in lower case": ((HOST.lower(), TYPE.lower(), length(ORDER).lower()), ORDER),
    "names in capitals": ((HOST.upper(), "CONTENT-TYPE: APPLICATION/JSON", length(ORDER).upper()), ORDER),
    "a charset": ((HOST, f"{TYPE};charset=UTF-8", length(ORDER)), ORDER),
    "a charset in quotes": ((HOST, f'{TYPE}; charset="utf-8"', length(ORDER)), ORDER),
    "any answer": ((HOST, TYPE, length(ORDER), "Accept: */*", "Accept-Encoding: gzip, deflate, br"), ORDER),
    "axios": ((HOST, TYPE, length(ORDER), "Accept: application/json, text/plain, */*"), ORDER),
    "chunks": ((HOST, TYPE, "Transfer-Encoding: chunked"), CHUNKS),
    "an agent and a token of its own": (
        (HOST, TYPE, length(ORDER), "User-Agent: PostmanRuntime/7.28.4", "Postman-Token: 1", "Cache-Control: no-cache"),
        ORDER,
    ),
}
"""How a body comes."""


@pytest.mark.parametrize("form", POSTS)
@pytest.mark.parametrize("version", ["v2", "v2.1"])
async def test_forms_of_a_body(version: str, form: str) -> None:
    """An order is created in whatever legal form it is sent, and whole amounts are shown as whole numbers."""
    headers, body = POSTS[form]
    async with talking() as wire:
        status, order = await wire(f"POST /{version}/orders HTTP/1.1", *headers, body=body)
    assert status == 201
    assert (order["price"], type(order["price"]), order["pointOfSale"]) == (100, int, "default")
    assert moment(order["orderedAt"]) == moment("2021-11-11T15:00:03.123Z")


async def test_client_that_asks_before_it_sends() -> None:
    """A client that waits to be told to go on is told, so it need not wait for its own patience to end."""
    async with talking() as wire:
        headers = (HOST, TYPE, length(ORDER), "Expect: 100-continue")
        status, _ = await wire("POST /v2/orders HTTP/1.1", *headers, body=ORDER, waits=True)
        assert status == 201
        status, _ = await wire("POST /v2/orders HTTP/1.0", TYPE, length(ORDER), "Expect: 100-continue", body=ORDER)
        assert status == 201


async def test_client_that_says_no_host() -> None:
    """A client of HTTP/1.0 need not name the host, and gets links that lead to the emulator all the same."""
    async with talking() as wire:
        status, order = await wire("POST /v2/orders HTTP/1.0", TYPE, length(ORDER), body=ORDER)
        assert (status, order["href"]) == (201, f"http://127.0.0.1:{wire.port}/v2/orders/{order['ref']}")
        here = f"localhost:{wire.port}"
        _, named = await wire("POST /v2/orders HTTP/1.1", f"Host: {here}", TYPE, length(ORDER), body=ORDER)
        assert named["href"] == f"http://{here}/v2/orders/{order['ref']}"


PATHS = {
    "plain": "/v2/orders/{ref}",
    "a reference in capitals": "/v2/orders/{REF}",
    "a slash at the end": "/v2/orders/{ref}/",
    "the whole URL": "http://localhost/v2/orders/{ref}",
    "escapes": "/v2/%6Frders/{ref}",
    "parameters that mean nothing here": "/v2/orders/{ref}?timeout=30000&clientKey=k&source=all",
    "an expansion": "/v2/orders/{ref}?expand=orderItems",
    "an expansion in the form of guests": "/v2/orders/{ref}?expand=items.orders(offset:0,limit:100)",
}


@pytest.mark.parametrize("form", PATHS)
async def test_forms_of_a_path(form: str) -> None:
    """One order is found in all the ways in which clients write where it is, with a body nobody reads or without."""
    async with talking() as wire:
        _, order = await wire("POST /v2/orders HTTP/1.1", HOST, TYPE, length(ORDER), body=ORDER)
        path = PATHS[form].format(ref=order["ref"], REF=order["ref"].upper())
        for headers, body in (((HOST,), b""), ((HOST, TYPE), b""), ((HOST, TYPE, length(b"{}")), b"{}")):
            status, found = await wire(f"GET {path} HTTP/1.1", *headers, body=body)
            assert (status, found["ref"]) == (200, order["ref"])


async def test_items_in_lower_case() -> None:
    """A client in use writes orderitems; version 2.1, which it does not know, is as its file describes it."""
    async with talking() as wire:
        _, order = await wire("POST /v2/orders HTTP/1.1", HOST, TYPE, length(ORDER), body=ORDER)
        fields = {"type": "BAG", "productId": "1", "referenceId": "2", "price": 1, "currencyCode": "EUR"}
        item = orjson.dumps({**fields, "status": "PENDING"})
        path = f"orders/{order['ref']}/orderItems"
        status, made = await wire(f"POST /v2/{path} HTTP/1.1", HOST, TYPE, length(item), body=item)
        assert status == 201
        for method, body in (("GET", b""), ("POST", item)):
            headers = (HOST, TYPE, length(body))
            status, found = await wire(f"{method} /v2/orderitems/{made['ref']} HTTP/1.1", *headers, body=body)
            assert (status, found["href"]) == (200, made["href"])
        assert (await wire(f"GET /v2.1/orderitems/{made['ref']} HTTP/1.1", HOST))[0] == 404
        assert (await wire(f"GET /v2.1/{path}/ HTTP/1.1", HOST))[0] == 404


async def test_story_of_a_collection() -> None:
    """The requests of a collection, one after the other: an order under a guest, its contact, its item, its user."""
    async with talking() as wire:

        async def post(path: str, body: Json | bytes) -> Json:
            raw = body if isinstance(body, bytes) else orjson.dumps(body)
            status, made = await wire(f"POST /v2/{path} HTTP/1.1", HOST, TYPE, length(raw), body=raw)
            assert status in {200, 201}, made
            return made

        async def refs(path: str) -> list[str]:
            status, page = await wire(f"GET /v2/{path} HTTP/1.1", HOST)
            assert status == 200
            return [entry["href"].split("/")[-1] for entry in page["items"]]

        person: Json = {"title": "Mr", "firstName": "Jack", "lastName": "Smith", "gender": "male"}
        person |= {"dateOfBirth": "1976-10-28T00:00:00.000Z", "emails": ["jack.smith@example.com"]}
        person |= {"phoneNumbers": ["+353161123345"], "nationality": "Irish", "passportNumber": "PZ4A9565"}
        first = await post("orders", ORDER)
        guest = (await post(f"orders/{first['ref']}/contacts", person))["guest"]["href"].split("/")[-1]
        order = await post(f"orders?guestRef={guest}", ORDER.replace(b"00001", b"00002"))
        assert await refs(f"orders?guestRef={guest}") == [first["ref"], order["ref"]]
        item: Json = {"type": "FLIGHT", "productId": "DUB-LAS", "referenceId": "1", "status": "PURCHASED"}
        item |= {"price": 100.5, "currencyCode": "USD", "quantity": 1.0}
        made = await post(f"orders/{order['ref']}/orderItems", item)
        assert (made["price"], made["quantity"], type(made["quantity"])) == (100.5, 1, int)
        assert await refs(f"orders/{order['ref']}/orderItems") == [made["ref"]]
        linked = {"guest": {"href": f"http://api.example/v2/guests/{guest}"}}
        uses = {"orderItems": {"items": [{"href": f"http://api.example/v2/orderItems/{made['ref']}"}]}}
        contact = await post(f"orders/{order['ref']}/contacts", {**person, **linked})
        assert contact["guest"] == {"href": f"http://localhost/v2/guests/{guest}"}
        assert (await post(f"orderContacts/{contact['ref']}", {**person, **linked, "firstName": "Bill"}))["ref"]
        consumer = await post(f"orders/{order['ref']}/consumers", {"firstName": "T", "lastName": "S", **linked, **uses})
        assert (await post(f"orderConsumers/{consumer['ref']}", {"firstName": "T", "lastName": "S", **uses}))["ref"]
        assert consumer["orderItems"]["items"][0]["href"].split("/")[-1] == made["ref"]
        for path in (f"orderContacts/{contact['ref']}", f"orderItems/{made['ref']}"):
            # Some tools send a body with a deletion.
            assert await wire(f"DELETE /v2/{path} HTTP/1.1", HOST, TYPE, length(b"{}"), body=b"{}") == (204, {})
            assert (await wire(f"GET /v2/{path} HTTP/1.1", HOST))[0] == 404
