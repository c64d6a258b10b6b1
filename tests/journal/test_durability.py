"""The journal in a file: what it commits, what it survives, and what it leaves behind."""

from __future__ import annotations

import asyncio
import os
import random
import threading
from pathlib import Path
from uuid import UUID

import pytest

from cdp_orders_async.errors import JournalError
from cdp_orders_async.journal import Busy, GraphRecord, SqliteJournal
from tests.journal.children import DIGEST, IDENTITY, assert_all_is_there, child, killed, opened, output
from tests.journal.stores import claimed, key, order


def modes(folder: Path) -> dict[str, int]:
    """Return who may read and write each file of *folder*."""
    return {file.name: file.stat().st_mode & 0o777 for file in folder.iterdir()}


# Committing.


async def test_a_new_journal_belongs_to_its_owner_alone(path: Path) -> None:
    """The file and its log can be read by their owner only, whatever the umask."""
    before = os.umask(0)
    try:
        async with await opened(path) as journal:
            await claimed(journal, "G")
            files = modes(path.parent)
    finally:
        os.umask(before)
    assert files == {"J.sqlite": 0o600, "J.sqlite-wal": 0o600}
    assert modes(path.parent) == {"J.sqlite": 0o600}


async def test_who_waits_together_is_committed_together(path: Path) -> None:
    """A thousand graphs claimed at once share their commits."""
    async with await opened(path) as journal, asyncio.TaskGroup() as tasks:
        for number in range(1000):
            tasks.create_task(journal.claim(order(f"G{number}"), DIGEST))
    assert 0 < journal.commits <= 100


async def test_a_batch_has_a_limit(path: Path) -> None:
    """No more than the given number of operations are committed together."""
    async with await SqliteJournal.open(path, identity=IDENTITY, max_batch=10) as journal:
        before = journal.commits
        await claimed(journal, "G")
        for number in range(500):
            journal.record(key("G"), f"orderItems[{number}]", DIGEST, None)
        await journal.end(key("G"), complete=True)
        assert journal.commits - before >= 50


async def test_closing_writes_what_is_queued(path: Path) -> None:
    """A record that nobody waited for is there after the journal was closed."""
    async with await opened(path) as journal:
        await claimed(journal, "G")
        journal.record(key("G"), "order", DIGEST, UUID(int=1))
    async with await opened(path) as journal:
        assert await journal.owner(UUID(int=1)) == key("G")


async def test_waiters_may_be_cancelled(path: Path) -> None:
    """A cancelled claim or end disturbs nobody, and what it had queued is written."""
    loop = asyncio.get_running_loop()
    complaints: list[dict[str, object]] = []
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    async with await opened(path) as journal:
        waiting = [asyncio.ensure_future(journal.claim(order(f"G{number}"), DIGEST)) for number in range(100)]
        await asyncio.sleep(0)
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)
        known = [await claimed(journal, f"G{number}") for number in range(100)]
    assert known == [GraphRecord(DIGEST, complete=False, ended=False, parts={})] * 100
    assert complaints == []


async def test_opening_may_be_cancelled(path: Path) -> None:
    """A cancelled open leaves no thread and no lock."""
    opening = asyncio.ensure_future(opened(path))
    await asyncio.sleep(0)
    opening.cancel()
    await asyncio.wait([opening])
    for thread in threading.enumerate():
        if thread.name == "journal J.sqlite":
            await asyncio.to_thread(thread.join)
    assert opening.cancelled()
    await (await opened(path)).aclose()


def test_the_loop_may_be_closed_first(path: Path) -> None:
    """A loop that is gone before the answer harms nothing; closing from another loop ends the thread."""
    loop = asyncio.new_event_loop()
    journal = loop.run_until_complete(opened(path))

    async def leave() -> None:
        await claimed(journal, "G")
        for number in range(5000):
            journal.record(key("G"), f"orderItems[{number}]", DIGEST, None)
        waiting = asyncio.ensure_future(claimed(journal, "H"))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        journal.record(key("H"), "order", DIGEST, UUID(int=1))

    async def look() -> str | None:
        async with await opened(path) as again:
            return await again.owner(UUID(int=1))

    loop.run_until_complete(leave())
    loop.close()
    asyncio.run(journal.aclose())
    assert asyncio.run(look()) == key("H")


