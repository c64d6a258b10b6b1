"""One order during a load: the knowledge of it, and its next part."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence

from cdp_orders_async.errors import CdpError, JournalError, OutcomeUnknown
from cdp_orders_async.graph import OrderGraph
from cdp_orders_async.ingest.claims import Remembered, packed
from cdp_orders_async.ingest.context import LoadContext, as_failure
from cdp_orders_async.ingest.creation import Creation
from cdp_orders_async.ingest.doubts import doubts_of
from cdp_orders_async.ingest.knowledge import NEVER, Knowledge, combine_knowledge
from cdp_orders_async.ingest.leftovers import kinds_of_parts
from cdp_orders_async.ingest.outcomes import Failure, Outcome, PartVerdict, Verdict
from cdp_orders_async.ingest.parts import CREATED, EXTENSIONS, Part, digest_of_parts, parts_of
from cdp_orders_async.journal import Busy, Claimed, OrderId, PartRecord
from cdp_orders_async.session import Timings

__all__ = ["OrderRun"]

FOUND_VERDICTS = frozenset({PartVerdict.FOUND, PartVerdict.UPDATED, PartVerdict.KEPT})
"""The verdicts of parts that were on the server before this run."""
MATCHING_VERDICTS = FOUND_VERDICTS - {PartVerdict.KEPT}
"""The verdicts of such parts that are as the input says."""
VERDICTS_IF_ALL_PRESENT = ((PartVerdict.KEPT, Verdict.KEPT), (PartVerdict.UPDATED, Verdict.UPDATED))
VERDICTS_IF_SOME_ABSENT = ((PartVerdict.CONFLICT, Verdict.CONFLICT), (PartVerdict.UNKNOWN, Verdict.UNKNOWN))
"""Pairs of a part's verdict and the verdict that it gives the whole order. The first pair that applies counts."""


