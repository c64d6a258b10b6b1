"""The journal in a file: what it commits, what it survives, and what it leaves behind."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import signal
import sys
import threading
from asyncio.subprocess import PIPE, Process
from pathlib import Path
from uuid import NAMESPACE_OID, UUID, uuid5

import pytest

from cdp_orders_async.errors import JournalError
from cdp_orders_async.journal import GraphRecord, Journal, MemoryJournal, PartRecord, SqliteJournal

ROOT = Path(__file__).parents[2]
IDENTITY = {"base URL": "http://a"}
DIGEST = b"graph"
LOG_HEADER = 32  # bytes


async def opened(path: Path) -> SqliteJournal:
    """Open the journal at *path*."""
    return await SqliteJournal.open(path, identity=IDENTITY)


def modes(folder: Path) -> dict[str, int]:
    """Return who may read and write each file of *folder*."""
    return {file.name: file.stat().st_mode & 0o777 for file in folder.iterdir()}


# Committing.


async def test_a_new_journal_belongs_to_its_owner_alone(path: Path) -> None:
    """The file and its log can be read by their owner only, whatever the umask."""
    before = os.umask(0)
    try:
        async with await opened(path) as journal:
            await journal.begin("G", DIGEST)
            files = modes(path.parent)
    finally:
        os.umask(before)
    assert files == {"J.sqlite": 0o600, "J.sqlite-wal": 0o600}
    assert modes(path.parent) == {"J.sqlite": 0o600}


async def test_who_waits_together_is_committed_together(path: Path) -> None:
    """A thousand graphs begun at once share their commits."""
    async with await opened(path) as journal, asyncio.TaskGroup() as tasks:
        for number in range(1000):
            tasks.create_task(journal.begin(f"G{number}", DIGEST))
    assert 0 < journal.commits <= 100


async def test_a_batch_has_a_limit(path: Path) -> None:
    """No more than the given number of operations are committed together."""
    async with await SqliteJournal.open(path, identity=IDENTITY, max_batch=10) as journal:
        before = journal.commits
        await journal.begin("G", DIGEST)
        for number in range(500):
            journal.record("G", f"orderItems[{number}]", DIGEST, None)
        await journal.end("G", complete=True)
        assert journal.commits - before >= 50


async def test_closing_writes_what_is_queued(path: Path) -> None:
    """A record that nobody waited for is there after the journal was closed."""
    async with await opened(path) as journal:
        await journal.begin("G", DIGEST)
        journal.record("G", "order", DIGEST, UUID(int=1))
    async with await opened(path) as journal:
        assert await journal.owner(UUID(int=1)) == "G"


async def test_waiters_may_be_cancelled(path: Path) -> None:
    """A cancelled begin or end disturbs nobody, and what it had queued is written."""
    loop = asyncio.get_running_loop()
    complaints: list[dict[str, object]] = []
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    async with await opened(path) as journal:
        waiting = [asyncio.ensure_future(journal.begin(f"G{number}", DIGEST)) for number in range(100)]
        await asyncio.sleep(0)
        for task in waiting:
            task.cancel()
        known = [await journal.begin(f"G{number}", DIGEST) for number in range(100)]
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
        await journal.begin("G", DIGEST)
        for number in range(5000):
            journal.record("G", f"orderItems[{number}]", DIGEST, None)
        waiting = asyncio.ensure_future(journal.begin("H", DIGEST))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        journal.record("H", "order", DIGEST, UUID(int=1))

    async def look() -> str | None:
        async with await opened(path) as again:
            return await again.owner(UUID(int=1))

    loop.run_until_complete(leave())
    loop.close()
    asyncio.run(journal.aclose())
    assert asyncio.run(look()) == "H"


def test_it_works_in_debug_mode(path: Path) -> None:
    """The loop's debug mode, which checks from which thread it is called, has no objection."""

    async def use() -> GraphRecord | None:
        async with await opened(path) as journal:
            await journal.begin("G", DIGEST)
            await journal.end("G", complete=True)
            return await journal.begin("G", DIGEST)

    with asyncio.Runner(debug=True) as runner:
        assert runner.run(use()) == GraphRecord(DIGEST, complete=True, ended=True, parts={})


# Processes that die.

CHILD = """
import asyncio, resource, sys, threading
from uuid import NAMESPACE_OID, UUID, uuid5
from cdp_orders_async.errors import JournalError
from cdp_orders_async.journal import SqliteJournal

def say(*words):
    print(*words, flush=True)

async def load(journal, name, graphs):
    for number in range(graphs):
        graph = f"{name}-{number}"
        await journal.begin(graph, b"graph")
        say("begin", graph)
        journal.record(graph, "order", b"order", uuid5(NAMESPACE_OID, graph))
        await asyncio.sleep(0)
        journal.record(graph, "contact", b"contact", None)
        await journal.end(graph, complete=True)
        say("end", graph)

async def attempt(awaitable):
    try:
        await awaitable
    except JournalError as error:
        say("failed", error)
    else:
        say("done")

def limit():
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))

async def main(path, code):
    try:
        journal = await SqliteJournal.open(path, identity={"base URL": "http://a"})
    except JournalError as error:
        say("refused", error)
        return
    exec("async def what(journal):" + code, globals())
    await what(journal)

asyncio.run(main(*sys.argv[1:]))
"""


