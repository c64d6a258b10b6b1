"""The extra emulator: its pages."""

from __future__ import annotations

import asyncio

import aiohttp

from cdp_orders_async import emulator


async def main() -> None:
    """Ask for each page."""
    async with emulator.running() as base_url, aiohttp.ClientSession() as session:
        for page in ("guests", "orders", "requests", "ledger", "switches", "faults"):
            async with session.get(f"{base_url}/__pages/{page}") as response:
                assert response.status == 200, page
                assert "<h1>" in await response.text(), page


asyncio.run(main())
