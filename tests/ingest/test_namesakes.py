"""Orders that share a reference id: within two days they are one order to the server, so only one of them is sent."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import TypeVar

import attrs
import pytest

from cdp_orders_async import (
    CdpOrders,
    InputLine,
    MemoryJournal,
    NewContact,
    Order,
    OrderGraph,
    Outcome,
    PartVerdict,
    Request,
    Resources,
    SqliteJournal,
    Verdict,
    ingest,
    ingest_one,
)
from cdp_orders_async.emulator import Emulator, Faults, Switches
from cdp_orders_async.ingest import OnExisting
from cdp_orders_async.wire import to_json
from tests.ingest.expectations import refs, stored, wanted
from tests.ingest.network import Network, add
from tests.ingest.orders import WHEN, Json, count, item, later, order, person, whole
from tests.ingest.runs import Case, crash
from tests.ingest.serving import BASE, serving
from tests.ingest.versions import Version, in_both_versions

T = TypeVar("T")

under_both_readings = pytest.mark.parametrize("upsert", [True, False])
with_and_without_a_journal = pytest.mark.parametrize("journaled", [True, False])


def bought(name: str, price: int, apart: timedelta = timedelta(0)) -> OrderGraph:
    """Return the order of somebody, some time after the first one."""
    graph = OrderGraph(order=order(price=Decimal(price)), contact=NewContact(**person(name)), items=(item("i1"),))
    return later(graph, apart)


async def loaded(
    cdp: CdpOrders, graphs: Sequence[OrderGraph], journal: MemoryJournal | None = None
) -> Sequence[Outcome]:
    """Load *graphs*, soon enough for the client to remember the load before; return the outcomes in their order."""
    async with ingest(cdp, graphs, journal=journal, settle=60.0) as load:
        return sorted([outcome async for outcome in load], key=lambda outcome: outcome.number)


def reason(outcome: Outcome) -> str:
    """Return why the order is a conflict."""
    told = outcome.parts[0].reason
    assert (outcome.verdict, outcome.parts[0].verdict) == (Verdict.CONFLICT, PartVerdict.CONFLICT)
    assert {part.verdict for part in outcome.parts[1:]} <= {PartVerdict.BLOCKED}
    assert told is not None
    return told


@with_and_without_a_journal
@under_both_readings
async def test_the_same_line_again_is_one_order(upsert: bool, journaled: bool) -> None:  # noqa: FBT001 parameters
    """A line that comes again finds what the first one made, also while that is under way."""
    emulator = Emulator(switches=Switches(upsert=upsert, latency=0.01))
    async with serving(emulator) as cdp:
        outcomes = await loaded(cdp, [whole()] * 5, MemoryJournal() if journaled else None)
    assert [outcome.verdict for outcome in outcomes] == [Verdict.LOADED, *[Verdict.ALREADY] * 4]
    assert len({tuple(sorted(refs([outcome]))) for outcome in outcomes}) == 1
    assert emulator.requests.total() == count([whole()])


@with_and_without_a_journal
async def test_lines_of_one_order_with_other_content_are_a_conflict(journaled: bool) -> None:  # noqa: FBT001
    """Lines with one key cannot be told from edits of one line: the first is loaded, the others name it."""
    graphs = [OrderGraph(order=order(), items=(item(f"i{n}"),)) for n in range(4)]
    emulator, journal = Emulator(switches=Switches(upsert=False)), MemoryJournal()
    async with serving(emulator) as cdp:
        for verdict in (Verdict.LOADED, Verdict.ALREADY):
            first, *others = await loaded(cdp, graphs, journal if journaled else None)
            assert first.verdict == verdict
            for other in others:
                assert "number 1 of the input" in reason(other)
                assert first.key is not None
                assert first.key in reason(other)
    assert emulator.requests.total() == count(graphs[:1])
    assert stored(emulator) == wanted(graphs[:1])


@with_and_without_a_journal
@pytest.mark.parametrize("on_existing", ["keep", "update"])
@pytest.mark.parametrize("apart", [timedelta(0), timedelta(days=1)])
async def test_lines_of_several_files(journaled: bool, on_existing: OnExisting, apart: timedelta) -> None:  # noqa: FBT001
    """Lines have their numbers within their files: those of two files are two lines, and the file is named too."""
    ann, bob = bought("Ann", 500), bought("Bob", 7, apart)
    for place in (("b.jsonl", 1), ("b.jsonl", 2), ("a.jsonl", 2)):
        lines: list[InputLine | OrderGraph] = [InputLine("a.jsonl", 1, ann), InputLine(*place, bob), bob]
        emulator, journal = Emulator(switches=Switches(upsert=False)), MemoryJournal() if journaled else None
        async with (
            serving(emulator) as cdp,
            ingest(cdp, lines, journal=journal, on_existing=on_existing, settle=60.0) as load,
        ):
            by_file = {outcome.file: outcome async for outcome in load if outcome.verdict is not Verdict.LOADED}
        assert by_file.keys() == {place[0], None}
        for second in by_file.values():
            assert f"{ann.key} (line 1 of a.jsonl)" in reason(second)
        assert stored(emulator) == wanted([ann])


@with_and_without_a_journal
@under_both_readings
async def test_times_that_are_sent_alike_are_one_order(upsert: bool, journaled: bool) -> None:  # noqa: FBT001 parameters
    """What is finer than a millisecond is not sent: the order has one key, and a copy of it is a copy."""
    graphs = [later(whole(), timedelta(microseconds=finer)) for finer in (456, 0, 999)]
    emulator = Emulator(switches=Switches(upsert=upsert))
    async with serving(emulator) as cdp:
        outcomes = await loaded(cdp, graphs, MemoryJournal() if journaled else None)
    assert [outcome.verdict for outcome in outcomes] == [Verdict.LOADED, Verdict.ALREADY, Verdict.ALREADY]
    assert {outcome.key for outcome in outcomes} == {whole().key}
    assert emulator.requests.total() == count([whole()])
    async with serving(emulator) as elsewhere:
        for graph in graphs:
            outcome = await ingest_one(elsewhere, graph, look_first=True, settle=0.0)
            assert (outcome.verdict, outcome.key) == (Verdict.ALREADY, whole().key)


async def test_a_journal_of_an_earlier_version_knows_the_order(tmp_path: Path) -> None:
    """Its key has microseconds: the order is not sent again, and is no rival of itself."""
    graph = later(whole(), timedelta(microseconds=123_456))
    emulator = Emulator(switches=Switches(upsert=False))
    for verdict in (Verdict.LOADED, Verdict.ALREADY, Verdict.ALREADY):
        async with serving(emulator) as cdp, await SqliteJournal.open(tmp_path / "j", identity={}) as journal:
            assert (await ingest_one(cdp, graph, journal=journal)).verdict == verdict
        if verdict is Verdict.LOADED:
            with closing(sqlite3.connect(tmp_path / "j")) as db, db:
                db.execute("UPDATE graphs SET graph = replace(graph, '.123000', '.123456')")
    assert emulator.requests.total() == count([graph])


@pytest.mark.parametrize("shown", [timedelta(0), timedelta(milliseconds=500)])
async def test_an_order_whose_answer_is_lost_is_found(shown: timedelta) -> None:
    """Also where the server shows its time without the fraction, as in the vendor's examples."""
    graph = later(whole(), timedelta(milliseconds=500))

    class InSeconds(Network):
        async def send(self, request: Request[T], /) -> T:
            got = await super().send(request)
            for one in getattr(got, "items", ()):
                if isinstance(one, Order):
                    one.ordered_at = WHEN + shown
            return got

    network = InSeconds(
        Emulator(switches=Switches(upsert=False)),
        lambda request: "lost" if request.operation == "orders.create" else "ok",
    )
    outcome = await ingest_one(Resources(network, BASE), graph, settle=0.0)
    assert (outcome.verdict, len(refs([outcome]))) == (Verdict.LOADED, count([graph]))
    assert len(stored(network.emulator)) == 1


