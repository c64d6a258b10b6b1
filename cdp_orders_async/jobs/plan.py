"""What a load of an input would send, and what is wrong or doubtful in it: all of it is read, nothing is sent."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import os
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from types import NoneType

import attrs

from cdp_orders_async.arguments import need, need_callable
from cdp_orders_async.client import CdpOrders, CdpOrdersV2
from cdp_orders_async.errors import InputError, Invalid, Violation
from cdp_orders_async.graph import InputLine, OrderGraph
from cdp_orders_async.ingest import Verdict
from cdp_orders_async.ingest.parts import digest_of_parts, parts_of
from cdp_orders_async.jobs.engine_choice import BatchPlan, Choice, choose
from cdp_orders_async.jobs.events import Message, OnEvent, Reading, ignore
from cdp_orders_async.jobs.given import FileName, check_client, check_hearing, file_given
from cdp_orders_async.jobs.groups import Groups
from cdp_orders_async.jobs.index import EPOCH, MILLISECOND, Entry, Index
from cdp_orders_async.jobs.inputs import InputOptions
from cdp_orders_async.jobs.probe import FIRST, SMALL, SPREAD
from cdp_orders_async.jobs.rejects import reasons_of, rejected
from cdp_orders_async.jobs.sample import Presence, Sample
from cdp_orders_async.jobs.stopping import on_stop
from cdp_orders_async.jobs.warnings import warnings_of
from cdp_orders_async.journal import OrderId
from cdp_orders_async.kinds import V2_1
from cdp_orders_async.redact import sealed
from cdp_orders_async.sources import GraphFiles
from cdp_orders_async.sources.files import real

__all__ = ["Clash", "Plan", "plan"]

PARTS = ("orders", "items", "contacts", "consumers", "order_extensions", "item_extensions")
"""The kinds of the parts of an order: each part takes one request."""
KINDS = (*(f"{kind}.create" for kind in PARTS), "orders.list")
"""The kinds of requests, named as the operations of the client."""
TOLD = 1_000
"""Groups of orders with one reference id that a plan names, and orders of one group."""
EVERY = 0.25  # seconds between two tellings of the progress
LINES = 64  # lines between two looks at the clock


@attrs.define
class Clash:
    """Orders that the server takes for one: they have one reference id, and were ordered within two days."""

    reference_id: str
    orders: list[tuple[str, int, str, Verdict]]
    """The file, line, key and verdict of each, in the order of the input: the first of them is *loaded*, a copy of it
    is *already* loaded, and all others are in *conflict*. Nothing is sent of the latter two."""

    def to_json(self) -> dict[str, object]:
        """Return it as JSON data."""
        names = ("file", "number", "key", "verdict")
        return {
            "reference_id": self.reference_id,
            "orders": [dict(zip(names, one, strict=True)) for one in self.orders],
        }


@attrs.define
class Plan:
    """What a load of an input would send, and what is wrong or doubtful in it."""

    orders: int = 0
    """Lines that are not empty, each of which should hold an order."""
    invalid: int = 0
    """Those of them that break rules."""
    copies: int = 0
    """Orders that repeat an earlier one: a load sends nothing of them."""
    conflicts: int = 0
    """Orders that the server takes for an earlier one with another time or content: nothing of them is sent either."""
    faults: Groups = attrs.field(factory=Groups)
    """The broken rules, grouped."""
    warnings: Groups = attrs.field(factory=Groups)
    """What keeps the rules, and is seldom meant so, grouped."""
    requests: collections.Counter[str] = attrs.field(factory=collections.Counter[str])
    """The requests of a load with a new journal, nothing of which is on the server yet, by kind."""
    rate: float | None = None
    """Requests a second that were asked about."""
    hash: str = ""
    """The hash of the orders and of the options that they are read with."""
    same_reference: list[Clash] = attrs.field(factory=list[Clash])
    """The first 1,000 groups of orders that the server takes for one."""
    server: Presence | None = None
    """How many orders of a sample are on the server; None where nobody looked."""
    upserts: int = 0
    """Orders in mode upsert. A load looks for each of them first, once; and for those that it begins in its first
    seconds, in which lists of the server may lag, up to twice more."""
    batch: BatchPlan = attrs.field(factory=BatchPlan)
    """What a load over the Batch API would take, and which orders it cannot take."""
    stopped_by: int | None = None
    """The number of the signal that ended the reading early: then all figures are of a part of the input."""

    @property
    def seconds(self) -> float | None:
        """The least time that the requests take at the rate; None without a rate."""
        return None if self.rate is None else self.requests.total() / self.rate

    @property
    def engines(self) -> Choice:
        """The estimates of both engines, and the recommended one."""
        return choose(self.requests.total(), self.rate, self.batch)

    @property
    def status(self) -> int:
        """The exit status of a command whose work this was."""
        return int(bool(self.invalid or self.conflicts)) if self.stopped_by is None else 128 + self.stopped_by

    def to_json(self) -> dict[str, object]:
        """Return the plan as JSON data."""
        seconds = self.seconds
        return {
            "orders": self.orders,
            "invalid": self.invalid,
            "copies": self.copies,
            "conflicts": self.conflicts,
            "faults": self.faults.to_json(),
            "warnings": self.warnings.to_json(),
            "requests": {**{kind: self.requests[kind] for kind in KINDS}, "total": self.requests.total()},
            "seconds": None if seconds is None else round(seconds, 3),
            "hash": self.hash,
            "same_reference": [clash.to_json() for clash in self.same_reference],
            "server": None if self.server is None else self.server.to_json(),
            "engines": self.engines.to_json(),
        }


def _now() -> datetime:
    return datetime.now(UTC)


@sealed
async def plan(
    source: GraphFiles | FileName,
    *,
    rate: float | None = None,
    rejects: FileName | None = None,
    client: CdpOrders | CdpOrdersV2 | None = None,
    sample: int = 100,
    seed: int = 0,
    on_event: OnEvent = ignore,
    clock: Callable[[], float] = time.monotonic,
    now: Callable[[], datetime] = _now,
) -> Plan:
    """Read all of *source*, send nothing, and return what a load would send, and what is wrong or doubtful.

    The requests are exactly those of a load with a new journal, of whose orders nothing is on the server, if no request
    fails. The memory that it takes does not grow with the input: an index is in the folder of temporary files.
    Meanwhile a signal that asks the process to stop (SIGINT, SIGTERM, SIGHUP) ends the reading.

    Parameters: *rate*, requests a second; *rejects*, a file to keep the bad lines as they stand, with their reasons in
    ``REJECTS.reasons.jsonl`` beside it; *client*, an open client, to read which of so many orders, a random *sample*
    that is drawn with the *seed*, are on the server: nothing is written there; *on_event*, which is told what happens;
    *clock*, in seconds; *now*, the time that tells which orders are in the future.

    Raises `InputError` for an input that cannot be read or files that cannot be written, `Invalid` for a *rate* or a
    *sample* that cannot be, and what the requests of the *client* raise.

        plan = await jobs.plan(GraphFiles(["orders.jsonl"]), rate=20)
        print(plan.requests.total(), plan.seconds, plan.faults.to_json())
    """
    _check_types(client, rate, sample, seed)
    check_hearing(on_event, clock)
    need_callable(now, "now", "a function that returns a datetime with a time zone")
    if isinstance(source, (str, os.PathLike)):
        source = InputOptions(V2_1 if client is None else client.api).files([os.fspath(source)])
    rejects = file_given(rejects, "rejects")
    _check(source, rate, sample, rejects)
    drawn = None if client is None else Sample(sample, Random(seed))  # noqa: S311 nothing secret is drawn
    report = Plan(rate=rate)
    task = asyncio.current_task()

    def stop(number: int) -> None:
        if report.stopped_by is None and task is not None:
            report.stopped_by = number
            task.cancel()

    async with on_stop(stop):
        try:
            with Index.opened() as index, rejected(rejects) as reject:
                reader = _Reader(report, index, reject, drawn, now())
                began = last = clock()
                async with contextlib.aclosing(aiter(source)) as lines:
                    async for line in lines:
                        reader.take(line)
                        if not report.orders % LINES and (seconds := clock()) - last >= EVERY:
                            last = seconds
                            on_event(_progress(report, source, seconds - began))
                report.hash = source.digest
                await reader.conclude()
            if client is not None and drawn is not None:
                report.server = await drawn.compare(client)
        except asyncio.CancelledError:
            if report.stopped_by is None or task is None or task.uncancel():
                raise
    if not report.orders and report.stopped_by is None:
        on_event(Message(f"The input, {source.name}, holds no order."))
    return report


def _check_types(client: object, rate: object, sample: object, seed: object) -> None:
    if client is not None:
        check_client(client)
    need(rate, (float, NoneType), "rate")
    need(sample, int, "sample")
    need(seed, int, "seed")


def _check(source: object, rate: float | None, sample: int, rejects: Path | None) -> None:
    need(source, GraphFiles, "source", "the path of a file, or GraphFiles")
    found: list[Violation] = []
    if rate is not None and not 0 < rate < float("inf"):
        found.append(Violation("rate", "must be a finite number above 0"))
    if sample < 1:
        found.append(Violation("sample", "must be a whole number above 0"))
    if found:
        raise Invalid(tuple(found))
    if rejects is not None and isinstance(source, GraphFiles):
        inputs = {real(Path(name)) for name in source.paths}
        if inputs & {real(rejects), real(reasons_of(rejects))}:
            raise InputError("the input and the rejected lines must be different files")


def _progress(report: Plan, source: GraphFiles, seconds: float) -> Reading:
    return Reading(seconds=seconds, orders=report.orders, invalid=report.invalid, fraction=source.fraction)


class _Reader:
    """Counts what a load of the *lines* that it takes would do."""

    def __init__(
        self,
        report: Plan,
        index: Index,
        reject: Callable[[InputLine], None],
        sample: Sample | None,
        now: datetime,
    ) -> None:
        self._report = report
        self._index = index
        self._reject = reject
        self._sample = sample
        self._now = now
        self._files: dict[str, int] = {}
        """The numbers of the files, in the order in which they were read."""
        self._shapes: dict[tuple[int, ...], int] = {}
        """The numbers of the different shapes of orders, by the requests that they take."""
        self._counts: list[int] = []
        """How many orders have each shape."""
        self._probed = 0

    def take(self, line: InputLine) -> None:
        """Count a line."""
        report, graph = self._report, line.graph
        report.orders += 1
        if graph is None or line.violations:
            report.invalid += 1
            report.faults.add(line.violations, _place(line.file, line.number))
            self._reject(line)
        else:
            if report.orders <= SMALL + 1 and self._probed < FIRST + SPREAD:
                self._probed += 1
            self._take_order(line.file, line.number, graph)
        if report.orders == SMALL + 1:  # a load looks for some orders of a larger input
            report.requests["orders.list"] += self._probed

    def _take_order(self, file: str, number: int, graph: OrderGraph) -> None:
        place = _place(file, number)
        if found := warnings_of(graph, self._now):
            self._report.warnings.add(found, place)
        self._report.batch.add(graph, place)
        parts = parts_of(graph)
        kinds = [part.kind for part in parts]
        looks = int(graph.mode == "upsert")  # for an order of the same id
        requests = (*map(kinds.count, PARTS), looks)
        shape = self._shapes.setdefault(requests, len(self._shapes))
        if shape == len(self._counts):
            self._counts.append(0)
        self._counts[shape] += 1
        order = graph.order
        at = (order.ordered_at - EPOCH) // MILLISECOND
        of_file = self._files.setdefault(file, len(self._files))
        self._index.add(Entry(order.reference_id, at, digest_of_parts(parts), of_file, number, shape))
        if self._sample is not None:
            self._sample.offer(graph)

    async def conclude(self) -> None:
        """Count the requests, without those of orders that the server takes for an earlier one."""
        report, names = self._report, list(self._files)
        report.batch.conclude()
        last: Entry | None = None
        clash: Clash | None = None
        async for first, entry, verdict in self._index.search():
            if verdict is Verdict.ALREADY:
                report.copies += 1
            else:
                report.conflicts += 1
            self._counts[entry.shape] -= 1
            if first is not last:
                last, clash = first, Clash(first.reference_id, [_told_of(first, names, Verdict.LOADED)])
                if len(report.same_reference) < TOLD:
                    report.same_reference.append(clash)
            if clash is not None and len(clash.orders) < TOLD:
                clash.orders.append(_told_of(entry, names, verdict))
        for requests, shape in self._shapes.items():
            for kind, count in zip(KINDS, requests, strict=True):
                report.requests[kind] += count * self._counts[shape]
            report.upserts += requests[-1] * self._counts[shape]


def _told_of(entry: Entry, names: Sequence[str], verdict: Verdict) -> tuple[str, int, str, Verdict]:
    return names[entry.file], entry.line, OrderId.of(entry.reference_id, entry.ordered_at).key, verdict


def _place(file: str, number: int) -> str:
    return f"{file}:{number}"
