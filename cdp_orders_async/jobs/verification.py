"""The file of a verification beside the outcomes: where each order is in them, and which orders are checked already.

It is an index on disk, so that the memory does not grow with the number of orders, and the place where a verification
that was stopped goes on.
"""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
from collections.abc import Generator, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

import orjson

from cdp_orders_async.graph import InputLine
from cdp_orders_async.jobs.owned_file import check, create, unwritable
from cdp_orders_async.jobs.recorded import Recorded

__all__ = ["CHECKED", "MET", "NOT_DRAWN", "Row", "Verification", "opened"]

WHAT = "progress of the verification"
APPLICATION_ID = 0x43445076
"""``CDPv`` in the header of the file: it is one of ours."""
HEADER = b"SQLite format 3\0"
AT_APPLICATION_ID = 68
OPEN, MET, CHECKED, NOT_DRAWN = range(4)
"""The states of an order: not met yet in the input, met in this run, compared, and not in the sample."""

TABLES = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL)",
    """CREATE TABLE orders (
        id INTEGER PRIMARY KEY, file TEXT, number INTEGER NOT NULL, key TEXT, ref BLOB, place INTEGER NOT NULL,
        state INTEGER NOT NULL)""",
    "CREATE INDEX by_key ON orders (key, number)",
    "CREATE INDEX by_ref ON orders (ref) WHERE ref IS NOT NULL",
)
SETTINGS = ("PRAGMA trusted_schema = OFF", "PRAGMA locking_mode = EXCLUSIVE", "PRAGMA synchronous = NORMAL")


class Row(NamedTuple):
    """One order of the outcomes."""

    id: int
    place: int
    """Its offset in the file of outcomes."""
    state: int


