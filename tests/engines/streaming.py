"""A worker on a Redis stream in this process, and the state of the stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypedDict, Unpack

import orjson
from faststream.redis import RedisBroker
from redis.asyncio import Redis

from cdp_orders_async import CdpOrders, Journal
from cdp_orders_async.emulator import Emulator
from cdp_orders_async.engines.faststream import subscribe
from cdp_orders_async.graph import parse_graph
from tests.ingest.expectations import stored, wanted

__all__ = [
    "DEAD",
    "FAST",
    "GROUP",
    "STREAM",
    "Json",
    "Options",
    "dead",
    "holds",
    "pending",
    "publish",
    "settled",
    "until",
    "working",
]

Json = dict[str, Any]


class Options(TypedDict, total=False):
    """The options of `subscribe`, except its stream and those of no test."""

    group: str
    consumer: str
    journal: Journal
    settle: float
    workers: int
    deadline: float
    drain: float
    claim_after: float
    retry_after: float
    most: int
    delete: bool


STREAM, DEAD, GROUP = "orders", "orders.dead", "cdp-orders"
FAST: Options = {"deadline": 10.0, "drain": 0.5, "settle": 0.0, "retry_after": 0.0}
"""Options of a worker that does not let tests wait; its messages are taken over after the time that a test gives."""
PATIENCE = 120.0
"""Seconds after which something that must come counts as lost."""


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait until something holds, and fail if it never does."""
    async with asyncio.timeout(PATIENCE):
        while not await holds():  # noqa: ASYNC110 it may come from another process
            await asyncio.sleep(0.02)


async def publish(redis: Redis, *orders: object) -> list[bytes]:
    """Publish *orders* as a producer does that does not use FastStream; bytes are published as they are."""
    bodies = [order if isinstance(order, bytes) else orjson.dumps(order) for order in orders]
    ids: list[Any] = [await redis.xadd(STREAM, {"data": body}) for body in bodies]
    return ids


async def pending(redis: Redis, group: str = GROUP) -> list[Json]:
    """Return the entries that were delivered and are not settled."""
    return list(await redis.xpending_range(STREAM, group, min="-", max="+", count=10_000))


async def settled(redis: Redis) -> bool:
    """Tell whether the stream is empty."""
    return not await redis.xlen(STREAM)


async def dead(redis: Redis) -> list[dict[str, bytes]]:
    """Return the dead letters."""
    rows: Any = await redis.xrange(DEAD)
    return [{name.decode(): value for name, value in fields.items()} for _, fields in rows]


def holds(emulator: Emulator, *orders: Json) -> bool:
    """Tell whether the server has *orders*, each part once, and nothing else."""
    return stored(emulator) == wanted([parse_graph(order) for order in orders])


@asynccontextmanager
async def working(
    url: str,
    cdp: CdpOrders,
    *,
    timeout: float = 15.0,  # noqa: ASYNC109 the broker's own
    **options: Unpack[Options],
) -> AsyncGenerator[RedisBroker]:
    """Run a worker in this process; *timeout* is the broker's for its stop."""
    broker = RedisBroker(url, graceful_timeout=timeout)
    given: Options = {**FAST, **options}
    subscribe(broker, cdp, stream=STREAM, **given)
    try:
        await broker.start()
        yield broker
    finally:
        await broker.stop()
