"""A load over the Batch API: lines become files, files become results, results become outcomes."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from cdp_orders_async.client import CdpOrders, CdpOrdersV2
from cdp_orders_async.engines.batch_api import BatchApi
from cdp_orders_async.engines.batch_cutting import BatchOptions, Cutting, Ready
from cdp_orders_async.engines.batch_delivery import Delivery, Patience, Result
from cdp_orders_async.engines.batch_handle import Handle
from cdp_orders_async.engines.batch_outcomes import (
    Decision,
    concluded,
    decide,
    entries,
    order_outcome,
    outcome_of,
)
from cdp_orders_async.errors import InputError, JournalError, counted
from cdp_orders_async.graph import InputLine, not_importable
from cdp_orders_async.ingest import Outcome, Verdict
from cdp_orders_async.ingest.parts import digest_of_order
from cdp_orders_async.journal import Busy, OrderId, SqliteJournal
from cdp_orders_async.journal.batches import BatchBook, BatchFile, BatchOrder
from cdp_orders_async.redact import Opaque

__all__ = ["BatchLoad"]

TOGETHER = 500
"""Lines that are looked up in the journal at once."""
MOST_LATER = 1_000
"""Lines that wait for a file with an order of the same reference id, after which all open files end first."""
MOST_WAITING = 2_000
"""Outcomes that wait to be taken, after which nothing more is read."""
NOT_SENT = Decision(Verdict.NOT_TRIED)
SAME_REFERENCE = (
    "{} has the same reference id, and is or may be on the server: within two days the server takes both for one"
)
LEFT = "its batch file may have arrived: the same load with the Batch API finds it out"


class BatchLoad(Handle):
    """A load of *lines* over *client*, with the journal *records* and the *book* of its batch files."""

    def __init__(
        self,
        client: CdpOrders | CdpOrdersV2,
        lines: AsyncGenerator[InputLine, None],
        records: SqliteJournal,
        book: BatchBook,
        options: BatchOptions,
        drain: float,
    ) -> None:
        patience = Patience(options.first_poll, options.longest_poll, options.settle, options.clock)
        super().__init__(client.session, patience, drain, options.clock)
        self._lines = lines
        self._records = records
        self._book = book
        self._options = options
        self._delivery = Delivery(BatchApi(client), book, patience, options.new_ref, options.tell)
        self._here = os.urandom(8)
        """Identifies this load."""
        self._marker = b"batch" + book.id
        """Identifies the loads with this folder of batch files."""
        self._cutting: Cutting | None = None
        self._later: list[Ready] = []
        """The orders that wait for the end of an open file, which has an order with their reference id."""
        self._chunk: dict[tuple[str | None, int], str | None] = {}
        """The keys of the lines that were taken and are in no file yet, by their places."""
        self._resumed = False
        """Whether an earlier load left files."""
        self._deliveries: set[asyncio.Task[None]] = set()

    async def _all(self) -> None:
        await self._resume()
        async with contextlib.aclosing(self._lines):
            while not self._stopped and (lines := await self._next_lines()):
                await self._take(lines)
        while not self._stopped and (self._cutting is not None or self._later or self._deliveries):
            await self._finish_files()

    @property
    def succeeded(self) -> int:
        """The number of steps by which files came nearer to their end: a look at a status is none."""
        return self._delivery.steps

    @property
    def waits_for(self) -> str | None:
        """Which batch has no result yet, though the server answers."""
        return next(iter(self._delivery.waiting.values()), None)

    async def _leave(self) -> None:
        """End the orders that were taken and are in no file, and wait for the files that were sent."""
        for (file, number), key in list(self._chunk.items()):
            self._tell(order_outcome(file, number, key, NOT_SENT))
        cutting, self._cutting = self._cutting, None
        try:
            if cutting is not None:
                await asyncio.to_thread(cutting.discard)
                await self._withdraw(cutting.orders)
        finally:
            await self._results()

    async def _resume(self) -> None:
        """Bring the files of an earlier load to their end; what it cut and never uploaded is cut anew from the input.

        Their outcomes come before those of the input, in which the same lines may hold other orders by now.
        """
        await asyncio.to_thread(self._book.tidy)
        run = os.urandom(len(self._here)) + self._marker  # not this load: its input may have changed since
        for file in await asyncio.to_thread(self._book.open_files):
            self._resumed = True
            self._taken += file.orders
            for page in self._book.orders(file):
                claims = [self._claim(order.key, order.digest, order.number, run) for order in page]
                for claim in await asyncio.gather(*claims):
                    if isinstance(claim, Busy):
                        raise JournalError(f"the order {claim.key} is being loaded by another load")
            self._options.tell(f"Batch {file.ref} of an earlier load goes on: {counted(file.orders, 'order')}.")
            await self._open(file)
        await self._results()

    def _claim(self, key: str, digest: bytes, number: int, run: bytes) -> Any:  # noqa: ANN401 the awaitable of a claim
        order = OrderId.parse(key)
        if order is None:
            raise JournalError(f"the batch files hold {key}, which is no key of an order")
        return self._records.claim(order, digest, run=run, number=number)

    async def _next_lines(self) -> list[InputLine]:
        """Return the next lines of the input; none at its end, or once the load stops."""
        await self._released.wait()
        while len(self._waiting) > MOST_WAITING and not self._closed:
            self._gone.clear()
            await self._gone.wait()
        lines: list[InputLine] = []
        while len(lines) < TOGETHER and not self._stopped:
            self._reading = asyncio.ensure_future(anext(self._lines, None))
            try:
                line = await self._reading
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is not None and task.cancelling():
                    raise
                break
            finally:
                self._reading = None
            if line is None:
                break
            self._taken += 1
            lines.append(line)
        return lines

    async def _take(self, lines: Sequence[InputLine]) -> None:
        """Send what the journal does not know; end the other lines."""
        self._chunk.update({(line.file, line.number): line.key for line in lines})
        made = await asyncio.to_thread(lambda: [self._ready(line) for line in lines])
        ready: list[Ready] = []
        for line, each in zip(lines, made, strict=True):
            if isinstance(each, Outcome):
                self._tell(each)
            elif each is None:  # its file goes on, and tells its outcome
                self._taken -= 1
                self._chunk.pop((line.file, line.number), None)
            else:
                ready.append(each)
        await self._send(ready)

    def _ready(self, line: InputLine) -> Ready | Outcome | None:
        graph, violations = line.graph, line.violations
        if graph is not None and not violations:
            violations = tuple(not_importable(graph))
        if graph is None or violations:
            return Outcome(
                file=line.file, number=line.number, key=line.key, verdict=Verdict.INVALID, violations=violations
            )
        order = OrderId.of(graph.order.reference_id, graph.order.ordered_at)
        digest = digest_of_order(graph)
        if self._resumed and self._book.has(BatchOrder(0, line.file, line.number, order.key, digest)):
            return None
        return Ready(line.file, line.number, Opaque(graph), order, digest)

    async def _send(self, ready: Sequence[Ready]) -> None:
        """Put the orders that are new into files, and keep for later what an open file holds up."""
        found = await asyncio.gather(*[self._records.look(each.order) for each in ready])
        new: list[Ready] = []
        for each, look in zip(ready, found, strict=True):
            decision = decide(look.record, each.digest, here=self._here, marker=self._marker)
            if decision is None:
                new.append(each)
            else:
                self._tell(order_outcome(each.file, each.number, each.order.key, decision))
        run = self._here + self._marker
        claims = await asyncio.gather(*[self._claim(each.order.key, each.digest, each.number, run) for each in new])
        for each, claim in zip(new, claims, strict=True):
            if isinstance(claim, Busy):
                self._later.append(each)
            elif claim.same_reference:
                reason = SAME_REFERENCE.format(claim.same_reference[0].key)
                await self._records.end(each.order.key, complete=False)
                decision = Decision(Verdict.CONFLICT, reason)
                self._tell(order_outcome(each.file, each.number, each.order.key, decision))
            else:
                await self._pack(each)
        if len(self._later) >= MOST_LATER:
            await self._finish_files()

    async def _pack(self, ready: Ready) -> None:
        while True:
            try:
                if self._cutting is None:
                    self._cutting = await asyncio.to_thread(Cutting, self._book, self._options)
                if self._cutting.add(ready):
                    self._chunk.pop((ready.file, ready.number), None)
                    return
            except OSError as error:
                raise InputError(f"the batch file cannot be written: {error.strerror}") from error
            await self._cut()

    async def _cut(self) -> None:
        """Complete the file, and send it as soon as few enough are open."""
        cutting = self._cutting
        if cutting is None:
            return
        try:
            file = await asyncio.to_thread(cutting.finish)
        except OSError as error:
            raise InputError(f"the batch file cannot be written: {error.strerror}") from error
        self._cutting = None
        await self._open(file)

    async def _open(self, file: BatchFile) -> None:
        while len(self._deliveries) >= self._options.open_files:
            await asyncio.wait(set(self._deliveries), return_when=asyncio.FIRST_COMPLETED)
        task = self._loop.create_task(self._deliver(file))
        self._deliveries.add(task)
        task.add_done_callback(self._deliveries.discard)

    async def _finish_files(self) -> None:
        """Cut the file, wait for the results of all, and take the lines that waited for them."""
        await self._cut()
        await self._results()
        later, self._later = self._later, []
        if not self._stopped:
            await self._send(later)
        else:
            self._later = later

    async def _results(self) -> None:
        """Wait for the end of all files that are open."""
        while self._deliveries:
            await asyncio.wait(set(self._deliveries))

    async def _deliver(self, file: BatchFile) -> None:
        began = self.clock()
        result: Result | None = None
        if not self._stopped:
            task = asyncio.ensure_future(self._delivery.deliver(file))
            self._abortable.add(task)
            try:
                result = await task
            except asyncio.CancelledError:
                if not self._aborting:
                    raise
            except Exception as error:  # noqa: BLE001 the iteration raises it
                self.fail(error)
            finally:
                self._abortable.discard(task)
        try:
            await (self._abandon(file) if result is None else self._conclude(file, result, began))
        except Exception as error:  # noqa: BLE001 the same
            self.fail(error)

    async def _conclude(self, file: BatchFile, result: Result, began: float) -> None:
        """Write the result of a file into the journal, and tell the outcomes."""
        told = entries(self._book.path(file), result.failures)
        for page in await asyncio.to_thread(lambda: list(self._book.orders(file))):
            seconds = self.clock() - began
            of_page = await asyncio.to_thread(list, itertools.islice(told, len(page)))
            outcomes = [
                outcome_of(order, names, row, result.unknown, seconds)
                for order, (names, row) in zip(page, of_page, strict=True)
            ]
            await concluded(self._records, outcomes)
            for outcome in outcomes:
                self._tell(outcome)
        await asyncio.to_thread(self._book.finish, file)
        failed = f", {len(result.failures):,} refused" if result.failures else ""
        self._options.tell(f"Batch {file.ref}: {counted(file.orders, 'order')}, {file.size:,} bytes{failed}.")

    async def _abandon(self, file: BatchFile) -> None:
        """End the orders of a file that has no result: it was never uploaded, or the next load goes on with it."""
        now = next((one for one in await asyncio.to_thread(self._book.open_files) if one.id == file.id), file)
        orders = await asyncio.to_thread(lambda: [order for page in self._book.orders(file) for order in page])
        if now.state == "cut":
            await self._withdraw(orders)
            await asyncio.to_thread(self._book.drop, now)
            return
        for order in orders:
            self._tell(order_outcome(order.file, order.number, order.key, Decision(Verdict.UNKNOWN, LEFT)))

    async def _withdraw(self, orders: Sequence[BatchOrder]) -> None:
        """End orders of which nothing was sent."""
        for start in range(0, len(orders), TOGETHER):
            page = orders[start : start + TOGETHER]
            await asyncio.gather(*[self._records.end(order.key, complete=False) for order in page])
            for order in page:
                self._tell(order_outcome(order.file, order.number, order.key, NOT_SENT))

    def _tell(self, outcome: Outcome) -> None:
        self._chunk.pop((outcome.file, outcome.number), None)
        super()._tell(outcome)
