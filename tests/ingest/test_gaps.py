"""The server may have parts that no record names: nothing is made beside them, and no part takes another's place."""

from __future__ import annotations

import copy
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
    SqliteJournal,
    Verdict,
    ingest,
    ingest_one,
)
from cdp_orders_async.ingest import OnExisting
from cdp_orders_async.ingest.parts import digest_of_parts, parts_of
from cdp_orders_async.ingest.undoing import OrderUndo, UndoVerdict
from cdp_orders_async.journal import Journal
from tests.ingest.network import Network, collected, loading
from tests.ingest.orders import consumer, item, order, person
from tests.ingest.runs import Case, crash
from tests.ingest.serving import BASE
from tests.ingest.versions import NEW
from tests.virtual import VirtualLoop, run

ANN, EVE = NewContact(**person("Ann", "1")), NewContact(**person("Eve", "9"))
BARE = OrderGraph(order=order())
ONE, TWO = item("i1", name="Seat"), item("i2", name="Bag")
FULL = OrderGraph(
    order=order(), items=(item("i1", {"seat": "1A"}), TWO), contact=ANN, consumers=(consumer("Bob", "2"),)
)
with_each_policy = pytest.mark.parametrize("policy", ["keep", "update", "fail"])


async def killed(graph: OrderGraph) -> Case:
    """Return a case in which a killed run made all of *graph*, and could record nothing of it."""
    case = Case.new()
    assert (await case.load(graph)).verdict == Verdict.LOADED
    anew(case)
    await crash(case.journal, graph)
    return case


def anew(case: Case) -> None:
    """Go on in a new process, with a new journal."""
    case.journal = MemoryJournal()
    case.network = Network(case.network.emulator, lambda request: case.bad.get(request.operation, "ok"))


@with_each_policy
async def test_a_leftover_takes_the_place_of_no_other_part(policy: OnExisting) -> None:
    """Of two items in doubt one is there. The input lacks both for one run: then each of them is what it was."""
    case = Case.new()
    both = attrs.evolve(BARE, items=(ONE, TWO))

    def fate(request: Request[Any]) -> str | int:
        if request.operation == "items.create":
            return "lost, not done" if b'"i1"' in (request.body or b"") else "lost"
        return 500 if request.operation == "items.list" else "ok"

    case.network.fate = fate
    assert (await case.load(both)).verdict == Verdict.UNKNOWN
    case.network = Network(case.network.emulator)
    for _ in range(2):
        left = await case.load(BARE, policy)
        assert (left.verdict, [one.kind for one in left.leftovers]) == (Verdict.ALREADY, ["items"])
    back = await case.load(both, policy)
    assert [str(part.verdict) for part in back.parts if part.name != "order"] == ["created", "found"]
    assert (back.verdict, back.leftovers, case.holds(both)) == (Verdict.LOADED, (), True)


@with_each_policy
async def test_a_new_journal_that_found_an_order_does_not_know_all_of_it(policy: OnExisting) -> None:
    """Look first finds an order with more parts than the input has: what comes into the input later is found too."""
    case = Case.new()
    await case.load(FULL)
    anew(case)
    less = attrs.evolve(BARE, items=(TWO,))
    cdp = NEW.resources(case.network, BASE)
    for look_first in (True, False):
        found = await ingest_one(cdp, less, journal=case.journal, look_first=look_first, on_existing=policy, settle=0.0)
        assert (found.verdict, [one.kind for one in found.leftovers]) == (Verdict.ALREADY, ["items"])
    back = await case.load(FULL, policy)
    assert (back.verdict, back.leftovers, case.holds(FULL)) == (Verdict.ALREADY, (), True)


async def test_a_kill_right_after_the_claim_of_an_edited_order_hides_nothing(tmp_path: Path) -> None:
    """The claim of the edited order tells the next run that the killed run before it had another content."""
    case = await killed(FULL)
    left = attrs.evolve(FULL, contact=None)
    async with await SqliteJournal.open(tmp_path / "J", identity={}) as journal:
        await crash(journal, FULL)
        await crash(journal, left, digest_of_parts(parts_of(left)))
        await see_contact(case, journal, left)


