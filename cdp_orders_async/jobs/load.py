"""One load of files, from the first look at the server to the last outcome."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from types import NoneType
from typing import Any, TypedDict

from cdp_orders_async.arguments import called, need
from cdp_orders_async.client import CdpOrders, CdpOrdersV2
from cdp_orders_async.errors import CdpError, InputError, Invalid, Violation, counted
from cdp_orders_async.graph import InputLine
from cdp_orders_async.ingest import SETTLE, OnExisting, Outcome, Verdict, ingest
from cdp_orders_async.jobs.before_file import kept_before
from cdp_orders_async.jobs.events import Message, OnEvent, Problem, Teller, ignore
from cdp_orders_async.jobs.given import FileName, GivenJournal, check_job, file_given, journal_given, source_given
from cdp_orders_async.jobs.inputs import InputOptions
from cdp_orders_async.jobs.journal import JournalPlace, check_batches, journal_name, opened
from cdp_orders_async.jobs.limits import Limits, check_limits
from cdp_orders_async.jobs.loading import Engine, Loading
from cdp_orders_async.jobs.outcomes_file import written
from cdp_orders_async.jobs.probe import checked
from cdp_orders_async.jobs.progress import Meter
from cdp_orders_async.jobs.rejects import rejected
from cdp_orders_async.jobs.report import NOT_AS_WANTED, Report, Run, describe, files_of, new_run, place
from cdp_orders_async.jobs.shared_rate import check_shared_rate, sharing
from cdp_orders_async.jobs.stopping import Stopper, on_free_signals, on_stop
from cdp_orders_async.jobs.throttle import SIGNALS, Throttle, following
from cdp_orders_async.journal import PostgresJournal, SqliteJournal
from cdp_orders_async.redact import sealed
from cdp_orders_async.sources import GraphFile, GraphFiles

__all__ = ["LoadOptions", "load"]

BATCH = "batch"
"""The name of the engine that ends the batch files that have no result yet."""
LAST = 20  # requests that were denied, of which is remembered where they came from
NOTHING = (Verdict.INVALID, Verdict.NOT_TRIED, Verdict.FAILED)


class LoadOptions(TypedDict, total=False):
    """The options of `load` that `retry` passes on."""

    rejects: FileName | None
    look_first: bool
    on_existing: OnExisting
    settle: float
    drain: float
    before: FileName | None
    max_errors: int | None
    give_up: float | None
    control: FileName | None
    shared_rate: str | None
    run: Run | None
    on_event: OnEvent
    clock: Callable[[], float]


@sealed
async def load(
    client: CdpOrders | CdpOrdersV2,
    source: GraphFile | GraphFiles | FileName,
    *,
    journal: GivenJournal,
    outcomes: FileName | None = None,
    rejects: FileName | None = None,
    plan: str | None = None,
    look_first: bool = False,
    on_existing: OnExisting = "keep",
    settle: float = SETTLE,
    drain: float = 5.0,
    before: FileName | None = None,
    max_errors: int | None = None,
    give_up: float | None = None,
    control: FileName | None = None,
    shared_rate: str | None = None,
    engine: Engine | None = None,
    run: Run | None = None,
    on_event: OnEvent = ignore,
    clock: Callable[[], float] = time.monotonic,
) -> Report:
    """Load the orders of *source* over *client*, which is open and stays so, and return the result.

    Meanwhile a signal that asks the process to stop (SIGINT, SIGTERM, SIGHUP) ends the load: the first lets the
    requests in flight finish, a later one stops at once. SIGUSR1 and SIGUSR2 lower and raise the rate by a quarter,
    where the program does not use them. A load with the same *journal* resumes.

    Parameters: *client*; *source*, the input, or the path of a file, which is read as `GraphFiles` reads it; and

    - *journal*, the file of the journal, made where it is missing; or the address of a database, as `journal_place`
      reads it.
    - *outcomes*, a new file for the outcome of each order, as JSON lines; the record of the run is beside it.
    - *rejects*, a new file for the lines that break rules, as they stand in the input.
    - *plan*, the hash of the input that was planned: another input is refused. It needs `GraphFiles`.
    - *look_first*, *on_existing* and *settle* (seconds), as in `ingest`.
    - *drain*, the seconds that requests in flight may take to finish after a signal or an error.
    - *max_errors*, how many orders may fail or be invalid until the load ends.
    - *give_up*, the seconds without success after which a load ends whose server is not well.
    - *control*, a TOML file that changes the rate and pauses the load while it runs: ``rate = 50``, ``pause = true``.
    - *shared_rate*, the name of a rate in the database of the *journal*, which all processes that name it share, as
      with a `PostgresLimiter`. It is the rate of the settings; another rate, which other processes used in the last
      minute, is refused. Without a rate in the settings, it is the rate of the others.
    - *engine*, another way to load than the requests of this process: a `BatchEngine`, which takes none of
      *look_first*, *on_existing*, *before*, *control* and *shared_rate*, or a `RayEngine`, which takes neither *before*
      nor *shared_rate*.
    - *before*, a new file, readable by its owner only, for the values that the load changes, which may be personal.
    - *run*, the name and the start of this run; by default a new one.
    - *on_event*, which is told what happens; if it raises, that ends the load, and is raised when all is written.
    - *clock*, in seconds.

    Raises TypeError for an argument of another type, `Invalid` for an option that cannot be, `InputError` for an input
    that is not the planned one, and `JournalError` and `InputError` for what is wrong with the files before the load
    begins. What ends it later is the `error` of the report.
    """
    check_job(client, on_event, clock)
    _check_types(engine, plan, run, max_errors, give_up, settle=settle, drain=drain)
    source, journal, outcomes, rejects, before, control = (
        source_given(source, InputOptions(client.api)),
        journal_given(journal),
        file_given(outcomes, "outcomes"),
        file_given(rejects, "rejects"),
        file_given(before, "before"),
        file_given(control, "control"),
    )
    _check_engine(
        engine,
        journal,
        look_first=look_first,
        on_existing=on_existing != "keep",
        keep_before=before is not None,
        control=control is not None,
        shared_rate=check_shared_rate(client, shared_rate, journal),
    )
    run = run or new_run()
    report = Report(run=run, files=files_of(source), hash=plan)
    await _compare(source, plan)
    options = {
        **source.options,
        "base_url": client.base_url,
        "journal": journal_name(journal),
        "look_first": look_first,
        "on_existing": on_existing,
        "settle": settle,
        **({} if engine is None else {"engine": engine.name}),
        **({} if shared_rate is None else {"shared_rate": shared_rate}),
    }
    record = _recorder(client, report, options)
    began, computed, tell = clock(), time.process_time(), Teller(on_event)
    stopper = Stopper(drain, tell, clock)
    async with (
        on_stop(stopper),
        opened(journal, client.identity) as book,
        sharing(client, shared_rate, journal),
    ):
        meter, listener = Meter(source, client.session), _Listener(tell, journal if book.records.new else None)
        lines = checked(aiter(meter), client, book.records, journal, look=book.records.new and not look_first)
        limits = Limits(client, max_errors=max_errors, give_up=give_up, drain=drain, on_event=tell)
        try:
            # The outcomes come second: they are those of another run, as long as that run has the journal.
            with (
                rejected(rejects) as reject,
                written(outcomes, run.id, record) as write,
                kept_before(before) as keep,
            ):
                begun = (engine or partial(_by_rest, keep_before=keep))(
                    client,
                    _keeping(lines, reject),
                    book.records,
                    journal,
                    drain,
                    look_first=look_first,
                    on_existing=on_existing,
                    settle=settle,
                )
                async with _to_the_end(begun, write) as loading:
                    book.unused = False
                    stopper.watch(loading)
                    limits.watch(loading)
                    tell.watch(loading)
                    throttle = Throttle(client.session, lambda: meter.speed, tell)
                    try:
                        async with (
                            on_free_signals(SIGNALS, throttle.on_signal),
                            following(control, throttle, loading, tell),
                        ):
                            with meter.watching(loading, tell, limits.look):
                                async for outcome in loading:
                                    report.hear(outcome)
                                    meter.hear(outcome)
                                    listener.hear(outcome, loading)
                                    limits.hear(outcome)
                                    write(outcome)
                    except CdpError as error:
                        report.error, report.reason = error, describe(error, client.base_url, listener.where(error))
                book.unused = listener.untouched == loading.done
                _finish(report, loading, meter)
                report.seconds, report.stopped_by = clock() - began, stopper.number
                report.reason = report.reason or limits.reason
                if report.error is None and meter.ended:
                    _finish_hash(report, source, plan)
                report.ended = run.now()
        except InputError as error:
            if report.ended is None:  # it is wrong before the load begins
                raise
            report.error, report.reason = report.error or error, report.reason or str(error)
        report.seconds, report.cpu = clock() - began, time.process_time() - computed
    report.stopped_by = stopper.number
    report.record = record()
    _conclude(report, source, tell)
    return report


def _by_rest(
    client: CdpOrders | CdpOrdersV2,
    lines: AsyncGenerator[InputLine, None],
    records: SqliteJournal | PostgresJournal,
    journal: JournalPlace,  # noqa: ARG001 an engine may need it
    drain: float,
    **options: Any,  # noqa: ANN401 those of ingest
) -> AbstractAsyncContextManager[Loading]:
    """Load with the requests of the REST API."""
    most = 2 * client.session.settings.connections
    return ingest(client, lines, journal=records, drain=drain, open_orders=most, **options)


@contextlib.asynccontextmanager
async def _to_the_end(
    begun: AbstractAsyncContextManager[Loading], write: Callable[[Outcome], None]
) -> AsyncGenerator[Loading, None]:
    """Give the load that has *begun*; if the block is cancelled, *write* the outcomes that it did not hear."""
    loading: Loading | None = None
    try:
        async with begun as loading:
            yield loading
    except asyncio.CancelledError:
        while loading is not None and (left := loading.outcome) is not None:
            write(left)
        raise


def _finish(report: Report, loading: Loading, meter: Meter) -> None:
    """Note the counts of a load that has ended."""
    while (left := loading.outcome) is not None:  # an error ended the load before it was heard
        report.hear(left)
    report.counts, report.times, report.requests = loading.counts, loading.times, meter.requests
    report.course, report.limits = meter.series.course(), meter.limits


def _recorder(
    client: CdpOrders | CdpOrdersV2, report: Report, options: dict[str, object]
) -> Callable[[], dict[str, object]]:
    """Return what gives the record of a run: its *report* at that time, and where the run happens."""
    rate = client.session.settings.rate
    try:
        folder = str(Path.cwd())
    except FileNotFoundError:  # somebody removed it
        folder = None
    place = {"folder": folder, "identity": dict(client.identity), "rate": "none" if rate is None else rate}
    return lambda: {**report.to_run_json(options), **place}


def _check_types(
    engine: object,
    plan: object,
    run: object,
    max_errors: int | None,
    give_up: float | None,
    **seconds: object,
) -> None:
    """Raise TypeError for an argument of another type, `Invalid` for limits that cannot be."""
    if engine is not None and (isinstance(engine, type) or not (callable(engine) and hasattr(engine, "takes"))):
        raise TypeError(f"engine must be a BatchEngine, a RayEngine or None, not {called(engine)}")
    need(plan, (str, NoneType), "plan", "the hash of a plan, or None")
    need(run, (Run, NoneType), "run")
    for name, value in seconds.items():
        need(value, float, name)
    check_limits(max_errors, give_up)


def _check_engine(engine: Engine | None, journal: JournalPlace, **given: bool) -> None:
    """Raise `Invalid` for options *given* that the *engine* lacks, `JournalError` for batch files without a result."""
    if engine is None or engine.name != BATCH:
        check_batches(journal)
    if engine is None:
        return
    rule = f"cannot be given with engine={engine.name}: use engine=rest"
    wrong = (name for name, is_given in given.items() if is_given and name not in engine.takes)
    if found := tuple(Violation(name, rule) for name in wrong):
        raise Invalid(found)


async def _compare(source: GraphFile | GraphFiles, plan: str | None) -> None:
    """Raise `InputError` if *source* is not the input that was planned."""
    if plan is None:
        return
    if isinstance(source, GraphFile):
        raise TypeError("plan: only the input of GraphFiles has a hash, not that of GraphFile")
    found = await source.fingerprint()
    if found != plan:
        raise InputError(
            f"nothing was sent: the input is not the one that was planned (its hash is {found}, not {plan});"
            " another order of the files, another time zone or another version changes it too; plan it again with"
            " cdp-orders plan"
        )


def _finish_hash(report: Report, source: GraphFile | GraphFiles, plan: str | None) -> None:
    """Note the hash of what was read, which must be that of the *plan*."""
    if isinstance(source, GraphFile):
        return
    report.hash = source.digest
    if plan is not None and report.hash != plan:
        report.reason = (
            f"the input changed while it was loaded: its hash is now {report.hash}, not {plan};"
            " see with cdp-orders plan what it holds"
        )
        report.error = InputError(report.reason)


async def _keeping(
    lines: AsyncGenerator[InputLine, None], reject: Callable[[InputLine], None]
) -> AsyncGenerator[InputLine, None]:
    """Yield the *lines* that the load takes, and *reject* those that break rules."""
    async with contextlib.aclosing(lines):
        async for line in lines:
            if line.violations:
                reject(line)
            yield line


class _Listener:
    """Hears the outcome of each order, and tells what a person must know of it."""

    def __init__(self, on_event: OnEvent, journal: JournalPlace | None) -> None:
        self.untouched = 0
        """Orders of which nothing is on the server, nor may be, nor is anything known."""
        self._on_event = on_event
        self._journal = journal  # which is new, and not told yet
        self._denied: dict[str, str] = {}  # where each of the last requests that were denied came from

    def hear(self, outcome: Outcome, load: Loading) -> None:
        """Hear one *outcome*; once an error ends the load, one sentence says it for all that it took."""
        if outcome.verdict in NOTHING and outcome.is_untouched:
            self.untouched += 1
        elif self._journal is not None:
            self._on_event(Message(f"A new journal remembers what is loaded: {journal_name(self._journal)}"))
            self._journal = None
        for part in outcome.parts:
            if part.failure is not None and part.failure.request_id is not None:
                self._denied[part.failure.request_id] = place(outcome)
        while len(self._denied) > LAST:
            del self._denied[next(iter(self._denied))]
        wrong = outcome.verdict in NOT_AS_WANTED and outcome.verdict is not Verdict.NOT_TRIED
        if load.error is None and (wrong or outcome.leftovers):
            self._on_event(Problem(outcome))

    def where(self, error: CdpError) -> str | None:
        """Return from where the order came whose request met *error*, if its outcome was heard."""
        return None if error.request_id is None else self._denied.get(error.request_id)


def _conclude(report: Report, source: GraphFile | GraphFiles, tell: Teller) -> None:
    """Say how many orders the end of the load left, or that there were none; raise what the observer raised."""
    if report.error is not None and not report.anything:
        pass  # one sentence says it for all of them
    elif left := report.counts[Verdict.NOT_TRIED]:
        orders = counted(left, "order was", "orders were")
        tell(Message(f"{orders} taken from the input and not tried."))
    elif not report.counts and report.stopped_by is None:
        holds = "holds" if isinstance(source, GraphFile) or len(source.names) == 1 else "hold"
        tell(Message(f"{source.name} {holds} no orders: nothing was loaded."))
    tell.check(report.error)
