"""Loads over the Batch API in trouble: stopped, edited in between, on a full disk, in a folder with other files."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import stat
from pathlib import Path
from typing import Any

import attrs
import pytest

from cdp_orders_async import GraphFiles, JournalError, OutcomeUnknown, jobs
from cdp_orders_async.emulator import Faults, Switches
from cdp_orders_async.jobs import ticking
from cdp_orders_async.journal import batch_folder
from cdp_orders_async.journal.batches import BatchBook, BatchFile, BatchOrder, State
from cdp_orders_async.journal.folder import NAME
from tests.cli.support import lines_of, orders, write
from tests.engines.support import ENGINE, Json, counted, importable, interrupting, load, served, twice

SIX = [importable(order) for order in orders(6)]
STALLED: Json = {"faults": [{"operation": "batches.upload", "script": [{"action": "stall"}]}]}
NEVER = Switches(batch_seconds=3600)


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each load look at its signals and limits often."""
    monkeypatch.setattr(ticking, "EVERY", 0.005)


async def test_signal_while_an_upload_runs(tmp_path: Path) -> None:
    """The file may have arrived, so nothing else can change the orders until the same load has found it out."""
    async with served(None, STALLED) as (server, cdp):
        report = await load(cdp, tmp_path, SIX, on_event=interrupting(server, "batches.upload"), drain=0)
        assert (counted(report)["unknown"], report.status, report.resumable) == (3, 130, True)
        for other in (jobs.undo(cdp, tmp_path / "j"), jobs.undoable(cdp, tmp_path / "j")):
            with pytest.raises(JournalError, match="1 batch file has no result yet"):
                await other
        key = next(line["key"] for line in lines_of(tmp_path / "out"))
        with pytest.raises(JournalError, match="1 batch file has no result yet"):
            await jobs.forget_order(tmp_path / "j", key)
        report = await load(cdp, tmp_path, SIX)
        assert counted(report) == {"loaded": 6}
        assert (twice(server), len(list(server.store.all("orders")))) == ({}, 6)


async def test_a_client_that_is_closed(tmp_path: Path) -> None:
    """Once a file was uploaded, the error does not say that nothing was sent."""
    async with served(NEVER) as (server, cdp):
        closing: list[asyncio.Task[None]] = []

        def hear(_: jobs.Event) -> None:
            if server.requests["batches.upload"] and not closing:
                closing.append(asyncio.create_task(cdp.aclose()))

        report = await load(cdp, tmp_path, SIX, on_event=hear)
        await closing[0]
        assert (type(report.error), str(report.error)) == (OutcomeUnknown, "the client is closed")
        assert counted(report) == {"unknown": 3, "not_tried": 3}


async def test_file_that_a_storage_always_loses(tmp_path: Path) -> None:
    """The load ends with a sentence; the next one uploads to the same batch, and nothing is there twice."""
    lost: Json = {"faults": [{"operation": "batches.upload", "action": "html", "status": 200}]}
    async with served(None, lost) as (server, cdp):
        report = await load(cdp, tmp_path, SIX, attrs.evolve(ENGINE, settle=0.002))
        assert (counted(report)["unknown"], report.status, report.resumable) == (3, 2, True)
        assert "accepted its file 5 times, and lost it" in str(report.reason)
        assert server.requests["batches.upload"] == 5
        server.faults = Faults()
        with pytest.raises(JournalError, match="1 batch file has no result yet"):
            await load(cdp, tmp_path, SIX, None)
        with BatchBook.opened(tmp_path / "j") as book:
            (file,) = book.open_files()
        assert file.state == "uploaded"
        report = await load(cdp, tmp_path, SIX)
        assert counted(report) == {"loaded": 6}
        assert (twice(server), len(list(server.store.all("orders")))) == ({}, 6)
        assert file.ref in {batch.ref for batch in server.batches.all()}


