"""The input is edited between two runs: a part without an id of its own is the same thing, changed; never one more."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal, TypeAlias

import attrs
import pytest

from cdp_orders_async import (
    GraphConsumer,
    GraphItem,
    Identifier,
    MemoryJournal,
    NewConsumer,
    NewContact,
    OrderGraph,
    Outcome,
    PartVerdict,
    Verdict,
    ingest,
    ingest_one,
)
from cdp_orders_async.emulator import Emulator
from cdp_orders_async.ingest import OnExisting
from cdp_orders_async.journal import OrderId
from tests.ingest.network import Network
from tests.ingest.orders import consumer, item, order, person
from tests.ingest.runs import Case, crash, differs
from tests.ingest.serving import BASE
from tests.ingest.versions import NEW, Version, in_both_versions

Memory: TypeAlias = Literal["client", "journal", "crashed journal", "server"]
"""What the second run knows of the first: all, or only what the journal, a killed one, or the server tells."""
Policy: TypeAlias = Literal["keep", "update", "fail", "upsert"]

MEMORIES: tuple[Memory, ...] = ("client", "journal", "crashed journal", "server")
POLICIES: tuple[Policy, ...] = ("keep", "update", "fail", "upsert")
whatever_is_known = pytest.mark.parametrize("memory", MEMORIES)
as_told = pytest.mark.parametrize("policy", POLICIES)

ITEM: Mapping[str, Any] = {
    "description": "window",
    "original_price": Decimal(12),
    "original_currency_code": "GBP",
    "vendor": "Acme",
    "language": "EN",
    "channel": "WEB",
    "price": Decimal(60),
    "currency_code": "USD",
    "type": "BAG",
    "name": "Other",
    "status": "CHANGED",
    "product_id": "P2",
    "quantity": 3,
}
"""Another value for each field of an item but its reference id."""
PERSON: Mapping[str, Any] = {
    "title": "Dr",
    "gender": "female",
    "date_of_birth": datetime(1990, 5, 17, tzinfo=UTC),
    "emails": ("ann@example.org",),
    "phone_numbers": ("+353 1",),
    "nationality": "IE",
    "passport_number": "P1",
    "passport_expiry": datetime(2030, 1, 1, tzinfo=UTC),
    "identifiers": (Identifier(provider="CRM", id="7"),),
    "country": "IE",
    "first_name": "Anna",
    "last_name": "Smith",
    "street": ("Main St",),
    "city": "Cork",
    "state": "Munster",
    "post_code": "T12",
}
"""Another value for each field of a person."""


def test_every_field_has_another_value() -> None:
    """A field that a model gets needs a row here."""
    assert {*ITEM, "reference_id"} == attrs.fields_dict(type(item().item)).keys()
    assert PERSON.keys() == attrs.fields_dict(NewContact).keys()
    assert {*PERSON, "order_items"} == attrs.fields_dict(NewConsumer).keys()


class Runs:
    """The runs of one line, of which each knows of those before what *memory* says."""

    def __init__(self, memory: Memory, version: Version = NEW) -> None:
        self.memory, self.version = memory, version
        self.case = Case.new(version)

    async def load(self, graph: OrderGraph, policy: Policy = "keep") -> Outcome:
        """Load *graph* in another run."""
        case = self.case
        if self.memory != "client":
            case.network = Network(case.network.emulator, case.network.fate)
        on_existing: OnExisting = "keep" if policy == "upsert" else policy
        if policy == "upsert":
            graph = attrs.evolve(graph, mode="upsert")
        if self.memory == "server":
            cdp, graph = self.version.resources(case.network, BASE), self.version.of(graph)
            return await ingest_one(cdp, graph, look_first=True, on_existing=on_existing, settle=0.0)
        if self.memory == "crashed journal":
            await crash(case.journal, self.version.of(graph))
        return await case.load(graph, on_existing)

    def holds(self, graph: OrderGraph) -> bool:
        """Whether the server has *graph* and nothing else."""
        return self.case.holds(graph)

    @property
    def writes(self) -> list[str]:
        """What the last run sent that makes or changes something."""
        return [request.operation for request in self.case.network.requests if request.method != "GET"]


async def edit(
    runs: Runs, before: OrderGraph, after: OrderGraph, policy: Policy, part: str, field: str, *, added: bool = False
) -> None:
    """See that what was loaded as *before* and is edited to *after* is treated as the *policy* says, run after run.

    A field that was *added* and is taken away again says nothing, so that it stays.
    """
    assert (await runs.load(before)).verdict == Verdict.LOADED
    for run in (1, 2):
        outcome = await runs.load(after, policy)
        verdict, changed = outcome.verdict, differs(outcome)
        assert outcome.leftovers == ()
        if policy == "keep":
            assert (verdict, changed, runs.writes) == (Verdict.KEPT, {part: (field,)}, [])
            assert runs.holds(before)
        elif policy == "fail":
            assert (verdict, changed, runs.writes) == (Verdict.CONFLICT, {part: (field,)}, [])
            assert runs.holds(before)
        else:
            assert (verdict, changed) == (Verdict.UPDATED if run == 1 else Verdict.ALREADY, {})
            assert len(runs.writes) == (run == 1)
            assert runs.holds(after)
    back, updates = await runs.load(before, policy), policy in {"update", "upsert"}
    reverts = updates and not added
    assert (back.verdict, len(runs.writes)) == (Verdict.UPDATED if reverts else Verdict.ALREADY, reverts)
    assert runs.holds(after if updates and added else before)


def with_item(**fields: Any) -> OrderGraph:  # noqa: ANN401 fields of an item
    """Return an order with an item that has no id, and another one that has."""
    return OrderGraph(order=order(), items=(item(None, **fields), item("i1", name="Known")))


NEEDED = {"price", "name", "type", "status", "currency_code"}
"""The fields that every item has."""


@pytest.mark.parametrize("field", ITEM)
@whatever_is_known
@as_told
async def test_a_field_of_an_item_without_a_reference_id(memory: Memory, policy: Policy, field: str) -> None:
    """Whichever field was edited or added, the item is the same one, and is kept, updated or refused."""
    before, after = with_item(), with_item(**{field: ITEM[field]})
    await edit(Runs(memory), before, after, policy, "items/0", field, added=field not in NEEDED)


@pytest.mark.parametrize("field", PERSON)
@whatever_is_known
@as_told
async def test_a_field_of_a_consumer_without_identifiers(memory: Memory, policy: Policy, field: str) -> None:
    """Whichever field was edited or added, identifiers too, the consumer is the same person."""
    before = OrderGraph(order=order(), items=(item("i1"),), consumers=(consumer("Jo", uses=["i1"]),))
    user = NewConsumer(**{**person("Jo"), field: PERSON[field]})
    after = attrs.evolve(before, consumers=(GraphConsumer(user, ("i1",)),))
    await edit(Runs(memory), before, after, policy, "consumers/0", field, added=field != "first_name")


@pytest.mark.parametrize("field", PERSON)
@whatever_is_known
@as_told
async def test_a_field_of_the_contact(memory: Memory, policy: Policy, field: str) -> None:
    """An order has one contact: whatever was edited, its identifiers too, it is the same one."""
    before = OrderGraph(order=order(), contact=NewContact(**person("Ann", "1")))
    after = attrs.evolve(before, contact=NewContact(**{**person("Ann", "1"), field: PERSON[field]}))
    added = field not in {"first_name", "identifiers"}
    await edit(Runs(memory), before, after, policy, "contact", field, added=added)


@whatever_is_known
@as_told
@in_both_versions
async def test_an_edit_of_an_item_in_both_versions(version: Version, memory: Memory, policy: Policy) -> None:
    """An item is the same one with another price, whichever version of the API it is loaded by."""
    before, after = with_item(), with_item(price=Decimal(60))
    await edit(Runs(memory, version), before, after, policy, "items/0", "price")


@whatever_is_known
@as_told
async def test_an_edit_of_one_of_two_twins(memory: Memory, policy: Policy) -> None:
    """Of two equal items one is edited: the other one stays what it is."""
    before = OrderGraph(order=order(), items=(item(), item()))
    for n in (0, 1):
        items = [item(), item()]
        items[n] = item(price=Decimal(60))
        await edit(Runs(memory), before, attrs.evolve(before, items=tuple(items)), policy, f"items/{n}", "price")


@whatever_is_known
@as_told
async def test_an_edit_of_the_extension_of_a_twin(memory: Memory, policy: Policy) -> None:
    """Of two equal items that differ in their extensions, one gets another extension."""
    before = OrderGraph(order=order(), items=(item(None, {"seat": "1A"}), item(None, {"seat": "1B"})))
    after = attrs.evolve(before, items=(item(None, {"seat": "1A"}), item(None, {"seat": "2B"})))
    await edit(Runs(memory), before, after, policy, "items/1/ext", "seat")


@whatever_is_known
async def test_an_item_is_removed(memory: Memory) -> None:
    """What the input no longer has stays on the server, and is told, with every run."""
    before = OrderGraph(order=order(), items=(item(), item(name="Bag"), item("i1")))
    runs = Runs(memory)
    await runs.load(before)
    for _ in range(2):
        outcome = await runs.load(attrs.evolve(before, items=(item(), item("i1"))))
        assert outcome.verdict == Verdict.ALREADY
        assert [one.kind for one in outcome.leftovers] == ["items"]
        [left] = [one.ref for one in runs.case.network.emulator.store.all("items") if one.data["name"] == "Bag"]
        assert str(outcome.leftovers[0].ref) == left
        assert runs.writes == []
    assert runs.holds(before)


@whatever_is_known
async def test_a_twin_is_removed(memory: Memory) -> None:
    """Of three equal items one is removed: two are known, one is left over."""
    before = OrderGraph(order=order(), items=(item(), item(), item()))
    runs = Runs(memory)
    await runs.load(before)
    for _ in range(2):
        outcome = await runs.load(attrs.evolve(before, items=(item(), item())))
        assert (outcome.verdict, [one.kind for one in outcome.leftovers], runs.writes) == (
            Verdict.ALREADY,
            ["items"],
            [],
        )
    assert (await runs.load(before)).leftovers == ()
    assert runs.holds(before)


@whatever_is_known
async def test_a_twin_is_added(memory: Memory) -> None:
    """A further equal item is made, once."""
    before = OrderGraph(order=order(), items=(item(), item()))
    after = attrs.evolve(before, items=(item(), item(), item()))
    runs = Runs(memory)
    await runs.load(before)
    assert ((await runs.load(after)).verdict, runs.writes) == (Verdict.LOADED, ["items.create"])
    assert ((await runs.load(after)).verdict, runs.writes) == (Verdict.ALREADY, [])
    assert runs.holds(after)


SEAT, BAG, MEAL = item(), item(name="Bag", type="BAG"), item(name="Meal", type="MEAL")
DEAR = item(price=Decimal(60))
"""The seat with another price."""


@whatever_is_known
@pytest.mark.parametrize(
    ("before", "after", "writes"),
    [
        ([SEAT, BAG], [DEAR, MEAL], ["items.update", "items.update"]),  # one is clear, and then the other one is
        ([SEAT, BAG], [DEAR], ["items.update"]),
        ([SEAT], [DEAR, MEAL], ["items.create", "items.update"]),
        ([SEAT], [MEAL, DEAR], ["items.create", "items.update"]),
        ([SEAT], [MEAL], ["items.update"]),
        ([SEAT, BAG], [BAG, MEAL, DEAR], ["items.create", "items.update"]),
        ([SEAT, SEAT], [DEAR, MEAL, SEAT], ["items.create", "items.update"]),
        ([SEAT, BAG], [SEAT, BAG, MEAL], ["items.create"]),
    ],
)
async def test_items_are_added_removed_and_edited_at_once(
    memory: Memory, before: list[GraphItem], after: list[GraphItem], writes: list[str]
) -> None:
    """An edited item is told by its name; what is left over on both sides is one thing; the rest is new or stays."""
    old, new = OrderGraph(order=order(), items=tuple(before)), OrderGraph(order=order(), items=tuple(after))
    runs = Runs(memory)
    await runs.load(old)
    outcome = await runs.load(new, "update")
    assert (outcome.verdict, sorted(runs.writes)) == (
        Verdict.LOADED if writes == ["items.create"] else Verdict.UPDATED,
        writes,
    )
    gone = max(0, len(before) - len(after))
    assert [one.kind for one in outcome.leftovers] == ["items"] * gone
    assert gone or runs.holds(new)
    assert ((await runs.load(new, "update")).verdict, runs.writes) == (Verdict.ALREADY, [])


@whatever_is_known
@pytest.mark.parametrize(("before", "after"), [([SEAT, BAG], [MEAL]), ([SEAT], [BAG, MEAL])])
async def test_an_edit_that_would_be_a_guess(memory: Memory, before: list[GraphItem], after: list[GraphItem]) -> None:
    """An item with another name may be either of two that left, or two may be the one: it is said, with every run."""
    runs = Runs(memory)
    await runs.load(OrderGraph(order=order(), items=tuple(before)))
    for _ in range(2):
        outcome = await runs.load(OrderGraph(order=order(), items=tuple(after)), "update")
        assert (outcome.verdict, runs.writes) == (Verdict.CONFLICT, [])
        assert {part.verdict for part in outcome.parts[1:]} == {PartVerdict.CONFLICT}
    assert runs.holds(OrderGraph(order=order(), items=tuple(before)))


def priced(*prices: int) -> OrderGraph:
    """Return an order with an item of each price, without ids."""
    return OrderGraph(order=order(), items=tuple(item(price=Decimal(price)) for price in prices))


@whatever_is_known
@as_told
async def test_edits_that_could_be_swapped_are_a_conflict(memory: Memory, policy: Policy) -> None:
    """Where two items that look alike were edited, which one is which would be a guess: it is said, with every run."""
    runs = Runs(memory)
    await runs.load(priced(1, 2))
    for _ in range(2):
        outcome = await runs.load(priced(3, 4), policy)
        assert outcome.verdict == Verdict.CONFLICT
        assert {part.verdict for part in outcome.parts[1:]} == {PartVerdict.CONFLICT}
        assert runs.writes == []
    assert runs.holds(priced(1, 2))
    assert (await runs.load(priced(1, 2))).verdict == Verdict.ALREADY


@whatever_is_known
async def test_one_of_several_is_edited(memory: Memory) -> None:
    """The others are known, so the one that is left is it, wherever it stands."""
    runs = Runs(memory)
    await runs.load(priced(1, 2, 3))
    outcome = await runs.load(priced(3, 1, 9), "update")
    assert (outcome.verdict, runs.writes) == (Verdict.UPDATED, ["items.update"])
    assert runs.holds(priced(1, 3, 9))


@whatever_is_known
@as_told
async def test_a_consumer_without_identifiers_gets_one(memory: Memory, policy: Policy) -> None:
    """A person whose identifiers become known is the same person."""
    before = OrderGraph(order=order(), consumers=(consumer("Jo"), consumer("Bob")))
    after = attrs.evolve(before, consumers=(consumer("Jo", "7"), consumer("Bob")))
    await edit(Runs(memory), before, after, policy, "consumers/0", "identifiers", added=True)


@whatever_is_known
async def test_other_people_are_other_people(memory: Memory) -> None:
    """Consumers with other identifiers and another name are not the ones that left."""
    before = OrderGraph(order=order(), consumers=(consumer("Jo", "1"),))
    after = attrs.evolve(before, consumers=(consumer("Eve", "2"),))
    runs = Runs(memory)
    await runs.load(before)
    outcome = await runs.load(after, "update")
    assert (outcome.verdict, runs.writes) == (Verdict.LOADED, ["consumers.create"])
    assert [one.kind for one in outcome.leftovers] == ["consumers"]


@whatever_is_known
@pytest.mark.parametrize("part", ["items", "contact", "consumers", "extension"])
async def test_a_kind_of_part_is_removed(memory: Memory, part: str) -> None:
    """Whatever kind of part the input no longer has, nothing is deleted, and nothing of it is made again."""
    before = OrderGraph(
        order=order(),
        contact=NewContact(**person("Ann", "1")),
        items=(item(),),
        consumers=(consumer("Bob"),),
        extension={"campaign": "spring"},
    )
    bare: dict[str, Any] = {part: () if part in {"items", "consumers"} else None}
    runs = Runs(memory)
    await runs.load(before)
    for _ in range(2):
        outcome = await runs.load(attrs.evolve(before, **bare))
        assert (outcome.verdict, runs.writes) == (Verdict.ALREADY, [])
    assert ((await runs.load(before)).verdict, runs.writes) == (Verdict.ALREADY, [])
    assert runs.holds(before)


@whatever_is_known
async def test_an_extension_is_added_later(memory: Memory) -> None:
    """An item that gets its first extension takes one request."""
    before = OrderGraph(order=order(), items=(item(), item(name="Bag")))
    after = attrs.evolve(before, items=(item(), item(None, {"a": 1}, name="Bag")))
    runs = Runs(memory)
    await runs.load(before)
    assert ((await runs.load(after)).verdict, runs.writes) == (Verdict.LOADED, ["item_extensions.create"])
    assert runs.holds(after)


@pytest.mark.parametrize("kept", [1, 0])
async def test_an_item_in_doubt_loses_its_reference_id(kept: int) -> None:
    """Several items may have been made when their input is edited: the edited one is looked for, never made again."""
    emulator, journal = Emulator(), MemoryJournal()
    graph = OrderGraph(order=order(), items=(item("i1"), item("i2"), item("i3")))
    await ingest_one(NEW.resources(Network(emulator), BASE), graph, journal=journal)
    for key in ("item:i1", "item:i2"):
        journal.record(graph.key, key, b"of a lost answer", None)
    await journal.claim(OrderId.of(graph.order.reference_id, graph.order.ordered_at), b"")
    await journal.end(graph.key, complete=False)
    edited = attrs.evolve(graph, items=(*([item()] if kept else [item(), item()]), *graph.items[2 - kept :]))
    outcome = await ingest_one(NEW.resources(Network(emulator), BASE), edited, journal=journal, settle=0.0)
    assert len([*emulator.store.all("items")]) == 3
    assert outcome.verdict in {Verdict.KEPT, Verdict.ALREADY, Verdict.CONFLICT}


@pytest.mark.parametrize("policy", ["update", "upsert"])
async def test_a_contact_is_not_made_another_person(policy: Policy) -> None:
    """An update would give the address of one person to another, so somebody decides; a new name alone is an edit."""
    ann = NewContact(**person("Ann", "1"), emails=("ann@example.com",))
    runs = Runs("journal")
    before = OrderGraph(order=order(), contact=ann)
    await runs.load(before)
    for contact in (NewContact(**person("Bob", "2")), NewContact(**person("Bob", "2"), emails=("bob@example.com",))):
        outcome = await runs.load(attrs.evolve(before, contact=contact), policy)
        assert (outcome.verdict, runs.writes, runs.holds(before)) == (Verdict.CONFLICT, [], True)
    for contact in (NewContact(**person("Bob", "1")), NewContact(**person("Bob", "3"))):
        outcome = await runs.load(attrs.evolve(before, contact=contact), policy)
        assert (outcome.verdict, runs.writes) == (Verdict.UPDATED, ["contacts.update"])


@whatever_is_known
@pytest.mark.parametrize("turned", [1, -1])
async def test_somebody_gets_an_identifier_that_another_person_has_too(memory: Memory, turned: int) -> None:
    """Who has all the identifiers of a person is that person, even if something else of them has changed."""
    before = OrderGraph(order=order(), items=(item("i1"),), consumers=(consumer("Bob", "1"), consumer(None, "1", "2")))
    after = (consumer("Bob", "2"), consumer(None, "1", "2", uses=["i1"]))
    runs = Runs(memory)
    await runs.load(before)
    edited = attrs.evolve(before, consumers=after[::turned])
    for run in (1, 2):
        outcome = await runs.load(edited, "update")
        assert outcome.verdict == (Verdict.UPDATED if run == 1 else Verdict.ALREADY)
        assert runs.writes == ["consumers.update"] * 2 * (run == 1)
    assert runs.holds(edited)


@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize("policy", ["keep", "update"])
@pytest.mark.parametrize("twins", [2, 3])
async def test_twins_lost_their_ids_and_one_was_edited(memory: Memory, policy: Policy, twins: int) -> None:
    """Which of them was edited would be a guess: nothing is written, and each run says the same."""
    runs = Runs(memory)
    before = OrderGraph(order=order(), items=tuple(item(f"i{n}") for n in range(twins)))
    await runs.load(before)
    after = OrderGraph(order=order(), items=(*[item()] * (twins - 1), item(price=Decimal(60))))
    for _ in range(2):
        outcome = await runs.load(after, policy)
        assert (outcome.verdict, runs.writes) == (Verdict.CONFLICT, [])
        assert {part.verdict for part in outcome.parts[1:]} <= {PartVerdict.CONFLICT, PartVerdict.UNKNOWN}


IDENTIFIERS = (Identifier(provider="CRM", id="1"), Identifier(provider="CRM", id="2"))
CONTACT = NewContact(first_name="Ann", identifiers=IDENTIFIERS)
LINE = OrderGraph(
    order=order(), items=(item("i1"), item()), contact=CONTACT, consumers=(consumer(uses=["i1"]),), extension={"n": 1}
)
OTHER_FORMS: Mapping[str, OrderGraph] = {
    "a number": attrs.evolve(LINE, extension={"n": 1.0}),
    "an empty pair": attrs.evolve(LINE, extension={"n": 1, "x": ""}),
    "an empty list": attrs.evolve(LINE, contact=attrs.evolve(CONTACT, phone_numbers=())),
    "an empty text": attrs.evolve(LINE, items=(item("i1", description=""), item(description=""))),
    "identifiers turned": attrs.evolve(LINE, contact=attrs.evolve(CONTACT, identifiers=IDENTIFIERS[::-1])),
    "an item twice": attrs.evolve(LINE, consumers=(consumer(uses=["i1", "i1"]),)),
}


@pytest.mark.parametrize("form", OTHER_FORMS)
@pytest.mark.parametrize("journaled", [True, False])
async def test_one_order_twice_in_two_forms(form: str, journaled: bool) -> None:  # noqa: FBT001 a parameter of the test
    """Two lines that differ only in what counts as no difference are one order: the second is there already."""
    network, journal = Network(Emulator()), MemoryJournal() if journaled else None
    async with ingest(NEW.resources(network, BASE), [LINE, OTHER_FORMS[form]], journal=journal, settle=0.0) as load:
        verdicts = [outcome.verdict async for outcome in load]
    assert verdicts == [Verdict.LOADED, Verdict.ALREADY]
