"""The journal in an SQLite file: one thread, which commits all queued operations together."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from types import MappingProxyType, NoneType
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias, TypeVar, TypeVarTuple
from uuid import UUID

from cdp_orders_async.arguments import need
from cdp_orders_async.errors import JournalError
from cdp_orders_async.journal.claims import Claims
from cdp_orders_async.journal.identity import check_identity
from cdp_orders_async.journal.postgres.address import PostgresAddress
from cdp_orders_async.journal.records import Busy, Claimed, CreatedPart, OrderId, RecordedOrder
from cdp_orders_async.journal.states import state_of_end
from cdp_orders_async.outlasting import outlast

if TYPE_CHECKING:
    from cdp_orders_async.journal.tables import Tables

__all__ = ["SqliteJournal"]

_T = TypeVar("_T")
_Args = TypeVarTuple("_Args")

_Work: TypeAlias = "tuple[Callable[..., Any], tuple[Any, ...], asyncio.Future[Any] | None]"
"""A method of the tables for the thread, its arguments, and the future for its result, if any."""

_PAGE: Final = 500  # created parts, or orders, that are read at a time


class SqliteJournal:
    """A journal in one SQLite file; only this object can use the file while it is open.

    It protects the loads of one process, one after the other: processes that load at the same time must share another
    journal. One thread does all reading and writing, in the order of the calls. It commits all queued operations
    together, so that many callers share the cost of a durable write. The queue is bounded by the graphs under way,
    since each waits for its `claim` and its `end`. Use all methods in the event loop in which it was opened.
    """

    commits: int = 0
    """Transactions committed since it was opened, for statistics."""
    lease: float | None = None
    """A claim holds as long as the journal is open."""

    def __init__(self, path: Path, identity: Mapping[str, str] | None, max_batch: int) -> None:
        """Use `open` instead: the constructor opens no file."""
        # The import of sqlite3 takes time, and only programs that open a journal need it.
        from queue import SimpleQueue  # noqa: PLC0415

        from cdp_orders_async.journal import file, tables  # noqa: PLC0415

        self._file = file
        self._tables = tables
        self._path = path
        self.place = str(path.resolve())
        """The file: two journals with one place are the same journal, opened twice."""
        self._identity = None if identity is None else MappingProxyType(dict(identity))
        self._new = False
        self._max_batch = max_batch
        self._claims = Claims()
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[_Work | None] = SimpleQueue()
        self._failure: JournalError | None = None
        self._failure_told = False
        self._closed = False
        self._ended: Future[None] = Future()
        """Done when the thread has closed the file."""
        self._ended.set_running_or_notify_cancel()
        # A daemon: a journal that was not closed must not keep the process alive. It is safe to kill the thread.
        self._thread = threading.Thread(target=self._run, name=f"journal {path.name}", daemon=True)

    @classmethod
    async def open(cls, path: Path | str, *, identity: Mapping[str, str] | None, max_batch: int = 1000) -> Self:
        """Open the journal at *path*, or make it (readable by its owner only), and lock it for this object.

        *identity* is the API and the tenant, by names that a person understands (``{"base URL": "https://…"}``): it is
        stored, and a journal with another identity is refused. Put no secret into it. *max_batch* is the most
        operations that are committed together. A journal of version 0.1.0 is brought up to date. None opens a
        journal that exists, of any identity, to look into it.

        Raises `JournalError` with one sentence that names the file and says what to do, and TypeError for an argument
        of another type.
        """
        need(path, (str, os.PathLike), "path")
        need(identity, (Mapping, NoneType), "identity", "a mapping of names to texts, or None")
        need(max_batch, int, "max_batch")
        if PostgresAddress.matches(os.fspath(path)):
            raise JournalError("an address of a database is no file: PostgresJournal.open takes it")
        self = cls(Path(path), identity, max_batch)
        opened: asyncio.Future[JournalError | None] = self._loop.create_future()
        self._queue.put((self._tables.Tables.nothing, (), opened))
        self._thread.start()
        try:
            failure = await opened
        except asyncio.CancelledError:
            with contextlib.suppress(JournalError, asyncio.CancelledError):  # the first cancellation is raised
                await self.aclose()
            raise
        if failure is not None:
            self._failure_told = True
            await self.aclose()
            raise JournalError(*failure.args)
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    @property
    def identity(self) -> Mapping[str, str]:
        """The API and the tenant of the journal."""
        return self._identity or {}

    @property
    def new(self) -> bool:
        """Whether `open` made it."""
        return self._new

    def check(self, identity: Mapping[str, str]) -> None:
        """Raise `JournalError` unless this journal belongs to *identity*, or was opened with an empty one."""
        self._check_open()
        check_identity(f"the journal {self._path}", self.identity, identity, "name another file")

    async def claim(
        self, order: OrderId, digest: bytes, *, run: bytes = b"", number: int = 0, sends: bool = False
    ) -> Claimed | Busy:
        """Claim *order*, write that it is under way, and return its records.

        Return `Busy` while an order with its reference id is claimed. *sends*: if nothing is known of it, the caller
        sends it and does not ask the server.
        """
        self._check_open()
        order.key.encode()  # text that SQLite cannot store fails here, for this caller, and not for a whole batch
        if busy := self._claims.take(order):
            return busy
        try:
            return await self._ask(self._tables.Tables.claim, order, digest, run, number, sends)
        except BaseException:
            self._give_up(order.key)
            raise

    async def look(self, order: OrderId) -> Claimed:
        """Return what `claim` would return, and change nothing; whether *order* is claimed does not matter."""
        order.key.encode()
        return await self._ask(self._tables.Tables.look, order)

    async def without_ref(self) -> int:
        """Return how many complete orders have a reference that is not known: the Batch API loaded them."""
        return await self._ask(self._tables.Tables.without_ref)

    async def renew(self, keys: Sequence[str]) -> set[str]:  # noqa: ARG002 - part of the protocol
        """Return nothing, because no claim can be lost."""
        self._check_open()
        return set()

    def record(self, graph: str, part: str, digest: bytes, ref: UUID | None, *, created: bool = False) -> None:
        """Note the *ref* of a part, None if it may have been created; *created*: by a load with this journal.

        It never fails because of the disk.
        """
        self._put(self._tables.Tables.record, (graph, part, digest, ref, created))

    def forget(self, graph: str, part: str) -> None:
        """Drop the record of a part that is certainly not there; never fails because of the disk."""
        self._put(self._tables.Tables.forget, (graph, part))

    def rename(self, graph: str, parts: Mapping[str, str | None]) -> None:
        """Give records other names, all at once; None: drop the record. Never fails because of the disk."""
        self._put(self._tables.Tables.rename, (graph, dict(parts)))

    async def end(self, graph: str, *, complete: bool, gaps: bool | None = None) -> None:
        """Write that *graph* is no longer under way, with everything noted before, and give up its claim."""
        self._check_open()
        self._claims.give_up(graph)
        await self._ask(self._tables.Tables.end, graph, *state_of_end(complete=complete, gaps=gaps))

    def release(self, graph: str) -> None:
        """Give up the claim without an end: the next load of the order must ask the server."""
        self._check_open()
        self._give_up(graph)

    async def owner(self, ref: UUID) -> str | None:
        """Return the graph whose part ``order`` has this *ref*; of several, the graph that was claimed first."""
        return await self._ask(self._tables.Tables.owner, ref)

    async def created(self) -> AsyncIterator[CreatedPart]:
        """Yield each recorded part that a load with this journal created, newest first.

        The parts that version 0.1.0 recorded are left out, because it did not record which it created.
        """
        page, place = await self._ask(self._tables.Tables.created, self._tables.Tables.NEWEST, _PAGE)
        while page:
            for part in page:
                yield part
            page, place = await self._ask(self._tables.Tables.created, place, _PAGE)

    async def orders(self) -> AsyncIterator[RecordedOrder]:
        """Yield each order with all that is recorded of it, the one that was claimed first first."""
        page, place = await self._ask(self._tables.Tables.orders, 0, _PAGE)
        while page:
            for order in page:
                yield order
            page, place = await self._ask(self._tables.Tables.orders, place, _PAGE)

    async def known(self, limit: int) -> Sequence[tuple[str, UUID]]:
        """Return the keys of at most *limit* complete orders, newest first, and the refs of their orders."""
        return await self._ask(self._tables.Tables.known, limit)

    async def aclose(self) -> None:
        """Write all queued operations, close the file and end the thread; closing again does nothing.

        A cancellation is raised after the file is closed, so that it can be opened again at once. Raises `JournalError`
        if something could not be written and no other call has raised it.
        """
        self._stop()
        ended = asyncio.wrap_future(self._ended)
        await outlast(lambda: () if ended.done() else (ended,), self._stop)
        self._thread.join()  # it has nothing left to do
        if self._failure is not None and not self._failure_told:
            self._failure_told = True
            raise JournalError(*self._failure.args)

    def _stop(self) -> None:
        if not self._closed:
            self._closed = True
            self._queue.put(None)

    def _check_open(self) -> None:
        if self._closed:
            raise JournalError(f"the journal {self._path} is closed: open it again")

    def _give_up(self, graph: str) -> None:
        if self._claims.give_up(graph) and not self._closed:
            self._put(self._tables.Tables.release, (graph,))

    def _put(
        self, do: Callable[..., object], args: tuple[object, ...], answer: asyncio.Future[Any] | None = None
    ) -> None:
        if self._closed:
            self._check_open()
        self._queue.put((do, args, answer))

    async def _ask(self, do: Callable[[Tables, *_Args], _T], *args: *_Args) -> _T:
        answer: asyncio.Future[_T | JournalError] = self._loop.create_future()
        self._put(do, args, answer)
        result = await answer
        if isinstance(result, JournalError):
            self._failure_told = True
            raise JournalError(*result.args)  # a new one for each caller
        return result

    def _run(self) -> None:
        """Do everything that touches the file; the body of the thread."""
        tables: Tables | None = None
        with contextlib.ExitStack() as stack:
            stack.callback(self._ended.set_result, None)
            try:
                tables, self._new = self._file.open_file(self._path, self._identity)
                stack.callback(tables.close)
                self._identity = MappingProxyType(tables.identity() if self._identity is None else self._identity)
            except Exception as error:  # noqa: BLE001 - the callers that wait must get it
                self._failure = JournalError(self._file.explain(self._path, error))
            while self._serve(tables):
                pass

    def _serve(self, tables: Tables | None) -> bool:
        """Wait for queued operations and do them; return whether more may come."""
        batch = [self._queue.get()]
        batch += [self._queue.get() for _ in range(min(self._queue.qsize(), self._max_batch - 1))]
        work = [item for item in batch if item is not None]
        results: list[object] = []
        if tables is not None and self._failure is None:
            try:
                tables.begin()
                results = [do(tables, *args) for do, args, _ in work]
                tables.commit()
                self.commits += 1
            except Exception as error:  # noqa: BLE001 - the callers that wait must get it
                self._failure = JournalError(self._file.explain(self._path, error))
        if self._failure is not None:
            results = [self._failure] * len(work)
        answers = [(answer, result) for (_, _, answer), result in zip(work, results, strict=True) if answer is not None]
        if answers:
            try:
                self._loop.call_soon_threadsafe(_resolve, answers)
            except RuntimeError:  # the loop is closed: no caller waits, and none can come
                self._queue.put(None)
        return len(work) == len(batch)  # nothing is queued after the None of _stop


def _resolve(answers: Sequence[tuple[asyncio.Future[Any], object]]) -> None:
    for answer, result in answers:
        if not answer.done():  # its caller may have been cancelled
            answer.set_result(result)
