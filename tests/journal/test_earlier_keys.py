"""Earlier versions kept microseconds in the key of an order: their records are found as those of this order."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest

from cdp_orders_async.journal import (
    Claimed,
    GraphRecord,
    Journal,
    OrderId,
    PartRecord,
    SameReference,
    SqliteJournal,
    current_key,
)
from cdp_orders_async.journal.batches import BatchBook, BatchFile, BatchOrder
from tests.journal.stores import START

MOMENT = START + timedelta(microseconds=123_456)
ORDER = OrderId.of("A@B", MOMENT)
OLD, OLDER = (f"A@B@2017-01-15T12:00:00.123{rest}+00:00" for rest in (456, 999))
ONE, TWO = UUID(int=1), UUID(int=2)


def earlier(key: str) -> OrderId:
    """Return the order with this key, as an earlier version made it."""
    return OrderId(key, ORDER.reference_id, MOMENT)


in_each_that_lasts = pytest.mark.parametrize("store", ["sqlite", "postgres"], indirect=True)
"""In each journal that outlasts a process."""


async def record(journal: Journal, key: str, ref: UUID | None, *, ended: bool = True) -> None:
    """Record the order with this key; without a *ref* nothing of it was sent."""
    assert isinstance(await journal.claim(earlier(key), b"graph", run=b"run", number=7), Claimed)
    if ref is not None:
        journal.record(key, "order", b"o", ref, created=True)
        journal.record(key, "contact", b"c", None)
    if ended:
        await journal.end(key, complete=ref is not None)
    else:
        journal.release(key)


def loaded(ref: UUID) -> GraphRecord:
    """Return the record of an order that was loaded."""
    parts = {"order": PartRecord(b"o", ref), "contact": PartRecord(b"c", None)}
    return GraphRecord(b"graph", complete=True, ended=True, parts=parts, run=b"run", number=7)


def test_a_key_has_the_time_as_it_is_sent() -> None:
    """Times in one millisecond are one key, and times in two are two."""
    assert ORDER.key == "A@B@2017-01-15T12:00:00.123000+00:00"
    assert OrderId.of("A@B", START + timedelta(microseconds=123_999)) == ORDER
    assert OrderId.of("A@B", START + timedelta(microseconds=124_000)) != ORDER
    assert OrderId.of("A@B", START + timedelta(microseconds=999)).key == "A@B@2017-01-15T12:00:00+00:00"


@pytest.mark.parametrize("key", [OLD, OLDER, ORDER.key])
def test_a_key_of_an_earlier_version_is_read(key: str) -> None:
    """It names the order that has the key of today."""
    assert OrderId.parse(key) == ORDER
    assert current_key(key) == ORDER.key
    assert current_key(f"{key}?") == f"{key}?"


@in_each_that_lasts
async def test_its_record_is_found(journal: Journal) -> None:
    """It is that of this order, and no rival; from the first claim on it has the key of today."""
    await record(journal, OLD, ONE)
    assert await journal.owner(ONE) == ORDER.key
    assert await journal.known(5) == [(ORDER.key, ONE)]
    assert [part.key async for part in journal.created()] == [ORDER.key]
    assert [order.key async for order in journal.orders()] == [ORDER.key]
    assert await journal.claim(ORDER, b"new") == Claimed(loaded(ONE), order_created=True)
    journal.record(ORDER.key, "contact", b"d", TWO)
    await journal.end(ORDER.key, complete=True)
    found = await journal.claim(ORDER, b"new")
    assert isinstance(found, Claimed)
    assert found.record is not None
    assert (found.record.digest, found.record.parts["contact"]) == (b"new", PartRecord(b"d", TWO))
    await journal.end(ORDER.key, complete=True)
    assert len([order async for order in journal.orders()]) == 1


@in_each_that_lasts
async def test_it_is_a_rival_of_others(journal: Journal) -> None:
    """Another order within two days gets its key of today."""
    await record(journal, OLD, ONE)
    other = OrderId.of("A@B", START + timedelta(milliseconds=124))
    assert await journal.claim(other, b"graph") == Claimed(None, (SameReference(ORDER.key, ONE, b"run", 7),))


@in_each_that_lasts
@pytest.mark.parametrize("ended", [True, False])
@pytest.mark.parametrize(
    ("keys", "sent"),
    [
        ((OLD, OLDER), OLD),
        ((OLDER, OLD), OLD),
        ((ORDER.key, OLD, OLDER), ORDER.key),
        ((ORDER.key, OLD, OLDER), OLD),
        ((ORDER.key, OLDER, OLD), OLD),
    ],
)
async def test_of_several_the_one_on_the_server_counts(
    journal: Journal,
    keys: tuple[str, ...],
    sent: str,
    ended: bool,  # noqa: FBT001 a parameter of the test
) -> None:
    """Of times that are sent alike an earlier version refused the second: only one of them has references."""
    for key in keys:
        await record(journal, key, ONE if key == sent else None, ended=ended or key == sent)
    for _ in range(2):
        assert await journal.claim(ORDER, b"graph", run=b"run", number=7) == Claimed(loaded(ONE), order_created=True)
        await journal.end(ORDER.key, complete=True)


async def test_a_look_changes_nothing(tmp_path: Path) -> None:
    """It finds the record as a claim does."""
    async with await SqliteJournal.open(tmp_path / "j", identity={}) as journal:
        await record(journal, OLD, ONE)
        for _ in range(2):
            assert await journal.look(ORDER) == Claimed(loaded(ONE), order_created=True)


def test_batch_files_of_an_earlier_version(tmp_path: Path) -> None:
    """Their orders have the keys of today, and a line is found again."""
    with BatchBook.opened(tmp_path / "j") as book:
        file = BatchFile(1, "ref", "uploaded", "", 0, 1)
        book.add(file, [BatchOrder(0, "o.jsonl", 3, OLD, b"digest")])
        now = BatchOrder(0, "o.jsonl", 3, ORDER.key, b"digest")
        assert list(book.orders(file)) == [[now]]
        assert book.has(now)
        assert not book.has(BatchOrder(0, "o.jsonl", 3, OrderId.of("A@B", START).key, b"digest"))
