"""``cdp-orders retry``: load again only what an earlier load left."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from cdp_orders_async import jobs
from cdp_orders_async.cli.display import Display, Screen, show_summary
from cdp_orders_async.cli.log import log_to
from cdp_orders_async.cli.options import Connection, Flag, refuse
from cdp_orders_async.cli.running import input_of, run, show
from cdp_orders_async.errors import CdpError
from cdp_orders_async.ingest import SETTLE, OnExisting

__all__ = ["retry"]


def retry(  # noqa: D417 the options of a connection say themselves what they are
    file: Annotated[Path, Parameter(name="OUTCOMES")],
    /,
    *files: str,
    journal: Path,
    connection: Connection | None = None,
    only: str = ",".join(jobs.RETRIED),
    outcomes: Path | None = None,
    look_first: Flag = False,
    on_existing: OnExisting = "keep",
    timezone: str | None = None,
    assign_references: Flag = False,
    sql: str | None = None,
    settle: Annotated[float, Parameter(allow_leading_hyphen=True)] = SETTLE,
    drain: Annotated[float, Parameter(allow_leading_hyphen=True)] = 20.0,
    verbose: Flag = False,
    json: Flag = False,
) -> int:
    """Load the orders again that OUTCOMES names as failed, unknown, conflict, partial or kept, and no others.

    Each is taken from its line in the input, or from the line that has its key if the input was edited. The
    journal knows what is loaded: the same command again does nothing. Exit status as for load; 0 if no order is
    named.

    Example: cdp-orders retry outcomes.jsonl --region eu --journal orders.sqlite --outcomes retried.jsonl

    Parameters
    ----------
    file
        The file of outcomes that the load wrote.
    files
        The files of the orders, globs or folders; by default the files that OUTCOMES names.
    journal
        The journal of the load, an SQLite file.
    only
        The verdicts of the orders to load again, with commas; also not_tried, busy and invalid can be named.
    outcomes
        Where to write the outcome of each order of this run, as JSON lines. Those of an earlier run are put aside
        first, as OUTCOMES.1, OUTCOMES.2 and so on.
    look_first
        Ask the server about each order before it is sent.
    on_existing
        What to do with something that is there but differs from the input.
    timezone
        The zone of times that do not say theirs; by default as the load was told.
    assign_references
        Give each item without a referenceId one made from its place; by default as the load was told.
    sql
        The SQL file that selects the orders in tables; by default as the load was told.
    settle
        Seconds that lists of the server may lag behind writes.
    drain
        Seconds that what is in flight may take to finish after the first Ctrl-C.
    verbose
        Tell each problem, and log each request.
    json
        Print one JSON object at the end in place of the table.

    """
    # What is logged would break a picture that is redrawn.
    console = Screen.of_messages(plain=verbose)
    connection = connection or Connection()
    try:
        with Display(console, outcomes, every_problem=verbose) as display:
            if verbose:
                log_to(display)
            client = connection.client(console)
            source = input_of(file, files, client, timezone, assign_references=assign_references, sql=sql)
            job = partial(
                jobs.retry,
                client,
                file,
                source,
                journal=journal,
                only=only.split(","),
                outcomes_to=outcomes,
                timezone=timezone,
                assign_references=assign_references,
                look_first=look_first,
                on_existing=on_existing,
                settle=settle,
                drain=drain,
                on_event=display,
            )
            report = run(client, job)
    except CdpError as refused:
        return refuse(refused)
    return show(report, _show, json=json)


def _show(console: Screen, report: jobs.Report) -> None:
    if report.counts and (report.error is None or report.anything):
        show_summary(console, report)