@with_and_without_a_journal
@under_both_readings
@pytest.mark.parametrize(
    "apart",
    [
        timedelta(milliseconds=1),
        timedelta(seconds=1),
        timedelta(days=-1),
        timedelta(days=1),
        timedelta(days=2),
        timedelta(days=2, microseconds=999),  # which is not sent
    ],
)
async def test_a_reference_id_that_was_used_again_is_a_conflict(
    apart: timedelta,
    upsert: bool,  # noqa: FBT001 a parameter of the test
    journaled: bool,  # noqa: FBT001 a parameter of the test
) -> None:
    """Within two days the second order would overwrite the first: it is told before anything of it is sent."""
    ann, bob = bought("Ann", 500), bought("Bob", 7, apart)
    emulator, journal = Emulator(switches=Switches(upsert=upsert)), MemoryJournal() if journaled else None
    async with serving(emulator) as cdp:
        first, second = await loaded(cdp, [ann, bob], journal)
        assert first.verdict == Verdict.LOADED
        assert f"{ann.key} (number 1 of the input) has the same reference id" in reason(second)
        assert str(first.ref) in reason(second)
        assert emulator.requests.total() == count([ann])
        # Another run, and another call, know it too.
        again, alone = await loaded(cdp, [ann, bob], journal), await ingest_one(cdp, bob, journal=journal)
        assert again[0].verdict == Verdict.ALREADY
        assert (reason(again[1]), ann.key in reason(alone)) == (reason(second), True)
    assert emulator.requests.total() == count([ann])
    assert stored(emulator) == wanted([ann])