async def test_closing_waits_for_nobody_else(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It needs no thread of the loop, which may all be busy; it may be cancelled, and done by several at once."""
    journal = await opened(path)
    await claimed(journal, "G")
    for number in range(5000):
        journal.record(key("G"), f"orderItems[{number}]", DIGEST, None)
    monkeypatch.setattr(asyncio.get_running_loop(), "run_in_executor", None)
    closing = [asyncio.ensure_future(journal.aclose()) for _ in range(3)]
    await asyncio.sleep(0)
    closing[0].cancel()
    await asyncio.gather(*closing[1:])
    assert closing[0].cancelled()
    async with await opened(path) as again:
        known = await claimed(again, "G")
    assert known is not None
    assert len(known.parts) == 5000


async def test_a_claim_that_was_cancelled_is_not_held(path: Path) -> None:
    """Who was cancelled before the answer came leaves the order to the next, who must look at the server."""
    async with await opened(path) as journal:
        waiting = asyncio.ensure_future(claimed(journal, "G"))
        await asyncio.sleep(0)
        assert isinstance(await journal.claim(order("G"), DIGEST), Busy)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled()
        assert await claimed(journal, "G") == GraphRecord(DIGEST, complete=False, ended=False, parts={})
        await journal.end(key("G"), complete=True)
        assert await claimed(journal, "G") == GraphRecord(DIGEST, complete=True, ended=True, parts={})


def test_it_works_in_debug_mode(path: Path) -> None:
    """The loop's debug mode, which checks from which thread it is called, has no objection."""

    async def use() -> GraphRecord | None:
        async with await opened(path) as journal:
            await claimed(journal, "G")
            await journal.end(key("G"), complete=True)
            return await claimed(journal, "G")

    with asyncio.Runner(debug=True) as runner:
        assert runner.run(use()) == GraphRecord(DIGEST, complete=True, ended=True, parts={})


# Processes that die.


@pytest.mark.parametrize("seed", range(3))
async def test_what_was_acknowledged_survives_a_kill(path: Path, seed: int) -> None:
    """Killed again and again at a random moment, the journal has all that it had acknowledged."""
    rng = random.Random(seed)  # noqa: S311 - it chooses moments
    acknowledged: list[str] = []
    for run in range(3):
        moment = rng.randrange(1, 400)
        print(f"{seed=} {run=}: killed after {moment} lines")  # noqa: T201 - shown when the test fails
        process = await child(
            path,
            "async with asyncio.TaskGroup() as tasks:",
            f"    for n in range(8): tasks.create_task(load(journal, f'{run}-{{n}}', 10_000))",
        )
        acknowledged += await killed(process, moment)
        async with await opened(path) as journal:
            await assert_all_is_there(journal, acknowledged)


async def test_a_disk_that_takes_no_more_fails_everybody(path: Path) -> None:
    """When a write fails, all who wait and all who come later are told, and what was acknowledged stays."""
    process = await child(
        path,
        "limit()",
        "async with asyncio.TaskGroup() as tasks:",
        "    for n in range(8): tasks.create_task(attempt(load(journal, n, 10_000)))",
        "journal.record(key('0-0'), 'contact', b'contact', None)",
        "journal.forget(key('0-0'), 'order')",
        "journal.release(key('0-0'))",
        "await attempt(journal.claim(order('G'), b'graph'))",
        "await attempt(journal.end(key('G'), complete=True))",
        "await attempt(journal.known(1))",
        "await attempt(journal.owner(UUID(int=1)))",
        "await attempt(journal.aclose())",
        "say(threading.active_count(), 'threads')",
    )
    *said, closed, threads = await output(process)
    sentence = f"the journal {path} cannot be read or written (SQLITE_IOERR_WRITE): see to its disk and resume"
    assert [line for line in said if line.startswith("failed")] == [f"failed {sentence}"] * 12
    assert (closed, threads) == ("done", "1 threads")
    acknowledged = [line for line in said if not line.startswith("failed")]
    assert len(acknowledged) > 20
    async with await opened(path) as journal:
        await assert_all_is_there(journal, acknowledged)


async def test_closing_tells_what_nobody_was_told(path: Path) -> None:
    """Records that could not be written are told by the first close, and by no other."""
    process = await child(
        path,
        "await journal.claim(order('G'), b'graph')",
        "limit()",
        "for n in range(1000): journal.record(key('G'), str(n), bytes(1000), None)",
        "await attempt(journal.aclose())",
        "await attempt(journal.aclose())",
    )
    first, second = await output(process)
    assert first.startswith(f"failed the journal {path} cannot be read or written")
    assert second == "done"


async def test_nothing_touches_the_file_from_the_loop(path: Path) -> None:
    """Every file is opened in the journal's own thread."""
    process = await child(
        path,
        "path, seen = sys.argv[1] + '-second', set()",
        "def hook(event, args):",
        "    if event in {'open', 'sqlite3.connect'} and path in str(args[0]):",
        "        seen.add((event, threading.current_thread().name))",
        "sys.addaudithook(hook)",
        "second = await SqliteJournal.open(path, identity={})",
        "await second.claim(order('G'), b'graph')",
        "await second.aclose()",
        "say(sorted(seen))",
    )
    thread = "journal J.sqlite-second"
    assert await output(process) == [str([("open", thread), ("sqlite3.connect", thread)])]


async def test_a_journal_has_one_user(path: Path) -> None:
    """A journal that is open is refused to everybody else, in this process and in another, until it is closed."""
    sentence = f"the journal {path} is in use: wait until the load that uses it has ended"
    async with await opened(path):
        with pytest.raises(JournalError) as refused:
            await opened(path)
        other = await child(path, "say('opened')")
        assert await output(other) == [f"refused {sentence}"]
    assert str(refused.value) == sentence
    await (await opened(path)).aclose()
