"""What a client takes for a sign of too much load."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from cdp_orders_async import CdpError, CdpOrders, Resources, Settings
from cdp_orders_async.emulator import Emulator, Faults, running
from cdp_orders_async.emulator.records import Json
from tests.ingest.orders import order
from tests.session.calling import TOKEN, calling
from tests.session.endings import Loop
from tests.virtual import run_in


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
def test_what_is_taken_for_overload(fault: dict[str, Json], cut_for: str | None, rate: float) -> None:
    """429, what gateways and firewalls do, and silence lower the rate, and are said; nothing else does."""
    plan = Faults.of({"faults": [{"operation": "*", **fault}]})
    settings = Settings(rate=rate, retries=0, timeout=3, trust_env=False)

    async def main(loop: Loop) -> None:
        async with (
            running(Emulator(api_token=TOKEN, faults=plan)) as url,
            calling(url, settings, clock=loop.time) as session,
        ):
            cdp = Resources(session, url)

            async def create() -> None:
                with contextlib.suppress(CdpError):
                    await cdp.orders.create(order())

            await asyncio.gather(*(create() for _ in range(7)))
            assert session.autorate is not None
            [state] = session.autorate.states()
            assert state.cut_for == cut_for
            assert (session.limiter.rate or 0) >= 10 if cut_for is None else (session.limiter.rate or 0) < 100

    run_in(Loop, main)


async def test_no_rate_has_nothing_to_find() -> None:
    """Without a rate nothing is measured, and one 429 holds up nobody else."""
    async with CdpOrders(base_url="http://127.0.0.1:1", bearer_token="t", settings=Settings()) as cdp:  # noqa: S106
        assert cdp.session.autorate is None