@with_and_without_a_journal
@under_both_readings
async def test_orders_more_than_two_days_apart_are_two(upsert: bool, journaled: bool) -> None:  # noqa: FBT001
    """A second more than two days, and they do not mix, even where every other answer is lost."""
    graphs = [later(whole(), n * timedelta(days=2, seconds=1)) for n in (2, 0, 3, 1)]
    script = ["ok", {"action": "close", "phase": "written"}] * 10
    plan: Json = {"faults": [{"operation": "*.create", "script": script}]}
    emulator = Emulator(switches=Switches(upsert=upsert), faults=Faults.of(plan))
    async with serving(emulator) as cdp:
        outcomes = await loaded(cdp, graphs, MemoryJournal() if journaled else None)
    assert {outcome.verdict for outcome in outcomes} == {Verdict.LOADED}
    assert len({outcome.ref for outcome in outcomes}) == 4
    assert stored(emulator) == wanted(graphs)


@under_both_readings
@pytest.mark.parametrize("apart", [timedelta(seconds=1), timedelta(hours=-1), timedelta(days=2)])
async def test_another_journal_learns_it_from_the_server(apart: timedelta, upsert: bool) -> None:  # noqa: FBT001
    """Who knows nothing of the first order is told by a look before."""
    ann, bob = bought("Ann", 500), bought("Bob", 7, apart)
    emulator = Emulator(switches=Switches(upsert=upsert))
    await ingest_one(Resources(Network(emulator), BASE), ann, journal=MemoryJournal())
    elsewhere = Resources(Network(emulator), BASE)
    outcome = await ingest_one(elsewhere, bob, journal=MemoryJournal(), look_first=True, settle=0.0)
    assert ann.order.ordered_at.isoformat() in reason(outcome)
    assert stored(emulator) == wanted([ann])


@with_and_without_a_journal
async def test_an_answer_with_the_order_of_another_line_is_a_conflict(journaled: bool) -> None:  # noqa: FBT001
    """Where a server takes orders further apart for one, its answer tells, and no part is added to the wrong one."""
    ann, bob = bought("Ann", 500), bought("Bob", 7, timedelta(days=3))
    emulator = Emulator(switches=Switches(match_hours=96))
    journal = MemoryJournal() if journaled else None
    async with serving(emulator) as cdp:
        for verdict in (Verdict.LOADED, Verdict.ALREADY):
            first, second = await loaded(cdp, [ann, bob], journal)
            assert first.verdict == verdict
            assert f"belongs to {ann.key}" in reason(second)
            assert str(first.ref) in reason(second)
    assert stored(emulator) == wanted([attrs.evolve(ann, order=order(price=Decimal(7)))])


async def test_a_time_that_was_corrected_is_a_conflict_of_one_order() -> None:
    """OrderedAt cannot be changed: a line whose time was corrected between two runs names the order as loaded."""
    case = Case.new()
    first = await case.load(whole())
    for on_existing in ("keep", "update", "fail"):
        corrected = await case.load(later(whole(), timedelta(hours=-1)), on_existing)
        assert whole().key in reason(corrected)
        assert "orderedAt cannot be changed" in reason(corrected)
        assert str(first.ref) in reason(corrected)
        assert case.asked.total() == 0
    assert case.holds(whole())


@in_both_versions
async def test_a_time_that_was_corrected_is_found_on_the_server(version: Version) -> None:
    """Without a journal, a look before finds the order with the other time; two days and a second are another order."""
    emulator, graph = Emulator(), version.of(whole())
    async with version.serving(emulator) as cdp:
        await ingest_one(cdp, graph)
    async with version.serving(emulator) as cdp:
        moved = later(graph, timedelta(days=2))
        told = await ingest_one(cdp, moved, look_first=True, on_existing="update", settle=0.0)
        assert graph.order.ordered_at.isoformat() in reason(told)
        assert stored(emulator) == wanted([graph])
        other = later(graph, timedelta(days=2, seconds=1))
        assert (await ingest_one(cdp, other, look_first=True, settle=0.0)).verdict == Verdict.LOADED
    assert stored(emulator) == wanted([graph, other])


