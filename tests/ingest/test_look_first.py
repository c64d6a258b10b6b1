"""Asking the server before anything is sent: with no journal, what is there is found, and left or changed as told."""

from __future__ import annotations

import asyncio
import itertools
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, TypeVar

import attrs
import pytest

from cdp_orders_async import (
    Consumer,
    GraphConsumer,
    GraphItem,
    MemoryJournal,
    NewConsumer,
    OrderGraph,
    Outcome,
    PartVerdict,
    Request,
    Resources,
    Verdict,
    ingest,
    ingest_one,
)
from cdp_orders_async.emulator import Emulator, Switches
from cdp_orders_async.ingest import Load, OnExisting
from cdp_orders_async.wire import to_json
from tests.ingest.expectations import refs, stored, wanted
from tests.ingest.network import ELSEWHERE, Network, add, collected, loading
from tests.ingest.orders import consumer, count, item, later, order, sample, whole
from tests.ingest.serving import BASE, serving
from tests.ingest.versions import NEW, VERSIONS, Version, in_both_versions
from tests.virtual import VirtualLoop, run

T = TypeVar("T")


def creates(network: Network) -> list[str]:
    """Return what was sent that makes or changes something."""
    return [request.operation for request in network.requests if request.method != "GET"]


@pytest.mark.parametrize(
    "switches",
    [
        Switches(),
        Switches(upsert=False),
        Switches(ignore_expand=True, limit_max=3),
        Switches(unexpanded="ref", ignore_expand=True, repeat_next=True),
        Switches(extension_post_existing="refuse"),
    ],
)
@in_both_versions
async def test_a_second_run_without_a_journal_changes_nothing(version: Version, switches: Switches) -> None:
    """Orders that are there are found with all their parts, by whatever reading of the documents."""
    graphs = [version.of(graph) for graph in (*(await sample())[:10], whole("A"), whole("B"))]
    emulator = Emulator(switches=switches)
    async with version.serving(emulator) as cdp:
        async with ingest(cdp, graphs, look_first=True, settle=0.0) as load:
            first = await collected(load)
        effects = len(emulator.store.effects)
        async with ingest(cdp, graphs, look_first=True, settle=0.0) as load:
            second = await collected(load)
    assert load.counts == {Verdict.ALREADY: len(graphs)}
    assert refs(first) == refs(second)
    assert len(refs(second)) == count(graphs)
    assert len(emulator.store.effects) == effects
    assert stored(emulator) == wanted(graphs)


async def test_a_redelivered_order_changes_nothing() -> None:
    """A worker that gets an order twice says the second time that all of it is there."""
    emulator = Emulator()
    async with serving(emulator) as cdp:
        outcomes = [await ingest_one(cdp, whole(), look_first=True, settle=0.0) for _ in range(3)]
    assert [outcome.verdict for outcome in outcomes] == [Verdict.LOADED, Verdict.ALREADY, Verdict.ALREADY]
    assert len({outcome.ref for outcome in outcomes}) == 1
    assert stored(emulator) == wanted([whole()])


async def test_an_order_that_is_absent_costs_one_look() -> None:
    """Where the order is not there, none of its parts is looked for."""
    network = Network(Emulator())
    assert (await ingest_one(Resources(network, BASE), whole(), look_first=True, settle=0.0)).verdict == Verdict.LOADED
    assert len(network.requests) == 1 + count([whole()])


async def test_what_is_missing_is_added() -> None:
    """Of an order that is there in part, only the rest is sent."""
    network = Network(Emulator())
    cdp = Resources(network, BASE)
    await ingest_one(cdp, attrs.evolve(whole(), items=whole().items[:3], extension=None, contact=None))
    network.requests.clear()
    outcome = await ingest_one(cdp, whole(), look_first=True, settle=0.0)
    assert outcome.verdict == Verdict.LOADED
    assert sorted(creates(network)) == [
        "contacts.create",
        "items.create",
        "items.create",
        "order_extensions.create",
    ]
    assert stored(network.emulator) == wanted([whole()])


def changed(mode: Literal["insert", "upsert"] = "insert") -> OrderGraph:
    """Return `whole` with some changes."""
    graph = whole()
    return attrs.evolve(
        graph,
        order=attrs.evolve(graph.order, channel="BRANCH"),
        items=(item("i1", {"seat": "2A"}), *graph.items[1:]),
        mode=mode,
    )


