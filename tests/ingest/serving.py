"""The emulator over a socket, and clients of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial

import pytest

from cdp_orders_async import CdpOrders, Credentials, Load, Session, Settings
from cdp_orders_async.emulator import Emulator, running
from cdp_orders_async.ingest import entry
from tests.ingest.orders import Json
from tests.virtual import LoopbackLoop
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
async def virtually(
    loop: LoopbackLoop, monkeypatch: pytest.MonkeyPatch, emulator: Emulator, **settings: object
) -> AsyncGenerator[tuple[Session, str], None]:
    """Serve *emulator* over a socket in virtual time; give what makes resources on it, and that time to each load.

    Its times are those that a client has by default, but it has no deadline.
    """
    monkeypatch.setattr(entry, "Load", partial(Load, clock=loop.time))
    values: Json = {"trust_env": False, "deadline": None, **settings}
    async with running(emulator) as base_url:
        given = Credentials(KEY, TOKEN), over(Settings(**values))
        session = Session(base_url, *given, clock=loop.time, uniform=max)  # the longest wait of those
        try:
            yield session, base_url
        finally:
            await session.aclose()


@asynccontextmanager
async def serving(emulator: Emulator, **settings: object) -> AsyncGenerator[CdpOrders, None]:
    """Give a client of *emulator*."""
    async with served(emulator, **settings) as options, CdpOrders(**options) as cdp:
        yield cdp
