"""How the governor finds a rate that the server keeps to itself: ``python benchmarks/governor.py [SCALE]``.

The emulator, in a process of its own, bears 50 calls a second, then 20, then 100, and answers 429 to more. Bulk workers
call all the time; an interactive caller comes four times a second. SCALE stretches the times; 1 takes three minutes.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

import aiohttp
import attrs

from cdp_orders_async import emulator
from cdp_orders_async.limiter import Limiter, Slots
from cdp_orders_async.session.governor import Governor

BURST = 5
CONNECTIONS = 100
PHASES = ((50, 80, 60), (20, 25, 5), (100, 75, 60))
"""The server's rate, the seconds that it lasts, and the seconds in it after which it ought to be used well."""
WELL = (0.85, 0.02)
"""The least share of the rate that is used, and the most that is refused, once the governor has settled."""
SPAN = 5.0
"""Seconds for which it must be so."""
TOO_MUCH = (429, 503)
ORDER = {"referenceId": "one", "orderedAt": "2024-01-01T00:00:00Z", "currencyCode": "EUR", "price": 1}


def serve(pipe: Connection) -> None:
    """Run the emulator: tell the base URL, then take each next rate; 0 is the end."""

    async def run() -> None:
        server = emulator.Emulator(bearer="token", switches=emulator.Switches(rate=PHASES[0][0], burst=BURST))
        async with emulator.running(server) as base_url:
            pipe.send(base_url)
            while rate := await asyncio.to_thread(pipe.recv):
                server.store.switches = attrs.evolve(server.store.switches, rate=rate)

    asyncio.run(run())


@attrs.define
class Client:
    """Calls the server under a governor."""

    http: aiohttp.ClientSession
    clock: Callable[[], float] = time.monotonic
    path: str = ""
    answers: list[tuple[float, bool]] = attrs.field(factory=list[tuple[float, bool]])
    """When each answer came, and whether it was good."""
    waits: list[tuple[float, float]] = attrs.field(factory=list[tuple[float, float]])
    """When each interactive call was asked for, and the seconds until it was sent."""
    limiter: Limiter = attrs.field(factory=lambda: Limiter(None))
    slots: Slots = attrs.field(factory=lambda: Slots(CONNECTIONS))
    governor: Governor = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.governor = Governor(self.limiter, self.slots, CONNECTIONS, self.clock)

    async def create(self) -> None:
        """Make the order that all calls get."""
        async with self.http.post("/v2.1/orders", json=ORDER) as response:
            self.path = f"/v2.1/orders/{(await response.json())['ref']}"

    async def call(self, *, bulk: bool) -> None:
        """Get the order once."""
        asked = self.clock()
        await self.slots.acquire(bulk=bulk)
        try:
            await self.limiter.acquire(bulk=bulk)
            sent = self.clock()
            if not bulk:
                self.waits.append((asked, sent - asked))
            self.governor.sent()
            async with self.http.get(self.path) as response:
                await response.read()
            now = self.clock()
            good = response.status not in TOO_MUCH
            self.answers.append((now, good))
            if good:
                self.governor.answered(now - sent)
            else:
                self.governor.refused(now - sent)
        finally:
            self.slots.release()

    async def bulk(self) -> None:
        """Call all the time."""
        while True:
            await self.call(bulk=True)

    async def interactive(self) -> None:
        """Call four times a second."""
        while True:
            await self.call(bulk=False)
            await asyncio.sleep(0.25)

    def seen(self, since: float, until: float, rate: float) -> tuple[float, float]:
        """Return the share of *rate* that was used in that time, and the share of the calls that was refused."""
        found = [good for when, good in self.answers if since <= when < until]
        return sum(found) / (until - since) / rate, 1 - sum(found) / max(1, len(found))

    def settled(self, since: float, until: float, rate: float) -> float | None:
        """Return the seconds until the rate is used well, None if it is not."""
        start = since
        while start + SPAN <= until:
            used, refused = self.seen(start, start + SPAN, rate)
            if used >= WELL[0] and refused <= WELL[1]:
                return start - since
            start += 0.25
        return None


async def measure(client: Client, pipe: Connection, scale: float) -> list[dict[str, float | None]]:
    """Go through the phases; return what was found in each."""
    rows: list[dict[str, float | None]] = []
    for rate, lasts, ripe in PHASES:
        pipe.send(rate)
        began = client.clock()
        await asyncio.sleep(lasts * scale)
        end = client.clock()
        used, refused = client.seen(began + ripe * scale, end, rate)
        waits = sorted(wait for when, wait in client.waits if began + ripe * scale <= when)
        rows.append(
            {
                "rate": rate,
                "settled_s": client.settled(began, end, rate),
                "after_s": ripe * scale,
                "used": used,
                "refused": refused,
                "wait_p99_ms": 1000 * waits[len(waits) * 99 // 100],
                "found_rate": client.governor.rate,
                "limit": client.governor.limit,
            }
        )
    return rows


async def main(base_url: str, pipe: Connection, scale: float) -> None:
    """Measure and print."""
    connector = aiohttp.TCPConnector(limit=CONNECTIONS)
    async with aiohttp.ClientSession(base_url, headers={"Authorization": "Bearer token"}, connector=connector) as http:
        client = Client(http)
        await client.create()
        tasks = [asyncio.create_task(client.bulk()) for _ in range(CONNECTIONS)]
        tasks.append(asyncio.create_task(client.interactive()))
        rows = await measure(client, pipe, scale)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    print("| server bears | settled after | then used | then refused | interactive wait p99 |")
    print("| ---: | ---: | ---: | ---: | ---: |")
    for row in rows:
        print(
            f"| {row['rate']}/s | {row['settled_s']} s | {row['used']:.1%} | {row['refused']:.2%} |"
            f" {row['wait_p99_ms']:.0f} ms |"
        )
    print(json.dumps({"scale": scale, "python": sys.version.split()[0], "phases": rows}))


if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    server = context.Process(target=serve, args=(theirs,), daemon=True)
    server.start()
    asyncio.run(main(ours.recv(), ours, float(sys.argv[1]) if len(sys.argv) > 1 else 1.0))
    ours.send(0)
    server.join()
