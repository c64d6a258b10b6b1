"""The SQLite file of a journal: making it, opening it for ourselves alone, and saying clearly why not."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from cdp_orders_async.errors import JournalError

__all__ = ["explain", "open_file"]

_APPLICATION_ID: Final = 0x4344506A
"""``CDPj`` in the header of the file: it is a journal, and not somebody else's database."""

_FORMAT: Final = 1
"""The version of the tables, as the file's ``user_version``."""

_SETTINGS: Final = (
    "PRAGMA locking_mode = EXCLUSIVE",
    "PRAGMA synchronous = FULL",  # each commit survives a loss of power
    "PRAGMA fullfsync = ON",  # on macOS too, where fsync alone does not reach the disk
)

_TABLES: Final = (
    f"PRAGMA application_id = {_APPLICATION_ID}",
    f"PRAGMA user_version = {_FORMAT}",
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    """CREATE TABLE graphs (
        id INTEGER PRIMARY KEY, graph TEXT NOT NULL UNIQUE, digest BLOB NOT NULL, state INTEGER NOT NULL)""",
    # The number of its graph and not the key, because a graph has dozens of parts.
    """CREATE TABLE parts (
        graph INTEGER NOT NULL, part TEXT NOT NULL, digest BLOB NOT NULL, ref BLOB,
        PRIMARY KEY (graph, part)) WITHOUT ROWID""",
    "CREATE INDEX orders ON parts (ref) WHERE part = 'order'",
)

_UNOPENED: Final = "the journal {path} cannot be opened for writing: see that you may write to it and to its folder"


def open_file(path: Path, identity: Mapping[str, str]) -> sqlite3.Connection:
    """Open the journal at *path*, or make it, in a state to be used at once and by nobody else."""
    _make_file(path)
    # Absolute, because SQLite gives names such as ":memory:" a meaning of their own.
    db = sqlite3.connect(path.absolute(), timeout=0, isolation_level=None)
    try:
        for setting in _SETTINGS:
            db.execute(setting)
        db.execute("BEGIN EXCLUSIVE")
        _make_tables(db, path, identity)
        db.execute("COMMIT")
        # Only now, so that the tables are in the file itself, whatever becomes of the log beside it.
        db.execute("PRAGMA journal_mode = WAL")
    except BaseException:
        db.close()
        raise
    return db


def _make_file(path: Path) -> None:
    """Create the file if it is missing, and refuse what is there but is no file.

    What exists is not opened: closing it would drop the lock of another journal in this process that has it open.
    """
    for file in (path, *(Path(f"{path}{suffix}") for suffix in ("-wal", "-journal"))):
        if file.is_symlink():
            raise JournalError(f"{file} is a symbolic link, which a journal must not be: name the file itself")
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    else:
        if not stat.S_ISREG(mode):
            kind = "a folder" if stat.S_ISDIR(mode) else "no regular file"
            raise JournalError(f"{path} is {kind}, not a journal: name a file")
        if not os.access(path, os.R_OK | os.W_OK, effective_ids=os.access in os.supports_effective_ids):
            raise JournalError(_UNOPENED.format(path=path))


def _make_tables(db: sqlite3.Connection, path: Path, identity: Mapping[str, str]) -> None:
    """Make the tables in an empty file; refuse a file that is not a journal, or not the one of *identity*."""
    (application_id,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application_id == version == tables == 0:
        for statement in _TABLES:
            db.execute(statement)
        db.executemany("INSERT INTO meta (key, value) VALUES (?, ?)", identity.items())
        return
    if application_id != _APPLICATION_ID:
        raise JournalError(f"{path} is the database of another program, not a journal: name another file")
    if version != _FORMAT:
        raise JournalError(
            f"the journal {path} has format {version}, and this version of cdp-orders-async reads format {_FORMAT}:"
            " go on with the version that made it, or name another file"
        )
    stored: dict[str, str] = dict(db.execute("SELECT key, value FROM meta").fetchall())
    differences = [
        f"{key} {stored.get(key, '(none)')}, not {identity.get(key, '(none)')}"
        for key in sorted(stored.keys() | identity.keys())
        if stored.get(key) != identity.get(key)
    ]
    if differences:
        raise JournalError(f"the journal {path} belongs to {' and to '.join(differences)}: name another file")


_DAMAGED: Final = "the journal {path} is damaged: put it aside, and resume with a new one and --look-first"

_SENTENCES: Final[Mapping[int, str]] = MappingProxyType(
    {
        sqlite3.SQLITE_BUSY: "the journal {path} is in use: wait until the load that uses it has ended",
        sqlite3.SQLITE_CANTOPEN: _UNOPENED,
        sqlite3.SQLITE_PERM: _UNOPENED,
        sqlite3.SQLITE_READONLY: _UNOPENED,
        sqlite3.SQLITE_NOTADB: "{path} is no SQLite database, so it is not a journal: name another file",
        sqlite3.SQLITE_CORRUPT: _DAMAGED,
        sqlite3.SQLITE_ERROR: _DAMAGED,  # a table is missing
        sqlite3.SQLITE_FULL: "the journal {path} cannot be written, the disk is full: free some space and resume",
    }
)


def explain(path: Path, error: Exception) -> str:
    """Say for a person what is wrong with the journal at *path*, and what to do."""
    match error:
        case JournalError():
            return str(error)
        case OSError():
            return (
                f"the journal {path} cannot be made ({error.strerror}): name a file in a folder that you may write to"
            )
        case sqlite3.Error() if sentence := _SENTENCES.get(getattr(error, "sqlite_errorcode", -1) & 0xFF):
            return sentence.format(path=path)
        case sqlite3.Error():
            name = getattr(error, "sqlite_errorname", type(error).__name__)
            return f"the journal {path} cannot be read or written ({name}): see to its disk and resume"
        case _:
            return f"the journal {path} failed ({error!r}): please report this"
