"""What every journal does: one order is one caller's at a time, and its neighbours are known."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdp_orders_async.errors import JournalError
from cdp_orders_async.journal import Busy, Claimed, GraphRecord, Journal, OrderId, PartRecord, SameReference
from tests.journal.stores import IDENTITY, START, Store, claimed, key, looked, order

DIGEST = b"graph"
ONE, TWO = UUID(int=1), UUID(int=2)
G = key("G")
INSTANT = timedelta(milliseconds=1)  # what can be told from no time at all, once it is sent


def at(time: datetime, name: str = "G") -> OrderId:
    """Return an order at this time."""
    return OrderId.of(name, time)


async def same(journal: Journal, wanted: OrderId) -> list[SameReference]:
    """Return the other orders that the server would take for *wanted*."""
    found = await journal.claim(wanted, DIGEST)
    assert isinstance(found, Claimed)
    journal.release(wanted.key)
    return list(found.same_reference)


# Keys.


@given(name=st.text(max_size=5) | st.sampled_from(["A@B", "@", "A@2017-01-15T12:00:00+00:00"]), time=st.datetimes())
def test_a_key_says_which_order_it_is(name: str, time: datetime) -> None:
    """Whatever is in the reference id, the key can be read again."""
    made = OrderId.of(name, time.replace(tzinfo=UTC))
    assert OrderId.parse(made.key) == made


def test_a_key_is_in_utc() -> None:
    """One moment in two time zones is one key."""
    moved = START.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert OrderId.of("A@B", moved).key == "A@B@2017-01-15T12:00:00+00:00"


@pytest.mark.parametrize(
    "text",
    ["", "A", "A@", "A@B", "A@2017-01-15", "A@2017-01-15T12:00:00", "A@2017-01-15T12:00:00Z", "2017-01-15T12:00:00Z"],
)
def test_what_is_no_key_is_no_order(text: str) -> None:
    """A text that is no key is not taken for one."""
    assert OrderId.parse(text) is None


# Claims.


async def test_an_order_is_claimed_once(journal: Journal) -> None:
    """Of two claims at the same time one is told to wait, and then it knows what the first did."""
    first, second = await asyncio.gather(journal.claim(order("G"), b"1"), journal.claim(order("G"), b"2"))
    assert first == Claimed(None)
    assert second == Busy(G, journal.lease)
    journal.record(G, "order", b"o", ONE)
    await journal.end(G, complete=True)
    parts = {"order": PartRecord(b"o", ONE)}
    assert await claimed(journal, "G", b"2") == GraphRecord(b"1", complete=True, ended=True, parts=parts)


async def test_a_claim_is_by_reference_id(journal: Journal) -> None:
    """While an order is claimed, so is every other with its reference id, however far apart; others are not."""
    await claimed(journal, "G")
    for hours in (0.5, 48, 10_000):
        assert await journal.claim(order("G", hours), DIGEST) == Busy(G, journal.lease)
    for name in ("", "g", "G ", "G@", "G\0"):
        assert await claimed(journal, name) is None
    journal.release(G)
    later = order("G", 10_000)
    assert await journal.claim(later, DIGEST) == Claimed(None)
    assert await journal.claim(order("G"), DIGEST) == Busy(later.key, journal.lease)


async def test_a_complete_order_is_claimed_too(journal: Journal) -> None:
    """An order that is complete is the caller's until it says so."""
    await claimed(journal, "G")
    await journal.end(G, complete=True)
    await claimed(journal, "G")
    assert await journal.claim(order("G"), DIGEST) == Busy(G, journal.lease)


async def test_who_is_told_to_wait_changes_nothing(journal: Journal) -> None:
    """A claim that was not granted is not seen later."""
    await journal.claim(order("G"), b"1", run=b"one", number=1)
    await journal.claim(order("G"), b"2", run=b"two", number=2)
    await journal.claim(order("G", 1), b"3")
    await journal.end(G, complete=True)
    known = GraphRecord(b"1", complete=True, ended=True, parts={}, run=b"one", number=1)
    assert await journal.claim(order("G"), b"1") == Claimed(known)
    journal.release(G)
    assert await same(journal, order("G", 1)) == []


async def test_an_end_without_a_claim_changes_nothing(journal: Journal) -> None:
    """Who does not hold an order cannot end it, nor give it up."""
    await looked(journal, "G")
    await journal.end(G, complete=True)
    assert await claimed(journal, "G") == GraphRecord(DIGEST, complete=False, ended=False, parts={})
    await journal.end(order("G", 1).key, complete=True)
    journal.release(order("G", 1).key)
    assert await journal.claim(order("G"), DIGEST) == Busy(G, journal.lease)


async def test_a_claim_that_was_cancelled_is_given_up(journal: Journal) -> None:
    """Who was cancelled while it waited for its claim does not hold the order."""
    waiting = asyncio.ensure_future(journal.claim(order("G"), DIGEST))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert isinstance(await journal.claim(order("G"), DIGEST), Busy if not waiting.cancelled() else Claimed)


async def test_a_claim_ends_with_its_journal(store: Store) -> None:
    """A journal that is closed holds nothing, and what was under way has not ended."""
    journal = await store.connect()
    await claimed(journal, "G")
    await journal.aclose()
    journal = await store.connect()
    record = GraphRecord(DIGEST, complete=False, ended=False, parts={}) if store.can_crash else None
    assert await claimed(journal, "G") == record
    await journal.aclose()


async def test_no_claim_is_lost_while_it_is_held(journal: Journal) -> None:
    """Renewing says nothing of orders that are held, and nothing of orders that are not."""
    await claimed(journal, "G")
    assert await journal.renew([G, key("H"), ""]) == set()


