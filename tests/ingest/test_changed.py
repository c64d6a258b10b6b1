"""The next run on the same journal with an input that has changed, or a server that has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import attrs
import pytest

from cdp_orders_async import NewContact, OrderGraph, PartVerdict, Resources, Verdict, ingest_one
from cdp_orders_async.ingest import OnExisting
from tests.ingest.expectations import stored, wanted
from tests.ingest.network import Network
from tests.ingest.orders import consumer, item, order, person, whole
from tests.ingest.runs import Case, crash, differs, parts
from tests.ingest.serving import BASE
from tests.ingest.versions import NEW, OLD, Version, in_both_versions


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


CHANGES: Mapping[str, tuple[str, ...]] = {
    "order": ("channel",),
    "contact": ("first_name",),
    "items/0": ("name",),
    "items/0/ext": ("seat",),
    "consumers/0": ("order_items",),
    "ext": ("campaign",),
}
CHANGES_V2: Mapping[str, tuple[str, ...]] = {
    **{name: fields for name, fields in CHANGES.items() if name != "items/0/ext"},
    "items/0": ("name", "flight_segments"),
}


def changes(version: Version) -> Mapping[str, tuple[str, ...]]:
    """Return what differs between `changed` and `whole`."""
    return CHANGES if version is NEW else CHANGES_V2


@in_both_versions
async def test_changed_parts_are_kept(version: Version) -> None:
    """What differs is left as it is and said so, with every run, until the input is what is there."""
    case = Case.new(version)
    await case.load(whole())
    for _ in range(2):
        kept = await case.load(changed())
        assert (kept.verdict, differs(kept)) == (Verdict.KEPT, changes(version))
        assert parts(kept, PartVerdict.KEPT) == changes(version).keys()
        assert {name.partition(".")[2] for name in case.asked} - {"list"} == {"get"}
    assert case.holds(whole())
    back = await case.load(whole())
    assert (back.verdict, differs(back)) == (Verdict.ALREADY, {})
    await case.load(whole())
    assert case.asked.total() == 0


@in_both_versions
async def test_changed_parts_are_updated(version: Version) -> None:
    """With ``update`` what differs is brought up to the input, and then it is known."""
    case = Case.new(version)
    await case.load(whole())
    updated = await case.load(changed(), "update")
    assert (updated.verdict, differs(updated)) == (Verdict.UPDATED, {})
    assert parts(updated, PartVerdict.UPDATED) == changes(version).keys()
    assert case.holds(changed())
    assert (await case.load(changed(), "fail")).verdict == Verdict.ALREADY
    assert case.asked.total() == 0


@in_both_versions
async def test_an_update_leaves_alone_what_the_input_does_not_say(version: Version) -> None:
    """A field that only the server has stays as it is, also where a whole resource must be sent."""
    case = Case.new(version)
    detailed = attrs.evolve(
        whole(),
        contact=NewContact(**person("Ann", "1"), title="Dr", nationality="IE"),
        items=(item("i1", {"seat": "1A"}, quantity=2, vendor="Acme"), *whole().items[1:]),
        extension={"campaign": "spring", "score": 7},
    )
    await case.load(detailed)
    less = attrs.evolve(
        whole(),
        contact=NewContact(**person("Eve", "1")),
        items=(item("i1", {"seat": "1A"}, vendor="Byte"), *whole().items[1:]),
        extension={"campaign": "summer"},
    )
    assert (await case.load(less, "update")).verdict == Verdict.UPDATED
    assert case.holds(
        attrs.evolve(
            detailed,
            contact=NewContact(**person("Eve", "1"), title="Dr", nationality="IE"),
            items=(item("i1", {"seat": "1A"}, quantity=2, vendor="Byte"), *whole().items[1:]),
            extension={"campaign": "summer", "score": 7},
        )
    )


@in_both_versions
async def test_changed_parts_are_refused(version: Version) -> None:
    """With ``fail`` what differs is a conflict that changes nothing and stays one, until it may be updated."""
    case = Case.new(version)
    await case.load(whole())
    for _ in range(2):
        refused = await case.load(changed(), "fail")
        assert (refused.verdict, differs(refused)) == (Verdict.CONFLICT, changes(version))
        assert parts(refused, PartVerdict.CONFLICT) == changes(version).keys()
        assert refused.ref is not None
    assert case.holds(whole())
    assert (await case.load(changed(), "update")).verdict == Verdict.UPDATED
    assert case.holds(changed())


@pytest.mark.parametrize("restarted", [True, False])
async def test_an_update_that_fails_is_made_by_the_next_run(restarted: bool) -> None:  # noqa: FBT001 a parameter
    """A part that is there and could not be changed has failed: it is neither in doubt nor sent anew."""
    case = Case.new()
    await case.load(whole())
    failed = await case.load(changed(), "update", items__update=400, item_extensions__update=400)
    assert failed.verdict == Verdict.PARTIAL
    assert parts(failed, PartVerdict.FAILED) == {"items/0"}
    if restarted:  # then only the journal knows
        case.network = Network(case.network.emulator)
    again = await case.load(changed(), "update")
    assert parts(again, PartVerdict.UPDATED) == {"items/0", "items/0/ext"}
    assert stored(case.network.emulator) == wanted([changed()])


@pytest.mark.parametrize(
    ("version", "operation", "part"),
    [(NEW, "contacts.update", "contact"), (OLD, "contacts.update", "contact"), (OLD, "order_extensions.create", "ext")],
    ids=str,
)
async def test_a_lost_update_is_made_again(version: Version, operation: str, part: str) -> None:
    """A change only sets values, so one whose answer is lost is sent again."""
    case = Case.new(version)
    await case.load(whole())
    fates = iter(["lost", "lost, not done"])
    case.network.fate = lambda request: next(fates, "ok") if request.operation == operation else "ok"
    updated = await ingest_one(
        version.resources(case.network, BASE),
        version.of(changed()),
        journal=case.journal,
        on_existing="update",
        settle=0.0,
    )
    assert part in parts(updated, PartVerdict.UPDATED)
    assert sum(request.operation == operation for request in case.network.requests) == 3 + (part == "ext")
    assert case.holds(changed())


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
    await crash(case.journal, plain)
    assert (await case.load(plain)).verdict == Verdict.LOADED
    assert stored(case.network.emulator) == wanted([plain])


async def test_a_part_that_the_input_has_no_more_stays() -> None:
    """Nothing is deleted, what stays is told, and an item that comes back is known."""
    case = Case.new()
    await case.load(whole())
    fewer = attrs.evolve(whole(), items=whole().items[:2])
    left = await case.load(fewer)
    assert left.verdict == Verdict.ALREADY
    assert Counter(one.kind for one in left.leftovers) == {"items": 3, "item_extensions": 1}
    back = await case.load(whole())
    assert (back.verdict, back.leftovers) == (Verdict.ALREADY, ())
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


@in_both_versions
async def test_what_its_reference_leads_to_is_another_order(version: Version) -> None:
    """An order whose reference leads to one with another id is a conflict, with every run, and nothing is sent."""
    case = Case.new(version)
    first = await case.load(whole())
    case.network.emulator.store.reset()  # the same references are given again
    other = await Case(Network(case.network.emulator), version).load(whole("ANOTHER"))
    assert other.ref == first.ref
    policies: tuple[OnExisting, ...] = ("update", "keep", "fail", "update")
    for policy in policies:
        refused = await case.load(changed(), on_existing=policy)
        assert refused.verdict == Verdict.CONFLICT
        assert f"another order, ANOTHER, as {first.ref}" in str(refused.parts[0].reason)
        assert {name.partition(".")[2] for name in case.asked} == {"get"}
    assert case.holds(whole("ANOTHER"))
