"""Journals whose files are cut, overwritten, mixed up or gone when they are opened again."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from hypothesis import strategies as st

from cdp_orders_async import JournalError, SqliteJournal
from cdp_orders_async.journal import Claimed, OrderId
from tests.fuzz.corpus import dumped
from tests.fuzz.engine import Target, looped

Json = dict[str, Any]

IDENTITY = {"base URL": "http://a", "client key": "k"}
DIGEST = b"digest of sixteen"
MEMORY = next(filter(os.path.isdir, ["/dev/shm"]), None)  # noqa: S108 where syncing costs nothing
GRAPHS = 30
REF = UUID(int=1)
TIME = datetime(2017, 1, 15, tzinfo=UTC)
HEADER = 100  # bytes at the start of an SQLite file
LOG_HEADER, FRAME = 32, 24 + 4096  # bytes of the log beside it

texts = st.sampled_from(
    ("", "\x00", "\x00" * 64, "\xff", "\xff" * 16, "SQLite format 3\x00", "7\x7f\x06\x82")
) | st.text(st.characters(max_codepoint=255), min_size=1, max_size=8)
offsets = st.one_of(
    st.integers(0, HEADER + 12),
    st.integers(0, 12).map(lambda page: 4096 * page),
    st.integers(0, 20).map(lambda frame: LOG_HEADER + FRAME * frame),
    st.integers(0, 2**18),
)
changes = st.fixed_dictionaries(
    {
        "file": st.sampled_from(("", "", "-wal")),
        "how": st.sampled_from(
            ("overwrite", "overwrite", "insert", "cut", "flip", "remove", "replace", "from the other")
        ),
        "at": offsets,
        "text": texts,
    }
)
recipes = st.fixed_dictionaries(
    {
        "state": st.sampled_from(("closed", "killed", "again", "none")),
        "changes": st.lists(changes, min_size=1, max_size=3),
    }
).map(dumped)


def order(number: int) -> OrderId:
    """Return one of the orders."""
    return OrderId.of(f"G{number}", TIME)


async def fill(path: Path, graphs: int) -> SqliteJournal:
    """Open the journal at *path*, and note orders that are done, each with some parts."""
    journal = await SqliteJournal.open(path, identity=IDENTITY)
    for number in range(graphs):
        graph = order(number)
        await journal.claim(graph, DIGEST)
        for part in ("order", "items/1", "items/2", "contact"):
            journal.record(graph.key, part, DIGEST, UUID(int=number * 10 + len(part)), created=True)
        await journal.end(graph.key, complete=True)
    return journal


def copied(source: Path, target: Path) -> None:
    """Copy the files of a journal as they are at this moment."""
    for suffix in ("", "-wal"):
        if (file := Path(f"{source}{suffix}")).exists():
            shutil.copyfile(file, f"{target}{suffix}")


def damage(path: Path, change: Mapping[str, Any]) -> None:
    """Do to a file what *change* says."""
    file, at = Path(f"{path}{change['file']}"), int(change["at"])
    other = Path(f"{path}{'' if change['file'] else '-wal'}")
    data, text = file.read_bytes() if file.exists() else b"", change["text"].encode("latin-1")
    match change["how"]:
        case "overwrite" if at < len(data):
            file.write_bytes(data[:at] + text + data[at + len(text) :])
        case "flip" if at < len(data):
            file.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        case "insert" if at < len(data):
            file.write_bytes(data[:at] + text + data[at:])
        case "cut":
            file.write_bytes(data[:at])
        case "remove":
            file.unlink(missing_ok=True)
        case "replace":
            file.write_bytes(text)
        case "from the other" if other.exists():
            file.write_bytes(other.read_bytes())
        case _:
            pass


def hurt(path: Path, source: Path, changes: list[Mapping[str, Any]]) -> tuple[bool, bool]:
    """Put a copy of *source* at *path*, changed; return whether it is another, and whether it may well be empty."""
    for suffix in ("", "-wal", "-journal"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    copied(source, path)
    before = contents(path)
    for change in changes:
        damage(path, change)
    after = contents(path)
    # With nothing there a new one is what is asked for; a log that is cut cannot be told from an older one.
    return after != before, not any(after) or 0 < len(after[1] or b"") < len(before[1] or b"")


@asynccontextmanager
async def journals() -> AsyncGenerator[Callable[[bytes], Awaitable[None]], None]:
    """Damage journals of each state, and open them."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        folder = Path(name)
        await (await fill(folder / "closed", GRAPHS)).aclose()
        journal = await fill(folder / "first", GRAPHS)  # as a kill leaves it: everything is in the log
        copied(folder / "first", folder / "killed")
        await journal.aclose()
        copied(folder / "closed", folder / "second")
        journal = await fill(folder / "second", GRAPHS // 2)  # the second time, with the first half in the log again
        copied(folder / "second", folder / "again")
        await journal.aclose()
        path = folder / "J.sqlite"

        async def check(data: bytes) -> None:
            recipe: Json = json.loads(data)
            damaged, empty = hurt(path, folder / recipe["state"], recipe["changes"])
            known, refusal = list[bool](), ""
            try:
                async with await SqliteJournal.open(path, identity=IDENTITY) as journal:
                    for number in range(GRAPHS):
                        claimed = await journal.claim(order(number), DIGEST)
                        known.append(isinstance(claimed, Claimed) and claimed.record is not None)
                    await journal.owner(REF)
                    await journal.known(GRAPHS)
                    assert [part async for part in journal.created()] or not any(known) or damaged
                    journal.record(order(0).key, "order", DIGEST, REF)
                    journal.forget(order(0).key, "order")
                    await journal.end(order(0).key, complete=False)
            except JournalError as error:
                refusal = str(error)
            if refusal:
                assert damaged
                assert str(path) in refusal
                assert "please report this" not in refusal
            elif recipe["state"] != "none":
                assert any(known) or empty, "a damaged journal was taken for an empty one"
                assert all(known) or damaged

        yield check


def contents(path: Path) -> tuple[bytes | None, bytes | None]:
    """Return the bytes of a journal and of its log, None where there is none."""
    file, log = path, Path(f"{path}-wal")
    return file.read_bytes() if file.exists() else None, log.read_bytes() if log.exists() else None


TARGETS = (Target("journal", recipes, looped(journals), mutants=0),)