# Other orders with the same reference id.


@pytest.mark.parametrize(
    ("apart", "is_same"),
    [
        (timedelta(hours=1), True),
        (timedelta(days=2), True),
        (timedelta(days=2) + INSTANT, False),
        (timedelta(days=3), False),
        (timedelta(days=2) - INSTANT, True),
        (INSTANT, True),
    ],
)
async def test_two_days_apart(journal: Journal, apart: timedelta, is_same: bool) -> None:  # noqa: FBT001
    """Within two days, both ways, another order with the reference id is told."""
    await journal.claim(at(START), DIGEST, run=b"run", number=7)
    journal.record(at(START).key, "order", b"o", ONE)
    await journal.end(at(START).key, complete=True)
    expected = [SameReference(at(START).key, ONE, b"run", 7)] if is_same else []
    for time in (START + apart, START - apart):
        assert await same(journal, at(time)) == expected
        await journal.claim(at(time), DIGEST)
        await journal.end(at(time).key, complete=False)  # and is certainly not there


@pytest.mark.parametrize(
    ("first", "second", "is_same"),
    [
        (timedelta(0), timedelta(days=2, microseconds=999), True),
        (timedelta(microseconds=999), timedelta(days=2, microseconds=1), True),
        (timedelta(microseconds=999), timedelta(days=2, microseconds=1000), False),
        (timedelta(microseconds=999), timedelta(microseconds=1000), True),
        (timedelta(0), timedelta(microseconds=999), False),  # the same one
    ],
)
async def test_what_is_finer_than_the_server_gets(
    journal: Journal,
    first: timedelta,
    second: timedelta,
    is_same: bool,  # noqa: FBT001 a parameter of the test
) -> None:
    """Timings are sent in milliseconds: what is finer does not make two orders of one, nor one further away."""
    for one, other in ((first, second), (second, first)):
        name = f"G{one}"
        known, wanted = at(START + one, name), at(START + other, name)
        assert await same(journal, known) == []
        assert await same(journal, wanted) == ([SameReference(known.key, None, b"", 0)] if is_same else [])


async def test_the_ends_of_time(journal: Journal) -> None:
    """The first and the last moments have neighbours too."""
    for end, other in (
        (datetime.min.replace(tzinfo=UTC), timedelta(days=1)),
        (datetime.max.replace(tzinfo=UTC), -timedelta(days=1)),
    ):
        assert await same(journal, at(end)) == []
        assert await same(journal, at(end + other)) == [SameReference(at(end).key, None, b"", 0)]


async def test_which_others_may_be_on_the_server(journal: Journal) -> None:
    """Told is what is there, and what may be there: never what ended with no record of its order."""
    for hours, (record, complete) in enumerate(
        [(ONE, True), (TWO, False), ("unsure", False), ("never", True), ("never", False), ("never", None), (ONE, None)]
    ):
        other = order("G", hours)
        await journal.claim(other, DIGEST, run=b"run", number=hours)
        if record == "unsure":
            journal.record(other.key, "order", b"o", ONE, created=True)
        if record != "never":
            journal.record(other.key, "order", b"o", record if isinstance(record, UUID) else None)
        if complete is None:
            journal.release(other.key)
        else:
            await journal.end(other.key, complete=complete)
    assert await same(journal, order("G", 20)) == [
        SameReference(order("G", 0).key, ONE, b"run", 0),
        SameReference(order("G", 1).key, TWO, b"run", 1),
        SameReference(order("G", 2).key, None, b"run", 2),
        SameReference(order("G", 5).key, None, b"run", 5),
        SameReference(order("G", 6).key, ONE, b"run", 6),
    ]


async def test_the_first_claimed_is_told_first(journal: Journal) -> None:
    """Not the times but the claims say which of the others comes first."""
    for hours in (5, 1, 3):
        await looked_at(journal, order("G", hours))
    assert [other.key for other in await same(journal, order("G"))] == [order("G", hours).key for hours in (5, 1, 3)]


async def looked_at(journal: Journal, wanted: OrderId) -> None:
    """Claim an order, and crash."""
    assert isinstance(await journal.claim(wanted, DIGEST), Claimed)
    journal.release(wanted.key)


async def test_other_reference_ids_are_others(journal: Journal) -> None:
    """A reference id that begins like another, or holds an @ or a time, is not that other."""
    for name in ("G@", "G@2017", f"G@{START.isoformat()}", "G@2017-01-15T13", "g", "G\0", "GA", "", "%", "_"):
        await looked(journal, name)
    assert await same(journal, order("G", 1)) == []
    assert await same(journal, order("G@", 1)) == [SameReference(key("G@"), None, b"", 0)]


# Whose journal it is.


async def test_a_journal_belongs_to_somebody(journal: Journal) -> None:
    """It is refused to another server and to another client, and not to one that says more."""
    journal.check(IDENTITY)
    journal.check(IDENTITY | {"region": "eu"})
    journal.check({})
    for other, sentence in (
        (IDENTITY | {"API version": "2"}, "API version 2.1, not 2: "),
        ({"base URL": "http://b", "client key": "k"}, "base URL https://api.example.com, not http://b: "),
        ({"client key": "l"}, "client key k, not l: "),
        ({"base URL": "b", "client key": "l"}, "base URL https://api.example.com, not b and to client key k, not l: "),
    ):
        with pytest.raises(JournalError) as refused:
            journal.check(other)
        assert f" belongs to {sentence}" in str(refused.value)
