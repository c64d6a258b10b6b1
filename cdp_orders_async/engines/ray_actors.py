"""The actors of a load in a Ray cluster: one owner of the rate and the journal, and workers that load partitions."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import attrs
import orjson

from cdp_orders_async.engines.leases import LEASE, JournalOwner, RemoteJournal, Step
from cdp_orders_async.engines.partition import (
    PartitionLoader,
    PartitionOptions,
    SourceLine,
    not_tried,
)
from cdp_orders_async.engines.ray_api import RayError, pa, ray
from cdp_orders_async.engines.rows import row_text
from cdp_orders_async.engines.slots import Slots
from cdp_orders_async.errors import CdpError, InputError, JournalError, NotSent
from cdp_orders_async.graph import InputLine
from cdp_orders_async.ingest import Outcome, PartOutcome, PartVerdict, Verdict
from cdp_orders_async.journal import SqliteJournal
from cdp_orders_async.pacing.shared import Lease, SharedLimiter, SlotStore
from cdp_orders_async.redact import Opaque, strip_frames
from cdp_orders_async.session import RateLimiter

__all__ = [
    "ATTEMPTS",
    "Job",
    "Result",
    "Worker",
    "end_owner",
    "ray_sentence",
    "started_owner",
    "unread",
]

ATTEMPTS: Final = 3
"""How many workers may die with a partition under way; then its orders are told as unknown."""
NAMESPACE: Final = "cdp-orders"
"""Where the names of the owners are."""
LOOK: Final = 0.05
"""Seconds between two looks whether an owner that was ended has given up its name, of which there are..."""
LOOKS: Final = 200
"""...so many at most."""
STARTS: Final = 10
"""How many workers may start, for each worker that is wanted, without one partition that ends."""
DIED: Final = f"the process that loaded its partition died {ATTEMPTS} times"
OWNER_IS_GONE: Final = "the Ray actor that owns the journal and the rate has died: the same load again resumes"

_log = logging.getLogger(__name__)


@attrs.frozen(kw_only=True)
class Job:
    """What all workers of a load share: values that can be sent to them, and no credentials of the API."""

    url: str
    rate: float | None
    journal: str | None = attrs.field(repr=False)
    """The address of the database, maybe with its password; None: the owner has the journal."""
    identity: Mapping[str, str]
    options: PartitionOptions
    workers: int
    lease: float = LEASE


@attrs.frozen(kw_only=True)
class Result:
    """What became of a partition."""

    outcomes: list[Outcome]
    error: CdpError | None = None
    """What ended the load."""
    requests: int = 0
    retries: int = 0
    refused: int = 0


def started_owner(job: Job, path: Path | None) -> tuple[str, Any]:
    """Start the owner of a load on the node of the driver, and return its name and its handle.

    *path* is the file of the journal; None for a database. Raises `JournalError` for a journal that cannot be used.
    """
    strategies: Any = import_module("ray.util.scheduling_strategies")
    here = strategies.NodeAffinitySchedulingStrategy(node_id=ray.get_runtime_context().get_node_id(), soft=False)
    name = f"load {os.urandom(8).hex()}" if path is None else f"journal {path}"
    # It is not started again: the claims in its memory would be gone. The load ends, and the same call resumes.
    actor: Any = ray.remote(num_cpus=0, max_restarts=0)(Owner)
    try:
        owner = actor.options(name=name, namespace=NAMESPACE, scheduling_strategy=here).remote(job)
    except ValueError:
        raise JournalError(f"another load in this cluster uses the journal {path}: wait for its end") from None
    if path is not None and (problem := ray.get(owner.open.remote(str(path)))):
        ray.kill(owner)
        raise JournalError(problem)
    return name, owner


def end_owner(name: str, owner: Any, *, kill: bool = True) -> None:  # noqa: ANN401 a handle of Ray
    """Close the journal of the owner with this *name*, and end it.

    When this returns, the next load can use the journal. Raises `JournalError` if something could not be written.
    Without *kill*, the end of the cluster ends the owner: a signal to the whole group of processes has ended the head
    of the cluster, perhaps, and then Ray waits a minute for it in vain and ends this process.
    """
    try:
        problem: str | None = ray.get(owner.close.remote())
    except RayError:
        return  # it has died, which the load has told
    if kill:
        ray.kill(owner)
        with contextlib.suppress(ValueError):  # nobody has the name any longer
            for _ in range(LOOKS):
                ray.get_actor(name, namespace=NAMESPACE)
                time.sleep(LOOK)  # Ray tells nobody when a name is free
    if problem is not None:
        raise JournalError(problem)


def ray_sentence(error: BaseException, *, ended: bool = True) -> str:
    """Say in one sentence why Ray *ended* a load, or could not begin it."""
    causes: list[BaseException] = [error]
    while (cause := getattr(causes[-1], "cause", None) or causes[-1].__cause__) is not None and cause not in causes:
        causes.append(cause)
    for found in reversed(causes):
        if isinstance(found, CdpError):
            return str(found)
    last = str(causes[-1]).strip().splitlines()
    why = last[-1].strip() if last else ""
    what = f"{type(causes[-1]).__name__}: {why}"
    return f"Ray has ended the load ({what}); the same load again resumes" if ended else what


class Owner:
    """The one actor of a load that owns the file of the journal and the slots of the rate, and counts its workers."""

    def __init__(self, job: Job) -> None:
        self._job = Opaque(job)
        self._slots = None if job.rate is None else Slots(job.rate)
        self._journal: SqliteJournal | None = None
        self._shared: JournalOwner | None = None
        self._under_way: dict[str, Counter[str]] = {}
        """The partitions that each worker has begun and not ended."""
        self._deaths: Counter[str] = Counter()
        """How many processes have died with a partition under way."""
        self._starts = 0
        self._error: CdpError | None = None

    async def open(self, path: str) -> str | None:
        """Open the file of the journal; return the sentence that says why it cannot be used."""
        try:
            self._journal = await SqliteJournal.open(Path(path), identity=self._job.open().identity)
        except JournalError as error:
            return str(error)
        self._shared = JournalOwner(self._journal, self._job.open().lease)
        return None

    async def journal(self, user: str, steps: Sequence[Step]) -> list[object]:
        """Do the *steps* of a *user* of the journal."""
        if self._shared is None:
            return [JournalError("the journal of the load is closed")] * len(steps)
        return [_stripped(result) for result in await self._shared.do(user, steps)]

    async def lease(self, count: int) -> Lease:
        """Return a lease of *count* slots."""
        return self._rate().lease(count)

    async def pause(self, seconds: float) -> None:
        """Let no slot begin in the next *seconds*."""
        self._rate().pause(seconds)

    async def set_rate(self, rate: float) -> None:
        """Change the rate."""
        self._rate().set_rate(rate)

    def _rate(self) -> Slots:
        if self._slots is None:
            raise ValueError("the load has no rate")
        return self._slots

    async def worker_starts(self, worker: str) -> Job:
        """Count the start of a *worker*, and return its job; raise RuntimeError where many start and no partition ends.

        A worker that started before has died.
        """
        self._deaths.update(set(self._under_way.pop(worker, ())))
        self._starts += 1
        if self._starts > STARTS * self._job.open().workers:
            raise RuntimeError(f"{self._starts} worker processes of the load started, and none loaded a partition")
        return self._job.open()

    async def begin(self, worker: str, partition: str) -> int | None:
        """Note that a *worker* begins a *partition*; return how many have died with it, or None if the load stops."""
        if self._error is not None:
            return None
        self._under_way.setdefault(worker, Counter())[partition] += 1
        return self._deaths[partition]

    async def ended(self, worker: str, partition: str, error: CdpError | None) -> None:
        """Note the end of a *partition*, and the first *error*, which ends the load."""
        self._starts = 0
        self._deaths.pop(partition, None)
        held = self._under_way.get(worker, Counter[str]())
        held[partition] -= 1
        self._under_way[worker] = +held
        self._error = self._error or error

    async def error(self) -> CdpError | None:
        """Return what ended the load."""
        return self._error

    async def close(self) -> str | None:
        """Close the journal; return the sentence that says what could not be written."""
        journal, self._journal, self._shared = self._journal, None, None
        try:
            if journal is not None:
                await journal.aclose()
        except JournalError as error:
            return str(error)
        return None


class _OwnerSlots(SlotStore):
    """The slots of the owner, as a worker asks for them."""

    name = "the rate of the load"

    def __init__(self, owner: Any) -> None:  # noqa: ANN401 a handle of Ray
        self._owner = owner

    async def lease(self, count: int) -> Lease:
        lease: Lease = await self._ask("lease", count)
        return lease

    async def pause(self, seconds: float) -> None:
        await self._ask("pause", seconds)

    async def set_rate(self, rate: float) -> None:
        await self._ask("set_rate", rate)

    async def aclose(self) -> None:
        """Leave the owner, which others need."""

    async def _ask(self, name: str, value: float) -> Any:  # noqa: ANN401 the answer of any of these
        try:
            return await getattr(self._owner, name).remote(value)
        except RayError:
            failure = NotSent(OWNER_IS_GONE)
            failure.lasting = True
            raise failure from None


class Worker:
    """Loads partitions with one client: batches of a Dataset, or lines that the driver has read.

    *owner* is the name of the owner, from which it gets all else. A name is small: Ray loses larger arguments, so it
    warns of them where a worker may start again.
    """

    def __init__(self, owner: str) -> None:
        self._owner: Any = ray.get_actor(owner, namespace=NAMESPACE)
        self._name = str(ray.get_runtime_context().get_actor_id())
        """The same after this process died and another took its place."""
        self._job: Opaque[Job] = Opaque(ray.get(self._owner.worker_starts.remote(self._name)))
        self._loader: PartitionLoader | None = None
        self._opening = asyncio.Lock()
        self._stopped = False
        self._told = 0, 0, 0
        """The requests that results have told: several partitions may be under way."""

    async def __call__(self, batch: Any) -> Any:  # noqa: ANN401 tables of Arrow
        """Load a *batch* of a Dataset; return one row for each of its orders."""
        rows: list[dict[str, Any]] = batch.to_pylist()
        problem: str | None = next((row["problem"] for row in rows if row.get("problem")), None)
        lines = [_source_line(row, position) for position, row in enumerate(rows, 1)]
        named = hashlib.blake2b(digest_size=16)
        for line in lines:
            named.update(repr(attrs.astuple(line)).encode())
        result = await self.load(named.hexdigest(), lines, problem)
        return _table(result.outcomes)

    async def load(self, partition: str, lines: Sequence[SourceLine | InputLine], problem: str | None = None) -> Result:
        """Load the *lines* of a *partition*, whose name is the same when it is tried again; it raises nothing.

        A *problem* of the input ends the load after them.
        """
        result = await self._load(partition, lines)
        if problem is not None and result.error is None:
            result = attrs.evolve(result, error=InputError(problem))
        try:
            await self._owner.ended.remote(self._name, partition, result.error)
        except RayError:
            return attrs.evolve(result, error=JournalError(OWNER_IS_GONE))
        return result

    async def _load(  # noqa: PLR0911 one for each way to end
        self, partition: str, lines: Sequence[SourceLine | InputLine]
    ) -> Result:
        try:
            deaths: int | None = await self._owner.begin.remote(self._name, partition)
            try:
                loader = await self._open()
            except CdpError as failure:
                return Result(outcomes=unread(lines, begun=False), error=_plain(failure))
            if deaths is None or self._stopped:
                return Result(outcomes=[not_tried(line) for line in loader.parsed(lines)])
            if deaths >= ATTEMPTS:
                return Result(outcomes=[_given_up(line) for line in loader.parsed(lines)])
            outcomes, error = await loader.load(lines)
            stats = loader.client.session.stats
            now = stats.requests, stats.retries, stats.refused
            requests, retries, refused = (count - told for count, told in zip(now, self._told, strict=True))
            self._told = now
        except CdpError as failure:
            return Result(outcomes=unread(lines), error=_plain(failure))
        except RayError:
            return Result(outcomes=unread(lines), error=JournalError(OWNER_IS_GONE))
        except Exception as failure:  # noqa: BLE001 the driver is told, and the log has the rest
            _log.exception("the partition %s ended by an error that is not expected", partition)
            text = f"a worker of the load failed ({type(failure).__name__}), as the log of its process tells"
            return Result(outcomes=unread(lines), error=JournalError(text))
        plain = None if error is None else _plain(error)
        return Result(outcomes=outcomes, error=plain, requests=requests, retries=retries, refused=refused)

    async def stop(self, drain: float) -> None:
        """Take no new order; after *drain* seconds give up the calls in flight."""
        self._stopped = True
        if self._loader is not None:
            self._loader.stop(drain)

    async def set_rate(self, rate: float) -> None:
        """Change the rate of all workers."""
        (await self._open()).client.session.set_rate(rate)

    async def _open(self) -> PartitionLoader:
        async with self._opening:
            if self._loader is None:
                job = self._job.open()
                limiter = job.rate
                shared: RateLimiter | float | None = limiter
                journal: RemoteJournal | str | None = job.journal
                if journal is None:
                    if limiter is not None:
                        shared = SharedLimiter(_OwnerSlots(self._owner), limiter)
                    user = f"{self._name} {os.getpid()}"
                    journal = RemoteJournal(self._send, user, identity=job.identity, lease=job.lease)
                loader = PartitionLoader(job.url, shared, journal, job.options)
                self._loader = await loader.__aenter__()
            return self._loader

    async def _send(self, user: str, steps: Sequence[Step]) -> Sequence[object]:
        try:
            results: Sequence[object] = await self._owner.journal.remote(user, steps)
        except RayError:
            raise JournalError(OWNER_IS_GONE) from None
        return results


def _stripped(result: object) -> object:
    """Return a *result*; an error without its frames, which cannot be sent."""
    return strip_frames(result) if isinstance(result, BaseException) else result


def _plain(error: CdpError) -> CdpError:
    """Return *error* without what only this process understands."""
    error = strip_frames(error)
    error.__cause__ = None
    error.outcome = None
    return error


def _given_up(line: InputLine) -> Outcome:
    outcome = not_tried(line)
    if outcome.verdict is Verdict.INVALID:
        return outcome
    part = PartOutcome("order", PartVerdict.UNKNOWN, reason=DIED)
    return Outcome(file=outcome.file, number=outcome.number, key=outcome.key, verdict=Verdict.UNKNOWN, parts=(part,))


def unread(lines: Iterable[SourceLine | InputLine], *, begun: bool = True) -> list[Outcome]:
    """Return the outcomes of *lines* of which nothing else is known: if their load has *begun*, some may be sent."""
    part = PartOutcome("order", PartVerdict.UNKNOWN, reason="the load of its partition failed")
    return [
        Outcome(
            file=line.file,
            number=line.number,
            key=line.key if isinstance(line, InputLine) else None,
            verdict=Verdict.UNKNOWN if begun else Verdict.NOT_TRIED,
            parts=(part,) if begun else (),
        )
        for line in lines
    ]


def _source_line(row: Mapping[str, Any], position: int) -> SourceLine:
    """Return the line in a *row*, with its place as far as the row says it."""
    if "text" not in row:
        return SourceLine("dataset", position, row_text(row))
    text, file, number = row["text"], row.get("file", row.get("path")), row.get("number")
    return SourceLine(str(file or "dataset"), position if number is None else int(number), text or b"")


def _table(outcomes: Sequence[Outcome]) -> Any:  # noqa: ANN401 a table of Arrow
    columns = {
        "file": pa.array([outcome.file for outcome in outcomes], pa.string()),
        "number": pa.array([outcome.number for outcome in outcomes], pa.int64()),
        "key": pa.array([outcome.key for outcome in outcomes], pa.string()),
        "verdict": pa.array([str(outcome.verdict) for outcome in outcomes], pa.string()),
        "outcome": pa.array([orjson.dumps(outcome.to_json()).decode() for outcome in outcomes], pa.string()),
    }
    return pa.table(columns)
