"""P6: how close the loader comes to the bound that latency sets, with orders of real shapes and a server of 100 ms.

Little's law: with C connections, N requests of L seconds each take at least N * L / C seconds. As many orders as
connections are open, and one makes 23 requests on average, so that an order takes 2.3 seconds even at the bound.

What other processes take of the core counts against the loader; so each load runs twice as often as is told, and those
that were kept waiting least count.
"""

from __future__ import annotations

import statistics
import time
from argparse import Namespace

from harness import Point, Result, arguments, benchmark, kept_waiting, requests_seen, result, serving
from loader import loaded, sample
from peers import client

from cdp_orders_async import OrderGraph, ingest

DELAY = 0.1
GOALS = {64: None, 128: None, 256: 95.0, 512: 85.0}
"""Percent of the bound that is asked for, by connections."""


async def load(url: str, graphs: list[OrderGraph], connections: int) -> tuple[float, float, float]:
    """Load *graphs*; return percent of the time kept waiting, percent of the bound, seconds of the slowest 1 %."""
    wall, lost = time.perf_counter(), kept_waiting()
    async with client(url, connections) as cdp, ingest(cdp, graphs, open_orders=connections) as outcomes:
        seconds = await loaded(outcomes)
    wall, lost = time.perf_counter() - wall, kept_waiting() - lost
    requests = await requests_seen(url)
    if requests != cdp.session.stats.requests:
        raise SystemExit(f"the server saw {requests} of {cdp.session.stats.requests} requests")
    return lost / wall * 100, requests * DELAY / connections / wall * 100, statistics.quantiles(seconds, n=100)[-1]


async def measure(options: Namespace) -> tuple[list[Result], list[Point]]:
    """Measure everything."""
    graphs = await sample(1000 if options.quick else 2000)
    rounds = 1 if options.quick else 3
    found: dict[int, list[tuple[float, float, float]]] = {connections: [] for connections in GOALS}
    async with serving(DELAY) as url:
        for _ in range(rounds * 2):
            for connections, loads in found.items():
                loads.append(await load(url, graphs[: len(graphs) * connections // 256], connections))
    results: list[Result] = []
    points: list[Point] = []
    for connections, loads in found.items():
        lost, shares, slow = map(list, zip(*sorted(loads)[:rounds], strict=True))
        goal = GOALS[connections]
        what = f"{connections} connections, {DELAY * 1000:g} ms"
        results += [
            share := result("P6" if goal else "", f"{what}: share of Little's bound", shares, "%", goal),
            result("", f"{what}: slowest 1 % of orders", slow, "s"),
            result("", f"{what}: kept waiting by other processes", lost, "%"),
        ]
        points.append(Point("little", "loader", connections, share.value, share.low, share.high))
    return results, points


if __name__ == "__main__":
    benchmark(measure, arguments(__doc__))
