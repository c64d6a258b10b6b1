"""What every journal does: what it knows of an order and its parts."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest

from cdp_orders_async.errors import JournalError
from cdp_orders_async.journal import Claimed, CreatedPart, GraphRecord, Journal, OrderId, PartRecord
from cdp_orders_async.journal.load_ids import id_with_file, load_id, start_of, without_first_start
from tests.journal.stores import IDENTITY, START, Store, claimed, key, looked, order

OLD, NEW = b"old", b"new"
ONE, TWO = UUID(int=1), UUID(int=2)
G, H = key("G"), key("H")


async def created(journal: Journal) -> list[CreatedPart]:
    """Return everything that the journal calls created."""
    return [part async for part in journal.created()]


async def test_nothing_is_known_of_a_new_graph(journal: Journal) -> None:
    """The first claim of a graph knows nothing."""
    assert await claimed(journal, "G") is None


async def test_a_graph_that_never_ended_says_so(journal: Journal) -> None:
    """A graph claimed again before its end was under way, with the parts that were recorded."""
    await claimed(journal, "G", OLD)
    journal.record(G, "order", b"o", ONE)
    journal.record(G, "orderItems[0]", b"i", None)
    journal.release(G)
    parts = {"order": PartRecord(b"o", ONE), "orderItems[0]": PartRecord(b"i", None)}
    assert await claimed(journal, "G", OLD) == GraphRecord(OLD, complete=False, ended=False, parts=parts)


async def test_an_end_without_all_parts_is_not_complete(journal: Journal) -> None:
    """A graph that ended incomplete has ended, and claiming it again puts it under way."""
    await claimed(journal, "G", OLD)
    await journal.end(G, complete=False)
    assert await looked(journal, "G", OLD) == GraphRecord(OLD, complete=False, ended=True, parts={})
    assert await looked(journal, "G", OLD) == GraphRecord(OLD, complete=False, ended=False, parts={})


async def test_a_complete_graph_stays_complete(journal: Journal) -> None:
    """Claiming a complete graph with the same digest changes nothing but who claimed it last."""
    for number in range(3):
        await journal.claim(order("G"), OLD, run=b"run", number=number)
        await journal.end(G, complete=True)
        await journal.claim(order("G"), OLD, run=b"another", number=number + 10)
        journal.release(G)
        complete = GraphRecord(OLD, complete=True, ended=True, parts={}, run=b"another", number=number + 10)
        assert await looked(journal, "G", OLD) == complete
        assert await looked(journal, "G", OLD) == GraphRecord(OLD, complete=True, ended=True, parts={})


async def test_a_complete_graph_may_end_incomplete(journal: Journal) -> None:
    """The last end counts, also that of a graph which was complete when it was claimed."""
    await claimed(journal, "G", OLD)
    await journal.end(G, complete=True)
    await claimed(journal, "G", OLD)
    await journal.end(G, complete=False)
    assert await claimed(journal, "G", OLD) == GraphRecord(OLD, complete=False, ended=True, parts={})


async def test_a_changed_graph_is_begun_anew(journal: Journal) -> None:
    """Claiming a complete graph with another digest stores it and keeps the parts."""
    await claimed(journal, "G", OLD)
    journal.record(G, "order", b"o", ONE)
    await journal.end(G, complete=True)
    parts = {"order": PartRecord(b"o", ONE)}
    assert await looked(journal, "G", NEW) == GraphRecord(OLD, complete=True, ended=True, parts=parts)
    assert await looked(journal, "G", NEW) == GraphRecord(NEW, complete=False, ended=False, parts=parts)


@pytest.mark.parametrize("ended", [False, True], ids=["under way", "in doubt"])
async def test_the_first_start_of_an_order_in_doubt_is_kept(journal: Journal, ended: bool) -> None:  # noqa: FBT001
    """It says since when the order may be that of a load, however many loads did not find out."""
    runs = [load_id(start, bytes) for start in (1e9, 2e9, 3e9)]
    for run in (runs[0], id_with_file(runs[1], "orders.jsonl"), runs[2]):
        await journal.claim(order("G"), OLD, run=run, sends=run == runs[0])
        if ended:
            journal.record(G, "order", b"o", None)
            await journal.end(G, complete=False)
        else:
            journal.release(G)
    known = await journal.claim(order("G"), OLD, run=runs[1])
    assert isinstance(known, Claimed)
    assert known.record is not None
    assert (known.order_created, without_first_start(known.record.run)) == (True, runs[2])
    assert start_of(known.record.run) == datetime.fromtimestamp(1e9, UTC)


@pytest.mark.parametrize("complete", [False, True])
async def test_the_start_of_an_order_that_ended_is_that_of_its_last_claim(
    journal: Journal,
    complete: bool,  # noqa: FBT001
) -> None:
    """Nothing is in doubt: it is not there, or its reference is known."""
    first, second = load_id(1e9, bytes), load_id(2e9, bytes)
    for run in (first, second):
        await journal.claim(order("G"), OLD, run=run, sends=True)
        if complete:
            journal.record(G, "order", b"o", ONE, created=True)
        await journal.end(G, complete=complete)
    known = await claimed(journal, "G", OLD)
    assert known is not None
    assert known.run == second


async def test_the_last_record_of_a_part_counts(journal: Journal) -> None:
    """A part recorded again has its new ref, and one forgotten has no record; other graphs are not touched."""
    for graph in ("G", "H"):
        await claimed(journal, graph)
        journal.record(key(graph), "order", b"o", None)
        journal.record(key(graph), "contact", b"c", TWO)
    journal.record(G, "order", b"p", ONE)
    journal.forget(G, "contact")
    journal.forget(G, "never recorded")
    journal.release(G)
    journal.release(H)
    g, h = await claimed(journal, "G"), await claimed(journal, "H")
    assert g is not None
    assert g.parts == {"order": PartRecord(b"p", ONE)}
    assert h is not None
    assert h.parts == {"order": PartRecord(b"o", None), "contact": PartRecord(b"c", TWO)}


async def test_records_change_their_names(journal: Journal) -> None:
    """Names are exchanged, passed on and dropped at once; what was created stays so, and no other graph is touched."""
    for graph in ("G", "H"):
        await claimed(journal, graph)
        for number, name in enumerate("abcd"):
            journal.record(key(graph), name, name.encode(), UUID(int=number), created=name != "b")
    journal.rename(G, {"a": "b", "b": "a", "c": "d", "d": None, "never recorded": "e"})
    told = await created(journal)
    assert [(part.part, part.ref.int) for part in told if part.key == G] == [("d", 2), ("b", 0)]
    journal.release(G)
    g = await claimed(journal, "G")
    assert g is not None
    assert g.parts == {
        "b": PartRecord(b"a", UUID(int=0)),
        "a": PartRecord(b"b", UUID(int=1)),
        "d": PartRecord(b"c", UUID(int=2)),
    }
    assert len([part for part in told if part.key == H]) == 3


async def test_what_a_claim_returned_stays_as_it_was(journal: Journal) -> None:
    """A record that was returned does not change when more is noted."""
    await looked(journal, "G", OLD)
    before = await claimed(journal, "G", OLD)
    journal.record(G, "order", b"o", ONE)
    await journal.end(G, complete=True)
    assert before == GraphRecord(OLD, complete=False, ended=False, parts={})


async def test_a_record_after_the_end_is_a_fact(journal: Journal) -> None:
    """What comes to light when the claim is given up already is kept."""
    await claimed(journal, "G", OLD)
    await journal.end(G, complete=False)
    journal.record(G, "order", b"o", ONE, created=True)
    assert await journal.owner(ONE) == G
    assert await created(journal) == [CreatedPart(G, "order", ONE, b"o")]
    assert await claimed(journal, "G", OLD) == GraphRecord(
        OLD, complete=False, ended=True, parts={"order": PartRecord(b"o", ONE)}
    )


async def test_the_owner_of_an_order(journal: Journal) -> None:
    """A ref belongs to the graph whose order has it now, whatever other parts have."""
    for graph in ("G", "H"):
        await claimed(journal, graph)
    journal.record(G, "order", b"o", ONE)
    journal.record(H, "contact", b"c", TWO)
    assert [await journal.owner(ref) for ref in (ONE, TWO)] == [G, None]
    journal.record(G, "order", b"o", TWO, created=True)
    assert [await journal.owner(ref) for ref in (ONE, TWO)] == [None, G]
    journal.record(G, "order", b"o", None)
    assert [await journal.owner(ref) for ref in (ONE, TWO)] == [None, None]
    journal.record(G, "order", b"o", ONE)
    journal.forget(G, "order")
    assert [await journal.owner(ref) for ref in (ONE, TWO)] == [None, None]


async def test_the_first_of_two_owners(journal: Journal) -> None:
    """Of two graphs whose orders have the same ref, the one claimed first is the owner."""
    for graph in ("Z", "A"):
        await claimed(journal, graph)
    for graph in ("A", "Z"):
        journal.record(key(graph), "order", b"o", ONE)
    assert await journal.owner(ONE) == key("Z")


async def test_what_was_created_is_told_newest_first(journal: Journal) -> None:
    """Created parts are those that this journal's loads made, the last one first; found ones are not among them."""
    for graph in ("Z", "A"):
        await claimed(journal, graph)
    for number, part in enumerate(("order", "orderItems[0]", "contact")):
        journal.record(key("Z"), part, b"z", UUID(int=number), created=True)
        journal.record(key("A"), part, b"a", UUID(int=10 + number), created=part != "order")
    journal.record(key("A"), "consumer", b"a", None, created=True)
    journal.forget(key("Z"), "orderItems[0]")
    assert await created(journal) == [
        CreatedPart(key("A"), "contact", UUID(int=12), b"a"),
        CreatedPart(key("A"), "orderItems[0]", UUID(int=11), b"a"),
        CreatedPart(key("Z"), "contact", UUID(int=2), b"z"),
        CreatedPart(key("Z"), "order", UUID(int=0), b"z"),
    ]