async def see_contact(case: Case, journal: Journal, left: OrderGraph) -> None:
    """See that the contact is a leftover in each run, and itself when it comes back."""
    cdp = NEW.resources(case.network, BASE)
    for _ in range(2):
        outcome = await ingest_one(cdp, left, journal=journal, settle=0.0)
        assert (outcome.verdict, [one.kind for one in outcome.leftovers]) == (Verdict.ALREADY, ["contacts"])
    back = await ingest_one(cdp, FULL, journal=journal, settle=0.0)
    assert (back.verdict, back.leftovers, case.holds(FULL)) == (Verdict.ALREADY, (), True)


PARTS = {
    "items": [attrs.evolve(BARE, items=(one,)) for one in (ONE, TWO)],
    "consumers": [attrs.evolve(BARE, consumers=(consumer(*one),)) for one in (("Bob", "2"), ("Cid", "3"))],
}
"""Two orders with one part each, by its kind."""


@pytest.mark.parametrize("kind", PARTS)
async def test_each_killed_run_is_looked_for(kind: str) -> None:
    """Two runs, one after the other, were killed before they noted a part: each is named, and none is made again."""
    case = Case.new()
    assert (await case.load(BARE)).verdict == Verdict.LOADED
    for number, graph in enumerate(PARTS[kind], 1):
        before = copy.deepcopy(case.journal)
        assert (await case.load(graph)).verdict == Verdict.LOADED
        anew(case)
        case.journal = before
        await crash(case.journal, graph)
        for _ in range(2):
            left = await case.load(BARE)
            assert (left.verdict, [one.kind for one in left.leftovers]) == (Verdict.ALREADY, [kind] * number)
    back = await case.load(PARTS[kind][1])
    assert (back.verdict, [one.kind for one in back.leftovers]) == (Verdict.ALREADY, [kind])
    assert len([*case.network.emulator.store.all(kind)]) == 2


@pytest.mark.parametrize(("policy", "verdict"), [("keep", Verdict.KEPT), ("fail", Verdict.CONFLICT)])
async def test_the_extension_of_an_item_that_comes_back_is_not_overwritten(
    policy: OnExisting, verdict: Verdict
) -> None:
    """Its item was away for one run, came back without it, and then gets another one."""
    case = await killed(FULL)
    for items, kind in (((TWO,), "items"), ((ONE, TWO), "item_extensions"), ((ONE, TWO), "item_extensions")):
        left = await case.load(attrs.evolve(FULL, items=items), policy)
        assert (left.verdict, [one.kind for one in left.leftovers]) == (Verdict.ALREADY, [kind])
    edited = attrs.evolve(FULL, items=(item("i1", {"seat": "2B"}), TWO))
    assert (await case.load(edited, policy)).verdict == verdict
    assert case.holds(FULL)


async def test_a_client_without_a_journal_remembers_what_is_in_doubt() -> None:
    """The input loses a part in doubt, twice, and gets it back: it is there once."""
    case = Case.new()
    fates: dict[str, str | int] = {"items.create": "lost", "items.list": 500}
    case.network.fate = lambda request: fates.get(request.operation, "ok")
    cdp = NEW.resources(case.network, BASE)
    whole = attrs.evolve(BARE, items=(ONE,))
    assert (await ingest_one(cdp, whole, settle=3.0)).verdict == Verdict.UNKNOWN
    fates.clear()
    for _ in range(2):
        left = await ingest_one(cdp, BARE, settle=3.0)
        assert (left.verdict, [one.kind for one in left.leftovers]) == (Verdict.ALREADY, ["items"])
    back = await ingest_one(cdp, whole, settle=3.0)
    assert (back.verdict, back.leftovers, case.holds(whole)) == (Verdict.ALREADY, (), True)


