"""How ``rate="auto"`` finds what a server bears: ``python benchmarks/governor.py [--quick] [--out DIR]``.

The whole client creates items in the lane for bulk work, as fast as it may, on 32 connections; now and then somebody
interactive gets an order. The emulator, in a process of its own, keeps a limit to itself, or fails at any rate, or
both, or is down. What it fails is not sent again, so that every call is one request. All takes 17 minutes.

At the end the rate is given, and interactive callers alone would use it up: then bulk work gets its share.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import time
from argparse import Namespace
from collections.abc import AsyncGenerator, Awaitable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from multiprocessing.connection import Connection
from typing import Literal
from uuid import UUID

import aiohttp
import attrs
from harness import Point, Result, arguments, benchmark, pin, result

from cdp_orders_async import CdpError, CdpOrders, NewOrder, NewOrderItem, Resources, Settings, emulator
from cdp_orders_async.session import BulkTransport, Timings

CONNECTIONS = 32
LATENCY = 0.05
TIMEOUT = 2.0
SPAN = 5.0
"""Seconds for which a rate must be used well to count as found."""
WELL = (0.85, 0.02)
"""The least share of the rate that is used then, and the most that is refused."""
ORDER = NewOrder(reference_id="one", ordered_at=datetime(2024, 1, 1, tzinfo=UTC), currency_code="EUR", price=Decimal(1))
ITEM = NewOrderItem(type="MOBILE", name="AZ10", price=Decimal(1), currency_code="EUR", status="CONFIRMED")
Kind = Literal["status", "stall"]


@attrs.frozen
class Conditions:
    """How the server behaves for a while."""

    rate: float | None = None
    burst: int = 5
    noise: float = 0.0
    kind: Kind = "status"
    limits: tuple[emulator.Limit, ...] = ()
    latency: float = 0.0


def serve(pipe: Connection) -> None:
    """Run the emulator: tell the base URL, then take each next conditions; None is the end."""

    async def run() -> None:
        server = emulator.Emulator()
        async with emulator.running(server) as base_url:
            pipe.send(base_url)
            while new := await asyncio.to_thread(pipe.recv):
                server.store.switches = attrs.evolve(
                    server.store.switches, rate=new.rate, burst=new.burst, limits=new.limits, latency=new.latency
                )
                fault = {"operation": "*", "chance": new.noise, "action": new.kind, "seconds": 10}
                server.faults = emulator.Faults.of({"faults": [fault]})

    asyncio.run(run())


@attrs.define
class Load:
    """A client that calls all the time, and what came of its calls."""

    pipe: Connection
    cdp: CdpOrders
    calls: list[tuple[float, bool]] = attrs.field(factory=list[tuple[float, bool]])
    """When each call came back, and whether it was good."""
    created: list[float] = attrs.field(factory=list[float])
    """When each call for bulk work came back that was good."""
    waits: list[tuple[float, float]] = attrs.field(factory=list[tuple[float, float]])
    """When each interactive call was made, and the seconds that it took beyond the latency."""

    async def under(self, conditions: Conditions, seconds: float) -> tuple[float, float]:
        """Go on for some seconds in which the server is so; return when that was."""
        self.pipe.send(conditions)
        began = time.monotonic()
        await asyncio.sleep(seconds)
        return began, time.monotonic()

    def seen(self, since: float, until: float) -> tuple[float, float]:
        """Return how many good calls a second there were in that time, and the share that failed."""
        found = [good for when, good in self.calls if since <= when < until]
        return sum(found) / (until - since), 1 - sum(found) / max(1, len(found))

    def found(self, rate: float, since: float, until: float) -> float:
        """Return the seconds until *rate* is used well; infinite if it never is."""
        start = since
        while start + SPAN <= until:
            used, refused = self.seen(start, start + SPAN)
            if used >= WELL[0] * rate and refused <= WELL[1]:
                return start - since
            start += 0.25
        return float("inf")

    async def bulk(self, order: UUID) -> None:
        """Create items, one after the other."""
        items = Resources(BulkTransport(self.cdp.session, Timings()), self.cdp.base_url).items
        while True:
            if await self.counted(items.create(order, ITEM)):
                self.created.append(time.monotonic())

    async def interactive(self, order: UUID, rest: float) -> None:
        """Get the order, and rest for some seconds, again and again."""
        while True:
            began = time.monotonic()
            if await self.counted(self.cdp.orders.get(order)):
                self.waits.append((began, time.monotonic() - began - LATENCY))
            await asyncio.sleep(rest)

    async def counted(self, call: Awaitable[object]) -> bool:
        """Wait for a call; return whether it was good."""
        good = True
        try:
            await call
        except CdpError:
            good = False
        self.calls.append((time.monotonic(), good))
        return good


def far_away() -> aiohttp.TraceConfig:
    """Return what makes each call take as long as to a server that is not on this machine, and CPU no limit."""

    async def wait(*_: object) -> None:
        await asyncio.sleep(LATENCY)

    traces = aiohttp.TraceConfig()
    traces.on_request_start.append(wait)
    return traces


@contextlib.asynccontextmanager
async def loading(
    rate: float | Literal["auto"] | None = "auto", *, share: float = 0.1, callers: int = 1, rest: float = 0.25
) -> AsyncGenerator[Load]:
    """Run a server, and a client that calls it all the time: for bulk work, and so many interactive callers."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs,), daemon=True)
    process.start()
    pin(process.pid or 0, last=True)
    settings = Settings(rate=rate, bulk_share=share, connections=CONNECTIONS, retries=0, timeout=TIMEOUT, deadline=None)
    base_url: str = await asyncio.to_thread(ours.recv)
    try:
        async with CdpOrders(
            base_url=base_url,
            client_key="key",
            api_token="token",  # noqa: S106 no secret
            settings=settings,
            trace_configs=[far_away()],
        ) as cdp:
            order = (await cdp.orders.create(ORDER)).ref
            load = Load(ours, cdp)
            tasks = [asyncio.create_task(load.bulk(order)) for _ in range(CONNECTIONS)]
            tasks += [asyncio.create_task(load.interactive(order, rest)) for _ in range(callers)]
            try:
                yield load
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)
    finally:
        ours.send(None)
        await asyncio.to_thread(process.join)


