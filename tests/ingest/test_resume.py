"""The next run on the same journal: after a kill, after failures, and with an input that has changed."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import attrs
import pytest

from cdp_orders_async import (
    MemoryJournal,
    NewContact,
    OrderGraph,
    Outcome,
    PartVerdict,
    Request,
    Resources,
    Verdict,
    ingest_one,
)
from cdp_orders_async.emulator import Emulator, Switches, running
from cdp_orders_async.ingest import OnExisting
from cdp_orders_async.wire import to_json
from tests.ingest.support import BASE, Network, add, consumer, count, item, later, order, person, stored, wanted, whole

ROOT = Path(__file__).parents[2]
GRAPHS = [whole(f"A-{n}") for n in range(30)]
CHILD = """
import asyncio, sys
from cdp_orders_async import CdpOrders, SqliteJournal, ingest
from tests.ingest.test_resume import GRAPHS

async def main():
    async with (
        CdpOrders(base_url=sys.argv[1], client_key="key", api_token="token") as cdp,
        await SqliteJournal.open(sys.argv[2], identity={}) as journal,
        ingest(cdp, GRAPHS, journal=journal, open_orders=5, settle=0.0) as load,
    ):
        assert {outcome.verdict async for outcome in load} <= {"loaded", "already"}

asyncio.run(main())
"""


async def test_killed_processes_leave_nothing_lost_or_doubled(tmp_path: Path) -> None:
    """A process that is killed at some moment, and another, and another: the last one completes the load."""
    emulator = Emulator(switches=Switches(upsert=False))
    async with running(emulator) as base_url:
        for target in (1, 20, 100, 250, None):
            child = await asyncio.create_subprocess_exec(
                sys.executable, "-c", CHILD, base_url, str(tmp_path / "J.sqlite"), cwd=ROOT
            )
            ends = asyncio.create_task(child.wait())
            while target is not None and emulator.requests.total() < target and not ends.done():
                await asyncio.wait({ends}, timeout=0.001)
            if target is not None and not ends.done():
                child.kill()
            status = await ends
            assert (status < 0) == (target is not None)
    assert stored(emulator) == wanted(GRAPHS)


@attrs.define
class Case:
    """A server, a journal, and what goes wrong on the way to the server."""

    network: Network
    journal: MemoryJournal = attrs.Factory(MemoryJournal)
    bad: dict[str, str | int] = attrs.Factory(dict[str, "str | int"])
    """Fates by operation."""

    @classmethod
    def new(cls) -> Case:
        """Return a case in which nothing goes wrong."""
        case = cls(Network(Emulator(switches=Switches(upsert=False))))
        case.network.fate = lambda request: case.bad.get(request.operation, "ok")
        return case

    async def load(self, graph: OrderGraph, on_existing: OnExisting = "keep", **bad: str | int) -> Outcome:
        """Load one order while some operations go wrong."""
        self.bad = {name.replace("__", "."): fate for name, fate in bad.items()}
        self.network.requests.clear()
        cdp = Resources(self.network, BASE)
        return await ingest_one(cdp, graph, journal=self.journal, on_existing=on_existing, settle=0.0)

    @property
    def asked(self) -> Counter[str]:
        """How often the last load asked for what."""
        return Counter(request.operation for request in self.network.requests)


def parts(outcome: Outcome, verdict: PartVerdict) -> set[str]:
    """Return the names of the parts with a verdict."""
    return {part.name for part in outcome.parts if part.verdict == verdict}


def differs(outcome: Outcome) -> dict[str, tuple[str, ...]]:
    """Return what was left as it is though the input says otherwise."""
    return {part.name: part.differs for part in outcome.parts if part.differs}


async def test_what_failed_is_tried_again_and_nothing_else() -> None:
    """A part that was refused takes one request in the next run, and what was blocked by it too."""
    case = Case.new()
    assert (await case.load(whole(), items__create=400)).verdict == Verdict.PARTIAL
    again = await case.load(whole())
    assert again.verdict == Verdict.LOADED
    assert case.asked == {"items.create": 5, "item_extensions.create": 2, "consumers.create": 1}
    assert stored(case.network.emulator) == wanted([whole()])


async def test_an_order_that_failed_is_tried_again() -> None:
    """An order that was refused leaves nothing in doubt, so the next run looks for nothing."""
    case = Case.new()
    assert (await case.load(whole(), orders__create=400)).verdict == Verdict.FAILED
    assert (await case.load(whole())).verdict == Verdict.LOADED
    assert case.asked.total() == count([whole()])


async def test_what_is_unknown_is_looked_up() -> None:
    """A part whose answer and whose look-ups failed is found by the next run, and not sent again."""
    case = Case.new()
    first = await case.load(whole(), contacts__create="lost", contacts__list=500)
    assert first.verdict == Verdict.UNKNOWN
    assert parts(first, PartVerdict.UNKNOWN) == {"contact"}
    again = await case.load(whole())
    assert again.verdict == Verdict.ALREADY
    assert case.asked == {"contacts.list": 1}
    assert (await case.load(whole())).verdict == Verdict.ALREADY
    assert case.asked.total() == 0
    assert stored(case.network.emulator) == wanted([whole()])


async def test_an_interrupted_order_is_looked_up_whole() -> None:
    """Where the journal knows only that an order was begun, each part is looked for before it is sent."""
    case = Case.new()
    await ingest_one(Resources(case.network, BASE), whole())
    assert await case.journal.begin(whole().key, b"whatever it was") is None
    outcome = await case.load(whole())
    assert outcome.verdict == Verdict.ALREADY
    assert [name for name in case.asked if name.endswith(".create")] == []
    assert len({part.ref for part in outcome.parts}) == count([whole()])


def changed() -> OrderGraph:
    """Return `whole` with a change in a part of each kind."""
    graph = whole()
    return attrs.evolve(
        graph,
        order=attrs.evolve(graph.order, channel="BRANCH"),
        contact=NewContact(**person("Eve", "1"), emails=("ann@example.com",)),
        items=(item("i1", {"seat": "2A"}, name="Bag"), *graph.items[1:]),
        consumers=(consumer("Ann", "1", uses=["i2"]), *graph.consumers[1:]),
        extension={"campaign": "summer", "visits": 3},
    )


CHANGES = {
    "order": ("channel",),
    "contact": ("first_name",),
    "items/0": ("name",),
    "items/0/ext": ("seat",),
    "consumers/0": ("order_items",),
    "ext": ("campaign",),
}


async def test_changed_parts_are_kept() -> None:
    """What differs is left as it is and said so, with every run, until the input is what is there."""
    case = Case.new()
    await case.load(whole())
    for _ in range(2):
        kept = await case.load(changed())
        assert (kept.verdict, differs(kept)) == (Verdict.ALREADY, CHANGES)
        assert {name.partition(".")[2] for name in case.asked} == {"get"}
    assert stored(case.network.emulator) == wanted([whole()])
    back = await case.load(whole())
    assert (back.verdict, differs(back)) == (Verdict.ALREADY, {})
    await case.load(whole())
    assert case.asked.total() == 0


async def test_changed_parts_are_updated() -> None:
    """With ``update`` what differs is brought up to the input, and then it is known."""
    case = Case.new()
    await case.load(whole())
    updated = await case.load(changed(), "update")
    assert updated.verdict == Verdict.LOADED
    assert parts(updated, PartVerdict.UPDATED) == CHANGES.keys()
    assert stored(case.network.emulator) == wanted([changed()])
    assert (await case.load(changed(), "fail")).verdict == Verdict.ALREADY
    assert case.asked.total() == 0


async def test_changed_parts_are_refused() -> None:
    """With ``fail`` what differs is a conflict that changes nothing and stays one, until it may be updated."""
    case = Case.new()
    await case.load(whole())
    for _ in range(2):
        refused = await case.load(changed(), "fail")
        assert (refused.verdict, differs(refused)) == (Verdict.CONFLICT, {"order": ("channel",)})
        assert parts(refused, PartVerdict.CONFLICT) == {"order"}
        assert refused.ref is not None
    assert stored(case.network.emulator) == wanted([whole()])
    assert (await case.load(changed(), "update")).verdict == Verdict.LOADED
    assert stored(case.network.emulator) == wanted([changed()])


async def test_an_update_that_fails_is_made_by_the_next_run() -> None:
    """A part that is there and could not be changed has failed: it is neither in doubt nor sent anew."""
    case = Case.new()
    await case.load(whole())
    failed = await case.load(changed(), "update", items__update=400, item_extensions__replace=400)
    assert failed.verdict == Verdict.PARTIAL
    assert parts(failed, PartVerdict.FAILED) == {"items/0"}
    again = await case.load(changed(), "update")
    assert parts(again, PartVerdict.UPDATED) == {"items/0", "items/0/ext"}
    assert stored(case.network.emulator) == wanted([changed()])


async def test_a_lost_update_is_made_again() -> None:
    """A change only sets values, so one whose answer is lost is sent again."""
    case = Case.new()
    await case.load(whole())
    fates = iter(["lost", "lost, not done"])
    case.network.fate = lambda request: next(fates, "ok") if request.operation == "contacts.update" else "ok"
    updated = await ingest_one(
        Resources(case.network, BASE), changed(), journal=case.journal, on_existing="update", settle=0.0
    )
    assert "contact" in parts(updated, PartVerdict.UPDATED)
    assert stored(case.network.emulator) == wanted([changed()])


async def test_a_part_that_is_new_in_the_input_is_added() -> None:
    """A line that has one item more than before takes one request."""
    case = Case.new()
    await case.load(whole())
    more = attrs.evolve(whole(), items=(item("i3"), *whole().items))
    assert (await case.load(more)).verdict == Verdict.LOADED
    assert case.asked == {"items.create": 1}
    assert stored(case.network.emulator) == wanted([more])


async def test_a_new_part_is_not_taken_for_an_old_one() -> None:
    """An item that looks like one that the input has no more, or has further down, is an item of its own."""
    case = Case.new()
    described = OrderGraph(order=order(), items=(item(description="window"),))
    await case.load(described)
    plain = attrs.evolve(described, items=(item(), item(description="window")))
    await case.journal.begin(plain.key, b"killed right then")
    assert (await case.load(plain)).verdict == Verdict.LOADED
    assert stored(case.network.emulator) == wanted([plain])


async def test_parts_stay_in_doubt_when_their_order_fails() -> None:
    """Where the server took two lines for one order, the second's parts are looked up even if it was refused."""
    case = Case.new()
    case.network.emulator = Emulator()
    one = OrderGraph(order=order(), items=(item("i1"),))
    two = later(OrderGraph(order=order(), items=(item("i2"), item("i3"))), timedelta(hours=1))
    await case.load(one)
    await ingest_one(Resources(case.network, BASE), two)
    await case.journal.begin(two.key, b"killed before anything was recorded")
    assert (await case.load(two, orders__create=400)).verdict == Verdict.UNKNOWN
    assert (await case.load(two)).verdict == Verdict.LOADED
    assert case.asked == {"orders.list": 1, "orders.create": 1, "items.list": 1}
    assert stored(case.network.emulator) == wanted([attrs.evolve(one, items=(*one.items, *two.items))])


