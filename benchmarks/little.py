"""P6: how close the loader comes to the bound that latency sets, with orders of real shapes and a server of 100 ms.

Little's law: with C connections, N requests of L seconds each take at least N * L / C seconds. As many orders as
connections are open, and one makes 23 requests on average, so that an order takes 2.3 seconds even at the bound.

The loader goes over aiohttp, and over connections of the package's own. Raw aiohttp sends as many requests beside
it: what it does not reach, nothing can that is built on it. The garbage
collector is as ``cdp-orders load`` sets it.

What other processes take of the core counts against both; so each runs twice as often as is told, and those that were
kept waiting least count.
"""

from __future__ import annotations

import itertools
import statistics
import time
from argparse import Namespace
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import TypeVar

from harness import Point, Result, arguments, benchmark, hammer, kept_waiting, requests_seen, result, serving
from loader import loaded, sample
from peers import Way, client, raw_aiohttp

from cdp_orders_async import OrderGraph, ingest
from cdp_orders_async.__main__ import relax_gc

DELAY = 0.1
GOALS: dict[int, tuple[float | None, float | None]] = {
    64: (None, None),
    128: (None, None),
    256: (95.0, 2.0),
    512: (85.0, None),
}
"""Percent of the bound and seconds of the slowest 1 % of orders that are asked for, by connections."""
LOADERS: dict[str, Way] = {"loader": "aiohttp", "loader over httptools": "httptools"}
REQUESTS = 23  # of an order, on average
T = TypeVar("T")


async def timed(url: str, connections: int, work: Coroutine[None, None, T]) -> tuple[float, float, T]:
    """Do *work*; return percent of the time kept waiting, percent of the bound, and what came of it."""
    wall, lost = time.perf_counter(), kept_waiting()
    done = await work
    wall, lost = time.perf_counter() - wall, kept_waiting() - lost
    return lost / wall * 100, await requests_seen(url) * DELAY / connections / wall * 100, done


async def load(url: str, graphs: list[OrderGraph], connections: int, http: Way) -> float:
    """Load *graphs*; return the seconds of the slowest 1 %."""
    async with client(url, connections, http=http) as cdp, ingest(cdp, graphs, open_orders=connections) as outcomes:
        return statistics.quantiles(await loaded(outcomes), n=100)[-1]


async def raw(url: str, connections: int, calls: int) -> float:
    """Make so many *calls* by raw aiohttp."""
    async with AsyncExitStack() as stack:
        return await hammer(await raw_aiohttp(url, connections, stack), connections, calls // connections)()


async def measure(options: Namespace) -> tuple[list[Result], list[Point]]:
    """Measure everything."""
    graphs = await sample(1000 if options.quick else 2000)
    rounds = 1 if options.quick else 3
    relax_gc()
    found: dict[str, dict[int, list[tuple[float, float, float]]]] = {
        series: {connections: [] for connections in GOALS} for series in (*LOADERS, "raw aiohttp")
    }
    async with serving(DELAY) as url:
        for _, connections in itertools.product(range(rounds * 2), GOALS):
            some = graphs[: len(graphs) * connections // 256]
            for series, http in LOADERS.items():
                found[series][connections].append(await timed(url, connections, load(url, some, connections, http)))
            calls = raw(url, connections, len(some) * REQUESTS)
            found["raw aiohttp"][connections].append(await timed(url, connections, calls))
    results: list[Result] = []
    points: list[Point] = []
    for connections, (goal, slowest) in GOALS.items():
        what = f"{connections} connections, {DELAY * 1000:g} ms"
        for series, loads in found.items():
            lost, shares, slow = map(list, zip(*sorted(loads[connections])[:rounds], strict=True))
            ours = series in LOADERS
            asked = goal if ours else None
            share = result("P6" if asked else "", f"{what}: {series}, share of the bound", shares, "%", asked)
            points.append(Point("little", series, connections, share.value, share.low, share.high))
            results += [share, result("", f"{what}: {series}, kept waiting by other processes", lost, "%")]
            if ours:
                goals = "P6" if slowest else ""
                results.append(result(goals, f"{what}: {series}, slowest 1 % of orders", slow, "s", most=slowest))
    return results, points


if __name__ == "__main__":
    benchmark(measure, arguments(__doc__))
