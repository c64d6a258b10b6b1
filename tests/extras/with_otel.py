"""The extra otel: an observer over OpenTelemetry's API, with no SDK."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from decimal import Decimal

from cdp_orders_async import CdpOrders, NewOrder, emulator
from cdp_orders_async.telemetry.otel import OtelObserver

NEW = NewOrder(reference_id="A-1", ordered_at=datetime(2024, 1, 1, tzinfo=UTC), price=Decimal(50), currency_code="EUR")


async def main() -> None:
    """Create an order that is observed."""
    async with (
        emulator.running() as base_url,
        CdpOrders(base_url=base_url, client_key="key", api_token="token", observers=[OtelObserver()]) as cdp,  # noqa: S106 no secret
    ):
        assert (await cdp.orders.create(NEW)).reference_id == "A-1"


asyncio.run(main())
