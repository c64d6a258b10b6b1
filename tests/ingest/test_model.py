"""Random orders, random servers, random failures and crashes: whatever happens, each part is there once in the end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from uuid import UUID

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from cdp_orders_async import (
    CdpError,
    GraphConsumer,
    MemoryJournal,
    NewConsumer,
    NewContact,
    OrderGraph,
    Resources,
    Verdict,
)
from cdp_orders_async.emulator import Emulator, Switches
from cdp_orders_async.ingest import Load
from cdp_orders_async.journal import GraphRecord
from tests.ingest.support import BASE, Network, item, order, person, pieces, stored, wanted
from tests.virtual import VirtualLoop, run

LAG, SETTLE = 1.0, 2.0
FATES = ("ok", "ok", "lost", "lost", "lost, not done", "not sent", "unreadable", 429, 500, 502, 503)

names = st.sampled_from([None, "Ann"])
ids = st.sampled_from([(), ("1",), ("2",), ("1", "2")])
pairs = st.sampled_from([None, {"a": 1}, {"a": 2}, {"a": 1, "b": 1}])
items = st.builds(
    item,
    st.sampled_from([None, None, "i1", "i2"]),
    pairs,
    name=st.sampled_from(["Seat", "Bag"]),
    description=st.sampled_from([None, None, "window"]),
    vendor=st.sampled_from([None, None, "Acme"]),
)


@st.composite
def graphs(draw: st.DrawFn, number: int, *, alone: bool) -> OrderGraph:
    """Draw an order full of parts that are easily taken for each other; where not *alone*, orders are too."""
    drawn = tuple(draw(st.lists(items, max_size=4)))
    references = [one.item.reference_id for one in drawn]
    known = sorted(one for one in set(references) - {None} if one and references.count(one) == 1)
    uses = st.lists(st.sampled_from(known), max_size=2, unique=True).map(tuple) if known else st.just(())
    people = st.builds(person, names, ids).map(lambda fields: fields)
    users = st.builds(
        lambda name, some, uses: GraphConsumer(NewConsumer(**person(name, *some)), uses), names, ids, uses
    )
    del people
    when = datetime(2024, 1, 1, tzinfo=UTC) + number * (timedelta(days=3) if alone else timedelta(hours=1))
    return OrderGraph(
        order=order(draw(st.sampled_from(["A", "B"])), ordered_at=when),
        contact=draw(st.none() | st.builds(lambda name, some: NewContact(**person(name, *some)), names, ids)),
        items=drawn,
        consumers=tuple(draw(st.lists(users, max_size=3))),
        extension=draw(pairs),
    )


@attrs.frozen
class Life:
    """One run of a load: what becomes of its requests, and when it dies."""

    fates: list[str | int]
    dies_after: int | None
    """Requests."""
    kept: int
    """How many of the journal's notes that nobody waited for are on the disk when it dies."""


@attrs.frozen
class Case:
    """What a server is like, what is loaded into it, and how often that fails."""

    switches: Switches
    graphs: list[OrderGraph]
    lives: list[Life]


lives = st.builds(
    Life,
    st.lists(st.sampled_from(FATES), max_size=40),
    st.none() | st.integers(1, 40),
    st.integers(0, 10),
)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Draw a case."""
    switches = Switches(
        upsert=draw(st.booleans()),
        list_lag=draw(st.sampled_from([0, LAG])),
        ignore_expand=draw(st.booleans()),
        limit_max=draw(st.sampled_from([100, 2])),
        repeat_next=draw(st.booleans()),
        extension_post_existing=draw(st.sampled_from(["replace", "merge", "refuse"])),
    )
    drawn = [draw(graphs(n, alone=switches.upsert)) for n in range(draw(st.integers(1, 3)))]
    return Case(switches, drawn, draw(st.lists(lives, min_size=1, max_size=3)))


class Disk:
    """A journal of which a crash loses the newest notes."""

    def __init__(self, journal: MemoryJournal) -> None:
        self.journal = journal
        self.notes: list[tuple[str, str, bytes | None, UUID | None]] = []
        self.dead = False

    async def begin(self, graph: str, digest: bytes) -> GraphRecord | None:
        """Write what is noted, then this."""
        await self.write()
        return await self.journal.begin(graph, digest)

    def record(self, graph: str, part: str, digest: bytes, ref: UUID | None) -> None:
        """Note a part."""
        self.notes.append((graph, part, digest, ref))

    def forget(self, graph: str, part: str) -> None:
        """Note that a part is not there."""
        self.notes.append((graph, part, None, None))

    async def end(self, graph: str, *, complete: bool) -> None:
        """Write what is noted, then this."""
        await self.write()
        await self.journal.end(graph, complete=complete)

    async def owner(self, ref: UUID) -> str | None:
        """Write what is noted, then ask."""
        await self.write()
        return await self.journal.owner(ref)

    async def aclose(self) -> None:
        """Do nothing."""

    async def write(self, most: int | None = None) -> None:
        """Write the oldest notes."""
        await asyncio.sleep(0.01)
        for graph, part, digest, ref in self.notes[:most]:
            if digest is None:
                self.journal.forget(graph, part)
            else:
                self.journal.record(graph, part, digest, ref)
        self.notes.clear()


async def live(life: Life, case: Case, emulator: Emulator, memory: MemoryJournal, loop: VirtualLoop) -> list[Verdict]:
    """Load until the end or until death; return the verdicts."""
    death, fates = asyncio.Event(), iter(life.fates)
    disk = Disk(memory)

    def fate(_: object) -> str | int:
        if life.dies_after is not None and len(network.requests) >= life.dies_after:
            death.set()
            return "hung" if len(network.requests) % 2 else "hung, not done"
        return next(fates, "ok")

    network = Network(emulator, fate)
    load = Load(
        Resources(network, BASE),
        case.graphs,
        journal=disk,
        look_first=False,
        on_existing="keep",
        open_orders=2,
        settle=SETTLE,
        drain=1.0,
        clock=loop.time,
    )
    verdicts: list[Verdict] = []

    async def listen() -> None:
        with suppress(CdpError):
            async for outcome in load:
                verdicts.append(outcome.verdict)

    ends = [asyncio.create_task(listen()), asyncio.create_task(death.wait())]
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    if death.is_set():
        notes, disk.notes = disk.notes, []
        everybody = asyncio.all_tasks() - {asyncio.current_task()}
        for task in everybody:
            task.cancel()
        await asyncio.wait(everybody)
        disk.notes = notes
        await disk.write(life.kept)
    else:
        ends[1].cancel()
        await load.aclose()
    return verdicts


async def history(case: Case, loop: VirtualLoop) -> None:
    """Live through a case, and check after each life."""
    emulator = Emulator(
        switches=case.switches, clock=lambda: datetime(2025, 1, 1, tzinfo=UTC) + timedelta(seconds=loop.time())
    )
    memory = MemoryJournal()
    for life in case.lives:
        await live(life, case, emulator, memory, loop)
        assert pieces(stored(emulator)) <= pieces(wanted(case.graphs))
    clean = Life([], None, 0)
    assert set(await live(clean, case, emulator, memory, loop)) <= {Verdict.LOADED, Verdict.ALREADY}
    assert stored(emulator) == wanted(case.graphs)
    assert set(await live(clean, case, emulator, memory, loop)) <= {Verdict.ALREADY}
    assert stored(emulator) == wanted(case.graphs)


@settings(max_examples=300)
@given(cases())
def test_each_part_is_there_once(case: Case) -> None:
    """After any failures and crashes no part is there twice, and a run without failures completes everything."""
    run(lambda loop: history(case, loop))
