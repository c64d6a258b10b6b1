"""``cdp-orders load``: a file of whole orders, exactly once in effect."""

from __future__ import annotations

import asyncio
import logging
import os
import shlex
import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from json import dumps
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from cdp_orders_async import jobs
from cdp_orders_async.cli.display import Display, Screen, show_summary
from cdp_orders_async.cli.options import Connection, refuse, unwritten
from cdp_orders_async.client import CdpOrders, CdpOrdersV2
from cdp_orders_async.errors import CdpError
from cdp_orders_async.ingest import SETTLE, OnExisting
from cdp_orders_async.sources import GraphFile

__all__ = ["load"]

Flag = Annotated[bool, Parameter(negative="", show_default=False)]


def _file_or_dash(_: object, value: str) -> None:
    if value.startswith("--"):
        raise ValueError("It is no option of this command")


def load(  # noqa: D417 the options of a connection say themselves what they are
    file: Annotated[str, Parameter(allow_leading_hyphen=True, validator=_file_or_dash)],
    /,
    *,
    connection: Connection | None = None,
    journal: Path | None = None,
    outcomes: Path | None = None,
    look_first: Flag = False,
    on_existing: OnExisting = "keep",
    timezone: str | None = None,
    assign_references: Flag = False,
    settle: Annotated[float, Parameter(allow_leading_hyphen=True)] = SETTLE,
    drain: Annotated[float, Parameter(allow_leading_hyphen=True)] = 20.0,
    keep_before: Path | None = None,
    verbose: Flag = False,
    json: Flag = False,
) -> int:
    """Load the orders of FILE: each order, then its contact, consumers and items, then their extensions.

    FILE holds JSON lines, plain or gzip, or is - for standard input: orders with their parts nested, or the
    import records of the Batch API. The same command again resumes: what is loaded is skipped, what is
    unknown is looked up, what failed is tried again. The first Ctrl-C finishes what is in flight, the second
    stops at once. Exit status: 0 all is there as the input says, 1 some order is not, 2 bad usage, input or
    server, 129, 130 or 143 stopped.

    Example: cdp-orders load orders.jsonl.gz --region eu --rate 50 --journal orders.sqlite --outcomes outcomes.jsonl

    Parameters
    ----------
    file
        The file of orders, or - for standard input.
    journal
        The SQLite file that remembers what is done; made where it is missing. By default FILE.journal.sqlite,
        beside FILE.
    outcomes
        Where to write what came of each order of this run, as JSON lines. Those of an earlier run are put aside
        first, as OUTCOMES.1, OUTCOMES.2 and so on.
    look_first
        Ask the server about each order before it is sent, for input of which a part may be loaded already
        without this journal.
    on_existing
        What to do with something that is there but differs from the input.
    timezone
        The zone of times that do not say theirs, for instance Europe/Dublin; without it their orders are refused.
    assign_references
        Give each item without a referenceId one made from its place: ORDER#1, ORDER#2 and so on.
    settle
        Seconds that lists of the server may lag behind writes: how long to look before something whose answer
        was lost counts as absent.
    drain
        Seconds that what is in flight may take to finish after the first Ctrl-C.
    keep_before
        Where to keep the values that --on-existing update changes, as JSON lines: key, part, ref and fields. They
        may be personal values, so only you can read the file. Those of an earlier load are put aside first.
    verbose
        Tell each problem, and log each request.
    json
        Print one JSON object at the end in place of the table.

    """
    # What is logged would break a picture that is redrawn.
    console = Screen.of_messages(plain=verbose)
    if verbose:
        logging.basicConfig(stream=console.file, format="%(message)s")
        logging.getLogger("cdp_orders_async").setLevel(logging.DEBUG)
    connection = connection or Connection()
    path: Path | None = None
    try:
        with Display(console, outcomes, every_problem=verbose) as display:
            path = jobs.journal_path(file, journal, outcomes, display)
            client = connection.client(console)
            source = GraphFile(file, client.api, timezone=timezone, assign_references=assign_references)
            job = partial(
                jobs.load,
                client,
                source,
                journal=path,
                outcomes=outcomes,
                look_first=look_first,
                on_existing=on_existing,
                settle=settle,
                drain=drain,
                before=keep_before,
                on_event=display,
            )
            report = asyncio.run(_over(client, job))
    except CdpError as refused:
        status = refuse(refused)
        if path is not None and jobs.is_damaged(refused):
            _tell_resume(console, path, connection, look_first=True)
        return status
    status = _show(report, json=json)
    if report.reason is not None:
        refuse(report.reason)
    if report.resumable:
        _tell_resume(console, path, connection, look_first=jobs.is_damaged(report.error))
    return status


async def _over(client: CdpOrders | CdpOrdersV2, job: Callable[[], Awaitable[jobs.Report]]) -> jobs.Report:
    async with client:
        return await job()


def _show(report: jobs.Report, *, json: bool) -> int:
    """Show on standard output what became of a load; return the exit status."""
    try:
        if json:
            Screen().say(dumps(report.to_json()))  # in ASCII, which each output can show
        elif report.error is None or report.anything:
            show_summary(Screen(), report)
    except OSError as unheard:  # such as a full disk
        status = unwritten(unheard)
        return report.status or status
    return report.status


def _tell_resume(console: Screen, journal: Path, connection: Connection, *, look_first: bool) -> None:
    """Say which command resumes; it never has the API token in it."""
    if connection.has_token_on_the_command_line and os.environ.get("CDP_API_TOKEN") != connection.api_token:
        console.say("Set CDP_API_TOKEN to the API token first.")
    console.say(f"To resume: {_resume(sys.argv[1:], journal, look_first=look_first)}")


def _resume(arguments: Sequence[str], journal: Path, *, look_first: bool) -> str:
    """Return the command that resumes, without the API token, which it takes from its variable."""
    words: list[str] = []
    given = iter(arguments)
    for word in given:
        if word == "--api-token":
            next(given, None)
        elif not word.startswith("--api-token="):
            words.append(shlex.quote(word))
    options = {word.partition("=")[0] for word in arguments}
    if "--journal" not in options:
        words += ["--journal", shlex.quote(str(journal))]
    if look_first and "--look-first" not in options:
        words.append("--look-first")
    return " ".join(["cdp-orders", *words])
