"""An SQLite file that is written through: every effect is one transaction."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import attrs
import orjson

from cdp_orders_async.emulator.records import Effect, Record

__all__ = ["Storage"]

# A killed process loses nothing with synchronous off, since the pages are the kernel's by then; only a machine that
# loses power does, and an emulator need not survive that.
SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = OFF;
CREATE TABLE IF NOT EXISTS effects (sequence INTEGER PRIMARY KEY, effect BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS records (ref TEXT PRIMARY KEY, serial INTEGER NOT NULL, record BLOB NOT NULL) STRICT;
"""


class Storage:
    """The records and the effects in the file at *path*, which is made where it is not there; for its owner alone."""

    def __init__(self, path: Path | str) -> None:
        # Absolute, because SQLite gives names such as ":memory:" a meaning of their own.
        self._database = sqlite3.connect(private(Path(path)).absolute(), isolation_level=None)
        try:
            self._database.executescript(SCHEMA)
        except sqlite3.Error:
            self._database.close()
            raise

    def records(self) -> Iterable[Record]:
        """Return what is kept, oldest first."""
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
        """Keep one effect with all that it changes, or nothing of it."""
        rows = [(record.ref, record.serial, orjson.dumps(attrs.asdict(record, recurse=False))) for record in puts]
        with self._database:
            self._database.execute("BEGIN")
            self._database.execute("INSERT INTO effects VALUES (?, ?)", (effect["sequence"], orjson.dumps(effect)))
            self._database.executemany(
                "INSERT INTO records VALUES (?, ?, ?) ON CONFLICT (ref) DO UPDATE SET record = excluded.record", rows
            )
            self._database.executemany("DELETE FROM records WHERE ref = ?", [(record.ref,) for record in gone])

    def clear(self) -> None:
        """Forget everything."""
        self._database.executescript("BEGIN; DELETE FROM effects; DELETE FROM records; COMMIT;")

    def close(self) -> None:
        """Close the file."""
        self._database.close()


def private(path: Path) -> Path:
    """Make the file of a database if it is missing, and let its owner alone read it; raise OSError if it is none."""
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o600))
    for file in (path, *(Path(f"{path}{end}") for end in ("-wal", "-shm", "-journal"))):
        if file.is_symlink():
            raise OSError(f"{file} is a symbolic link: name the file itself")
        if file.exists() and not file.is_file():
            raise OSError(f"{file} is no regular file")
        if file.exists():
            file.chmod(0o600)  # whatever the umask, and whoever could read an older one
    return path