class OrderRun:
    """One order of a load. *file* and *number* are its place in the input. *copy* a *graph* that may change later."""

    def __init__(self, graph: OrderGraph, context: LoadContext, file: str | None, number: int, *, copy: bool) -> None:
        self.graph = graph
        self.reference_id = graph.order.reference_id
        self.parts = parts_of(graph, copy=copy)
        self.order_part = self.parts[0]
        self.left = len(self.parts)
        """The number of parts without a verdict."""
        self.times = Timings()
        """The time that was spent on the order."""
        self.order = OrderId.of(self.reference_id, graph.order.ordered_at)
        self.key = self.order.key
        self.error: Exception | None = None
        """The error that ended the order and has to end the load too."""
        self._place = file, number
        self._run = context.run_of(file)
        self._context = context
        updates = graph.mode == "upsert"
        self._creation = Creation(context, self.key, self._place, self.parts, self.times, updates=updates)
        self._started = False
        self._claimed = False
        self._busy: Busy | None = None
        """The claim of another worker."""
        self._unrecorded = False  # whether the journal failed to write the end of the order
        self._must_look = False
        """Whether an earlier run may have left parts that nothing names."""
        self._unseen = False
        """Whether it could not be found out which parts the input no longer has."""
        self._maybe_open = False
        """Whether an earlier run may have left the order open, and this run has not yet looked into it."""
        self._known_complete = False  # in the journal, before this run
        self._digest = b""
        self._tasks: set[asyncio.Task[object]] = set()
        """The tasks that work on a part of this order now; `abort` cancels only these."""
        self._began = context.clock()

    def __repr__(self) -> str:
        return f"<OrderRun {self.key}: {self.left} of {len(self.parts)} parts left>"

    @property
    def verdict(self) -> Verdict:
        """The verdict of the order as a whole."""
        verdicts = self._verdicts
        if self._busy is not None or (self._creation.is_lost and not verdicts <= MATCHING_VERDICTS):
            return Verdict.BUSY
        if self._unseen or (self._unrecorded and self.may_be_there):
            return Verdict.UNKNOWN
        if verdicts <= FOUND_VERDICTS:
            verdict = Verdict.LOADED if self._creation.made else Verdict.ALREADY
            return next((of_order for of_part, of_order in VERDICTS_IF_ALL_PRESENT if of_part in verdicts), verdict)
        if any(part.ref is not None for part in self.parts):
            verdict = Verdict.PARTIAL
        else:
            verdict = Verdict.FAILED if PartVerdict.FAILED in verdicts else Verdict.NOT_TRIED
        return next((of_order for of_part, of_order in VERDICTS_IF_SOME_ABSENT if of_part in verdicts), verdict)

    def outcome(self) -> Outcome:
        """Return the outcome of the order and of its parts."""
        file, number = self._place
        verdict = self.verdict
        untouched = verdict in {Verdict.BUSY, Verdict.NOT_TRIED} and not self.may_be_there
        return Outcome(
            file=file,
            number=number,
            key=self.key,
            verdict=verdict,
            parts=() if untouched else tuple([part.outcome for part in self.parts]),
            leftovers=self._creation.named_leftovers,
            seconds=self._context.clock() - self._began,
            times=self.times,
            retry_after=None if self._busy is None else self._busy.seconds,
        )

    def remembered(self) -> Remembered:
        """Return the entry for the memory of the client."""
        parts: Sequence[Part] | bytes = self.parts
        count = len(parts)
        creation = self._creation
        left = creation.leftovers.records
        if left or self._context.journal is not None:
            known = {part.key: part.record for part in self.parts if part.ref is not None or part.in_doubt}
            known.update(left)
            parts, count = packed(known), len(known)
        return Remembered(
            key=self.key,
            ordered_at=self.order.ordered_at,
            run=self._run,
            number=self._place[1],
            ended=self._context.clock(),
            complete=self._is_complete,
            gaps=creation.gaps,
            parts=parts,
            count=count,
            hashed=self._digest or (digest_of_parts(self.parts) if isinstance(parts, bytes) else b""),
            journal=self._context.journal,
        )

    @property
    def may_be_there(self) -> bool:
        """Whether any part is or may be on the server."""
        return any(part.ref is not None or part.in_doubt for part in self.parts)

    @property
    def requests_left(self) -> tuple[float, bool]:
        """The requests that the order still needs, and whether it is known if the server has the order.

        Before that is known, the order counts as absent.
        """
        if self.order_part.verdict is None and self._is_looked_for:
            return self.left + 1, False
        if self._creation.doubts is None or self.order_part.verdict is CREATED:
            return self.left, True
        known, lookup = self._creation.known, self._creation.lookup
        lists: Counter[str] = Counter()  # the parts that are to be found in a list of their kind
        requests = 0
        for part in self.parts:
            record = known.get(part.key)  # None of what was found just now
            if part.verdict is not None or (part.ref is not None and record and record.digest == part.digest):
                continue
            if part.ref is None and part.in_doubt:
                lists[part.key if part.kind in EXTENSIONS else part.kind] += 1
            else:
                requests += 1
        for kind in self._creation.leftovers.unread - EXTENSIONS:
            lists[kind] += 0
        return requests + lookup.requests_left(lists), True

    async def finish_part(self, part: Part, task: asyncio.Task[object]) -> Sequence[Part]:
        """Work on *part* in *task*, the current task, until it has a verdict; return the parts that waited only for it.

        The first call, for the part of the order itself, claims the order. The last call ends the claim.
        """
        creation = self._creation
        self._tasks.add(task)
        try:
            if not self._started and not await self._start():
                self.left = 0
            elif part.verdict is None:
                await (creation.create(part) if creation.doubts is None else creation.find_or_create(part))
        except BaseException as error:  # noqa: BLE001 it ends the part, and the load where it must
            self._ended_by(error, part, task)
        finally:
            self._tasks.discard(task)
        freed: Sequence[Part] = ()
        if self.left:
            self.left -= 1
            freed = self._unblock(part) if part.followers else ()
        if not self.left:
            if creation.leftovers.unread:
                await self._find_leftovers(task)
            await self._end(task)
        return freed

    async def _find_leftovers(self, task: asyncio.Task[object]) -> None:
        self._tasks.add(task)
        try:
            await self._creation.leftovers.find(self._creation.lookup)
        except BaseException as error:  # noqa: BLE001 it ends the order, and the load where it must
            self._unseen = True
            if isinstance(error, asyncio.CancelledError):
                unseen = "the look for parts that the input no longer has"
                error = self._cancelled(unseen, task) or OutcomeUnknown(f"the load was stopped in {unseen}")
                self.order_part.failure = Failure.of(error)
            elif isinstance(error, CdpError) and not isinstance(error, JournalError):
                self.order_part.failure = Failure.of(error)
            else:
                self.error = self.error or as_failure(error)
        finally:
            self._tasks.discard(task)

    def _ended_by(self, error: BaseException, part: Part, task: asyncio.Task[object]) -> None:
        """End *part* because of *error*; *task* works on it."""
        if isinstance(error, asyncio.CancelledError):
            self._creation.give_up(part, self._cancelled(part.name, task))
        elif isinstance(error, Exception):
            try:
                self._creation.failed(part, error)
            except Exception as failed:  # noqa: BLE001 the load raises it at its end
                self.error = self.error or failed
                self._creation.give_up(part, None)
        else:
            self.error = self.error or as_failure(error)
            self._creation.give_up(part, None)

    def _cancelled(self, what: str, task: asyncio.Task[object]) -> OutcomeUnknown | None:
        """Note that *what* was cancelled in *task*, which goes on; return the error, None if the load cancelled it.

        Others can cancel: an event loop that closes cancels all tasks, and so may the thing that *what* waits for.
        """
        by_load = task.cancelling() and self._context.aborting
        if task.cancelling():
            task.uncancel()
        if by_load:
            return None
        self.error = error = OutcomeUnknown(f"{what}: its call was cancelled, and not by the load")
        return error

    def abort(self) -> None:
        """Cancel the calls in flight."""
        current = asyncio.current_task()
        for task in self._tasks:
            if task is not current:  # the current task checks later whether the load aborts
                task.cancel()

    @property
    def claimed(self) -> bool:
        """Whether the journal holds the claim of this order."""
        return self._claimed

    def renewed(self, at: float | None) -> None:
        """Note that the claim was renewed *at* a time; None: another worker has it, so send nothing more."""
        lease = self._context.lease
        self._creation.claimed_until = NEVER if at is None or lease is None else at + lease

    async def _start(self) -> bool:
        """Claim the order and collect the knowledge of it; tell whether there is work to do."""
        self._started = True
        context = self._context
        if context.halted:
            return False
        claimed = Claimed(None)
        memory = context.claims.recall(self.reference_id)
        asks = self._is_looked_for
        if context.journal is not None:
            self._digest = digest_of_parts(self.parts)
            asked = context.clock()
            self._claimed = self._maybe_open = True  # before the wait: the journal claims even if this is cancelled
            with context.waiting(self.times, "journal"):
                place = self._place[1]
                sends = not (asks or memory)
                claim = await context.journal.claim(self.order, self._digest, run=self._run, number=place, sends=sends)
            if isinstance(claim, Busy):
                self._busy, self._claimed = claim, False
                return False
            if context.lease is not None:
                self.renewed(asked)
            claimed, record = claim, claim.record
            self._maybe_open = record is not None and not record.ended
            self._known_complete = record is not None and record.complete and record.digest == self._digest
        if claimed.record is None and not claimed.same_reference and not memory and not asks:
            return True
        known = combine_knowledge(
            self.order,
            claimed,
            memory,
            journal=context.journal,
            now=context.clock(),
            settle=context.settle,
        )
        if context.journal is not None:
            if known.new_keys:
                context.journal.rename(self.key, known.new_keys)
            for key, part in known.unrecorded.items():
                context.journal.record(self.key, key, part.digest, part.ref)
        return await self._decide(known, asks=asks)

    async def _decide(self, knowledge: Knowledge, *, asks: bool) -> bool:
        """Decide from *knowledge* which parts are in doubt; *asks* says whether to ask the server first.

        Returns whether there is work to do.
        """
        context, creation = self._context, self._creation
        digest = self._digest = self._digest or digest_of_parts(self.parts)
        doubts = doubts_of(self.parts, knowledge, digest, asks=asks, kinds=kinds_of_parts(context))
        creation.gaps = doubts.gaps
        here = self._run, self._place[1]
        digests = {(run, number): claimed for run, number, claimed in knowledge.claims if context.is_own(run)}
        if clashing := [place for place, claimed in digests.items() if place != here and claimed != digest]:
            return self._conflict(f"{self._describe(*min(clashing), self.key)} is the same order, with other content")
        if context.journal is not None:
            if doubts.new_keys:
                context.journal.rename(self.key, doubts.new_keys)
            for key, part in doubts.uncompared.items():
                context.journal.record(self.key, key, part.digest, part.ref)
        own = doubts.known.get(self.order_part.key)
        rivals = [rival for rival in knowledge.same if rival.ref is not None]
        if any(own is None or own.ref is None or own.ref == rival.ref for rival in rivals):
            first = rivals[0]
            return self._conflict(
                f"{self._describe(first.run, first.number, first.key)} has the same reference id,"
                f" and is on the server as the order {first.ref}: within two days the server takes both for one,"
                " and orderedAt cannot be changed"
            )
        sent_before = self._sent_before(knowledge, doubts.known, asks=asks)
        creation.doubt(doubts, [rival.key for rival in knowledge.same], sent_before)
        self._maybe_open = False
        self._must_look = doubts.must_read
        if doubts.complete:
            return False
        return not creation.refuses or await self._inspect()

    def _sent_before(self, knowledge: Knowledge, known: Mapping[str, PartRecord], *, asks: bool) -> float:
        """Return a time after all that was sent for the order so far; *known* are the records of its parts."""
        context, record = self._context, knowledge.record
        if record is None and not knowledge.same:
            return max(context.began if asks else NEVER, knowledge.last_sent)
        in_doubt = any(part.ref is None for part in known.values())
        if record is None or not record.ended or knowledge.same or in_doubt or context.lease is not None:
            return context.clock()
        # No other process has the journal. An earlier one ended the order, and this one knows when it did itself.
        return max(context.began, knowledge.last_ended)

    async def _inspect(self) -> bool:
        """Find the parts on the server before anything is sent; tell whether none of them has to be refused."""
        creation = self._creation
        try:
            good = await creation.inspect()
        except BaseException:
            self._forget_verdicts()  # these verdicts are not final: the parts end with the part of the order
            raise
        if not good:
            for part in self.parts:
                if part.verdict is None:
                    creation.give_up(part, None)
            return False
        found = {part.key: part.record for part in self.parts if part.verdict is not None}
        creation.known = {**creation.known, **found}
        self._forget_verdicts()
        return True

    def _forget_verdicts(self) -> None:
        for part in self.parts:
            part.verdict = None

    def _conflict(self, reason: str) -> bool:
        self.order_part.verdict, self.order_part.reason = PartVerdict.CONFLICT, reason
        for part in self.parts[1:]:
            part.verdict = PartVerdict.BLOCKED
        return False

    def _describe(self, run: bytes, number: int, key: str) -> str:
        """Name another order for a person; with its place, if it is in the same input."""
        if not self._context.is_own(run):
            return key
        file = self._context.file_of(run)
        return f"{key} (number {number} of the input)" if file is None else f"{key} (line {number} of {file})"

    def _unblock(self, done: Part) -> Sequence[Part]:
        """Return the parts that waited only for *done*; give up the parts that cannot be created without it."""
        freed: list[Part] = []
        ended = [done]
        while ended:
            part = ended.pop()
            there = part.is_there
            for n in part.followers:
                follower = self.parts[n]
                if follower.verdict is not None:
                    continue
                if there or (follower.after is part and not follower.is_behind_doubt):
                    follower.waits -= 1
                    if not follower.waits:
                        freed.append(follower)
                else:
                    self._creation.give_up(follower, None)
                    self.left -= 1
                    ended.append(follower)
        return freed

    @property
    def _is_looked_for(self) -> bool:
        """Whether the server is asked about the order before it is sent."""
        return self._context.look_first or self.graph.mode == "upsert"

    @property
    def _is_complete(self) -> bool:
        return self._verdicts <= MATCHING_VERDICTS

    @property
    def _verdicts(self) -> set[PartVerdict | None]:
        """The verdicts of the parts that this run did not create: mostly an empty set, which is quick to make."""
        return {part.verdict for part in self.parts if part.verdict is not CREATED}

    async def _end(self, task: asyncio.Task[object]) -> None:
        """Record the end of the order in the journal, and wait until it is on disk; *task* is the current task."""
        journal = self._context.journal
        if journal is None:
            self._creation.keep_leftovers()
        if journal is None or not self._claimed:
            return
        complete = self._is_complete
        try:
            self._creation.keep_leftovers()
            # The journal already says so, or has to say that the order is open.
            unseen = self._unseen or (self._must_look and self._creation.leftovers.unread)
            if self._maybe_open or unseen or (self._known_complete and complete):
                journal.release(self.key)
                return
            for part in self.parts if not complete else ():
                if part.in_doubt:  # the next run must look again
                    journal.record(self.key, part.key, part.digest, None)
            with self._context.waiting(self.times, "journal"):
                await journal.end(self.key, complete=complete, gaps=self._creation.gaps)
        except BaseException as error:  # noqa: BLE001 the load raises it
            self._unrecorded = True
            if isinstance(error, asyncio.CancelledError):
                self._cancelled("the end of the order", task)
            else:
                self.error = self.error or as_failure(error)
