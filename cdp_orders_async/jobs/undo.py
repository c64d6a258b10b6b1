"""Take back what the loads with one journal created."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from collections.abc import Set as AbstractSet
from contextlib import aclosing
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import UUID

import anyio
import attrs
from msgspec import Struct

from cdp_orders_async.arguments import need
from cdp_orders_async.client import CdpOrders, CdpOrdersV2, Resources
from cdp_orders_async.errors import CdpError, DeadlineExceeded, InputError, counted
from cdp_orders_async.ingest import OrderUndo, UndoneOrder, UndoVerdict, is_in_doubt
from cdp_orders_async.jobs.before_file import Changed, read_before
from cdp_orders_async.jobs.events import Message, OnEvent, Teller, ignore
from cdp_orders_async.jobs.given import FileName, GivenJournal, check_client, check_job, file_given, journal_given
from cdp_orders_async.jobs.journal import JournalPlace, check_batches, check_exists, open_journal
from cdp_orders_async.jobs.lines_file import lines_written
from cdp_orders_async.jobs.report import describe, exit_status
from cdp_orders_async.jobs.stopping import SAME_SIGNAL, on_stop
from cdp_orders_async.jobs.ticking import ticking
from cdp_orders_async.jobs.undo_calls import UndoCalls
from cdp_orders_async.journal import CreatedPart, Journal, PostgresJournal, SqliteJournal
from cdp_orders_async.outlasting import Drain
from cdp_orders_async.pacing.health import LASTING
from cdp_orders_async.redact import sealed

__all__ = ["UndoReport", "Undoable", "undo", "undoable"]

WHAT = "outcomes"
FEW = 20  # orders that are not deleted and are told one by one
MOST_FAILURES = 20  # orders in a row of which nothing could be deleted: then the server is not well
MOST_CHANGES = 1000
TOLD = 30.0  # seconds between two sentences on how far it is
WAITS = 5.0  # seconds without success after which it says so
LONG = 1.0  # seconds without success after which an undo that is stopped waits no longer
DRAIN = 20.0  # seconds that what is in flight gets to finish


class Undoable(Struct, frozen=True):
    """What an undo would look at."""

    parts: int
    """Parts that loads with the journal created."""
    orders: int
    """The orders of these parts."""
    without_ref: int = 0
    """Further orders, which the Batch API loaded: it tells no references, so an undo cannot delete them."""


@attrs.define
class UndoReport:
    """What became of an undo."""

    deleted: int = 0
    """Parts that are no longer on the server."""
    kept: int = 0
    """Parts that stay, because they or something that needs them changed, or because the undo was stopped."""
    failed: int = 0
    """Parts that could not be deleted; the next undo tries them again."""
    without_ref: int = 0
    """Orders that stay because the Batch API loaded them, which tells no references."""
    in_doubt: int = 0
    """Orders of which a load that was cut off may have made something that the journal does not know."""
    changed: int = 0
    """Changes that loads made to parts that stay, as far as a file of values before names them."""
    changes: tuple[Changed, ...] = ()
    """The first `MOST_CHANGES` of them."""
    error: Exception | None = None
    """What ended the undo before its end."""
    reason: str | None = None
    """The sentence that says so."""
    stopped_by: int | None = None
    """The number of the signal that stopped the undo."""

    def to_json(self) -> dict[str, object]:
        """Return the report as JSON data."""
        counts: dict[str, object] = {"deleted": self.deleted, "kept": self.kept, "failed": self.failed}
        if self.without_ref:
            counts["without_ref"] = self.without_ref
        if self.in_doubt:
            counts["in_doubt"] = self.in_doubt
        return counts if self.reason is None else {**counts, "error": self.reason}

    @property
    def status(self) -> int:
        """The exit status of a command whose work this was."""
        stays = self.kept or self.failed or self.without_ref or self.in_doubt
        return exit_status(self.error, self.stopped_by, as_wanted=not stays)

    def count(self, order: UndoneOrder) -> None:
        """Count the parts of an *order*."""
        for part in order.parts:
            self.deleted += part.verdict is UndoVerdict.DELETED
            self.kept += part.verdict is UndoVerdict.KEPT
            self.failed += part.verdict is UndoVerdict.FAILED


@sealed
async def undoable(client: CdpOrders | CdpOrdersV2, journal: GivenJournal) -> Undoable:
    """Return how much an `undo` of the loads with *journal* would look at; nothing is sent.

    Raises what `undo` raises before it begins.
    """
    check_client(client)
    journal = journal_given(journal)
    await _check(client, journal)
    parts, orders, last = 0, 0, ""
    async with await open_journal(journal, client.identity) as records:
        async for part in records.created():
            parts += 1
            orders += part.key != last
            last = part.key
        return Undoable(parts, orders, await _without_ref_in(records))


@sealed
async def undo(
    client: CdpOrders | CdpOrdersV2,
    journal: GivenJournal,
    *,
    force: bool = False,
    outcomes: FileName | None = None,
    before: FileName | None = None,
    on_event: OnEvent = ignore,
    clock: Callable[[], float] = time.monotonic,
) -> UndoReport:
    """Delete what loads with *journal* created over *client*, and nothing that they only found.

    A part stays if it was changed since it was created, and so does what it needs. An order stays if it has parts that
    no load with this journal created. The same call again tries what failed, and does nothing twice. Afterwards the
    same load loads again what was deleted. A signal that asks the process to stop (SIGINT, SIGTERM, SIGHUP) lets the
    requests in flight finish, for 20 seconds at most, and gives up what waits; a later one stops at once. The undo ends
    with an error if nothing succeeds for 3 minutes because the server is not well.

    Parameters: *client*, open, of version 2.1; *journal*, the file of the journal; *force*, whether also what was
    changed is deleted, and orders under which others put parts; *outcomes*, a new file for the outcome of each
    order, as JSON lines; *before*, the file in which a load kept the values that it changed: the report lists those of
    the parts that the journal still has, because they are not written back; *on_event*, which is told what happens;
    *clock*, in seconds.

    Returns the counts of the parts. Raises `InputError` for version 2, which cannot delete orders and consumers, for a
    journal that is not there, and for the other files; TypeError for an argument of another type; `JournalError` for a
    journal of another tenant, or in use.
    """
    check_job(client, on_event, clock)
    need(force, bool, "force", "True or False")
    journal = journal_given(journal)
    outcomes, before = file_given(outcomes, "outcomes"), file_given(before, "before")
    resources = await _check(client, journal)
    changed = set[UUID | None]() if before is None else {change.ref for change in read_before(before, on_event)}
    with lines_written(outcomes, WHAT, _is_outcome) as write:
        async with await open_journal(journal, client.identity) as records:
            without_ref = await _without_ref_in(records)
            tell = Teller(on_event)
            work = _Undo(resources, records, force=force, on_event=tell, clock=clock)
            tell.watch(work)
            work.outcomes = outcomes
            async with on_stop(work.stop):
                await work.run(write)
            staying = await _recorded(records, changed)
            if work.report.error is None and work.report.stopped_by is None:
                work.report.in_doubt = sum([1 async for order in records.orders() if is_in_doubt(order.record)])
    report = work.report
    report.without_ref = without_ref
    if work.staying:
        on_event(Message(_found(work.staying)))
    if without_ref:
        on_event(Message(_without_ref(without_ref)))
    if report.in_doubt:
        on_event(Message(_in_doubt(report.in_doubt)))
    if isinstance(report.error, CdpError):
        report.reason = describe(report.error, client.base_url)
    elif report.error is not None:
        raise report.error
    if before is not None and staying:
        _find_changes(report, before, staying)
        _tell_changes(report, before, on_event)
    return report


class _Undo:
    """An undo under way."""

    def __init__(
        self,
        client: CdpOrders,
        journal: Journal,
        *,
        force: bool,
        on_event: OnEvent,
        clock: Callable[[], float],
    ) -> None:
        self.report = UndoReport()
        self.outcomes: Path | None = None
        self._client = client
        self._journal = journal
        self._force = force
        self._on_event = on_event
        self._clock = clock
        self._orders = 0
        self._not_deleted = 0
        self._failures = 0
        self.staying = 0
        """Orders that stay without what a load created of them."""
        self._stopping = False
        self._halted_at = 0.0
        self._since = 0.0
        self._next = clock() + TOLD
        self._told = -math.inf  # when it was last said that the server is not well
        self._scope = anyio.CancelScope()
        self._calls = UndoCalls(client.session, clock)
        self._health = self._calls.health
        self._over = Resources(self._calls, client.base_url)
        self._time_left = Drain(self._scope.cancel, self._waits_in_vain)

    def stop(self, number: int) -> None:
        """Begin nothing more after a signal; give up what is in flight after another one."""
        if self.report.stopped_by is None:
            self.report.stopped_by, self._since = number, self._clock()
            self._halt()
            self._on_event(Message("Stopping: the requests in flight finish. Once more stops at once."))
        elif self._clock() - self._since >= SAME_SIGNAL:
            self._scope.cancel()

    async def run(self, write: Callable[[Mapping[str, object]], None]) -> None:
        """Take the orders back, some at a time, the newest first, and *write* the outcome of each."""
        turn = anyio.Lock()
        async with aclosing(_grouped(self._journal.created())) as orders:

            async def work() -> None:
                while not self._stopping:
                    async with turn:
                        created = await anext(orders, None)
                    if created is None:
                        return
                    await self._take_back(created, write)

            try:
                with ticking(self._look, self.fail), self._scope:
                    async with anyio.create_task_group() as group:
                        for _ in range(self._client.session.settings.connections):
                            group.start_soon(self._ended, work)
            finally:
                self._time_left.end()

    def _halt(self) -> None:
        """Begin nothing more: what waits is given up, and what is in flight has some time to finish."""
        self._stopping = True
        self._halted_at = self._clock()
        self._calls.halt()
        self._time_left.within(DRAIN)

    def _waits_in_vain(self) -> bool:
        """Tell whether the server is not well, so that what is in flight will probably not finish."""
        return min(self._health.troubled_for, self._clock() - self._halted_at) >= LONG

    def _look(self) -> None:
        """Say why nothing succeeds; end the undo if that lasts."""
        trouble, seconds = self._health.trouble, self._health.troubled_for
        if trouble is None or seconds < WAITS or self._stopping:
            return
        if seconds >= LASTING:
            place = self._client.base_url
            self.fail(
                DeadlineExceeded(f"{place}: nothing has succeeded for {LASTING:g} s, and the undo gave up: {trouble}")
            )
        elif self._clock() >= self._told + TOLD:
            self._told = self._clock()
            self._on_event(Message(f"Nothing has succeeded for {seconds:.0f} s: {trouble}"))

    async def _ended(self, work: Callable[[], Any]) -> None:
        """Let *work* go on until it ends; an error ends the undo."""
        try:
            await work()
        except Exception as error:  # noqa: BLE001 it ends the undo, which says so
            self.fail(error)

    def fail(self, error: Exception) -> None:
        """End the undo because of *error*."""
        self.report.error = self.report.error or error
        if not self._stopping:
            self._halt()

    async def _take_back(self, created: list[CreatedPart], write: Callable[[Mapping[str, object]], None]) -> None:
        key = created[0].key
        order = OrderUndo(
            self._client,
            self._journal,
            key,
            created,
            force=self._force,
            stopped=lambda: self._stopping,
            over=self._over,
        )
        try:
            undone = await order.run()
        except BaseException:
            self.report.deleted += sum(part.verdict is UndoVerdict.DELETED for part in order.undone.parts)
            raise
        self.report.count(undone)  # first, since it is done even if it cannot be written
        write(undone.to_json())
        self._orders += 1
        self.staying += order.order_stays
        self._tell(undone)
        verdicts = {part.verdict for part in undone.parts}
        self._failures = self._failures + 1 if UndoVerdict.FAILED in verdicts else 0
        if self._failures >= MOST_FAILURES and not self.report.deleted and order.error is not None:
            self.fail(order.error)

    def _tell(self, order: UndoneOrder) -> None:
        if order.verdict is not UndoVerdict.DELETED and not self._stopping:
            self._not_deleted += 1
            if self._not_deleted <= FEW:
                self._on_event(Message(_problem(order)))
            elif self._not_deleted == FEW + 1:
                where = f"{self.outcomes} has them all" if self.outcomes else "--outcomes FILE keeps them all"
                self._on_event(Message(f"More orders are not deleted: {where}."))
        if self._clock() >= self._next:
            self._next = self._clock() + TOLD
            self._on_event(Message(f"{counted(self._orders, 'order')}, {counted(self.report.deleted, 'part')} deleted"))


async def _grouped(parts: AsyncIterator[CreatedPart]) -> AsyncGenerator[list[CreatedPart], None]:
    """Yield the *parts* of one order after the other."""
    group: list[CreatedPart] = []
    async for part in parts:
        if group and group[0].key != part.key:
            yield group
            group = []
        group.append(part)
    if group:
        yield group


def _problem(order: UndoneOrder) -> str:
    """Say in one line why an order is not deleted."""
    wrong = [part for part in order.parts if part.verdict is not UndoVerdict.DELETED]
    reasons = dict.fromkeys(f"{part.name}: {part.reason}" for part in wrong)
    return f"{order.key}: {order.verdict}: {'; '.join(reasons)}"


async def _without_ref_in(records: SqliteJournal | PostgresJournal) -> int:
    """Return how many orders stay because nobody told their references: the Batch API, which needs a file."""
    return await records.without_ref() if isinstance(records, SqliteJournal) else 0


def _found(orders: int) -> str:
    what = counted(orders, "order stays, which a load found", "orders stay, which loads found")
    return f"{what} on the server: only what loads added is deleted. A load that was cut off may have made it."


def _without_ref(orders: int) -> str:
    what = counted(orders, "order stays: the Batch API loaded it", "orders stay: the Batch API loaded them")
    return f"{what}, and it tells no references, so an undo cannot delete what such a load made."


def _in_doubt(orders: int) -> str:
    what = counted(orders, "order", "orders")
    return (
        f"A load that was cut off may have made more of {what} than the journal knows: load once more, which finds that"
        " out, and undo again."
    )


async def _recorded(records: Journal, refs: AbstractSet[UUID | None]) -> set[UUID | None]:
    """Return those of the *refs* that the journal still has, and None, which names no part, if it is among them."""
    if not refs:
        return set()
    found: set[UUID | None] = {None} if None in refs else set()
    async for order in records.orders():
        found.update(part.ref for part in order.record.parts.values() if part.ref in refs)
    return found


def _find_changes(report: UndoReport, before: Path, staying: AbstractSet[UUID | None]) -> None:
    """Count the changes in the file *before* of the parts that are *staying*, and keep the first ones."""
    changes = (change for change in read_before(before) if change.ref in staying)
    report.changes = tuple(islice(changes, MOST_CHANGES))
    report.changed = len(report.changes) + sum(1 for _ in changes)


def _tell_changes(report: UndoReport, before: Path, on_event: OnEvent) -> None:
    """List what loads changed, without the values."""
    parts = counted(report.changed, "part that stays", "parts that stay")
    on_event(Message(f"Loads changed {parts}; {before} has the values before:"))
    for change in report.changes[:FEW]:
        on_event(Message(f"  {change.key} {change.part} {change.ref}: {', '.join(change.fields)}"))
    if report.changed > FEW:
        on_event(Message(f"  and {report.changed - FEW:,} more"))


async def _check(client: CdpOrders | CdpOrdersV2, journal: JournalPlace) -> CdpOrders:
    """Raise `InputError` for what cannot be undone; return the client that can delete."""
    if isinstance(client, CdpOrdersV2):
        raise InputError(
            "version 2 of the API cannot delete orders and consumers, so its loads cannot be undone: nothing was sent"
        )
    await check_exists(journal, client.identity, "nothing was sent; name the journal of the load")
    check_batches(journal)
    return client


def _is_outcome(line: Mapping[str, Any]) -> bool:
    match line:
        case {"key": str(), "verdict": "deleted" | "kept" | "failed", "parts": [*_]}:
            return "number" not in line
        case _:
            return False
