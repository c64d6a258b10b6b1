"""Many orders: as many requests as parts, a bounded number open, outcomes as data, and what ends a load."""

from __future__ import annotations

import asyncio
import gc
import gzip
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from pathlib import Path

import orjson
import pytest

from cdp_orders_async import (
    CdpOrders,
    Forbidden,
    GraphFile,
    InputError,
    InputLine,
    Invalid,
    JournalError,
    MemoryJournal,
    NotSent,
    OrderGraph,
    PartVerdict,
    Request,
    Resources,
    Settings,
    SqliteJournal,
    Unauthorized,
    Verdict,
    Violation,
    ingest,
    ingest_one,
)
from cdp_orders_async.emulator import Emulator, Faults, Switches
from cdp_orders_async.ingest import Load
from cdp_orders_async.ingest.creation import Creation
from cdp_orders_async.wire import to_json
from tests.ingest.expectations import refs, stored, wanted
from tests.ingest.network import Network, collected, loading
from tests.ingest.orders import Json, count, item, order, sample, whole
from tests.ingest.serving import BASE, KEY, TOKEN, serving, virtually
from tests.ingest.versions import OLD, Version, as_v2, in_both_versions
from tests.virtual import LoopbackLoop, VirtualLoop, run, run_in


def some(number: int) -> list[OrderGraph]:
    """Return small orders."""
    return [OrderGraph(order=order(f"A-{n}"), items=(item("i1"),)) for n in range(number)]


@asynccontextmanager
async def opened(folder: Path) -> AsyncGenerator[SqliteJournal, None]:
    """Open the journal in *folder* while the context lasts."""
    async with await SqliteJournal.open(folder / "J.sqlite", identity={}) as journal:
        yield journal


@in_both_versions
async def test_a_load_sends_as_many_requests_as_there_are_parts(tmp_path: Path, version: Version) -> None:
    """The packaged orders take one request a part; again with the journal they take none, and say the same."""
    graphs, emulator = [version.of(graph) for graph in await sample()], Emulator()
    async with version.serving(emulator) as cdp:
        async with opened(tmp_path) as journal, ingest(cdp, graphs, journal=journal) as load:
            first = await collected(load)
        assert load.counts == {Verdict.LOADED: len(graphs)}
        assert emulator.requests.total() == cdp.session.stats.requests == count(graphs)
        assert stored(emulator) == wanted(graphs)
        async with opened(tmp_path) as journal, ingest(cdp, graphs, journal=journal) as load:
            second = await collected(load)
    assert load.counts == {Verdict.ALREADY: len(graphs)}
    assert emulator.requests.total() == count(graphs)
    assert refs(first) == refs(second)
    assert {part.verdict for outcome in second for part in outcome.parts} == {PartVerdict.FOUND}


@in_both_versions
async def test_a_load_under_many_faults_ends_exactly(tmp_path: Path, version: Version) -> None:
    """With one request in five failing in some way, a few runs on one journal load everything once."""
    phases = ("before", "accepted", "written")
    faults: list[Json] = [
        *({"action": action, "phase": phase} for action in ("close", "reset") for phase in (*phases, "head", "body")),
        *({"action": "status", "phase": phase, "status": status} for phase in phases for status in (500, 502, 503)),
    ]
    plan: Json = {"seed": 5, "faults": [{"operation": "*", "chance": 0.2 / len(faults), **one} for one in faults]}
    graphs = [version.of(graph) for graph in (await sample())[:20]]
    emulator = Emulator(faults=Faults.of(plan), switches=Switches(upsert=False))
    async with version.serving(emulator) as cdp:
        for _ in range(10):
            async with opened(tmp_path) as journal, ingest(cdp, graphs, journal=journal, settle=0.0) as load:
                await collected(load)
            if not set(load.counts) - {Verdict.LOADED, Verdict.ALREADY}:
                break
    assert stored(emulator) == wanted(graphs)
    assert emulator.faults.done.total() > 20


