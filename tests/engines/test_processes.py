"""Workers as processes of their own, which are killed and stopped; the server's ledger tells what they did."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from cdp_orders_async.emulator import Emulator, Faults, Switches, running
from tests.cli.support import orders
from tests.engines.brokers import RedisServer
from tests.engines.campaign import campaign, latencies
from tests.engines.processes import worker
from tests.engines.streaming import Json, dead, holds, pending, publish, settled, until

ORDERS = orders(8)


@pytest.mark.parametrize("database", [None, "postgres"])
async def test_killed_between_write_and_ack(
    database: str | None, request: pytest.FixtureRequest, redis: Redis, broker_server: RedisServer
) -> None:
    """An order whose worker is killed after the load and before the ack is found by the next worker, not made again."""
    emulator = Emulator(switches=Switches(upsert=False))
    dsn = None if database is None else request.getfixturevalue(database)
    options: Json = {"deadline": 2.0, "drain": 0.0, "claim_after": 2.1, "dsn": dsn, "lease": 1.0}
    # Only the next worker must not wait long: a deadline that passes before the write makes another story.
    slow: Json = {**options, "deadline": 60.0, "claim_after": 61.0}
    async with running(emulator) as base_url:
        (id_,) = await publish(redis, ORDERS[0])
        async with worker(broker_server.url, base_url, held=True, **slow) as process:
            assert await process.step() == f"held {id_.decode()}"
            process.kill()
            await process.end()
        assert holds(emulator, ORDERS[0])
        (entry,) = await pending(redis)
        assert entry["times_delivered"] == 1
        async with worker(broker_server.url, base_url, **options):
            await until(lambda: settled(redis))
    assert holds(emulator, ORDERS[0])
    assert emulator.requests["orders.create"] == 1
    assert (emulator.requests["orders.list"] > 0) is (database is None)
    assert not await dead(redis)


async def test_stopped_with_handlers_running(redis: Redis, broker_server: RedisServer) -> None:
    """SIGTERM lets the messages under way end, and leaves the others to other workers; the process ends with 0."""
    emulator = Emulator(switches=Switches(upsert=False, latency={"items.create": 0.5}))
    async with running(emulator) as base_url:
        await publish(redis, *ORDERS)
        async with worker(broker_server.url, base_url, workers=3) as process:

            async def begun() -> bool:
                return emulator.requests["items.create"] >= 3

            await until(begun)
            process.terminate()
            assert await process.end() == (0, ["ended"])
        assert not await pending(redis)
        left = await redis.xlen("orders")
        assert left == len(ORDERS) - emulator.requests["orders.create"]
        async with worker(broker_server.url, base_url):
            await until(lambda: settled(redis))
    assert holds(emulator, *ORDERS)
    assert not emulator.requests["orders.list"]


async def test_stopped_for_good(redis: Redis, broker_server: RedisServer, postgres: str) -> None:
    """Messages that do not end in time are handed to another worker at once, with what is known of their parts."""
    emulator = Emulator(switches=Switches(upsert=False))
    stall: Json = {"operation": "items.create", "script": [{"phase": "written", "action": "stall", "seconds": 60}] * 3}
    emulator.faults = Faults.of({"faults": [stall]})
    async with running(emulator) as base_url:
        await publish(redis, *ORDERS)
        options: Json = {"dsn": postgres, "lease": 5.0, "claim_after": 60.0}
        async with worker(broker_server.url, base_url, workers=3, graceful_timeout=0.2, **options) as process:

            async def begun() -> bool:
                return emulator.requests["items.create"] >= 3

            await until(begun)
            process.terminate()
            assert await process.end() == (0, ["ended"])
        async with worker(broker_server.url, base_url, **options):
            await until(lambda: settled(redis))
    assert holds(emulator, *ORDERS)


async def test_published_twice_to_two_workers(redis: Redis, broker_server: RedisServer, postgres: str) -> None:
    """With a shared journal, two processes that get one event at once load it once, and count nobody as poison."""
    emulator = Emulator(switches=Switches(upsert=False))
    async with running(emulator) as base_url:
        options: Json = {"dsn": postgres, "retry_after": 0.2, "most": 1}
        async with worker(broker_server.url, base_url, **options), worker(broker_server.url, base_url, **options):
            for order in ORDERS:
                await publish(redis, order, order)
            await until(lambda: settled(redis))
    assert holds(emulator, *ORDERS)
    assert not emulator.requests["orders.list"]
    assert not await dead(redis)


@pytest.mark.parametrize(("database", "twice"), [(None, False), ("postgres", True)])
async def test_campaign(
    database: str | None,
    twice: bool,  # noqa: FBT001 a case
    request: pytest.FixtureRequest,
    broker_server: RedisServer,
) -> None:
    """Workers are killed at random moments: each order is there once, and the dead letters are the poison."""
    options = {"deadline": 2.0, "claim_after": 2.6}
    dsn = None if database is None else request.getfixturevalue(database)
    figures = await campaign(
        broker_server, events=60, workers=2, kills=2, seed=1, dsn=dsn, twice=twice, options=options
    )
    assert figures.exact, figures


async def test_little_beside_the_requests(broker_server: RedisServer) -> None:
    """What a new order takes beside its requests is measured, and nothing in it waits for a poll."""
    assert len(await latencies(broker_server, 5)) == 5
