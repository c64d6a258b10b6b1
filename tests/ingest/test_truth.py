"""What an outcome and an error say of an order is what is on the server; what may be there is never called unsent."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import orjson
import pytest

from cdp_orders_async import (
    CdpError,
    CdpOrders,
    DeadlineExceeded,
    Delivery,
    Forbidden,
    JournalError,
    Load,
    MemoryJournal,
    NotSent,
    OrderGraph,
    Outcome,
    OutcomeUnknown,
    PartVerdict,
    Request,
    Resources,
    Settings,
    Unauthorized,
    Verdict,
    ingest,
    ingest_one,
)
from cdp_orders_async.emulator import Emulator, Faults, Switches, running
from cdp_orders_async.wire import to_json
from tests.ingest.expectations import stored, wanted
from tests.ingest.network import Network, collected, loading
from tests.ingest.orders import Json, count, item, order, whole
from tests.ingest.runs import Case, differs
from tests.ingest.serving import BASE, KEY, TOKEN, serving, virtually
from tests.virtual import LoopbackLoop, VirtualLoop, run, run_in


def some(number: int) -> list[OrderGraph]:
    """Return small orders."""
    return [OrderGraph(order=order(f"A-{n}"), items=(item("i1"),)) for n in range(number)]


def told(error: BaseException) -> Outcome:
    """Return the outcome that *error* carries."""
    outcome = Outcome.of(error)
    assert outcome is not None
    return outcome


@pytest.mark.parametrize("first", ["lost", "lost, not done", "unreadable", 500, 503, 521, "page 200", "hung"])
@pytest.mark.parametrize("then", ["not sent", "lost", 500, "page 404"])
@pytest.mark.parametrize("kind", ["orders", "items", "contacts", "consumers", "order_extensions"])
def test_a_server_that_is_gone_after_a_lost_answer(kind: str, first: str | int, then: str | int) -> None:
    """A part whose answer was lost and that cannot be looked up is unknown, and nothing says that it was not sent."""

    async def main(_: VirtualLoop) -> None:
        gone: list[str] = []

        def fate(request: Request[Any]) -> str | int:
            if gone:
                return then
            if request.operation != f"{kind}.create":
                return "ok"
            gone.append(request.operation)
            return first

        network = Network(Emulator(), fate)
        network.delay = 0.1
        said: Delivery | None = None
        try:
            outcome = await ingest_one(Resources(network, BASE), whole(), settle=0.5, deadline=60)
        except CdpError as error:
            outcome, said = told(error), error.delivery
        assert said is not Delivery.NOT_SENT
        assert outcome.verdict == Verdict.UNKNOWN
        name = {"orders": "order", "order_extensions": "ext", "items": "items/0", "consumers": "consumers/1"}.get(kind)
        [unknown] = [part for part in outcome.parts if part.name == (name or "contact")]
        assert unknown.verdict == PartVerdict.UNKNOWN
        assert unknown.failure is None or unknown.failure.delivery != Delivery.NOT_SENT
        made = {record.ref for records in ("orders", kind) for record in network.emulator.store.all(records)}
        assert {str(part.ref) for part in outcome.parts if part.name == "order" and part.ref} <= made

    run(main)


@pytest.mark.parametrize("status", [500, 501, 502, 503, 504, 521])
async def test_the_client_alone_never_repeats_a_create_that_met_a_server_error(status: int) -> None:
    """A create that met a server error after it was done is unknown, and is sent once."""
    fault: Json = {"action": "status", "phase": "written", "status": status}
    emulator = Emulator(faults=Faults.of({"faults": [{"operation": "*.create", "script": [fault]}]}))
    async with serving(emulator, retries=3) as cdp:
        with pytest.raises(OutcomeUnknown) as caught:
            await cdp.orders.create(order())
    assert (caught.value.delivery, caught.value.attempts) == (Delivery.UNKNOWN, 1)
    assert emulator.store.counts["orders.create"] == 1


@pytest.mark.parametrize(("status", "error"), [(401, Unauthorized), (403, Forbidden)])
@pytest.mark.parametrize("journaled", [True, False])
async def test_credentials_end_in_the_middle_of_an_order(
    status: int,
    error: type[CdpError],
    journaled: bool,  # noqa: FBT001 a parameter of the test
) -> None:
    """What was made before is in the error; the next call completes the order."""
    network = Network(Emulator(switches=Switches(upsert=False)))
    network.fate = lambda request: status if request.operation == "items.create" else "ok"
    cdp, journal = Resources(network, BASE), MemoryJournal() if journaled else None
    with pytest.raises(error) as caught:
        await ingest_one(cdp, whole(), journal=journal)
    outcome = told(caught.value)
    [made] = network.emulator.store.all("orders")
    assert (outcome.verdict, str(outcome.ref)) == (Verdict.PARTIAL, made.ref)
    assert {part.verdict for part in outcome.parts} == {PartVerdict.CREATED, PartVerdict.FAILED, PartVerdict.BLOCKED}
    network.fate = lambda _: "ok"
    assert (await ingest_one(cdp, whole(), journal=journal)).verdict == Verdict.LOADED
    assert stored(network.emulator) == wanted([whole()])


def test_a_deadline_in_the_middle_of_an_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings of the client say how long one order may take, whatever the server answers meanwhile."""
    busy: Json = {"action": "status", "phase": "before", "status": 429}
    plan: Json = {"faults": [{"operation": "contacts.create", "script": [busy] * 500}]}
    emulator = Emulator(faults=Faults.of(plan))
    graph = attrs.evolve(whole(), items=(), consumers=(), extension=None)

    async def main(loop: LoopbackLoop) -> None:
        async with virtually(loop, monkeypatch, emulator, deadline=2) as given:
            with pytest.raises(DeadlineExceeded) as caught:
                await ingest_one(Resources(*given), graph)
            outcome = told(caught.value)
            assert outcome.verdict == Verdict.PARTIAL
            [made] = emulator.store.all("orders")
            assert str(outcome.ref) == made.ref
            assert caught.value.delivery is not Delivery.NOT_SENT

    run_in(LoopbackLoop, main)