async def test_bad_lines_are_outcomes(tmp_path: Path) -> None:
    """A line that breaks a rule says where it stands and which rules; the lines around it are loaded."""
    good = orjson.dumps({**to_json(order("A")), "contact": {"firstName": "Ann"}})
    bad = orjson.dumps({**to_json(order("B")), "price": "much", "wings": 2})
    path = tmp_path / "orders.jsonl.gz"
    path.write_bytes(gzip.compress(b"\n".join([good, b"{", bad, orjson.dumps(to_json(order("C")))])))
    emulator = Emulator()
    async with serving(emulator) as cdp, ingest(cdp, GraphFile(path)) as load:
        outcomes = {outcome.number: outcome for outcome in await collected(load)}
    assert [outcomes[n].verdict for n in (1, 2, 3, 4)] == ["loaded", "invalid", "invalid", "loaded"]
    told = orjson.loads(orjson.dumps(outcomes[3].to_json()))
    assert told["file"] == str(path)
    assert {"field": "$.price", "rule": "must be a number"} in told["violations"]
    assert [violation["field"] for violation in told["violations"]] == ["$.wings", "$.price"]
    assert {one["referenceId"] for one in stored(emulator)} == {"A", "C"}


async def test_a_bad_order_from_python_is_an_outcome() -> None:
    """An order that breaks a rule is told by its position, and nothing of it is sent."""
    emulator = Emulator()
    bad = OrderGraph(order=order("B"), items=(item(name="n" * 129),))
    async with serving(emulator) as cdp, ingest(cdp, [whole("A"), bad]) as load:
        outcomes = {outcome.number: outcome for outcome in await collected(load)}
    assert outcomes[2].verdict == Verdict.INVALID
    assert [violation.field for violation in outcomes[2].violations] == ["$.orderItems[0].name"]
    assert outcomes[2].parts == ()
    assert stored(emulator) == wanted([whole("A")])


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
async def test_a_time_that_utc_does_not_have_is_an_outcome(time: str) -> None:
    """An order that no key can be made for is told by its position, and the others load."""
    bad = OrderGraph(order=order("B", ordered_at=datetime.fromisoformat(time)))
    async with ingest(Resources(Network(Emulator()), BASE), [whole("A"), bad, whole("C")]) as load:
        outcomes = {outcome.number: outcome for outcome in await collected(load)}
    assert [outcomes[n].verdict for n in (1, 2, 3)] == [Verdict.LOADED, Verdict.INVALID, Verdict.LOADED]
    assert [violation.field for violation in outcomes[2].violations] == ["$.orderedAt"]
    assert outcomes[2].key is None


@in_both_versions
async def test_orders_of_the_other_version_are_outcomes(version: Version) -> None:
    """An order that was made or read for the other version is told before anything is sent, and the others load."""
    right, wrong = (as_v2(whole("A")), whole("B")) if version is OLD else (whole("A"), as_v2(whole("B")))
    lines: list[InputLine | OrderGraph] = [InputLine("o", 1, right), InputLine("o", 2, wrong), wrong]
    network = Network(Emulator())
    async with ingest(version.resources(network, BASE), lines) as load:
        outcomes = sorted(await collected(load), key=lambda outcome: outcome.number)
    assert [outcome.verdict for outcome in outcomes] == [Verdict.LOADED, Verdict.INVALID, Verdict.INVALID]
    suffix = "V2" if version is OLD else ""
    for outcome in outcomes[1:]:
        assert Violation("$", f"must be a NewOrder{suffix}") in outcome.violations
        assert Violation("$.contact", f"must be a NewContact{suffix}") in outcome.violations
    assert len(network.requests) == count([right])


async def test_orders_are_drawn_only_when_there_is_room() -> None:
    """A consumer that stops to think stops the source too."""
    drawn: list[int] = []

    def source() -> Iterator[OrderGraph]:
        for n, graph in enumerate(some(100)):
            drawn.append(n)
            yield graph

    async with ingest(Resources(Network(Emulator()), BASE), source(), open_orders=4) as load:
        await anext(load)
        for _ in range(1000):
            await asyncio.sleep(0)
        assert len(drawn) <= 4 + 4 + 1
        assert len(await collected(load)) == 99
    assert load.done == len(drawn) == 100


class BrokenError(Exception):
    """What a source of a test raises."""


async def test_a_source_that_breaks_off_ends_the_load() -> None:
    """What came before the error is loaded whole, and then the error is raised: each time that one asks."""

    async def slowly() -> AsyncIterator[OrderGraph]:
        for graph in some(3):
            await asyncio.sleep(0)
            yield graph
        raise BrokenError

    def at_once() -> Iterator[OrderGraph]:
        yield from some(3)
        raise BrokenError

    for source in (slowly(), at_once()):
        emulator = Emulator()
        async with ingest(Resources(Network(emulator), BASE), source) as load:
            for _ in range(2):
                with pytest.raises(BrokenError):
                    await collected(load)
        assert isinstance(load.error, BrokenError)
        assert load.counts == {Verdict.LOADED: 3}
        assert stored(emulator) == wanted(some(3))