async def limits() -> list[Result]:
    """Return how a rate is found that changes."""
    results: list[Result] = []
    async with loading() as load:
        for rate, lasts, ripe, least, most in (
            (50, 90, 60, 0.9, 0.01),
            (20, 25, 5, 0.85, 0.02),
            (100, 80, 60, 0.9, 0.01),
        ):
            began, end = await load.under(Conditions(rate), lasts)
            used, refused = load.seen(began + ripe, end)
            waits = sorted(1000 * wait for when, wait in load.waits if began + ripe <= when < end)
            what = f"a limit of {rate}/s"
            results += [
                result("R1", f"{what}: seconds until it is used well", [load.found(rate, began, end)], "s", most=ripe),
                result("R1", f"{what}: used then", [used / rate], "", least),
                result("R1", f"{what}: refused then", [refused], "", most=most),
                # A call waits for the one that has its turn, and may wait for one of bulk's share.
                result(
                    "R2",
                    f"{what}: p99 wait of interactive calls",
                    [waits[len(waits) * 99 // 100]],
                    "ms",
                    most=max(100.0, 5000 / rate),
                ),
            ]
    return results


async def limit(rate: float, noise: float) -> list[Result]:
    """Return how a rate is found while the server fails at any rate as well."""
    async with loading() as load:
        began, end = await load.under(Conditions(rate, max(5, int(rate / 10)), noise), 90)
        used, refused = load.seen(began + 30, end)
    what = f"a limit of {rate}/s and {noise:.0%} noise"
    return [
        result("R3", f"{what}: used", [used / rate], "", 0.8 if noise else 0.9),
        result("R3", f"{what}: refused", [refused], "", most=noise + (0.03 if noise else 0.01)),
    ]


async def noise(chance: float, kind: Kind, rounds: int) -> Result:
    """Return the ratio of the calls that succeed with and without the governor, after some seconds."""
    ratios: list[float] = []
    for _ in range(rounds):
        rates: list[float] = []
        for rate in ("auto", None):
            async with loading(rate) as load:
                began, end = await load.under(Conditions(noise=chance, kind=kind), 18)
                rates.append(load.seen(began + 8, end)[0])
        ratios.append(rates[0] / rates[1])
    word = "503" if kind == "status" else "timeouts"
    return result("R4", f"{chance:.0%} {word}: calls / those without a governor", ratios, "x", 0.8 if chance else 0.9)


async def outage(kind: Kind) -> Result:
    """Return the seconds after an outage until the rate is what it was."""
    async with loading() as load:
        await load.under(Conditions(50), 40)
        await load.under(Conditions(50, noise=1.0, kind=kind), 20)
        began, end = await load.under(Conditions(50), 30)
    word = "503" if kind == "status" else "timeouts"
    return result("R5", f"after 20 s of {word}: until 50/s are used well", [load.found(50, began, end)], "s", most=10)


async def lanes(share: float) -> list[Result]:
    """Return bulk's part of a rate that interactive callers alone would use up: some of them wait all the time."""
    rate = 200
    async with loading(rate, share=share, callers=2 * CONNECTIONS, rest=0.0) as load:
        await asyncio.sleep(1)
        began, end = await load.under(Conditions(), 3)
        good, _ = load.seen(began, end)
    part = sum(began <= when < end for when in load.created) / (end - began) / good
    what = f"{rate}/s asked for twice, bulk_share {share:g}"
    return [
        result("R6", f"{what}: bulk's part / its share", [part / share], "x", 0.95)
        if share
        else result("R6", f"{what}: bulk's part", [part], "", most=0.01),
        result("", f"{what}: used", [good / rate], ""),
    ]


async def measure(options: Namespace) -> tuple[Sequence[Result], Sequence[Point]]:
    """Measure everything; quickly: a few of the conditions, once."""
    results = await limits()
    for rate, chance in ((50, 0.05),) if options.quick else ((50, 0.02), (50, 0.05), (500, 0.0)):
        results += await limit(rate, chance)
    few: tuple[tuple[float, Kind], ...] = ((0.0, "status"), (0.05, "status"))
    more: tuple[tuple[float, Kind], ...] = ((0.01, "status"), (0.15, "status"), (0.3, "status"), (0.05, "stall"))
    for chance, kind in few if options.quick else few + more:
        results.append(await noise(chance, kind, 1 if options.quick else 2))
    kinds: tuple[Kind, ...] = ("status",) if options.quick else ("status", "stall")
    for kind in kinds:
        results.append(await outage(kind))
    for share in (0.0, 0.1, 0.3):  # with none, to see that nothing is left over
        results += await lanes(share)
    return results, []


if __name__ == "__main__":
    benchmark(measure, arguments(__doc__))