def test_answers_that_came_while_the_loop_stood_still() -> None:
    """They are read, though the deadline passed meanwhile: what is whole is loaded, and of the rest nothing is sent."""

    async def main(loop: VirtualLoop) -> None:
        network = Network(Emulator())
        network.delay = 6
        loop.selector.late = 3
        cdp = Resources(network, BASE)
        assert (await ingest_one(cdp, OrderGraph(order=order("A")), deadline=5)).verdict == Verdict.LOADED
        with pytest.raises(DeadlineExceeded) as caught:
            await ingest_one(cdp, OrderGraph(order=order("B"), items=(item("i1"),)), deadline=5)
        assert [part.verdict for part in told(caught.value).parts] == [PartVerdict.CREATED, PartVerdict.BLOCKED]
        assert [request.operation for request in network.requests] == ["orders.create"] * 2
        loop.selector.late = 0
        with pytest.raises(DeadlineExceeded) as caught:  # here the time is over
            await ingest_one(cdp, OrderGraph(order=order("C")), deadline=5)
        assert told(caught.value).verdict == Verdict.UNKNOWN

    run(main)


def test_a_deadline_while_nothing_was_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where everything was refused, the error says that nothing of it is there."""
    busy: Json = {"action": "status", "phase": "before", "status": 429, "retry_after": 60}
    emulator = Emulator(faults=Faults.of({"faults": [{"operation": "*", "script": [busy]}]}))

    async def main(loop: LoopbackLoop) -> None:
        async with virtually(loop, monkeypatch, emulator, retries=0) as given:
            with pytest.raises(DeadlineExceeded) as caught:
                await ingest_one(Resources(*given), whole(), deadline=0.3)
        assert told(caught.value).is_untouched
        assert stored(emulator) == []

    run_in(LoopbackLoop, main)


async def test_a_server_that_was_never_reached() -> None:
    """One order that reached nobody raises `NotSent`, with an outcome of which nothing is there."""
    async with running() as url:
        pass
    async with CdpOrders(base_url=url, client_key=KEY, api_token=TOKEN, settings=Settings(retries=0)) as cdp:
        with pytest.raises(NotSent) as caught:
            await ingest_one(cdp, whole())
    assert told(caught.value).is_untouched
    assert caught.value.delivery is Delivery.NOT_SENT


async def test_what_is_looked_for_and_absent_says_so() -> None:
    """A part whose answers were lost and that is certainly not there has a failure in words that fit together."""
    network = Network(Emulator(), lambda request: "lost, not done" if request.operation == "contacts.create" else "ok")
    outcome = await ingest_one(Resources(network, BASE), whole(), settle=0.0)
    [failure] = [part.failure for part in outcome.parts if part.failure is not None]
    assert (failure.kind, failure.delivery) == ("NotSent", Delivery.NOT_SENT)
    assert failure.message.startswith("it is not on the server: its answer was lost, and a look-up found nothing")
    sent = sum(request.operation == "contacts.create" for request in network.requests)
    assert failure.attempts == sent > 1


async def read(load: Load, outcomes: list[Outcome]) -> None:
    """Add the outcomes of *load* to *outcomes* as they come."""
    async for outcome in load:
        outcomes.append(outcome)  # noqa: PERF401 the load ends with an error


class Full(MemoryJournal):
    """A journal whose disk becomes full after some writes."""

    def __init__(self, writes: int, method: str) -> None:
        super().__init__()
        self.left, self.method = writes, method

    def spend(self, method: str) -> None:
        """Write once."""
        self.left -= method == self.method
        if self.left < 0:
            raise JournalError("the disk is full")

    async def claim(self, *given: Any, **rest: Any) -> Any:  # noqa: ANN401 as in MemoryJournal
        """Claim an order."""
        self.spend("claim")
        return await super().claim(*given, **rest)

    def record(self, *given: Any, **rest: Any) -> None:  # noqa: ANN401 as in MemoryJournal
        """Note a part."""
        self.spend("record")
        super().record(*given, **rest)

    async def end(self, *given: Any, **rest: Any) -> None:  # noqa: ANN401 as in MemoryJournal
        """End an order."""
        self.spend("end")
        await super().end(*given, **rest)


@pytest.mark.parametrize("method", ["claim", "record", "end"])
@pytest.mark.parametrize("writes", [0, 1, 7])
async def test_every_order_that_was_taken_has_an_outcome(method: str, writes: int) -> None:
    """When the journal's disk is full, the load ends, and says of each order that was taken what may be there."""
    network, taken = Network(Emulator(switches=Switches(upsert=False))), list[str]()

    def source() -> Any:  # noqa: ANN401 an iterator
        for graph in some(50):
            taken.append(graph.key)
            yield graph

    journal = Full(writes, method)
    async with ingest(Resources(network, BASE), source(), journal=journal, open_orders=8) as load:
        outcomes: list[Outcome] = []
        with pytest.raises(JournalError, match="full"):
            await read(load, outcomes)
    assert sorted(outcome.key or "" for outcome in outcomes) == sorted(taken)
    there = {one["referenceId"] for one in stored(network.emulator)}
    untouched = {outcome.key for outcome in outcomes if outcome.is_untouched}
    assert {key.partition("@")[0] for key in taken} - {str(key).partition("@")[0] for key in untouched} == there
    assert {outcome.verdict for outcome in outcomes} & {Verdict.LOADED, Verdict.UNKNOWN, Verdict.NOT_TRIED}


