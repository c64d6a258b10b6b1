"""What a caller gives to a job: files by their paths, a journal by its place, and an input."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeAlias, overload

from cdp_orders_async.arguments import need, need_callable
from cdp_orders_async.client import CdpOrders, CdpOrdersV2
from cdp_orders_async.jobs.inputs import InputOptions
from cdp_orders_async.jobs.journal import JournalPlace, journal_place
from cdp_orders_async.journal import PostgresAddress
from cdp_orders_async.sources import GraphFile, GraphFiles

__all__ = [
    "FileName",
    "GivenJournal",
    "check_client",
    "check_hearing",
    "check_job",
    "file_given",
    "journal_given",
    "source_given",
]

FileName: TypeAlias = str | os.PathLike[str]
GivenJournal: TypeAlias = JournalPlace | FileName
"""The place of a journal, or a text that `journal_place` reads."""


def check_client(client: object) -> None:
    """Raise TypeError unless *client* is one of those that open connections."""
    need(client, (CdpOrders, CdpOrdersV2), "client", "an open CdpOrders or CdpOrdersV2")


def check_job(client: object, on_event: object, clock: object) -> None:
    """Raise TypeError for what each job takes, if it is of another type."""
    check_client(client)
    check_hearing(on_event, clock)


def check_hearing(on_event: object, clock: object) -> None:
    """Raise TypeError unless both are functions."""
    need_callable(on_event, "on_event", "a function that takes an event")
    need_callable(clock, "clock", "a function that returns seconds")


@overload
def file_given(value: FileName, name: str) -> Path: ...
@overload
def file_given(value: FileName | None, name: str) -> Path | None: ...
def file_given(value: FileName | None, name: str) -> Path | None:
    """Return the path that is the argument *name*, None if none is given; raise TypeError for anything else."""
    if value is None:
        return None
    need(value, (str, os.PathLike), name, "the path of a file")
    return Path(value)


def journal_given(value: GivenJournal) -> JournalPlace:
    """Return the place of the argument *journal*; raise TypeError for what names none, such as an open journal."""
    if isinstance(value, PostgresAddress):
        return value
    need(value, (str, os.PathLike), "journal", "the path of a file, or the address of a database")
    return journal_place(os.fspath(value))


def source_given(value: GraphFile | GraphFiles | FileName, options: InputOptions) -> GraphFile | GraphFiles:
    """Return the argument *source*; a path is read as the *options* say. Raise TypeError for anything else.

    Raises `InputError` for a file that does not exist.
    """
    if isinstance(value, (str, os.PathLike)):
        return options.files([os.fspath(value)])
    need(value, (GraphFiles, GraphFile), "source", "the path of a file, GraphFiles or a GraphFile")
    return value
