"""``cdp-orders report``: an HTML report of loads, from their files of outcomes."""

from __future__ import annotations

import asyncio
import shlex
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from cdp_orders_async import jobs
from cdp_orders_async.cli.display import Display, Screen
from cdp_orders_async.cli.options import refuse
from cdp_orders_async.errors import CdpError, InputError, Invalid, Violation
from cdp_orders_async.jobs.run_file import run_path
from cdp_orders_async.reports import check_report, write_html
from cdp_orders_async.sources.files import real

__all__ = ["made_of", "make_report", "outcomes_of", "report"]

ENDING = ".outcomes.jsonl"


def report(
    *outcomes: Annotated[Path, Parameter(name="OUTCOMES", required=True)],
    output: Path,
) -> int:
    """Write a report of loads, an HTML file for a browser, from their files of outcomes; no server is needed.

    It shows what was asked and done, the orders by their result, throughput, refusals and answer times over time, the
    errors by their cause and what to do, and the commands to go on. It needs no network and has no personal values.
    What is over time comes from the record of the run, OUTCOMES.run.json. Exit status: 0 the report is complete, 1 it
    lacks something, such as the record or the end of OUTCOMES, and says so, 2 nothing was written.

    Example: cdp-orders report outcomes.jsonl retried.jsonl --output report.html

    Parameters
    ----------
    outcomes
        The files of outcomes that loads wrote. The report shows each run, and the sum.
    output
        The HTML file. An earlier report is put aside first, as OUTPUT.1, OUTPUT.2 and so on.

    """
    console = Screen.of_messages()
    try:
        for path in outcomes:
            _check_different(path, output)
        check_report(output)
        data = asyncio.run(jobs.report_data(outcomes, on_event=Display(console)))
        write_html(data, output)
    except CdpError as refused:
        return refuse(refused)
    console.say(f"The report is {output.absolute()}")
    return int(bool(data.notes))


def outcomes_of(path: Path, outcomes: Path | None) -> Path:
    """Return the file of outcomes of a load with the report *path*: *outcomes*, or else a file beside the report.

    Raises `InputError` where no report can be made or written.
    """
    found = outcomes or Path(f"{path}{ENDING}")
    if found.is_char_device():
        raise Invalid((Violation("outcomes", "must be a file where there is a report, which is made from it"),))
    _check_different(found, path)
    check_report(path)
    return found


def made_of(result: jobs.Report, outcomes: Path, path: Path, display: Display) -> int:
    """Write the report of the load with this *result* to *path* and say so; return 2 if that fails."""
    if asyncio.run(make_report(result, outcomes, path, display)):
        return 2
    display.say(f"The report is {path.absolute()}")
    return 0


async def make_report(result: jobs.Report, outcomes: Path, path: Path, display: Display) -> int:
    """Write the report of the load with this *result* to *path*; return 2, and say how to make it, if that fails."""
    try:
        write_html(await jobs.report_of(result, outcomes, on_event=display), path)
    except CdpError as refused:
        status = refuse(refused, display)
        display.say(f"To make it: {shlex.join(['cdp-orders', 'report', str(outcomes), '--output', str(path)])}")
        return status
    return 0


def _check_different(outcomes: Path, output: Path) -> None:
    for name, path in (("outcomes", outcomes), ("record of the run", run_path(outcomes))):
        if real(path) == real(output):
            raise InputError(f"the {name} and the report must be different files, and both are {output}")