async def test_a_journal_error_inside_a_create_ends_the_load() -> None:
    """It is no failure of that part: the part was made, the order is unknown, and the load ends."""
    network = Network(Emulator())
    async with ingest(Resources(network, BASE), some(20), journal=Full(0, "record"), open_orders=1) as load:
        with pytest.raises(JournalError, match="full"):
            await load.run()
    assert isinstance(load.error, JournalError)
    assert Verdict.FAILED not in load.counts
    assert load.counts[Verdict.UNKNOWN] + load.counts[Verdict.PARTIAL] >= 1


async def test_what_is_refused_sends_nothing() -> None:
    """With ``fail``, an order with one part that differs and one that is new is refused as a whole."""
    case = Case.new()
    await case.load(whole())
    more = attrs.evolve(
        whole(),
        order=attrs.evolve(whole().order, channel="BRANCH"),
        items=(item("i9"), *whole().items),
        extension={"campaign": "summer", "visits": 3},
    )
    for fresh in (False, True):
        if fresh:
            case.network = Network(case.network.emulator)
        outcome = await case.load(more, "fail")
        assert (outcome.verdict, differs(outcome)) == (Verdict.CONFLICT, {"order": ("channel",), "ext": ("campaign",)})
        assert [one.operation for one in case.network.requests if one.method != "GET"] == []
        assert [part.verdict for part in outcome.parts if part.name == "items/0"] == [PartVerdict.BLOCKED]
    assert case.holds(whole())
    looked = Network(case.network.emulator)
    outcome = await ingest_one(Resources(looked, BASE), more, look_first=True, on_existing="fail", settle=0.0)
    assert outcome.verdict == Verdict.CONFLICT
    assert case.holds(whole())


async def test_a_new_part_of_an_order_that_fits_is_made() -> None:
    """With ``fail``, an order that has only more than the server is completed."""
    case = Case.new()
    await case.load(whole())
    more = attrs.evolve(whole(), items=(item("i9"), *whole().items))
    assert (await case.load(more, "fail")).verdict == Verdict.LOADED
    assert case.holds(more)


def test_what_a_look_before_costs() -> None:
    """A new order is sent when the load is as old as the settling time, and that passes once for all orders."""

    async def main(loop: VirtualLoop) -> None:
        network = Network(Emulator())
        network.delay = 0.01
        load = loading(loop, network, some(300), look_first=True, settle=10.0, open_orders=50)
        assert {outcome.verdict for outcome in await collected(load)} == {Verdict.LOADED}
        await load.aclose()
        assert 10 <= loop.time() < 14

    run(main)


