"""One run of a verification: it reads many orders at once, counts and writes what differs, and can be stopped."""

from __future__ import annotations

import asyncio
import contextlib
from asyncio import sleep
from collections.abc import AsyncIterable, Callable, Collection, Sequence
from typing import BinaryIO
from uuid import UUID

import anyio
import attrs
from anyio.abc import TaskGroup

from cdp_orders_async.client import CdpOrders, CdpOrdersV2
from cdp_orders_async.errors import CdpError, Forbidden, Unauthorized, counted
from cdp_orders_async.graph import InputLine, OrderGraph
from cdp_orders_async.ingest import Verdict
from cdp_orders_async.ingest.parts import parts_of
from cdp_orders_async.jobs.comparison import Difference, DifferenceKind, all_missing, compare
from cdp_orders_async.jobs.differences_file import DifferencesFile
from cdp_orders_async.jobs.estimate import Speed
from cdp_orders_async.jobs.events import Message, OnEvent, Progress
from cdp_orders_async.jobs.patience import WAITS, is_on_the_way
from cdp_orders_async.jobs.recorded import read_at
from cdp_orders_async.jobs.report import describe, exit_status
from cdp_orders_async.jobs.snapshot import read_order, read_snapshot
from cdp_orders_async.jobs.stopping import on_stop
from cdp_orders_async.jobs.ticking import ticking
from cdp_orders_async.jobs.verification import CHECKED, MET, NOT_DRAWN, Row, Verification
from cdp_orders_async.sources import GraphFile, GraphFiles

__all__ = ["Verifier", "VerifyReport"]

SAVE_EVERY = 1.0  # seconds between two times that the progress is kept on disk
UNREAD_IN_A_ROW = 20  # orders that cannot be read, one after the other, after which the server counts as not well
STANDARD_INPUT = "-"
TRIES = 3  # times that an order is read before it counts as unread
TOLD = 20  # orders that are told one by one
SOME = 4  # differences of one order that are told
SOONEST = 10.0  # seconds before there is an estimate of the rest


@attrs.define
class VerifyReport:
    """What a verification found."""

    orders: int = 0
    """Orders that were looked at, also those that could not be read."""
    parts: int = 0
    """Parts that were compared: *same*, *different* and *missing* add up to them."""
    same: int = 0
    different: int = 0
    missing: int = 0
    extra: int = 0
    """Things on the server, under these orders, that are no part of the input."""
    unread: int = 0
    """Orders that could not be compared: they could not be read from the server, their line holds no order, or only one
    of the input and the outcomes has them."""
    wrong: int = 0
    """Orders with a difference, and orders that could not be compared."""
    population: int | None = None
    """Of a sample: the number of orders from which it was drawn."""
    differing: int | None = None
    """Of a sample: how many orders of all differ at most, with 95 % confidence."""
    requests: int = 0
    seconds: float = 0.0
    error: CdpError | None = None
    """What ended the verification too early."""
    reason: str | None = None
    """The sentence that says so."""
    stopped_by: int | None = None
    """The number of the signal that stopped it."""

    def to_json(self) -> dict[str, object]:
        """Return the report as JSON data."""
        sample = {} if self.population is None else {"population": self.population, "differing": self.differing}
        return {
            "orders": self.orders,
            "parts": self.parts,
            "same": self.same,
            "different": self.different,
            "missing": self.missing,
            "extra": self.extra,
            "unread": self.unread,
            **sample,
            "requests": self.requests,
            "seconds": round(self.seconds, 3),
            "error": self.reason,
        }

    @property
    def status(self) -> int:
        """The exit status of a command whose work this was."""
        return exit_status(self.error, self.stopped_by, as_wanted=not (self.wrong > 0 or self.extra > 0))


