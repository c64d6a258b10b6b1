"""A worker as a process of its own: ``python -m tests.engines.worker JSON``. It prints what it is about to do."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import AsyncExitStack
from typing import Any
from unittest import mock

from faststream import FastStream
from faststream.redis import RedisBroker

from cdp_orders_async import CdpOrders, Settings, SqliteJournal
from cdp_orders_async.engines import streams
from cdp_orders_async.engines.faststream import subscribe
from tests.engines.journals import RemoteJournal
from tests.engines.streaming import STREAM, Fast


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
    journal: str | None = None,
    journal_port: int | None = None,
    graceful_timeout: float = 15.0,
    **options: Any,  # noqa: ANN401 options of a worker
) -> None:
    broker = RedisBroker(redis, graceful_timeout=graceful_timeout)
    app = FastStream(broker, logger=None)
    app.after_startup(lambda: say("started"))
    async with AsyncExitStack() as stack:
        settings = Settings(connections=20)
        cdp = CdpOrders(base_url=base_url, client_key="key", api_token=api_token, settings=settings)
        await stack.enter_async_context(cdp)
        if journal is not None:
            opened = await SqliteJournal.open(journal, identity=cdp.identity)
            options["journal"] = await stack.enter_async_context(opened)
        if journal_port is not None:
            options["journal"] = await stack.enter_async_context(RemoteJournal.connect(journal_port))
        subscribe(broker, cdp, **{"stream": STREAM, **Fast, **options})
        await app.run()
    say("ended")


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    if given.pop("held", False):
        with mock.patch("cdp_orders_async.engines.faststream.Consumer", HeldConsumer):
            asyncio.run(main(**given))
    else:
        asyncio.run(main(**given))
