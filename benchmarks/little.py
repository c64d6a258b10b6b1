"""P6: how close the loader comes to the bound that latency sets, with orders of real shapes and a server of 100 ms.

Little's law: with C connections, N requests of L seconds each take at least N * L / C seconds.
"""

from __future__ import annotations

import asyncio
import statistics
import time

from harness import Point, Result, arguments, serving, tell
from loader import loaded, parts, sample

from cdp_orders_async import CdpOrders, OrderGraph, Settings, ingest

DELAY = 0.1
GOALS = {64: None, 128: None, 256: 95.0, 512: 85.0}
"""Share of the bound in percent that is asked for, by connections."""


async def load(url: str, graphs: list[OrderGraph], connections: int) -> tuple[float, float, float]:
    """Load *graphs*; return the share of the bound and of a core in percent, and the slow orders' seconds."""
    settings = Settings(connections=connections)
    cpu, wall = time.process_time(), time.perf_counter()
    async with (
        CdpOrders(base_url=url, client_key="key", api_token="token", settings=settings) as cdp,  # noqa: S106 no secret
        ingest(cdp, graphs, open_orders=connections) as outcomes,
    ):
        seconds = await loaded(outcomes)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    bound = sum(map(parts, graphs)) * DELAY / connections
    return bound / wall * 100, cpu / wall * 100, statistics.quantiles(seconds, n=100)[-1]


async def main() -> None:
    """Measure and tell."""
    options = arguments(__doc__).parse_args()
    graphs = await sample(400 if options.quick else 2000)
    found: dict[int, list[tuple[float, float, float]]] = {connections: [] for connections in GOALS}
    async with serving(DELAY) as server:
        for _ in range(1 if options.quick else 3):
            for connections, figures in found.items():
                few = graphs[: len(graphs) * connections // 256]
                figures.append(await load(server.url, few, connections))
                stats = await server.stats()
                if stats["requests"] != sum(map(parts, few)) or stats["most_in_flight"] > connections:
                    raise SystemExit(f"the server saw something else: {stats}")
    results: list[Result] = []
    points: list[Point] = []
    for connections, figures in found.items():
        shares, cores, slow = map(list, zip(*figures, strict=True))
        goal = GOALS[connections]
        what = f"{connections} connections, {DELAY * 1000:g} ms"
        share = Result.of("P6" if goal else "", f"share of Little's bound, {what}", shares, "%", least=goal)
        limit = 1.5 if connections == 256 else None  # noqa: PLR2004 as in GOALS
        results += [
            share,
            Result.of("P6" if limit else "", f"slowest 1 % of orders, {what}", slow, "s", most=limit),
            Result.of("", f"share of a core, {what}", cores, "%"),
        ]
        points.append(Point("little", "loader", connections, share.value, share.low, share.high))
    tell("little", options.out, results, points)


if __name__ == "__main__":
    asyncio.run(main())