class Verifier:
    """One run of a verification."""

    def __init__(
        self,
        client: CdpOrders | CdpOrdersV2,
        verification: Verification,
        recorded: BinaryIO,
        output: DifferencesFile,
        *,
        settle: float,
        on_event: OnEvent,
        clock: Callable[[], float],
    ) -> None:
        self.report = VerifyReport()
        self._client = client
        self._verification = verification
        self._recorded = recorded
        self._output = output
        self._on_event = on_event
        self._clock = clock
        self._began = self._saved = clock()
        self._settled = self._began + settle
        """When a list of the server shows all that the load wrote."""
        self._before = client.session.stats.requests, client.session.stats.retries
        self._slots = asyncio.Semaphore(2 * client.session.settings.connections)
        self._read = 0
        """Orders that this run has read."""
        self._failed = 0
        """Orders that it could not read, since it read one."""
        self._last: CdpError | None = None
        """The last error that kept an order from being read."""
        self._number_told = 0
        self._done_before = 0
        self._speed = Speed()
        """Orders a second, without the time in which the server made all wait."""
        self._group: TaskGroup | None = None
        self._raised: Exception | None = None
        self._to_do = verification.unmet()

    def resume(self, counts: Sequence[int]) -> None:
        """Go on with the *counts* of the run that was stopped."""
        report = self.report
        if counts:
            report.orders, report.same, report.different, report.missing, report.extra, report.wrong = counts
            report.parts = report.same + report.different + report.missing
            self._done_before = report.orders

    async def over(self, source: GraphFiles | GraphFile) -> VerifyReport:
        """Check the orders of *source* that are still to be checked."""
        report = self.report
        async with on_stop(self._stop):
            with ticking(lambda: self._on_event(self._progress()), self._raise):
                async with anyio.create_task_group() as self._group:
                    try:
                        await self._all(source)
                    except CdpError as error:
                        self._end(error)
                    except Exception as error:  # noqa: BLE001 it is raised once the orders have ended
                        self._raise(error)
        if self._raised is not None:
            try:
                self._save()
            finally:
                raise self._raised
        if report.error is None and report.stopped_by is None and (unmet := self._verification.unmet()):
            self._count_unread(unmet)
            orders = counted(unmet, "order is", "orders are")
            self._on_event(Message(f"{orders} in the outcomes and not in the input."))
        self._save()
        if self._last is not None and not self._read and report.stopped_by is None:
            self._end(self._last)
        report.requests = self._client.session.stats.requests - self._before[0]
        return report

    def _stop(self, number: int) -> None:
        if self.report.stopped_by is None:
            self.report.stopped_by = number
            self._cancel()

    def _cancel(self) -> None:
        if self._group is not None:
            self._group.cancel_scope.cancel()

    def _end(self, error: CdpError) -> None:
        """End the verification with *error*."""
        if self.report.error is None:
            self.report.error = error
            self.report.reason = describe(error, self._client.base_url)
        self._cancel()

    async def _all(self, source: GraphFiles | GraphFile) -> None:
        """Check the orders of *source*, many at once; of a sample only the lines that hold it are parsed.

        If the input was edited, some orders of the sample may be in other lines: then all lines are.
        """
        if not self._verification.is_sample:
            await self._check(source, {CHECKED, NOT_DRAWN})
            return
        if isinstance(source, GraphFiles) and STANDARD_INPUT not in source.names:
            await self._check(source.with_only(self._verification.open_lines()), {CHECKED, NOT_DRAWN})
        if self._verification.unmet():
            await self._check(source, {MET, CHECKED, NOT_DRAWN})

    async def _check(self, source: GraphFiles | GraphFile, left_out: Collection[int]) -> None:
        """Check the orders of *source*, except for those in the states *left_out*."""
        async with contextlib.aclosing(aiter(source)) as lines:
            await self._check_lines(lines, left_out)

    async def _check_lines(self, lines: AsyncIterable[InputLine], left_out: Collection[int]) -> None:
        sampled = self._verification.is_sample
        async for line in lines:
            if self.report.stopped_by is not None:
                return
            row = self._verification.find(line)
            if row is None and not sampled:
                self._cannot_read(line, "the outcomes do not have this order")
            if row is None or row.state in left_out:
                continue
            self._verification.meet(row)
            if line.graph is None:
                self._without_order(line, row)
                continue
            await self._slots.acquire()
            assert self._group is not None  # noqa: S101 it is open
            self._group.start_soon(self._one, line, line.graph, row)

    def _without_order(self, line: InputLine, row: Row) -> None:
        """Count a *line* that breaks rules: if the load refused it too, its order is missing, as far as it is known."""
        recorded = read_at(self._recorded, row.place)
        if line.key is not None and recorded.verdict is Verdict.INVALID:
            self._count(line, row, 1, all_missing(["order"], {}))
        else:
            self._cannot_read(line, "the line holds no order that could be read")

    async def _one(self, line: InputLine, graph: OrderGraph, row: Row) -> None:
        """Check the order of one line."""
        try:
            try:
                parts, found = await self._look(graph, row)
            except CdpError as error:
                self._fail(line, error)
            else:
                self._count(line, row, parts, found)
        except CdpError as error:  # the differences cannot be written
            self._end(error)
        except Exception as error:  # noqa: BLE001 it is raised once the others have ended
            self._raise(error)
        finally:
            self._slots.release()

    async def _look(self, graph: OrderGraph, row: Row) -> tuple[int, Sequence[Difference]]:
        """Return how many parts an order has, and what differs.

        What differs before the settling time has passed is looked at again afterwards, and an order of which a request
        failed in spite of its retries is read again: an order takes many requests, and one that fails is enough. After
        an answer that is not the API's, that is some time later.
        """
        recorded = read_at(self._recorded, row.place)
        refs = {part.name: part.ref for part in recorded.parts}
        tries = 0
        while True:
            looked = self._clock()
            try:
                parts, found = await self._compare(graph, row, refs)
            except (Unauthorized, Forbidden):
                raise
            except CdpError as error:
                tries += 1
                patient = is_on_the_way(error, "orders.get")
                if tries > (len(WAITS) if patient else TRIES - 1):
                    raise
                await sleep(WAITS[tries - 1] if patient else 0.0)
                continue
            if not found or looked >= self._settled:
                self._read, self._failed = self._read + 1, 0
                return parts, found
            await sleep(max(0.0, self._settled - self._clock()))

    async def _compare(
        self, graph: OrderGraph, row: Row, refs: dict[str, UUID | None]
    ) -> tuple[int, Sequence[Difference]]:
        """Read one order with its parts, and compare them."""
        parts = parts_of(graph)

        def is_foreign(ref: UUID) -> bool:
            places = self._verification.places(ref)
            if not places or row.place in places:
                return False
            return all(read_at(self._recorded, place).key != graph.key for place in places)

        snapshot = await read_order(self._client, parts[0], refs.get("order"), is_foreign)
        if snapshot is None:
            return len(parts), all_missing([part.name for part in parts], refs)
        await read_snapshot(self._client, snapshot, parts, refs, with_links=any(part.uses for part in parts))
        # Other lines may have the same order; the first of them tells of what is extra.
        lines = self._verification.places(snapshot.ref) or [row.place]
        others = {
            part.ref
            for place in lines
            if place != row.place and row.place in lines  # a line that made nothing may be any of these
            for part in read_at(self._recorded, place).parts
            if part.ref is not None
        }
        found = compare(parts, refs, snapshot, others)
        if row.place != lines[0]:
            found = [one for one in found if one.problem is not DifferenceKind.EXTRA]
        return len(parts), found

    def _count(self, line: InputLine, row: Row, parts: int, found: Sequence[Difference]) -> None:
        """Count an order that was compared, and write what differs."""
        report = self.report
        counts = {kind: sum(one.problem is kind for one in found) for kind in DifferenceKind}
        different, missing = counts[DifferenceKind.DIFFERENT], counts[DifferenceKind.MISSING]
        report.orders += 1
        report.parts += parts
        report.same += parts - different - missing
        report.different += different
        report.missing += missing
        report.extra += counts[DifferenceKind.EXTRA]
        report.wrong += bool(found)
        self._output.write(line.key or "", found)
        self._verification.check(row)
        if found:
            told = [f"{one.part} {one.problem}{' in ' * bool(one.fields)}{', '.join(one.fields)}" for one in found]
            told[SOME:] = [f"and {len(told) - SOME:,} more"] if len(told) > SOME else []
            self._tell(line, "; ".join(told))
        if self._clock() - self._saved >= SAVE_EVERY:
            self._save()

    def _fail(self, line: InputLine, error: CdpError) -> None:
        """Count an order that *error* keeps from being read; end the verification where no order can be read."""
        self._failed += 1
        self._last = error
        refused = isinstance(error, (Unauthorized, Forbidden)) and error.from_api
        if self._failed >= UNREAD_IN_A_ROW or (refused and not self._read):
            self._end(error)
        else:
            self._cannot_read(line, str(error))

    def _cannot_read(self, line: InputLine, reason: str) -> None:
        self._count_unread(1)
        self._tell(line, f"unread: {reason}")

    def _count_unread(self, count: int) -> None:
        self.report.orders += count
        self.report.unread += count
        self.report.wrong += count

    def _tell(self, line: InputLine, what: str) -> None:
        """Tell of one of the first orders that differ."""
        self._number_told += 1
        if self._number_told <= TOLD:
            self._on_event(Message(f"{line.file}:{line.number}: {what}"))
        elif self._number_told == TOLD + 1:
            self._on_event(Message("Further orders that differ are counted, and the file of differences has them."))

    def _save(self) -> None:
        report = self.report
        counts = report.orders - report.unread, report.same, report.different, report.missing, report.extra
        self._verification.save((*counts, report.wrong - report.unread), self._output.length)
        self._saved = self._clock()

    def _raise(self, error: Exception) -> None:
        """End the verification with an *error* that is raised once the orders have ended."""
        self._raised = self._raised or error
        self._cancel()

    def _progress(self) -> Progress:
        session, report = self._client.session, self.report
        now = self._clock()
        seconds = now - self._began
        done = report.orders - self._done_before
        left = max(0, self._to_do - done)
        self._speed.note(now, done, waiting=session.paused_for > 0)
        speed = self._speed.requests
        return Progress(
            seconds=seconds,
            done=report.orders,
            not_loaded=report.wrong,
            retries=session.stats.retries - self._before[1],
            speed=(session.stats.requests - self._before[0]) / max(seconds, 0.001),
            rate=session.limiter.rate,
            fraction=min(1.0, done / self._to_do) if self._to_do else None,
            seconds_left=left / speed if speed and seconds >= SOONEST else None,
            wait=session.paused_for,
        )
