"""What the journal costs a load per request: ``python benchmarks/journal.py [ROUNDS]``.

The same orders are loaded over a stand-in for the network, in rounds that alternate between no journal, no journal
again (the control: how much two equal runs differ), and a journal in an SQLite file. Medians of CPU and of wall time.
"""

from __future__ import annotations

import asyncio
import importlib.resources
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

import attrs

from cdp_orders_async import GraphFile, OrderGraph, Request, Resources, SqliteJournal, ingest

T = TypeVar("T")
ORDERS = 250
VARIANTS = ("without", "without again", "with")


class Network:
    """Answers at once: everything that is created gets a reference."""

    def __init__(self) -> None:
        self.requests = 0

    async def send(self, request: Request[T], /) -> T:
        """Answer *request*."""
        self.requests += 1
        await asyncio.sleep(0)
        return request.read(b'{"ref":"%b"}' % str(uuid4()).encode())


async def sample() -> list[OrderGraph]:
    """Return the packaged orders, several times over, each a new one."""
    packed = importlib.resources.files("cdp_orders_async") / "data" / "orders-50.jsonl.gz"
    with importlib.resources.as_file(packed) as path:
        graphs = [line.graph async for line in GraphFile(path) if line.graph is not None]
    return [
        attrs.evolve(graph, order=attrs.evolve(graph.order, reference_id=f"{graph.order.reference_id}-{n}"))
        for n in range(ORDERS // len(graphs))
        for graph in graphs
    ]


async def load(graphs: list[OrderGraph], path: Path | None) -> tuple[float, float]:
    """Load *graphs*; return microseconds of CPU and of time per request."""
    network = Network()
    journal = None if path is None else await SqliteJournal.open(path, identity={"base URL": "none"})
    cpu, wall = time.process_time(), time.perf_counter()
    async with ingest(Resources(network, "https://host"), graphs, journal=journal, open_orders=128) as outcomes:
        async for outcome in outcomes:
            if outcome.verdict != "loaded":
                raise SystemExit(f"not loaded: {outcome}")
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    if journal is not None:
        await journal.aclose()
    return cpu / network.requests * 1e6, wall / network.requests * 1e6


async def main(rounds: int) -> None:
    """Measure and print."""
    graphs = await sample()
    found: dict[str, list[tuple[float, float]]] = {variant: [] for variant in VARIANTS}
    await load(graphs, None)
    with tempfile.TemporaryDirectory() as folder:
        for n in range(rounds):
            for variant in VARIANTS:
                found[variant].append(await load(graphs, Path(folder) / f"{n}.sqlite" if variant == "with" else None))
    medians = {
        variant: {
            "cpu_us": statistics.median(cpu for cpu, _ in runs),
            "wall_us": statistics.median(wall for _, wall in runs),
        }
        for variant, runs in found.items()
    }
    for variant, figures in medians.items():
        print(f"{variant:>14}: {figures['cpu_us']:6.1f} us CPU, {figures['wall_us']:6.1f} us per request")
    print(json.dumps({"rounds": rounds, "python": sys.version.split()[0], **medians}))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 7))
