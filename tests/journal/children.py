"""Processes that use a journal, and may be killed."""

from __future__ import annotations

import asyncio
import signal
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path
from uuid import NAMESPACE_OID, uuid5

from cdp_orders_async.journal import GraphRecord, Journal, PartRecord, SqliteJournal
from tests.journal.stores import looked

ROOT = Path(__file__).parents[2]
IDENTITY = {"base URL": "http://a"}
DIGEST = b"graph"

CHILD = """
import asyncio, resource, sys, threading
from uuid import NAMESPACE_OID, UUID, uuid5
from cdp_orders_async.errors import JournalError
from cdp_orders_async.journal import SqliteJournal
from tests.journal.stores import key, order

def say(*words):
    print(*words, flush=True)

async def load(journal, name, graphs):
    for number in range(graphs):
        graph = f"{name}-{number}"
        await journal.claim(order(graph), b"graph")
        say("claim", graph)
        journal.record(key(graph), "order", b"order", uuid5(NAMESPACE_OID, graph))
        await asyncio.sleep(0)
        journal.record(key(graph), "contact", b"contact", None)
        await journal.end(key(graph), complete=True)
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
    """Check that the journal has every claim and end that was acknowledged."""
    ended = {graph for word, graph in map(str.split, acknowledged) if word == "end"}
    for graph in dict.fromkeys(line.split()[1] for line in acknowledged):
        known = await looked(journal, graph)
        assert known is not None
        if graph in ended:
            assert known == finished(graph)


async def opened(path: Path) -> SqliteJournal:
    """Open the journal at *path*."""
    return await SqliteJournal.open(path, identity=IDENTITY)