async def test_a_file_that_breaks_off_ends_the_load(tmp_path: Path) -> None:
    """A gzip file that was cut loads up to the cut, and then says so."""
    path = tmp_path / "cut.jsonl.gz"
    path.write_bytes(gzip.compress(b"".join(orjson.dumps(to_json(one.order)) + b"\n" for one in some(500)))[:-50])
    async with ingest(Resources(Network(Emulator()), BASE), GraphFile(path)) as load:
        with pytest.raises(InputError, match=r"cut\.jsonl\.gz cannot be read after line"):
            await collected(load)
    assert set(load.counts) == {Verdict.LOADED}


@pytest.mark.parametrize(("status", "error"), [(401, Unauthorized), (403, Forbidden)])
async def test_refused_credentials_end_the_load(status: int, error: type[Exception]) -> None:
    """The first 401 or 403 ends it: nothing more is created, what was taken has an outcome, and it is raised."""
    network = Network(Emulator(), lambda _: status if len(network.requests) > 10 else "ok")
    async with ingest(Resources(network, BASE), some(100), open_orders=5) as load:
        with pytest.raises(error):
            await collected(load)
    assert len(network.requests) <= 10 + 5
    assert load.done < 15
    assert {Verdict.LOADED, Verdict.FAILED} <= set(load.counts)


async def test_ingest_one_raises_what_ends_a_load() -> None:
    """One order with wrong credentials is an exception, not an outcome."""
    async with serving(Emulator(api_token="another")) as cdp:  # noqa: S106 of a test
        with pytest.raises(Unauthorized):
            await ingest_one(cdp, whole())


async def test_a_journal_that_fails_ends_the_load(tmp_path: Path) -> None:
    """Without the journal nothing is sent: its error is raised as it is, before anything is drawn."""
    network = Network(Emulator())
    journal = await SqliteJournal.open(tmp_path / "J.sqlite", identity={})
    await journal.aclose()
    drawn = iter(some(10))
    with pytest.raises(JournalError, match="closed"):
        await ingest(Resources(network, BASE), drawn, journal=journal).__aenter__()
    with pytest.raises(JournalError, match="closed"):
        await ingest_one(Resources(network, BASE), whole(), journal=journal)
    assert network.requests == []
    assert len(list(drawn)) == 10


async def test_a_journal_that_fails_midway_ends_the_load() -> None:
    """A journal that takes nothing more while parts are in flight ends the load with its own error, ungrouped."""
    journal, closing = MemoryJournal(), asyncio.Event()

    def fate(_: object) -> str:
        if len(network.requests) > 10:
            closing.set()
        return "ok"

    network = Network(Emulator(), fate)
    network.delay = 0.01
    async with ingest(Resources(network, BASE), some(50), journal=journal, open_orders=3) as load:
        ending = asyncio.create_task(collected(load))
        await closing.wait()
        await journal.aclose()
        with pytest.raises(JournalError):
            await ending
    assert len(network.requests) < 20


async def test_a_broken_transport_ends_the_load() -> None:
    """An error that is none of ours is not taken for an outcome: it ends the load and is raised as it is."""

    def fate(_: object) -> str:
        if len(network.requests) == 11:
            raise BrokenError
        return "ok"

    network, journal = Network(Emulator(), fate), MemoryJournal()
    async with ingest(Resources(network, BASE), some(50), journal=journal, open_orders=3) as load:
        with pytest.raises(BrokenError):
            await collected(load)
    async with ingest(Resources(network, BASE), some(50), journal=journal, settle=0.0) as load:
        await collected(load)
    assert stored(network.emulator) == wanted(some(50))


