"""Run a job of a command, and show its report on standard output."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import sys
from collections.abc import Awaitable, Callable, Sequence
from json import dumps
from pathlib import Path
from typing import Protocol, TypeVar

from cdp_orders_async import jobs
from cdp_orders_async.cli.display import Display, Screen
from cdp_orders_async.cli.options import refuse, unwritten
from cdp_orders_async.client import CdpOrders, CdpOrdersV2
from cdp_orders_async.errors import CdpError
from cdp_orders_async.sources import GraphFiles

__all__ = ["input_of", "journal_place", "repeated", "run", "show"]

T = TypeVar("T")
R = TypeVar("R", bound="_Report")


class _Report(Protocol):
    """What every report of a job has."""

    reason: str | None

    def to_json(self) -> dict[str, object]:
        """Return it as JSON data."""
        ...

    @property
    def status(self) -> int:
        """The exit status."""
        ...


def input_of(
    outcomes: Path,
    files: Sequence[str],
    client: CdpOrders | CdpOrdersV2,
    timezone: str | None,
    *,
    assign_references: bool,
    sql: str | None,
) -> GraphFiles | None:
    """Return the input in *files*, read as the load read it that wrote *outcomes*; None for the files named there."""
    if not files and sql is None:
        return None
    options = jobs.options_of(outcomes, client.api, timezone, assign_references, sql)
    return options.files(files or options.tables)


def journal_place(text: str, console: Display | Screen) -> jobs.JournalPlace:
    """Return the place of a journal; warn of a password, which others can read in the list of processes."""
    place = jobs.journal_place(text)
    if not isinstance(place, Path) and place.has_password:
        console.say(
            "The password of the database stands in the command, which other users of this machine can read: put it"
            " into PGPASSWORD or ~/.pgpass."
        )
    return place


def repeated(*more: str) -> str:
    """Return the command of this process with *more* words, without the API token and the password of a database.

    A variable gives them then.
    """
    words: list[str] = []
    before = ""
    for word in sys.argv[1:]:
        option, equals, value = word.partition("=")
        if before == "--journal":
            words.append(_without_password(word))
        elif option == "--journal" and equals:
            words.append(option + equals + _without_password(value))
        elif "--api-token" not in {before, option}:
            words.append(word)
        before = word
    return shlex.join(["cdp-orders", *words, *more])


def _without_password(word: str) -> str:
    """Return the *word* that names a journal; an address of a database without its password."""
    with contextlib.suppress(CdpError):
        place = jobs.journal_place(word)
        return word if isinstance(place, Path) or not place.has_password else place.without_password
    return "postgresql://"  # its password cannot be told from the rest


def run(client: CdpOrders | CdpOrdersV2, job: Callable[[], Awaitable[T]]) -> T:
    """Run a *job* while its *client* is open, and return its result."""

    async def over() -> T:
        async with client:
            return await job()

    return asyncio.run(over())


def show(
    report: R,
    table: Callable[[Screen, R], None],
    *,
    json: bool,
    display: Display | None = None,
    unsent: bool = False,
) -> int:
    """Show a *report* as JSON or as the *table*; return the exit status.

    The sentence that says what ended it goes to *display*, or else to standard error; *unsent*: nothing was sent.
    """
    status = report.status
    try:
        if json:
            Screen().say(dumps(report.to_json()))  # in ASCII, which each output can show
        else:
            table(Screen(), report)
    except OSError as unheard:  # such as a full disk
        told = unwritten(unheard)
        status = status or told
    if report.reason is not None:
        refuse(report.reason, display, unsent=unsent)
    return status