async def test_what_was_created_later_is_newer(store: Store) -> None:
    """What another run created for an order is newer than all that the first created for it."""
    runs = (("order", "contact", "orderItems[1]"), ("orderItems[0]",))
    told: list[str] = []
    for parts in runs:
        journal = await store.connect()
        await claimed(journal, "G")
        for number, part in enumerate(parts):
            journal.record(G, part, b"o", UUID(int=number), created=True)
        told = [one.part for one in await created(journal)]
        await journal.aclose()
    newest = ["orderItems[0]", "orderItems[1]", "contact", "order"]
    assert told == (newest if store.can_crash else newest[:1])


async def test_what_was_created_stays_created(journal: Journal) -> None:
    """Found again, also after it was in doubt, a part is still the one that was created; another ref is not."""
    await claimed(journal, "G")
    journal.record(G, "order", b"o", ONE, created=True)
    journal.record(G, "order", b"p", ONE)
    assert await created(journal) == [CreatedPart(G, "order", ONE, b"p")]
    journal.record(G, "order", b"p", None)
    journal.record(G, "order", b"p", None)
    assert await created(journal) == []
    journal.release(G)
    known = await claimed(journal, "G")
    assert known is not None
    assert known.parts == {"order": PartRecord(b"p", None)}
    journal.record(G, "order", b"q", ONE)
    assert await created(journal) == [CreatedPart(G, "order", ONE, b"q")]
    journal.record(G, "order", b"q", TWO)
    assert await created(journal) == []


