"""Orders that share a reference id, and lines that share an order."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import attrs
import pytest

from cdp_orders_async import MemoryJournal, OrderGraph, Request, Resources, Verdict, ingest
from cdp_orders_async.emulator import Emulator, Faults, Switches
from tests.ingest.support import (
    BASE,
    Json,
    Network,
    collected,
    count,
    item,
    later,
    order,
    refs,
    serving,
    stored,
    wanted,
    whole,
)


@pytest.mark.parametrize("upsert", [True, False])
async def test_the_same_line_twice_is_one_order(upsert: bool) -> None:  # noqa: FBT001 a parameter of the test
    """With a journal, a line that comes again finds what the first one made, also while that is under way."""
    emulator = Emulator(switches=Switches(upsert=upsert))
    async with serving(emulator) as cdp, ingest(cdp, [whole()] * 5, journal=MemoryJournal()) as load:
        outcomes = await collected(load)
    assert load.counts == {Verdict.LOADED: 1, Verdict.ALREADY: 4}
    assert len({tuple(sorted(refs([outcome]))) for outcome in outcomes}) == 1
    assert emulator.requests.total() == count([whole()])


async def test_lines_with_one_key_add_up() -> None:
    """An order whose items are spread over several lines gets all of them."""
    graphs = [OrderGraph(order=order(), items=(item(f"i{n}"),)) for n in range(5)]
    emulator, journal = Emulator(switches=Switches(upsert=False)), MemoryJournal()
    for verdicts in ({Verdict.LOADED}, {Verdict.ALREADY}):
        async with serving(emulator) as cdp, ingest(cdp, graphs, journal=journal) as load:
            assert {outcome.verdict async for outcome in load} == verdicts
    assert stored(emulator) == wanted([OrderGraph(order=order(), items=tuple(item(f"i{n}") for n in range(5)))])


async def test_orders_with_one_reference_id_do_not_mix() -> None:
    """Orders that share a reference id within two days come one after the other, so lost answers find their own."""
    graphs = [later(whole(), timedelta(hours=n)) for n in range(4)]
    script = ["ok", {"action": "close", "phase": "written"}] * 10
    plan: Json = {"faults": [{"operation": "*.create", "script": script}]}
    emulator = Emulator(switches=Switches(upsert=False), faults=Faults.of(plan))
    for journal in (MemoryJournal(), None):
        emulator.reset()
        async with serving(emulator) as cdp, ingest(cdp, graphs, journal=journal, settle=0.0) as load:
            outcomes = await collected(load)
        assert load.counts == {Verdict.LOADED: 4}
        assert len({outcome.ref for outcome in outcomes}) == 4
        assert stored(emulator) == wanted(graphs)


async def test_an_order_in_doubt_holds_up_its_namesakes() -> None:
    """While it is not known which order on the server is the first one's, no other with its reference id is sent."""
    graphs = [whole(), later(whole(), timedelta(hours=1)), whole("B")]
    bad: dict[str, str | int] = {"orders.create": "lost", "orders.list": 500}
    network = Network(Emulator(switches=Switches(upsert=False)), lambda one: bad.get(one.operation, "ok"))
    journal = MemoryJournal()
    async with ingest(Resources(network, BASE), graphs[:2], journal=journal, settle=0.0) as load:
        verdicts = {outcome.number: outcome.verdict async for outcome in load}
    assert verdicts == {1: Verdict.UNKNOWN, 2: Verdict.FAILED}
    bad.clear()
    async with ingest(Resources(network, BASE), graphs, journal=journal, settle=0.0) as load:
        assert {outcome.verdict async for outcome in load} == {Verdict.LOADED}
    assert stored(network.emulator) == wanted(graphs)


async def test_upserted_orders_share_what_is_on_the_server() -> None:
    """Where the server takes two lines for one order, both name it, and the items of both are there once."""
    one = OrderGraph(order=order(price=Decimal(1)), items=(item("i1"),))
    two = later(OrderGraph(order=order(price=Decimal(2)), items=(item("i2"),)), timedelta(hours=1))
    emulator, journal = Emulator(), MemoryJournal()
    for verdicts in ({Verdict.LOADED}, {Verdict.ALREADY}):
        async with serving(emulator) as cdp, ingest(cdp, [one, two], journal=journal) as load:
            outcomes = await collected(load)
        assert {outcome.verdict for outcome in outcomes} == verdicts
        assert len({outcome.ref for outcome in outcomes}) == 1
    assert stored(emulator) == wanted(
        [attrs.evolve(one, order=order(price=Decimal(2)), items=(*one.items, *two.items))]
    )


@pytest.mark.parametrize("journal", [MemoryJournal(), None])
async def test_an_order_of_another_line_is_not_taken(journal: MemoryJournal | None) -> None:
    """An order whose answer is lost is not taken for one that another line has made, though it could be that one."""
    graphs = [whole(), later(whole(), timedelta(hours=1))]
    fates = iter(["ok", "lost, not done"])

    def fate(request: Request[object]) -> str:
        return next(fates, "ok") if request.operation == "orders.create" else "ok"

    network = Network(Emulator(switches=Switches(upsert=False)), fate)
    async with ingest(Resources(network, BASE), graphs, journal=journal, settle=0.0) as load:
        assert {outcome.verdict async for outcome in load} == {Verdict.LOADED}
    assert stored(network.emulator) == wanted(graphs)
