"""One order, several callers: whoever comes second waits until the first has ended, and knows what it made."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal, TypeAlias

import pytest

from cdp_orders_async import (
    DeadlineExceeded,
    Delivery,
    Journal,
    JournalError,
    Load,
    MemoryJournal,
    OrderGraph,
    Outcome,
    OutcomeUnknown,
    Request,
    Resources,
    SqliteJournal,
    Verdict,
    ingest,
    ingest_one,
)
from cdp_orders_async.emulator import Emulator, Switches
from cdp_orders_async.ingest.before import Before
from cdp_orders_async.journal import OrderId
from tests.ingest.expectations import stored, wanted
from tests.ingest.network import Network, collected, loading
from tests.ingest.orders import count, item, order, whole
from tests.ingest.serving import BASE, serving
from tests.ingest.versions import Version, in_both_versions
from tests.session.calling import until
from tests.virtual import VirtualLoop, run

Kept: TypeAlias = Literal["nothing", "memory", "file"]

under_both_readings = pytest.mark.parametrize("upsert", [True, False])
ONCE = Counter({Verdict.LOADED: 1, Verdict.ALREADY: 1})


def some(names: Iterable[str]) -> list[OrderGraph]:
    """Return a small order for each of *names*."""
    return [OrderGraph(order=order(name), items=(item("i1"), item())) for name in names]


@asynccontextmanager
async def opened(kept: Kept, folder: Path) -> AsyncGenerator[Journal | None, None]:
    """Open a journal."""
    if kept == "file":
        async with await SqliteJournal.open(folder / "J.sqlite", identity={}) as journal:
            yield journal
    else:
        yield MemoryJournal() if kept == "memory" else None


async def verdicts(*calls: Awaitable[Outcome]) -> Counter[Verdict]:
    """Make *calls* at once; return the verdicts."""
    return Counter(outcome.verdict for outcome in await asyncio.gather(*calls))


@pytest.mark.parametrize("kept", ["nothing", "memory", "file"])
@pytest.mark.parametrize("look_first", [True, False])
@under_both_readings
@in_both_versions
async def test_two_callers_at_once(
    tmp_path: Path,
    version: Version,
    kept: Kept,
    look_first: bool,  # noqa: FBT001 a parameter of the test
    upsert: bool,  # noqa: FBT001 a parameter of the test
) -> None:
    """Two copies of one event make one order, whatever the journal and the options."""
    emulator, graph = Emulator(switches=Switches(upsert=upsert, latency=0.02)), version.of(whole())
    async with version.serving(emulator) as cdp, opened(kept, tmp_path) as journal:
        calls = [ingest_one(cdp, graph, journal=journal, look_first=look_first, settle=0.1) for _ in range(2)]
        assert await verdicts(*calls) == ONCE
    assert stored(emulator) == wanted([graph])
    assert sum(n for name, n in emulator.requests.items() if name.endswith(".create")) == count([graph])


@pytest.mark.parametrize("options", [(True, False), (False, True), (True, True), (False, False)])
@under_both_readings
async def test_callers_with_other_options(options: tuple[bool, bool], upsert: bool) -> None:  # noqa: FBT001 a parameter
    """A claim belongs to the client: one caller has a journal or looks first, the other not, and they share it."""
    emulator = Emulator(switches=Switches(upsert=upsert, latency=0.02))
    async with serving(emulator) as cdp:
        other = Resources(cdp.transport, cdp.base_url)
        calls = [
            ingest_one(cdp, whole(), journal=MemoryJournal() if options[0] else None, settle=0.1),
            ingest_one(other, whole(), look_first=options[1], settle=0.1, on_existing="fail"),
        ]
        assert await verdicts(*calls) == ONCE
    assert stored(emulator) == wanted([whole()])


@pytest.mark.parametrize("journaled", [True, False])
@pytest.mark.parametrize("look_first", [True, False])
def test_a_server_that_takes_long_before_it_writes(journaled: bool, look_first: bool) -> None:  # noqa: FBT001
    """However long a create takes, the second copy waits for its end, not for the settling time."""

    async def main(_: VirtualLoop) -> None:
        network = Network(Emulator(switches=Switches(upsert=False, slow_writes=3)))
        cdp, journal = Resources(network, BASE), MemoryJournal() if journaled else None

        async def later() -> Outcome:
            await asyncio.sleep(0.3)
            return await ingest_one(cdp, whole(), journal=journal, look_first=look_first, settle=1)

        first = ingest_one(cdp, whole(), journal=journal, look_first=look_first, settle=1, deadline=600)
        assert await verdicts(first, later()) == ONCE
        assert stored(network.emulator) == wanted([whole()])

    run(main)


@under_both_readings
@pytest.mark.parametrize("look_first", [True, False])
async def test_a_load_and_single_calls_at_once(look_first: bool, upsert: bool) -> None:  # noqa: FBT001 parameters
    """A load, another one that runs the other way, and single calls meet the same orders: each is there once."""
    emulator = Emulator(switches=Switches(upsert=upsert, latency=0.005))
    graphs = some("ABCDEFGH")
    async with serving(emulator) as cdp:

        async def load(some: list[OrderGraph]) -> Counter[Verdict]:
            async with ingest(cdp, some, look_first=look_first, open_orders=1, settle=0.0) as load:
                return await load.run()

        counts = await asyncio.gather(
            load(graphs),
            load(graphs[::-1]),
            *(verdicts(ingest_one(cdp, graph, look_first=look_first, settle=0.0)) for graph in graphs),
        )
    total = sum(counts, Counter[Verdict]())
    assert total == {Verdict.LOADED: len(graphs), Verdict.ALREADY: 2 * len(graphs)}
    assert stored(emulator) == wanted(graphs)


async def test_two_loads_that_hold_each_others_next_order() -> None:
    """Each has begun what the other wants next: nobody waits for ever."""
    emulator = Emulator(switches=Switches(latency=0.01))
    graphs = some("AB")
    async with (
        serving(emulator) as cdp,
        ingest(cdp, graphs, open_orders=2) as one,
        ingest(cdp, graphs[::-1], open_orders=2) as other,
    ):
        total = sum(await asyncio.gather(one.run(), other.run()), Counter[Verdict]())
    assert total == {Verdict.LOADED: 2, Verdict.ALREADY: 2}
    assert stored(emulator) == wanted(graphs)


async def test_who_reads_the_outcomes_may_load_the_same_orders() -> None:
    """A consumer of outcomes that loads orders of the same input by itself neither waits for ever nor doubles one."""
    emulator = Emulator(switches=Switches(upsert=False))
    graphs = some("ABCDE")
    seen: Counter[Verdict] = Counter()
    async with serving(emulator) as cdp, ingest(cdp, graphs, open_orders=1) as load:
        async for _ in load:
            for graph in (graphs[0], graphs[min(load.done, 4)], graphs[-1]):
                seen[(await ingest_one(cdp, graph)).verdict] += 1
    assert seen + load.counts == {Verdict.LOADED: 5, Verdict.ALREADY: 15}
    assert stored(emulator) == wanted(graphs)


class Gated(Network):
    """A network on which the creation of orders waits for a gate."""

    def __init__(self, switches: Switches) -> None:
        super().__init__(Emulator(switches=switches), self.decide)
        self.begun, self.gate = asyncio.Event(), asyncio.Event()
        self.first = "ok"
        """What becomes of the first create."""

    def decide(self, request: Request[object]) -> str | int:
        """Return the fate of a request."""
        if request.operation != "orders.create" or self.begun.is_set():
            return "ok"
        self.begun.set()
        return 400 if self.first == "refused" else self.first


@pytest.mark.parametrize("journaled", [True, False])
@pytest.mark.parametrize("first", ["hung", "hung, not done"])
async def test_the_first_copy_is_cancelled(first: str, journaled: bool) -> None:  # noqa: FBT001 a parameter of the test
    """The copy that waited takes over, looks up what the first one left behind, and completes it."""
    network = Gated(Switches(upsert=False))
    network.first = first
    cdp, journal = Resources(network, BASE), MemoryJournal() if journaled else None
    holder = asyncio.create_task(ingest_one(cdp, whole(), journal=journal, settle=0.0))
    await network.begun.wait()
    waiter = asyncio.create_task(ingest_one(cdp, whole(), journal=journal, settle=0.0))
    await asyncio.sleep(0)
    holder.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await holder
    told = Outcome.of(caught.value)
    assert told is not None
    assert told.verdict == Verdict.UNKNOWN
    assert (await waiter).verdict == Verdict.LOADED
    assert stored(network.emulator) == wanted([whole()])


async def test_a_copy_that_waits_is_cancelled() -> None:
    """It leaves the others alone: the first goes on, and the third follows."""
    emulator = Emulator(switches=Switches(upsert=False, latency=0.02))
    async with serving(emulator) as cdp:
        first, second, third = (asyncio.create_task(ingest_one(cdp, whole())) for _ in range(3))
        await until(lambda: emulator.requests)
        second.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await second
        told = Outcome.of(caught.value)
        assert told is not None
        assert (told.verdict, told.parts) == (Verdict.NOT_TRIED, ())
        assert [(await first).verdict, (await third).verdict] == [Verdict.LOADED, Verdict.ALREADY]
    assert stored(emulator) == wanted([whole()])


@pytest.mark.parametrize("journaled", [True, False])
async def test_the_first_copy_fails(journaled: bool) -> None:  # noqa: FBT001 a parameter of the test
    """What was refused to the first copy is tried by the second."""
    network = Gated(Switches(upsert=False))
    network.first = "refused"
    cdp, journal = Resources(network, BASE), MemoryJournal() if journaled else None
    outcomes = await asyncio.gather(*(ingest_one(cdp, whole(), journal=journal, settle=0.0) for _ in range(3)))
    assert [outcome.verdict for outcome in outcomes] == [Verdict.FAILED, Verdict.LOADED, Verdict.ALREADY]
    assert stored(network.emulator) == wanted([whole()])


async def test_a_load_is_stopped_while_its_orders_wait_for_a_claim() -> None:
    """Orders that wait for another caller's claim are not tried, at once; the other caller is not disturbed."""
    emulator = Emulator(switches=Switches(latency=0.05))
    async with serving(emulator) as cdp:
        holder = asyncio.create_task(ingest_one(cdp, whole()))
        await until(lambda: emulator.requests)
        async with ingest(cdp, [whole(), whole()]) as load:
            await until(lambda: load.under_way == 2)
            load.stop(60.0)
            assert [outcome.verdict for outcome in await collected(load)] == [Verdict.NOT_TRIED] * 2
        assert not holder.done()
        assert (await holder).verdict == Verdict.LOADED
    assert stored(emulator) == wanted([whole()])


