"""``load --engine ray``: the driver reads the input and writes the outcomes; actors in a Ray cluster load orders."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path
from typing import Any, Final

import attrs
from msgspec import structs

from cdp_orders_async.client import CdpOrders, CdpOrdersV2
from cdp_orders_async.engines.batch_delivery import Patience
from cdp_orders_async.engines.batch_handle import Handle
from cdp_orders_async.engines.leases import LEASE
from cdp_orders_async.engines.partition import Condition, PartitionOptions, not_tried, of_all
from cdp_orders_async.engines.ray import make_job
from cdp_orders_async.engines.ray_actors import Result, Worker, ray_sentence, unread
from cdp_orders_async.engines.ray_api import RayError, ray
from cdp_orders_async.engines.ray_cluster import cluster
from cdp_orders_async.engines.ray_owner import Job, end_owner, started_owner
from cdp_orders_async.errors import Invalid, JournalError, Violation
from cdp_orders_async.graph import InputLine
from cdp_orders_async.ingest import SETTLE, OnExisting
from cdp_orders_async.jobs.journal import JournalPlace
from cdp_orders_async.journal import PostgresAddress, PostgresJournal, SqliteJournal

__all__ = ["RayEngine", "RayLoad"]

IN_FLIGHT: Final = 2
"""Partitions that a worker has at once: it begins the next one while the last orders of one end."""
IDLE: Final = 0.5
"""Seconds without a further line after which a partition is sent as it is."""
MOST_WAITING: Final = 2_000
"""Outcomes that wait to be taken, after which nothing more is read."""
GRACE: Final = 10.0
"""Seconds in which a worker that gives up its calls must tell what became of its orders."""
EVERY: Final = 1.0
"""Seconds between two looks at the rate, which may change while the load runs, and at the condition of a worker."""
ADDRESS: Final = re.compile(r"auto|[^/\s]+:\d{1,5}")
SLOW_START: Final = 60.0
"""Seconds without a worker after which the load says that it waits for one."""
NO_ROOM: Final = "no worker has started yet: the cluster may have no room for one"
NO_RATE: Final = "must be a number, or none, with engine=ray: each process would find another rate for auto"


@attrs.frozen(kw_only=True)
class RayEngine:
    """Load by actors in a Ray cluster: ``jobs.load(client, source, journal=path, engine=RayEngine())``.

    One rate counts for all workers, the one of the settings of the client, which must not be ``auto``. A journal in a
    file is owned by one actor on this machine while the load runs; a journal in Postgres is used by all workers. The
    workers find the credentials in their own environment, as CDP_CLIENT_KEY and CDP_API_TOKEN.

    Parameters: *address* of the cluster, such as ``auto`` or ``ray.example.com:6379``; None starts one on this machine,
    with the environment of this process, unless Ray runs in this process already. *workers*, how many processes load.
    *batch*, how many orders are handed to a worker at once. *cpus* of each worker. *lease*, seconds after which the
    claims of a worker that died end. *clock*, in seconds.
    """

    name: str = attrs.field(default="ray", init=False)
    takes: frozenset[str] = attrs.field(default=frozenset({"look_first", "on_existing", "control"}), init=False)
    address: str | None = None
    workers: int = 4
    batch: int = 50
    cpus: float = 0.5
    lease: float = LEASE
    clock: Callable[[], float] = time.monotonic

    @contextlib.asynccontextmanager
    async def __call__(
        self,
        client: CdpOrders | CdpOrdersV2,
        lines: AsyncGenerator[InputLine, None],
        records: SqliteJournal | PostgresJournal,
        journal: JournalPlace,
        drain: float,
        *,
        look_first: bool = False,
        on_existing: OnExisting = "keep",
        settle: float = SETTLE,
    ) -> AsyncGenerator[RayLoad, None]:
        """Load the *lines* at the place of *client*; ``async with`` gives the load.

        Parameters: *records*, the open journal, whose place is *journal*; *drain*, the seconds that the calls in flight
        get when the block is left early; *look_first*, *on_existing* and *settle*, as in `ingest`. Raises `Invalid` for
        an option that cannot be, and `InputError` for a cluster that cannot be used.
        """
        settings = client.session.settings
        if settings.rate == "auto":
            raise Invalid((Violation("rate", NO_RATE),))
        if settings.proxy is not None or settings.ssl_context is not None:
            rule = "cannot be sent to the workers with engine=ray: set CDP_PROXY or CDP_CA_FILE on their machines"
            raise Invalid((Violation("proxy, ssl_context", rule),))
        if self.address is not None and not ADDRESS.fullmatch(self.address):
            raise Invalid((Violation("address", "must be auto, or HOST:PORT of the head of a cluster"),))
        options = PartitionOptions(
            api="v2" if isinstance(client, CdpOrdersV2) else "v2.1",
            settings=settings,
            look_first=look_first,
            on_existing=on_existing,
            settle=settle,
        )
        place = journal.given.open() if isinstance(journal, PostgresAddress) else journal
        job, path = make_job(client, settings.rate, place, self.workers, self.lease, options)
        async with cluster(self.address, int(self.workers * self.cpus) + 1) as ends:
            load = RayLoad(client, lines, records, job, path, self, drain, cluster_ends=ends)
            load.start()
            try:
                yield load
            finally:
                await load.aclose()


class RayLoad(Handle):
    """A load of *lines* by the workers of a Ray cluster; *records* is the journal until the owner opens its file.

    *cluster_ends*: the cluster ends after the load, and all its actors with it.
    """

    def __init__(
        self,
        client: CdpOrders | CdpOrdersV2,
        lines: AsyncGenerator[InputLine, None],
        records: SqliteJournal | PostgresJournal,
        job: Job,
        path: Path | None,
        engine: RayEngine,
        drain: float,
        *,
        cluster_ends: bool = False,
    ) -> None:
        super().__init__(client.session, Patience(1.0, 1.0, 0.0, engine.clock), drain, engine.clock)
        self._lines = lines
        self._records = records
        self._job = job
        self._path = path
        self._engine = engine
        self._cluster_ends = cluster_ends
        self._name = ""
        self._owner: Any = None
        self._workers: list[Any] = []
        self._starting: set[asyncio.Task[None]] = set()
        self._following: set[asyncio.Task[None]] = set()
        self._slow: asyncio.TimerHandle | None = None
        self._ready: list[int] = []
        """The numbers of the workers that have started: the cluster may have no room for all."""
        self._loads: Counter[int] = Counter()
        """The partitions that each worker has."""
        self._conditions: dict[int, Condition] = {}
        """How each worker that has started gets on with the server, as it said last."""
        self._partitions: dict[asyncio.Task[None], Any] = {}
        self._sent = 0
        self._left: list[InputLine] = []
        """Lines that were taken and not sent."""

    @property
    def paused(self) -> str | None:
        """Why the load waits: for room in the cluster, or, in all workers, for a server that is not well."""
        return self._patience.why or of_all([condition.paused for condition in self._busy()])

    @property
    def trouble(self) -> str | None:
        """The last failure because the server is not well or busy; None if it did anything since."""
        return self._patience.why or of_all([condition.trouble for condition in self._busy()])

    @property
    def succeeded(self) -> int:
        """The number of successful calls, as the workers said last."""
        return sum(condition.succeeded for condition in self._conditions.values())

    def _busy(self) -> list[Condition]:
        """Return the conditions of the workers that have partitions."""
        return [self._conditions.get(number, Condition()) for number, count in self._loads.items() if count]

    @property
    def _waits_in_vain(self) -> bool:
        return self._patience.why is not None  # whether calls do, each worker sees for itself

    async def _all(self) -> None:
        self._left = await self._chunk()
        if not self._left:
            return
        await self._start_actors()
        follows = asyncio.ensure_future(self._follow_rate())
        try:
            while self._left and not self.stopping:
                if await self._has_room():
                    self._send(self._left)
                    self._left = []
                    self._left = await self._chunk()
            while self._partitions:
                await asyncio.wait(self._partitions, return_when=asyncio.FIRST_COMPLETED)
        finally:
            follows.cancel()
            self._give_up_starting()
            for task in self._following:
                task.cancel()

    async def _start_actors(self) -> None:
        """Hand the file of the journal over to the owner, and start the workers."""
        if self._path is not None:
            await self._records.aclose()
        try:
            self._name, self._owner = await asyncio.to_thread(started_owner, self._job, self._path)
        except RayError as error:
            raise JournalError(ray_sentence(error)) from None
        actor: Any = ray.remote(num_cpus=self._engine.cpus, max_restarts=-1, max_task_retries=-1)(Worker)
        # How often it starts, and how often a partition begins, the owner limits.
        actor = actor.options(scheduling_strategy="SPREAD")
        self._workers = [actor.remote(self._name) for _ in range(self._job.workers)]
        self._slow = self._loop.call_later(SLOW_START, self._tell_no_room)
        for number in range(len(self._workers)):
            task = self._loop.create_task(self._await_start(number))
            self._starting.add(task)
            task.add_done_callback(self._starting.discard)

    def _tell_no_room(self) -> None:
        if not self._ready:
            self._patience.why = NO_ROOM

    async def _await_start(self, number: int) -> None:
        """Wait until a worker has started, and can get partitions."""
        try:
            await self._workers[number].__ray_ready__.remote()
        except RayError as error:
            if not self.stopping:
                self.fail(JournalError(ray_sentence(error)))
        else:
            self._ready.append(number)
            self._patience.why = None
            task = self._loop.create_task(self._follow_condition(number))
            self._following.add(task)
            task.add_done_callback(self._following.discard)

    async def _follow_condition(self, number: int) -> None:
        """Ask a worker again and again how it gets on with the server."""
        while True:
            with contextlib.suppress(RayError):  # its partitions tell that too
                self._conditions[number] = await self._workers[number].condition.remote()
            await asyncio.sleep(EVERY)

    async def _chunk(self) -> list[InputLine]:
        """Return the next lines that can be sent; none at the end of the input, or when the load stops."""
        lines: list[InputLine] = []
        while len(lines) < self._engine.batch and not self.stopping:
            if self._reading is None:
                self._reading = asyncio.ensure_future(anext(self._lines, None))
            await asyncio.wait({self._reading}, timeout=IDLE if lines else None)
            if not self._reading.done():
                break
            read, self._reading = self._reading, None
            if read.cancelled():
                break
            line: InputLine | None = read.result()
            if line is None:
                break
            self._taken += 1
            if line.violations:
                self._tell(not_tried(line))
            else:
                lines.append(structs.replace(line, raw=None))
        return lines

    async def _has_room(self) -> bool:
        """Tell whether a partition can be sent; otherwise wait for something that may change it."""
        if not self._released.is_set():
            await self._released.wait()
        elif len(self._waiting) > MOST_WAITING and not self._closed:
            self._gone.clear()
            await self._gone.wait()
        elif len(self._partitions) >= IN_FLIGHT * len(self._ready):
            await asyncio.wait({*self._partitions, *self._starting}, return_when=asyncio.FIRST_COMPLETED)
        else:
            return True
        return False

    def _send(self, lines: Sequence[InputLine]) -> None:
        """Send a partition to the worker that has the fewest."""
        number = min(self._ready, key=lambda number: self._loads[number])
        self._loads[number] += 1
        self._sent += 1
        answer = self._workers[number].load.remote(str(self._sent), lines)
        task = self._loop.create_task(self._hear(answer, lines, number))
        self._partitions[task] = None
        task.add_done_callback(self._partitions.pop)

    async def _hear(self, answer: Any, lines: Sequence[InputLine], number: int) -> None:  # noqa: ANN401 a reference of Ray
        """Tell the outcomes of a partition when they come."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 it is a task
        self._abortable.add(task)
        try:
            result: Result = await answer
        except RayError as error:
            # A signal that stops the load may have ended the processes of its cluster too.
            result = Result(outcomes=unread(lines), error=None if self.stopping else JournalError(ray_sentence(error)))
        except asyncio.CancelledError:
            result = Result(outcomes=unread(lines))
        self._abortable.discard(task)
        self._loads[number] -= 1
        stats = self._session.stats
        stats.requests += result.requests
        stats.retries += result.retries
        stats.refused += result.refused
        for outcome in result.outcomes:
            self.times.add(outcome.times)
            self._tell(outcome)
        if result.error is not None:
            self.fail(result.error)

    def stop(self, drain: float = 0.0) -> None:
        """Take no new order; after *drain* seconds give up the calls in flight."""
        self._give_up_starting()
        for worker in self._workers:
            worker.stop.remote(drain)
        super().stop(drain)

    def _give_up_starting(self) -> None:
        for task in self._starting:
            task.cancel()
        if self._slow is not None:
            self._slow.cancel()
        self._patience.why = None

    def _abort(self) -> None:
        """Let the workers give up their calls; they have some seconds to tell what became of their orders."""
        if not self._aborting:
            self._aborting = self._stopped = True
            for worker in self._workers:
                worker.stop.remote(0.0)
            self._loop.call_later(GRACE, super()._abort)

    async def _follow_rate(self) -> None:
        """Pass on each change of the rate to all workers."""
        rate = self._job.rate
        while True:
            await asyncio.sleep(EVERY)
            now = self._session.settings.rate
            if isinstance(now, (int, float)) and now != rate and rate is not None and self._ready:
                rate = float(now)
                self._workers[self._ready[0]].set_rate.remote(rate)  # it is the rate of all

    async def _leave(self) -> None:
        if self._partitions:
            await asyncio.wait(self._partitions)
        for line in self._left:
            self._tell(not_tried(line))
        self._left = []
        await self._lines.aclose()
        if not self._cluster_ends:
            for worker in self._workers:
                ray.kill(worker)
        if self._owner is not None:
            await asyncio.to_thread(end_owner, self._name, self._owner, kill=not self._cluster_ends)
