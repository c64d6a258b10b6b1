"""Which orders of an input are the same to the server: an index on disk, because an input can have millions."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import groupby, islice
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from cdp_orders_async.errors import InputError
from cdp_orders_async.ingest import Verdict
from cdp_orders_async.journal import SAME_ORDER
from cdp_orders_async.outlasting import outlast

if TYPE_CHECKING:
    import sqlite3

__all__ = ["Entry", "Index"]

BATCH = 1_000  # rows that are written at once
MILLISECOND = timedelta(milliseconds=1)
NEAR = SAME_ORDER // MILLISECOND
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Entry(NamedTuple):
    """An order of the input that keeps the rules."""

    reference_id: str
    at: int
    """When it was ordered, in milliseconds: what is finer is not sent."""
    digest: bytes
    """The hash of the order, as a journal has it: equal where a load takes one order for a copy of the other."""
    file: int
    """The number of its file."""
    line: int
    shape: int
    """The number of its shape, which says how many requests it takes: many orders have the same."""

    @property
    def ordered_at(self) -> datetime:
        """When it was ordered."""
        return EPOCH + self.at * MILLISECOND


COLUMNS = ", ".join(Entry._fields)
SAME_REFERENCE = f"""
    SELECT {COLUMNS} FROM orders WHERE reference_id IN
        (SELECT reference_id FROM orders GROUP BY reference_id HAVING count(*) > 1)
    ORDER BY reference_id, rowid
"""  # noqa: S608 the names of columns


Found: TypeAlias = tuple[Entry, Entry, Verdict]
"""An order of which a load sends nothing: the one that it repeats or clashes with, itself, and its verdict."""


class Index:
    """The orders of an input, by reference id. The file has no name, and so ends with this process, however it ends."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self._batch: list[Entry] = []
        database.execute(f"CREATE TABLE orders ({COLUMNS})")

    @classmethod
    @contextlib.contextmanager
    def opened(cls) -> Generator[Index, None, None]:
        """Give an empty index; what goes wrong with its file is an `InputError`."""
        import sqlite3  # noqa: PLC0415 only those who plan need it

        try:
            # An empty name is a file that SQLite makes in the folder of temporary files, for its owner only.
            with contextlib.closing(sqlite3.connect("", isolation_level=None, check_same_thread=False)) as database:
                for setting in ("journal_mode = OFF", "synchronous = OFF", "temp_store = FILE"):
                    database.execute(f"PRAGMA {setting}")
                yield cls(database)
        except sqlite3.Error as error:
            raise InputError(
                f"the index of the orders cannot be kept in the folder of temporary files (TMPDIR): {error}"
            ) from error

    def add(self, entry: Entry) -> None:
        """Add an order; they come in the order of the input."""
        self._batch.append(entry)
        if len(self._batch) >= BATCH:
            self._write()

    def _write(self) -> None:
        marks = ", ".join("?" * len(Entry._fields))
        self._database.execute("BEGIN")
        self._database.executemany(f"INSERT INTO orders VALUES ({marks})", self._batch)  # noqa: S608 only marks
        self._database.execute("COMMIT")
        self._batch.clear()

    async def search(self) -> AsyncGenerator[Found, None]:
        """Yield each order of which a load sends nothing.

        It is ``already`` loaded where it repeats the other one, and else in ``conflict`` with it. A thread searches,
        since that takes seconds; a cancellation interrupts it.
        """
        found = self.same()

        def batch() -> list[Found]:
            return list(islice(found, BATCH))

        while entries := await self._in_thread(batch):
            for entry in entries:
                yield entry

    async def _in_thread(self, search: Callable[[], list[Found]]) -> list[Found]:
        task = asyncio.ensure_future(asyncio.to_thread(search))

        def pending() -> set[asyncio.Future[list[Found]]]:
            return set() if task.done() else {task}

        try:
            await outlast(pending, self._database.interrupt)
        except asyncio.CancelledError:
            task.exception()  # that it was interrupted
            raise
        return task.result()

    def same(self) -> Iterator[Found]:
        """Yield the same, in this thread."""
        self._write()
        rows = map(Entry._make, self._database.execute(SAME_REFERENCE))
        for _, entries in groupby(rows, key=itemgetter(0)):
            yield from _same(entries)


def _same(entries: Iterable[Entry]) -> Iterator[Found]:
    """Go through the orders with one reference id as a load does, which is in the order of the input."""
    loaded: dict[int, Entry] = {}
    changed: set[int] = set()
    for entry in entries:
        first = loaded.get(entry.at) or next((one for one in loaded.values() if _is_near(one.at, entry.at)), None)
        if first is None:
            loaded[entry.at] = entry
        elif first.at == entry.at and first.digest == entry.digest and first.at not in changed:
            yield first, entry, Verdict.ALREADY
        else:
            changed.add(entry.at)
            yield first, entry, Verdict.CONFLICT


def _is_near(one: int, other: int) -> bool:
    """Tell whether two times make one order to the server."""
    return abs(one - other) <= NEAR
