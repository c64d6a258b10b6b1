"""``cdp-orders verify``: read back what was loaded, and compare it with the input."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from cdp_orders_async import jobs
from cdp_orders_async.cli.display import SEPARATOR, Screen, about
from cdp_orders_async.cli.options import Connection, Flag, refuse
from cdp_orders_async.cli.running import input_of, run, show
from cdp_orders_async.errors import CdpError, counted
from cdp_orders_async.ingest import SETTLE

__all__ = ["verify"]

EVERY = 30.0  # seconds between two lines of progress
REPAIR = (
    "To give an order the values of the input again: cdp-orders journal forget KEY --journal JOURNAL,"
    " then the load once more with --look-first --on-existing update"
)


def verify(  # noqa: D417 the options of a connection say themselves what they are
    outcomes: Path,
    /,
    *files: str,
    connection: Connection | None = None,
    sample: Annotated[int | None, Parameter(allow_leading_hyphen=True)] = None,
    seed: Annotated[int, Parameter(allow_leading_hyphen=True)] = 0,
    differences: Path | None = None,
    timezone: str | None = None,
    assign_references: Flag = False,
    sql: str | None = None,
    settle: Annotated[float, Parameter(allow_leading_hyphen=True)] = SETTLE,
    json: Flag = False,
) -> int:
    """Read the orders of OUTCOMES back from the server, and compare each part with the input; change nothing.

    A part is the same, different, or missing; something on the server under these orders that is no part of the
    input is extra. In version 2.1 an order takes 5 requests and one for each item. After Ctrl-C the same command
    goes on. Exit status: 0 the server holds what the input says, 1 something differs or could not be read, 2 bad
    usage, input or server, 129, 130 or 143 stopped.

    Example: cdp-orders verify outcomes.jsonl --region eu --rate 50 --differences differences.jsonl

    Parameters
    ----------
    outcomes
        The file of outcomes that the load wrote.
    files
        The files of the orders, globs or folders; by default the files that OUTCOMES names.
    sample
        Check only so many orders, drawn at random, and say how many of all differ at most, with 95 % confidence.
    seed
        Draw the sample by this number: the same number draws the same orders.
    differences
        Where to write the differences, as JSON lines. Those of an earlier verification are put aside first, as
        DIFFERENCES.1, DIFFERENCES.2 and so on.
    timezone
        The zone of times that do not say theirs; by default as the load was told.
    assign_references
        Give each item without a referenceId one made from its place; by default as the load was told.
    sql
        The SQL file that selects the orders in tables; by default as the load was told.
    settle
        Seconds that the server may lag behind writes: what differs within them is read again once they have passed.
    json
        Print one JSON object at the end in place of sentences.

    """
    console = Screen.of_messages()
    connection = connection or Connection()
    try:
        jobs.check_outputs(files, {"differences": differences})
        client = connection.client(console)
        source = input_of(outcomes, files, client, timezone, assign_references=assign_references, sql=sql)
        job = partial(
            jobs.verify,
            client,
            outcomes,
            source,
            timezone=timezone,
            assign_references=assign_references,
            sample=sample,
            seed=seed,
            differences=differences,
            settle=settle,
            on_event=_Teller(console),
        )
        report = run(client, job)
    except CdpError as refused:
        return refuse(refused)
    if report.stopped_by is not None:
        orders = counted(report.orders, "order is", "orders are")
        console.say(f"Stopped: {orders} checked. The same command goes on with the others.")
    return show(report, _show, json=json)


class _Teller:
    """Tells a person what happens in a verification."""

    def __init__(self, console: Screen) -> None:
        self._console = console
        self._next_line = EVERY

    def __call__(self, event: jobs.Event) -> None:
        """Tell of an *event*; of the progress only now and then."""
        match event:
            case jobs.Message():
                self._console.say(event.text)
            case jobs.Progress() if event.seconds >= self._next_line:
                self._next_line = event.seconds + EVERY
                self._console.say(SEPARATOR.join(_words(event)))
            case _:
                pass


def _words(progress: jobs.Progress) -> list[str]:
    """Return how far a verification is, in words."""
    share = "" if progress.fraction is None else f" ({progress.fraction:.0%})"
    words = [
        f"{counted(progress.done, 'order')} checked{share}",
        f"{progress.not_loaded:,} differ",
        f"{progress.speed:,.0f} requests/s",
    ]
    if progress.seconds_left is not None:
        words.append(f"{about(progress.seconds_left)} left")
    return words


def _show(console: Screen, report: jobs.VerifyReport) -> None:
    """Say what was found."""
    were = "was" if report.orders == 1 else "were"
    console.say(f"{counted(report.orders, 'order')} with {counted(report.parts, 'part')} {were} checked:")
    for count, one, several in (
        (report.same, "part is the same", "parts are the same"),
        (report.different, "part differs", "parts differ"),
        (report.missing, "part is missing", "parts are missing"),
        (report.extra, "thing on the server is no part of the input", "things on the server are no part of the input"),
        (report.unread, "order could not be compared", "orders could not be compared"),
    ):
        console.say(f"  {count:>10,} {one if count == 1 else several}")
    if report.population and report.differing is not None:
        share = report.differing / report.population
        console.say(
            f"They are a sample of {counted(report.population, 'order')}, of which at most {share:.2%} differ"
            f" ({report.differing:,}), with 95 % confidence."
        )
    if report.different or report.missing:
        console.say(REPAIR)
    console.say(f"{counted(report.requests, 'request')} in {report.seconds:,.1f} s")
