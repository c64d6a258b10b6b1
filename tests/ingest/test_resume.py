"""The next run on the same journal: after a kill and after failures."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import attrs
import pytest

from cdp_orders_async import (
    MemoryJournal,
    NewContact,
    OrderGraph,
    PartVerdict,
    Request,
    Resources,
    Verdict,
    ingest_one,
)
from cdp_orders_async.emulator import Emulator, Switches, running
from cdp_orders_async.ingest.parts import digest_of_parts, parts_of
from cdp_orders_async.journal import Busy, Claimed, OrderId
from cdp_orders_async.wire import to_json
from tests.ingest.expectations import stored, wanted
from tests.ingest.network import Network, add
from tests.ingest.orders import count, item, order, person, whole
from tests.ingest.runs import Case, crash, parts
from tests.ingest.serving import BASE
from tests.ingest.versions import NEW, OLD, Version, in_both_versions

ROOT = Path(__file__).parents[2]
GRAPHS = [whole(f"A-{n}") for n in range(30)]
CHILD = """
import asyncio, sys
from cdp_orders_async import SqliteJournal, ingest
from tests.ingest.versions import VERSIONS
from tests.ingest.test_resume import GRAPHS

async def main():
    (version,) = [one for one in VERSIONS if str(one) == sys.argv[3]]
    async with (
        version.client(base_url=sys.argv[1], client_key="key", api_token="token") as cdp,
        await SqliteJournal.open(sys.argv[2], identity={}) as journal,
        ingest(cdp, map(version.of, GRAPHS), journal=journal, open_orders=5, settle=0.0) as load,
    ):
        assert {outcome.verdict async for outcome in load} <= {"loaded", "already"}

