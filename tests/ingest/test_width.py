"""How much of one order is under way at once."""

from __future__ import annotations

from typing import TypeVar

import pytest

from cdp_orders_async import CdpOrders, Load, OrderGraph, Request, Settings, Verdict, ingest
from cdp_orders_async.emulator import Emulator, running
from cdp_orders_async.emulator.operations import Reply
from cdp_orders_async.emulator.service import Asked, Endpoint
from tests.ingest.support import Network, collected, item, loading, order
from tests.virtual import VirtualLoop, run

T = TypeVar("T")


class Crowd(Network):
    """A network that counts how many are on it at once, by order."""

    def __init__(self) -> None:
        super().__init__(Emulator())
        self.delay = 0.1
        self.now: dict[str, int] = {}
        self.most: dict[str, int] = {}

    async def send(self, request: Request[T], /) -> T:
        """Count a request under the path of its owner."""
        owner = request.path
        self.now[owner] = self.now.get(owner, 0) + 1
        self.most[owner] = max(self.most.get(owner, 0), self.now[owner])
        try:
            return await super().send(request)
        finally:
            self.now[owner] -= 1


@pytest.mark.parametrize(("orders", "items", "most"), [(1, 700, 512), (4, 200, 128), (200, 15, 4), (200, 99, 25)])
def test_parts_under_way_are_bounded(orders: int, items: int, most: int) -> None:
    """An order that is alone has hundreds of parts under way at once; among many others a few, a huge one a quarter."""

    async def main(loop: VirtualLoop) -> None:
        network = Crowd()
        graphs = [
            OrderGraph(order=order(f"A-{n}"), items=tuple(item(f"i{m}") for m in range(items))) for n in range(orders)
        ]
        load = loading(loop, network, graphs, open_orders=orders)
        assert {outcome.verdict for outcome in await collected(load)} == {Verdict.LOADED}
        await load.aclose()
        assert {count for path, count in network.most.items() if path.endswith("/orderItems")} == {most}
        assert len(network.requests) == orders * (1 + items)

    run(main)


class Onlooker(Emulator):
    """An emulator that knows the load, and counts at each request how many orders are about to begin."""

    load: Load
    most = 0

    def answer(self, endpoint: Endpoint, open_segments: list[str], asked: Asked) -> Reply:
        """Look, and answer."""
        self.most = max(self.most, sum(run.order.verdict is None for run in self.load.runs))
        return super().answer(endpoint, open_segments, asked)


@pytest.mark.parametrize(("connections", "look_first", "most"), [(40, False, 10), (2, False, 8), (40, True, 50)])
async def test_few_orders_are_about_to_begin(connections: int, look_first: bool, most: int) -> None:  # noqa: FBT001
    """However many orders may be open, no more wait to be created than soon will be: the rest stay in the input.

    Those that wait for lists to settle do not count, or one settling time would pass for each handful.
    """
    graphs = [OrderGraph(order=order(f"A-{n}"), items=(item("i1"), item("i2"))) for n in range(50)]
    server = Onlooker()
    async with running(server) as url:
        settings = Settings(connections=connections)
        cdp = CdpOrders(base_url=url, client_key="key", api_token="token", settings=settings)  # noqa: S106 no secret
        load = ingest(cdp, graphs, open_orders=100, look_first=look_first, settle=2.0)
        async with cdp, load as server.load:
            verdicts = {outcome.verdict async for outcome in server.load}
    assert verdicts == {Verdict.LOADED}
    assert server.most == most
    server.close()
