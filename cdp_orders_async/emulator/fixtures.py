"""Two pytest fixtures, for synchronous and asynchronous tests with any event loop.

In your tests::

from cdp_orders_async.emulator.fixtures import cdp_emulator, cdp_served

async def test_mine(cdp_emulator: str) -> None:
    async with CdpOrders(base_url=cdp_emulator, client_key="key", api_token="token") as cdp:
        ...

def test_a_slow_list(cdp_served: Served) -> None:
    cdp_served.switches = Switches(list_lag=2)
    asyncio.run(load(cdp_served.base_url))
    assert cdp_served.ledger()["requests"] == {"orders.create": 1}
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cdp_orders_async.emulator.threads import Served, in_thread

__all__ = ["cdp_emulator", "cdp_served"]


@pytest.fixture
def cdp_served() -> Iterator[Served]:
    """Serve an empty emulator for one test, and return it, to set switches and faults and to read state and ledger."""
    with in_thread() as served:
        yield served


@pytest.fixture
def cdp_emulator(cdp_served: Served) -> str:
    """Return the base URL of `cdp_served`, the emulator of this test; its credentials are ``key`` and ``token``."""
    return cdp_served.base_url
