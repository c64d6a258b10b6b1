"""Workers that are killed at random moments: ``python -m tests.engines.campaign --events 2000 --kills 3 --seed 1``.

Afterwards the server has each order once, and the stream of dead letters has the poison and nothing else.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

import attrs
import orjson
from faststream.redis import RedisBroker

from cdp_orders_async import CdpOrders
from cdp_orders_async.emulator import Emulator, Switches, running
from cdp_orders_async.engines import faststream
from cdp_orders_async.engines.delivery import Decision, deliver
from cdp_orders_async.engines.streams import Consumer, Entry
from cdp_orders_async.graph import parse_graph
from tests.cli.support import PARTS, TOKEN, Watched, orders, orders_v2
from tests.databases import running_server, stop_running_server
from tests.engines.brokers import RedisServer, redis_server
from tests.engines.processes import worker
from tests.engines.streaming import FAST, STREAM, Json, dead, publish, settled, until
from tests.ingest.expectations import pieces, stored, wanted

__all__ = ["Figures", "campaign", "latencies"]

POISON_SHARE = 0.02
PATIENCE = 900.0


@attrs.frozen
class Figures:
    """What a campaign came to."""

    events: int
    poison: int
    requests: int
    kills: int
    looked_up: int
    """Orders that were looked up before they were sent."""
    seconds: float
    lost: int
    doubled: int
    dead: int
    wrongly_dead: int

    @property
    def exact(self) -> bool:
        """Whether the server has each order once, and the dead letters are the poison."""
        return self.lost == self.doubled == self.wrongly_dead == 0 and self.dead == self.poison


def poison(number: int, draw: random.Random) -> bytes:
    """Return a message that is not an order."""
    order = {**orders(1)[0], "referenceId": f"poison-{number}"}
    return draw.choice(
        [
            b"no JSON %d" % number,
            orjson.dumps({**order, "colour": "red"}),
            orjson.dumps({**orders_v2(1)[0], "referenceId": f"poison-{number}"}),
            orjson.dumps({**order, "price": "much"}),
            b"%d" % number + b"x" * 5_000_000 if not number % 50 else orjson.dumps([order]),
        ]
    )


async def campaign(
    server: RedisServer,
    *,
    events: int,
    workers: int,
    kills: int,
    seed: int,
    dsn: str | None,
    twice: bool = False,
    options: Json | None = None,
) -> Figures:
    """Publish *events* and poison, kill workers at random moments, and count what is on the server in the end.

    *dsn*: the database of the journal that the workers share. *twice*: each event is published two times.
    """
    draw = random.Random(seed)  # noqa: S311 no secret
    good = orders(events)
    bad = [poison(number, draw) for number in range(round(events * POISON_SHARE))]
    messages: list[object] = [*good, *(good if twice else ()), *bad]
    draw.shuffle(messages)
    emulator = Watched()
    emulator.store.switches = Switches(upsert=False)
    began = time.monotonic()
    async with AsyncExitStack() as stack:
        base_url = await stack.enter_async_context(running(emulator))
        redis = await stack.enter_async_context(server.emptied())
        given: Json = {
            "api_token": TOKEN,
            "dsn": dsn,
            "deadline": 5.0,
            "claim_after": 5.6,
            "retry_after": 0.3,
            **(options or {}),
        }
        half = len(messages) // 2
        await publish(redis, *messages[:half])  # before the group is made
        processes = [await stack.enter_async_context(worker(server.url, base_url, **given)) for _ in range(workers)]
        await publish(redis, *messages[half:])
        requests = events * PARTS
        for moment in sorted(draw.randrange(requests // 10, requests * 9 // 10) for _ in range(kills)):
            async with asyncio.timeout(PATIENCE):
                while emulator.received < moment:  # noqa: ASYNC110 the workers are other processes
                    await asyncio.sleep(0.02)
            victim = draw.randrange(workers)
            processes[victim].kill()
            processes[victim] = await stack.enter_async_context(worker(server.url, base_url, **given))
        async with asyncio.timeout(PATIENCE):
            while not await settled(redis):  # noqa: ASYNC110 the workers are other processes
                await asyncio.sleep(0.1)
        seconds = time.monotonic() - began
        for process in processes:
            process.terminate()
        for process in processes:
            await process.end()
        rows = await dead(redis)
    want, have = pieces(wanted([parse_graph(order) for order in good])), pieces(stored(emulator))
    return Figures(
        events=events,
        poison=len(bad),
        requests=emulator.received,
        kills=kills,
        looked_up=emulator.requests["orders.list"],
        seconds=seconds,
        lost=(want - have).total(),
        doubled=(have - want).total(),
        dead=len(rows),
        wrongly_dead=len([row for row in rows if row["data"] not in bad]),
    )


@contextmanager
def _timed(acks: list[tuple[float, float]]) -> Generator[None]:
    """Note the end of each acknowledgement, and the seconds of the load before it."""
    loads: list[float] = []

    async def timed(*given: Any, **named: Any) -> Decision:  # noqa: ANN401 those of deliver
        decision = await deliver(*given, **named)
        assert decision.outcome is not None
        loads.append(decision.outcome.seconds)
        return decision

    class TimedConsumer(Consumer):
        async def ack(self, entry: Entry) -> None:
            await super().ack(entry)
            acks.append((time.perf_counter(), loads.pop()))

    with mock.patch.object(faststream, "deliver", timed), mock.patch.object(faststream, "Consumer", TimedConsumer):
        yield


async def latencies(server: RedisServer, count: int) -> list[float]:
    """Return, for *count* new orders one after the other, the seconds from the XADD to the ack without the load's."""
    emulator, acks = Emulator(), list[tuple[float, float]]()
    found: list[float] = []
    async with (
        running(emulator) as base_url,
        server.emptied() as redis,
        CdpOrders(base_url=base_url, client_key="key", api_token="token") as cdp,  # noqa: S106 of an emulator
    ):
        broker = RedisBroker(server.url)
        with _timed(acks):
            faststream.subscribe(broker, cdp, stream=STREAM, **FAST)
            await broker.start()

            async def acknowledged() -> bool:
                return bool(acks)

            for order in orders(count):
                sent = time.perf_counter()
                await publish(redis, order)
                await until(acknowledged)
                ((ended, load),) = acks
                found.append(ended - sent - load)
                acks.clear()
            await broker.stop()
    return found