async def test_lost_file_that_changed(tmp_path: Path) -> None:
    """A file that did not arrive and cannot be sent again has an unknown result, so the journal gets free."""
    lost: Json = {"faults": [{"operation": "batches.upload", "action": "html", "status": 200}]}
    async with served(None, lost) as (server, cdp):
        engine = attrs.evolve(ENGINE, settle=0.002)
        await load(cdp, tmp_path, SIX, engine)
        server.faults = Faults()
        (file,) = batch_folder(tmp_path / "j").glob("*.gz")
        file.write_bytes(b"other")
        report = await load(cdp, tmp_path, SIX, engine)
        assert counted(report) == {"unknown": 3, "loaded": 3}
        assert counted(await load(cdp, tmp_path, SIX, None, settle=0)) == {"loaded": 3, "already": 3}


async def test_batch_file_that_changed_after_its_upload_began(tmp_path: Path) -> None:
    """It is not sent again: its orders are unknown, and requests look for them."""
    async with served(None, STALLED) as (server, cdp):
        await load(cdp, tmp_path, SIX, on_event=interrupting(server, "batches.upload"), drain=0)
        (batch_folder(tmp_path / "j") / "1.jsonl.gz").write_bytes(b"changed")
        assert counted(await load(cdp, tmp_path, SIX)) == {"unknown": 3, "loaded": 3}
        assert counted(await load(cdp, tmp_path, SIX, None, settle=0)) == {"loaded": 3, "already": 3}
        assert (twice(server), len(list(server.store.all("orders")))) == ({}, 6)


async def test_input_that_was_edited_while_its_batch_had_no_result(tmp_path: Path) -> None:
    """The line with other content is a conflict, as after the end of its load; it is not told as loaded."""
    async with served(NEVER) as (server, cdp):
        await load(cdp, tmp_path, SIX, on_event=interrupting(server, "batches.get"), drain=0)
        server.waiting.finish()
        server.store.switches = Switches()
        await load(cdp, tmp_path, [{**SIX[0], "price": 7}, {"bad": 1}, *SIX[2:]])
        told = {line["number"]: line["verdict"] for line in lines_of(tmp_path / "out")}  # a later outcome counts
        assert told == {1: "conflict", 2: "invalid", 3: "loaded", 4: "loaded", 5: "loaded", 6: "loaded"}
        assert (twice(server), len(list(server.store.all("orders")))) == ({}, 6)


async def test_batch_that_is_never_processed(tmp_path: Path) -> None:
    """With a limit the load gives up, and says which batch has no result; the same load finds it later."""
    async with served(NEVER) as (server, cdp):
        report = await load(cdp, tmp_path, SIX, give_up=0.05, drain=0)
        assert (counted(report)["unknown"], report.status) == (3, 2)
        (batch,) = server.batches.all()
        assert f"the load gave up: the status of batch {batch.ref} stays processing" in str(report.reason)
        server.waiting.finish()
        server.store.switches = Switches()
        assert counted(await load(cdp, tmp_path, SIX)) == {"loaded": 6}
        assert twice(server) == {}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no disk of this system can be full at will")
@pytest.mark.parametrize("when", ["it is opened", "it is written"])
async def test_full_disk_at_cutting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    """The load ends with one sentence, and nothing was sent; the same load goes on once there is room."""
    open_file = os.open

    def full(path: Any, *options: Any, **more: Any) -> int:  # noqa: ANN401 those of open
        if str(path).endswith(".gz.new"):
            if when == "it is opened":
                raise OSError(28, "No space left on device")
            path = "/dev/full"
        return open_file(path, *options, **more)

    async with served() as (server, cdp):
        with monkeypatch.context() as patch:
            patch.setattr(os, "open", full)
            report = await load(cdp, tmp_path, SIX)
        assert (counted(report), report.status) == ({"not_tried": 6}, 2)
        assert report.reason == "the batch file cannot be written: No space left on device"
        assert server.requests == {}
        assert counted(await load(cdp, tmp_path, SIX)) == {"loaded": 6}


