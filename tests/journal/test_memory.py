"""The journal in memory forgets, and never what it must know."""

from __future__ import annotations

from uuid import UUID

import pytest

from cdp_orders_async.errors import JournalError
from cdp_orders_async.journal import Claimed, MemoryJournal
from tests.journal.stores import claimed, key, looked, order

ONE = UUID(int=1)


async def finish(journal: MemoryJournal, name: str, ref: UUID | None = ONE) -> None:
    """Load an order."""
    await claimed(journal, name)
    journal.record(key(name), "order", b"o", ref, created=True)
    await journal.end(key(name), complete=True)


async def test_the_first_to_end_is_forgotten_first() -> None:
    """Over the limit, a new order takes the place of the one that came to its end first."""
    journal = MemoryJournal(3)
    for name in ("C", "B", "A"):
        await claimed(journal, name)
    for name in ("A", "B", "C"):
        journal.record(key(name), "order", b"o", UUID(int=ord(name)))
        await journal.end(key(name), complete=True)
    await finish(journal, "D", UUID(int=ord("D")))
    refs = [UUID(int=ord(name)) for name in "ABCD"]
    assert [await journal.owner(ref) for ref in refs] == [None, key("B"), key("C"), key("D")]
    assert [known for known, _ in await journal.known(9)] == [key("D"), key("B"), key("C")]
    assert await looked(journal, "A") is None


async def test_an_order_that_comes_again_is_remembered_longer() -> None:
    """Claimed again, an order is the last to be forgotten."""
    journal = MemoryJournal(2)
    await finish(journal, "A")
    await finish(journal, "B")
    await looked(journal, "A")
    await finish(journal, "C")
    assert [known for known, _ in await journal.known(9)] == [key("C"), key("A")]


async def test_what_is_in_doubt_is_never_forgotten() -> None:
    """Orders under way, in doubt or done in part stay, however many; what is certainly not there does not."""
    journal = MemoryJournal(1)
    await finish(journal, "held")
    await claimed(journal, "held")
    await claimed(journal, "under way")
    await looked(journal, "crashed")
    for name, ref in (("in doubt", None), ("in part", ONE)):
        await claimed(journal, name)
        journal.record(key(name), "order", b"o", ref)
        await journal.end(key(name), complete=False)
    for name in ("refused", "late", "absent"):
        await claimed(journal, name)
        journal.record(key(name), "order", b"o", ONE)
        journal.forget(key(name), "order")
        if name == "late":
            journal.record(key(name), "contact", b"o", None)
        await journal.end(key(name), complete=False)
    for number in range(10):
        await finish(journal, str(number))
    await journal.end(key("under way"), complete=False)
    journal.release(key("held"))
    known = [name for name in ("crashed", "in doubt", "in part", "late") if await claimed(journal, name) is not None]
    assert known == ["crashed", "in doubt", "in part", "late"]
    for name in ("refused", "absent", "under way", "held", *map(str, range(10))):
        assert await looked(journal, name) is None, name


async def test_a_late_record_keeps_an_order() -> None:
    """An order that seemed not to be there is kept when it turns out to be."""
    journal = MemoryJournal(1)
    await claimed(journal, "A")
    await journal.end(key("A"), complete=False)
    journal.record(key("A"), "order", b"o", ONE)
    await finish(journal, "B", UUID(int=2))
    assert await journal.owner(ONE) == key("A")
    assert await looked(journal, "A") is not None


async def test_what_is_forgotten_leaves_no_trace() -> None:
    """Neither refs, nor created parts, nor neighbours of forgotten orders are told, and all memory is given back."""
    journal = MemoryJournal(0)
    for number in range(100):
        await finish(journal, f"G{number % 3}")
        await journal.claim(order("G", number), b"graph")
        await journal.end(order("G", number).key, complete=True)
    assert await journal.owner(ONE) is None
    assert [part async for part in journal.created()] == []
    assert await journal.claim(order("G"), b"graph") == Claimed(None)
    await journal.end(key("G"), complete=True)
    assert [name for name, held in vars(journal).items() if isinstance(held, dict) and held] == []


async def test_it_belongs_to_the_first_tenant_that_asks() -> None:
    """A journal that belongs to nothing belongs to the first tenant that uses it, wherever the API is meanwhile."""
    journal = MemoryJournal()
    journal.check({})
    journal.check({"base URL": "a", "client key": "k"})
    journal.check({"base URL": "b", "client key": "k"})
    for other in ({"base URL": "a", "client key": "another"}, {"base URL": "a", "client key": "k", "API version": "2"}):
        with pytest.raises(JournalError, match=r"the journal in memory belongs to .*: use .*, or use another journal"):
            journal.check(other)
