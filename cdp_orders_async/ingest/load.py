"""Many orders, a bounded number of them open at once, their outcomes streamed as they come."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from uuid import UUID

from cdp_orders_async.breaker import Breaker
from cdp_orders_async.client import Resources, ResourcesV2
from cdp_orders_async.errors import (
    CdpError,
    Forbidden,
    NotSent,
    PoolTimeout,
    Refused,
    Unauthorized,
    Unreadable,
)
from cdp_orders_async.graph import Line
from cdp_orders_async.ingest.control import OnExisting
from cdp_orders_async.ingest.intake import Intake, Source
from cdp_orders_async.ingest.order import OrderRun
from cdp_orders_async.ingest.outcomes import Outcome, Verdict
from cdp_orders_async.ingest.plan import Part
from cdp_orders_async.journal import Journal
from cdp_orders_async.retry import down
from cdp_orders_async.session import Patient, Session, Times
from cdp_orders_async.wire import Transport

__all__ = ["Load"]

FEW = 8  # orders that may be about to begin, however few connections there are; else one for two connections
CROWD = 100  # parts that may be under way where nobody says how many connections there are
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
        self.starting = 0
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
        connections = transport.settings.connections if isinstance(transport, Session) else None
        self._most = connections or CROWD
        self._most_starting = max(FEW, self._most // 2)
        self._drain = drain
        self._answered = False
        self._halted = asyncio.Event()
        self._outcomes: asyncio.Queue[Outcome | None] = asyncio.Queue(maxsize=open_orders)
        self._ready: collections.deque[tuple[OrderRun, Part | None]] = collections.deque()
        """The parts that wait for nothing but a worker; None: the order is to begin."""
        self._workers = 0  # that could send now, which those that wait for something else cannot
        self._open = 0  # orders drawn whose outcome is not yet taken in
        self._drawing = False
        self._namesakes: dict[str, collections.deque[OrderRun]] = {}
        """Under the reference id of each order that is open: those with the same one, which wait for its end."""
        self._doubtful: set[str] = set()
        self._claims: collections.OrderedDict[UUID, str] = collections.OrderedDict()
        self._timer: asyncio.TimerHandle | None = None
        self._task = asyncio.get_running_loop().create_task(self._run())

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

    def step_aside(self) -> None:
        """Let another worker send, because the one that calls this waits for something else."""
        self._workers -= 1
        self._call_worker()

    def step_in(self) -> None:
        """Be one of those again that send."""
        self._workers += 1

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
        if not isinstance(transport, Session):
            return transport
        return Patient(transport, lambda: self.halted, times, self._sleep)

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
            async with contextlib.aclosing(self._intake), asyncio.TaskGroup() as self._group:
                self._call_worker()
        except Exception as error:  # noqa: BLE001 the source's own, told to whoever reads the outcomes
            self.fail(error)
        self.error = self.error or self._intake.error
        await self._outcomes.put(None)

    def _may_draw(self) -> bool:
        """Tell whether an order may be taken from the input: only those that soon can be sent, the rest stay there."""
        room = self._open < self._open_orders and self.starting < self._most_starting
        return room and not self._drawing and not self.stopping

    def _call_worker(self, coming: int = 0) -> None:
        """See that there is a worker for whatever can be done now, beside the *coming* ones.

        Each calls the next, so that they do not send all at once: their answers would come all at once for ever.
        """
        if self._workers < self._most and len(self._ready) + self._may_draw() > coming:
            self._workers += 1
            self._group.create_task(self._work())

    async def _work(self) -> None:
        """Bring one part after the other to its end; draw an order where none is ready.

        There are as many workers as connections, so that who has an answer sends the next request at once.
        """
        self._call_worker(coming=1)
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 for the types: this is a coroutine
        try:
            while self._workers <= self._most and (self._ready or self._may_draw()):
                run: OrderRun | None = None
                try:
                    if not self._ready:
                        await self._draw()
                        continue
                    run, part = self._ready.popleft()
                    freed = await (self._begin(run) if part is None else run.settle(part, task))
                except Exception as error:  # noqa: BLE001 told to whoever reads the outcomes, once the others are done
                    self.fail(error)
                    if run is not None:
                        self._leave(run)
                    continue
                if freed:
                    if part is run.order:
                        self._ready.extend([(run, one) for one in freed])
                    else:  # what was begun is finished first
                        self._ready.extendleft([(run, one) for one in reversed(freed)])
                    self._call_worker(coming=1)
                if not run.left:
                    self._leave(run)
                    self.times.add(run.times)
                    await self._end(run.outcome())
        finally:
            self._workers -= 1

    async def _draw(self) -> None:
        """Take an order from the input."""
        self._drawing = True
        self._workers -= 1  # the source may have nothing to give for long
        try:
            drawn = await self._intake.draw()
        finally:
            self._workers += 1
            self._drawing = False
        if drawn is None:
            return
        self._open += 1
        position, line = drawn
        file, number = (line.file, line.number) if isinstance(line, Line) else (None, position)
        graph = line.graph if isinstance(line, Line) else line
        violations = line.violations if isinstance(line, Line) else ()
        # A line has kept the rules of the version that it was read for.
        if graph is not None and not (isinstance(line, Line) and isinstance(graph.order, self._order)):
            violations = tuple(graph.violations(self.cdp.api))
        if graph is None or violations:
            key = None if graph is None else graph.order.reference_id
            await self._end(Outcome(file=file, number=number, key=key, verdict=Verdict.INVALID, violations=violations))
            return
        run = OrderRun(graph, self, file, number)
        # Orders with one reference id come one after the other: each must see what the others made.
        if (waiting := self._namesakes.get(run.name)) is not None:
            waiting.append(run)
        else:
            self._namesakes[run.name] = collections.deque()
            self._ready.append((run, None))

    def _begin(self, run: OrderRun) -> Awaitable[Sequence[Part]]:
        self.runs.add(run)
        return run.begin(namesake_in_doubt=run.name in self._doubtful)

    def _leave(self, run: OrderRun) -> None:
        """Let the next one begin that has the reference id of an order that came to its end."""
        if run not in self.runs:  # another part of it failed too
            return
        self.runs.discard(run)
        if run.order.in_doubt:
            self._doubtful.add(run.name)
        if waiting := self._namesakes[run.name]:
            self._ready.append((waiting.popleft(), None))
        else:
            del self._namesakes[run.name]

    async def _end(self, outcome: Outcome) -> None:
        self.counts[outcome.verdict] += 1
        await self._outcomes.put(outcome)
        self._open -= 1

    async def _sleep(self, seconds: float) -> None:
        self.step_aside()
        try:
            await asyncio.sleep(seconds)
        finally:
            self.step_in()

    async def _discard(self) -> None:
        """Read on when nobody listens any more, so that nobody waits to be heard; the journal keeps what came."""
        while await self._outcomes.get() is not None:
            pass
        self._outcomes.put_nowait(None)
