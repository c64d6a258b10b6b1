"""``cdp-orders load``: files of whole orders, exactly once in effect."""

from __future__ import annotations

import os
import re
import sys
from functools import partial
from json import dumps
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from cdp_orders_async import jobs
from cdp_orders_async.cli.display import PROGRESS_EVERY, Display, JsonDisplay, Screen, show_summary
from cdp_orders_async.cli.log import log_to
from cdp_orders_async.cli.options import Connection, Flag, refuse, unwritten
from cdp_orders_async.cli.running import repeated, run
from cdp_orders_async.errors import CdpError, Invalid, Violation
from cdp_orders_async.ingest import SETTLE, OnExisting
from cdp_orders_async.sources import GraphFiles

__all__ = ["load"]


def load(  # noqa: D417 the options of a connection say themselves what they are
    *files: Annotated[str, Parameter(name="FILE", allow_leading_hyphen=True, required=True)],
    connection: Connection | None = None,
    journal: Path | None = None,
    outcomes: Path | None = None,
    rejects: Path | None = None,
    plan: str | None = None,
    look_first: Flag = False,
    on_existing: OnExisting = "keep",
    timezone: str | None = None,
    assign_references: Flag = False,
    settle: Annotated[float, Parameter(allow_leading_hyphen=True)] = SETTLE,
    drain: Annotated[float, Parameter(allow_leading_hyphen=True)] = 20.0,
    keep_before: Path | None = None,
    max_errors: Annotated[int | None, Parameter(allow_leading_hyphen=True)] = None,
    give_up: Annotated[float | None, Parameter(allow_leading_hyphen=True)] = None,
    control: Path | None = None,
    engine: Literal["rest", "batch"] = "rest",
    progress: Literal["auto", "lines", "json"] = "auto",
    progress_every: Annotated[float, Parameter(allow_leading_hyphen=True)] = PROGRESS_EVERY,
    verbose: Flag = False,
    json: Flag = False,
) -> int:
    """Load the orders of FILE...: each order, then its contact, consumers and items, then their extensions.

    FILE holds JSON lines, plain, gzip or zstd, or is - for standard input: orders with their parts nested, or the
    import records of the Batch API. Several files, a glob in quotes, and a folder (its .jsonl and .ndjson files, also
    with .gz or .zst) are read one file after the other. The same command again resumes: what is loaded is skipped, what
    is unknown is looked up, what failed is tried again. The first Ctrl-C finishes what is in flight, the second stops
    at once. SIGUSR1 lowers the rate by a quarter, SIGUSR2 raises it. Exit status: 0 all is there as the input says, 1
    some order is not, 2 bad usage, input or server, 129, 130 or 143 stopped.

    Example: cdp-orders load orders.jsonl.gz --region eu --rate 50 --journal orders.sqlite --outcomes outcomes.jsonl

    Parameters
    ----------
    files
        The files of orders, or - for standard input.
    journal
        The SQLite file that remembers what is done; made where it is missing. By default FILE.journal.sqlite beside
        the one file or the one folder; several files need it.
    outcomes
        Where to write the outcome of each order of this run, as JSON lines, and the record of the run beside it, as
        OUTCOMES.run.json. Those of an earlier run are put aside first, as OUTCOMES.1, OUTCOMES.2 and so on.
    rejects
        Where to keep the lines that break rules, as they stand in the input, to be mended and loaded; their reasons
        are beside it, in REJECTS.reasons.jsonl.
    plan
        The hash that cdp-orders plan gave; another input is refused before anything is sent.
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
    max_errors
        End the load once so many orders failed or are invalid.
    give_up
        End the load once nothing has succeeded for so many seconds, because the server is not well; without it, it
        waits for the server.
    control
        A TOML file that is looked at each second while the load runs: rate = 50, rate = "auto" or rate = "none", and
        pause = true or false.
    engine
        How to send: rest makes a request for each part; batch uploads files to the vendor's Batch API, for many orders.
    progress
        How to show progress: auto draws it on a terminal and writes lines elsewhere; lines; json writes all messages
        as JSON lines on standard error.
    progress_every
        Seconds between two lines of progress.
    verbose
        Tell each problem, and log each request with its time, status, line and request id.
    json
        Print one JSON object at the end in place of the table.

    """
    if unknown := [name for name in files if name.startswith("--")]:
        return refuse(f"Unknown option: {unknown[0]}; see cdp-orders load --help")
    connection = connection or Connection()
    path: Path | None = None
    # What is logged would break a picture that is redrawn.
    console = Screen.of_messages(plain=verbose or progress != "auto")
    display: Display | None = None
    try:
        if not progress_every > 0:
            raise Invalid((Violation("progress_every", "must be above 0"),))
        client = connection.client(console)
        source = GraphFiles(files, client.api, timezone=timezone, assign_references=assign_references)
        kind = JsonDisplay if progress == "json" else Display
        display = kind(
            console,
            outcomes,
            every_problem=verbose,
            every=progress_every,
            lines=progress == "lines",
            one_file=len(source.names) == 1,
        )
        if verbose:
            log_to(display)
        with display:
            others = {"outcomes": outcomes, "rejects": rejects, "control": control}
            path = jobs.journal_path(files, source.names, journal, display, others)
            job = partial(
                jobs.load,
                client,
                source,
                journal=path,
                outcomes=outcomes,
                rejects=rejects,
                plan=plan,
                look_first=look_first,
                on_existing=on_existing,
                settle=settle,
                drain=drain,
                before=keep_before,
                max_errors=max_errors,
                give_up=give_up,
                control=control,
                engine=_engine(engine, display),
                on_event=display,
            )
            report = run(client, job)
            report.reason = report.reason and str(_as_options(report.reason))
    except CdpError as refused:
        status = refuse(_as_options(refused), display)
        if display is not None and path is not None and jobs.is_damaged(refused):
            _tell_resume(display, path, connection, look_first=True)
        return status
    status = _show(report, json=json)
    if report.reason is not None:
        refuse(report.reason, display)
    if report.resumable:
        _tell_resume(display, path, connection, look_first=jobs.is_damaged(report.error))
    return status


def _engine(name: str, display: Display) -> jobs.Engine | None:
    """Return the engine with this name; None for the requests of the REST API."""
    if name == "rest":
        return None
    from cdp_orders_async.engines.batch import BatchEngine  # noqa: PLC0415 it loads sqlite3, and few loads need it

    return BatchEngine(on_event=display)


ARGUMENTS = (
    (re.compile(r"\blook_first=True\b"), "--look-first"),
    (re.compile(r"\bmax_errors=(\d+)"), r"--max-errors \1"),
    (re.compile(r"\bengine=(\w+)"), r"--engine \1"),
)
"""Arguments of the job in its sentences, and what they are on the command line."""


def _as_options(error: CdpError | str) -> CdpError | str:
    """Return the sentence of *error* with the names of options; `Invalid` is told field by field."""
    if isinstance(error, Invalid):
        return error
    text = str(error)
    for argument, option in ARGUMENTS:
        text = argument.sub(option, text)
    return text


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


def _tell_resume(display: Display, journal: Path, connection: Connection, *, look_first: bool) -> None:
    """Say which command resumes; it never has the API token in it."""
    if connection.has_token_on_the_command_line and os.environ.get("CDP_API_TOKEN") != connection.api_token:
        display.say("Set CDP_API_TOKEN to the API token first.")
    options = {word.partition("=")[0] for word in sys.argv[1:]}
    more = [] if "--journal" in options else ["--journal", str(journal)]
    if look_first and "--look-first" not in options:
        more.append("--look-first")
    display.say(f"To resume: {repeated(*more)}")