def database() -> str:
    """Return the DSN of a new database of the one Postgres server of this process."""
    postgres = running_server()
    return postgres.dsn(postgres.create_database())


async def main(events: int, workers: int, kills: int, seed: int) -> int:
    """Run the campaigns and print their figures; return 1 if anything is not as it must be."""
    bad = 0
    with tempfile.TemporaryDirectory() as folder, redis_server(Path(folder)) as server:
        for name, journal, twice in (
            ("no journal", False, False),
            ("a shared journal", True, False),
            ("a shared journal, each event published twice", True, True),
        ):
            dsn = database() if journal else None
            figures = await campaign(
                server, events=events, workers=workers, kills=kills, seed=seed, dsn=dsn, twice=twice
            )
            bad += not figures.exact
            sys.stdout.write(f"{name}: {figures}\n")
            sys.stdout.flush()
        found = sorted(await latencies(server, 200))
        sys.stdout.write(
            f"beside its requests a new order takes {median(found) * 1000:.1f} ms (median), "
            f"{found[len(found) * 99 // 100] * 1000:.1f} ms (99 of 100), {found[-1] * 1000:.1f} ms (most)\n"
        )
    return int(bad > 0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("events", 2000), ("workers", 4), ("kills", 3), ("seed", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    try:
        raise SystemExit(asyncio.run(main(**vars(parser.parse_args()))))
    finally:
        stop_running_server()