async def test_the_deadline_passes_while_a_copy_waits() -> None:
    """A copy that gives up before its turn says that nothing of it was sent."""
    emulator = Emulator(switches=Switches(latency=0.2))
    async with serving(emulator) as cdp:
        holder = asyncio.create_task(ingest_one(cdp, whole()))
        await until(lambda: emulator.requests)
        with pytest.raises(DeadlineExceeded) as caught:
            await ingest_one(cdp, whole(), deadline=0.05)
        told = Outcome.of(caught.value)
        assert told is not None
        assert (told.verdict, told.parts) == (Verdict.NOT_TRIED, ())
        assert caught.value.delivery is Delivery.NOT_SENT
        assert (await holder).verdict == Verdict.LOADED
    assert stored(emulator) == wanted([whole()])


async def test_another_process_holds_the_order() -> None:
    """What somebody else has claimed in a shared journal is busy: an outcome of its own, and nothing is sent."""
    journal, network = MemoryJournal(), Network(Emulator())
    mine = whole("mine")
    await journal.claim(OrderId.of("A", whole().order.ordered_at), b"")
    async with ingest(Resources(network, BASE), [whole("A"), mine], journal=journal) as load:
        told = {outcome.number: outcome for outcome in await collected(load)}
    assert [told[n].verdict for n in (1, 2)] == [Verdict.BUSY, Verdict.LOADED]
    assert told[1].parts == ()
    assert stored(network.emulator) == wanted([mine])


