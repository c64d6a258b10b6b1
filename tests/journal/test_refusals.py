"""What a journal in a file refuses, each with one sentence."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import pytest

from cdp_orders_async.errors import JournalError
from cdp_orders_async.journal import SqliteJournal
from cdp_orders_async.journal.file import explain

IDENTITY = {"base URL": "http://a", "client key": "k"}
DIGEST = b"graph"
NOBODY = 65534


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


def listing(folder: Path) -> set[tuple[str, int, int]]:
    """Return the names, sizes and times of the files of *folder*."""
    return {(file.name, file.lstat().st_size, file.lstat().st_mtime_ns) for file in folder.iterdir()}


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
        (text, "{path} is no SQLite database, so it is not a journal: name another file"),
        (other_database, "{path} is the database of another program, not a journal: name another file"),
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
        assert await journal.begin("G", DIGEST) is None


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
        await journal.begin("G", DIGEST)
    async with await opened(tmp_path / ":memory:") as journal:
        assert await journal.begin("G", DIGEST) is not None
    assert await refusal("") == ". is a folder, not a journal: name a file"


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """Give a folder, and run as a user to whom permissions apply."""
    with tempfile.TemporaryDirectory() as name:
        if os.geteuid() == 0:
            os.chown(name, NOBODY, NOBODY)
            os.seteuid(NOBODY)
        try:
            yield Path(name)
        finally:
            os.seteuid(os.getuid())
            Path(name).chmod(0o700)


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


@pytest.mark.parametrize("version", [0, 2])
async def test_another_format_is_refused(path: Path, version: int) -> None:
    """A journal of an older or a newer format is left to the version that made it."""
    await (await opened(path)).aclose()
    change(path, f"PRAGMA user_version = {version}")
    assert await refusal(path) == (
        f"the journal {path} has format {version}, and this version of cdp-orders-async reads format 1:"
        " go on with the version that made it, or name another file"
    )


@pytest.mark.parametrize(
    ("stored", "sentence"),
    [
        (IDENTITY | {"base URL": "http://b"}, "base URL http://b, not http://a"),
        ({"base URL": "http://b", "client key": "l"}, "base URL http://b, not http://a and to client key l, not k"),
        ({"base URL": "http://a"}, "client key (none), not k"),
        (IDENTITY | {"tenant": "t"}, "tenant t, not (none)"),
    ],
)
async def test_another_identity_is_refused(path: Path, stored: dict[str, str], sentence: str) -> None:
    """A journal of something else is refused, with each difference."""
    await (await SqliteJournal.open(path, identity=stored)).aclose()
    assert await refusal(path) == f"the journal {path} belongs to {sentence}: name another file"


def cut(path: Path) -> None:
    """Cut off the second half of a file."""
    os.truncate(path, path.stat().st_size // 2)


def scribble(path: Path) -> None:
    """Overwrite all of a file but its first page."""
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))


def drop_meta(path: Path) -> None:
    """Take a table away."""
    change(path, "DROP TABLE meta")


@pytest.mark.parametrize("damage", [cut, scribble, drop_meta])
async def test_a_damaged_journal_is_refused(path: Path, damage: Callable[[Path], None]) -> None:
    """Damage that can be seen at once is told at once."""
    async with await opened(path) as journal, asyncio.TaskGroup() as tasks:
        for number in range(500):
            tasks.create_task(journal.begin(f"G{number}", DIGEST))
    damage(path)
    assert await refusal(path) == (
        f"the journal {path} is damaged: put it aside, and resume with a new one and --look-first"
    )


async def test_damage_found_later_fails_everything(path: Path) -> None:
    """Damage that is met on the way is told to everybody from then on, but a record never fails."""
    await (await opened(path)).aclose()
    change(path, "DROP TABLE graphs")
    journal = await opened(path)
    for call in (journal.begin("G", DIGEST), journal.end("G", complete=True), journal.owner(UUID(int=1))):
        with pytest.raises(JournalError, match="is damaged: put it aside"):
            await call
        journal.record("G", "order", DIGEST, None)
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
