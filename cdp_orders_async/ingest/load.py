"""A load, as its user sees it."""

from __future__ import annotations

import asyncio
import collections
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Literal

from cdp_orders_async.client import Resources, ResourcesV2
from cdp_orders_async.errors import CdpError, DeadlineExceeded, Violation
from cdp_orders_async.graph import InputLine, OrderGraph
from cdp_orders_async.ingest.before import KeepBefore
from cdp_orders_async.ingest.context import RENEWALS, LoadContext, OnExisting, as_failure
from cdp_orders_async.ingest.order import OrderRun
from cdp_orders_async.ingest.outcomes import Outcome, Verdict, in_truth
from cdp_orders_async.ingest.parts import Part
from cdp_orders_async.ingest.reports import LoadReport
from cdp_orders_async.ingest.scheduler import Scheduler
from cdp_orders_async.ingest.source import Orders, Source
from cdp_orders_async.journal import MAX_REFERENCE_BYTES, Journal
from cdp_orders_async.kinds import Api
from cdp_orders_async.outlasting import STALL, Drain, outlast
from cdp_orders_async.redact import sealed, strip_frames
from cdp_orders_async.session import Session, Timings

__all__ = ["Load"]

FEW_ORDERS = 8
"""So many orders may begin at once; with many connections, half as many as connections."""
FINISH_SECONDS = 5.0
"""Seconds that calls in flight get to finish if a load that is not patient ends because of an error."""
RECORDING_SECONDS = 5.0
"""Seconds that a journal gets to write the end of orders that were given up."""
UNKNOWN_WIDTH = 100
"""The most parts under way if the number of connections is unknown."""