def there(graph: OrderGraph) -> Emulator:
    """Return a server that has an order, with its items made in the order in which they stand."""
    emulator = Emulator()
    add(emulator, "orders", to_json(graph.order))
    for one in graph.items:
        made = add(emulator, "items", to_json(one.item))
        if one.extension is not None:
            emulator.store.extend("item_extensions", made.ref, dict(one.extension), ELSEWHERE)
    return emulator


def differs(outcome: Outcome) -> dict[str, tuple[str, ...]]:
    """Return what was left as it is though the input says otherwise."""
    return {part.name: part.differs for part in outcome.parts if part.differs}


@pytest.mark.parametrize(
    ("mode", "on_existing", "verdict", "left", "result"),
    [
        ("insert", "keep", Verdict.KEPT, {"order", "seat"}, whole()),
        ("insert", "update", Verdict.UPDATED, set[str](), changed()),
        ("insert", "fail", Verdict.CONFLICT, {"order", "seat"}, whole()),
        ("upsert", "keep", Verdict.UPDATED, set[str](), changed()),
        ("upsert", "fail", Verdict.UPDATED, set[str](), changed()),
    ],
)
@in_both_versions
async def test_what_differs(
    version: Version,
    mode: Literal["insert", "upsert"],
    on_existing: OnExisting,
    verdict: Verdict,
    left: set[str],
    result: OrderGraph,
) -> None:
    """It is kept and said so, updated, or refused, as the load was told; the mode of a line comes first."""
    emulator, graph = Emulator(), version.of(changed(mode))
    async with version.serving(emulator) as cdp:
        await ingest_one(cdp, version.of(whole()))
        look_first = mode == "insert"  # an upsert looks by itself
        outcome = await ingest_one(cdp, graph, look_first=look_first, on_existing=on_existing, settle=0.0)
    seat = ("items/0/ext", ("seat",)) if version is NEW else ("items/0", ("flight_segments",))
    told = {"order": ("order", ("channel",)), "seat": seat}
    assert (outcome.verdict, differs(outcome)) == (verdict, dict(told[name] for name in left))
    assert stored(emulator) == wanted([version.of(result)])


def without_links(page: Any) -> None:  # noqa: ANN401 whatever a request gave
    """Take the links off the consumers of a page."""
    for one in getattr(page, "items", ()):
        if isinstance(one, Consumer):
            one.order_items = None


async def test_links_that_a_list_does_not_show_are_fetched() -> None:
    """Where a server shows of a consumer's items only where they are listed, that list is read."""
    graph = OrderGraph(
        order=order(),
        items=(item("i1"), item("i2")),
        consumers=(consumer(uses=["i1"]), consumer(uses=["i2"]), consumer()),
    )

    class Terse(Network):
        async def send(self, request: Request[T], /) -> T:
            got = await super().send(request)
            without_links(got)
            return got

    network = Network(Emulator())
    await ingest_one(Resources(network, BASE), graph)
    outcome = await ingest_one(Resources(Terse(network.emulator), BASE), graph, look_first=True, settle=0.0)
    assert outcome.verdict == Verdict.ALREADY
    assert len(refs([outcome])) == count([graph])


TWINS = (
    item(),
    item(None, {"a": 1}),
    item(None, {"a": 1, "b": 2}),
    item(None, {"a": 2}),
    item(description="window"),
)


@pytest.mark.parametrize("made", list(itertools.permutations(TWINS[:4])))
async def test_twins_are_told_apart_by_their_extensions(made: tuple[GraphItem, ...]) -> None:
    """Whichever was made first, items that differ in nothing else keep the extension that they have."""
    graph = OrderGraph(order=order(), items=TWINS[:4])
    network = Network(there(attrs.evolve(graph, items=made)))
    outcome = await ingest_one(Resources(network, BASE), graph, look_first=True, settle=0.0)
    assert (outcome.verdict, creates(network)) == (Verdict.ALREADY, [])
    assert differs(outcome) == {}
    assert len(refs([outcome])) == count([graph])


@pytest.mark.parametrize("missing", range(len(TWINS)))
@pytest.mark.parametrize("turned", [1, -1])
async def test_of_items_that_look_alike_the_missing_one_is_made(missing: int, turned: int) -> None:
    """Where one of them is not there, none of the others is taken for it."""
    graph = OrderGraph(order=order(), items=TWINS)
    some = [one for n, one in enumerate(TWINS) if n != missing]
    network = Network(there(attrs.evolve(graph, items=tuple(some[::turned]))))
    outcome = await ingest_one(Resources(network, BASE), graph, look_first=True, settle=0.0)
    assert outcome.verdict == Verdict.LOADED
    assert creates(network).count("items.create") == 1
    assert stored(network.emulator) == wanted([graph])


