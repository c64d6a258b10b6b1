"""What the commands ``load`` and ``retry`` share: their options, and a load with its display and its last sentences."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import attrs
from cyclopts import Parameter

from cdp_orders_async import jobs
from cdp_orders_async.cli.display import PROGRESS_EVERY, Display, JsonDisplay, Screen, show_summary
from cdp_orders_async.cli.log import log_to
from cdp_orders_async.cli.options import Connection, Flag, as_options, refuse
from cdp_orders_async.cli.report import made_of, outcomes_of
from cdp_orders_async.cli.running import repeated, run, show
from cdp_orders_async.client import CdpOrders, CdpOrdersV2
from cdp_orders_async.errors import CdpError, Invalid, Violation
from cdp_orders_async.ingest import SETTLE, OnExisting, Verdict
from cdp_orders_async.sources import GraphFiles

__all__ = ["Begin", "Client", "Job", "LoadFlags", "run_load"]

UNSENT = {Verdict.INVALID, Verdict.NOT_TRIED}
"""The verdicts of orders of which no process sent anything."""

Client: TypeAlias = CdpOrders | CdpOrdersV2
Job: TypeAlias = Callable[[Client, jobs.LoadOptions], Awaitable[jobs.Report]]

Begin: TypeAlias = Callable[[Display], tuple[jobs.JournalPlace, Job]]
"""Returns the journal of a load and its job."""


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class LoadFlags:
    """The options of a load."""

    outcomes: Path | None = None
    """Where to write the outcome of each order of this run, as JSON lines, and the record of the run beside it, as
    OUTCOMES.run.json. Those of an earlier run are put aside first, as OUTCOMES.1, OUTCOMES.2 and so on."""
    report: Path | None = None
    """Where to write a report of this run, an HTML file for a browser, at its end. Without --outcomes the outcomes are
    beside it, in REPORT.outcomes.jsonl. An earlier report is put aside first, as REPORT.1, REPORT.2 and so on."""
    rejects: Path | None = None
    """Where to keep the lines that break rules, as they stand in the input, to be mended and loaded with the journal of
    this load; their reasons are beside it, in REJECTS.reasons.jsonl."""
    look_first: Flag = False
    """Ask the server about each order before it is sent, for input of which a part may be loaded already without this
    journal."""
    on_existing: OnExisting = "keep"
    """What to do with something that is there but differs from the input."""
    settle: Annotated[float, Parameter(allow_leading_hyphen=True)] = SETTLE
    """Seconds that lists of the server may lag behind writes: how long to look before something whose answer was lost
    counts as absent."""
    drain: Annotated[float, Parameter(allow_leading_hyphen=True)] = 20.0
    """Seconds that what is in flight may take to finish after the first Ctrl-C."""
    keep_before: Path | None = None
    """Where to keep the values that --on-existing update changes, as JSON lines: key, part, ref and fields. They may be
    personal values, so only you can read the file. Those of an earlier load are put aside first."""
    max_errors: Annotated[int | None, Parameter(allow_leading_hyphen=True)] = None
    """End the load once so many orders failed or are invalid."""
    give_up: Annotated[float | None, Parameter(allow_leading_hyphen=True)] = None
    """End the load once nothing has succeeded for so many seconds, because the server is not well; without it, it waits
    for the server."""
    control: Path | None = None
    """A TOML file that is looked at each second while the load runs: rate = 50, rate = "auto" or rate = "none", and
    pause = true or false."""
    shared_rate: Annotated[str | None, Parameter(metavar="NAME")] = None
    """Share the rate with all processes that name this rate: together they keep --rate. It needs a journal in Postgres,
    whose database holds the rate. With --rate none, it is the rate of the others."""
    progress: Literal["auto", "lines", "json"] = "auto"
    """How to show progress: auto draws it on a terminal and writes lines elsewhere; lines; json writes all messages as
    JSON lines on standard error."""
    progress_every: Annotated[float, Parameter(allow_leading_hyphen=True)] = PROGRESS_EVERY
    """Seconds between two lines of progress."""
    verbose: Flag = False
    """Tell each problem, and log each request with its time, status, line and request id."""
    json: Flag = False
    """Print one JSON object at the end in place of the table."""

    @property
    def files(self) -> dict[str, Path | None]:
        """The files that the load reads or writes beside its input and its journal, by what they hold."""
        return {
            "outcomes": self.outcomes,
            "report": self.report,
            "rejects": self.rejects,
            "values before the changes": self.keep_before,
            "control": self.control,
        }

    def display(self, console: Screen, *, one_file: bool) -> Display:
        """Return what tells a person, or a program, of the load."""
        kind = JsonDisplay if self.progress == "json" else Display
        return kind(
            console,
            self.outcomes,
            every_problem=self.verbose,
            every=self.progress_every,
            lines=self.progress == "lines",
            one_file=one_file,
        )

    def of_job(self, display: Display) -> jobs.LoadOptions:
        """Return the options of the job."""
        return {
            "rejects": self.rejects,
            "look_first": self.look_first,
            "on_existing": self.on_existing,
            "settle": self.settle,
            "drain": self.drain,
            "before": self.keep_before,
            "max_errors": self.max_errors,
            "give_up": self.give_up,
            "control": self.control,
            "shared_rate": self.shared_rate,
            "on_event": display,
        }


def run_load(
    connection: Connection | None,
    flags: LoadFlags | None,
    prepare: Callable[[Client, LoadFlags], tuple[GraphFiles | None, Begin]],
) -> int:
    """Run a load and show what became of it; return the exit status.

    *prepare* returns the input, if it is known, and what returns the journal and the job.
    """
    connection, flags = connection or Connection(), flags or LoadFlags()
    path: jobs.JournalPlace | None = None
    # What is logged would break a picture that is redrawn.
    console = Screen.of_messages(plain=flags.verbose or flags.progress != "auto")
    display: Display | None = None
    client: Client | None = None
    try:
        if not flags.progress_every > 0:
            raise Invalid((Violation("progress_every", "must be above 0"),))
        if flags.report is not None:
            flags = attrs.evolve(flags, outcomes=outcomes_of(flags.report, flags.outcomes))
        client = connection.client(console)
        source, begin = prepare(client, flags)
        display = flags.display(console, one_file=source is not None and len(source.names) == 1)
        if flags.verbose:
            log_to(display)
        with display:
            path, job = begin(display)
            options = flags.of_job(display)
            report = run(client, lambda: job(client, options))
            report.reason = report.reason and as_options(report.reason)
    except CdpError as refused:
        status = refuse(refused, display, unsent=client is None or not client.session.stats.requests)
        if display is not None and path is not None and jobs.is_damaged(refused):
            _tell_resume(display, path, connection, look_first=True)
        return status
    unsent = report.counts.keys() <= UNSENT and not client.session.stats.requests
    status = show(report, _show_table, json=flags.json, display=display, unsent=unsent)
    if flags.report is not None and flags.outcomes is not None:
        status = made_of(report, flags.outcomes, flags.report, display) or status
    if flags.rejects is not None and report.counts[Verdict.INVALID]:
        display.say(f"Mend {flags.rejects}, and load it with the same options and --journal {shlex.quote(str(path))}")
    if report.resumable:
        _tell_resume(display, path, connection, look_first=jobs.is_damaged(report.error))
    return status


def _show_table(console: Screen, report: jobs.Report) -> None:
    """Show the table, unless one sentence says it all: an error, or that there was nothing to load."""
    if report.run is not None and (report.error is None or report.anything):
        show_summary(console, report)


def _tell_resume(display: Display, journal: jobs.JournalPlace, connection: Connection, *, look_first: bool) -> None:
    """Say which command resumes; it never has the API token in it."""
    if connection.has_token_on_the_command_line and os.environ.get("CDP_API_TOKEN") != connection.api_token:
        display.say("Set CDP_API_TOKEN to the API token first.")
    options = {word.partition("=")[0] for word in sys.argv[1:]}
    more = [] if "--journal" in options else ["--journal", str(journal)]
    if look_first and "--look-first" not in options:
        more.append("--look-first")
    display.say(f"To resume: {repeated(*more)}")