@sealed
class Load:
    """A load: ``async for outcome in load`` yields the outcome of each order, in no fixed order.

    If the load cannot continue (wrong credentials, a full disk for the journal, an input that breaks off, a server that
    was never reached), the iteration raises the `error` after the last outcome. Every order that was begun has an
    outcome.
    """

    def __init__(
        self,
        client: Resources | ResourcesV2,
        source: Orders,
        *,
        journal: Journal | None,
        look_first: bool,
        on_existing: OnExisting,
        open_orders: int,
        settle: float,
        drain: float,
        width: int | None = None,
        bulk: bool = True,
        patient: bool = True,
        keep_before: KeepBefore | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.counts: collections.Counter[Verdict] = collections.Counter()
        """The number of ended orders, by verdict."""
        self.times = Timings()
        """The times of the ended orders."""
        self.error: Exception | None = None
        """The error that ended the load before the end of the input."""
        self.clock = clock
        self._session = client.transport if isinstance(client.transport, Session) else None
        width = width or (UNKNOWN_WIDTH if self._session is None else self._session.settings.connections)
        self._scheduler: Scheduler[OrderRun, Part, Sequence[Part]] = Scheduler(
            width, OrderRun.finish_part, self._settled
        )
        self._scheduler.on_rest = self._go_on
        self._context = LoadContext(
            client,
            self._scheduler,
            self.fail,
            journal=journal,
            look_first=look_first,
            on_existing=on_existing,
            settle=settle,
            bulk=bulk,
            patient=patient,
            keep_before=keep_before,
            clock=clock,
        )
        self._source = Source(source, self._has_room, self._take, self._go_on)
        self._api = client.api
        self._open_orders = open_orders
        self._most_starting = max(FEW_ORDERS, self._scheduler.most // 2)
        self._drain = drain
        self._runs: dict[OrderRun, None] = {}
        """The orders under way, the oldest first; some wait for the claim of another order."""
        self._starting = 0  # the number of orders without an answer to their first request
        self._outcomes: asyncio.Queue[Outcome | None] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._report = LoadReport(self._context)
        self._end: asyncio.Future[None] = self._loop.create_future()
        self._time_left = Drain(self._abort, lambda: self._context.waits_in_vain, self._context.halt)
        self._renewal: asyncio.TimerHandle | None = None
        self._renewing: asyncio.Task[None] | None = None
        self._cut: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        state = "ended" if self._end.done() else "stopping" if self.stopping else "running"
        return f"<Load {state}: {self.done} orders done, {len(self._runs)} under way, {self._scheduler}>"

    @property
    def stopping(self) -> bool:
        """Whether the load was stopped: no further order is taken from the input."""
        return self._source.stopped

    @property
    def done(self) -> int:
        """The number of ended orders."""
        return self.counts.total()

    @property
    def under_way(self) -> int:
        """The number of orders that were taken from the input and have not ended."""
        return len(self._runs)

    @property
    def paused(self) -> str | None:
        """The reason why the load waits for the server; None while it does not wait."""
        health = self._context.health
        return health.why if health.breaker.state != "closed" else None

    @property
    def breaker(self) -> Literal["closed", "open", "half-open"]:
        """Whether requests pass, wait for a server that is not well, or are tried one at a time."""
        return self._context.health.breaker.state

    @property
    def trouble(self) -> str | None:
        """The last failure because the server is not well or busy; None if it did anything since."""
        trouble = self._context.health.trouble
        return None if trouble is None else str(trouble)

    @property
    def paused_for(self) -> float:
        """Seconds until the server is tried again; 0 while the load does not wait for it."""
        return self._context.health.breaker.open_for

    @property
    def share(self) -> float:
        """The orders under way, each counted as the share of its parts that came to their end."""
        return sum(1 - run.left / len(run.parts) for run in self._runs)

    @property
    def requests_left(self) -> Sequence[tuple[float, bool]]:
        """For each order under way: the requests that it still needs, and whether it is known if the server has it."""
        return [run.requests_left for run in self._runs]

    @property
    def waits_for(self) -> None:
        """Nothing: the load waits for answers alone."""

    @property
    def settles_in(self) -> float:
        """Seconds until an order can be created, because the lists of the server may lag; 0 if the load does not wait.

        The load waits as long as it knows of no order under way whether the server has it.
        """
        if not self._runs or any(run.order_part.verdict is not None for run in self._runs):
            return 0.0
        return max(0.0, self._context.settled_at - self.clock())

    @property
    def succeeded(self) -> int:
        """The number of successful requests; while creates fail, the number of successful creates."""
        health = self._context.health
        return health.created if health.breaker.creates_fail else health.answered

    @property
    def held(self) -> bool:
        """Whether `hold` keeps the load from sending."""
        return self._context.held

    def hold(self) -> None:
        """Begin no request until `release`; those that wait for their turn at the rate are still sent."""
        self._context.hold()

    def release(self) -> None:
        """Go on after `hold`."""
        self._context.release()

    def start(self) -> None:
        """Begin to take orders from the input; `ingest` does it."""
        self._report.start()
        self._source.wake()
        self._watch()

    def start_with(self, graph: OrderGraph) -> None:
        """Begin to load *graph* alone; `ingest_one` does it."""
        self._source.end()
        self._take(1, graph)
        self._go_on()
        self._watch()

    def __aiter__(self) -> AsyncIterator[Outcome]:
        return self

    async def __anext__(self) -> Outcome:
        outcome = await self._outcomes.get()
        if outcome is not None:
            self._source.wake()
            return outcome
        self._outcomes.put_nowait(None)  # a further call gets the same end
        if self.error is not None:
            raise self.error
        raise StopAsyncIteration

    async def run(self) -> collections.Counter[Verdict]:
        """Run the load to its end, for a caller that does not need each outcome; return the `counts`.

        Raises the `error` of the load.
        """
        async for _ in self:
            pass
        return self.counts

    async def wait(self) -> None:
        """Wait for the end of the load, while others take the outcomes; `run` takes them itself.

        A load draws no further order while too many outcomes are not taken.
        """
        await asyncio.wait({self._end})

    @property
    def outcome(self) -> Outcome | None:
        """The first outcome that was not taken yet, None if there is none; it is taken now."""
        first: Outcome | None = None if self._outcomes.empty() else self._outcomes.get_nowait()
        return first

    def expire(self, due: float) -> None:
        """End the load because its time was over at *due*, and give up the calls in flight.

        If the loop was blocked then, answers that came meanwhile are read first; nothing more is sent.
        """
        self.error = self.error or DeadlineExceeded("the deadline of the order passed")
        self._context.halt()
        self.stop(STALL if self._loop.time() > due + STALL else 0.0)

    def stop(self, drain: float = 0.0) -> None:
        """Take no new order; after *drain* seconds give up the calls that are still in flight.

        A part that is given up is unknown; the next run with the same journal looks it up. What waits is given up
        sooner while the load is held, and while the server is not well or asks to wait: it was not sent. A second call
        can only shorten the time. Raises `RuntimeError` outside of the event loop of the load.
        """
        if _running_loop() is not self._loop:
            raise RuntimeError("a load is stopped in its own event loop: use loop.call_soon_threadsafe(load.stop)")
        self._source.stop()
        self._time_left.within(drain)
        self._withdraw()
        self._go_on()

    def fail(self, error: Exception) -> None:
        """End the load because of *error*: nothing is created from now on, and calls in flight get time to finish."""
        self.error = self.error or strip_frames(error)
        self._context.halt()
        self.stop(self._drain if self._context.patient else FINISH_SECONDS)

    def _client_closed(self, error: CdpError) -> None:
        if _running_loop() is self._loop:
            self.fail(error)

    async def aclose(self) -> None:
        """End the load: calls in flight get *drain* seconds to finish and be recorded; no task is left after that.

        A cancellation meanwhile, by asyncio or anyio, gives up the calls in flight; it is raised after they are
        recorded.
        """
        if not self._pending():
            return
        self._context.halt()
        self.stop(self._drain)
        await outlast(self._pending, self._abort)

    def _pending(self) -> set[asyncio.Future[Any]]:
        """Return the futures that the end of the load still waits for."""
        own = (self._end, self._source.task, self._renewing)
        return {*self._scheduler.tasks, *(future for future in own if future is not None and not future.done())}

    def _has_room(self) -> bool:
        """Tell whether an order may be taken from the input: only if it can be sent soon."""
        return (
            self._scheduler.wanted > 0
            and len(self._runs) < self._open_orders
            and self._starting - self._scheduler.blocked < self._most_starting
            and self._outcomes.qsize() <= self._open_orders
        )

    def _take(self, position: int, line: OrderGraph | InputLine) -> None:
        """Take an order from the input."""
        file, number, key, graph, violations = _read(position, line, self._api)
        if graph is not None and self._context.journal is not None and (found := _unrecordable(graph)):
            key, violations = graph.key, (*violations, *found)
        if graph is None or violations:
            self._report.order_started(key, file, number)
            self._tell(Outcome(file=file, number=number, key=key, verdict=Verdict.INVALID, violations=violations))
            return
        # The load alone has the objects from a file; the user's own source may change its objects later.
        run = OrderRun(graph, self._context, file, number, copy=not isinstance(line, InputLine))
        self._runs[run] = None
        self._report.order_started(run.key, file, number)
        if self._context.claims.acquire(run.reference_id, self._begin, run):
            self._begin(run)
        elif self.stopping:
            self._withdraw()

    def _begin(self, run: OrderRun) -> None:
        self._starting += 1
        self._scheduler.add((run, run.order_part))

    def _settled(self, run: OrderRun, part: Part, freed: Sequence[Part]) -> None:
        """Continue an order after the end of a *part*; the *freed* parts waited only for it."""
        if part is run.order_part:
            self._starting -= 1
        if run.error is not None and self.error is None:
            self.fail(run.error)
        if freed:
            # Orders that were begun are finished first.
            self._scheduler.add_all([(run, free) for free in freed], first=part is not run.order_part)
        if not run.left:
            self._finish(run)

    def _finish(self, run: OrderRun) -> None:
        """Yield the outcome of an order, and let the next order with its reference id begin."""
        context = self._context
        del self._runs[run]
        if run.may_be_there:
            context.claims.remember(run.reference_id, run.remembered(), context.settle)
        context.claims.release(run.reference_id)
        self.times.add(run.times)
        self._tell(run.outcome())

    def _tell(self, outcome: Outcome) -> None:
        self.counts[outcome.verdict] += 1
        self._outcomes.put_nowait(outcome)
        self._report.order_ended(outcome)

    def _withdraw(self) -> None:
        """End the orders that wait for the claim of another order: the load begins no new ones."""
        for run in list(self._runs):
            if self._context.claims.withdraw(run.reference_id, self._begin, run):
                del self._runs[run]
                self._tell(run.outcome())

    def _watch(self) -> None:
        """Make the load end with its client, and renew its claims."""
        if self._session is not None and not self._end.done():
            self._session.on_close[self._client_closed] = None
        self._renew_later()

    def _renew_later(self) -> None:
        """Set the timer that renews the claims, if they have a lease."""
        journal = self._context.journal
        if journal is not None and journal.lease is not None and not self._end.done():
            self._renewal = self._loop.call_later(journal.lease / RENEWALS, self._renew, journal)

    def _renew(self, journal: Journal) -> None:
        self._renewing = self._loop.create_task(self._renew_claims(journal))

    async def _renew_claims(self, journal: Journal) -> None:
        runs = {run.key: run for run in self._runs if run.claimed}
        asked = self.clock()
        try:
            lost = await journal.renew(list(runs))
        except BaseException as error:
            task = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and (task is None or task.cancelling()):
                raise
            self.fail(as_failure(error))
            return
        for key, run in runs.items():
            run.renewed(None if key in lost else asked)
        self._renew_later()

    def _abort(self) -> None:
        self._context.aborting = True
        self._context.halt()
        for run in self._runs:
            run.abort()
        if self._cut is None:
            self._cut = self._loop.call_later(RECORDING_SECONDS, self._cut_off)

    def _cut_off(self) -> None:
        """Cancel also the tasks that wait for a journal that does not answer."""
        for task in (*self._scheduler.tasks, self._renewing):
            if task is not None:
                task.cancel()

    def _go_on(self) -> None:
        """Take the next order if there is room for one; end the load when everything has ended."""
        self._source.wake()
        self._context.is_at_end = self._source.done
        if self._runs or self._end.done() or not self._source.done or not self._scheduler.is_idle:
            return
        if self.error is None and self._source.error is not None:
            self.error = strip_frames(self._source.error)
        error = self.error = in_truth(self.error, self.counts)
        if self._session is not None:
            self._session.on_close.pop(self._client_closed, None)
        self._time_left.end()
        for timer in (self._renewal, self._cut):
            if timer is not None:
                timer.cancel()
        self._report.end(error)
        self._end.set_result(None)
        self._outcomes.put_nowait(None)


def _read(
    position: int, line: object, api: Api
) -> tuple[str | None, int, str | None, OrderGraph | None, tuple[Violation, ...]]:
    """Return the place of an order in the input, its key, the order, and the rules of *api* that it breaks."""
    if isinstance(line, InputLine):
        graph, violations = line.graph, line.violations
        # The rules were checked when the line was read, but perhaps for another version.
        if graph is not None and not isinstance(graph.order, api.models["orders"]):
            violations = tuple(graph.violations(api))
        return line.file, line.number, line.key, graph, violations
    if isinstance(line, OrderGraph):
        violations = tuple(line.violations(api))
        if violations:
            return None, position, _key(line), None, violations
        return None, position, None, line, ()
    raise TypeError(f"an input gives OrderGraph or InputLine, not {type(line).__name__}")


def _key(graph: OrderGraph) -> str | None:
    """Return the key of an order that may break any rule, None if it has none."""
    try:
        return graph.key
    except (AttributeError, TypeError, ValueError, OverflowError):  # its violations say what is wrong
        return None


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:  # a thread without a loop
        return None


def _unrecordable(graph: OrderGraph) -> tuple[Violation, ...]:
    """Return what a journal cannot record of *graph*."""
    reference = graph.order.reference_id
    if len(reference) <= MAX_REFERENCE_BYTES // 4 or len(reference.encode(errors="replace")) <= MAX_REFERENCE_BYTES:
        return ()
    return (Violation("$.referenceId", f"must have at most {MAX_REFERENCE_BYTES:,} bytes, to be kept in a journal"),)
