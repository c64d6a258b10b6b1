"""Make or open the SQLite file of a journal, for this process alone, and explain the errors."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from cdp_orders_async.errors import JournalError
from cdp_orders_async.journal.identity import check_entries
from cdp_orders_async.journal.log import is_broken, read_log
from cdp_orders_async.journal.tables import APPLICATION_ID, FORMAT, FORMATS, Tables, make, migrate, schema

__all__ = ["explain", "open_file"]

_SETTINGS: Final = (
    "PRAGMA trusted_schema = OFF",  # no code in the file is run
    "PRAGMA locking_mode = EXCLUSIVE",
    "PRAGMA synchronous = FULL",  # each commit survives a loss of power
    "PRAGMA fullfsync = ON",  # on macOS too, where fsync alone does not reach the disk
    "PRAGMA wal_autocheckpoint = 0",  # the tables say when, see `Tables.checkpoint`
)

_DAMAGED: Final = "the journal {path} is damaged: put it aside, and resume with a new one and look_first=True"

_UNOPENED: Final = "the journal {path} cannot be opened for writing: see that you may write to it and to its folder"

_FOREIGN: Final = "{path} is the database of another program, not a journal: name another file"


def open_file(path: Path, identity: Mapping[str, str] | None) -> tuple[Tables, bool]:
    """Open or make the journal at *path*, for this process alone; return its tables, and whether they are new.

    Without an *identity*, open only a journal that exists, of any identity.
    """
    files = (path, *(Path(f"{path}{suffix}") for suffix in ("-wal", "-journal")))
    for file in files:
        _check_kind(file)
    length = path.stat().st_size if path.exists() else 0
    if length and not files[2].exists():
        _check_program(path)
    log = read_log(path)
    if log and is_broken(log, length):
        raise JournalError(_DAMAGED.format(path=path))
    _make_file(path, new=not length, known=identity is not None)
    # An absolute path, because some names, such as ":memory:", have a special meaning for SQLite.
    db = sqlite3.connect(path.absolute(), timeout=0, isolation_level=None)
    try:
        for setting in _SETTINGS:
            db.execute(setting)
        db.execute("BEGIN EXCLUSIVE")
        # The size decides, not the missing tables: a file with a broken head has no tables either.
        if new := not path.stat().st_size:
            make(db, identity or {})
        elif _check(db, path, identity, has_log=bool(log)) < FORMAT:
            migrate(db, identity or {})
        for file in files:
            if file.exists() and file.stat().st_mode & 0o077:
                file.chmod(0o600)
        db.execute("COMMIT")
        # Only now, so that the tables are in the file itself, even if its log is lost.
        db.execute("PRAGMA journal_mode = WAL")
        tables = Tables(db)
        tables.checkpoint()
    except BaseException:
        db.close()
        raise
    return tables, new


def _check_kind(file: Path) -> None:
    """Raise `JournalError` unless *file* is a regular file with one name that belongs to this user, or is missing."""
    try:
        found = file.lstat()
    except FileNotFoundError:
        return
    if stat.S_ISLNK(found.st_mode):
        raise JournalError(f"{file} is a symbolic link, which a journal must not be: name the file itself")
    if not stat.S_ISREG(found.st_mode):
        kind = "a folder" if stat.S_ISDIR(found.st_mode) else "no regular file"
        raise JournalError(f"{file} is {kind}, not a journal: name a file")
    if found.st_nlink > 1:
        raise JournalError(f"{file} is a file with several names (hard links): name a file that has one")
    if hasattr(os, "geteuid") and found.st_uid != os.geteuid():  # Windows has no such number
        raise JournalError(f"{file} belongs to another user: name a file of your own")


def _check_program(path: Path) -> None:
    """Raise `JournalError` for the database of another program, before it is locked, recovered or changed.

    SQLite reads it as an immutable file, without locks. Python must not open and close it: that would drop the locks of
    all others in this process that have it open.
    """
    # A file that cannot be read like this is judged later, when it is opened together with its log.
    with (
        contextlib.suppress(sqlite3.DatabaseError),
        contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?immutable=1", uri=True)) as db,
    ):
        (application_id,) = db.execute("PRAGMA application_id").fetchone()
        if application_id != APPLICATION_ID:
            raise JournalError(_FOREIGN.format(path=path))


def _make_file(path: Path, *, new: bool, known: bool) -> None:
    """Create the file, readable by its owner only, if it is missing and its identity is *known*."""
    if new and not known:
        raise JournalError(f"there is no journal at {path}: name the file of one")
    if not path.exists():
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        path.chmod(0o600)  # the umask may have changed it
    elif not os.access(path, os.R_OK | os.W_OK, effective_ids=os.access in os.supports_effective_ids):
        raise JournalError(_UNOPENED.format(path=path))


def _check(db: sqlite3.Connection, path: Path, identity: Mapping[str, str] | None, *, has_log: bool) -> int:
    """Raise `JournalError` for a file that is not a whole journal of *identity*; return its format."""
    (application_id,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if application_id != APPLICATION_ID:
        raise JournalError(_FOREIGN.format(path=path))
    if version not in FORMATS:
        raise JournalError(
            f"the journal {path} has format {version}, and this version of cdp-orders-async reads the formats"
            f" {' and '.join(map(str, FORMATS))}: go on with the version that made it, or name another file"
        )
    if schema(db) != FORMATS[version]():
        raise JournalError(_DAMAGED.format(path=path))
    # The first format does not say whether it needs its log.
    if version == FORMAT and not has_log and db.execute("SELECT needed FROM log").fetchall() != [(0,)]:
        raise JournalError(_DAMAGED.format(path=path))
    if identity is None:
        if version < FORMAT:  # only a load knows what that format leaves out
            raise JournalError(f"the journal {path} is of version 0.1.0: run its load again first, which updates it")
        return int(version)
    stored: dict[str, str] = dict(db.execute("SELECT key, value FROM meta").fetchall())
    # An identity in the first format has fewer entries.
    keys = stored.keys() if version < FORMAT else stored.keys() | identity.keys()
    check_entries(f"the journal {path}", stored, identity, keys, "name another file")
    return int(version)


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
    """Return a sentence for a person: the problem with the journal at *path*, and what to do."""
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
        case TypeError() | ValueError():  # the file holds a value that no journal writes
            return _DAMAGED.format(path=path)
        case _:
            return f"the journal {path} failed ({error!r}): please report this"