async def test_a_part_that_the_input_has_no_more_stays() -> None:
    """Nothing is deleted, and an item that comes back is known."""
    case = Case.new()
    await case.load(whole())
    fewer = attrs.evolve(whole(), items=whole().items[:2])
    assert (await case.load(fewer)).verdict == Verdict.ALREADY
    assert (await case.load(whole())).verdict == Verdict.ALREADY
    assert case.asked.total() == 0
    assert stored(case.network.emulator) == wanted([whole()])


async def test_a_line_in_another_order_is_the_same_line() -> None:
    """Items and consumers that change places are known by what they are."""
    case = Case.new()
    await case.load(whole())
    turned = attrs.evolve(whole(), items=whole().items[::-1], consumers=whole().consumers[::-1])
    assert (await case.load(turned)).verdict == Verdict.ALREADY
    assert case.asked.total() == 0


@pytest.mark.parametrize("gone", ["orders", "items"])
async def test_what_somebody_deleted_is_not_brought_back(gone: str) -> None:
    """What the journal knows and the server has no more is told as a failure; it is for a person to decide."""
    case = Case.new()
    await case.load(whole())
    cdp = Resources(case.network, BASE)
    [known] = [one async for one in cdp.orders.list(reference_id="A")]
    if gone == "orders":
        await cdp.orders.delete(known.ref)
    else:
        [first] = [one.ref async for one in cdp.items.list(known.ref) if one.reference_id == "i1"]
        await cdp.items.delete(first)
    left = stored(case.network.emulator)
    outcome = await case.load(attrs.evolve(changed(), order=whole().order if gone == "items" else changed().order))
    failures = {part.name: part.failure.kind for part in outcome.parts if part.failure is not None}
    assert failures == {"order" if gone == "orders" else "items/0": "NotFound"}
    assert stored(case.network.emulator) == left


