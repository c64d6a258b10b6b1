"""The batch files of a load over the Batch API, in a folder beside its journal: each step is on disk before it happens.

A file goes through three states. *cut*: it is complete here, and no upload of it has begun, so nothing of it can count.
*uploading*: an upload may have begun, so its orders may be on the server. *uploaded*: the file storage has accepted it.
Once its result is in the journal, the file is deleted, and its rows are kept until the next load begins.
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import threading
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import Final, Literal, Self

from msgspec import Struct

from cdp_orders_async.errors import JournalError
from cdp_orders_async.journal.folder import NAME, batch_folder
from cdp_orders_async.journal.records import current_key
from cdp_orders_async.journal.tables import schema, schema_of

__all__ = ["BatchBook", "BatchFile", "BatchOrder", "State"]

State = Literal["cut", "uploading", "uploaded", "done"]

APPLICATION_ID: Final = 0x43445062
"""``CDPb`` in the header of the file marks it."""
_TABLES: Final = (
    f"PRAGMA application_id = {APPLICATION_ID}",
    "CREATE TABLE folder (id BLOB NOT NULL)",
    """CREATE TABLE batches (
        id INTEGER PRIMARY KEY, ref TEXT NOT NULL, state TEXT NOT NULL, checksum TEXT NOT NULL, size INTEGER NOT NULL,
        orders INTEGER NOT NULL)""",
    """CREATE TABLE orders (
        batch INTEGER NOT NULL, n INTEGER NOT NULL, file TEXT, number INTEGER NOT NULL, key TEXT NOT NULL,
        digest BLOB NOT NULL, PRIMARY KEY (batch, n)) WITHOUT ROWID""",
    "CREATE INDEX by_place ON orders (number, key)",
)
_OWN_NAME: Final = re.compile(r"\d+\.jsonl\.gz(\.new)?")
"""A batch file, and one that is being written."""
_PAGE: Final = 500
_ID: Final = 8  # bytes


class BatchFile(Struct, frozen=True):
    """One batch file."""

    id: int
    ref: str
    """The UUID of its batch, which this client made."""
    state: State
    checksum: str
    """The MD5 of the file, in hexadecimal digits."""
    size: int
    """Its bytes."""
    orders: int


class BatchOrder(Struct, frozen=True):
    """One order of a batch file; its record has the place *n* in the file, from 0."""

    n: int
    file: str | None
    number: int
    key: str
    digest: bytes


class BatchBook:
    """The batch files of loads with one journal. Each method may be called in any thread, and is one transaction."""

    def __init__(self, folder: Path, db: sqlite3.Connection) -> None:
        """Use `opened` instead: the constructor opens no file."""
        self.folder = folder
        self._db = db
        self._lock = threading.Lock()
        self.id = bytes(self._db.execute("SELECT id FROM folder").fetchone()[0])
        """Identifies this folder: another one knows nothing of its files."""

    @classmethod
    @contextlib.contextmanager
    def opened(cls, journal: Path, random: Iterable[int] | None = None) -> Generator[Self, None, None]:
        """Open the book beside *journal*, or make it; only its owner can read it.

        *random* are the bytes that identify a new folder. Raises `JournalError` for what cannot be read or written.
        """
        folder = batch_folder(journal)
        with _explained(folder):
            db = _open(folder, bytes(random) if random is not None else os.urandom(_ID))
        with contextlib.closing(db):
            yield cls(folder, db)

    def path(self, file: BatchFile | int) -> Path:
        """Return where a batch file is."""
        number = file if isinstance(file, int) else file.id
        return self.folder / f"{number}.jsonl.gz"

    def next_id(self) -> int:
        """Return the id of the next file. No file that counted had it, so the UUIDs of its records are new."""
        with self._writing() as db:
            return int(db.execute("SELECT coalesce(max(id), 0) + 1 FROM batches").fetchone()[0])

    def add(self, file: BatchFile, orders: Iterable[BatchOrder]) -> None:
        """Note a *file* that was cut, with its *orders*."""
        with self._writing() as db:
            values = (file.id, file.ref, file.state, file.checksum, file.size, file.orders)
            db.execute("INSERT INTO batches VALUES (?, ?, ?, ?, ?, ?)", values)
            rows = ((file.id, one.n, one.file, one.number, one.key, one.digest) for one in orders)
            db.executemany("INSERT INTO orders VALUES (?, ?, ?, ?, ?, ?)", rows)

    def set(self, file: BatchFile, *, state: State | None = None, ref: str | None = None) -> BatchFile:
        """Change the *state* or the *ref* of a file; return the file as it is now."""
        now = BatchFile(file.id, ref or file.ref, state or file.state, file.checksum, file.size, file.orders)
        with self._writing() as db:
            db.execute("UPDATE batches SET ref = ?, state = ? WHERE id = ?", (now.ref, now.state, now.id))
        return now

    def finish(self, file: BatchFile) -> None:
        """Note that the journal has the result of a file, and delete the file."""
        self.set(file, state="done")
        self._delete(self.path(file))

    def drop(self, file: BatchFile) -> None:
        """Forget a file that was never uploaded, and delete it."""
        with self._writing() as db:
            db.execute("DELETE FROM orders WHERE batch = ?", (file.id,))
            db.execute("DELETE FROM batches WHERE id = ?", (file.id,))
        self._delete(self.path(file))

    def tidy(self) -> None:
        """Forget the files that are done or were never uploaded, and delete those that a crash left behind.

        Files that this book did not make stay.
        """
        with self._writing() as db:
            db.execute("DELETE FROM batches WHERE state = 'cut'")
            # The last one stays, so that `next_id` counts on.
            db.execute("DELETE FROM batches WHERE state = 'done' AND id < (SELECT max(id) FROM batches)")
            db.execute("DELETE FROM orders WHERE batch NOT IN (SELECT id FROM batches WHERE state <> 'done')")
        known = {self.path(file) for file in self.open_files()}
        with _explained(self.folder):
            found = [path for path in self.folder.iterdir() if _OWN_NAME.fullmatch(path.name)]
        for path in found:
            if path not in known:
                self._delete(path)

    def open_files(self) -> list[BatchFile]:
        """Return the files without a result, the oldest first."""
        with self._writing() as db:
            found = db.execute("SELECT * FROM batches WHERE state <> 'done' ORDER BY id").fetchall()
        return [BatchFile(*row) for row in found]

    def orders(self, file: BatchFile) -> Iterator[list[BatchOrder]]:
        """Yield the orders of a file, some at a time."""
        after = -1
        while True:
            with self._writing() as db:
                query = "SELECT n, file, number, key, digest FROM orders WHERE batch = ? AND n > ? ORDER BY n LIMIT ?"
                rows = db.execute(query, (file.id, after, _PAGE)).fetchall()
            page = [BatchOrder(n, name, line, current_key(key), digest) for n, name, line, key, digest in rows]
            if not page:
                return
            after = page[-1].n
            yield page

    def has(self, order: BatchOrder) -> bool:
        """Tell whether a file of this book, done or not, has this *order* from this line, with this content."""
        with self._writing() as db:
            query = "SELECT key FROM orders WHERE number = ? AND file IS ? AND digest = ?"
            found = db.execute(query, (order.number, order.file, order.digest)).fetchall()
        return any(current_key(key) == order.key for (key,) in found)

    @contextlib.contextmanager
    def _writing(self) -> Generator[sqlite3.Connection, None, None]:
        with _explained(self.folder), self._lock, self._db:
            self._db.execute("BEGIN")
            yield self._db

    def _delete(self, path: Path) -> None:
        with _explained(self.folder):
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def _explained(folder: Path) -> Generator[None, None, None]:
    """Raise `JournalError` for what goes wrong in the *folder*."""
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        raise _unusable(folder, error) from error


def _open(folder: Path, new_id: bytes) -> sqlite3.Connection:
    path = folder / NAME
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or path.is_symlink():
        raise JournalError(f"{folder} is, or holds, a symbolic link: move it away")
    found = folder.stat()
    if hasattr(os, "geteuid") and found.st_uid != os.geteuid():  # Windows has no such number
        raise JournalError(f"{folder} belongs to another user: move it away")
    if not path.exists():
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    db = sqlite3.connect(path.absolute(), timeout=0, isolation_level=None, check_same_thread=False)
    try:
        for setting in ("trusted_schema = OFF", "locking_mode = EXCLUSIVE", "synchronous = FULL"):
            db.execute(f"PRAGMA {setting}")
        db.execute("BEGIN EXCLUSIVE")
        _check(db, path, new_id)
        if found.st_mode & 0o077:
            folder.chmod(0o700)
        db.execute("COMMIT")
    except BaseException:
        db.close()
        raise
    return db


def _check(db: sqlite3.Connection, path: Path, new_id: bytes) -> None:
    (application_id,) = db.execute("PRAGMA application_id").fetchone()
    found = schema(db)
    if not found and not application_id:
        for statement in _TABLES:
            db.execute(statement)
        db.execute("INSERT INTO folder VALUES (?)", (new_id,))
    elif application_id != APPLICATION_ID or found != schema_of(_TABLES):
        raise JournalError(f"{path} is the database of another program: move it away")


def _unusable(folder: Path, error: Exception) -> JournalError:
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY:
        return JournalError(f"the batch files in {folder} are in use: wait until the load that uses them has ended")
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return JournalError(f"the batch files cannot be kept in {folder}: {reason}")
