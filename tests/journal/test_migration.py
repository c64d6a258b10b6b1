"""Journals that version 0.1.0 wrote."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from uuid import UUID

import pytest

from cdp_orders_async.errors import JournalError
from cdp_orders_async.journal import Claimed, GraphRecord, PartRecord, SameReference, SqliteJournal, tables
from tests.journal.stores import claimed, key, order

IDENTITY = {"base URL": "http://a", "client key": "k", "API version": "2.1"}
STORED = {"base URL": "http://a", "client key": "k"}
ONE = UUID(int=1)

FORMAT_1 = f"""
BEGIN;
PRAGMA application_id = {0x4344506A};
PRAGMA user_version = 1;
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE graphs (
        id INTEGER PRIMARY KEY, graph TEXT NOT NULL UNIQUE, digest BLOB NOT NULL, state INTEGER NOT NULL);
CREATE TABLE parts (
        graph INTEGER NOT NULL, part TEXT NOT NULL, digest BLOB NOT NULL, ref BLOB,
        PRIMARY KEY (graph, part)) WITHOUT ROWID;
CREATE INDEX orders ON parts (ref) WHERE part = 'order';
COMMIT;
PRAGMA journal_mode = WAL;
"""


def write(path: Path, stored: dict[str, str], *, killed: bool = False) -> None:
    """Write a journal as 0.1.0 did: an order that is done, and one under way; *killed*: with all that in its log."""
    origin = path.with_name("origin")
    with closing(sqlite3.connect(origin, isolation_level=None)) as db:
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.executescript(FORMAT_1)
        db.executemany("INSERT INTO meta VALUES (?, ?)", stored.items())
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        db.execute("INSERT INTO graphs VALUES (1, ?, ?, 2)", (key("done"), b"graph"))
        db.execute("INSERT INTO parts VALUES (1, 'order', ?, ?)", (b"o", ONE.bytes))
        db.execute("INSERT INTO parts VALUES (1, 'contact', ?, NULL)", (b"c",))
        db.execute("INSERT INTO graphs VALUES (2, ?, ?, 0)", (key("under way"), b"graph"))
        if killed:
            Path(f"{path}-wal").write_bytes(Path(f"{origin}-wal").read_bytes())
            path.write_bytes(origin.read_bytes())
    if not killed:
        path.write_bytes(origin.read_bytes())


def version(path: Path) -> int:
    """Return the format of a journal."""
    with closing(sqlite3.connect(path)) as db:
        return int(db.execute("PRAGMA user_version").fetchone()[0])


async def opened(path: Path, identity: dict[str, str] = IDENTITY) -> SqliteJournal:
    """Open the journal at *path*."""
    return await SqliteJournal.open(path, identity=identity)


async def check(journal: SqliteJournal) -> None:
    """See that all is known that was written."""
    assert not journal.new
    assert [part async for part in journal.created()] == []
    assert await journal.owner(ONE) == key("done")
    assert await journal.known(5) == [(key("done"), ONE)]
    parts = {"order": PartRecord(b"o", ONE), "contact": PartRecord(b"c", None)}
    assert await journal.claim(order("done", 48), b"new") == Claimed(None, (SameReference(key("done"), ONE, b"", 0),))
    await journal.end(order("done", 48).key, complete=False)
    assert await claimed(journal, "done") == GraphRecord(b"graph", complete=True, ended=True, parts=parts)
    await journal.end(key("done"), complete=True)
    assert await journal.claim(order("under way", -1), b"new") == Claimed(
        None, (SameReference(key("under way"), None, b"", 0),)
    )
    await journal.end(order("under way", -1).key, complete=False)
    assert await claimed(journal, "under way") == GraphRecord(b"graph", complete=False, ended=False, parts={})
    journal.release(key("under way"))


@pytest.mark.parametrize("killed", [False, True])
async def test_an_old_journal_goes_on(path: Path, killed: bool) -> None:  # noqa: FBT001
    """All that an old journal knows is known, also what was in its log; who created it is not."""
    write(path, STORED, killed=killed)
    async with await opened(path) as journal:
        await check(journal)
        await claimed(journal, "new")
        journal.record(key("new"), "order", b"o", UUID(int=2), created=True)
        journal.record(key("done"), "order", b"o", ONE)
    assert version(path) == 2
    async with await opened(path) as journal:
        assert [part.key async for part in journal.created()] == [key("new")]
        assert await journal.owner(ONE) == key("done")


async def test_a_migrated_journal_is_as_a_new_one(path: Path) -> None:
    """What an old file defines when it was brought up to date is what a new one defines."""
    write(path, STORED)
    async with await opened(path):
        pass
    fresh = path.with_name("fresh.sqlite")
    async with await opened(fresh):
        pass
    with closing(sqlite3.connect(path)) as old, closing(sqlite3.connect(fresh)) as new:
        assert tables.schema(old) == tables.schema(new)


@pytest.mark.parametrize("stored", [{}, {"base URL": "http://a"}, STORED, IDENTITY])
async def test_an_old_identity_is_completed(path: Path, stored: dict[str, str]) -> None:
    """Old programs stored less of what the journal is about: what is missing is added, once."""
    write(path, stored)
    async with await opened(path) as journal:
        assert journal.identity == IDENTITY
    await (await opened(path, STORED)).aclose()  # who names no version means the current one
    with pytest.raises(JournalError, match=r"API version 2\.1, not 2:"):
        await opened(path, STORED | {"API version": "2"})


@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.parametrize(
    ("stored", "sentence"),
    [
        ({"base URL": "http://b"}, "base URL http://b, not http://a: use --base-url http://b, or "),
        (STORED | {"client key": "l"}, "client key l, not k: use the credentials of client key l, or "),
        (STORED | {"API version": "2"}, "API version 2, not 2.1: use --api v2, or "),
        (STORED | {"file": "f"}, "file f, not (none): "),
    ],
)
async def test_an_old_journal_of_somebody_else_is_refused(
    path: Path,
    stored: dict[str, str],
    sentence: str,
    killed: bool,  # noqa: FBT001
) -> None:
    """A value that differs, or that is not asked for, is refused, and the file stays an old one."""
    write(path, stored, killed=killed)
    with pytest.raises(JournalError) as refused:
        await opened(path)
    assert str(refused.value) == f"the journal {path} belongs to {sentence}name another file"
    assert version(path) == 1


@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.parametrize("statements", range(6))
async def test_a_migration_that_stops_changes_nothing(
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    statements: int,
    killed: bool,  # noqa: FBT001
) -> None:
    """Whatever stops it, the file is of the first format and whole, and the next opening brings it up to date."""
    write(path, STORED, killed=killed)
    with monkeypatch.context() as patch:
        patch.setattr(tables, "TO_FORMAT_2", (*tables.TO_FORMAT_2[:statements], "stop"))
        with pytest.raises(JournalError):
            await opened(path)
    assert version(path) == 1
    async with await opened(path) as journal:
        await check(journal)


async def test_an_old_journal_that_somebody_changed_is_refused(path: Path) -> None:
    """What an old file must define is compared too, before it is brought up to date."""
    write(path, STORED)
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TRIGGER song AFTER INSERT ON meta BEGIN DELETE FROM graphs; END")
        db.commit()
    with pytest.raises(JournalError, match="is damaged"):
        await opened(path)
    assert version(path) == 1
