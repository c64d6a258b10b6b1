"""The log beside the file of a journal: torn, broken, lost, or copied into the file by somebody else."""

from __future__ import annotations

import asyncio
import itertools
import random
import sqlite3
import struct
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from uuid import NAMESPACE_OID, uuid5

import pytest

from cdp_orders_async.errors import JournalError
from cdp_orders_async.journal import GraphRecord, Journal, MemoryJournal, SqliteJournal, tables
from cdp_orders_async.journal.log import read_log
from tests.journal.children import DIGEST, assert_all_is_there, child, killed, opened
from tests.journal.stores import claimed, key, looked

LOG_HEADER = 32  # bytes


async def known_graphs(journal: Journal, names: list[str]) -> list[GraphRecord | None]:
    """Return what *journal* knows of each of the graphs."""
    return [await looked(journal, graph, b"other") for graph in names]


async def prefixes(names: list[str]) -> list[list[GraphRecord | None]]:
    """Return what is known of each graph after each step of the child that loads them one by one."""
    states: list[list[GraphRecord | None]] = []
    for length in range(4 * len(names) + 1):
        journal = MemoryJournal()
        for graph, step in itertools.islice(itertools.product(names, range(4)), length):
            match step:
                case 0:
                    await claimed(journal, graph)
                case 1:
                    journal.record(key(graph), "order", b"order", uuid5(NAMESPACE_OID, graph))
                case 2:
                    journal.record(key(graph), "contact", b"contact", None)
                case _:
                    await journal.end(key(graph), complete=True)
        if length % 4:
            journal.release(key(names[(length - 1) // 4]))  # as the end of the process does
        states.append(await known_graphs(journal, names))
    return states


def contents(path: Path) -> tuple[bytes, bytes]:
    """Return the bytes of a journal and of its log."""
    return path.read_bytes(), read_log(path)


def put(path: Path, file: bytes, log: bytes | None) -> Path:
    """Write the bytes of a journal and of its log; None: there is none."""
    path.write_bytes(file)
    beside = Path(f"{path}-wal")
    beside.unlink(missing_ok=True)
    if log is not None:
        beside.write_bytes(log)
    return path


async def test_a_torn_log_opens_to_an_earlier_state(path: Path, tmp_path: Path) -> None:
    """Cut off anywhere, the log gives a state that the journal once had, and never a mixture."""
    await killed(await child(path, "await load(journal, 'G', 20)", "await asyncio.Event().wait()"), 40)
    file, log = contents(path)
    names = [f"G-{number}" for number in range(20)]
    states = await prefixes(names)
    rng = random.Random(1)  # noqa: S311 - it chooses places
    cuts = [log[: rng.randrange(LOG_HEADER, len(log))] for _ in range(15)]
    reached: list[int] = []
    for number, torn in enumerate([log[:LOG_HEADER], log, *cuts]):
        async with await opened(put(tmp_path / f"{number}.sqlite", file, torn)) as journal:
            reached.append(states.index(await known_graphs(journal, names)))
    assert reached[:2] == [0, len(states) - 1]
    assert len(set(reached)) > 10


async def test_damage_within_the_log_loses_no_commit_in_silence(path: Path, tmp_path: Path) -> None:
    """A log that is broken before its last commit is refused, and so is one without its file; that one may be torn."""
    await killed(await child(path, "await load(journal, 'G', 20)", "await asyncio.Event().wait()"), 40)
    file, log = contents(path)
    rng = random.Random(1)  # noqa: S311 - it chooses places
    places = [0, 20, LOG_HEADER, *(rng.randrange(len(log) * 9 // 10) for _ in range(10))]
    flips = [(file, log[:at] + bytes([log[at] ^ 1]) + log[at + 1 :]) for at in places]
    mixed = [(b"", log), (file, log[:20]), (file, log[:40] + b"x" + log[40:]), (file, log[:4152] + log[4153:])]
    for number, (whole, broken) in enumerate(flips + mixed):
        damaged = put(tmp_path / f"{number}.sqlite", whole, broken)
        for _ in range(2):  # the refusal leaves it as it is
            with pytest.raises(JournalError, match="is damaged: put it aside"):
                await opened(damaged)
            assert contents(damaged) == (whole, broken)
    last = put(tmp_path / "last.sqlite", file, log[:-1] + bytes([log[-1] ^ 1]))
    async with await opened(last) as journal:
        assert None not in await known_graphs(journal, [f"G-{number}" for number in range(20)])


@pytest.mark.parametrize("size", [0, 1, 511])
async def test_a_log_with_impossible_pages_is_refused(path: Path, size: int) -> None:
    """A log whose head is right in itself may still be none."""
    await (await opened(path)).aclose()
    head = struct.pack(">4I8s", 0x377F0683, 3007000, size, 0, bytes(8))
    one = two = 0
    for first, second in struct.iter_unpack(">2I", head):
        one = (one + first + two) % 2**32
        two = (two + second + one) % 2**32
    file, _ = contents(path)
    put(path, file, head + struct.pack(">2I", one, two) + bytes(100))
    with pytest.raises(JournalError, match="is damaged: put it aside"):
        await opened(path)


# A log that is lost.

DAMAGED = "is damaged: put it aside, and resume with a new one and look_first=True"


@pytest.mark.parametrize("graphs", [0, 1, 20, 300])
@pytest.mark.parametrize("left", [None, b""])
async def test_a_file_without_its_log_is_refused(path: Path, graphs: int, left: bytes | None) -> None:
    """A journal that was killed and copied without its log is not taken for a whole one, also not the second time."""
    process = await child(path, "say('opened')", f"await load(journal, 'G', {graphs})", "await asyncio.Event().wait()")
    await killed(process, 1 + 2 * graphs)
    file, _ = contents(path)
    put(path, file, left)
    for _ in range(2):
        with pytest.raises(JournalError, match=DAMAGED):
            await opened(path)
        assert contents(path) == (file, b"")


async def test_a_closed_file_needs_no_log(path: Path) -> None:
    """A journal that was closed may be copied alone."""
    async with await opened(path) as journal:
        await claimed(journal, "G")
        await journal.end(key("G"), complete=True)
    assert listing(path.parent) == {path.name}
    file, _ = contents(path)
    async with await opened(put(path.with_name("copy.sqlite"), file, None)) as journal:
        assert await claimed(journal, "G") == GraphRecord(DIGEST, complete=True, ended=True, parts={})


def listing(folder: Path) -> set[str]:
    """Return the names of the files of *folder*."""
    return {file.name for file in folder.iterdir()}


def look_in(path: Path) -> None:
    """Read a journal as any program does that knows SQLite."""
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM graphs").fetchone() == (20,)


def back_up(path: Path) -> None:
    """Copy a journal as SQLite does it, to its own place."""
    copy = path.with_name("copy.sqlite")
    with closing(sqlite3.connect(path)) as db, closing(sqlite3.connect(copy)) as other:
        db.backup(other)
    copy.replace(path)


def ask_for_another(path: Path) -> None:
    """Open a journal for another server, which is refused."""

    async def ask() -> None:
        with pytest.raises(JournalError, match="belongs to"):
            await SqliteJournal.open(path, identity={"base URL": "http://b"})

    asyncio.run(ask())


@pytest.mark.parametrize("touch", [look_in, back_up, ask_for_another])
async def test_who_copies_the_log_into_the_file_does_no_harm(path: Path, touch: Callable[[Path], None]) -> None:
    """After a kill, others may open the journal first, for whom SQLite copies the log into the file."""
    acknowledged = await killed(await child(path, "await load(journal, 'G', 20)", "await asyncio.Event().wait()"), 40)
    await asyncio.to_thread(touch, path)
    assert listing(path.parent) == {path.name}
    async with await opened(path) as journal:
        await assert_all_is_there(journal, acknowledged)


class Snapshots:
    """The files of a journal as they were before each statement, and how much had been acknowledged by then."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = path
        self.acknowledged: list[str] = []
        self.taken: list[tuple[bytes, bytes, int]] = []
        self._connect: Callable[..., sqlite3.Connection] = sqlite3.connect
        monkeypatch.setattr(sqlite3, "connect", self._connect_traced)

    def _connect_traced(self, name: Path | str, **options: object) -> sqlite3.Connection:
        db = self._connect(name, **options)
        if name == self.path:
            db.set_trace_callback(self.take)
        return db

    def take(self, _: str = "") -> None:
        """Remember everything as it is now."""
        self.taken.append((*contents(self.path), len(self.acknowledged)))


async def is_refused(path: Path, acknowledged: list[str]) -> bool:
    """Open a journal; return whether it is refused as damaged, and else check that everything is there."""
    try:
        journal = await opened(path)
    except JournalError as error:
        if DAMAGED not in str(error):
            raise
        return True
    async with journal:
        await assert_all_is_there(journal, acknowledged)
    return False


async def load(journal: SqliteJournal, names: range, acknowledged: list[str]) -> None:
    """Load a graph for each number."""
    for number in names:
        name = f"G-{number}"
        await claimed(journal, name)
        acknowledged.append(f"claim {name}")
        journal.record(key(name), "order", b"order", uuid5(NAMESPACE_OID, name))
        journal.record(key(name), "contact", b"contact", None)
        await journal.end(key(name), complete=True)
        acknowledged.append(f"end {name}")


async def test_a_kill_at_any_moment_loses_nothing(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed before any statement, in its first life or its second, the journal opens with all it acknowledged.

    Without its log it is refused, or it has everything all the same.
    """
    monkeypatch.setattr(tables, "_COMMITS", 5)
    snapshots = Snapshots(path, monkeypatch)
    for names in (range(6), range(6, 12)):
        async with await opened(path) as journal:
            await load(journal, names, snapshots.acknowledged)
    snapshots.take()
    refused: dict[bool, int] = {True: 0, False: 0}
    for number, (file, log, acknowledged) in enumerate(snapshots.taken):
        for has_log in (True, False):
            copy = put(tmp_path / f"{number}-{has_log}.sqlite", file, log if has_log else None)
            refused[has_log] += await is_refused(copy, snapshots.acknowledged[:acknowledged])
    assert refused[True] == 0
    assert refused[False] > 50


async def test_a_big_commit_needs_its_log_too(path: Path) -> None:
    """Also after megabytes at once, the file does not pass for whole while the log holds what it lacks."""
    async with await opened(path) as journal:
        await claimed(journal, "G")
        for number in range(600):
            journal.record(key("G"), f"orderItems[{number}]", bytes(8000), None)
        await journal.end(key("G"), complete=True)
        await claimed(journal, "H")
        file, _ = contents(path)
    assert await is_refused(put(path.with_name("copy.sqlite"), file, None), [])


@pytest.mark.parametrize(("name", "limit"), [("_COMMITS", 10), ("_CHANGES", 40)])
async def test_the_log_does_not_grow_for_ever(
    path: Path, monkeypatch: pytest.MonkeyPatch, name: str, limit: int
) -> None:
    """After some commits or changes, the log is copied into the file and begins again."""
    monkeypatch.setattr(tables, name, limit)
    async with await opened(path) as journal:
        await load(journal, range(100), [])
        file, log = contents(path)
    assert len(log) < 300_000
    assert len(file) > 16_000
