"""A worker as a process of its own: ``python -m tests.engines.worker JSON``. It prints what it is about to do."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import AsyncExitStack
from typing import Unpack
from unittest import mock

from faststream import FastStream
from faststream.redis import RedisBroker

from cdp_orders_async import CdpOrders, PostgresJournal, Settings
from cdp_orders_async.engines import streams
from cdp_orders_async.engines.faststream import subscribe
from tests.engines.streaming import FAST, STREAM, Options


class HeldConsumer(streams.Consumer):
    """A consumer that never acknowledges: it says which order it would."""

    async def ack(self, entry: streams.Entry) -> None:
        """Stay between the write and the acknowledgement."""
        say("held", entry.id.decode())
        await asyncio.get_running_loop().create_future()


def say(*words: str) -> None:
    """Print *words* on a line at once."""
    sys.stdout.write(" ".join(words) + "\n")
    sys.stdout.flush()


async def main(  # noqa: D103 the module says it
    redis: str,
    base_url: str,
    *,
    api_token: str = "token",  # noqa: S107 of an emulator
    dsn: str | None = None,
    lease: float = 2.0,
    graceful_timeout: float = 15.0,
    **options: Unpack[Options],
) -> None:
    broker = RedisBroker(redis, graceful_timeout=graceful_timeout)
    app = FastStream(broker, logger=None)
    app.after_startup(lambda: say("started"))
    async with AsyncExitStack() as stack:
        settings = Settings(connections=20)
        cdp = CdpOrders(base_url=base_url, client_key="key", api_token=api_token, settings=settings)
        await stack.enter_async_context(cdp)
        if dsn is not None:
            journal = await PostgresJournal.open(dsn, identity=cdp.identity, lease=lease)
            options["journal"] = await stack.enter_async_context(journal)
        given: Options = {**FAST, **options}
        subscribe(broker, cdp, stream=STREAM, **given)
        await app.run()
    say("ended")


if __name__ == "__main__":
    arguments = json.loads(sys.argv[1])
    if arguments.pop("held", False):
        with mock.patch("cdp_orders_async.engines.faststream.Consumer", HeldConsumer):
            asyncio.run(main(**arguments))
    else:
        asyncio.run(main(**arguments))
