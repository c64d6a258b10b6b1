"""The journal of a load: where it is by default, and what becomes of one that is left blank."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path

import attrs

from cdp_orders_async.errors import InputError
from cdp_orders_async.jobs.events import Message, OnEvent
from cdp_orders_async.journal import SqliteJournal

__all__ = ["Book", "journal_path", "opened"]


def journal_path(source: str, journal: Path | None, outcomes: Path | None, on_event: OnEvent) -> Path:
    """Return where the journal of a load is: *journal*, or by default a file beside the *source*, which is named.

    Nothing is made. Raises `InputError` for a source (``-``: standard input) that cannot be read, for one that needs a
    *journal* to be given, and for two of the files that are one.
    """
    path = Path(source)
    try:
        if source == "-":
            if sys.stdin is None:
                raise InputError("standard input cannot be read: it is closed")
        elif not path.is_fifo():  # whose writer would see the reader go
            path.open("rb").close()
    except OSError as error:
        raise InputError(f"{source} cannot be read: {error.strerror}") from error
    if journal is None and (source == "-" or not path.is_file()):
        raise InputError("--journal must be given where the input is no file that can be read again")
    chosen = journal or path.with_name(f"{path.name}.journal.sqlite")
    places = [one.resolve() for one in (path, chosen, outcomes) if one is not None]
    if len(set(places)) < len(places):
        raise InputError("the input, the journal and the outcomes must be different files")
    if journal is None and not chosen.exists() and (old := Path(chosen.name)).exists():
        on_event(Message(f"The journal of an earlier version goes on: {old.absolute()}"))
        return old
    return chosen


@attrs.define
class Book:
    """The journal of a load."""

    records: SqliteJournal
    blank: bool = True
    """Whether nothing was added since it was opened."""


@contextlib.asynccontextmanager
async def opened(path: Path, identity: Mapping[str, str]) -> AsyncGenerator[Book, None]:
    """Open a journal; take one that is new away again if it is left blank, or the next run would trust it."""
    book: Book | None = None
    try:
        async with await SqliteJournal.open(path, identity=identity) as records:
            yield (book := Book(records))
    finally:
        if book is not None and book.records.new and book.blank:
            with contextlib.suppress(OSError):
                await asyncio.to_thread(path.unlink)