def test_a_claim_whose_lease_is_lost_sends_nothing_more() -> None:
    """After its lease ended and somebody else took the order, a late worker stops at the next part, and is busy."""

    class Leased(MemoryJournal):
        lease = 30.0

        async def renew(self, keys: Sequence[str]) -> set[str]:
            return set(keys)

    async def main(loop: VirtualLoop) -> None:
        network = Network(Emulator(switches=Switches(latency=20)))
        graph = OrderGraph(order=order(), items=(item("i1", {"a": 1}),))
        load = loading(loop, network, [graph], journal=Leased())
        [outcome] = await collected(load)
        await load.aclose()
        assert outcome.verdict == Verdict.BUSY
        assert [len(one["orderItems"]) for one in stored(network.emulator)] == [0]  # the order was in flight

    run(main)


@pytest.mark.parametrize("slept", [0.0, 100.0])
async def test_a_late_worker_overwrites_nothing(slept: float) -> None:
    """A worker that slept for longer than its lease, after it decided to change something, sends no change."""

    class Leased(MemoryJournal):
        lease = 30.0

    emulator, now = Emulator(), 0.0
    before, after = (OrderGraph(order=order(), items=(item("i1", name=name),)) for name in ("Seat", "Bed"))

    def sleep(_: Before) -> None:
        nonlocal now
        now += slept

    async with serving(emulator) as first, serving(emulator) as second:
        await ingest_one(first, before)
        load = Load(
            second,
            [after],
            journal=Leased(),
            look_first=True,
            on_existing="update",
            settle=0.0,
            open_orders=1,
            drain=1.0,
            clock=lambda: now,
            keep_before=sleep,
        )
        load.start()
        [outcome] = await collected(load)
        await load.aclose()
    assert outcome.verdict is (Verdict.BUSY if slept else Verdict.UPDATED)
    [there] = emulator.store.all("items")
    assert there.data["name"] == ("Seat" if slept else "Bed")
    emulator.close()


