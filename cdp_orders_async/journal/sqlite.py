"""The journal in an SQLite file: one thread, which commits together whatever is queued."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self, TypeAlias, TypeVar
from uuid import UUID

from cdp_orders_async.errors import JournalError
from cdp_orders_async.journal.records import GraphRecord, PartRecord

if TYPE_CHECKING:
    import sqlite3

__all__ = ["SqliteJournal"]

_T = TypeVar("_T")

_Work: TypeAlias = "tuple[Callable[[sqlite3.Connection], object], asyncio.Future[str | None] | None]"
"""What to do in the thread, and who waits for it, if anybody: told None, or in a sentence why it failed."""


class SqliteJournal:
    """A journal in one SQLite file, which this object alone may use while it is open.

    One thread does all reading and writing, in the order of the calls. It commits together whatever is queued, so the
    cost of a durable write is shared by everybody who waits. The queue is bounded by the graphs under way, since each
    waits for its `begin` and its `end`. All methods belong to the event loop on which it was opened.
    """

    commits: int = 0
    """Transactions committed since it was opened, for statistics."""

    def __init__(self, path: Path, identity: Mapping[str, str], max_batch: int) -> None:
        """Use `open` instead: this alone opens nothing."""
        # Only those who open a journal need sqlite3, and pay for its import.
        from queue import SimpleQueue  # noqa: PLC0415

        from cdp_orders_async.journal import file  # noqa: PLC0415

        self._file = file
        self._path = path
        self._identity = dict(identity)
        self._max_batch = max_batch
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[_Work | None] = SimpleQueue()
        self._failure: str | None = None
        self._failure_told = False
        self._closed = False
        # A daemon, because a journal that nobody closed must not keep the process alive: it is safe to kill.
        self._thread = threading.Thread(target=self._serve, name=f"journal {path.name}", daemon=True)

    @classmethod
    async def open(cls, path: Path | str, *, identity: Mapping[str, str], max_batch: int = 1000) -> Self:
        """Open the journal at *path*, or make it (readable by its owner only), and keep everybody else out.

        *identity* says what the journal is about, by names that a person understands (``{"base URL": "https://…"}``):
        it is stored, and a journal with another identity is refused. Put no secret into it. *max_batch* is the most
        operations that are committed together.

        Raise `JournalError` with one sentence that names the file and says what to do.
        """
        self = cls(Path(path), identity, max_batch)
        opened: asyncio.Future[str | None] = self._loop.create_future()
        self._queue.put((_nothing, opened))
        self._thread.start()
        try:
            failure = await opened
        except asyncio.CancelledError:
            self._stop()
            raise
        if failure is not None:
            self._failure_told = True
            await self.aclose()
            raise JournalError(failure)
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def begin(self, graph: str, digest: bytes) -> GraphRecord | None:
        """Make durable that *graph* is under way, and return what was known of it before: None if nothing."""
        graph.encode()  # what SQLite cannot store fails here, for this caller, and not for a whole batch
        return await self._ask(partial(_begin, graph, digest))

    def record(self, graph: str, part: str, digest: bytes, ref: UUID | None) -> None:
        """Note the *ref* of a part, or with None that it may have been done; never fails because of the disk."""
        self._put(partial(_record, graph, part, digest, ref))

    def forget(self, graph: str, part: str) -> None:
        """Drop the record of a part that is certainly not there; never fails because of the disk."""
        self._put(partial(_forget, graph, part))

    async def end(self, graph: str, *, complete: bool) -> None:
        """Make durable that *graph* is no longer under way, with everything noted before."""
        await self._ask(partial(_end, graph, _COMPLETE if complete else _INCOMPLETE))

    async def owner(self, ref: UUID) -> str | None:
        """Return the graph whose part named ``order`` has this *ref*; of several, the one begun first."""
        return await self._ask(partial(_owner, ref))

    async def aclose(self) -> None:
        """Write what is queued, close the file and end the thread; closing again does nothing.

        Raise `JournalError` if something could not be written and no other call has said so.
        """
        self._stop()
        await asyncio.to_thread(self._thread.join)
        if self._failure is not None and not self._failure_told:
            self._failure_told = True
            raise JournalError(self._failure)

    def _stop(self) -> None:
        if not self._closed:
            self._closed = True
            self._queue.put(None)

    def _put(
        self, do: Callable[[sqlite3.Connection], object], answer: asyncio.Future[str | None] | None = None
    ) -> None:
        if self._closed:
            raise JournalError(f"the journal {self._path} is closed: open it again")
        self._queue.put((do, answer))

    async def _ask(self, do: Callable[[sqlite3.Connection], _T]) -> _T:
        results: list[_T] = []
        answer: asyncio.Future[str | None] = self._loop.create_future()
        self._put(lambda db: results.append(do(db)), answer)
        failure = await answer
        if failure is not None:
            self._failure_told = True
            raise JournalError(failure)
        return results[0]

    def _serve(self) -> None:
        """Do everything that touches the file; the body of the thread."""
        with contextlib.ExitStack() as stack:
            db: sqlite3.Connection | None = None
            try:
                db = stack.enter_context(contextlib.closing(self._file.open_file(self._path, self._identity)))
            except Exception as error:  # noqa: BLE001 - whatever it is, somebody waits and must be told
                self._failure = self._file.explain(self._path, error)
            going = True
            while going:
                batch = [self._queue.get()]
                batch += [self._queue.get() for _ in range(min(self._queue.qsize(), self._max_batch - 1))]
                work = [item for item in batch if item is not None]
                if db is not None and self._failure is None:
                    self._failure = self._write(db, work)
                going = len(work) == len(batch)  # nothing is queued after the None of _stop
                answers = [answer for _, answer in work if answer is not None]
                if answers:
                    try:
                        self._loop.call_soon_threadsafe(_settle, answers, self._failure)
                    except RuntimeError:  # the loop was closed: nobody waits any more, and nobody can ask
                        self._queue.put(None)

    def _write(self, db: sqlite3.Connection, work: Sequence[_Work]) -> str | None:
        try:
            db.execute("BEGIN")
            for do, _ in work:
                do(db)
            db.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - whatever it is, somebody waits and must be told
            return self._file.explain(self._path, error)  # closing rolls back
        self.commits += 1
        return None


def _settle(answers: Sequence[asyncio.Future[str | None]], failure: str | None) -> None:
    for answer in answers:
        if not answer.done():  # its waiter may have been cancelled
            answer.set_result(failure)


# The operations, in the thread.

_UNDER_WAY: Final = 0
_INCOMPLETE: Final = 1
_COMPLETE: Final = 2


def _nothing(_: sqlite3.Connection) -> None:
    """Only see whether it is open."""


def _begin(graph: str, digest: bytes, db: sqlite3.Connection) -> GraphRecord | None:
    known = db.execute("SELECT id, digest, state FROM graphs WHERE graph = ?", (graph,)).fetchone()
    if known is None:
        db.execute("INSERT INTO graphs (graph, digest, state) VALUES (?, ?, ?)", (graph, digest, _UNDER_WAY))
        return None
    number, known_digest, state = known
    parts = db.execute("SELECT part, digest, ref FROM parts WHERE graph = ?", (number,)).fetchall()
    if not (state == _COMPLETE and known_digest == digest):
        db.execute("UPDATE graphs SET digest = ?, state = ? WHERE id = ?", (digest, _UNDER_WAY, number))
    return GraphRecord(
        digest=known_digest,
        complete=state == _COMPLETE,
        ended=state != _UNDER_WAY,
        parts={part: PartRecord(sent, None if ref is None else UUID(bytes=ref)) for part, sent, ref in parts},
    )


def _record(graph: str, part: str, digest: bytes, ref: UUID | None, db: sqlite3.Connection) -> None:
    db.execute(
        "INSERT OR REPLACE INTO parts (graph, part, digest, ref) SELECT id, ?, ?, ? FROM graphs WHERE graph = ?",
        (part, digest, None if ref is None else ref.bytes, graph),
    )


def _forget(graph: str, part: str, db: sqlite3.Connection) -> None:
    db.execute("DELETE FROM parts WHERE graph = (SELECT id FROM graphs WHERE graph = ?) AND part = ?", (graph, part))


def _end(graph: str, state: int, db: sqlite3.Connection) -> None:
    db.execute("UPDATE graphs SET state = ? WHERE graph = ?", (state, graph))


def _owner(ref: UUID, db: sqlite3.Connection) -> str | None:
    found = db.execute(
        "SELECT graphs.graph FROM parts JOIN graphs ON graphs.id = parts.graph"
        " WHERE parts.part = 'order' AND parts.ref = ? ORDER BY parts.graph LIMIT 1",
        (ref.bytes,),
    ).fetchone()
    return None if found is None else str(found[0])
