"""The files that are written are their owner's alone, and what stands in their place is not touched."""

from __future__ import annotations

import asyncio
import os
import re
import stat
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cdp_orders_async import JournalError, SqliteJournal
from cdp_orders_async.emulator import Emulator
from cdp_orders_async.journal import OrderId
from tests.cli.support import Ran, cdp_orders, lines_of, orders, watched, write

ENDS = ("", "-wal", "-shm", "-journal")
"""What SQLite adds to the name of a database for the files beside it."""


@contextmanager
def umask(mask: int) -> Generator[None, None, None]:
    """Make files with this mask meanwhile."""
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def modes(folder: Path, *names: str) -> set[int]:
    """Return how the files are protected whose names begin so."""
    files = [path for path in folder.iterdir() if path.name.startswith(names)]
    assert files
    return {stat.S_IMODE(path.stat().st_mode) for path in files}


def wide(path: Path, content: str = "") -> Path:
    """Make a file that everybody may read and write."""
    path.write_text(content, encoding="utf-8")
    path.chmod(0o666)
    return path


MASKS = (0, 0o022, 0o077, 0o777)


@pytest.mark.parametrize("mask", MASKS, ids=oct)
async def test_journal_is_private(mask: int, tmp_path: Path) -> None:
    """A journal and its log are for their owner alone, whatever the umask, and whatever an older one was."""
    path = tmp_path / "j.sqlite"
    with umask(mask):
        journal = await SqliteJournal.open(path, identity={})
        await journal.claim(OrderId.of("graph", datetime(2024, 1, 1, tzinfo=UTC)), b"digest")
        assert (len(list_of(tmp_path)), modes(tmp_path, "j.sqlite")) == (2, {0o600})
        await journal.aclose()
    for file in list_of(tmp_path):
        file.chmod(0o666)
    async with await SqliteJournal.open(path, identity={}):
        assert modes(tmp_path, "j.sqlite") == {0o600}


def list_of(folder: Path) -> list[Path]:
    """Return the files of a folder."""
    return list(folder.iterdir())


@pytest.mark.parametrize("mask", MASKS, ids=oct)
def test_storage_is_private(mask: int, tmp_path: Path) -> None:
    """What the emulator keeps is for its owner alone, whatever the umask, and whatever an older one was."""
    path = tmp_path / "e.sqlite"
    with umask(mask):
        emulator = Emulator(storage=path)
        assert modes(tmp_path, "e.sqlite") == {0o600}
        assert len(list_of(tmp_path)) == 3
        for file in list_of(tmp_path):
            file.chmod(0o666)
        again = Emulator(storage=path)
        assert modes(tmp_path, "e.sqlite") == {0o600}
        again.close()
        emulator.close()


@pytest.mark.parametrize("mask", MASKS, ids=oct)
async def test_outcomes_are_private(mask: int, tmp_path: Path) -> None:
    """The outcomes are for their owner alone, whatever the umask, and whatever an older file was."""
    source = write(tmp_path / "o.jsonl", orders(1))
    wide(tmp_path / "old.jsonl", '{"number":1,"verdict":"loaded"}\n' * 1000)
    async with watched() as server:
        with umask(mask):
            for name in ("new.jsonl", "old.jsonl"):
                ran = await load(tmp_path, source, server.environment, "--outcomes", name)
                assert ran.status == 0
    assert modes(tmp_path, "new.jsonl", "old.jsonl", "j.sqlite") == {0o600}
    assert [len(lines_of(tmp_path / name)) for name in ("new.jsonl", "old.jsonl", "old.jsonl.1")] == [1, 1, 1000]


async def load(folder: Path, source: Path, environment: Mapping[str, str], *options: object) -> Ran:
    """Load *source* with the journal j.sqlite."""
    return await cdp_orders("load", source, "--journal", "j.sqlite", *options, cwd=folder, env=environment)


def link(path: Path) -> None:
    """Put a link to a file there."""
    wide(path.with_name("precious"), "precious")
    path.symlink_to("precious")


def link_to_nothing(path: Path) -> None:
    """Put a link to no file there."""
    path.symlink_to("precious")


def folder(path: Path) -> None:
    """Put a folder there."""
    path.mkdir()


def pipe(path: Path) -> None:
    """Put a pipe there that nobody reads."""
    os.mkfifo(path)


PLACES = (link, link_to_nothing, folder, pipe)
"""What may stand in the place of a file."""
REASON = "is a symbolic link|is (no|not a) regular file|is a folder"


def is_whole(path: Path) -> bool:
    """Whether the file that a link leads to is as it was, or not there either."""
    precious = path.with_name("precious")
    return not precious.exists() or (precious.read_text(encoding="utf-8"), modes(path.parent, "precious")) == (
        "precious",
        {0o666},
    )


@pytest.mark.parametrize("place", PLACES)
async def test_outcomes_take_no_other_place(place: Callable[[Path], None], tmp_path: Path) -> None:
    """Outcomes are written to a file alone: a link, a folder or a pipe is refused in one sentence, without delay."""
    path = tmp_path / "out.jsonl"
    place(path)
    source = write(tmp_path / "o.jsonl", orders(1))
    async with watched() as server:
        ran = await load(tmp_path, source, server.environment, "--outcomes", path)
        assert server.received == 0
    assert ran.refused(str(path))
    assert re.search(REASON, ran.err)
    assert is_whole(path)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("end", ENDS)
def test_storage_takes_no_other_place(place: Callable[[Path], None], end: str, tmp_path: Path) -> None:
    """Nor does the emulator keep its state anywhere else, or a part of it in the files beside."""
    path = tmp_path / f"e.sqlite{end}"
    place(path)
    with pytest.raises(OSError, match=REASON):
        Emulator(storage=tmp_path / "e.sqlite")
    assert is_whole(path)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("end", ["", "-wal", "-journal"])
async def test_journal_takes_no_other_place(place: Callable[[Path], None], end: str, tmp_path: Path) -> None:
    """Nor is a journal anything but a file, or its log."""
    path = tmp_path / f"j.sqlite{end}"
    place(path)
    with pytest.raises(JournalError, match=REASON):
        await asyncio.wait_for(SqliteJournal.open(tmp_path / "j.sqlite", identity={}), 60)
    assert is_whole(path)


async def test_refused_storage_is_one_sentence(tmp_path: Path) -> None:
    """The command line says so in one sentence, and ends with 2."""
    link(tmp_path / "e.sqlite")
    ran = await cdp_orders("emulator", "--port", "0", "--storage", "e.sqlite", cwd=tmp_path)
    assert ran.refused("e.sqlite", "is a symbolic link: name the file itself")


def test_storage_has_no_special_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What SQLite would take for something else is the name of a file."""
    monkeypatch.chdir(tmp_path)
    Emulator(storage=":memory:").close()
    assert [(path.name, path.stat().st_size > 0) for path in list_of(tmp_path)] == [(":memory:", True)]
