"""Many orders, a bounded number of them open at once, their outcomes streamed as they come."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from uuid import UUID

from cdp_orders_async.breaker import Breaker
from cdp_orders_async.client import Resources, ResourcesV2
from cdp_orders_async.errors import (
    CdpError,
    Forbidden,
    Invalid,
    NotSent,
    PoolTimeout,
    Refused,
    Unauthorized,
    Unreadable,
    Violation,
)
from cdp_orders_async.graph import Line, OrderGraph
from cdp_orders_async.ingest.control import OnExisting
from cdp_orders_async.ingest.intake import Intake, Source
from cdp_orders_async.ingest.order import OrderRun
from cdp_orders_async.ingest.outcomes import Outcome, Verdict
from cdp_orders_async.journal import Journal
from cdp_orders_async.retry import down
from cdp_orders_async.session import Patient, Session, Times
from cdp_orders_async.wire import Transport

__all__ = ["SETTLE", "Load", "ingest", "ingest_one"]

SETTLE = 10.0
"""Seconds after which a list is trusted to show a write. The vendor says that orders are available "within
seconds"; waiting too short would double an order, waiting long only delays the few whose answer was lost."""
WIDE, NARROW = 512, 4  # parts under way: of all orders together, unless each may have but so few of its own
SHARE = 4  # or one in so many of its own, so that a huge order is not the last for long
FEW = 8  # orders that may be about to begin, however few connections there are
CLAIMS = 10_000  # orders that a load without a journal remembers, to tell those with one reference id apart