async def test_a_server_that_is_never_reached_ends_the_load() -> None:
    """A wrong address is told at once, and not order by order."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    settings = Settings(retries=0)
    async with (
        CdpOrders(base_url=f"http://127.0.0.1:{port}", client_key=KEY, api_token=TOKEN, settings=settings) as cdp,
        ingest(cdp, some(100), open_orders=5) as load,
    ):
        with pytest.raises(NotSent):
            await collected(load)
    assert load.done <= 5


def test_a_server_that_is_down_for_a_while_is_waited_for() -> None:
    """A server that goes away for ten minutes pauses the load. It asks little meanwhile, and goes on afterwards."""

    async def main(loop: VirtualLoop) -> None:
        network = Network(Emulator(), lambda _: "not sent" if 0 < loop.time() - went < 600 else "ok")
        network.delay, went = 0.1, 1.0
        load = loading(loop, network, some(100), journal=MemoryJournal())
        assert {outcome.verdict async for outcome in load} == {Verdict.LOADED}
        await load.aclose()
        assert 601 < loop.time() < 700
        assert stored(network.emulator) == wanted(some(100))
        assert len(network.requests) < 200 + 60

    run(main)


def test_waiting_for_a_turn_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """At a low rate with many connections calls wait far longer than their deadline, and none fails."""
    graphs = [whole("A"), whole("B"), whole("C")]
    emulator = Emulator()

    async def main(loop: LoopbackLoop) -> None:
        slow = virtually(loop, monkeypatch, emulator, retries=0, rate=25, connections=100, deadline=0.2, timeout=5)
        async with slow as given, ingest(Resources(*given), graphs) as load:
            assert {outcome.verdict async for outcome in load} == {Verdict.LOADED}

    run_in(LoopbackLoop, main)
    assert emulator.requests.total() == count(graphs)


async def test_a_busy_server_is_no_failure() -> None:
    """Where most calls get a 429, each part waits until it is its turn."""
    network = Network(Emulator(), lambda _: "ok" if len(network.requests) % 7 == 0 else 429)
    async with ingest(Resources(network, BASE), some(50)) as load:
        assert {outcome.verdict async for outcome in load} == {Verdict.LOADED}
    assert stored(network.emulator) == wanted(some(50))


def test_a_part_that_meets_no_luck_waits_while_others_get_through() -> None:
    """A part that gets a 429 again and again is not given up as long as the server serves others."""

    def fate(request: Request[object]) -> str | int:
        tries = sum(one.operation == "contacts.create" for one in network.requests)
        return 429 if request.operation == "contacts.create" and tries < 50 else "ok"

    async def main(loop: VirtualLoop) -> None:
        network.delay = 0.1
        load = loading(loop, network, graphs, open_orders=3)
        assert {outcome.verdict async for outcome in load} == {Verdict.LOADED}
        await load.aclose()

    network = Network(Emulator(), fate)
    graphs = [whole("unlucky"), *some(100)]
    run(main)
    assert stored(network.emulator) == wanted(graphs)


async def test_a_server_that_only_says_429_is_given_up() -> None:
    """Where nobody gets through, a part is tried a few times and is then certainly not there."""
    network = Network(Emulator(), lambda _: 429)
    outcome = await ingest_one(Resources(network, BASE), whole())
    assert outcome.verdict == Verdict.FAILED
    assert len(network.requests) < 10


NOWHERE = Resources(Network(Emulator()), BASE)


@pytest.mark.parametrize(
    ("field", "load"),
    [
        ("on_existing", lambda: ingest(NOWHERE, [], on_existing="replace")),  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        ("open_orders", lambda: ingest(NOWHERE, [], open_orders=0)),
        ("settle", lambda: ingest(NOWHERE, [], settle=-1.0)),
        ("drain", lambda: ingest(NOWHERE, [], drain=float("nan"))),
    ],
)
async def test_wrong_options_are_refused(field: str, load: Callable[[], AbstractAsyncContextManager[Load]]) -> None:
    """An option that cannot be is told before anything is read or sent."""
    with pytest.raises(Invalid) as caught:
        await load().__aenter__()
    assert [violation.field for violation in caught.value.violations] == [field]


@pytest.mark.parametrize("seconds", [-1.0, float("inf"), float("nan")])
async def test_seconds_that_cannot_be(seconds: float) -> None:
    """The rule that is told is the one that is broken, whatever the number is."""
    with pytest.raises(Invalid) as caught:
        ingest(NOWHERE, [], settle=seconds, drain=seconds)
    rule = "must be a finite number of at least 0"
    assert caught.value.violations == (Violation("settle", rule), Violation("drain", rule))


async def test_an_order_leaves_no_circle_of_references() -> None:
    """A load lets the garbage collector look seldom, so nothing of an ended order may wait for it."""
    async with serving(Emulator()) as cdp:
        gc.collect()
        gc.disable()
        try:
            async with ingest(cdp, [whole(f"A-{n}") for n in range(3)]) as load:
                assert len([outcome async for outcome in load]) == 3
            assert [held for held in gc.get_objects() if isinstance(held, Creation)] == []
        finally:
            gc.enable()