@pytest.mark.parametrize("known", [True, False])
def test_a_journal_that_knows_the_order_makes_a_look_free(known: bool) -> None:  # noqa: FBT001 a parameter of the test
    """An order that the journal knows as loaded takes no request and no time, also with a look before."""

    async def main(loop: VirtualLoop) -> None:
        journal, network = MemoryJournal(), Network(Emulator())
        if known:
            await ingest_one(Resources(network, BASE), whole(), journal=journal)
        fresh = Network(network.emulator)
        load = loading(loop, fresh, [whole()], journal=journal, look_first=True, settle=10.0)
        [outcome] = await collected(load)
        await load.aclose()
        if known:
            assert (outcome.verdict, fresh.requests, loop.time()) == (Verdict.ALREADY, [], 0)
        else:
            assert (outcome.verdict, loop.time()) == (Verdict.LOADED, 10)

    run(main)


def test_a_single_order_goes_before_a_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of a web backend overtakes a load of the same client, unless it is told to go with it."""
    emulator = Emulator()
    between: dict[str, int] = {}

    async def main(loop: LoopbackLoop) -> None:
        async with virtually(loop, monkeypatch, emulator, rate=100, connections=4) as given:
            cdp = Resources(*given)
            async with ingest(cdp, some(200)) as load:
                await anext(load)
                for priority in ("interactive", "bulk"):
                    before = emulator.requests.total()
                    await ingest_one(cdp, whole(priority), priority=priority)
                    between[priority] = emulator.requests.total() - before - count([whole()])
                load.stop()

    run_in(LoopbackLoop, main)
    assert between["interactive"] < between["bulk"]
    assert between["interactive"] < count([whole()])


@pytest.mark.parametrize(
    "given", [order(), {"referenceId": "A"}, None, [whole()], "orders.jsonl", b"{}"], ids=lambda one: type(one).__name__
)
async def test_one_order_is_a_graph(given: Any) -> None:  # noqa: ANN401 whatever somebody gives
    """What is no order graph is told by its type, with what it takes, before anything is done."""
    network = Network(Emulator())
    with pytest.raises(TypeError, match=f"ingest_one takes an OrderGraph, not {type(given).__name__}"):
        await ingest_one(Resources(network, BASE), given)
    assert network.requests == []


@pytest.mark.parametrize(
    "given", [order(), {"referenceId": "A"}, None, b"orders.jsonl", 7], ids=lambda one: type(one).__name__
)
async def test_an_input_is_orders_or_a_path(given: Any) -> None:  # noqa: ANN401 whatever somebody gives
    """What gives no orders is told by its type, before anything is done."""
    network = Network(Emulator())
    with pytest.raises(TypeError, match=f"ingest takes orders .* or a path, not {type(given).__name__}"):
        await ingest(Resources(network, BASE), given).__aenter__()
    assert network.requests == []


async def test_one_order_is_no_input() -> None:
    """One order where many are taken is told, with what to do."""
    with pytest.raises(TypeError, match="ingest takes orders, not one OrderGraph: put it into a list"):
        await ingest(Resources(Network(Emulator()), BASE), whole()).__aenter__()  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("kind", [str, Path])
async def test_an_input_is_a_path(tmp_path: Path, kind: type[str | Path]) -> None:
    """A file is read by its path, and each outcome says its file and line."""
    path = tmp_path / "orders.jsonl"
    path.write_bytes(b"".join(orjson.dumps(to_json(graph.order)) + b"\n" for graph in some(3)))
    async with ingest(Resources(Network(Emulator()), BASE), kind(path)) as load:
        places = {(outcome.file, outcome.number, outcome.verdict) for outcome in await collected(load)}
    assert places == {(str(path), n, Verdict.LOADED) for n in (1, 2, 3)}


@pytest.mark.parametrize("wrong", [order(), {"referenceId": "A"}, None, 7], ids=lambda one: type(one).__name__)
async def test_an_input_that_gives_something_else(wrong: object) -> None:
    """What is no order among orders ends the load with a `TypeError`, and those before it are loaded."""
    network = Network(Emulator())
    given: Sequence[Any] = [whole(), wrong, whole("B")]
    async with ingest(Resources(network, BASE), given) as load:
        with pytest.raises(TypeError, match=f"an input gives OrderGraph or InputLine, not {type(wrong).__name__}"):
            await load.run()
    assert load.counts == {Verdict.LOADED: 1}
