"""The journal of a load: its place by default, and its end if nothing was written to it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import attrs

from cdp_orders_async.errors import InputError, Invalid, JournalError, Violation, counted
from cdp_orders_async.jobs.events import Message, OnEvent
from cdp_orders_async.jobs.rejects import reasons_of
from cdp_orders_async.journal import PostgresAddress, PostgresJournal, SqliteJournal, batch_folder
from cdp_orders_async.sources.files import is_named, real

__all__ = [
    "JournalPlace",
    "OpenedJournal",
    "check_batches",
    "check_exists",
    "check_outputs",
    "journal_name",
    "journal_path",
    "journal_place",
    "open_journal",
    "opened",
]

JournalPlace: TypeAlias = Path | PostgresAddress
"""The place of a journal: an SQLite file, or a database that several processes share."""

STANDARD_INPUT = "-"
WRITTEN = ("journal", "outcomes", "rejects", "report", "differences", "values before the changes")
ENDING = ".journal.sqlite"


def journal_place(text: str) -> JournalPlace:
    """Return the place that *text* names: ``postgresql://…``, or a file; raises `JournalError` for a broken address."""
    return PostgresAddress.parse(text) if PostgresAddress.matches(text) else Path(text)


def journal_name(place: JournalPlace) -> str:
    """Return the name of a journal for messages and records: the whole path, or an address without a password."""
    return str(place if isinstance(place, PostgresAddress) else place.absolute())


async def open_journal(place: JournalPlace, identity: Mapping[str, str] | None) -> SqliteJournal | PostgresJournal:
    """Open a journal, as `SqliteJournal.open` and `PostgresJournal.open` do."""
    if isinstance(place, PostgresAddress):
        return await PostgresJournal.open(place.given.open(), identity=identity)
    return await SqliteJournal.open(place, identity=identity)


def check_batches(place: JournalPlace) -> None:
    """Raise `JournalError` while a batch file of a load with the journal at *place* was uploaded and has no result."""
    if not isinstance(place, Path) or not batch_folder(place).exists():
        return
    from cdp_orders_async.journal.batches import BatchBook  # noqa: PLC0415 it loads sqlite3, which few loads need here

    with BatchBook.opened(place) as book:
        left = sum(file.state != "cut" for file in book.open_files())
    if left:
        files = counted(left, "batch file has", "batch files have")
        raise JournalError(
            f"{files} no result yet, so the Batch API may still take the orders in it: first load with"
            f" engine=batch and the journal {place}; nothing was sent"
        )


async def check_exists(place: JournalPlace, identity: Mapping[str, str], advice: str) -> None:
    """Raise `InputError` with an *advice* for a journal that does not exist, or knows nothing yet."""
    if not isinstance(place, PostgresAddress):
        if not place.exists():
            raise InputError(f"there is no journal at {place}: {advice}")
        return
    async with await PostgresJournal.open(place.given.open(), identity=identity) as journal:
        if journal.new:
            raise InputError(f"the journal {place} knows no order of this tenant: {advice}")


def journal_path(
    given: Sequence[str],
    names: Sequence[str],
    journal: JournalPlace | None,
    on_event: OnEvent,
    others: Mapping[str, Path | None] | None = None,
    tables: Sequence[str] = (),
) -> JournalPlace:
    """Return the place of the journal of a load: *journal*, or by default a file beside the input.

    Parameters: *given*, the input as it was named; *names*, its files. One file has its journal beside it, and one
    folder too. *others*, more files of the load by what they hold, such as ``outcomes``; *tables*, the files that SQL
    among *names* reads. Nothing is made.

    Raises `InputError` for standard input that is closed, for a file that cannot be read, and where two of the files
    are one; `Invalid` for an input that needs a *journal*.
    """
    if STANDARD_INPUT in names and sys.stdin is None:
        raise InputError("standard input cannot be read: it is closed")
    for name in names:
        _check_readable(name)
    chosen = journal or _default(given, names)
    places = [("input", Path(name)) for name in dict.fromkeys([*names, *tables]) if name != STANDARD_INPUT]
    files = {"journal": chosen if isinstance(chosen, Path) else None, **(others or {})}
    places += [(name, path) for name, path in files.items() if path is not None]
    seen: dict[Path, str] = {}
    for name, path in places:
        if (other := seen.setdefault(real(path), name)) is not name:
            raise InputError(f"the {other} and the {name} must be different files")
    check_outputs(given, files)
    if journal is None and isinstance(chosen, Path) and not chosen.exists() and (old := Path(chosen.name)).exists():
        on_event(Message(f"The journal of an earlier version goes on: {old.absolute()}"))
        return old
    return chosen


def _check_readable(name: str) -> None:
    path = Path(name)
    try:
        if name != STANDARD_INPUT and not path.is_fifo():  # whose writer would see the reader go
            path.open("rb").close()
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error.strerror}") from error


def check_outputs(given: Sequence[str], files: Mapping[str, Path | None]) -> None:
    """Raise `InputError` for one of the *files* that the next load of the *given* input would read as orders."""
    for name in WRITTEN:
        output = files.get(name)
        written = [] if output is None else [output, *([reasons_of(output)] if name == "rejects" else [])]
        for path, one in itertools.product(written, given):
            if is_named(path, one):
                raise InputError(
                    f"the {name} must not be written to {path}: the next load of {one} would read them as orders;"
                    " name a file elsewhere"
                )


def _default(given: Sequence[str], names: Sequence[str]) -> Path:
    """Return the place beside the one file, or the one folder, that is the input."""
    if len(given) == 1 and (folder := Path(given[0])).is_dir():
        whole = real(folder)
        beside = whole if folder.name in {"", ".."} else folder.with_name(whole.name)
        return Path(f"{beside}{ENDING}")
    if len(names) > 1:
        raise Invalid((Violation("journal", "must be given where there are several input files"),))
    path = Path(names[0])
    if names[0] == STANDARD_INPUT or not path.is_file():
        raise Invalid((Violation("journal", "must be given where the input is not a file that can be read again"),))
    return Path(f"{path}{ENDING}")


@attrs.define
class OpenedJournal:
    """The journal of a load while it is open."""

    records: SqliteJournal | PostgresJournal
    unused: bool = True
    """Whether nothing was added since it was opened."""


@contextlib.asynccontextmanager
async def opened(place: JournalPlace, identity: Mapping[str, str]) -> AsyncGenerator[OpenedJournal, None]:
    """Open a journal. Delete its file again if it is new and stays unused, or the next run would trust it."""
    journal: OpenedJournal | None = None
    try:
        async with await open_journal(place, identity) as records:
            yield (journal := OpenedJournal(records))
    finally:
        if isinstance(place, Path) and journal is not None and journal.records.new and journal.unused:
            with contextlib.suppress(OSError):
                await asyncio.to_thread(place.unlink)