@pytest.mark.parametrize("error", [ValueError("gone"), asyncio.CancelledError(), GeneratorExit()])
def test_a_journal_that_cannot_renew(error: BaseException) -> None:
    """Whatever it raises ends the load, which would lose its claims unseen."""

    class Broken(MemoryJournal):
        lease = 30.0

        async def renew(self, keys: Sequence[str]) -> set[str]:  # noqa: ARG002 the protocol
            raise error

    async def main(loop: VirtualLoop) -> None:
        network = Network(Emulator(switches=Switches(latency=20)))
        graph = OrderGraph(order=order(), items=(item("i1", {"a": 1}),))
        load = loading(loop, network, [graph], journal=Broken(), drain=20.0)
        with pytest.raises((ValueError, OutcomeUnknown), match=f"gone|ended in {type(error).__name__}"):
            await load.run()
        await load.aclose()
        assert load.counts == {Verdict.PARTIAL: 1}

    run(main)


async def test_a_journal_that_breaks_while_a_copy_waits() -> None:
    """It ends both copies with its own error, and each error says what is there."""
    network, journal = Gated(Switches()), MemoryJournal()
    network.delay = 0.01
    tasks = [asyncio.create_task(ingest_one(Resources(network, BASE), whole(), journal=journal)) for _ in range(2)]
    await network.begun.wait()
    await journal.aclose()
    refs: list[object] = []
    for task in tasks:
        with pytest.raises(JournalError, match="closed") as caught:
            await task
        told = Outcome.of(caught.value)
        assert told is not None
        refs.append(told.ref)
    [made] = network.emulator.store.all("orders")
    assert [str(ref) for ref in refs] == [made.ref, "None"]