class Verification:
    """The orders of a file of outcomes, and how far their verification is."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self.done = False
        """Whether nothing is left to be checked: then the file is removed."""

    @property
    def is_filled(self) -> bool:
        """Whether it has all orders of the outcomes."""
        return self._get("filled") is not None

    @property
    def is_sample(self) -> bool:
        """Whether some orders are not in the sample."""
        return self._db.execute("SELECT 1 FROM orders WHERE state = ? LIMIT 1", (NOT_DRAWN,)).fetchone() is not None

    def fill(self, outcomes: Iterable[tuple[int, Recorded]], sample: int | None, seed: int) -> None:
        """Note the *outcomes* with their offsets; draw a *sample* of so many of them at random by this *seed*."""
        self._db.executemany(
            "INSERT INTO orders (file, number, key, ref, place, state) VALUES (?, ?, ?, ?, ?, ?)",
            (
                (one.file, one.number, one.key, None if one.ref is None else one.ref.bytes, place, OPEN)
                for place, one in outcomes
            ),
        )
        count = self.count()
        if sample is not None and sample < count:
            drawn = random.Random(seed).sample(range(1, count + 1), sample)  # noqa: S311 anybody may draw it again
            self._db.execute("UPDATE orders SET state = ?", (NOT_DRAWN,))
            self._db.executemany("UPDATE orders SET state = ? WHERE id = ?", ((OPEN, one) for one in drawn))
        self._set("filled", b"1")

    def count(self) -> int:
        """Return the number of orders in the outcomes."""
        (count,) = self._db.execute("SELECT count(*) FROM orders").fetchone()
        return int(count)

    def files(self) -> list[str | None]:
        """Return the names of the files from which the orders came, in the order of the outcomes."""
        found = self._db.execute("SELECT file FROM orders GROUP BY file ORDER BY min(id)")
        return [name for (name,) in found]

    def find(self, line: InputLine) -> Row | None:
        """Return the order of a *line*: by its file, its number and its key, or else by its key alone."""
        found = self._db.execute(
            "SELECT id, place, state FROM orders WHERE key IS ? AND number = ? AND file IS ?",
            (line.key, line.number, line.file),
        ).fetchone()
        if found is None and line.key is not None:
            found = self._db.execute(
                "SELECT id, place, state FROM orders WHERE key = ? ORDER BY state, id LIMIT 1", (line.key,)
            ).fetchone()
        return None if found is None else Row(*found)

    def open_lines(self) -> dict[str, set[int]]:
        """Return the numbers of the lines of the orders that are still to be met, by file."""
        lines: dict[str, set[int]] = {}
        for file, number in self._db.execute("SELECT file, number FROM orders WHERE state = ?", (OPEN,)):
            lines.setdefault(str(file), set()).add(number)
        return lines

    def places(self, ref: UUID) -> list[int]:
        """Return the offsets of the outcomes that name the order with this reference, the first one first."""
        found = self._db.execute("SELECT place FROM orders WHERE ref = ? ORDER BY id", (ref.bytes,))
        return [place for (place,) in found]

    def meet(self, row: Row) -> None:
        """Note that the order of *row* is in the input."""
        self._db.execute("UPDATE orders SET state = ? WHERE id = ?", (MET, row.id))

    def check(self, row: Row) -> None:
        """Note that the order of *row* was compared."""
        self._db.execute("UPDATE orders SET state = ? WHERE id = ?", (CHECKED, row.id))

    def has_changed(self, inputs: bytes) -> bool:
        """Tell whether *inputs*, a hash of the files of orders, is another one than before: then all is open again."""
        before = self._get("inputs")
        self._set("inputs", inputs)
        if before in {None, inputs}:
            return False
        self._db.execute("UPDATE orders SET state = ? WHERE state = ?", (OPEN, CHECKED))
        self._db.execute("DELETE FROM meta WHERE name = 'counts'")
        return True

    def unmet(self) -> int:
        """Return the number of orders that are still to be met in the input."""
        (count,) = self._db.execute("SELECT count(*) FROM orders WHERE state = ?", (OPEN,)).fetchone()
        return int(count)

    def save(self, counts: Sequence[int], length: int) -> None:
        """Keep what was noted, the *counts* so far, and the *length* of the file of differences in bytes."""
        self._set("counts", orjson.dumps([*counts, length]))
        self._db.execute("COMMIT")
        self._db.execute("BEGIN")

    def saved(self) -> tuple[list[int], int]:
        """Return the counts and the length that were kept; empty and 0 if there are none."""
        found = self._get("counts")
        *counts, length = orjson.loads(found) if found is not None else [0]
        return counts, length

    def _get(self, name: str) -> bytes | None:
        found = self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return None if found is None else bytes(found[0])

    def _set(self, name: str, value: bytes) -> None:
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))


@contextlib.contextmanager
def opened(path: Path, stamp: bytes) -> Generator[Verification, None, None]:
    """Open the file of a verification at *path*, for its owner only: the one that has this *stamp*, or else a new one.

    Raises `InputError` for a file that is something else, or that another process uses.
    """
    exists = check(path, WHAT)
    if exists and not _is_ours(path):
        raise unwritable(path, WHAT, "it is something else, put it aside")
    try:
        db = _connected(path) if exists else None
        if db is not None and not _fits(db, stamp):
            db.close()
            db = None
        if db is None:
            db = _made(path, stamp)
        verification = Verification(db)
        try:
            with contextlib.closing(db):
                yield verification
        finally:
            if verification.done or not path.stat().st_size:  # nothing was kept
                path.unlink()
    except sqlite3.Error as error:
        busy = getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
        reason = "another verification uses it" if busy else str(error)
        raise unwritable(path, WHAT, reason) from error
    except OSError as error:
        raise unwritable(path, WHAT, error.strerror) from error


def _is_ours(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(AT_APPLICATION_ID + 4)
    return head.startswith(HEADER) and head[AT_APPLICATION_ID:] == APPLICATION_ID.to_bytes(4, "big")


def _connected(path: Path) -> sqlite3.Connection:
    # It is filled in a thread, while nothing else uses it.
    db = sqlite3.connect(path.absolute(), timeout=0, isolation_level=None, check_same_thread=False)
    try:
        for setting in SETTINGS:
            db.execute(setting)
        db.execute("BEGIN EXCLUSIVE")
    except BaseException:
        db.close()
        raise
    return db


def _fits(db: sqlite3.Connection, stamp: bytes) -> bool:
    """Tell whether a file has our tables, all orders, and this *stamp*; then its orders can be met again."""
    try:
        tables = [sql for (sql,) in db.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY rowid")]
        if tables != list(TABLES):
            return False
        found = dict(db.execute("SELECT name, value FROM meta"))
        if found.get("stamp") != stamp or "filled" not in found:
            return False
        db.execute("UPDATE orders SET state = ? WHERE state = ?", (OPEN, MET))
    except sqlite3.DatabaseError:  # it is damaged
        return False
    return True


def _made(path: Path, stamp: bytes) -> sqlite3.Connection:
    """Make a new file in place of the one of an earlier verification."""
    for old in (path, Path(f"{path}-journal")):
        old.unlink(missing_ok=True)
    os.close(create(path, WHAT))
    db = _connected(path)
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    for table in TABLES:
        db.execute(table)
    db.execute("INSERT INTO meta VALUES ('stamp', ?)", (stamp,))
    return db
