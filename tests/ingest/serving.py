"""The emulator over a socket, and clients of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from cdp_orders_async import CdpOrders, Settings
from cdp_orders_async.emulator import Emulator, running
from tests.ingest.orders import Json
from tests.ways import over

BASE = "http://127.0.0.1"
KEY, TOKEN = "key", "token"


@asynccontextmanager
async def served(emulator: Emulator, **settings: object) -> AsyncGenerator[Json, None]:
    """Serve *emulator* over a socket; give what makes a client of it that tries everything once.

    It waits as long as any client, since a busy machine is late too.
    """
    values: Json = {"retries": 0, "connections": 20, **settings}
    async with running(emulator) as base_url:
        yield {"base_url": base_url, "client_key": KEY, "api_token": TOKEN, "settings": over(Settings(**values))}


@asynccontextmanager
async def serving(emulator: Emulator, **settings: object) -> AsyncGenerator[CdpOrders, None]:
    """Give a client of *emulator*."""
    async with served(emulator, **settings) as options, CdpOrders(**options) as cdp:
        yield cdp
