"""Random orders, random servers, random failures and crashes: whatever happens, each part is there once in the end."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TypeVar
from uuid import UUID

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from cdp_orders_async import (
    CdpError,
    GraphConsumer,
    JournalError,
    MemoryJournal,
    NewConsumer,
    NewContact,
    OrderGraph,
    Verdict,
)
from cdp_orders_async.emulator import Emulator, Switches
from cdp_orders_async.journal import Busy, Claimed, OrderId
from tests.ingest.support import (
    VERSIONS,
    Network,
    Version,
    item,
    loading,
    order,
    person,
    pieces,
    stored,
    wanted,
)
from tests.virtual import VirtualLoop, run

LAG, SETTLE = 1.0, 2.0
START = datetime(2024, 1, 1, tzinfo=UTC)
P = TypeVar("P", NewContact, NewConsumer)
FATES = ("ok", "ok", "lost", "lost", "lost, not done", "not sent", "unreadable", 429, 500, 502, 503)

items = st.builds(
    item,
    st.sampled_from([None, None, "i1", "i2"]),
    st.sampled_from([None, {"a": 1}, {"a": 2}, {"a": 1, "b": 1}]),
    name=st.sampled_from(["Seat", "Bag"]),
    description=st.sampled_from([None, None, "window"]),
    vendor=st.sampled_from([None, None, "Acme"]),
)


def people(model: type[P]) -> SearchStrategy[P]:
    """Return people of whom many look alike."""
    ids = st.lists(st.sampled_from(["1", "2"]), max_size=2, unique=True)
    return st.tuples(st.sampled_from([None, "Ann"]), ids).map(lambda drawn: model(**person(drawn[0], *drawn[1])))


@st.composite
def graphs(draw: st.DrawFn, number: int, *, alone: bool) -> OrderGraph:
    """Draw an order full of parts that are easily taken for each other; where not *alone*, orders are to the server."""
    drawn = draw(st.lists(items, max_size=4))
    known = Counter(one.item.reference_id for one in drawn if one.item.reference_id)
    single = [reference for reference, times in known.items() if times == 1]
    uses = st.lists(st.sampled_from(single), max_size=2, unique=True).map(tuple) if single else st.just(())
    apart = timedelta(days=3) if alone else timedelta(hours=1)
    return OrderGraph(
        order=order(draw(st.sampled_from(["A", "B"])), ordered_at=START + number * apart),
        contact=draw(st.none() | people(NewContact)),
        items=tuple(drawn),
        consumers=tuple(draw(st.lists(st.builds(GraphConsumer, people(NewConsumer), uses), max_size=3))),
        extension=draw(st.none() | st.just({"a": 1})),
    )


@attrs.frozen
class Life:
    """One run of a load: what becomes of its requests, and how it ends."""

    fates: list[str | int]
    lasts: int | None
    """Requests; None is until everything is done."""
    ends: str = "crash"
    """``crash``, ``stop`` or ``leave``."""
    kept: int = 0
    """How many of the notes that nobody waited for the journal has after a crash."""


@attrs.frozen
class Case:
    """What a server is like, what is loaded into it, and how often that fails."""

    switches: Switches
    version: Version
    has_journal: bool
    """Else each run looks first."""
    alone: bool
    """Whether the orders are so far apart that none is another one to the server."""
    graphs: list[OrderGraph]
    lives: list[Life]


lives = st.builds(
    Life,
    st.lists(st.sampled_from(FATES), max_size=40),
    st.none() | st.integers(1, 40),
    st.sampled_from(["crash", "crash", "stop", "leave"]),
    st.integers(0, 10),
)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Draw a case."""
    has_journal = draw(st.booleans())
    switches = Switches(
        upsert=draw(st.booleans()),
        list_lag=draw(st.sampled_from([0, LAG])),
        ignore_expand=draw(st.booleans()),
        limit_max=draw(st.sampled_from([100, 2])),
        repeat_next=draw(st.booleans()),
        extension_post_existing=draw(st.sampled_from(["replace", "merge", "refuse"])),
    )
    version, alone = draw(st.sampled_from(VERSIONS)), draw(st.booleans())
    drawn = [version.of(draw(graphs(n, alone=alone))) for n in range(draw(st.integers(1, 3)))]
    return Case(switches, version, has_journal, alone, drawn, draw(st.lists(lives, min_size=1, max_size=3)))