async def test_two_journals_in_one_process_share_the_claims() -> None:
    """What one journal's load made, the same client knows when it loads with another journal, or with none."""
    ann, bob = bought("Ann", 500), bought("Bob", 7, timedelta(days=1))
    emulator = Emulator()
    async with serving(emulator) as cdp:
        await loaded(cdp, [ann], MemoryJournal())
        for journal in (MemoryJournal(), None):
            [again, other] = await loaded(cdp, [ann, bob], journal)
            assert again.verdict == Verdict.ALREADY
            assert ann.key in reason(other)
    assert emulator.requests.total() == count([ann])


async def test_an_order_that_certainly_is_not_there_holds_up_nobody() -> None:
    """Where the first order was refused, the second one with its reference id is no conflict."""
    ann, bob = bought("Ann", 500), bought("Bob", 7, timedelta(days=1))
    fates = iter([400])
    network = Network(Emulator(), lambda request: next(fates, "ok") if request.operation == "orders.create" else "ok")
    async with ingest(Resources(network, BASE), [ann, bob], journal=MemoryJournal(), settle=0.0) as load:
        verdicts = {outcome.number: outcome.verdict async for outcome in load}
    assert verdicts == {1: Verdict.FAILED, 2: Verdict.LOADED}
    assert stored(network.emulator) == wanted([bob])


@with_and_without_a_journal
async def test_an_order_in_doubt_is_looked_for_before_its_namesake_is_sent(journaled: bool) -> None:  # noqa: FBT001
    """While it is not known whether the first one is there, the second asks the server, and is a conflict if it is."""
    ann, bob = bought("Ann", 500), bought("Bob", 7, timedelta(days=1))
    bad: dict[str, str | int] = {"orders.create": "lost", "orders.list": 400}
    network = Network(Emulator(switches=Switches(upsert=False)), lambda one: bad.get(one.operation, "ok"))
    journal = MemoryJournal() if journaled else None
    first = await ingest_one(Resources(network, BASE), ann, journal=journal, settle=0.0)
    assert first.verdict == Verdict.UNKNOWN
    bad.clear()
    network.requests.clear()
    second = await ingest_one(Resources(network, BASE), bob, journal=journal, settle=0.0)
    assert ann.order.ordered_at.isoformat() in reason(second)
    assert [request.operation for request in network.requests if request.creates] == []
    assert (await ingest_one(Resources(network, BASE), ann, journal=journal, settle=0.0)).verdict == Verdict.LOADED
    assert stored(network.emulator) == wanted([ann])


async def test_an_interrupted_order_whose_namesake_is_known_is_a_conflict() -> None:
    """An order of which only its claim is known is not sent beside the one that the journal knows."""
    case = Case.new()
    ann, bob = bought("Ann", 500), bought("Bob", 7, timedelta(days=1))
    await case.load(ann)
    await crash(case.journal, bob)
    for _ in range(2):
        assert ann.key in reason(await case.load(bob))
    assert case.holds(ann)


async def test_an_order_of_somebody_else_is_not_taken() -> None:
    """A create that was lost and not done is not taken for an order nearby, and is not sent over it."""
    near = bought("Eve", 3, timedelta(hours=1))
    emulator = Emulator()

    def fate(request: Request[object]) -> str:
        if request.operation != "orders.create":
            return "ok"
        add(emulator, "orders", to_json(near.order))
        return "lost, not done"

    network = Network(emulator, fate)
    outcome = await ingest_one(Resources(network, BASE), whole(), settle=0.0)
    assert near.order.ordered_at.isoformat() in reason(outcome)
    assert [request.operation for request in network.requests if request.creates] == ["orders.create"]
    assert stored(emulator) == wanted([attrs.evolve(near, contact=None, items=())])


async def test_several_orders_on_the_server_of_which_one_is_exactly_it() -> None:
    """Of the orders with its reference id the one with its time is the order; without that one it is a conflict."""
    graph = OrderGraph(order=order(), items=(item("i1"),))
    emulator = Emulator(switches=Switches(upsert=False))
    for hours in (1, 2):
        add(emulator, "orders", to_json(later(graph, timedelta(hours=hours)).order))
    first = await ingest_one(Resources(Network(emulator), BASE), graph, look_first=True, settle=0.0)
    assert later(graph, timedelta(hours=1)).order.ordered_at.isoformat() in reason(first)
    made = add(emulator, "orders", to_json(graph.order))
    second = await ingest_one(Resources(Network(emulator), BASE), graph, look_first=True, settle=0.0)
    assert (second.verdict, str(second.ref)) == (Verdict.LOADED, made.ref)