async def test_copies_in_several_files(tmp_path: Path) -> None:
    """An order of an earlier file is there already, though its batch has no result when its copy is read."""
    first, second = write(tmp_path / "a.jsonl", SIX[:4]), write(tmp_path / "b.jsonl", [*SIX[2:], SIX[0]])
    engine = attrs.evolve(ENGINE, most_orders=2, open_files=4)
    async with served(Switches(batch_seconds=0.02)) as (server, cdp):
        report = await jobs.load(cdp, GraphFiles([first, second]), journal=tmp_path / "j", engine=engine)
        assert counted(report) == {"loaded": 6, "already": 3}
        assert (twice(server), len(list(server.store.all("orders")))) == ({}, 6)


async def test_folder_with_files_of_others(tmp_path: Path) -> None:
    """They stay; a load says which folder it cannot use, and needs it alone."""
    folder = batch_folder(tmp_path / "j")
    folder.mkdir(mode=0o755)
    for name in ("orders.jsonl.gz", "1.jsonl.gz.bak"):
        (folder / name).write_text("mine")
    (folder / "7.jsonl.gz.new").write_text("cut by a crash")
    async with served() as (server, cdp):
        (folder / "2.jsonl.gz").mkdir()
        report = await load(cdp, tmp_path, SIX)
        assert (report.status, report.anything, server.requests) == (2, False, {})
        assert str(report.reason).startswith(f"the batch files cannot be kept in {folder}: ")
        (folder / "2.jsonl.gz").rmdir()
        assert counted(await load(cdp, tmp_path, SIX)) == {"loaded": 6}
    assert sorted(path.name for path in folder.iterdir()) == ["1.jsonl.gz.bak", "batches.sqlite", "orders.jsonl.gz"]
    assert folder.stat().st_mode & 0o077 == 0


async def test_folder_in_use(tmp_path: Path) -> None:
    """A load by requests waits for the end of a load over the Batch API, and says so."""
    async with served() as (_, cdp):
        with BatchBook.opened(tmp_path / "j"):
            for engine in (ENGINE, None):
                with pytest.raises(JournalError, match="in use: wait until the load that uses"):
                    await load(cdp, tmp_path, SIX, engine)


def test_references_of_records_are_never_used_again(tmp_path: Path) -> None:
    """A book numbers its files on over loads; what was never uploaded is forgotten, and its lines are cut anew."""
    order = BatchOrder(0, "o.jsonl", 1, "B@2024", b"digest")

    def made(book: BatchBook, state: State) -> int:
        number = book.next_id()
        book.add(BatchFile(number, "ref", "cut", "md5", 1, 1), [order])
        book.set(book.open_files()[-1], state=state)
        return number

    numbers: list[int] = []
    for state in ("done", "done", "cut", "done", "uploaded"):
        with BatchBook.opened(tmp_path / "j") as book:
            book.tidy()
            assert book.open_files() == []
            numbers.append(made(book, state))
    assert numbers == [1, 2, 3, 3, 4]
    with BatchBook.opened(tmp_path / "j") as book:
        book.tidy()
        assert [file.id for file in book.open_files()] == [4]
        assert book.has(order)
        assert not book.has(BatchOrder(0, "o.jsonl", 1, "B@2024", b"edited"))


@pytest.mark.parametrize(
    "definition",
    [
        "CREATE TRIGGER keep BEFORE UPDATE ON batches BEGIN SELECT RAISE(IGNORE); END",
        "CREATE TABLE more (x)",
        "DROP INDEX by_place",
    ],
)
def test_a_book_with_other_definitions_is_refused(tmp_path: Path, definition: str) -> None:
    """A trigger would keep an uploaded file from counting as uploaded; and nothing is changed in such a folder."""
    with BatchBook.opened(tmp_path / "j"):
        folder = batch_folder(tmp_path / "j")
    with contextlib.closing(sqlite3.connect(folder / NAME)) as db:
        db.execute(definition)
    folder.chmod(0o755)
    refused = pytest.raises(JournalError, match="is the database of another program: move it away")
    with refused, BatchBook.opened(tmp_path / "j"):
        pass
    assert stat.S_IMODE(folder.stat().st_mode) & 0o055  # Windows has no such bits to take away
