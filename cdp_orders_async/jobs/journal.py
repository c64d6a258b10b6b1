"""The journal of a load: its place by default, and its end if nothing was written to it."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path

import attrs

from cdp_orders_async.errors import InputError, Invalid, Violation
from cdp_orders_async.jobs.events import Message, OnEvent
from cdp_orders_async.journal import SqliteJournal

__all__ = ["OpenedJournal", "journal_path", "opened"]

STANDARD_INPUT = "-"
ENDING = ".journal.sqlite"


def journal_path(
    given: Sequence[str],
    names: Sequence[str],
    journal: Path | None,
    on_event: OnEvent,
    others: Mapping[str, Path | None] | None = None,
    tables: Sequence[str] = (),
) -> Path:
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
    files = {"journal": chosen, **(others or {})}
    places += [(name, path) for name, path in files.items() if path is not None]
    seen: dict[Path, str] = {}
    for name, path in places:
        if (other := seen.setdefault(path.resolve(), name)) is not name:
            raise InputError(f"the {other} and the {name} must be different files")
    if journal is None and not chosen.exists() and (old := Path(chosen.name)).exists():
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


def _default(given: Sequence[str], names: Sequence[str]) -> Path:
    """Return the place beside the one file, or the one folder, that is the input."""
    if len(given) == 1 and (folder := Path(given[0])).is_dir():
        whole = folder.resolve()  # of . and of .. too
        return (folder if folder.name else whole).with_name(f"{whole.name}{ENDING}")
    if len(names) > 1:
        raise Invalid((Violation("journal", "must be given where there are several input files"),))
    path = Path(names[0])
    if names[0] == STANDARD_INPUT or not path.is_file():
        raise Invalid((Violation("journal", "must be given where the input is not a file that can be read again"),))
    return path.with_name(f"{path.name}{ENDING}")


@attrs.define
class OpenedJournal:
    """The journal of a load while it is open."""

    records: SqliteJournal
    unused: bool = True
    """Whether nothing was added since it was opened."""


@contextlib.asynccontextmanager
async def opened(path: Path, identity: Mapping[str, str]) -> AsyncGenerator[OpenedJournal, None]:
    """Open a journal. Delete it again if it is new and stays unused, or the next run would trust it."""
    journal: OpenedJournal | None = None
    try:
        async with await SqliteJournal.open(path, identity=identity) as records:
            yield (journal := OpenedJournal(records))
    finally:
        if journal is not None and journal.records.new and journal.unused:
            with contextlib.suppress(OSError):
                await asyncio.to_thread(path.unlink)