async def test_equal_items_whose_extensions_are_missing_get_them() -> None:
    """Items that were all made before any of their extensions are as many as they are, and no conflict."""
    graph = OrderGraph(order=order(), items=TWINS[:4])
    network = Network(there(attrs.evolve(graph, items=(item(),) * 4)))
    outcome = await ingest_one(Resources(network, BASE), graph, look_first=True, settle=0.0)
    assert outcome.verdict == Verdict.LOADED
    assert creates(network) == ["item_extensions.create"] * 3
    assert stored(network.emulator) == wanted([graph])


async def test_an_item_without_a_reference_id_is_not_one_that_has_one() -> None:
    """An item that another item of the order goes by is not taken for one that only looks like it."""
    graph = OrderGraph(order=order(), items=(item(), item("i1")))
    network = Network(there(attrs.evolve(graph, items=(item("i1"),))))
    assert (await ingest_one(Resources(network, BASE), graph, look_first=True, settle=0.0)).verdict == Verdict.LOADED
    assert creates(network) == ["items.create"]
    assert stored(network.emulator) == wanted([graph])


@pytest.mark.parametrize(("name", "verdict"), [("Seat", Verdict.LOADED), ("Bag", Verdict.KEPT)])
def test_consumers_are_told_apart_by_their_items(name: str, verdict: Verdict) -> None:
    """A person who is twice in an order, once with an item, is found with it and made without it."""

    async def main(loop: VirtualLoop) -> None:
        network = Network(Emulator())
        graph = OrderGraph(order=order(), items=(item("i1"),), consumers=(consumer(uses=["i1"]), consumer()))
        made = attrs.evolve(graph, items=(item("i1", name=name),), consumers=graph.consumers[:1])
        await ingest_one(Resources(network, BASE), made)
        network.requests.clear()
        load = loading(loop, network, [graph], look_first=True)
        assert [outcome.verdict async for outcome in load] == [verdict]
        await load.aclose()
        assert creates(network) == ["consumers.create"]
        assert stored(network.emulator) == wanted([attrs.evolve(graph, items=made.items)])

    run(main)


START = datetime(2025, 1, 1, tzinfo=UTC)


def lagging(loop: VirtualLoop, *, upsert: bool) -> Network:
    """Return a server whose lists are a second behind."""
    switches = Switches(list_lag=1.0, upsert=upsert)
    return Network(Emulator(switches=switches, clock=lambda: START + timedelta(seconds=loop.time())))


@pytest.mark.parametrize("version", VERSIONS, ids=str)
@pytest.mark.parametrize(
    ("on_existing", "verdict"), [("keep", Verdict.KEPT), ("update", Verdict.UPDATED), ("fail", Verdict.CONFLICT)]
)
def test_an_extension_that_was_edited_before_lists_show_it(
    version: Version, on_existing: OnExisting, verdict: Verdict
) -> None:
    """It is fetched by its reference: version 2 has a list of extensions, in which it is not yet."""

    async def main(loop: VirtualLoop) -> None:
        cdp, journal = version.resources(lagging(loop, upsert=False), BASE), MemoryJournal()
        graph = version.of(whole())
        assert (await ingest_one(cdp, graph, journal=journal)).verdict == Verdict.LOADED
        edited = attrs.evolve(graph, extension={"campaign": "autumn"})
        outcome = await ingest_one(cdp, edited, journal=journal, on_existing=on_existing)
        assert outcome.verdict == verdict
        assert [part.name for part in outcome.parts if part.verdict != PartVerdict.FOUND] == ["ext"]

    run(main)


@pytest.mark.parametrize("upsert", [True, False])
def test_lists_that_lag_are_waited_for(upsert: bool) -> None:  # noqa: FBT001 a parameter of the test
    """An order redelivered before the lists show it is found, because absence counts only after a while."""

    async def main(loop: VirtualLoop) -> None:
        network = lagging(loop, upsert=upsert)
        for verdict in (Verdict.LOADED, Verdict.ALREADY):
            load = loading(loop, network, [whole()], look_first=True)
            assert {outcome.verdict async for outcome in load} == {verdict}
            await load.aclose()
        assert stored(network.emulator) == wanted([whole()])

    run(main)


def test_answers_lost_while_lists_lag() -> None:
    """A create whose answer is lost is waited for, and neither sent again nor given up."""

    async def main(loop: VirtualLoop) -> None:
        network = lagging(loop, upsert=False)
        network.fate = lambda request: "lost" if request.creates else "ok"
        load = loading(loop, network, [whole("A"), whole("B")])
        assert {outcome.verdict async for outcome in load} == {Verdict.LOADED}
        await load.aclose()
        assert len([request for request in network.requests if request.creates]) == count([whole(), whole()])
        assert stored(network.emulator) == wanted([whole("A"), whole("B")])

    run(main)


