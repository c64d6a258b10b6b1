"""The emulator as a server: who may use it, what it refuses, what it tells of itself, and how it lives on."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import aiohttp
import pytest

from cdp_orders_async.emulator import Emulator, running, serve
from cdp_orders_async.emulator.fixtures import cdp_emulator, cdp_served
from tests.emulator.talking import ITEM, ORDER, PAIRS, PERSON, Clock, Json, talking

__all__ = ["cdp_emulator", "cdp_served"]

UNAUTHORIZED = (
    b'{"status":"UNAUTHORIZED","code":401,"message":"Authentication credentials are required to access the resource. '
    b'All requests must be authenticated.","moreInfoUrl":"https://support.sitecore.com"}'
)


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        (None, 401),
        ("Basic", 401),
        ("Basic \u20ac", 401),
        (aiohttp.encode_basic_auth("key", "wrong"), 401),
        (aiohttp.encode_basic_auth("token", "key"), 401),
        ("Bearer wrong", 401),
        ("Bearer jwt", 200),
        (aiohttp.encode_basic_auth("key", "token"), 200),
        (aiohttp.encode_basic_auth("key", "token").replace("Basic", "basic"), 200),
    ],
)
@pytest.mark.parametrize("path", ["/v2.1/orders?referenceId=a", "/__ledger"])
async def test_credentials(path: str, authorization: str | None, status: int) -> None:
    """Basic credentials or the bearer token are needed everywhere; 401 has its own envelope, byte for byte."""
    emulator = Emulator(bearer="jwt")
    headers = {} if authorization is None else {"Authorization": authorization}
    async with (
        running(emulator) as base_url,
        aiohttp.ClientSession() as session,
        session.get(f"{base_url}{path}", headers=headers) as response,
    ):
        assert response.status == status
        assert status == 200 or await response.read() == UNAUTHORIZED


async def test_bearer_is_off_by_default() -> None:
    """Without the option no bearer token is accepted."""
    async with (
        running() as base_url,
        aiohttp.ClientSession(headers={"Authorization": "Bearer "}) as session,
        session.get(f"{base_url}/__ledger") as response,
    ):
        assert response.status == 401


@pytest.mark.parametrize(
    ("method", "path", "content_type", "data", "status", "message"),
    [
        ("POST", "/v2.1/orders", "text/plain", b"{}", 415, "Content-Type: must be application/json."),
        ("PUT", "/v2.1/orders/x", "application/octet-stream", b"{}", 415, "Content-Type: must be application/json."),
        ("POST", "/v2.1/orders", "application/json; charset=utf-8", b"{", 400, "The body is not valid JSON."),
        ("POST", "/v2.1/orders", "application/json", b"", 400, "The body is not valid JSON."),
        ("POST", "/v2.1/orders", "application/json", b"[" * 100_000, 400, "The body is not valid JSON."),
        ("POST", "/v2.1/orders", "application/json", b" " * 2**20 + b"{}", 413, "The body is too large."),
        ("PUT", "/v2.1/orders", "application/json", b"{}", 405, "PUT is not allowed on /v2.1/orders."),
        ("POST", "/__ledger", "application/json", b"{}", 405, "POST is not allowed on /__ledger."),
        ("GET", "/", "text/plain", b"", 404, "No such path: /."),
        ("GET", "/v2.1/orders/", "text/plain", b"", 404, "No such path: /v2.1/orders/."),
        ("GET", "/v2.1/orders/x/guests", "text/plain", b"", 404, "No such path: /v2.1/orders/x/guests."),
        ("GET", "/__ledger?since=x", "text/plain", b"", 400, "since: must be a whole number, at least 0."),
    ],
)
async def test_refusals(method: str, path: str, content_type: str, data: bytes, status: int, message: str) -> None:
    """What is not of the API is refused in JSON, in the envelope of a 400."""
    async with talking() as talk:
        headers = {"Content-Type": content_type}
        async with talk.session.request(
            method, talk.base_url + path, data=io.BytesIO(data), headers=headers
        ) as response:
            answer: Json = await response.json()
            assert response.status == answer["status"] == answer["code"] == status
            assert answer["message"] == answer["developerMessage"] == message
            assert answer.keys() == {"status", "code", "message", "developerMessage", "moreInfoUrl"}


async def test_ledger_tells_every_effect() -> None:
    """Each effect has its number, its request and what it was on; since= leaves out the ones already read."""
    async with talking() as talk:
        refs = await talk.graph()
        item = f"/v2.1/orderItems/{refs['items']}"
        await talk("PUT", item, ITEM)
        await talk("PATCH", item, {"price": 1})
        await talk("PATCH", item, {"price": "1"})
        async with talk.session.delete(talk.base_url + item, headers={"X-Request-Id": "r-1"}) as response:
            assert response.status == 204
        ledger = (await talk("GET", "/__ledger", since="6")).json
        assert [effect["effect"] for effect in ledger["effects"]] == ["replaced", "updated", "deleted"]
        assert ledger["effects"][-1] == {
            "sequence": 9,
            "time": "2025-06-01T12:00:00Z",
            "effect": "deleted",
            "operation": "items.delete",
            "method": "DELETE",
            "path": item,
            "ref": refs["items"],
            "order": refs["orders"],
            "requestId": "r-1",
        }
        assert ledger["counts"]["items.update"] == 1
        assert ledger["requests"]["items.update"] == 2
        assert (ledger["dropped"], ledger["faults"]) == ({}, {})


async def test_state_nests_the_parts() -> None:
    """The whole state is readable at once, nested as the documents nest an order."""
    async with talking() as talk:
        refs = await talk.graph()
        (order,) = (await talk("GET", "/__state")).json["orders"]
        assert [contact["emails"] for contact in order["contacts"]] == [PERSON["emails"]]
        assert order["consumers"][0]["orderItems"] == [{"ref": refs["items"], "referenceId": "I-1"}]
        (item,) = order["orderItems"]
        assert item["ref"] == refs["items"]
        for extension in (*item["extensions"], *order["extensions"]):
            assert {name: extension[name] for name in PAIRS} == PAIRS
        assert (len(item["extensions"]), len(order["extensions"])) == (1, 1)


async def test_storage_outlives_the_server(tmp_path: Path) -> None:
    """A new emulator on the same file continues the old one: state, guests, ledger, and refs that are not taken."""
    states: list[tuple[str, list[Json]]] = []
    clock = Clock()
    for _ in range(2):
        emulator = Emulator(storage=tmp_path / "cdp.sqlite", seed=7, clock=clock)
        async with talking(emulator=emulator) as talk:
            if not states:
                refs = await talk.graph()
                extra = (await talk("POST", f"/v2.1/orders/{refs['orders']}/orderItems", ITEM)).ref
                await talk("DELETE", f"/v2.1/orderItems/{extra}")
                await talk("PATCH", f"/v2.1/orders/{refs['orders']}", {"price": 60.25})
            state = (await talk("GET", "/__state")).text.replace(talk.base_url, "")
            states.append((state, (await talk("GET", "/__ledger")).json["effects"]))
            if len(states) == 2:
                order = await talk("POST", "/v2.1/orders", {**ORDER, "referenceId": "second"})
                contact = (await talk("POST", f"/v2.1/orders/{order.ref}/contacts", PERSON)).json
                guest = contact["guest"]["href"].rpartition("/")[2]
                assert len((await talk("GET", "/v2.1/orders", guestRef=guest)).json["items"]) == 2
                assert order.ref not in {effect["ref"] for effect in states[0][1]}
                assert (await talk("POST", "/v2.1/orders", ORDER)).ref == states[0][1][0]["ref"]
                await talk("POST", "/__reset")
        emulator.close()
    assert states[0] == states[1]
    after = Emulator(storage=tmp_path / "cdp.sqlite")
    assert (after.store.effects, list(after.store.all("orders"))) == ([], [])
    after.close()


async def test_serve_until_stopped() -> None:
    """Serving tells when it is ready, and ends when it is told to."""
    stop = asyncio.Event()
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve(Emulator(), 0, ready.set_result, stop))
    async with aiohttp.ClientSession() as session, session.get(f"{await ready}/__ledger") as response:
        assert response.status == 401
    stop.set()
    await serving


async def test_fixture_serves_an_emulator(cdp_emulator: str) -> None:
    """The fixture gives the base URL of an emulator."""
    headers = {"Authorization": aiohttp.encode_basic_auth("key", "token")}
    async with aiohttp.ClientSession(headers=headers) as session, session.get(f"{cdp_emulator}/__state") as response:
        assert await response.json() == {"orders": []}
