"""What a client remembers of an order is what is on the server, also where a load of it did not end well."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest

from cdp_orders_async import MemoryJournal, OrderGraph, Outcome, PartVerdict, Resources, Verdict, ingest_one
from cdp_orders_async.emulator import Emulator
from tests.ingest.expectations import stored, wanted
from tests.ingest.network import Network, collected, loading
from tests.ingest.orders import Json, item, order, whole
from tests.ingest.runs import Case
from tests.ingest.serving import BASE
from tests.virtual import VirtualLoop, run

BAGS = OrderGraph(order=order(), items=(item(None, name="Bag"), item(None, name="Cap")))
BEFORE = OrderGraph(order=order(), items=(item("i1"),))
EDITED = OrderGraph(order=order(), items=(item("i1", price=Decimal(60)),))


@pytest.mark.parametrize("failing", ["items.update", "items.get"])
@pytest.mark.parametrize("has_journal", [True, False])
async def test_an_edit_that_failed_is_not_taken_for_done(failing: str, *, has_journal: bool) -> None:
    """An edit that was refused, or that could not be compared, is made by the next call of the same client."""
    emulator, journal, bad = Emulator(), MemoryJournal() if has_journal else None, set[str]()
    cdp = Resources(Network(emulator, lambda request: 400 if request.operation in bad else "ok"), BASE)
    await ingest_one(cdp, BEFORE, journal=journal)
    bad.add(failing)
    failed = await ingest_one(cdp, EDITED, journal=journal, on_existing="update")
    assert failed.verdict == Verdict.PARTIAL
    bad.clear()
    outcome = await ingest_one(cdp, EDITED, journal=journal, on_existing="update")
    assert outcome.verdict == Verdict.UPDATED
    assert stored(emulator) == wanted([EDITED])


@pytest.mark.parametrize("refused", [True, False])
async def test_a_journal_does_not_keep_an_order_complete_that_is_not(*, refused: bool) -> None:
    """Where the client knows of an edit and the journal does not, the journal learns that something differs."""
    case = Case.new()
    await case.load(BEFORE)
    cdp = Resources(case.network, BASE)
    edited = await ingest_one(cdp, EDITED, on_existing="update")
    assert edited.verdict == Verdict.UPDATED
    bad: dict[str, str | int] = {"items__update": 400} if refused else {}
    again = await case.load(BEFORE, "update" if refused else "keep", **bad)
    assert again.verdict == (Verdict.PARTIAL if refused else Verdict.KEPT)
    another = Resources(Network(case.network.emulator), BASE)
    outcome = await ingest_one(another, BEFORE, journal=case.journal, on_existing="update")
    assert outcome.verdict == Verdict.UPDATED
    assert case.holds(BEFORE)


@pytest.mark.parametrize("after", range(1, 11))
async def test_giving_up_while_looking_before_a_refusal(after: int) -> None:
    """An order that is looked through before anything of it is sent comes to its end when it is cancelled meanwhile."""
    emulator, reached = Emulator(), asyncio.Event()
    await ingest_one(Resources(Network(emulator), BASE), whole())
    network = Network(emulator)

    def fate(_: object) -> str:
        if len(network.requests) < after:
            return "ok"
        reached.set()
        return "hung"

    network.fate = fate
    cdp = Resources(network, BASE)
    task = asyncio.create_task(ingest_one(cdp, whole(), look_first=True, on_existing="fail", settle=0.0))
    await reached.wait()
    task.cancel()
    done, _ = await asyncio.wait({task}, timeout=60)
    assert done == {task}
    assert task.cancelled()
    assert asyncio.all_tasks() == {asyncio.current_task()}


def test_a_copy_of_an_order_that_left_something_open_is_no_other_order() -> None:
    """Of a new order an item is on the server that no part claims; its copy in the same input has the same content."""
    refusal: Json = {"status": 400, "code": 0, "message": "no"}
    fates: dict[str, list[str | Json]] = {"items.create": ["lost", "lost"], "items.list": [refusal]}
    network = Network(Emulator())
    network.fate = lambda request: (fates.get(request.operation) or ["ok"]).pop(0)

    async def both(loop: VirtualLoop) -> list[Outcome]:
        load = loading(loop, network, [BAGS, BAGS], open_orders=1)
        try:
            return await collected(load)
        finally:
            await load.aclose()

    first, second = run(both)
    assert [part.verdict for part in first.parts].count(PartVerdict.UNKNOWN) == 1
    assert len(first.leftovers) == 1
    assert second.verdict == Verdict.ALREADY
    assert stored(network.emulator) == wanted([BAGS])