class Load:
    """A load under way: ``async for outcome in load`` yields what came of each order, in no fixed order.

    When the load cannot go on (wrong credentials, a full disk under the journal, an input that breaks off, a
    server that was never reached), the iteration raises the `error` after the last outcome.
    """

    def __init__(
        self,
        client: Resources | ResourcesV2,
        source: Source,
        *,
        journal: Journal | None,
        look_first: bool,
        on_existing: OnExisting,
        open_orders: int,
        settle: float,
        drain: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        of_version = ResourcesV2 if isinstance(client, ResourcesV2) else Resources
        self.cdp: Resources | ResourcesV2 = of_version(client.transport, client.base_url)
        self.journal = journal
        self.breaker = Breaker(clock=clock)
        self.look_first = look_first
        self.on_existing: OnExisting = on_existing
        self.settle = settle
        self.answers = 0
        self.halted = False
        self.aborting = False
        self.runs: set[OrderRun] = set()
        """The orders under way."""
        self.clock = clock
        self.counts: collections.Counter[Verdict] = collections.Counter()
        """How many orders came to each verdict so far."""
        self.times = Times()
        """Where the time of the orders went that came to their end so far."""
        self.error: Exception | None = None
        """What ended the load before the input did."""
        self._intake = Intake(source)
        self._order = client.api.models["orders"]
        self._open_orders = open_orders
        transport = client.transport
        connections = transport.settings.connections if isinstance(transport, Session) else 0
        self._starting = asyncio.Semaphore(max(FEW, connections // 4) if connections else open_orders)
        self._drain = drain
        self._answered = False
        self._halted = asyncio.Event()
        self._outcomes: asyncio.Queue[Outcome | None] = asyncio.Queue(maxsize=open_orders)
        self._same: dict[str, tuple[asyncio.Lock, int]] = {}
        self._doubtful: set[str] = set()
        self._claims: collections.OrderedDict[UUID, str] = collections.OrderedDict()
        self._timer: asyncio.TimerHandle | None = None
        self._task = asyncio.get_running_loop().create_task(self._run())

    def width(self, parts: int) -> int:
        """Return how many of the *parts* of an order may be under way at once: the fewer orders are open, the more."""
        return max(NARROW, WIDE // len(self.runs), parts // SHARE)

    @property
    def stopping(self) -> bool:
        """Whether no further order is taken from the input."""
        return self._intake.stopped

    @property
    def done(self) -> int:
        """How many orders came to an end so far."""
        return self.counts.total()

    def __aiter__(self) -> AsyncIterator[Outcome]:
        return self

    async def __anext__(self) -> Outcome:
        outcome = await self._outcomes.get()
        if outcome is not None:
            return outcome
        self._outcomes.put_nowait(None)  # whoever asks again gets the same end
        if self.error is not None:
            raise self.error
        raise StopAsyncIteration

    def stop(self, drain: float = 0.0) -> None:
        """Take no new order; after *drain* seconds give up what is then still in flight.

        What is given up counts as unknown and is looked up by the next run on the same journal. A second call
        can only make the time shorter.
        """
        self._intake.stop()
        loop = asyncio.get_running_loop()
        if self._timer is not None and self._timer.when() > loop.time() + drain:
            self._timer.cancel()
            self._timer = None
        if drain <= 0:
            self._abort()
        elif self._timer is None:
            self._timer = loop.call_later(drain, self._abort)

    def fail(self, error: Exception) -> None:
        """End the load because of *error*: nothing more is created, what is in flight has the time to finish."""
        self.error = self.error or error
        self._halt()
        self.stop(self._drain)

    async def aclose(self) -> None:
        """End the load: what is in flight has *drain* seconds to finish and be recorded."""
        self._halt()
        self.stop(self._drain)
        discard = asyncio.get_running_loop().create_task(self._discard())
        try:
            await asyncio.wait({self._task})
        except asyncio.CancelledError:  # once more: what is in flight is given up, and recorded as such
            self._abort()
            await asyncio.wait({self._task})
            raise
        finally:
            discard.cancel()
            if self._timer is not None:
                self._timer.cancel()
            self._task.cancel()

    async def pause(self, seconds: float) -> None:
        """Sleep, but wake up when the load is halted."""
        if seconds > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._halted.wait()

    def heard(self, error: CdpError | None) -> None:
        """Note what the server answered, or that it did not."""
        if error is None:
            self._answered = True
            self.answers += 1
            self.breaker.success()
            return
        answered = isinstance(error, (Refused, Unreadable))
        self._answered = self._answered or answered
        if down(error):
            if not self.halted:  # else nobody is to wait for the server any more
                self.breaker.failure()
        elif answered:
            self.breaker.success()
        unreachable = isinstance(error, NotSent) and not isinstance(error, PoolTimeout) and not self._answered
        if unreachable or isinstance(error, (Unauthorized, Forbidden)):
            self.fail(error)

    def transport(self, times: Times) -> Transport:
        """Return what sends the requests of one order, and counts in *times* where their time goes."""
        transport = self.cdp.transport
        return Patient(transport, lambda: self.halted, times) if isinstance(transport, Session) else transport

    async def may_claim(self, ref: UUID, key: str) -> bool:
        """Tell whether the order *ref* belongs to no other order of the input."""
        owner = self._claims.get(ref) if self.journal is None else await self.journal.owner(ref)
        return owner in {None, key}

    def claim(self, ref: UUID, key: str) -> None:
        """Note to which order of the input the order *ref* belongs; a journal knows it anyway."""
        if self.journal is None:
            self._claims[ref] = key
            if len(self._claims) > CLAIMS:
                self._claims.popitem(last=False)

    def _halt(self) -> None:
        self.halted = True
        self._halted.set()
        self.breaker.success()  # whoever waits for the server is to see that nobody need wait any more

    def _abort(self) -> None:
        self.aborting = True
        self._halt()
        for run in self.runs:
            run.abort()

    async def _run(self) -> None:
        try:
            async with contextlib.aclosing(self._intake), asyncio.TaskGroup() as group:
                for _ in range(self._open_orders):
                    group.create_task(self._work())
        except Exception as error:  # noqa: BLE001 the source's own, told to whoever reads the outcomes
            self.fail(error)
        await self._outcomes.put(None)

    async def _work(self) -> None:
        try:
            while True:
                with contextlib.ExitStack() as start:
                    await self._starting.acquire()
                    start.callback(self._starting.release)
                    if (line := await self._intake.draw()) is None:
                        break
                    outcome = await self._load(*line, start.close)
                self.counts[outcome.verdict] += 1
                await self._outcomes.put(outcome)
            self.error = self.error or self._intake.error
        except ExceptionGroup as errors:  # of the parts of one order
            self.fail(errors.exceptions[0])
        except Exception as error:  # noqa: BLE001 told to whoever reads the outcomes, once the others are done
            self.fail(error)

    async def _load(self, position: int, line: OrderGraph | Line, begun: Callable[[], None]) -> Outcome:
        began = self.clock()
        file, number = (line.file, line.number) if isinstance(line, Line) else (None, position)
        graph = line.graph if isinstance(line, Line) else line
        violations = line.violations if isinstance(line, Line) else ()
        # A line has kept the rules of the version that it was read for.
        if graph is not None and not (isinstance(line, Line) and isinstance(graph.order, self._order)):
            violations = tuple(graph.violations(self.cdp.api))
        if graph is None or violations:
            key = None if graph is None else graph.order.reference_id
            return Outcome(file=file, number=number, key=key, verdict=Verdict.INVALID, violations=violations)
        run = await self._alone(graph, begun)
        self.times.add(run.times)
        return Outcome(
            file=file,
            number=number,
            key=run.key,
            verdict=run.verdict,
            parts=tuple([part.outcome for part in run.parts]),
            seconds=self.clock() - began,
            times=run.times,
        )

    async def _alone(self, graph: OrderGraph, begun: Callable[[], None]) -> OrderRun:
        """Load orders with one reference id one after the other: each must see what the others made."""
        name = graph.order.reference_id
        lock, waiting = self._same.get(name) or (asyncio.Lock(), 0)
        self._same[name] = (lock, waiting + 1)
        try:
            async with lock:
                run = OrderRun(graph, self, begun, namesake_in_doubt=name in self._doubtful)
                self.runs.add(run)
                try:
                    await run.run()
                finally:
                    self.runs.discard(run)
                if run.order.in_doubt:
                    self._doubtful.add(name)
                return run
        finally:
            lock, waiting = self._same.pop(name)
            if waiting > 1:
                self._same[name] = (lock, waiting - 1)

    async def _discard(self) -> None:
        """Read on when nobody listens any more, so that nobody waits to be heard; the journal keeps what came."""
        while await self._outcomes.get() is not None:
            pass
        self._outcomes.put_nowait(None)


@contextlib.asynccontextmanager
async def ingest(
    client: Resources | ResourcesV2,
    source: Source,
    *,
    journal: Journal | None = None,
    look_first: bool = False,
    on_existing: OnExisting = "keep",
    open_orders: int = 200,
    settle: float = SETTLE,
    drain: float = 5.0,
) -> AsyncGenerator[Load, None]:
    """Load whole orders, exactly once in effect: ``async with`` gives the `Load`.

    Parameters: *source*, any iterable or async iterable of `OrderGraph`, or a `GraphFile`; made for the version
    of the *client*. *journal*, what was done already and what is under way; without it, only *look_first* makes a
    second run safe. *look_first* asks the server about each order before it is sent. *on_existing* says what to do
    where something is there but differs from the input: ``keep`` it and say so, ``update`` it, or ``fail``.
    *open_orders*, how many orders are under way at once. *settle*, seconds that lists may lag behind writes.
    *drain*, seconds that calls in flight get to finish when the block is left early.

    Every order taken from the source ends in one `Outcome`; orders that fail raise nothing. Leaving the block
    early, in whatever way, leaves nothing in flight that is not recorded in the journal.
    """
    _check(on_existing=on_existing, open_orders=open_orders, settle=settle, drain=drain)
    load = Load(
        client,
        source,
        journal=journal,
        look_first=look_first,
        on_existing=on_existing,
        open_orders=open_orders,
        settle=settle,
        drain=drain,
    )
    try:
        yield load
    finally:
        await load.aclose()


async def ingest_one(
    client: Resources | ResourcesV2,
    graph: OrderGraph,
    *,
    journal: Journal | None = None,
    look_first: bool = False,
    on_existing: OnExisting = "keep",
    settle: float = SETTLE,
) -> Outcome:
    """Load one order, for a worker that gets them one at a time and maybe twice; return what came of it.

    The parameters are those of `ingest`. Without a journal, ``look_first=True`` makes a redelivered order safe:
    then the server itself is the journal, at the price of look-ups and, for an order that is absent, of the
    settling time. Raises what ends a load: `Unauthorized`, `JournalError`, `NotSent` if the server was not reached.
    While a server that was reached is down it waits: bound it with `asyncio.timeout`, which leaves nothing unrecorded.
    """
    async with ingest(
        client,
        [graph],
        journal=journal,
        look_first=look_first,
        on_existing=on_existing,
        open_orders=1,
        settle=settle,
    ) as load:
        outcomes = [outcome async for outcome in load]
    return outcomes[0]


def _check(*, on_existing: str, open_orders: int, settle: float, drain: float) -> None:
    found: list[Violation] = []
    if on_existing not in {"keep", "update", "fail"}:
        found.append(Violation("on_existing", "must be keep, update or fail"))
    if open_orders < 1:
        found.append(Violation("open_orders", "must be above 0"))
    for name, value in (("settle", settle), ("drain", drain)):
        if not 0 <= value < float("inf"):
            found.append(Violation(name, "must not be negative"))
    if found:
        raise Invalid(tuple(found))
