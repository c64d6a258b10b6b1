"""How much of a load is under way at once."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import TypeVar

import pytest

from cdp_orders_async import OrderGraph, Request, Resources, Settings, Verdict, ingest
from cdp_orders_async.emulator import Emulator, Faults, running
from cdp_orders_async.emulator.operations import Reply
from cdp_orders_async.emulator.records import Json
from cdp_orders_async.emulator.service import Asked, Endpoint
from cdp_orders_async.session import Session
from cdp_orders_async.settings import Credentials
from tests.ingest.expectations import stored, wanted
from tests.ingest.network import Network, collected, loading
from tests.ingest.orders import count, item, order, sample
from tests.ingest.serving import KEY, TOKEN, serving
from tests.virtual import VirtualLoop, run

T = TypeVar("T")


class Crowd(Network):
    """A network that counts how many are on it at once."""

    now = most = 0

    async def send(self, request: Request[T], /) -> T:
        """Count a request."""
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            return await super().send(request)
        finally:
            self.now -= 1


@pytest.mark.parametrize(("orders", "items", "most"), [(1, 700, 100), (4, 200, 100), (300, 3, 100), (1, 40, 40)])
def test_parts_under_way_are_bounded(orders: int, items: int, most: int) -> None:
    """Where nobody says how many connections there are, a hundred parts are under way, of however few orders."""

    async def main(loop: VirtualLoop) -> None:
        network = Crowd(Emulator())
        network.delay = 0.1
        graphs = [
            OrderGraph(order=order(f"A-{n}"), items=tuple(item(f"i{m}") for m in range(items))) for n in range(orders)
        ]
        load = loading(loop, network, graphs, open_orders=orders)
        assert {outcome.verdict for outcome in await collected(load)} == {Verdict.LOADED}
        await load.aclose()
        assert network.most == most
        assert len(network.requests) == orders * (1 + items)

    run(main)


async def test_no_call_of_a_load_alone_waits_for_a_connection() -> None:
    """As many parts are under way as there are connections, and no more, so that none is kept waiting for one."""
    graphs = await sample()
    emulator = Emulator()
    async with serving(emulator, connections=7) as cdp, ingest(cdp, graphs) as load:
        assert {outcome.verdict for outcome in await collected(load)} == {Verdict.LOADED}
        assert load.times.connection == 0
        assert load.times.server > 0
    assert stored(emulator) == wanted(graphs)


class Recorder(Emulator):
    """An emulator that remembers what it was asked for, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[str] = []

    def answer(self, endpoint: Endpoint, open_segments: list[str], asked: Asked) -> Reply:
        """Remember, and answer."""
        self.operations.append(endpoint.operation)
        return super().answer(endpoint, open_segments, asked)


async def test_what_was_begun_is_finished_first() -> None:
    """An order is taken from the input when no part of the others is left to send, and the deepest parts go first."""
    graphs = (await sample())[:10]
    server = Recorder()
    # On a busy machine a shorter limit would pass, and what was looked up then would be counted.
    async with serving(server, connections=1, timeout=60) as cdp, ingest(cdp, graphs) as load:
        assert {outcome.verdict for outcome in await collected(load)} == {Verdict.LOADED}
    orders = [n for n, operation in enumerate(server.operations) if operation == "orders.create"]
    assert orders == [0, *itertools.accumulate(count([graph]) for graph in graphs[:-1])]
    before = [server.operations[n - 1] for n, one in enumerate(server.operations) if one == "item_extensions.create"]
    assert before
    assert set(before) == {"items.create"}


class Onlooker(Emulator):
    """An emulator that counts, at each request, how many orders were taken from the input and are not created yet."""

    taken = most = 0

    def answer(self, endpoint: Endpoint, open_segments: list[str], asked: Asked) -> Reply:
        """Look, and answer."""
        self.most = max(self.most, self.taken - self.store.counts["orders.create"])
        return super().answer(endpoint, open_segments, asked)

    def watch(self, graphs: Sequence[OrderGraph]) -> Iterator[OrderGraph]:
        """Give orders, and count them."""
        for graph in graphs:
            self.taken += 1
            yield graph


@pytest.mark.parametrize(
    ("connections", "look_first", "most"), [(40, False, 20), (2, False, 1), (40, True, 50), (2, True, 50)]
)
def test_few_orders_are_about_to_begin(connections: int, look_first: bool, most: int) -> None:  # noqa: FBT001
    """However many orders may be open, no more wait to be created than soon will be: the rest stay in the input.

    Those that wait for lists to settle do not count, or one settling time would pass for each handful.
    """

    async def main(loop: VirtualLoop) -> None:
        graphs = [OrderGraph(order=order(f"A-{n}"), items=(item("i1"), item("i2"))) for n in range(50)]
        server = Onlooker()
        network = Network(server)
        network.delay = 0.01
        orders = server.watch(graphs)
        load = loading(loop, network, orders, open_orders=100, look_first=look_first, width=connections)
        assert {outcome.verdict for outcome in await collected(load)} == {Verdict.LOADED}
        await load.aclose()
        assert server.most == most

    run(main)


class Listener(Emulator):
    """An emulator that knows after which orders it was asked, in order; what it refuses by a fault does not count."""

    def __init__(self) -> None:
        refusal: Json = {"action": "status", "phase": "before", "status": 500}
        super().__init__(faults=Faults.of({"faults": [{"operation": "orders.list", "script": [refusal]}]}))
        self.asked_after: list[str] = []

    def answer(self, endpoint: Endpoint, open_segments: list[str], asked: Asked) -> Reply:
        """Listen, and answer."""
        if endpoint.operation == "orders.list":
            self.asked_after.append(asked.query["referenceId"])
        return super().answer(endpoint, open_segments, asked)


async def test_a_call_that_waits_to_be_sent_again_holds_nobody_up() -> None:
    """Over one connection, the next order is looked for while a look-up that failed waits for its second try."""
    server = Listener()
    async with running(server) as url:
        settings = Settings(connections=1, trust_env=False)
        session = Session(url, Credentials(KEY, TOKEN), settings, uniform=lambda _, __: 1.0)
        graphs = [OrderGraph(order=order(name)) for name in ("first", "second")]
        async with ingest(Resources(session, url), graphs, look_first=True, settle=0) as load:
            assert {outcome.verdict for outcome in await collected(load)} == {Verdict.LOADED}
        await session.aclose()
    server.close()
    assert server.asked_after[0] == "second"