async def test_the_look_for_leftovers_does_not_wait() -> None:
    """A deadline below the settling time is enough for an order whose parts are all known."""
    case = Case.new()
    await case.load(FULL)
    await crash(case.journal, FULL)
    left = attrs.evolve(FULL, contact=None)
    case.network.requests.clear()
    cdp = NEW.resources(case.network, BASE)
    outcome = await ingest_one(cdp, left, journal=case.journal, settle=3600.0, deadline=60.0)
    assert (outcome.verdict, [one.kind for one in outcome.leftovers]) == (Verdict.ALREADY, ["contacts"])


async def test_a_list_that_cannot_be_read_hides_no_other_verdict() -> None:
    """The order was updated, and is told as updated. It is unknown what the input no longer has, until the next run."""
    case = await killed(FULL)
    edited = attrs.evolve(FULL, order=order(channel="WEB"), contact=None)
    unknown = await case.load(edited, "update", contacts__list=500)
    first = next(part for part in unknown.parts if part.name == "order")
    assert (unknown.verdict, first.verdict) == (Verdict.UNKNOWN, PartVerdict.UPDATED)
    assert first.failure is not None
    assert "contacts" in first.failure.message
    assert {part.verdict for part in unknown.parts} == {PartVerdict.UPDATED, PartVerdict.FOUND}
    for _ in range(2):
        known = await case.load(edited, "update")
        assert (known.verdict, [one.kind for one in known.leftovers]) == (Verdict.ALREADY, ["contacts"])


@with_each_policy
async def test_the_contact_of_somebody_else_is_not_taken_for_ours(policy: OnExisting) -> None:
    """The order has two contacts, and the input none for one run: then ours is ours, whichever the list shows first."""
    case = Case.new()
    made = await case.load(BARE)
    cdp = Resources(case.network, BASE)
    for contact in (EVE, ANN):
        await cdp.contacts.create(next(part.ref for part in made.parts if part.ref is not None), contact)
    before = [dict(one.data) for one in case.network.emulator.store.all("contacts")]
    anew(case)
    ours = attrs.evolve(BARE, contact=ANN)
    await crash(case.journal, ours)
    left = await case.load(BARE, policy)
    assert (left.verdict, [one.kind for one in left.leftovers]) == (Verdict.ALREADY, ["contacts"] * 2)
    back = await case.load(ours, policy)
    assert (back.verdict, [one.kind for one in back.leftovers]) == (Verdict.ALREADY, ["contacts"])
    assert [dict(one.data) for one in case.network.emulator.store.all("contacts")] == before


@pytest.mark.parametrize(("policy", "verdict"), [("keep", Verdict.KEPT), ("update", Verdict.UPDATED)])
async def test_an_update_that_a_killed_run_did_not_note_is_seen(policy: OnExisting, verdict: Verdict) -> None:
    """The input was edited, a run that updates was killed, and the edit was taken back: every part is compared."""
    case = Case.new()
    await case.load(FULL)
    before = copy.deepcopy(case.journal)
    edited = attrs.evolve(FULL, items=(item("i1", {"seat": "2B"}), item("i2", name="Box")))
    assert (await case.load(edited, "update")).verdict == Verdict.UPDATED
    anew(case)
    case.journal = before
    await crash(case.journal, edited)
    await crash(case.journal, FULL, digest_of_parts(parts_of(FULL)))
    outcome = await case.load(FULL, policy)
    assert (outcome.verdict, outcome.leftovers) == (verdict, ())
    assert (await case.load(FULL, policy)).verdict == (Verdict.KEPT if policy == "keep" else Verdict.ALREADY)
    assert case.holds(edited if policy == "keep" else FULL)


TWINS = {
    "items": (
        attrs.evolve(BARE, items=(item("i1", name="Seat"), item("i1", name="Bag"))),
        attrs.evolve(BARE, items=(item(name="Seat"), item("i1", name="Bag"))),
    ),
    "consumers": (
        attrs.evolve(BARE, consumers=(consumer("Bob", "2"), consumer("Cid", "2"))),
        attrs.evolve(BARE, consumers=(consumer("Bob"), consumer("Cid", "2"))),
    ),
}
"""Two parts with one id, and the same after an edit that took the id from the first, by their kind."""


