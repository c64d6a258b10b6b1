"""Every way to end a load before its input ends: what was in flight is recorded, and the next run completes it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence

import pytest

from cdp_orders_async import CdpOrders, MemoryJournal, NotSent, OrderGraph, OutcomeUnknown, PartVerdict, Verdict, ingest
from cdp_orders_async.emulator import Emulator, Switches
from cdp_orders_async.ingest import Load
from cdp_orders_async.journal import Busy, Claimed, OrderId
from tests.ingest.expectations import stored, wanted
from tests.ingest.network import Network, collected, loading
from tests.ingest.orders import count, item, order, whole
from tests.ingest.runs import crash
from tests.ingest.serving import BASE, TOKEN, served
from tests.ingest.versions import NEW, Version, in_both_versions
from tests.virtual import VirtualLoop, run

GRAPHS = [whole(f"A-{n}") for n in range(20)]


class Case:
    """A load that can be left in the middle, and finished by another run."""

    def __init__(self, stalls_after: int | None = None, version: Version = NEW) -> None:
        self.journal = MemoryJournal()
        self.stalls_after = stalls_after
        self.stalled = asyncio.Event()
        """Set when a request got no answer."""
        self.network = Network(Emulator(switches=Switches(upsert=False)), self.fate)
        self.cdp = version.resources(self.network, BASE)

    def fate(self, _: object) -> str:
        """Leave requests without an answer from some number on: every other one is done all the same."""
        if self.stalls_after is None or len(self.network.requests) < self.stalls_after:
            return "ok"
        self.stalled.set()
        return "hung" if len(self.network.requests) % 2 else "hung, not done"

    async def finish(self, graphs: Sequence[OrderGraph] = GRAPHS) -> None:
        """See that nothing is left behind, that nothing is there twice, and that another run completes the load."""
        assert asyncio.all_tasks() == {asyncio.current_task()}
        current = asyncio.current_task()
        assert current is not None
        assert current.cancelling() == 0
        self.stalls_after = None
        for verdicts in ({Verdict.LOADED, Verdict.ALREADY}, {Verdict.ALREADY}):
            async with ingest(self.cdp, graphs, journal=self.journal, settle=0.0) as load:
                assert {outcome.verdict async for outcome in load} <= verdicts
            assert stored(self.network.emulator) == wanted(graphs)


async def until(condition: Callable[[], bool]) -> None:
    """Let the others work until *condition* holds."""
    for _ in range(100_000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError


async def test_breaking_out() -> None:
    """Leaving the block after some outcomes takes no new order; those in flight end within the drain."""
    case = Case()
    async with ingest(case.cdp, GRAPHS, journal=case.journal, open_orders=3) as load:
        async for _ in load:
            if load.done >= 2:
                break
    assert 2 <= load.done < len(GRAPHS)
    await case.finish()


async def test_breaking_out_of_a_server_that_stalls() -> None:
    """What is still in flight after the drain is given up and recorded as unknown."""
    case = Case(stalls_after=40)
    async with ingest(case.cdp, GRAPHS, journal=case.journal, open_orders=3, drain=0.02):
        await case.stalled.wait()
    await case.finish()


async def test_entering_only() -> None:
    """A block that asks for nothing leaves nothing behind."""
    case = Case()
    async with ingest(case.cdp, GRAPHS, journal=case.journal):
        pass
    await case.finish()


class BodyError(Exception):
    """What the body of a test raises."""


async def test_an_exception_in_the_body() -> None:
    """It comes out as it is, once what was in flight is recorded."""
    case = Case(stalls_after=40)

    async def caller() -> None:
        async with ingest(case.cdp, GRAPHS, journal=case.journal, open_orders=3, drain=0.0):
            await case.stalled.wait()
            raise BodyError

    with pytest.raises(BodyError):
        await caller()
    await case.finish()


@pytest.mark.parametrize("turns", [0, 1, 2])
async def test_what_waits_for_its_turn_at_the_end_is_not_tried(turns: int) -> None:
    """Whatever a load that ends did not send failed in nothing, and says nothing of the server."""
    load: Load | None = None
    given: list[None] = []

    class Turns:
        async def acquire(self) -> None:
            given.append(None)
            if len(given) > turns:
                await until(lambda: load is not None and load.stopping)

    async def source() -> AsyncIterator[OrderGraph]:
        yield OrderGraph(order=order(), items=(item("i1"),))
        await asyncio.get_running_loop().create_future()

    emulator = Emulator(api_token=TOKEN)
    async with served(emulator) as options, CdpOrders(**options, shared_limiter=Turns()) as cdp:
        async with ingest(cdp, source()) as load:
            await until(lambda: len(given) > turns or load.done > 0)
        (told,) = await collected(load)
    assert load.error is None
    verdicts = {0: Verdict.NOT_TRIED, 1: Verdict.PARTIAL, 2: Verdict.LOADED}
    assert told.verdict is verdicts[turns]
    assert [part.failure for part in told.parts if part.failure is not None] == []
    assert [len([*emulator.store.all(kind)]) for kind in ("orders", "items")] == [turns > 0, turns > 1]


async def test_a_timeout_around_the_block() -> None:
    """`asyncio.timeout` ends the load as a timeout, and the caller is not cancelled."""
    case = Case(stalls_after=40)

    async def caller() -> None:
        async with (
            asyncio.timeout(0.1),
            ingest(case.cdp, GRAPHS, journal=case.journal, open_orders=3, drain=0.0) as load,
        ):
            await collected(load)

    with pytest.raises(TimeoutError):
        await caller()
    await case.finish()


@pytest.mark.parametrize("times", [1, 2, 3])
async def test_cancelling_the_caller(times: int) -> None:
    """A cancelled task ends as cancelled; cancelled once more it does not wait for the drain."""
    case = Case(stalls_after=40)

    async def caller() -> None:
        async with ingest(
            case.cdp, GRAPHS, journal=case.journal, open_orders=3, drain=0.0 if times == 1 else 60.0
        ) as load:
            async for _ in load:
                pass

    task = asyncio.create_task(caller())
    await case.stalled.wait()
    for _ in range(times):
        task.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert times == 3 or asyncio.all_tasks() == {asyncio.current_task()}
    await until(lambda: len(asyncio.all_tasks()) == 1)  # cut short by a third cancellation, they end right after
    await case.finish()


async def test_stopping_finishes_what_was_taken() -> None:
    """After `stop` with a drain the orders taken are loaded whole, and no other is taken."""
    case = Case()
    drawn: list[OrderGraph] = []

    def source() -> Iterator[OrderGraph]:
        for graph in GRAPHS:
            drawn.append(graph)
            yield graph

    async with ingest(case.cdp, source(), journal=case.journal, open_orders=3) as load:
        await anext(load)
        load.stop(60.0)
        await collected(load)
    assert load.counts == {Verdict.LOADED: len(drawn)}
    assert len(drawn) < len(GRAPHS)
    await case.finish()


@pytest.mark.parametrize("drains", [(0.0,), (60.0, 0.0), (0.01,), (60.0, 0.01)])
@in_both_versions
async def test_stopping_gives_up_what_stalls(version: Version, drains: tuple[float, ...]) -> None:
    """When the drain is over, or with the second `stop`, each order taken still ends in an outcome."""
    case, graphs = Case(stalls_after=40, version=version), [version.of(graph) for graph in GRAPHS]
    async with ingest(case.cdp, graphs, journal=case.journal, open_orders=3) as load:
        await case.stalled.wait()
        for drain in drains:
            load.stop(drain)
        outcomes = await collected(load)
    assert load.done == len(outcomes)
    unknown = [part for outcome in outcomes for part in outcome.parts if part.verdict == PartVerdict.UNKNOWN]
    assert unknown != []
    assert Verdict.UNKNOWN in load.counts
    await case.finish(graphs)


@pytest.mark.parametrize("after", range(1, 25))
@in_both_versions
async def test_stopping_at_any_moment(version: Version, after: int) -> None:
    """Whichever step a part is at when everything is given up, its order has an outcome with all its parts."""
    case, graph = Case(version=version), version.of(whole())
    async with ingest(case.cdp, [graph], journal=case.journal) as load:
        await until(lambda: len(case.network.requests) >= min(after / 2, count([graph])))
        for _ in range(after % 3):
            await asyncio.sleep(0)
        load.stop()
        outcomes = await collected(load)
    assert [len(outcome.parts) for outcome in outcomes] == [count([graph])]
    await case.finish([graph])


@pytest.mark.parametrize("drain", [0.0, 60.0, None])
async def test_a_source_that_has_nothing_to_give_yet(drain: float | None) -> None:
    """A load that waits for its input ends at once when it is stopped, or its block left."""
    case = Case()
    closed: list[bool] = []

    async def source() -> AsyncIterator[OrderGraph]:
        try:
            yield GRAPHS[0]
            await asyncio.get_running_loop().create_future()
        finally:
            closed.append(True)

    async with ingest(case.cdp, source(), journal=case.journal) as load:
        assert (await anext(load)).verdict == Verdict.LOADED
        if drain is not None:
            load.stop(drain)
            assert await collected(load) == []
    assert closed == [True]
    await case.finish()


async def test_a_source_that_stops_the_load_itself() -> None:
    """The order that the source gives while it stops the load is not taken, and the others are whole."""
    case = Case()

    def source() -> Iterator[OrderGraph]:
        yield from GRAPHS[:3]
        loads[0].stop(60.0)
        yield GRAPHS[3]

    loads: list[Load] = []
    async with ingest(case.cdp, source(), journal=case.journal, open_orders=1) as load:
        loads.append(load)
        await collected(load)
    assert load.counts == {Verdict.LOADED: 3}
    await case.finish()


async def test_a_source_that_stops_the_load_and_then_has_nothing_to_give() -> None:
    """A source that stops the load while it is asked, and then waits for more, does not hold up the end."""
    case = Case()

    async def source() -> AsyncIterator[OrderGraph]:
        yield GRAPHS[0]
        loads[0].stop(60.0)
        await asyncio.get_running_loop().create_future()

    loads: list[Load] = []
    async with ingest(case.cdp, source(), journal=case.journal, open_orders=1) as load:
        loads.append(load)
        await collected(load)
    assert load.counts == {Verdict.LOADED: 1}
    await case.finish()


def test_stopping_while_the_server_is_down() -> None:
    """Parts that wait for a server that is down do not hold up the end: nobody tries it again for them."""

    async def main(loop: VirtualLoop) -> None:
        network = Network(Emulator(), lambda _: "not sent" if len(network.requests) > 50 else "ok")
        graphs = [OrderGraph(order=order(f"A-{n}"), items=(item("i1"), item("i2"))) for n in range(100)]
        load = loading(loop, network, graphs, open_orders=50, drain=60.0)
        await until(lambda: load.paused is not None)
        assert load.paused_for > 0
        sent, now = len(network.requests), loop.time()
        await load.aclose()
        assert loop.time() == now
        assert len(network.requests) <= sent + 50
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(main)


def test_stopping_while_the_load_is_held() -> None:
    """What is held is not sent, and the end does not wait for the release; what is in flight gets its answer."""

    async def main(loop: VirtualLoop) -> None:
        network = Network(Emulator())
        network.delay = 1.0
        graphs = [OrderGraph(order=order(f"A-{n}"), items=(item("i1"),)) for n in range(3)]
        load = loading(loop, network, graphs)
        await asyncio.sleep(0.5)
        load.hold()
        load.stop(60.0)
        outcomes = await collected(load)
        assert loop.time() == 1.0
        assert [outcome.verdict for outcome in outcomes] == [Verdict.PARTIAL] * 3
        assert [request.operation for request in network.requests] == ["orders.create"] * 3
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(main)


def test_answers_that_came_while_the_loop_stood_still() -> None:
    """What is in flight has its time to finish; if the loop stood still until long after it, the answers are read."""

    async def main(loop: VirtualLoop) -> None:
        network = Network(Emulator())
        network.delay = 6
        load = loading(loop, network, [OrderGraph(order=order())], drain=5.0)
        await until(lambda: bool(network.requests))
        load.stop(5.0)
        loop.selector.late = 3
        [outcome] = await collected(load)
        await load.aclose()
        assert outcome.verdict == Verdict.LOADED

    run(main)


@pytest.mark.parametrize("stops", [True, False])
def test_stopping_while_all_answers_are_lost(*, stops: bool) -> None:
    """What was in flight is not looked up afterwards: the server is not well, and the next run looks."""

    async def main(loop: VirtualLoop) -> None:
        network = Network(Emulator(), lambda _: "lost, not done")
        network.delay = 0.5

        async def source() -> AsyncIterator[OrderGraph]:
            yield OrderGraph(order=order("A-1"))
            await asyncio.sleep(0.1)
            network.delay = 3.0
            yield OrderGraph(order=order("A-2"))

        load = loading(loop, network, source(), drain=60.0)
        await asyncio.sleep(2)
        sent = len(network.requests)
        if stops:
            load.stop(60.0)
        else:
            load.fail(NotSent("it was given up"))
        with contextlib.nullcontext() if stops else pytest.raises(OutcomeUnknown, match=r"^it was given up$"):
            await load.run()
        assert load.counts == {Verdict.UNKNOWN: 2}
        assert (loop.time(), len(network.requests)) == (3.5, sent)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(main)


class SlowJournal(MemoryJournal):
    """A journal that takes its time to claim an order."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.ready = asyncio.Event(), asyncio.Event()

    async def claim(
        self, order: OrderId, digest: bytes, *, run: bytes = b"", number: int = 0, sends: bool = False
    ) -> Claimed | Busy:
        """Say so and wait."""
        self.asked.set()
        await self.ready.wait()
        return await super().claim(order, digest, run=run, number=number, sends=sends)


async def test_stopping_before_anything_was_asked() -> None:
    """An order that was taken but not claimed when everything is given up asks the server for nothing."""
    case = Case()
    case.journal = journal = SlowJournal()
    journal.ready.set()
    await crash(journal, GRAPHS[0])
    for event in (journal.asked, journal.ready):
        event.clear()
    async with ingest(case.cdp, GRAPHS, journal=journal, open_orders=1) as load:
        await journal.asked.wait()
        load.stop()
        journal.ready.set()
        assert [outcome.verdict for outcome in await collected(load)] == [Verdict.NOT_TRIED]
    assert case.network.requests == []
    await case.finish()


async def test_who_listens_elsewhere_sees_the_end() -> None:
    """A task that listens while another leaves the block is told that it is over."""
    case = Case(stalls_after=40)
    async with ingest(case.cdp, GRAPHS, journal=case.journal, open_orders=3, drain=0.0) as load:
        listener = asyncio.create_task(collected(load))
        await case.stalled.wait()
    await listener
    await case.finish()