async def child(path: Path, *lines: str) -> Process:
    """Start a process that opens the journal at *path* and runs *lines*."""
    code = "".join(f"\n    {line}" for line in lines)
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", CHILD, str(path), code, cwd=ROOT, stdin=PIPE, stdout=PIPE
    )


async def output(process: Process) -> list[str]:
    """Return the lines that *process* printed, when it has ended well."""
    said, _ = await process.communicate()
    assert process.returncode == 0
    return said.decode().splitlines()


async def killed(process: Process, lines: int) -> list[str]:
    """Kill *process* after it has printed so many *lines*, and return all of them."""
    assert process.stdout is not None
    said = b"".join([await process.stdout.readline() for _ in range(lines)])
    process.send_signal(signal.SIGKILL)
    said += await process.stdout.read()
    assert await process.wait() == -signal.SIGKILL
    return said.decode().rpartition("\n")[0].splitlines()  # a line cut short acknowledges nothing


def finished(graph: str) -> GraphRecord:
    """Return the record of a graph that the child has ended."""
    parts = {"order": PartRecord(b"order", uuid5(NAMESPACE_OID, graph)), "contact": PartRecord(b"contact", None)}
    return GraphRecord(DIGEST, complete=True, ended=True, parts=parts)


async def assert_all_is_there(journal: Journal, acknowledged: list[str]) -> None:
    """Check that the journal has every begin and end that was acknowledged."""
    ended = {graph for word, graph in map(str.split, acknowledged) if word == "end"}
    for graph in dict.fromkeys(line.split()[1] for line in acknowledged):
        known = await journal.begin(graph, DIGEST)
        assert known is not None
        if graph in ended:
            assert known == finished(graph)


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


async def known_graphs(journal: Journal, names: list[str]) -> list[GraphRecord | None]:
    """Return what *journal* knows of each of the graphs."""
    return [await journal.begin(graph, b"other") for graph in names]


async def prefixes(names: list[str]) -> list[list[GraphRecord | None]]:
    """Return what is known of each graph after each step of the child that loads them one by one."""
    states: list[list[GraphRecord | None]] = []
    for length in range(4 * len(names) + 1):
        journal = MemoryJournal()
        for graph, step in itertools.islice(itertools.product(names, range(4)), length):
            match step:
                case 0:
                    await journal.begin(graph, DIGEST)
                case 1:
                    journal.record(graph, "order", b"order", uuid5(NAMESPACE_OID, graph))
                case 2:
                    journal.record(graph, "contact", b"contact", None)
                case _:
                    await journal.end(graph, complete=True)
        states.append(await known_graphs(journal, names))
    return states


def contents(path: Path) -> tuple[bytes, bytes]:
    """Return the bytes of a journal and of its log."""
    return path.read_bytes(), Path(f"{path}-wal").read_bytes()


def put(path: Path, file: bytes, log: bytes) -> Path:
    """Write the bytes of a journal and of its log."""
    path.write_bytes(file)
    Path(f"{path}-wal").write_bytes(log)
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
    for number, torn in enumerate([b"", log, *cuts]):
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


async def test_a_disk_that_takes_no_more_fails_everybody(path: Path) -> None:
    """When a write fails, all who wait and all who come later are told, and what was acknowledged stays."""
    process = await child(
        path,
        "limit()",
        "async with asyncio.TaskGroup() as tasks:",
        "    for n in range(8): tasks.create_task(attempt(load(journal, n, 10_000)))",
        "journal.record('0-0', 'contact', b'contact', None)",
        "await attempt(journal.begin('G', b'graph'))",
        "await attempt(journal.end('G', complete=True))",
        "await attempt(journal.owner(UUID(int=1)))",
        "await attempt(journal.aclose())",
        "say(threading.active_count() - 1, 'threads')",
    )
    *said, closed, threads = await output(process)
    sentence = f"the journal {path} cannot be read or written (SQLITE_IOERR_WRITE): see to its disk and resume"
    assert [line for line in said if line.startswith("failed")] == [f"failed {sentence}"] * 11
    assert (closed, threads) == ("done", "1 threads")  # asyncio's own, which waited for the journal's
    acknowledged = [line for line in said if not line.startswith("failed")]
    assert len(acknowledged) > 20
    async with await opened(path) as journal:
        await assert_all_is_there(journal, acknowledged)


async def test_closing_tells_what_nobody_was_told(path: Path) -> None:
    """Records that could not be written are told by the first close, and by no other."""
    process = await child(
        path,
        "await journal.begin('G', b'graph')",
        "limit()",
        "for n in range(1000): journal.record('G', str(n), bytes(1000), None)",
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
        "    if event in {'open', 'sqlite3.connect'} and str(args[0]) == path:",
        "        seen.add((event, threading.current_thread().name))",
        "sys.addaudithook(hook)",
        "second = await SqliteJournal.open(path, identity={})",
        "await second.begin('G', b'graph')",
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