@with_each_policy
@pytest.mark.parametrize("runs_between", [0, 1])
@pytest.mark.parametrize("kind", TWINS)
async def test_a_part_that_lost_its_id_is_not_taken_for_its_twin(
    kind: str, runs_between: int, policy: OnExisting
) -> None:
    """A killed run did not note the second of two parts with one id, and an edit takes the id from the first.

    *runs_between*: for so many runs an edit took the second away, and they knew it as a leftover.
    """
    both, edited = TWINS[kind]
    case = Case.new()
    one = attrs.evolve(BARE, **{kind: getattr(both, kind)[:1]})
    await case.load(one)
    noted = copy.deepcopy(case.journal)
    assert (await case.load(both)).verdict == Verdict.LOADED
    there = [dict(one.data) for one in case.network.emulator.store.all(kind)]
    anew(case)
    case.journal = noted
    await crash(case.journal, both, digest_of_parts(parts_of(both)))
    for _ in range(runs_between):
        left = await case.load(one)
        assert (left.verdict, [each.kind for each in left.leftovers]) == (Verdict.ALREADY, [kind])
    outcome = await case.load(edited, policy)
    assert (outcome.verdict, outcome.leftovers) == (Verdict.ALREADY, ())
    assert [dict(one.data) for one in case.network.emulator.store.all(kind)] == there


async def test_a_part_whose_id_the_server_does_not_show_is_the_recorded_one() -> None:
    """The edit of a part after a kill goes to the part that the journal knows, though a look for its id finds none."""
    case = Case.new()
    await case.load(attrs.evolve(BARE, items=(ONE,)))
    [stored] = case.network.emulator.store.all("items")
    await Resources(case.network, BASE).items.update(UUID(stored.ref), {"reference_id": "I1"})
    await crash(case.journal, FULL)
    edited = attrs.evolve(BARE, items=(item("i1", name="Box"),))
    assert (await case.load(edited, "update")).verdict == Verdict.UPDATED
    assert [one.data["name"] for one in case.network.emulator.store.all("items")] == ["Box"]


async def test_a_conflict_does_not_hide_what_is_not_known() -> None:
    """A new journal found an order with more parts than the input has, and a second line of it is a conflict."""
    case = Case.new()
    await case.load(FULL)
    anew(case)
    other = attrs.evolve(BARE, order=order(channel="WEB"))
    cdp = NEW.resources(case.network, BASE)
    async with ingest(cdp, [BARE, other], journal=case.journal, look_first=True, settle=0.0) as load:
        assert [outcome.verdict async for outcome in load] == [Verdict.ALREADY, Verdict.CONFLICT]
    assert ((await case.load(FULL)).verdict, case.holds(FULL)) == (Verdict.ALREADY, True)


@pytest.mark.parametrize("policy", ["keep", "fail"])
async def test_a_look_that_could_not_be_made_stays_owed(policy: OnExisting) -> None:
    """The run after a killed one cannot read the order, or refuses it: the next one looks for what is left."""
    case = await killed(FULL)
    left = attrs.evolve(FULL, contact=None)
    first = left if policy == "keep" else attrs.evolve(left, order=order(channel="WEB"))
    bad: dict[str, int] = {"orders__list": 500} if policy == "keep" else {}
    assert (await case.load(first, policy, **bad)).verdict in {Verdict.UNKNOWN, Verdict.CONFLICT}
    for number in (1, 2):
        outcome = await case.load(left)
        assert (outcome.verdict, [one.kind for one in outcome.leftovers]) == (Verdict.ALREADY, ["contacts"])
        assert number == 1 or not case.asked


async def test_a_complete_order_with_a_lost_doubt_costs_nothing() -> None:
    """An item in doubt left the input. Once it was looked for, the order is complete, and no run asks for anything."""
    case = Case.new()
    await case.load(attrs.evolve(BARE, items=(ONE,)), items__create="lost", items__list=500)
    for number in range(3):
        outcome = await case.load(BARE)
        assert (outcome.verdict, [one.kind for one in outcome.leftovers]) == (Verdict.ALREADY, ["items"])
        assert number == 0 or not case.asked


