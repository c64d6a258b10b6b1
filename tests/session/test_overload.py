"""What a client takes for a sign of too much load."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from cdp_orders_async import CdpError, CdpOrders, Settings
from cdp_orders_async.emulator import Emulator, Faults, running
from cdp_orders_async.emulator.records import Json
from tests.ingest.orders import order


@pytest.mark.parametrize("rate", ["auto", 100])
@pytest.mark.parametrize(
    ("fault", "cut_for"),
    [
        ({"action": "status", "status": 429}, "429"),
        ({"action": "status", "status": 502}, "502"),
        ({"action": "status", "status": 503}, "503"),
        ({"action": "html", "status": 504}, "504"),
        ({"action": "html", "status": 522}, "522"),
        ({"action": "status", "status": 529}, "529"),
        ({"action": "reset"}, "a lost answer"),
        ({"action": "stall"}, "no answer in time"),
        ({"action": "status", "status": 500}, None),
        ({"action": "status", "status": 400}, None),
    ],
    ids=str,
)
async def test_what_is_taken_for_overload(fault: dict[str, Json], cut_for: str | None, rate: float) -> None:
    """429, what gateways and firewalls do, and silence lower the rate, and are said; nothing else does."""
    plan = Faults.of({"faults": [{"operation": "*", **fault}]})
    timeout = 0.2 if fault["action"] == "stall" else 30.0  # else a busy machine is late too
    settings = Settings(rate=rate, retries=0, timeout=timeout)
    async with (
        running(Emulator(faults=plan)) as base_url,
        CdpOrders(base_url=base_url, client_key="key", api_token="token", settings=settings) as cdp,  # noqa: S106
    ):

        async def create() -> None:
            with contextlib.suppress(CdpError):
                await cdp.orders.create(order())

        await asyncio.gather(*(create() for _ in range(7)))
        assert cdp.session.autorate is not None
        [state] = cdp.session.autorate.states()
        assert state.cut_for == cut_for
        assert (cdp.session.limiter.rate or 0) >= 10 if cut_for is None else (cdp.session.limiter.rate or 0) < 100


async def test_no_rate_has_nothing_to_find() -> None:
    """Without a rate nothing is measured, and one 429 holds up nobody else."""
    async with CdpOrders(base_url="http://127.0.0.1:1", bearer_token="t", settings=Settings()) as cdp:  # noqa: S106
        assert cdp.session.autorate is None
