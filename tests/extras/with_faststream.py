"""The extra faststream: a worker on the Redis whose address is the argument."""

from __future__ import annotations

import asyncio
import json
import sys

from faststream.redis import RedisBroker

from cdp_orders_async import CdpOrders, emulator
from cdp_orders_async.engines.faststream import subscribe

ORDER = {"referenceId": "A-1", "orderedAt": "2024-01-01T00:00:00Z", "price": 50, "currencyCode": "EUR"}


async def main(url: str) -> None:
    """Publish an order, and wait until it is loaded."""
    async with (
        emulator.running() as base_url,
        CdpOrders(base_url=base_url, client_key="key", api_token="token") as cdp,  # noqa: S106 no secret
        asyncio.timeout(30),
    ):
        broker = RedisBroker(url)
        subscribe(broker, cdp, stream="orders")
        await broker.start()
        try:
            await broker.publish(json.dumps(ORDER), stream="orders")
            while not [order async for order in cdp.orders.list(reference_id="A-1")]:  # noqa: ASYNC110 the worker makes it
                await asyncio.sleep(0.02)
        finally:
            await broker.stop()


asyncio.run(main(sys.argv[1]))
