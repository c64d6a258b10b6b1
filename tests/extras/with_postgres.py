"""The extra postgres: a journal and a rate in the database whose address is the argument."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime
from decimal import Decimal

from cdp_orders_async import CdpOrders, NewOrder, OrderGraph, PostgresJournal, PostgresLimiter, emulator, ingest_one

NEW = NewOrder(reference_id="A-1", ordered_at=datetime(2024, 1, 1, tzinfo=UTC), price=Decimal(50), currency_code="EUR")


async def main(dsn: str) -> None:
    """Load an order twice, with a journal and a shared rate."""
    async with (
        emulator.running() as base_url,
        await PostgresLimiter.open(dsn, name="eu", rate=100) as limiter,
        CdpOrders(base_url=base_url, client_key="key", api_token="token", shared_limiter=limiter) as cdp,  # noqa: S106 no secret
        await PostgresJournal.open(dsn, identity=cdp.identity) as journal,
    ):
        verdicts = [(await ingest_one(cdp, OrderGraph(order=NEW), journal=journal)).verdict for _ in range(2)]
    assert verdicts == ["loaded", "already"]


asyncio.run(main(sys.argv[1]))
