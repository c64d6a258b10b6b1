"""A worker that shares a journal in Postgres with others: it loads each order of a job until it is there.

It reads a job a line, and prints a line when it is done: ``python -m tests.campaigns.worker``.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec
import orjson

from cdp_orders_async import (
    CdpError,
    CdpOrders,
    Journal,
    OrderGraph,
    Outcome,
    PostgresJournal,
    Settings,
    Verdict,
    ingest,
    ingest_one,
)
from cdp_orders_async.graph import parse_graph

DONE = frozenset({Verdict.LOADED, Verdict.ALREADY, Verdict.UPDATED})
MOST_ATTEMPTS = 200


class Job(msgspec.Struct):
    """What a worker has to load."""

    base_url: str
    dsn: str
    lease: float
    settle: float
    timeout: float
    seed: int
    orders: list[dict[str, Any]]


async def work(job: Job) -> Counter[str]:
    """Load all orders of a job, some alone and some together; return how often there was which verdict."""
    draw, counts = random.Random(job.seed), Counter[str]()  # noqa: S311 (it chooses an order)
    graphs = [parse_graph(order) for order in job.orders]
    draw.shuffle(graphs)
    alone = draw.randrange(len(graphs) + 1)
    settings = Settings(timeout=job.timeout, retries=3, connections=8, rate=None)
    async with (
        CdpOrders(base_url=job.base_url, client_key="key", api_token="token", settings=settings) as cdp,  # noqa: S106
        await PostgresJournal.open(job.dsn, identity=cdp.identity, lease=job.lease) as journal,
        asyncio.TaskGroup() as group,
    ):
        group.create_task(load(cdp, graphs[alone:], journal, job.settle, counts))
        for graph in graphs[:alone]:
            group.create_task(load_one(cdp, graph, journal, job.settle, counts))
    return counts


async def load_one(cdp: CdpOrders, graph: OrderGraph, journal: Journal, settle: float, counts: Counter[str]) -> None:
    """Load one order, as a worker does that gets its message again until it acknowledges it."""
    for _ in range(MOST_ATTEMPTS):
        try:
            outcome = await ingest_one(cdp, graph, journal=journal, settle=settle, deadline=20)
        except CdpError as error:
            counts[type(error).__name__] += 1
            continue
        counts[str(outcome.verdict)] += 1
        if outcome.verdict in DONE:
            return
        await asyncio.sleep(pause_of(outcome))
    raise TimeoutError(f"{graph.key} never ends")


async def load(
    cdp: CdpOrders, graphs: Sequence[OrderGraph], journal: Journal, settle: float, counts: Counter[str]
) -> None:
    """Load some orders together, and those that are not there again."""
    left = {graph.key: graph for graph in graphs}
    for _ in range(MOST_ATTEMPTS):
        if not left:
            return
        pause = 0.0
        async with ingest(cdp, list(left.values()), journal=journal, settle=settle) as loading:
            async for outcome in loading:
                counts[str(outcome.verdict)] += 1
                pause = max(pause, pause_of(outcome))
                if outcome.verdict in DONE and outcome.key is not None:
                    del left[outcome.key]
        await asyncio.sleep(pause)
    raise TimeoutError(f"{len(left)} orders never end")


def pause_of(outcome: Outcome) -> float:
    """Return the seconds after which an order is tried again."""
    return 0.02 if outcome.retry_after is None else min(outcome.retry_after, 0.3)


def main() -> None:
    """Do the jobs of standard input, one after the other."""
    for line in sys.stdin:
        counts = asyncio.run(work(msgspec.json.decode(line, type=Job)))
        sys.stdout.write(orjson.dumps(counts).decode() + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