async def test_what_was_created_may_be_forgotten_meanwhile(journal: Journal) -> None:
    """Each of many created parts is told once, also while those that were told are forgotten."""
    parts = [(key(f"G{graph}"), f"orderItems[{number}]") for graph in range(15) for number in range(40)]
    for graph in range(15):
        await claimed(journal, f"G{graph}")
    for number, (graph_key, name) in enumerate(parts):
        journal.record(graph_key, name, b"i", UUID(int=number), created=True)
    told: list[tuple[str, str]] = []
    async for part in journal.created():
        told.append((part.key, part.part))
        journal.forget(part.key, part.part)
    assert told == [*reversed(parts)]
    assert await created(journal) == []


async def test_known_orders_are_complete_ones(journal: Journal) -> None:
    """Asked for some orders that must be on the server, the newest complete ones are told."""
    for number, graph in enumerate(("A", "B", "C", "D", "E", "F")):
        await claimed(journal, graph)
        journal.record(key(graph), "order", b"o", None if graph == "C" else UUID(int=number), created=True)
        await journal.end(key(graph), complete=graph != "B")
    journal.record(key("F"), "order", b"o", None)
    assert await journal.known(10) == [(key("E"), UUID(int=4)), (key("D"), UUID(int=3)), (key("A"), UUID(int=0))]
    assert await journal.known(1) == [(key("E"), UUID(int=4))]
    assert await journal.known(0) == []
    assert await journal.known(-1) == []


async def test_a_graph_that_was_never_claimed_has_no_records(journal: Journal) -> None:
    """Notes about an unknown graph leave no trace."""
    journal.record(G, "order", b"o", ONE, created=True)
    journal.forget(G, "order")
    journal.rename(G, {"order": "contact"})
    journal.release(G)
    await journal.end(G, complete=True)
    assert await journal.owner(ONE) is None
    assert await created(journal) == []
    assert await claimed(journal, "G", OLD) is None


async def test_a_key_that_is_not_unicode_hurts_nobody_else(journal: Journal) -> None:
    """A lone surrogate in a key is refused to that caller alone."""
    with pytest.raises(UnicodeEncodeError):
        await journal.claim(OrderId.of("\ud800", START), OLD)
    assert await claimed(journal, "G", OLD) is None


async def test_a_closed_journal_refuses_everything(journal: Journal) -> None:
    """After closing, which may be repeated, every call says that the journal is closed."""
    await journal.aclose()
    await journal.aclose()
    with pytest.raises(JournalError, match="closed"):
        journal.check(IDENTITY)
    with pytest.raises(JournalError, match="closed"):
        journal.record(G, "order", b"o", ONE)
    with pytest.raises(JournalError, match="closed"):
        journal.forget(G, "order")
    with pytest.raises(JournalError, match="closed"):
        journal.rename(G, {"order": None})
    with pytest.raises(JournalError, match="closed"):
        journal.release(G)
    for call in (
        journal.claim(order("G"), OLD),
        journal.renew([G]),
        journal.end(G, complete=True),
        journal.owner(ONE),
        journal.known(1),
        created(journal),
    ):
        with pytest.raises(JournalError, match="closed"):
            await call