async def test_what_only_the_client_remembers_counts_too() -> None:
    """Between two loads with a journal, a load without it added an item, and another took it out of the input."""
    case = Case.new()
    cdp = NEW.resources(case.network, BASE)
    both, one = attrs.evolve(BARE, items=(ONE, TWO)), attrs.evolve(BARE, items=(TWO,))
    for graph, journal in ((one, case.journal), (both, None), (one, None), (both, case.journal)):
        await ingest_one(cdp, graph, journal=journal, settle=3.0)
    assert case.holds(both)


async def test_an_undo_by_another_process_counts_more_than_the_memory(tmp_path: Path) -> None:
    """A client lives on while its journal is closed, another process takes the order back, and it loads it again."""
    case = Case.new()
    cdp, other = (NEW.resources(Network(case.network.emulator), BASE) for _ in range(2))
    for verdict in (Verdict.LOADED, Verdict.LOADED):
        async with await SqliteJournal.open(tmp_path / "J", identity={}) as journal:
            assert (await ingest_one(cdp, FULL, journal=journal, settle=3.0)).verdict == verdict
        assert case.holds(FULL)
        async with await SqliteJournal.open(tmp_path / "J", identity={}) as journal:
            created = [part async for part in journal.created()]
            assert isinstance(other, Resources)
            undo = OrderUndo(other, journal, created[0].key, created, force=False, stopped=lambda: False)
            assert (await undo.run()).verdict == UndoVerdict.DELETED


async def test_undo_knows_a_part_that_was_edited() -> None:
    """An item without an id was edited, so that it has another key: the journal still created it."""
    case = Case.new()
    await case.load(attrs.evolve(BARE, items=(item(name="Seat"),)))
    edited = await case.load(attrs.evolve(BARE, items=(item(name="Seat 2"),)), "update")
    assert edited.verdict == Verdict.UPDATED
    assert [part.part.partition("#")[0] async for part in case.journal.created()] == ["item", "order"]


async def test_a_leftover_that_was_deleted_is_forgotten() -> None:
    """A person deleted it. The run that finds that out no longer names it."""
    case = await killed(FULL)
    less = attrs.evolve(FULL, items=(TWO,))
    [left] = (await case.load(less)).leftovers
    await NEW.resources(case.network, BASE).items.delete(left.ref)
    again = await case.load(attrs.evolve(less, items=(item("i3"), TWO)))
    assert (again.verdict, again.leftovers) == (Verdict.LOADED, ())
    assert (await case.load(less)).leftovers[0].ref != left.ref


def test_an_edit_of_a_found_order_does_not_wait() -> None:
    """The journal found the order before this load began: what the input adds is looked for once, without a wait."""

    async def load(loop: VirtualLoop) -> float:
        case = Case.new()
        await case.load(BARE)
        anew(case)
        cdp = NEW.resources(case.network, BASE)
        await ingest_one(cdp, BARE, journal=case.journal, look_first=True, settle=0.0)
        network = Network(case.network.emulator)
        network.delay = 30.0
        edited = attrs.evolve(BARE, items=(ONE,))
        first = OrderGraph(order=order("before"))
        running = loading(loop, network, [first, edited], journal=case.journal, open_orders=1, settle=10.0)
        assert [outcome.verdict for outcome in await collected(running)] == [Verdict.LOADED] * 2
        assert [request.operation for request in network.requests[1:]] == ["items.list", "items.create"]
        return loop.time()

    assert run(load) == pytest.approx(90, abs=1)


@pytest.mark.parametrize("policy", ["keep", "update"])
async def test_an_item_without_an_id_does_not_take_one_with_an_id(policy: OnExisting) -> None:
    """The input has another item without an id for a while, and then both: each is one thing."""
    case = Case.new()
    twin = item(name="Twin")
    both = attrs.evolve(BARE, items=(ONE, twin))
    for items in ((ONE,), (twin,)):
        assert (await case.load(attrs.evolve(BARE, items=items), policy)).verdict == Verdict.LOADED
    assert ((await case.load(both, policy)).verdict, case.holds(both)) == (Verdict.ALREADY, True)