class Disk(MemoryJournal):
    """A journal of which a crash loses the newest notes; what it has written is in *memory*."""

    def __init__(self, memory: MemoryJournal) -> None:
        super().__init__()
        self.memory = memory
        self.notes: list[Callable[[], None]] = []
        self.claimed: set[str] = set()
        self.dead = False

    async def claim(self, order: OrderId, digest: bytes, *, run: bytes = b"", number: int = 0) -> Claimed | Busy:
        """Write what is noted, then this."""
        await self.write()
        self.claimed.add(order.key)
        return await self.memory.claim(order, digest, run=run, number=number)

    def record(self, graph: str, part: str, digest: bytes, ref: UUID | None, *, created: bool = False) -> None:
        """Note a part."""
        self.notes.append(partial(self.memory.record, graph, part, digest, ref, created=created))

    def forget(self, graph: str, part: str) -> None:
        """Note that a part is not there."""
        self.notes.append(partial(self.memory.forget, graph, part))

    async def end(self, graph: str, *, complete: bool) -> None:
        """Write what is noted, then this."""
        await self.write()
        await self.memory.end(graph, complete=complete)

    async def owner(self, ref: UUID) -> str | None:
        """Write what is noted, then ask."""
        await self.write()
        return await self.memory.owner(ref)

    async def write(self) -> None:
        """Write all notes; fail after a crash."""
        await asyncio.sleep(0.01)
        if self.dead:
            raise JournalError("the process is dead")
        for note in self.notes:
            note()
        self.notes.clear()

    def crash(self, kept: int) -> None:
        """Write the oldest notes, and lose the others and every claim."""
        self.dead = True
        for note in self.notes[:kept]:
            note()
        for key in self.claimed:
            self.memory.release(key)


async def live(
    life: Life, case: Case, emulator: Emulator, memory: MemoryJournal, loop: VirtualLoop
) -> dict[int, Verdict]:
    """Load until the end of a life; return the verdicts by the position of the order."""
    enough, fates = asyncio.Event(), iter(life.fates)
    disk = Disk(memory)

    def fate(_: object) -> str | int:
        if life.lasts is not None and len(network.requests) >= life.lasts:
            enough.set()
            return "hung" if len(network.requests) % 2 else "hung, not done"
        return next(fates, "ok")

    network = Network(emulator, fate)
    load = loading(
        loop,
        network,
        case.graphs,
        version=case.version,
        journal=disk if case.has_journal else None,
        look_first=not case.has_journal,
        open_orders=2,
        settle=SETTLE,
    )

    async def listen() -> dict[int, Verdict]:
        with suppress(CdpError):
            return {outcome.number: outcome.verdict async for outcome in load}
        return {}

    listener, waiter = asyncio.create_task(listen()), asyncio.create_task(enough.wait())
    await asyncio.wait({listener, waiter}, return_when=asyncio.FIRST_COMPLETED)
    waiter.cancel()
    if enough.is_set() and life.ends == "crash":
        disk.crash(life.kept)
        everybody = asyncio.all_tasks() - {asyncio.current_task()}
        for task in everybody:
            task.cancel()
        await asyncio.wait(everybody)
        return {}
    if enough.is_set() and life.ends == "stop":
        load.stop()
    elif enough.is_set():
        await load.aclose()
    verdicts = await listener
    await load.aclose()
    return verdicts


async def history(case: Case, loop: VirtualLoop) -> None:
    """Live through a case, and look at the server after each life."""
    emulator = Emulator(switches=case.switches, clock=lambda: START + timedelta(seconds=loop.time()))
    memory = MemoryJournal()
    for life in case.lives:
        await live(life, case, emulator, memory, loop)
        assert pieces(stored(emulator)) <= pieces(wanted(case.graphs))
    whole = Life([], None)
    verdicts = await live(whole, case, emulator, memory, loop)
    loaded = {n for n, verdict in verdicts.items() if verdict in {Verdict.LOADED, Verdict.ALREADY}}
    # The server takes orders within two days for one: of those with one reference id one is there, the others wait
    # for a person. Which one, a failure of the first may have decided.
    assert {verdicts[n] for n in verdicts.keys() - loaded} <= {Verdict.CONFLICT}
    there = [case.graphs[n - 1] for n in sorted(loaded)]
    ids = Counter(graph.order.reference_id for graph in (case.graphs if case.alone else there))
    assert ids == Counter(graph.order.reference_id for graph in there)
    assert ids.keys() == {graph.order.reference_id for graph in case.graphs}
    assert case.alone or set(ids.values()) == {1}
    assert stored(emulator) == wanted(there)
    again = await live(whole, case, emulator, memory, loop)
    assert again == {n: Verdict.ALREADY if n in loaded else Verdict.CONFLICT for n in verdicts}
    assert stored(emulator) == wanted(there)


@settings(max_examples=300)
@given(cases())
def test_each_part_is_there_once(case: Case) -> None:
    """After any failures and crashes no part is there twice, and a run without failures completes everything."""
    run(lambda loop: history(case, loop))
