"""The journal in a Postgres database: one connection, which commits all queued operations together."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType, NoneType
from typing import TYPE_CHECKING, Final, Self, TypeVar
from uuid import UUID, uuid4

from cdp_orders_async.arguments import need
from cdp_orders_async.errors import Invalid, JournalError, Violation
from cdp_orders_async.journal.identity import check_identity
from cdp_orders_async.journal.postgres.address import PostgresAddress
from cdp_orders_async.journal.postgres.operations import (
    Claim,
    End,
    Forget,
    Note,
    Operation,
    Owner,
    Place,
    Read,
    Rename,
    Renew,
)
from cdp_orders_async.journal.records import Busy, Claimed, CreatedPart, OrderId, RecordedOrder
from cdp_orders_async.outlasting import outlast

if TYPE_CHECKING:
    from asyncpg import Connection

    from cdp_orders_async.journal.postgres.writer import Writer

__all__ = ["PostgresJournal"]

_T = TypeVar("_T")

LEASE: Final = 60.0
RETRY_FOR: Final = 30.0
MOST_RENEWED: Final = 50
"""The most claims that are renewed in one transaction."""
_MISSING: Final = "a journal in Postgres needs asyncpg: pip install 'cdp-orders-async[postgres]'"
_PAGE: Final = 500  # created parts, or orders, that are read at a time


class PostgresJournal:
    """A journal in a Postgres database, which any number of processes on any machines share.

    An order is claimed for *lease* seconds of the database's clock, and the load that has it renews the claim. While
    one worker has an order, any other gets `Busy` for it, and the verdict ``busy``. After a crash the claim ends, and
    the next worker looks up the parts whose record is missing. A worker that lost its claim sends nothing more of the
    order; what it still learns of created parts is recorded.

    The journal cannot stop a process that sleeps between its last look at its claim and the moment when its request
    leaves, for instance because its machine was suspended. So a request is sent only while the claim holds for at
    least the time of a request, and an order that was taken over is looked up first.

    One connection does all reading and writing, in the order of the calls, and commits all queued operations together.
    If it breaks, the journal connects again for *retry_for* seconds. Then the call raises `JournalError`, nothing more
    is claimed, and the records stay queued for the next call. Use all methods in the event loop in which it was opened.
    """

    def __init__(self, address: PostgresAddress, writer: Writer, identity: Mapping[str, str], lease: float) -> None:
        """Use `open` instead."""
        self._address = address
        self._writer = writer
        self._identity = MappingProxyType(dict(identity))
        self._lease = lease
        self._new = False
        self._held: dict[str, UUID] = {}
        """The tokens of the claims of this journal, by key."""
        self._last_created = 0
        self._closed = False
        writer.on_claim = self._claimed

    @classmethod
    async def open(
        cls,
        dsn: str,
        *,
        identity: Mapping[str, str] | None,
        lease: float = LEASE,
        retry_for: float = RETRY_FOR,
    ) -> Self:
        """Connect to the database of *dsn*, and make the tables if they are missing.

        *dsn* is ``postgresql://USER@HOST:PORT/DATABASE``; ``?schema=NAME`` names the schema of the tables, by default
        ``cdp_orders``. Leave the password to ``PGPASSWORD`` or ``~/.pgpass``. *identity* is the API and the tenant, as
        in `SqliteJournal.open`: each identity has its own records in the same tables. None opens the records of the
        only tenant, or of ``?tenant=NUMBER``, to look into them. *lease*, seconds that a claim lasts unless it is
        renewed: at least twice the longest request. *retry_for*, seconds for which a lost connection is made again.

        Raises `JournalError` with one sentence that names the database and says what to do, `Invalid` for an
        impossible time, and TypeError for an argument of another type.
        """
        need(dsn, str, "dsn", "the address of a database, a text")
        need(identity, (Mapping, NoneType), "identity", "a mapping of names to texts, or None")
        for name, value in (("lease", lease), ("retry_for", retry_for)):
            need(value, float, name, "seconds, a number")
            if not (0 < value < math.inf or (name == "retry_for" and value == 0)):
                raise Invalid((Violation(name, "must be a finite number above 0"),))
        address = PostgresAddress.parse(dsn)
        try:
            from cdp_orders_async.journal.postgres.writer import Writer  # noqa: PLC0415 it needs an extra
        except ModuleNotFoundError as error:
            if error.name != "asyncpg":
                raise
            raise JournalError(_MISSING) from None
        writer, known, is_empty = await Writer.open(address, identity, lease, retry_for)
        self = cls(address, writer, known, lease)
        self._new = is_empty
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"<PostgresJournal {self._address}>"

    @property
    def commits(self) -> int:
        """The number of committed transactions since it was opened, for statistics."""
        return self._writer.commits

    @property
    def lease(self) -> float | None:
        """The seconds that a claim lasts unless it is renewed."""
        return self._lease

    @property
    def identity(self) -> Mapping[str, str]:
        """The API and the tenant of the journal."""
        return self._identity

    @property
    def place(self) -> str:
        """The tables and the tenant: two journals with one place are the same journal, opened twice."""
        return f"{self._address} {self._address.schema} {sorted(self._identity.items())}"

    @property
    def new(self) -> bool:
        """Whether it had no records when it was opened."""
        return self._new

    def check(self, identity: Mapping[str, str]) -> None:
        """Raise `JournalError` unless this journal belongs to *identity*, or was opened with an empty one."""
        self._check_open()
        check_identity(f"the journal {self._address}", self.identity, identity, "open another")

    async def claim(
        self, order: OrderId, digest: bytes, *, run: bytes = b"", number: int = 0, sends: bool = False
    ) -> Claimed | Busy:
        """Claim *order*, write that it is under way, and return its records.

        Return `Busy` while any worker has claimed an order with its reference id. *run* and *number* say which load
        claims it, and for which line or position of its input. *sends*: if nothing is known of it, the caller sends it
        and does not ask the server.
        """
        self._check_open()
        order.key.encode()  # text that cannot be stored fails here, for this caller, and not for a whole batch
        token = uuid4()
        claim = Claim(Place.of(order.key), token, order=order, digest=digest, run=run, number=number, sends=sends)
        try:
            claimed: Claimed | Busy = await self._writer.ask(claim)
        except BaseException as error:
            self._abandon(claim, token, failed=isinstance(error, JournalError))
            raise
        return claimed

    def _claimed(self, claim: Claim) -> None:
        """Note that a *claim* is granted."""
        if isinstance(claim.result, Claimed):
            self._held[claim.order.key] = claim.token
            self._last_created = max(self._last_created, claim.newest)

    def _abandon(self, claim: Claim, token: UUID, *, failed: bool) -> None:
        """Give up a *claim* whose caller does not know that it has it: it *failed*, or its caller was cancelled."""
        if self._held.get(claim.order.key) == token:
            del self._held[claim.order.key]
        if claim in self._writer.queue:
            self._writer.queue.remove(claim)
        elif claim.maybe_done or not failed:
            self._writer.put(End(claim.place, token, complete=None), urgent=not failed)

    async def renew(self, keys: Sequence[str]) -> set[str]:
        """Renew the claims of these orders, and return the orders that another worker has claimed since."""
        self._check_open()
        held = [(Place.of(key), token) for key in keys if (token := self._held.get(key)) is not None]
        parts = [held[start : start + MOST_RENEWED] for start in range(0, len(held), MOST_RENEWED)] or [[]]
        lost: list[set[str]] = await asyncio.gather(*(self._writer.ask(Renew(claims)) for claims in parts))
        return set[str]().union(*lost)

    def record(self, graph: str, part: str, digest: bytes, ref: UUID | None, *, created: bool = False) -> None:
        """Note the *ref* of a part, None if it may have been created; *created*: by a load with this journal.

        It never fails because of the database.
        """
        place = 0
        if created and ref is not None:
            self._last_created = place = self._last_created + 1
        self._put(Note(Place.of(graph), self._held.get(graph), part.encode(), digest, ref, place))

    def forget(self, graph: str, part: str) -> None:
        """Drop the record of a part that is certainly not there; never fails because of the database."""
        self._put(Forget(Place.of(graph), self._held.get(graph), part.encode()))

    def rename(self, graph: str, parts: Mapping[str, str | None]) -> None:
        """Give records other names, all at once; None: drop the record. Never fails because of the database."""
        names = {old.encode(): None if new is None else new.encode() for old, new in parts.items()}
        self._put(Rename(Place.of(graph), self._held.get(graph), names))

    async def end(self, graph: str, *, complete: bool, gaps: bool | None = None) -> None:
        """Write that *graph* is no longer under way, with everything noted before, and give up its claim.

        *complete* says whether every part of it is done; *gaps*, whether the server may have parts that have no record.
        """
        self._check_open()
        await self._writer.ask(End(Place.of(graph), self._held.pop(graph, None), complete=complete, gaps=gaps))

    def release(self, graph: str) -> None:
        """Give up the claim without an end: the next load of the order must ask the server. It is written soon."""
        self._check_open()
        if (token := self._held.pop(graph, None)) is not None:
            self._writer.put(End(Place.of(graph), token, complete=None), urgent=True)

    async def owner(self, ref: UUID) -> str | None:
        """Return the graph whose part ``order`` has this *ref*; of several, the graph that was claimed first."""
        self._check_open()
        owner: str | None = await self._writer.ask(Owner(ref))
        return owner

    async def created(self) -> AsyncIterator[CreatedPart]:
        """Yield each recorded part that a load with this journal created, newest first."""
        page, place = await self._read(partial(self._writer.tables.created, before=None, limit=_PAGE))
        while page:
            for part in page:
                yield part
            page, place = await self._read(partial(self._writer.tables.created, before=place, limit=_PAGE))

    async def orders(self) -> AsyncIterator[RecordedOrder]:
        """Yield each order with all that is recorded of it, the one that was claimed first first."""
        page, place = await self._read(partial(self._writer.tables.orders, after=0, limit=_PAGE))
        while page:
            for order in page:
                yield order
            page, place = await self._read(partial(self._writer.tables.orders, after=place, limit=_PAGE))

    async def known(self, limit: int) -> Sequence[tuple[str, UUID]]:
        """Return the keys of at most *limit* complete orders, newest first, and the refs of their orders."""
        return await self._read(partial(self._writer.tables.known, limit=limit))

    async def size(self) -> int:
        """Return the size of the tables of all tenants, in bytes on the disk of the database."""
        return await self._read(self._writer.tables.size)

    async def aclose(self) -> None:
        """Write all queued operations, give up all claims and disconnect; closing again does nothing.

        A cancellation is raised after that. Raises `JournalError` if something could not be written and no other call
        has raised it.
        """
        if not self._closed:
            for key in [*self._held]:
                self.release(key)
            self._closed = True
        closing = self._writer.close()
        await outlast(lambda: () if closing.done() else (closing,), lambda: None)
        if (failure := self._writer.untold()) is not None:
            raise JournalError(*failure.args)

    def _check_open(self) -> None:
        if self._closed:
            raise JournalError(f"the journal {self._address} is closed: open it again")

    def _put(self, operation: Operation) -> None:
        self._check_open()
        self._writer.put(operation)

    async def _read(self, read: Callable[[Connection], Awaitable[_T]]) -> _T:
        self._check_open()
        result: _T = await self._writer.ask(Read(read))
        return result
