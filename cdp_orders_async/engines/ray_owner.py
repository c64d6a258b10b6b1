"""The actor that owns the journal and the rate of a load in a Ray cluster: all workers ask it."""

from __future__ import annotations

import contextlib
import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import attrs

from cdp_orders_async.engines.leases import LEASE, JournalOwner, Step
from cdp_orders_async.engines.partition import PartitionOptions
from cdp_orders_async.engines.ray_api import RayError, ray
from cdp_orders_async.engines.slots import Slots
from cdp_orders_async.errors import CdpError, JournalError
from cdp_orders_async.journal import SqliteJournal
from cdp_orders_async.pacing.shared import Lease
from cdp_orders_async.redact import Opaque, strip_frames

__all__ = ["NAMESPACE", "STARTS", "Job", "Owner", "end_owner", "started_owner"]

NAMESPACE: Final = "cdp-orders"
"""Where the names of the owners are."""
LOOK: Final = 0.05
"""Seconds between two looks whether an owner that was ended has given up its name, of which there are..."""
LOOKS: Final = 200
"""...so many at most."""
STARTS: Final = 10
"""How many workers may start, for each worker that is wanted, without one partition that ends."""


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


def _stripped(result: object) -> object:
    """Return a *result*; an error without its frames, which cannot be sent."""
    return strip_frames(result) if isinstance(result, BaseException) else result
