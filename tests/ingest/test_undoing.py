"""The undo of one order whose journal other processes share, in virtual time."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from uuid import UUID

import pytest

from cdp_orders_async import JournalError, Resources
from cdp_orders_async.emulator import Emulator, Switches
from cdp_orders_async.ingest.undoing import LOST, OrderUndo, UndoneOrder, UndoVerdict
from cdp_orders_async.journal import Busy, Claimed, Journal, OrderId
from tests.ingest.network import Network, collected, loading
from tests.ingest.orders import whole
from tests.ingest.serving import BASE
from tests.journal.shared import SharedDatabase, SharedJournal
from tests.virtual import VirtualLoop, run

LEASE = 30.0
SLOW = 20.0
"""Seconds of a request, so that an undo takes several leases."""
ORDER = OrderId.of("A", whole("A").order.ordered_at)
OTHER = UUID(int=7)


async def loaded(loop: VirtualLoop) -> tuple[Network, SharedDatabase]:
    """Load an order with a journal that is shared."""
    network, database = Network(Emulator()), SharedDatabase(loop.time, LEASE)
    load = loading(loop, network, [whole("A")], journal=database.connect())
    await collected(load)
    await load.aclose()
    network.emulator.store.switches = Switches(latency=SLOW)
    return network, database


async def undone(network: Network, journal: Journal, *, force: bool) -> UndoneOrder:
    """Take the order back."""
    created = [part async for part in journal.created()]
    return await OrderUndo(
        Resources(network, BASE), journal, ORDER.key, created, force=force, stopped=lambda: False
    ).run()


@pytest.mark.parametrize("force", [False, True])
def test_a_claim_is_renewed_while_an_order_is_undone(force: bool) -> None:  # noqa: FBT001 a parameter of the test
    """Nobody else gets the order before its undo has ended, whether it reads or deletes for longer than the lease."""

    async def main(loop: VirtualLoop) -> None:
        network, database = await loaded(loop)
        began = loop.time()
        undo = asyncio.create_task(undone(network, database.connect(), force=force))
        other = database.connect()
        await asyncio.sleep(1)
        while isinstance(await other.claim(ORDER, b""), Busy):  # noqa: ASYNC110 virtual seconds
            await asyncio.sleep(1)
        assert undo.done()
        assert loop.time() - began > 3 * LEASE
        assert {part.verdict for part in undo.result().parts} == {UndoVerdict.DELETED}
        assert list(network.emulator.store.all("orders")) == []
        assert len(asyncio.all_tasks()) == 1

    run(main)


class Late(SharedJournal):
    """The journal of a process that renews its claims too late: another one takes the order over first."""

    async def renew(self, keys: Sequence[str]) -> set[str]:
        """Let the other process claim the order, and make a part of it again."""
        other = self._database.connect()
        for lease in self._database.leases.values():
            lease.until = -math.inf
        assert isinstance(await other.claim(ORDER, b"new"), Claimed)
        other.record(ORDER.key, "order", b"new", OTHER, created=True)
        await other.end(ORDER.key, complete=True)
        return {*keys}


@pytest.mark.parametrize("force", [False, True])
def test_an_undo_that_lost_its_claim_writes_nothing_more(force: bool) -> None:  # noqa: FBT001 a parameter of the test
    """It sends no further request, and leaves the records of the process that has the order as they are."""

    async def main(loop: VirtualLoop) -> None:
        network, database = await loaded(loop)
        journal = Late(database)
        asked = len(network.requests)
        order = await undone(network, journal, force=force)
        requests = len(network.requests) - asked
        assert requests == 1  # it was in flight when the claim was lost
        left = [part for part in order.parts if part.verdict is not UndoVerdict.DELETED]
        assert {(part.verdict, part.reason) for part in left} == {(UndoVerdict.KEPT, LOST)}
        await asyncio.sleep(10 * LEASE)
        assert len(network.requests) == asked + requests
        await journal.aclose()
        [known] = [order async for order in database.connect().orders()]
        assert (known.record.parts["order"].ref, known.record.parts["order"].digest) == (OTHER, b"new")
        assert known.record.complete

    run(main)


class Broken(SharedJournal):
    """A journal that cannot renew a claim."""

    async def renew(self, keys: Sequence[str]) -> set[str]:  # noqa: ARG002 the protocol
        """Fail."""
        raise JournalError("the database is away")


def test_an_undo_ends_with_a_journal_that_cannot_renew() -> None:
    """The error of the journal ends it, and nothing more is sent."""

    async def main(loop: VirtualLoop) -> None:
        network, database = await loaded(loop)
        asked = len(network.requests)
        with pytest.raises(JournalError, match="is away"):
            await undone(network, Broken(database), force=True)
        assert len(network.requests) == asked + 1

    run(main)