asyncio.run(main())
"""


class LateJournal(MemoryJournal):
    """A journal whose claims are never answered while *late* is set: that says that one was made."""

    late: asyncio.Event | None = None

    async def claim(
        self, order: OrderId, digest: bytes, *, run: bytes = b"", number: int = 0, sends: bool = False
    ) -> Claimed | Busy:
        """Claim *order*."""
        claim = await super().claim(order, digest, run=run, number=number, sends=sends)
        if self.late is not None:
            self.late.set()
            await asyncio.get_running_loop().create_future()
        return claim


@in_both_versions
async def test_killed_processes_leave_nothing_lost_or_doubled(tmp_path: Path, version: Version) -> None:
    """A process that is killed at some moment, and another, and another: the last one completes the load."""
    emulator = Emulator(switches=Switches(upsert=False))
    async with running(emulator) as base_url:
        for target in (1, 20, 100, 250, None):
            child = await asyncio.create_subprocess_exec(
                sys.executable, "-c", CHILD, base_url, str(tmp_path / "J.sqlite"), str(version), cwd=ROOT
            )
            ends = asyncio.create_task(child.wait())
            while target is not None and emulator.requests.total() < target and not ends.done():
                await asyncio.wait({ends}, timeout=0.001)
            if target is not None and not ends.done():
                child.kill()
            status = await ends
            assert (status < 0) == (target is not None)
    assert stored(emulator) == wanted(map(version.of, GRAPHS))


@in_both_versions
async def test_what_failed_is_tried_again_and_nothing_else(version: Version) -> None:
    """A part that was refused takes one request in the next run, and what was blocked by it too."""
    case = Case.new(version)
    assert (await case.load(whole(), items__create=400)).verdict == Verdict.PARTIAL
    again = await case.load(whole())
    assert again.verdict == Verdict.LOADED
    extensions = {"item_extensions.create": 2} if version is NEW else {}
    assert case.asked == {"items.create": 5, "consumers.create": 1, **extensions}
    assert case.holds(whole())


async def test_an_order_that_failed_is_tried_again() -> None:
    """An order that was refused leaves nothing in doubt, so the next run looks for nothing."""
    case = Case.new()
    assert (await case.load(whole(), orders__create=400)).verdict == Verdict.FAILED
    assert (await case.load(whole())).verdict == Verdict.LOADED
    assert case.asked.total() == count([whole()])


@in_both_versions
async def test_what_is_unknown_is_looked_up(version: Version) -> None:
    """A part whose answer and whose look-ups failed is found by the next run, and not sent again."""
    case = Case.new(version)
    first = await case.load(whole(), contacts__create="lost", contacts__list=500)
    assert first.verdict == Verdict.UNKNOWN
    assert parts(first, PartVerdict.UNKNOWN) == {"contact"}
    again = await case.load(whole())
    assert again.verdict == Verdict.ALREADY
    # A list of version 2 names no next page, so that it ends with an empty one.
    assert case.asked == ({"contacts.list": 1} if version is NEW else {"contacts.list": 2, "contacts.get": 1})
    assert (await case.load(whole())).verdict == Verdict.ALREADY
    assert case.asked.total() == 0
    assert case.holds(whole())


async def test_only_what_could_be_the_part_is_fetched() -> None:
    """Where lists are links, those to what is known to be another part are not followed."""
    case = Case.new(OLD)
    graph = OrderGraph(order=order(), items=tuple(item(f"i{n}") for n in range(20)))
    await case.load(attrs.evolve(graph, items=graph.items[:-1]))
    fates = iter(["lost"])
    case.network.fate = lambda request: next(fates, "ok") if request.operation == "items.create" else "ok"
    outcome = await ingest_one(OLD.resources(case.network, BASE), OLD.of(graph), journal=case.journal, settle=0.0)
    assert outcome.verdict == Verdict.LOADED
    assert (case.asked["items.list"], case.asked["items.get"]) == (2, 1)  # two pages, the last one is empty
    assert case.holds(graph)


@in_both_versions
async def test_an_interrupted_order_is_looked_up_whole(version: Version) -> None:
    """Where the journal knows only that an order was begun, each part is looked for before it is sent."""
    case = Case.new(version)
    await ingest_one(version.resources(Network(case.network.emulator), BASE), version.of(whole()))
    await crash(case.journal, whole())
    outcome = await case.load(whole())
    assert outcome.verdict == Verdict.ALREADY
    assert [name for name in case.asked if name.endswith(".create")] == []
    assert len({part.ref for part in outcome.parts}) == count([version.of(whole())])


async def test_a_claim_that_is_cancelled_settles_nothing() -> None:
    """An order that was left open stays open where the next run is cancelled before it knows so."""
    journal = LateJournal()
    case = attrs.evolve(Case.new(), journal=journal)
    await ingest_one(Resources(Network(case.network.emulator), BASE), whole())
    await crash(journal, whole())
    journal.late = asyncio.Event()
    task = asyncio.create_task(case.load(whole()))
    await journal.late.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    journal.late = None
    assert (await case.load(whole())).verdict == Verdict.ALREADY
    assert case.holds(whole())


async def test_a_twin_keeps_its_thing_where_an_edit_was_interrupted() -> None:
    """A run that died before it could note which of the things each of the items is leaves that to the next run."""
    case = Case.new()
    seat, other = item("i1", name="Seat"), item("i2", name="Bag")
    first = await case.load(OrderGraph(order=order(), items=(item("i1", name="Bag"), seat)))
    edited = OrderGraph(order=order(), items=(other, seat))
    await crash(case.journal, edited, digest_of_parts(parts_of(edited)))
    again = await case.load(edited, on_existing="update")
    refs = {part.name: part.ref for part in first.parts}
    assert {part.name: part.ref for part in again.parts}["items/1"] == refs["items/1"]
    assert parts(again, PartVerdict.FOUND) == {"order", "items/1"}
    assert [left.ref for left in again.leftovers] == [refs["items/0"]]


async def test_an_interrupted_order_that_is_refused_is_not_in_doubt() -> None:
    """Where an order is not there, no part of it can be: refused, it has failed, and the next run sends it whole."""
    case = Case.new()
    await crash(case.journal, whole())
    refused = await case.load(whole(), orders__create=400)
    assert (refused.verdict, parts(refused, PartVerdict.FAILED)) == (Verdict.FAILED, {"order"})
    assert case.asked == {"orders.list": 1, "orders.create": 1}
    assert (await case.load(whole())).verdict == Verdict.LOADED
    assert case.asked.total() == count([whole()])
    assert case.holds(whole())


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
    assert (first.operation, first.creates) == ("orders.create", True)
    assert to_json(whole().order)["referenceId"].encode() in (first.body or b"")


REMOVED: Mapping[str, Mapping[str, Any]] = {
    "contacts": {"contact": None},
    "consumers": {"consumers": ()},
    "items": {"items": (item("i1", {"seat": "1A"}),), "consumers": ()},
    "order_extensions": {"extension": None},
    "item_extensions": {"items": (item("i1"), *whole().items[1:])},
}
"""What an edit takes from a whole order, by the kind of a part that is left over. Version 2 documents no extensions."""


@pytest.mark.parametrize(
    ("version", "kind"), [*[(NEW, kind) for kind in REMOVED], *[(OLD, kind) for kind in list(REMOVED)[:3]]], ids=str
)
async def test_what_a_killed_run_made_is_a_leftover_of_the_edited_input(version: Version, kind: str) -> None:
    """The killed run recorded nothing of what it sent, and the input lacks a part of it: each later run names it."""
    case = Case.new(version)
    await case.load(whole())
    case.journal = MemoryJournal()
    case.network = Network(case.network.emulator)
    await crash(case.journal, whole())
    left = attrs.evolve(whole(), **REMOVED[kind])
    for run in range(3):
        outcome = await case.load(left)
        assert outcome.verdict == Verdict.ALREADY
        assert kind in {one.kind for one in outcome.leftovers}
        assert run == 0 or not case.asked
    back = await case.load(whole())
    assert (back.verdict, back.leftovers, case.holds(whole())) == (Verdict.ALREADY, (), True)


async def test_an_order_that_a_killed_run_did_not_make_has_no_leftovers() -> None:
    """Nothing is looked for under an order that is not there, and nothing stays in doubt in the journal."""
    case = Case.new()
    await crash(case.journal, whole())
    assert (await case.load(whole())).verdict == Verdict.LOADED
    assert case.asked == {"orders.list": 1, **Counter(f"{part.kind}.create" for part in parts_of(whole()))}
    records = [one.record async for one in case.journal.orders()]
    assert [len(record.parts) for record in records] == [count([whole()])]
