"""What every journal does, the one in memory and the one in SQLite alike."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import TypeAlias
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdp_orders_async.errors import JournalError
from cdp_orders_async.journal import GraphRecord, Journal, MemoryJournal, PartRecord, SqliteJournal

IDENTITY = {"base URL": "https://api.example.com"}
OLD, NEW = b"old", b"new"
ONE, TWO = UUID(int=1), UUID(int=2)


@pytest.fixture(params=["memory", "sqlite"])
async def journal(request: pytest.FixtureRequest, path: Path) -> AsyncIterator[Journal]:
    """Open a new journal of each sort."""
    new: Journal = MemoryJournal() if request.param == "memory" else await SqliteJournal.open(path, identity=IDENTITY)
    async with aclosing(new):
        yield new


async def test_nothing_is_known_of_a_new_graph(journal: Journal) -> None:
    """The first begin of a graph returns None."""
    assert await journal.begin("G", OLD) is None


async def test_a_graph_that_never_ended_says_so(journal: Journal) -> None:
    """A graph begun again before its end was under way, with the parts that were recorded."""
    await journal.begin("G", OLD)
    journal.record("G", "order", b"o", ONE)
    journal.record("G", "orderItems[0]", b"i", None)
    parts = {"order": PartRecord(b"o", ONE), "orderItems[0]": PartRecord(b"i", None)}
    assert await journal.begin("G", OLD) == GraphRecord(OLD, complete=False, ended=False, parts=parts)


async def test_an_end_without_all_parts_is_not_complete(journal: Journal) -> None:
    """A graph that ended incomplete has ended, and beginning it again puts it under way."""
    await journal.begin("G", OLD)
    await journal.end("G", complete=False)
    assert await journal.begin("G", OLD) == GraphRecord(OLD, complete=False, ended=True, parts={})
    assert await journal.begin("G", OLD) == GraphRecord(OLD, complete=False, ended=False, parts={})


async def test_a_complete_graph_stays_complete(journal: Journal) -> None:
    """Beginning a complete graph with the same digest changes nothing."""
    await journal.begin("G", OLD)
    await journal.end("G", complete=True)
    complete = GraphRecord(OLD, complete=True, ended=True, parts={})
    assert [await journal.begin("G", OLD) for _ in range(2)] == [complete, complete]


async def test_a_changed_graph_is_begun_anew(journal: Journal) -> None:
    """Beginning a complete graph with another digest stores it and keeps the parts."""
    await journal.begin("G", OLD)
    journal.record("G", "order", b"o", ONE)
    await journal.end("G", complete=True)
    parts = {"order": PartRecord(b"o", ONE)}
    assert await journal.begin("G", NEW) == GraphRecord(OLD, complete=True, ended=True, parts=parts)
    assert await journal.begin("G", NEW) == GraphRecord(NEW, complete=False, ended=False, parts=parts)


async def test_the_last_record_of_a_part_counts(journal: Journal) -> None:
    """A part recorded again has its new ref, and one forgotten has no record; other graphs are not touched."""
    for graph in ("G", "H"):
        await journal.begin(graph, OLD)
        journal.record(graph, "order", b"o", None)
        journal.record(graph, "contact", b"c", TWO)
    journal.record("G", "order", b"p", ONE)
    journal.forget("G", "contact")
    journal.forget("G", "never recorded")
    g, h = [await journal.begin(graph, OLD) for graph in ("G", "H")]
    assert g is not None
    assert g.parts == {"order": PartRecord(b"p", ONE)}
    assert h is not None
    assert h.parts == {"order": PartRecord(b"o", None), "contact": PartRecord(b"c", TWO)}


async def test_what_begin_returned_stays_as_it_was(journal: Journal) -> None:
    """A record that was returned does not change when more is noted."""
    await journal.begin("G", OLD)
    before = await journal.begin("G", OLD)
    journal.record("G", "order", b"o", ONE)
    await journal.end("G", complete=True)
    assert before == GraphRecord(OLD, complete=False, ended=False, parts={})


async def test_the_owner_of_an_order(journal: Journal) -> None:
    """A ref belongs to the graph whose order has it now, whatever other parts have."""
    for graph in ("G", "H"):
        await journal.begin(graph, OLD)
    journal.record("G", "order", b"o", ONE)
    journal.record("H", "contact", b"c", TWO)
    assert [await journal.owner(ref) for ref in (ONE, TWO)] == ["G", None]
    journal.record("G", "order", b"o", TWO)
    assert [await journal.owner(ref) for ref in (ONE, TWO)] == [None, "G"]
    journal.forget("G", "order")
    assert [await journal.owner(ref) for ref in (ONE, TWO)] == [None, None]


async def test_the_first_of_two_owners(journal: Journal) -> None:
    """Of two graphs whose orders have the same ref, the one begun first is the owner."""
    for graph in ("Z", "A"):
        await journal.begin(graph, OLD)
    for graph in ("A", "Z"):
        journal.record(graph, "order", b"o", ONE)
    assert await journal.owner(ONE) == "Z"


async def test_a_graph_that_was_never_begun_has_no_records(journal: Journal) -> None:
    """Notes about an unknown graph leave no trace."""
    journal.record("G", "order", b"o", ONE)
    journal.forget("G", "order")
    await journal.end("G", complete=True)
    assert await journal.owner(ONE) is None
    assert await journal.begin("G", OLD) is None


async def test_a_key_that_is_not_unicode_hurts_nobody_else(journal: Journal) -> None:
    """A lone surrogate in a key is refused to that caller alone."""
    with pytest.raises(UnicodeEncodeError):
        await journal.begin("\ud800", OLD)
    assert await journal.begin("G", OLD) is None


async def test_a_closed_journal_refuses_everything(journal: Journal) -> None:
    """After closing, which may be repeated, every call says that the journal is closed."""
    await journal.aclose()
    await journal.aclose()
    with pytest.raises(JournalError, match="closed"):
        journal.record("G", "order", b"o", ONE)
    with pytest.raises(JournalError, match="closed"):
        journal.forget("G", "order")
    for call in (journal.begin("G", OLD), journal.end("G", complete=True), journal.owner(ONE)):
        with pytest.raises(JournalError, match="closed"):
            await call


# A random history, with the file closed and opened again in between, reads the same in both.

Step: TypeAlias = tuple[str, str, str, bytes, UUID | None]

KEYS = st.sampled_from(["", "G", "g", "G\0", "G\0H", "'; --", "Ж", "\N{PERSON WITH BALL}", "G "])
STEPS = st.tuples(
    st.sampled_from(["begin", "begin", "record", "record", "forget", "complete", "incomplete", "owner", "reopen"]),
    KEYS,
    st.sampled_from(["order", "order", "contact", "orderItems[0].extensions[0]", "order\0"]),
    st.sampled_from([b"", b"\0", OLD, NEW]),
    st.sampled_from([None, ONE, TWO, UUID(int=2**128 - 1)]),
)


async def do(journal: Journal, step: Step) -> GraphRecord | str | None:
    """Do one step, and return what the journal tells."""
    name, graph, part, digest, ref = step
    match name:
        case "begin":
            return await journal.begin(graph, digest)
        case "record":
            journal.record(graph, part, digest, ref)
        case "forget":
            journal.forget(graph, part)
        case "owner":
            return await journal.owner(ref or ONE)
        case _:
            await journal.end(graph, complete=name == "complete")
    return None


async def told_by_sqlite(path: Path, steps: Sequence[Step]) -> list[GraphRecord | str | None]:
    """Do *steps* in the journal at *path*, opening it anew at each "reopen"."""
    told: list[GraphRecord | str | None] = []
    journal = await SqliteJournal.open(path, identity=IDENTITY, max_batch=3)
    try:
        for step in steps:
            if step[0] == "reopen":
                await journal.aclose()
                journal = await SqliteJournal.open(path, identity=IDENTITY, max_batch=3)
            else:
                told.append(await do(journal, step))
    finally:
        await journal.aclose()
    return told


@settings(max_examples=150)
@given(steps=st.lists(STEPS, max_size=40))
def test_both_journals_tell_the_same(steps: list[Step]) -> None:
    """Whatever is done, in whatever order, the file tells what memory tells, closed and reopened or not."""
    graphs = dict.fromkeys(graph for _, graph, *_ in steps)
    steps = [*steps, ("reopen", "", "", b"", None), *(("begin", graph, "", b"last", None) for graph in graphs)]

    async def compare(path: Path) -> None:
        memory = MemoryJournal()
        expected = [await do(memory, step) for step in steps if step[0] != "reopen"]
        assert await told_by_sqlite(path, steps) == expected

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(compare(Path(folder) / "J.sqlite"))
