"""The records and effects of an emulator in an SQLite file; every effect is one transaction."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterable
from contextlib import closing, suppress
from datetime import datetime
from pathlib import Path

import attrs
import orjson

from cdp_orders_async.emulator.records import Effect, Record

__all__ = ["Storage"]

APPLICATION_ID = 0x43445065
"""``CDPe`` in the header of the file marks the database of an emulator."""
# With synchronous off, a killed process loses nothing, since the kernel has the pages. A loss of power may lose data,
# which is acceptable for an emulator.
SETTINGS = f"""
PRAGMA application_id = {APPLICATION_ID};
PRAGMA journal_mode = WAL;
PRAGMA synchronous = OFF;
"""
SCHEMA = """
CREATE TABLE IF NOT EXISTS effects (sequence INTEGER PRIMARY KEY, effect BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS records (ref TEXT PRIMARY KEY, serial INTEGER NOT NULL, record BLOB NOT NULL) STRICT;
"""


class Storage:
    """The records and the effects in the file at *path*, which is made if it is missing; only its owner can read it.

    Raises OSError if it is not the file of an emulator, and does not change it then.
    """

    def __init__(self, path: Path | str) -> None:
        path = Path(path).absolute()  # names such as ":memory:" have a special meaning for SQLite
        files = (path, *(Path(f"{path}{end}") for end in ("-wal", "-shm", "-journal")))
        for file in files:
            check(file)
        if path.exists() and path.stat().st_size:
            # As an immutable file, so that nothing is locked or recovered.
            with closing(sqlite3.connect(f"{path.as_uri()}?immutable=1", uri=True)) as database:
                check_schema(database, path)
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o600))
        # Threads use it one after the other: a server in a thread, and its owner before and after.
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            self._database.execute("PRAGMA trusted_schema = OFF")  # no code in the file is run
            check_schema(self._database, path)  # with the log beside it
            for file in files:
                if file.exists():
                    file.chmod(0o600)  # the umask, or an older file, may have allowed more
            self._database.executescript(SETTINGS + SCHEMA)
        except BaseException:
            self._database.close()
            raise

    def records(self) -> Iterable[Record]:
        """Return all records, oldest first."""
        for (row,) in self._database.execute("SELECT record FROM records ORDER BY serial, rowid"):
            values = orjson.loads(row)
            for name in ("created", "modified"):
                values[name] = datetime.fromisoformat(values[name])
            yield Record(**values)

    def effects(self) -> Iterable[Effect]:
        """Return the ledger, oldest first."""
        for (row,) in self._database.execute("SELECT effect FROM effects ORDER BY sequence"):
            yield orjson.loads(row)

    def write(self, effect: Effect, puts: Iterable[Record], gone: Iterable[Record]) -> None:
        """Store one effect with all its changes, or nothing."""
        rows = [(record.ref, record.serial, orjson.dumps(attrs.asdict(record, recurse=False))) for record in puts]
        with self._database:
            self._database.execute("BEGIN")
            self._database.execute("INSERT INTO effects VALUES (?, ?)", (effect["sequence"], orjson.dumps(effect)))
            self._database.executemany(
                "INSERT INTO records VALUES (?, ?, ?) ON CONFLICT (ref) DO UPDATE SET record = excluded.record", rows
            )
            self._database.executemany("DELETE FROM records WHERE ref = ?", [(record.ref,) for record in gone])

    def clear(self) -> None:
        """Delete everything."""
        self._database.executescript("BEGIN; DELETE FROM effects; DELETE FROM records; COMMIT;")

    def close(self) -> None:
        """Close the file."""
        self._database.close()


def check(file: Path) -> None:
    """Raise OSError unless *file* is a regular file with one name that belongs to this user, or is missing."""
    try:
        found = file.lstat()
    except FileNotFoundError:
        return
    if stat.S_ISLNK(found.st_mode):
        raise OSError(f"{file} is a symbolic link: name the file itself")
    if not stat.S_ISREG(found.st_mode):
        raise OSError(f"{file} is not a regular file")
    if found.st_nlink > 1:
        raise OSError(f"{file} is a file with several names (hard links): name a file that has one")
    if hasattr(os, "geteuid") and found.st_uid != os.geteuid():  # Windows has no such number
        raise OSError(f"{file} belongs to another user: name a file of your own")


def check_schema(database: sqlite3.Connection, path: Path) -> None:
    """Raise OSError for the database of another program, or one with other tables, views or triggers."""
    (application_id,) = database.execute("PRAGMA application_id").fetchone()
    found = schema(database)
    with closing(sqlite3.connect(":memory:")) as own:
        own.executescript(SCHEMA)
        expected = schema(own)
    if application_id not in {0, APPLICATION_ID} or (found and found != expected):
        raise OSError(f"{path} is the database of another program: name another file")


def schema(database: sqlite3.Connection) -> set[tuple[str, ...]]:
    """Return everything that a database defines."""
    return {tuple(map(str, row)) for row in database.execute("SELECT type, name, sql FROM sqlite_master")}
