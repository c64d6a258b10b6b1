"""How much of one order is under way at once."""

from __future__ import annotations

from typing import TypeVar

import pytest

from cdp_orders_async import OrderGraph, Request, Verdict
from cdp_orders_async.emulator import Emulator
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


@pytest.mark.parametrize(("orders", "items", "most"), [(1, 700, 512), (4, 200, 128), (200, 20, 4)])
def test_parts_under_way_are_bounded(orders: int, items: int, most: int) -> None:
    """An order that is alone has hundreds of parts under way at once, and among many others but a few."""

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
