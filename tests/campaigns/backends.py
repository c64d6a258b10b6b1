"""Web backends at work: ``python -m tests.campaigns.backends --customers 200 --rate 200``.

It measures what a checkout takes: at rest, 200 at once, and both beside a bulk load that takes the whole rate. Then it
measures what the database bears: orders a second by the journal, and leases of the rate a second, from 1 to 8 workers.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import statistics
import sys
import tempfile
import time
from asyncio.subprocess import PIPE
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import aiohttp

from cdp_orders_async import CdpOrders, PostgresJournal, PostgresLimiter, ingest, parse_graph
from cdp_orders_async.emulator import Switches, running
from tests.backends.serving import Backend, ask
from tests.campaigns.run import say
from tests.cli.support import PARTS, TOKEN, Json, Watched, orders
from tests.databases import PostgresServer

ROOT = Path(__file__).parents[2]
LATENCY = 0.05
"""Seconds of each answer of the server."""
REST = 40
"""Checkouts that are not at once."""
SHARE = 0.25
"""The part of the rate that customers need who come one after the other."""
SECONDS = 10.0
"""For which all workers of a measurement are at work."""
AHEAD = 1.0
"""Seconds from the signal that they begin to the first thing that counts."""
WORKERS = (1, 2, 4, 8)
DEPTH = 50
"""Orders under way in each worker."""
JOURNAL = f"""
import asyncio, itertools, sys, time
from datetime import UTC, datetime
from uuid import uuid4
from cdp_orders_async import OrderId, PostgresJournal

async def main(dsn, name):
    numbers, done = itertools.count(), 0
    async with await PostgresJournal.open(dsn, identity={{"tenant": "measured"}}) as journal:
        print("ready", flush=True)
        begin, end = map(float, (await asyncio.to_thread(sys.stdin.readline)).split())
        assert time.monotonic() < begin, "it began too late"
        async def work():
            nonlocal done
            while time.monotonic() < end:
                order = OrderId.of(f"{{name}}-{{next(numbers)}}", datetime.now(UTC))
                await journal.claim(order, b"d")
                for part in range({PARTS}):
                    journal.record(order.key, f"part{{part}}", b"d", uuid4(), created=True)
                await journal.end(order.key, complete=True)
                done += begin <= time.monotonic() < end
        async with asyncio.TaskGroup() as group:
            for _ in range({DEPTH}):
                group.create_task(work())
    print(done, flush=True)

asyncio.run(main(*sys.argv[1:]))
"""
LEASES = """
import asyncio, sys, time
from cdp_orders_async.journal.postgres import PostgresAddress
from cdp_orders_async.pacing.postgres import PostgresSlots

async def main(dsn, name):
    store = PostgresSlots(PostgresAddress.parse(dsn), "measured", 5.0)
    await store.begin(100_000)
    print("ready", flush=True)
    (begin, end), done = map(float, (await asyncio.to_thread(sys.stdin.readline)).split()), 0
    assert time.monotonic() < begin, "it began too late"
    while time.monotonic() < end:
        await store.lease(1)
        done += begin <= time.monotonic() < end
    await store.aclose()
    print(done, flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


async def borne(dsn: str, program: str, workers: int) -> float:
    """Return how much a second *workers* do together: what they end while all of them work, by the clock of the wall.

    Each begins at once, and counts what it ends between two moments that are the same for all.
    """
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, dsn, f"w{n}", cwd=ROOT, stdin=PIPE, stdout=PIPE
        )
        for n in range(workers)
    ]
    for process in processes:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
    begin = time.monotonic() + AHEAD
    span = f"{begin} {begin + SECONDS}\n".encode()
    done = await asyncio.gather(*(process.communicate(span) for process in processes))
    return sum(int(out) for out, _ in done) / SECONDS


async def took(caller: aiohttp.ClientSession, url: str, order: Json, after: float = 0.0) -> float:
    """Return the seconds that a checkout takes; it begins *after* so many."""
    await asyncio.sleep(after)
    began = time.monotonic()
    status = await ask(caller, url, order)
    assert status == 201, status
    return time.monotonic() - began


async def checkouts(dsn: str, folder: Path, customers: int, rate: float) -> None:
    """Measure checkouts, and print a table."""
    server = Watched()
    server.store.switches = Switches(latency=LATENCY)
    lines = iter(orders(100_000))
    changes = {"RATE = 100": f"RATE = {rate}", "deadline=2": "deadline=60"}
    async with (
        running(server) as server.base_url,
        Backend.running("FastAPI", folder, dsn, server, changes, longest=30) as backend,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True)) as caller,
        await PostgresLimiter.open(dsn, name="cdp", rate=rate) as limiter,
        CdpOrders(base_url=server.base_url, client_key="key", api_token=TOKEN, shared_limiter=limiter) as cdp,
        await PostgresJournal.open(dsn, identity=cdp.identity) as journal,
    ):
        pause = PARTS / (SHARE * rate)

        async def at_once() -> Sequence[float]:
            return await asyncio.gather(*(took(caller, backend.url, next(lines)) for _ in range(customers)))

        async def in_turn() -> Sequence[float]:
            some = itertools.islice(lines, REST)
            return await asyncio.gather(*(took(caller, backend.url, one, n * pause) for n, one in enumerate(some)))

        rest = [await took(caller, backend.url, next(lines)) for _ in range(REST)]
        say(f"{PARTS} requests an order, {rate:g} requests a second", "median s", "p99 s", "p99/rest", "sent/s")

        def tell(what: str, seconds: Sequence[float], sent: float) -> None:
            p99 = statistics.quantiles(seconds, n=100, method="inclusive")[-1]
            middle = statistics.median(seconds)
            say(what, f"{middle:.3f}", f"{p99:.3f}", f"{p99 / statistics.median(rest):.2f}", f"{sent:.0f}")

        tell("one after the other", rest, PARTS / statistics.median(rest))
        for loads in (False, True):
            load = asyncio.ensure_future(_load(cdp, journal, lines)) if loads else None
            await asyncio.sleep(1)
            for name, measure in ((f"{customers} at once", at_once), (f"{REST}, one each {pause:.2f} s", in_turn)):
                began, before = time.monotonic(), server.received
                seconds = await measure()
                sent = (server.received - before) / (time.monotonic() - began)
                tell(f"{name}{', beside a load' if loads else ''}", seconds, sent)
            if load is not None:
                load.cancel()
                with suppress(asyncio.CancelledError):
                    await load


async def _load(cdp: CdpOrders, journal: PostgresJournal, lines: Iterator[Json]) -> None:
    async with ingest(cdp, map(parse_graph, lines), journal=journal) as load:
        await load.run()


async def main(customers: int, rate: float) -> int:
    """Measure everything with a database that writes to its disk."""
    server = PostgresServer(fsync="on", full_page_writes="on", max_connections="120")
    try:
        server.start()
        with tempfile.TemporaryDirectory() as folder:
            await checkouts(server.dsn(server.create_database()), Path(folder), customers, rate)
        dsn = server.dsn(server.create_database())
        say("", *(f"{workers} workers" for workers in WORKERS))
        for what, program in (("orders a second by the journal", JOURNAL), ("leases of the rate a second", LEASES)):
            say(what, *[f"{await borne(dsn, program, workers):,.0f}" for workers in WORKERS])
    finally:
        server.remove()
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=200)
    parser.add_argument("--rate", type=float, default=200.0)
    raise SystemExit(asyncio.run(main(**vars(parser.parse_args()))))
