"""What a journal in a file refuses, each with one sentence."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from uuid import UUID

import pytest

from cdp_orders_async.errors import JournalError
from cdp_orders_async.journal import SqliteJournal
from cdp_orders_async.journal.file import explain
from tests.journal.stores import claimed, key, order

IDENTITY = {"base URL": "http://a", "client key": "k"}
DIGEST = b"graph"


async def refusal(path: Path | str) -> str:
    """Return the sentence with which the journal at *path* is refused."""
    with pytest.raises(JournalError) as refused:
        await SqliteJournal.open(path, identity=IDENTITY)
    return str(refused.value)


async def opened(path: Path) -> SqliteJournal:
    """Open the journal at *path*."""
    return await SqliteJournal.open(path, identity=IDENTITY)


def folder(path: Path) -> None:
    """Put a folder there."""
    path.mkdir()


def pipe(path: Path) -> None:
    """Put a named pipe there."""
    os.mkfifo(path)


def link(path: Path) -> None:
    """Put a symbolic link there."""
    path.symlink_to("elsewhere")


def linked_log(path: Path) -> None:
    """Put a symbolic link where the log goes."""
    Path(f"{path}-wal").symlink_to("elsewhere")


def empty(path: Path) -> None:
    """Put an empty file there."""
    path.touch()


def text(path: Path) -> None:
    """Put a text file there."""
    path.write_text("no database\n" * 100)


def other_database(path: Path) -> None:
    """Put a database of something else there."""
    change(path, "CREATE TABLE songs (title TEXT)")


def other_log(path: Path) -> None:
    """Put a database of something else there, as its program left it when it was killed."""
    origin = path.with_name("origin")
    with closing(sqlite3.connect(origin)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("CREATE TABLE songs (title TEXT)")
        db.commit()
        for suffix in ("", "-wal"):
            Path(f"{path}{suffix}").write_bytes(Path(f"{origin}{suffix}").read_bytes())


def second_name(path: Path) -> None:
    """Put a file there that has another name too."""
    path.with_name("precious").write_text("precious")
    path.hardlink_to(path.with_name("precious"))


def log_of_two_names(path: Path) -> None:
    """Put a file that has another name too where the log goes."""
    second_name(Path(f"{path}-wal"))


def listing(folder: Path) -> set[tuple[str, int, int, int]]:
    """Return the names, modes, sizes and times of the files of *folder*."""
    found = ((file.name, file.lstat()) for file in folder.iterdir())
    return {(name, status.st_mode, status.st_size, status.st_mtime_ns) for name, status in found}


def forbid(path: Path, mode: int) -> None:
    """Set who may read and write."""
    path.chmod(mode)


def change(path: Path, *statements: str) -> None:
    """Execute *statements* in the database at *path*."""
    db = sqlite3.connect(path)
    for statement in statements:
        db.execute(statement)
    db.commit()
    db.close()


@pytest.mark.parametrize(
    ("prepare", "sentence"),
    [
        (folder, "{path} is a folder, not a journal: name a file"),
        (pipe, "{path} is no regular file, not a journal: name a file"),
        (link, "{path} is a symbolic link, which a journal must not be: name the file itself"),
        (linked_log, "{path}-wal is a symbolic link, which a journal must not be: name the file itself"),
        (second_name, "{path} is a file with several names (hard links): name a file that has one"),
        (log_of_two_names, "{path}-wal is a file with several names (hard links): name a file that has one"),
        (text, "{path} is no SQLite database, so it is not a journal: name another file"),
        (other_database, "{path} is the database of another program, not a journal: name another file"),
        (other_log, "{path} is the database of another program, not a journal: name another file"),
    ],
)
async def test_what_is_no_journal_is_refused(path: Path, prepare: Callable[[Path], None], sentence: str) -> None:
    """What is there but is not a journal is left alone, with a sentence."""
    prepare(path)
    before = listing(path.parent)
    assert await refusal(path) == sentence.format(path=path)
    assert listing(path.parent) == before


async def test_an_empty_file_becomes_a_journal(path: Path) -> None:
    """A file with nothing in it, such as a crash while it was made leaves, is made a journal."""
    empty(path)
    async with await opened(path) as journal:
        assert journal.new
        assert await claimed(journal, "G") is None
    async with await opened(path) as journal:
        assert not journal.new


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing/J.sqlite", "No such file or directory"),
        ("file/J.sqlite", "Not a directory"),
        ("x" * 300, "File name too long"),
    ],
)
async def test_a_place_without_a_folder_is_refused(tmp_path: Path, name: str, reason: str) -> None:
    """A journal is made in a folder that is there."""
    (tmp_path / "file").touch()
    path = tmp_path / name
    assert await refusal(path) == (
        f"the journal {path} cannot be made ({reason}): name a file in a folder that you may write to"
    )


async def test_names_mean_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite's special names are ordinary ones here, and no name is the folder."""
    monkeypatch.chdir(tmp_path)
    async with await SqliteJournal.open(":memory:", identity=IDENTITY) as journal:
        await claimed(journal, "G")
    async with await opened(tmp_path / ":memory:") as journal:
        assert await claimed(journal, "G") is not None
    assert await refusal("") == ". is a folder, not a journal: name a file"


