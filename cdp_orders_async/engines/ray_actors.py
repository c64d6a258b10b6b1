"""The actors that load the partitions of a load in a Ray cluster."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import attrs
import orjson

from cdp_orders_async.engines.leases import RemoteJournal, Step
from cdp_orders_async.engines.partition import (
    Condition,
    PartitionLoader,
    SourceLine,
    make_client,
    not_tried,
)
from cdp_orders_async.engines.ray_api import RayError, pa, ray
from cdp_orders_async.engines.ray_owner import NAMESPACE, Job
from cdp_orders_async.engines.rows import row_text
from cdp_orders_async.errors import CdpError, InputError, JournalError, NotSent
from cdp_orders_async.graph import InputLine
from cdp_orders_async.ingest import Outcome, PartOutcome, PartVerdict, Verdict
from cdp_orders_async.pacing.shared import Lease, SharedLimiter, SlotStore
from cdp_orders_async.redact import Opaque, strip_frames
from cdp_orders_async.session import RateLimiter

__all__ = [
    "ATTEMPTS",
    "Result",
    "Worker",
    "ray_sentence",
    "unread",
]

ATTEMPTS: Final = 3
"""How many workers may die with a partition under way; then its orders are told as unknown."""
DIED: Final = f"the process that loaded its partition died {ATTEMPTS} times"
OTHER_TENANT: Final = (
    "a worker has the credentials of another tenant: set CDP_CLIENT_KEY and CDP_API_TOKEN on its machine; it sent"
    " nothing"
)
OWNER_IS_GONE: Final = "the Ray actor that owns the journal and the rate has died: the same load again resumes"

_log = logging.getLogger(__name__)


@attrs.frozen(kw_only=True)
class Result:
    """What became of a partition."""

    outcomes: list[Outcome]
    error: CdpError | None = None
    """What ended the load."""
    requests: int = 0
    retries: int = 0
    refused: int = 0


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

    async def condition(self) -> Condition:
        """Return how its partitions get on with the server now."""
        return Condition() if self._loader is None else self._loader.condition

    async def set_rate(self, rate: float) -> None:
        """Change the rate of all workers."""
        (await self._open()).client.session.set_rate(rate)

    async def _open(self) -> PartitionLoader:
        async with self._opening:
            if self._loader is None:
                job = self._job.open()
                if dict(make_client(job.url, job.options).identity) != dict(job.identity):
                    raise InputError(OTHER_TENANT)
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
