"""A journal that several workers share, as one in a database server would be, without the server."""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from uuid import UUID

from cdp_orders_async.errors import JournalError
from cdp_orders_async.journal import Busy, Claimed, CreatedPart, MemoryJournal, OrderId, RecordedOrder

__all__ = ["SharedDatabase", "SharedJournal"]


@dataclass
class Lease:
    """Which order a worker holds, and until when."""

    order: OrderId
    until: float


class SharedDatabase:
    """What all workers see. A claim holds for *lease* seconds of *clock*, and then whoever comes next may take it.

    Without a lease it holds as long as its worker lives, as a lock on a file does.
    """

    def __init__(
        self, clock: Callable[[], float], lease: float | None, *, identity: Mapping[str, str] | None = None
    ) -> None:
        self.clock = clock
        self.lease = lease
        self.facts = MemoryJournal(sys.maxsize, identity=identity)
        self.leases: dict[str, Lease] = {}
        """By reference id."""

    @property
    def next_end(self) -> float:
        """When a claim ends that is made or renewed now."""
        return math.inf if self.lease is None else self.clock() + self.lease

    def connect(self) -> SharedJournal:
        """Return the journal of one more worker."""
        return SharedJournal(self)


class SharedJournal:
    """The journal as one worker has it: what it queued, nobody else sees before it is written."""

    def __init__(self, database: SharedDatabase) -> None:
        self._database = database
        self._held: dict[str, Lease] = {}
        self._queue: list[Callable[[], None]] = []
        self._closed = False

    @property
    def lease(self) -> float | None:
        """How many seconds a claim holds."""
        return self._database.lease

    def beside(self) -> SharedJournal:
        """Return the journal of another worker."""
        return self._database.connect()

    def check(self, identity: Mapping[str, str]) -> None:
        """Raise `JournalError` unless it belongs to *identity*."""
        self._check_open()
        self._database.facts.check(identity)

    async def claim(
        self, order: OrderId, digest: bytes, *, run: bytes = b"", number: int = 0, sends: bool = False
    ) -> Claimed | Busy:
        """Claim *order*, unless a lease of an order with its reference id has not ended."""
        order.key.encode()
        await self._write()
        database = self._database
        if found := database.leases.get(order.reference_id):
            if (left := found.until - database.clock()) > 0:
                return Busy(found.order.key, left if math.isfinite(left) else None)
            database.facts.release(found.order.key)
        claimed = await database.facts.claim(order, digest, run=run, number=number, sends=sends)
        lease = Lease(order, database.next_end)
        database.leases[order.reference_id] = self._held[order.key] = lease
        return claimed

    async def renew(self, keys: Sequence[str]) -> set[str]:
        """Prolong the leases, and return those that another has taken over."""
        await self._write()
        lost: set[str] = set()
        for key in keys:
            if lease := self._held.get(key):
                if self._has(lease):
                    lease.until = self._database.next_end
                else:
                    lost.add(key)
        return lost

    def record(self, graph: str, part: str, digest: bytes, ref: UUID | None, *, created: bool = False) -> None:
        """Note what is known of a part; a doubt only if no other worker has claimed the graph when it is written."""
        note = partial(self._database.facts.record, graph, part, digest, ref, created=created)
        self._put(note if ref is not None else partial(self._unless_taken, graph, note))

    def forget(self, graph: str, part: str) -> None:
        """Drop what is known of a part, if no other worker has claimed the graph when it is written."""
        self._put(partial(self._unless_taken, graph, partial(self._database.facts.forget, graph, part)))

    def rename(self, graph: str, parts: Mapping[str, str | None]) -> None:
        """Give records other names, if no other worker has claimed the graph when it is written."""
        self._put(partial(self._unless_taken, graph, partial(self._database.facts.rename, graph, dict(parts))))

    async def end(self, graph: str, *, complete: bool, gaps: bool | None = None) -> None:
        """Note how the graph ended, if this worker still holds it."""
        await self._write()
        if self._give_up(graph):
            await self._database.facts.end(graph, complete=complete, gaps=gaps)

    def release(self, graph: str) -> None:
        """Give the claim up without an end."""
        self._put(partial(self._release, graph))

    async def owner(self, ref: UUID) -> str | None:
        """Return the first graph whose order has this *ref*."""
        await self._write()
        return await self._database.facts.owner(ref)

    async def created(self) -> AsyncIterator[CreatedPart]:
        """Yield the parts that are still recorded as created."""
        await self._write()
        async for part in self._database.facts.created():
            yield part

    async def orders(self) -> AsyncIterator[RecordedOrder]:
        """Yield all orders."""
        await self._write()
        async for order in self._database.facts.orders():
            yield order

    async def known(self, limit: int) -> Sequence[tuple[str, UUID]]:
        """Return the newest complete orders."""
        await self._write()
        return await self._database.facts.known(limit)

    async def aclose(self) -> None:
        """Write what is queued, and give all claims up."""
        if not self._closed:
            for key in self._held:
                self.release(key)
            await self._write()
        self._closed = True

    def kill(self, kept: int = 0) -> None:
        """End as a killed process does: what is queued is lost but for the oldest *kept* notes, and the leases stay."""
        for do in self._queue[:kept]:
            do()
        self._queue.clear()
        for key in [*self._held] if self._database.lease is None else ():
            self._release(key)
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise JournalError("the journal is closed: open another")

    def _put(self, do: Callable[[], None]) -> None:
        self._check_open()
        self._queue.append(do)

    async def _write(self) -> None:
        self._check_open()
        await asyncio.sleep(0)  # others may be faster, and this worker may be killed here
        self._check_open()
        queue, self._queue = self._queue, []
        for do in queue:
            do()

    def _has(self, lease: Lease) -> bool:
        return self._database.leases.get(lease.order.reference_id) is lease

    def _unless_taken(self, graph: str, note: Callable[[], None]) -> None:
        """Write a *note* of a graph, unless another worker has claimed it since this one did."""
        held, order = self._held.get(graph), OrderId.parse(graph)
        lease = self._database.leases.get(order.reference_id) if order is not None else None
        if held is lease or (held is None and (lease is None or lease.order.key != graph)):
            note()

    def _give_up(self, graph: str) -> bool:
        """Give the lease up, and return whether this worker had it."""
        lease = self._held.pop(graph, None)
        if lease is None or not self._has(lease):
            return False
        del self._database.leases[lease.order.reference_id]
        return True

    def _release(self, graph: str) -> None:
        if self._give_up(graph):
            self._database.facts.release(graph)