async def test_parts_of_a_deleted_order_fail() -> None:
    """A part that is sent to an order that is gone has failed, and is not in doubt."""
    case = Case.new()
    await case.load(whole(), contacts__create=400)
    cdp = Resources(case.network, BASE)
    [known] = [one async for one in cdp.orders.list(reference_id="A")]
    await cdp.orders.delete(known.ref)
    outcome = await case.load(whole())
    assert parts(outcome, PartVerdict.FAILED) == {"contact"}
    assert outcome.verdict == Verdict.PARTIAL


async def test_a_conflict_is_looked_at_again() -> None:
    """When a person has cleared up what could be the part, the next run goes on."""
    case = Case.new()
    graph = OrderGraph(order=order(), contact=NewContact(**person("Ann", "1")))

    assert (await case.load(graph, contacts__create="lost, not done", contacts__list=500)).verdict == Verdict.UNKNOWN
    for city in ("Cork", "Kerry"):
        add(case.network.emulator, "contacts", to_json(NewContact(**person("Eve", "1"), city=city)))
    for _ in range(2):
        outcome = await case.load(graph)
        assert (outcome.verdict, parts(outcome, PartVerdict.CONFLICT)) == (Verdict.CONFLICT, {"contact"})
    cdp = Resources(case.network, BASE)
    for one in list(case.network.emulator.store.all("contacts")):
        await cdp.contacts.delete(UUID(one.ref))
    assert (await case.load(graph)).verdict == Verdict.LOADED
    assert stored(case.network.emulator) == wanted([graph])


async def test_whatever_came_of_it_is_said_the_same_way_again() -> None:
    """The outcomes of a resumed load name the same references as those of the load that made them."""
    case = Case.new()
    made = await case.load(whole())
    known = await case.load(whole())
    assert {part.name: part.ref for part in made.parts} == {part.name: part.ref for part in known.parts}
    assert parts(known, PartVerdict.FOUND) == {part.name for part in known.parts}


async def test_requests_are_the_bodies_that_were_planned() -> None:
    """Each create sends exactly its part, consumers with absolute links to their items."""
    case = Case.new()
    await case.load(whole())
    [linked] = [one for one in case.network.requests if b"orderItems" in (one.body or b"")]
    assert linked.operation == "consumers.create"
    assert (linked.body or b"").count(f'"href":"{BASE}/v2.1/orderItems/'.encode()) == 2
    first: Request[object] = case.network.requests[0]
    assert (first.operation, first.creates, first.looked_up, first.stage) == ("orders.create", True, True, 0)
    assert to_json(whole().order)["referenceId"].encode() in (first.body or b"")
