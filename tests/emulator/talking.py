"""Talks to an emulator over a socket, as any client in any language would."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import attrs
import orjson

from cdp_orders_async.emulator import Emulator, Faults, Switches, running

Json = dict[str, Any]

ORDER: Json = {
    "referenceId": "B94TXY-1",
    "orderedAt": "2024-01-01T16:17:16Z",
    "price": 50,
    "currencyCode": "EUR",
    "channel": "WEB",
    "status": "PURCHASED",
}
ITEM: Json = {"type": "MOBILE", "name": "Mobile AZ10", "price": 105, "currencyCode": "EUR", "status": "CONFIRMED"}
PERSON: Json = {
    "firstName": "John",
    "emails": ["john.doe@example.com"],
    "identifiers": [{"provider": "ProfileSystem", "id": "B7524AE6"}],
}
PAIRS: Json = {"firstTimeOrder": True, "storeLocation": "London", "totalUnits": 8}
ABSENT = "00000000-0000-4000-8000-000000000000"


class Clock:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.now = datetime(2025, 6, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        """Return the time."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Move on."""
        self.now += timedelta(seconds=seconds)


@attrs.frozen
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Json:
        """The body."""
        read: Json = orjson.loads(self.text)
        return read

    @property
    def ref(self) -> str:
        """The ref of the resource."""
        return str(self.json["ref"])


@attrs.frozen
class Talk:
    """A session with one emulator."""

    emulator: Emulator
    base_url: str
    session: aiohttp.ClientSession

    async def __call__(self, method: str, path: str, body: object = None, **query: str) -> Answer:
        """Send one request; a body is sent as JSON."""
        headers = {} if body is None else {"Content-Type": "application/json"}
        data = None if body is None else orjson.dumps(body)
        url = path if path.startswith(self.base_url) else self.base_url + path
        async with self.session.request(method, url, data=data, params=query, headers=headers) as response:
            return Answer(response.status, response.headers, await response.text())

    async def graph(self) -> dict[str, str]:
        """Create an order with one of each part; return the refs by kind."""
        order = (await self("POST", "/v2.1/orders", ORDER)).ref
        item = (await self("POST", f"/v2.1/orders/{order}/orderItems", {**ITEM, "referenceId": "I-1"})).ref
        contact = (await self("POST", f"/v2.1/orders/{order}/contacts", PERSON)).ref
        uses = {"items": [{"href": f"http://elsewhere.example/v2.1/orderItems/{item}"}]}
        consumer = (await self("POST", f"/v2.1/orders/{order}/consumers", {"firstName": "Ann", "orderItems": uses})).ref
        await self("POST", f"/v2.1/orders/{order}/extensions/ext", PAIRS)
        await self("POST", f"/v2.1/orderItems/{item}/extensions/ext", PAIRS)
        return {"orders": order, "items": item, "contacts": contact, "consumers": consumer}


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until something is so; raise TimeoutError where it does not come."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 (the server tells nobody)
            await asyncio.sleep(0)


@asynccontextmanager
async def talking(
    switches: Switches | None = None,
    *,
    clock: Clock | None = None,
    faults: Json | None = None,
    emulator: Emulator | None = None,
    bearer: str | None = None,
) -> AsyncGenerator[Talk, None]:
    """Serve an emulator and talk to it; every request has a connection of its own, which a fault may end."""
    served = emulator or Emulator(
        switches=switches, clock=clock or Clock(), faults=Faults.of(faults) if faults else None, seed=7, bearer=bearer
    )
    headers = {"Authorization": aiohttp.encode_basic_auth("key", "token")}
    async with (
        aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(force_close=True)) as session,
        running(served) as base_url,
    ):
        yield Talk(served, base_url, session)
