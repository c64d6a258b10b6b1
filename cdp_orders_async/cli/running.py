"""One load from its first look at the server to its last outcome, with what a person sees of it meanwhile."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from pathlib import Path

import attrs

from cdp_orders_async.cli.display import FAILURES, Progress, Screen, place, problem
from cdp_orders_async.cli.outcomes import written
from cdp_orders_async.cli.probe import found_on_server, lost_on_server, peeked
from cdp_orders_async.cli.signals import on_stop
from cdp_orders_async.client import CdpOrders, CdpOrdersV2
from cdp_orders_async.errors import CdpError, JournalError
from cdp_orders_async.graph import Line
from cdp_orders_async.ingest import SETTLE, Load, OnExisting, Outcome, Verdict, ingest
from cdp_orders_async.journal import SqliteJournal
from cdp_orders_async.session import Times
from cdp_orders_async.sources import GraphFile

__all__ = ["Report", "run"]

FEW = 20  # problems that are told one by one; the file of outcomes has them all
SMALL = 100  # lines of an input for which nobody looks at the server first
PROBED = 3  # orders of a larger one that are looked for
SAME_SIGNAL = 1.0  # seconds in which a second signal is the first one again: `timeout` sends it twice
LOOK = 0.1  # seconds between two looks whether a load that ends waits for the server
THERE = (Verdict.LOADED, Verdict.ALREADY, Verdict.UPDATED, Verdict.KEPT, Verdict.PARTIAL, Verdict.UNKNOWN)

NOTHING = (Verdict.INVALID, Verdict.NOT_TRIED, Verdict.FAILED)


@attrs.define
class Report:
    """What became of a load, for the exit status and the last words."""

    counts: collections.Counter[Verdict] = attrs.field(factory=collections.Counter[Verdict])
    requests: int = 0
    seconds: float = 0.0
    cpu: float = 0.0
    """Seconds that this process computed, in all its threads."""
    times: Times = attrs.field(factory=Times)
    error: CdpError | None = None
    where: str | None = None
    """The order whose request met the *error*."""
    stopped_by: int | None = None

    def to_json(self, error: str | None = None) -> dict[str, object]:
        """Return what ``--json`` prints; *error* is the sentence that says what ended the load."""
        return {
            "graphs": self.counts.total(),
            **{str(verdict): self.counts[verdict] for verdict in Verdict},
            "requests": self.requests,
            "seconds": round(self.seconds, 3),
            "cpu": round(self.cpu, 3),
            "times": self.times.to_json(),
            "error": error,
        }

    @property
    def anything(self) -> bool:
        """Whether anything is on the server, or may be."""
        return any(self.counts[verdict] for verdict in THERE)

    @property
    def status(self) -> int:
        """The exit status."""
        if self.error is not None:
            return 2
        if self.stopped_by is not None:
            return 128 + self.stopped_by
        return int(any(self.counts[verdict] for verdict in FAILURES))

    @property
    def resumable(self) -> bool:
        """Whether the same command again has something to do; a line that breaks a rule will break it again."""
        if self.error is not None:
            return self.anything
        return self.stopped_by is not None or any(
            self.counts[verdict] for verdict in FAILURES if verdict not in {Verdict.INVALID, Verdict.KEPT}
        )


class _Stopper:
    """Stops a load at a signal: the first lets it finish what is in flight, a later one does not."""

    def __init__(self, report: Report, drain: float, console: Screen, clock: Callable[[], float]) -> None:
        self._report = report
        self._drain = drain
        self._console = console
        self._clock = clock
        self._since = 0.0
        self._load: Load | None = None

    def watch(self, load: Load) -> None:
        """Stop *load* at the next signal, or now if there was one."""
        self._load = load
        if self._report.stopped_by is not None:
            self._stop(load, self._drain)

    def __call__(self, number: int) -> None:
        """Stop, and only then say so, since nobody may hear it."""
        now, load = self._clock(), self._load
        if self._report.stopped_by is None:
            self._report.stopped_by, self._since = number, now
            if load is not None:
                self._stop(load, self._drain)
            self._console.say(f"Stopping: what is in flight has {self._drain:g} s to finish. Once more stops at once.")
        elif now - self._since >= SAME_SIGNAL and load is not None:
            load.stop()

    def _stop(self, load: Load, drain: float) -> None:
        load.stop(drain)
        self._give_up(load)

    def _give_up(self, load: Load) -> None:
        """Do not wait for a server that is not well: it would take the whole time, for nothing."""
        if load.paused is not None:
            load.stop()
        elif load.under_way:
            asyncio.get_running_loop().call_later(LOOK, self._give_up, load)


async def run(
    client: CdpOrders | CdpOrdersV2,
    graphs: GraphFile,
    console: Screen,
    *,
    journal: Path,
    outcomes: Path | None,
    look_first: bool = False,
    on_existing: OnExisting = "keep",
    settle: float = SETTLE,
    drain: float = 5.0,
    verbose: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> Report:
    """Load *graphs*, write each outcome, and show progress and problems on *console*.

    Raises what is wrong before the load begins; what ends it later is in the report.
    """
    report = Report()
    began, computed = clock(), time.process_time()
    stopper = _Stopper(report, drain, console, clock)
    async with client, on_stop(stopper), _journal(journal, client.identity) as book:
        progress = Progress(graphs, client.session, console)
        teller = _Teller(console, outcomes, journal if book.new else None, all_of_them=verbose)
        lines = _checked(graphs, client, book.records, journal, look=book.new and not look_first)
        # The outcomes come second: they are those of another run, as long as that run has the journal.
        with written(outcomes) as write:
            async with ingest(
                client,
                progress.counted(lines),
                journal=book.records,
                look_first=look_first,
                on_existing=on_existing,
                open_orders=2 * client.session.settings.connections,
                settle=settle,
                drain=drain,
            ) as load:
                book.blank = False
                stopper.watch(load)
                try:
                    async with progress.shown(load):
                        async for outcome in load:
                            teller.tell(outcome, load.error)
                            write(outcome)
                except CdpError as error:
                    report.error = error
                    report.where = teller.where(error)
        book.blank = teller.untouched == load.done
        report.counts = load.counts
        report.requests = client.session.stats.requests
        report.times = load.times
        report.seconds, report.cpu = clock() - began, time.process_time() - computed
    if report.error is None or report.anything:  # else one sentence says it for all of them
        teller.conclude(report.counts)
    return report


@attrs.define
class _Book:
    """The journal of a load."""

    records: SqliteJournal
    new: bool
    blank: bool = True
    """Whether it knows no more than when it was opened."""


@contextlib.asynccontextmanager
async def _journal(path: Path, identity: Mapping[str, str]) -> AsyncGenerator[_Book, None]:
    """Open a journal; take one that is new away again if it is left blank, or the next run would trust it."""
    book: _Book | None = None
    try:
        async with await SqliteJournal.open(path, identity=identity) as records:
            yield (book := _Book(records, records.new))
    finally:
        if book is not None and book.new and book.blank:
            with contextlib.suppress(OSError):
                await asyncio.to_thread(path.unlink)


async def _checked(
    graphs: GraphFile,
    client: CdpOrders | CdpOrdersV2,
    records: SqliteJournal,
    journal: Path,
    *,
    look: bool,
) -> AsyncGenerator[Line, None]:
    """Yield the lines of *graphs*, unless the journal does not fit what is on the server; *look* for the first ones."""

    async def compare(lines: Sequence[Line]) -> None:
        if len(lines) <= SMALL:
            return
        orders = [line.graph for line in lines if line.graph is not None and not line.violations]
        found = await found_on_server(client, orders[:PROBED])
        if found is not None:
            raise JournalError(
                f"the order {found.order.reference_id} is on the server already, but the journal {journal} is new:"
                " name the journal of the load that made it, or add --look-first, which looks for each order"
            )

    if await lost_on_server(client, records):
        raise JournalError(
            f"the server no longer has the orders that the journal {journal} says are loaded:"
            " name another journal to load them again"
        )
    lines = aiter(graphs)
    if look:
        lines = peeked(lines, SMALL + 1, compare)
    async with contextlib.aclosing(lines):
        async for line in lines:
            yield line


class _Teller:
    """Tells the first problems one by one, and what else a person must know of a load."""

    def __init__(self, console: Screen, outcomes: Path | None, journal: Path | None, *, all_of_them: bool) -> None:
        self.untouched = 0
        """Orders of which nothing is on the server, nor may be, nor is anything known."""
        self._console = console
        self._outcomes = outcomes
        self._journal = journal  # which is new, and not told yet
        self._all = all_of_them
        self._told = 0
        self._refused: dict[str, str] = {}  # where each of the last requests that were denied came from

    def tell(self, outcome: Outcome, error: Exception | None) -> None:
        """Tell what is wrong with one order; once an *error* ends the load, one sentence says it for all it took."""
        if outcome.verdict in NOTHING and outcome.is_untouched:
            self.untouched += 1
        elif self._journal is not None:
            self._console.say(f"A new journal remembers what is loaded: {self._journal.absolute()}")
            self._journal = None
        for part in outcome.parts:
            if part.failure is not None and part.failure.request_id is not None:
                self._refused[part.failure.request_id] = place(outcome)
        while len(self._refused) > FEW:
            del self._refused[next(iter(self._refused))]
        wrong = outcome.verdict in FAILURES and outcome.verdict is not Verdict.NOT_TRIED
        if error is None and (wrong or outcome.leftovers):
            self._told += 1
            if self._all or self._told <= FEW:
                self._console.say(problem(outcome))
            elif self._told == FEW + 1:
                where = f"{self._outcomes} has them all" if self._outcomes else "--outcomes FILE keeps them all"
                self._console.say(f"There are more problems: {where}.")

    def where(self, error: CdpError) -> str | None:
        """Return from where the order came whose request met *error*, if its outcome was told."""
        return None if error.request_id is None else self._refused.get(error.request_id)

    def conclude(self, counts: collections.Counter[Verdict]) -> None:
        """Say how many orders the end of the load left."""
        if left := counts[Verdict.NOT_TRIED]:
            orders = "order was" if left == 1 else "orders were"
            self._console.say(f"{left:,} {orders} taken from the input and not tried.")
