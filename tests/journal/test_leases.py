"""Workers that share a journal: what the tests of two processes may rely on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from uuid import UUID

import pytest

from cdp_orders_async.journal import Busy, Claimed, GraphRecord, Journal, PartRecord
from tests.journal.stores import LEASE, STORES, Store, claimed, key, order

DIGEST = b"graph"
ONE, TWO = UUID(int=1), UUID(int=2)
G = key("G")


@pytest.fixture(params=["shared", "owned", "postgres"])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """Give a place for several workers."""
    return STORES[request.param](tmp_path)


Workers = tuple[Journal, Journal]


@pytest.fixture
async def workers(shared: Store) -> AsyncIterator[Workers]:
    """Connect two workers."""
    async with aclosing(await shared.connect()) as first, aclosing(await shared.connect()) as second:
        yield first, second


async def test_a_lease_says_how_long_it_holds(shared: Store, workers: Workers) -> None:
    """The second worker is told when to come again, and may then take the order over: it never ended."""
    first, second = workers
    await claimed(first, "G")
    shared.seconds = 10
    assert await second.claim(order("G", 1), DIGEST) == Busy(G, LEASE - 10)
    assert await first.renew([G]) == set()
    shared.seconds += LEASE - 1
    assert await second.claim(order("G"), DIGEST) == Busy(G, 1)
    shared.seconds += 1
    assert await claimed(second, "G") == GraphRecord(DIGEST, complete=False, ended=False, parts={})


async def test_a_lost_claim_is_told_when_it_is_renewed(shared: Store, workers: Workers) -> None:
    """Who was too late learns that another has the order, until it gives up; the claim of the other stands."""
    first, second = workers
    for name in ("G", "H", "I"):
        await claimed(first, name)
    shared.seconds = LEASE
    assert await second.claim(order("G", 1), DIGEST) != Busy(G, 0)
    await claimed(second, "H")
    await second.end(key("H"), complete=True)
    for _ in range(2):
        assert await first.renew([G, key("H"), key("I")]) == {G, key("H")}
    await first.end(G, complete=True)
    first.release(key("H"))
    assert await first.renew([G, key("H"), key("I")]) == set()
    assert await second.renew([order("G", 1).key]) == set()
    assert await first.claim(order("G"), DIGEST) == Busy(order("G", 1).key, LEASE)


async def test_a_late_end_does_not_count_and_a_late_record_does(shared: Store, workers: Workers) -> None:
    """The worker that lost its claim still tells what it created, and cannot say that the order is complete."""
    first, second = workers
    await claimed(first, "G")
    shared.seconds = LEASE
    await claimed(second, "G")
    first.record(G, "order", b"o", ONE, created=True)
    await first.end(G, complete=True)
    second.release(G)
    parts = {"order": PartRecord(b"o", ONE)}
    assert await claimed(second, "G") == GraphRecord(DIGEST, complete=False, ended=False, parts=parts)
    assert [part.ref async for part in second.created()] == [ONE]


async def test_a_claim_that_ended_unnoticed_still_holds(shared: Store, workers: Workers) -> None:
    """A lease that nobody took over is prolonged, and its end counts."""
    first, second = workers
    await claimed(first, "G")
    shared.seconds = 10 * LEASE
    assert await first.renew([G]) == set()
    assert await second.claim(order("G"), DIGEST) == Busy(G, LEASE)
    shared.seconds = 20 * LEASE
    await first.end(G, complete=True)
    assert await claimed(second, "G") == GraphRecord(DIGEST, complete=True, ended=True, parts={})


async def test_a_killed_worker_keeps_its_lease_and_loses_its_queue(shared: Store, workers: Workers) -> None:
    """What was queued after the last claim or end is lost with the worker; the order is free when the lease ends."""
    first, second = workers
    await claimed(first, "G")
    first.record(G, "order", b"o", ONE)
    await claimed(first, "H")
    first.record(G, "contact", b"c", TWO)
    await shared.crash(first)
    assert await second.claim(order("G"), DIGEST) == Busy(G, LEASE)
    shared.seconds = LEASE
    found = await second.claim(order("G"), DIGEST)
    assert isinstance(found, Claimed)
    assert found.record == GraphRecord(DIGEST, complete=False, ended=False, parts={"order": PartRecord(b"o", ONE)})


async def test_a_closed_worker_leaves_nothing_claimed(workers: Workers) -> None:
    """Closing writes what is queued, and gives every claim up."""
    first, second = workers
    await claimed(first, "G")
    first.record(G, "order", b"o", ONE)
    await first.aclose()
    assert await claimed(second, "G") == GraphRecord(
        DIGEST, complete=False, ended=False, parts={"order": PartRecord(b"o", ONE)}
    )
