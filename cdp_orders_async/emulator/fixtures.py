"""A pytest fixture, which needs pytest-asyncio.

In your tests::

from cdp_orders_async.emulator.fixtures import cdp_emulator

async def test_mine(cdp_emulator: str) -> None:
    async with CdpOrders(base_url=cdp_emulator, client_key="key", api_token="token") as cdp:
        ...
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from cdp_orders_async.emulator.app import running

__all__ = ["cdp_emulator"]


@pytest_asyncio.fixture
async def cdp_emulator() -> AsyncIterator[str]:
    """Serve an empty emulator for one test, and give its base URL; its credentials are ``key`` and ``token``."""
    async with running() as base_url:
        yield base_url
