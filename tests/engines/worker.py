"""What a worker does that is a process of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from multiprocessing.connection import Connection
from typing import Any, Unpack
from unittest import mock

from faststream import FastStream
from faststream.redis import RedisBroker

from cdp_orders_async import CdpOrders, PostgresJournal, Settings
from cdp_orders_async.engines import faststream, streams
from tests.engines.streaming import FAST, STREAM, Json, Options


def holding(tell: Callable[[str], None]) -> type[streams.Consumer]:
    """Return a consumer that never acknowledges: it tells when it would."""

    class HeldConsumer(streams.Consumer):
        async def ack(self, entry: streams.Entry) -> None:
            """Stay between the write and the acknowledgement."""
            tell(f"held {entry.id.decode()}")
            await asyncio.get_running_loop().create_future()

    return HeldConsumer


async def main(
    redis: str,
    base_url: str,
    *,
    api_token: str = "token",  # noqa: S107 of an emulator
    dsn: str | None = None,
    lease: float = 2.0,
    graceful_timeout: float = 15.0,
    **options: Unpack[Options],
) -> None:
    """Load the orders of the stream until a signal ends the process."""
    broker = RedisBroker(redis, graceful_timeout=graceful_timeout)
    app = FastStream(broker, logger=None)
    async with AsyncExitStack() as stack:
        settings = Settings(connections=20)
        cdp = CdpOrders(base_url=base_url, client_key="key", api_token=api_token, settings=settings)
        await stack.enter_async_context(cdp)
        if dsn is not None:
            journal = await PostgresJournal.open(dsn, identity=cdp.identity, lease=lease)
            options["journal"] = await stack.enter_async_context(journal)
        given: Options = {**FAST, **options}
        faststream.subscribe(broker, cdp, stream=STREAM, **given)
        await app.run()


def run(options: Json, steps: Connection[str, Any]) -> None:
    """Run a worker with *options*, and send its steps."""
    consumer = holding(steps.send) if options.pop("held", False) else streams.Consumer
    with mock.patch.object(faststream, "Consumer", consumer):
        asyncio.run(main(**options))
    steps.send("ended")
