"""P6: how close the loader comes to the bound that latency sets, with orders of real shapes and a server of 100 ms.

Little's law: with C connections, N requests of L seconds each take at least N * L / C seconds. Other processes on
the same core count against the loader; so each load runs more often than is told, and those that were kept waiting
least count.
"""

from __future__ import annotations

import asyncio
import statistics
import time

import attrs
from harness import Point, Result, arguments, kept_waiting, serving, tell
from loader import loaded, parts, sample

from cdp_orders_async import CdpOrders, OrderGraph, Settings, ingest

DELAY = 0.1
GOALS = {64: None, 128: None, 256: 95.0, 512: 85.0}
"""Share of the bound in percent that is asked for, by connections."""
SLOWEST_AT, SLOWEST = 256, 1.5  # connections, seconds


@attrs.frozen
class Figures:
    """What came of one load."""

    share: float
    """Of Little's bound, in percent."""
    core: float
    """Percent of a core that was used."""
    slow: float
    """Seconds that 99 % of the orders stayed below."""
    lost: float
    """Percent of the time in which another process had the core."""


async def load(url: str, graphs: list[OrderGraph], connections: int) -> Figures:
    """Load *graphs*."""
    settings = Settings(connections=connections)
    cpu, wall, lost = time.process_time(), time.perf_counter(), kept_waiting()
    async with (
        CdpOrders(base_url=url, client_key="key", api_token="token", settings=settings) as cdp,  # noqa: S106 no secret
        ingest(cdp, graphs, open_orders=connections) as outcomes,
    ):
        seconds = await loaded(outcomes)
    cpu, wall, lost = time.process_time() - cpu, time.perf_counter() - wall, kept_waiting() - lost
    bound = sum(map(parts, graphs)) * DELAY / connections
    return Figures(bound / wall * 100, cpu / wall * 100, statistics.quantiles(seconds, n=100)[-1], lost / wall * 100)


async def main() -> None:
    """Measure and tell."""
    options = arguments(__doc__).parse_args()
    graphs = await sample(400 if options.quick else 2000)
    rounds = 1 if options.quick else 3
    found: dict[int, list[Figures]] = {connections: [] for connections in GOALS}
    async with serving(DELAY) as server:
        for _ in range(rounds * 2):
            for connections, figures in found.items():
                few = graphs[: len(graphs) * connections // 256]
                figures.append(await load(server.url, few, connections))
                stats = await server.stats()
                if stats["requests"] != sum(map(parts, few)) or stats["most_in_flight"] > connections:
                    raise SystemExit(f"the server saw something else: {stats}")
    results: list[Result] = []
    points: list[Point] = []
    for connections, figures in found.items():
        fair = sorted(figures, key=lambda one: one.lost)[:rounds]
        goal = GOALS[connections]
        what = f"{connections} connections, {DELAY * 1000:g} ms"
        share = Result.of(
            "P6" if goal else "", f"share of Little's bound, {what}", [one.share for one in fair], "%", least=goal
        )
        limit = SLOWEST if connections == SLOWEST_AT else None
        results += [
            share,
            Result.of(
                "P6" if limit else "", f"slowest 1 % of orders, {what}", [one.slow for one in fair], "s", most=limit
            ),
            Result.of("", f"share of a core, {what}", [one.core for one in fair], "%"),
            Result.of("", f"kept waiting by other processes, {what}", [one.lost for one in fair], "%"),
        ]
        points.append(Point("little", "loader", connections, share.value, share.low, share.high))
    tell("little", options.out, results, points)


if __name__ == "__main__":
    asyncio.run(main())