def test_a_namesake_is_not_taken_while_lists_lag() -> None:
    """An order that could be the one but differs counts only after a while: until then the right one may show up."""

    async def main(loop: VirtualLoop) -> None:
        network = lagging(loop, upsert=False)
        namesake = later(whole(), timedelta(hours=1)).order
        add(network.emulator, "orders", to_json(namesake))
        await asyncio.sleep(10)  # of virtual time: lists show it
        network.fate = lambda request: "lost" if request.operation == "orders.create" else "ok"
        load = loading(loop, network, [whole()], settle=5.0)
        assert {outcome.verdict async for outcome in load} == {Verdict.LOADED}
        await load.aclose()
        assert stored(network.emulator) == wanted([whole(), OrderGraph(order=namesake)])

    run(main)


class Watched(Network):
    """A way to a server; at each request somebody looks at the progress of a load."""

    load: Load | None = None
    seen = 0

    async def send(self, request: Request[T], /) -> T:
        """Look, and send."""
        if self.load is not None:
            assert all(left >= 0 for left, _ in self.load.requests_left)
            self.seen += 1
        return await super().send(request)


@pytest.mark.parametrize("journaled", [False, True])
@pytest.mark.parametrize("on_existing", ["keep", "update", "fail"])
async def test_progress_of_a_load_that_finds_other_values(
    on_existing: OnExisting,
    journaled: bool,  # noqa: FBT001 a parameter of the test
) -> None:
    """The requests that are left can be asked at any moment, also between finding a part and changing it."""
    emulator = Emulator()
    await ingest_one(Resources(Network(emulator), BASE), whole())
    graph = whole()
    first = attrs.evolve(graph.items[0], item=attrs.evolve(graph.items[0].item, name="another"))
    network = Watched(emulator)
    edited = attrs.evolve(graph, items=(first, *graph.items[1:]))
    journal = MemoryJournal(identity={}) if journaled else None
    options: dict[str, Any] = {"look_first": True, "settle": 0.0, "journal": journal, "on_existing": on_existing}
    async with ingest(Resources(network, BASE), [edited], **options) as network.load:
        (outcome,) = await collected(network.load)
    assert network.seen > 3
    assert outcome.verdict is {"keep": Verdict.KEPT, "update": Verdict.UPDATED, "fail": Verdict.CONFLICT}[on_existing]


async def test_a_person_of_whom_nothing_is_known() -> None:
    """A consumer without any value takes the one on the server that fits no other consumer of the order.

    That is so before it is known which items the others use.
    """
    emulator = Emulator()
    ann, twin = consumer("Ann", uses=("i1",)), item("i1", {"seat": "1A"})
    first = OrderGraph(order=order(), items=(twin, twin), consumers=(consumer("Ann"),))
    graph = OrderGraph(order=order(), items=(twin,), consumers=(ann, GraphConsumer(NewConsumer())))
    outcomes = [
        await ingest_one(Resources(Network(emulator), BASE), each, look_first=True, settle=0.0)
        for each in (first, graph, graph)
    ]
    assert [outcome.verdict for outcome in outcomes] == [Verdict.LOADED, Verdict.LOADED, Verdict.ALREADY]


SEATS: tuple[dict[str, str | int], ...] = ({}, {"seat": "1A"}, {"seat": "1B"})


@pytest.mark.parametrize("on_existing", ["keep", "update", "fail"])
@pytest.mark.parametrize("before", list(itertools.product(range(3), repeat=3)))
async def test_an_equal_item_is_found_by_its_extension(before: tuple[int, ...], on_existing: OnExisting) -> None:
    """Of three equal items with or without an extension one is removed: the others are the ones that look the same."""
    emulator = Emulator(switches=Switches(upsert=False))
    held = [item(None, SEATS[n] or None) for n in before]
    await ingest_one(Resources(Network(emulator), BASE), OrderGraph(order=order(), items=tuple(held)))
    for removed in range(3):
        left = tuple(entry for n, entry in enumerate(held) if n != removed)
        network = Network(emulator)
        outcome = await ingest_one(
            Resources(network, BASE),
            OrderGraph(order=order(), items=left),
            look_first=True,
            on_existing=on_existing,
            settle=0.0,
        )
        assert (outcome.verdict, creates(network)) == (Verdict.ALREADY, [])
        assert [one.kind for one in outcome.leftovers] == ["items"]
