"""A client as it is often written, to compare with: what fails is sent again, up to three times."""

from __future__ import annotations

import asyncio
import contextlib
import time

import aiohttp
import attrs

from cdp_orders_async.emulator import Emulator, running
from tests.campaigns.loads import CONNECTIONS, TIMEOUT, Figures, judged, served
from tests.campaigns.orders import PARTS, Json, orders


@attrs.frozen
class Naive:
    """Creates whole orders."""

    session: aiohttp.ClientSession
    slots: asyncio.Semaphore = attrs.field(factory=lambda: asyncio.Semaphore(CONNECTIONS))

    async def post(self, path: str, part: Json, **links: object) -> str | None:
        """Create a part, and return its ref if an answer came."""
        for attempt in range(4):
            await asyncio.sleep(0.1 * attempt)
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                body = {name: value for name, value in part.items() if name not in PARTS} | links
                async with self.session.post(f"/v2.1/{path}", json=body) as answer:
                    if answer.status < 429:
                        ref: str | None = (await answer.json()).get("ref")
                        return ref
        return None

    async def load(self, order: Json) -> None:
        """Create an order with all its parts, one after the other."""
        async with self.slots:
            ref = await self.post("orders", order)
            if ref is None:
                return
            await self.extend("orders", ref, order)
            if "contact" in order:
                await self.post(f"orders/{ref}/contacts", order["contact"])
            items: dict[str | None, str | None] = {}
            for item in order["orderItems"]:
                items[item.get("referenceId")] = made = await self.post(f"orders/{ref}/orderItems", item)
                await self.extend("orderItems", made, item)
            for consumer in order.get("consumers", ()):
                used = [items[item["referenceId"]] for item in consumer.get("orderItems", ())]
                links = [{"href": f"/v2.1/orderItems/{one}"} for one in used if one is not None]
                await self.post(f"orders/{ref}/consumers", consumer, orderItems={"items": links})

    async def extend(self, kind: str, ref: str | None, owner: Json) -> None:
        """Create the extension of an order or an item that is there."""
        for extension in owner.get("extensions", ()) if ref is not None else ():
            await self.post(f"{kind}/{ref}/extensions/ext", extension)


async def naive(reading: str, count: int, chance: float, seed: int) -> Figures:
    """Load the same orders as `load` under the same faults."""
    graphs, emulator, began = orders(count, seed), served(reading, chance, seed, Emulator), time.monotonic()
    headers = {"Authorization": aiohttp.encode_basic_auth("key", "token")}
    limits = aiohttp.ClientTimeout(total=TIMEOUT)
    async with running(emulator) as url, aiohttp.ClientSession(url, headers=headers, timeout=limits) as session:
        client = Naive(session)
        async with asyncio.TaskGroup() as group:
            for graph in graphs:
                group.create_task(client.load(graph))
    return judged(seed, graphs, emulator, 1, began, ended=True)
