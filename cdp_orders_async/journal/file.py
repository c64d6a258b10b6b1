"""The SQLite file of a journal: making it, opening it for ourselves alone, and saying clearly why not."""

from __future__ import annotations

import os
import re
import sqlite3
import struct
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

_WORDS: Final = 2**32 - 1
_LOG_HEADER: Final = struct.Struct(">4I8s2I")  # magic, version, page size, number, salts, checksum
_FRAME_HEADER: Final = struct.Struct(">2I8s2I")  # page, pages there are after a commit or else 0, salts, checksum
_ORDERS: Final = MappingProxyType({0x377F0682: "<", 0x377F0683: ">"})
"""The byte order of the checksums in a log, by its magic number."""

_DAMAGED: Final = "the journal {path} is damaged: put it aside, and resume with a new one and --look-first"

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
    """Create the file if it is missing, refuse what is there but is no file, and keep others from reading it.

    What exists is not opened: closing it would drop the lock of another journal in this process that has it open.
    """
    files = [path, *(Path(f"{path}{suffix}") for suffix in ("-wal", "-journal"))]
    for file in files:
        if file.is_symlink():
            raise JournalError(f"{file} is a symbolic link, which a journal must not be: name the file itself")
        if file.exists() and not file.is_file():
            kind = "a folder" if file.is_dir() else "no regular file"
            raise JournalError(f"{file} is {kind}, not a journal: name a file")
    _check_log(path)
    if not path.exists():
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        path.chmod(0o600)  # whatever the umask
    elif not os.access(path, os.R_OK | os.W_OK, effective_ids=os.access in os.supports_effective_ids):
        raise JournalError(_UNOPENED.format(path=path))
    for file in files:
        if file.exists() and file.stat().st_mode & 0o077:
            file.chmod(0o600)


def _check_log(path: Path) -> None:
    """Refuse a log that broke, or whose file did: SQLite would drop commits, or read zeros, without a word."""
    try:
        log = Path(f"{path}-wal").read_bytes()
    except FileNotFoundError:
        return
    length = path.stat().st_size if path.exists() else 0
    if log and (not length or _is_broken(log, length)):
        raise JournalError(_DAMAGED.format(path=path))


def _is_broken(log: bytes, length: int) -> bool:
    """Tell whether commits of a log would be lost, or pages that a file of *length* bytes lacks are not in it either.

    SQLite reads a log as far as its checksums hold. Each commit is synced before the next one begins, so a loss of
    power can only have torn the last.
    """
    if len(log) < _LOG_HEADER.size:
        return True
    magic, _, size, _, salts, one, two = _LOG_HEADER.unpack_from(log)
    order = _ORDERS.get(magic)
    if order is None or _checksum(log[: _LOG_HEADER.size - 8], order, 0, 0) != (one, two):
        return True
    at, pages = _LOG_HEADER.size, 0
    held: set[int] = set()
    while (end := at + _FRAME_HEADER.size + size) <= len(log):
        page, commit, its_salts, *its_sums = _FRAME_HEADER.unpack_from(log, at)
        one, two = _checksum(log[at : at + 8] + log[at + _FRAME_HEADER.size : end], order, one, two)
        if its_salts != salts or its_sums != [one, two]:
            break
        at, pages = end, commit or pages
        held.add(page)
    behind = (found.start() for found in re.finditer(re.escape(salts), log[at:]))
    lost = sum(any(log[at + start - 4 : at + start]) for start in behind) > 1
    whole, rest = divmod(length, size)
    return lost or not held.issuperset(range(whole + 1, max(pages, whole + (rest > 0)) + 1))


def _checksum(data: bytes, order: str, one: int, two: int) -> tuple[int, int]:
    """Go on with the checksum of a log; https://sqlite.org/fileformat2.html#checksum_algorithm."""
    for first, second in struct.iter_unpack(f"{order}2I", data):
        one = one + first + two & _WORDS
        two = two + second + one & _WORDS
    return one, two


def _make_tables(db: sqlite3.Connection, path: Path, identity: Mapping[str, str]) -> None:
    """Make the tables in an empty file; refuse a file that is not a journal, or not the one of *identity*."""
    if not path.stat().st_size:  # and not because there are no tables, as where its head is broken
        for statement in _TABLES:
            db.execute(statement)
        db.executemany("INSERT INTO meta (key, value) VALUES (?, ?)", identity.items())
        return
    (application_id,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
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
        case TypeError() | ValueError():  # the file holds what was never put into it
            return _DAMAGED.format(path=path)
        case _:
            return f"the journal {path} failed ({error!r}): please report this"
