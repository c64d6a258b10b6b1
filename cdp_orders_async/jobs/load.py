"""One load of a file, from the first look at the server to the last outcome."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from cdp_orders_async.client import CdpOrders, CdpOrdersV2
from cdp_orders_async.errors import CdpError
from cdp_orders_async.ingest import SETTLE, Load, OnExisting, Outcome, Verdict, ingest
from cdp_orders_async.jobs.before_file import kept_before
from cdp_orders_async.jobs.events import Message, OnEvent, Problem, ignore
from cdp_orders_async.jobs.journal import opened
from cdp_orders_async.jobs.outcomes_file import written
from cdp_orders_async.jobs.probe import checked
from cdp_orders_async.jobs.progress import Meter
from cdp_orders_async.jobs.report import NOT_AS_WANTED, Report, describe, place
from cdp_orders_async.jobs.stopping import Stopper, on_stop
from cdp_orders_async.redact import sealed
from cdp_orders_async.sources import GraphFile, GraphFiles

__all__ = ["load"]

LAST = 20  # requests that were denied, of which is remembered where they came from
NOTHING = (Verdict.INVALID, Verdict.NOT_TRIED, Verdict.FAILED)


@sealed
async def load(
    client: CdpOrders | CdpOrdersV2,
    source: GraphFile | GraphFiles,
    *,
    journal: Path,
    outcomes: Path | None = None,
    look_first: bool = False,
    on_existing: OnExisting = "keep",
    settle: float = SETTLE,
    drain: float = 5.0,
    before: Path | None = None,
    on_event: OnEvent = ignore,
    clock: Callable[[], float] = time.monotonic,
) -> Report:
    """Load the orders of *source* over *client*, which is open and stays so, and return what became of them.

    Meanwhile a signal that asks the process to stop (SIGINT, SIGTERM, SIGHUP) ends the load: the first finishes what is
    in flight, a later one stops at once. A load with the same *journal* resumes.

    Parameters: *journal*, the file of the journal, made where it is missing; *outcomes*, a new file for what came of
    each order, as JSON lines; *look_first*, *on_existing* and *settle* (seconds), as in `ingest`; *drain*, the seconds
    that what is in flight may take to finish after a signal or an error; *before*, a new file, readable by its owner
    only, for the values that the load changes, which may be personal; *on_event*, which is told what happens, and
    ends the load if it raises; *clock*, in seconds.

    Raises `JournalError` and `InputError` for what is wrong before the load begins, with the journal and the outcomes;
    what ends it later is the `error` of the report.
    """
    report = Report()
    began, computed = clock(), time.process_time()
    stopper = Stopper(drain, on_event, clock)
    async with on_stop(stopper), opened(journal, client.identity) as book:
        meter = Meter(source, client.session)
        listener = _Listener(on_event, journal if book.records.new else None)
        lines = checked(source, client, book.records, journal, look=book.records.new and not look_first)
        # The outcomes come second: they are those of another run, as long as that run has the journal.
        with written(outcomes) as write, kept_before(before) as keep:
            async with ingest(
                client,
                meter.counted(lines),
                journal=book.records,
                look_first=look_first,
                on_existing=on_existing,
                open_orders=2 * client.session.settings.connections,
                settle=settle,
                drain=drain,
                keep_before=keep,
            ) as run:
                book.blank = False
                stopper.watch(run)
                try:
                    with meter.told(run, on_event):
                        async for outcome in run:
                            listener.hear(outcome, run)
                            write(outcome)
                except CdpError as error:
                    report.error = error
                    report.reason = describe(error, client.base_url, listener.where(error))
        book.blank = listener.untouched == run.done
        report.counts, report.times, report.requests = run.counts, run.times, meter.requests
        report.seconds, report.cpu = clock() - began, time.process_time() - computed
    report.stopped_by = stopper.number
    if report.error is None or report.anything:  # else one sentence says it for all of them
        _conclude(report, source, on_event)
    return report


class _Listener:
    """Hears what came of each order, and tells what a person must know of it."""

    def __init__(self, on_event: OnEvent, journal: Path | None) -> None:
        self.untouched = 0
        """Orders of which nothing is on the server, nor may be, nor is anything known."""
        self._on_event = on_event
        self._journal = journal  # which is new, and not told yet
        self._denied: dict[str, str] = {}  # where each of the last requests that were denied came from

    def hear(self, outcome: Outcome, run: Load) -> None:
        """Hear one *outcome*; once an error ends the load, one sentence says it for all that it took."""
        if outcome.verdict in NOTHING and outcome.is_untouched:
            self.untouched += 1
        elif self._journal is not None:
            self._on_event(Message(f"A new journal remembers what is loaded: {self._journal.absolute()}"))
            self._journal = None
        for part in outcome.parts:
            if part.failure is not None and part.failure.request_id is not None:
                self._denied[part.failure.request_id] = place(outcome)
        while len(self._denied) > LAST:
            del self._denied[next(iter(self._denied))]
        wrong = outcome.verdict in NOT_AS_WANTED and outcome.verdict is not Verdict.NOT_TRIED
        if run.error is None and (wrong or outcome.leftovers):
            self._on_event(Problem(outcome))

    def where(self, error: CdpError) -> str | None:
        """Return from where the order came whose request met *error*, if its outcome was heard."""
        return None if error.request_id is None else self._denied.get(error.request_id)


def _conclude(report: Report, source: GraphFile | GraphFiles, on_event: OnEvent) -> None:
    """Say how many orders the end of the load left, or that there were none."""
    if left := report.counts[Verdict.NOT_TRIED]:
        orders = "order was" if left == 1 else "orders were"
        on_event(Message(f"{left:,} {orders} taken from the input and not tried."))
    elif not report.counts and report.stopped_by is None:
        on_event(Message(f"{source.name} holds no orders: nothing was loaded."))