async def test_a_file_of_another_user_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even who may write it takes a file over that belongs to somebody else."""
    await (await opened(path)).aclose()
    user = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    before = listing(path.parent)
    assert await refusal(path) == f"{path} belongs to another user: name a file of your own"
    assert listing(path.parent) == before


@pytest.mark.parametrize("mode", [0o000, 0o200, 0o400])
async def test_a_file_that_may_not_be_written_is_refused(unprivileged: Path, mode: int) -> None:
    """A journal must be readable and writable."""
    path = unprivileged / "J.sqlite"
    await (await opened(path)).aclose()
    forbid(path, mode)
    sentence = f"the journal {path} cannot be opened for writing: see that you may write to it and to its folder"
    assert await refusal(path) == sentence


async def test_a_folder_that_may_not_be_written_is_refused(unprivileged: Path) -> None:
    """The folder must be writable too, for a new journal and for one that is there."""
    old, new = unprivileged / "old.sqlite", unprivileged / "new.sqlite"
    await (await opened(old)).aclose()
    forbid(unprivileged, 0o500)
    assert [await refusal(path) for path in (old, new)] == [
        f"the journal {old} cannot be opened for writing: see that you may write to it and to its folder",
        f"the journal {new} cannot be made (Permission denied): name a file in a folder that you may write to",
    ]


@pytest.mark.parametrize("version", [0, 3, -1])
async def test_another_format_is_refused(path: Path, version: int) -> None:
    """A journal of an older or a newer format is left to the version that made it."""
    await (await opened(path)).aclose()
    change(path, f"PRAGMA user_version = {version}")
    assert await refusal(path) == (
        f"the journal {path} has format {version}, and this version of cdp-orders-async reads the formats 1 and 2:"
        " go on with the version that made it, or name another file"
    )


@pytest.mark.parametrize(
    ("stored", "sentence"),
    [
        (IDENTITY | {"base URL": "http://b"}, "base URL http://b, not http://a: use --base-url http://b, or "),
        (
            {"base URL": "http://b", "client key": "l"},
            (
                "base URL http://b, not http://a and to client key l, not k: "
                "use --base-url http://b and the credentials of client key l, or "
            ),
        ),
        ({"base URL": "http://a"}, "client key (none), not k: "),
        (IDENTITY | {"tenant": "t"}, "tenant t, not (none): "),
        (IDENTITY | {"API version": "2"}, "API version 2, not 2.1: use --api v2, or "),
    ],
)
async def test_another_identity_is_refused(path: Path, stored: dict[str, str], sentence: str) -> None:
    """A journal of something else is refused, with each difference."""
    await (await SqliteJournal.open(path, identity=stored)).aclose()
    assert await refusal(path) == f"the journal {path} belongs to {sentence}name another file"


@pytest.mark.parametrize(
    ("stored", "asked", "sentence"),
    [
        ({}, IDENTITY, ""),
        (IDENTITY, IDENTITY, ""),
        (IDENTITY, {}, ""),
        (IDENTITY, IDENTITY | {"API version": "2"}, "API version 2.1, not 2: use --api v2.1, or "),
        (IDENTITY | {"API version": "2"}, IDENTITY, "API version 2, not 2.1: use --api v2, or "),
        (IDENTITY | {"file": "a"}, IDENTITY, ""),
        ({"base URL": "http://a"}, {"base URL": "http://a"}, ""),
        ({"base URL": "http://a"}, IDENTITY, "client key (none), not k: "),
        (IDENTITY, IDENTITY | {"client key": "l"}, "client key k, not l: use the credentials of client key k, or "),
        (IDENTITY, {"base URL": "http://b"}, "base URL http://a, not http://b: use --base-url http://a, or "),
    ],
)
async def test_an_open_journal_says_whose_it_is(
    path: Path, stored: dict[str, str], asked: dict[str, str], sentence: str
) -> None:
    """Asked by a client, a journal refuses other values, and a client key that it does not know."""
    async with await SqliteJournal.open(path, identity=stored) as journal:
        assert journal.identity == stored
        if not sentence:
            journal.check(asked)
            return
        with pytest.raises(JournalError) as refused:
            journal.check(asked)
    assert str(refused.value) == f"the journal {path} belongs to {sentence}name another file"


def cut(path: Path) -> None:
    """Cut off the second half of a file."""
    os.truncate(path, path.stat().st_size // 2)


def scribble(path: Path, page: int = 2) -> None:
    """Overwrite one page of a file."""
    with path.open("r+b") as file:
        file.seek(4096 * (page - 1))
        file.write(b"\xff" * 4096)


def define(statement: str) -> Callable[[Path], None]:
    """Change what the database defines."""
    return lambda path: change(path, statement)


@pytest.mark.parametrize(
    "damage",
    [
        cut,
        scribble,
        define("DROP TABLE meta"),
        define("DROP TABLE log"),
        define("DROP INDEX orders"),
        define("CREATE TABLE songs (title TEXT)"),
        define("CREATE VIEW songs AS SELECT * FROM parts"),
        define("CREATE INDEX songs ON parts (digest)"),
        define("ALTER TABLE parts ADD COLUMN song TEXT"),
        define("CREATE TRIGGER song AFTER INSERT ON graphs BEGIN DELETE FROM parts; END"),
        define("CREATE TRIGGER song AFTER UPDATE ON log BEGIN DELETE FROM graphs; END"),
        define("DELETE FROM log"),
        define("INSERT INTO log (needed) VALUES (0)"),
        define("UPDATE log SET needed = 'no'"),
    ],
)
async def test_a_damaged_journal_is_refused(path: Path, damage: Callable[[Path], None]) -> None:
    """Damage that can be seen at once is told at once, and so is what somebody else added; nothing of it is run."""
    async with await opened(path) as journal, asyncio.TaskGroup() as tasks:
        for number in range(500):
            tasks.create_task(journal.claim(order(f"G{number}"), DIGEST))
    damage(path)
    forbid(path, 0o640)
    before = listing(path.parent)
    assert await refusal(path) == (
        f"the journal {path} is damaged: put it aside, and resume with a new one and look_first=True"
    )
    assert listing(path.parent) == before


async def test_damage_found_later_fails_everything(path: Path) -> None:
    """Damage that is met on the way is told to everybody from then on, but a record never fails."""
    await (await opened(path)).aclose()
    with closing(sqlite3.connect(path)) as db:
        (page,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'graphs'").fetchone()
    scribble(path, page)
    journal = await opened(path)
    for call in (
        journal.claim(order("G"), DIGEST),
        journal.end(key("G"), complete=True),
        journal.owner(UUID(int=1)),
        journal.known(1),
        anext(aiter(journal.created())),
        journal.claim(order("G"), DIGEST),
    ):
        with pytest.raises(JournalError, match="is damaged: put it aside"):
            await call
        journal.record(key("G"), "order", DIGEST, None)
        journal.forget(key("G"), "order")
        journal.release(key("G"))
    await journal.aclose()


def test_a_full_disk_has_its_own_sentence() -> None:
    """SQLite's own error for a full disk is told as that."""
    db = sqlite3.connect(":memory:")
    db.execute("PRAGMA max_page_count = 1")
    with pytest.raises(sqlite3.OperationalError) as full:
        db.execute("CREATE TABLE t (x)")
    db.close()
    sentence = "the journal J.sqlite cannot be written, the disk is full: free some space and resume"
    assert explain(Path("J.sqlite"), full.value) == sentence
