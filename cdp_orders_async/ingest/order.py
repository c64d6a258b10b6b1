"""One order while it is loaded: what is known of it, and which of its parts is next."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from cdp_orders_async.errors import OutcomeUnknown
from cdp_orders_async.graph import OrderGraph
from cdp_orders_async.ingest.claims import Remembered, packed
from cdp_orders_async.ingest.context import LoadContext, as_failure
from cdp_orders_async.ingest.creation import Creation
from cdp_orders_async.ingest.duplicates import renamed, renumbered
from cdp_orders_async.ingest.knowledge import NEVER, Knowledge, known_of
from cdp_orders_async.ingest.outcomes import Outcome, PartVerdict, Verdict
from cdp_orders_async.ingest.parts import EXTENSIONS, Part, digest_of_parts, kind_of, parts_of
from cdp_orders_async.journal import Busy, Claimed, OrderId, PartRecord
from cdp_orders_async.session import Times

__all__ = ["OrderRun"]

NOTHING: Mapping[str, PartRecord] = MappingProxyType({})
CREATED = PartVerdict.CREATED
IS_THERE = frozenset({PartVerdict.FOUND, PartVerdict.UPDATED, PartVerdict.KEPT})
AS_TOLD = IS_THERE - {PartVerdict.KEPT}
THERE = ((PartVerdict.KEPT, Verdict.KEPT), (PartVerdict.UPDATED, Verdict.UPDATED))
NOT_THERE = ((PartVerdict.CONFLICT, Verdict.CONFLICT), (PartVerdict.UNKNOWN, Verdict.UNKNOWN))
"""What a part makes of the whole order; the first one counts."""


class OrderRun:
    """One order of a load. *file* and *number* say where it is in the input; *copy*: the *graph* may change."""

    def __init__(self, graph: OrderGraph, context: LoadContext, file: str | None, number: int, *, copy: bool) -> None:
        self.graph = graph
        self.reference_id = graph.order.reference_id
        self.parts = parts_of(graph, copy=copy)
        self.order_part = self.parts[0]
        self.left = len(self.parts)
        """How many parts have not come to their end."""
        self.times = Times()
        """Where its time went."""
        self.order = OrderId.of(self.reference_id, graph.order.ordered_at)
        self.key = self.order.key
        self.error: Exception | None = None
        """What ended it that has to end the load too."""
        self._place = file, number
        self._run = context.run_of(file)
        self._context = context
        updates = graph.mode == "upsert"
        self._creation = Creation(context, self.key, self._place, self.parts, self.times, updates=updates)
        self._started = False
        self._claimed = False
        self._busy = False
        self._unrecorded = False  # its end could not be written into the journal
        self._open = False
        """Whether an earlier run may have left it open, and this one does not know what yet."""
        self._known_complete = False
        """Whether the journal had it as complete before."""
        self._digest = b""
        self._tasks: set[asyncio.Task[object]] = set()
        """The tasks that work on a part of this order now: `abort` cancels only these."""
        self._drawn = context.clock()

    def __repr__(self) -> str:
        return f"<OrderRun {self.key}: {self.left} of {len(self.parts)} parts left>"

    @property
    def verdict(self) -> Verdict:
        """What came of it as a whole."""
        verdicts = self._verdicts
        if self._busy or (self._creation.is_lost and not verdicts <= AS_TOLD):
            return Verdict.BUSY
        if self._unrecorded and self.may_be_there:
            return Verdict.UNKNOWN
        if verdicts <= IS_THERE:
            verdict = Verdict.LOADED if self._creation.made else Verdict.ALREADY
            return next((as_a_whole for one, as_a_whole in THERE if one in verdicts), verdict)
        if any(part.ref is not None for part in self.parts):
            verdict = Verdict.PARTIAL
        else:
            verdict = Verdict.FAILED if PartVerdict.FAILED in verdicts else Verdict.NOT_TRIED
        return next((as_a_whole for one, as_a_whole in NOT_THERE if one in verdicts), verdict)

    def outcome(self) -> Outcome:
        """Return what came of it and its parts."""
        file, number = self._place
        verdict = self.verdict
        untouched = verdict in {Verdict.BUSY, Verdict.NOT_TRIED} and not self.may_be_there
        return Outcome(
            file=file,
            number=number,
            key=self.key,
            verdict=verdict,
            parts=() if untouched else tuple([part.outcome for part in self.parts]),
            leftovers=self._creation.leftovers,
            seconds=self._context.clock() - self._drawn,
            times=self.times,
        )

    def remembered(self) -> Remembered:
        """Return what the client remembers of it."""
        parts: Sequence[Part] | bytes = self.parts
        count = len(parts)
        left = {key: PartRecord(b"", ref) for (_, ref), key in self._creation.orphans.items()}
        if left or self._context.journal is not None:
            known = {part.key: part.record for part in self.parts if part.ref is not None or part.in_doubt} | left
            parts, count = packed(known), len(known)
        return Remembered(
            key=self.key,
            ordered_at=self.order.ordered_at,
            run=self._run,
            number=self._place[1],
            ended=self._context.clock(),
            complete=self._is_complete,
            parts=parts,
            count=count,
            hashed=self._digest,
            journal=self._context.journal,
        )

    @property
    def may_be_there(self) -> bool:
        """Whether anything of it is or may be on the server."""
        return any(part.ref is not None or part.in_doubt for part in self.parts)

    async def settle(self, part: Part, task: asyncio.Task[object]) -> Sequence[Part]:
        """Bring *part* to its end in *task*, the current one, and return those that waited for it alone.

        The first one is that of the order, whose claim is taken and given up here.
        """
        creation = self._creation
        self._tasks.add(task)
        try:
            if not self._started and not await self._start():
                self.left = 0
            elif part.verdict is None:
                await (creation.find_or_create(part) if creation.doubtful else creation.create(part))
        except BaseException as error:  # noqa: BLE001 raised again where it is none of this order's
            self._ended_by(error, part, task)
        finally:
            self._tasks.discard(task)
        freed: Sequence[Part] = ()
        if self.left:
            self.left -= 1
            freed = self._unblock(part) if part.followers else ()
        if not self.left:
            await self._end(task)
        return freed

    def _ended_by(self, error: BaseException, part: Part, task: asyncio.Task[object]) -> None:
        """End *part*, on which *task* works, because of *error*."""
        if isinstance(error, asyncio.CancelledError):
            self._creation.give_up(part, self._cancelled(part.name, task))
        elif isinstance(error, Exception):
            try:
                self._creation.failed(part, error)
            except Exception as failed:  # noqa: BLE001 told by the load, once the others are done
                self.error = self.error or failed
                self._creation.give_up(part, None)
        else:
            self.error = self.error or as_failure(error)
            self._creation.give_up(part, None)

    def _cancelled(self, what: str, task: asyncio.Task[object]) -> OutcomeUnknown | None:
        """Note that *what* was cancelled in *task*, which goes on; return the error that it is, unless the load did it.

        Its loop may close, which cancels all tasks, or something was cancelled that *what* waits for.
        """
        by_load = task.cancelling() and self._context.aborting
        if task.cancelling():
            task.uncancel()
        if by_load:
            return None
        self.error = error = OutcomeUnknown(f"{what}: its call was cancelled, and not by the load")
        return error

    def abort(self) -> None:
        """Give up what is in flight."""
        current = asyncio.current_task()
        for task in self._tasks:
            if task is not current:  # a task that gives up itself will see
                task.cancel()

    @property
    def claimed(self) -> bool:
        """Whether the journal holds the claim of this order."""
        return self._claimed

    def renewed(self, at: float | None) -> None:
        """Note that the claim was renewed *at* that time; None: another worker has it, and nothing more is sent."""
        lease = self._context.lease
        self._creation.claimed_until = float("-inf") if at is None or lease is None else at + lease

    async def _start(self) -> bool:
        """Claim the order, and find out what is known of it; tell whether anything is to be done."""
        self._started = True
        context = self._context
        if context.halted:
            return False
        claimed = Claimed(None)
        if context.journal is not None:
            self._digest = digest_of_parts(self.parts)
            asked = context.clock()
            self._claimed = self._open = True  # also where this is cancelled, since the journal does it all the same
            with context.waiting(self.times, "journal"):
                claim = await context.journal.claim(self.order, self._digest, run=self._run, number=self._place[1])
            if isinstance(claim, Busy):
                self._busy, self._claimed = True, False
                return False
            if context.lease is not None:
                self.renewed(asked)
            claimed, record = claim, claim.record
            self._open = record is not None and not record.ended
            self._known_complete = record is not None and record.complete and record.digest == self._digest
        memory = context.claims.recall(self.reference_id)
        asks = context.look_first or self.graph.mode == "upsert"
        if claimed.record is None and not claimed.same_reference and not memory and not asks:
            return True
        known = known_of(
            self.order,
            claimed.record,
            claimed.same_reference,
            memory,
            journal=context.journal,
            now=context.clock(),
            settle=context.settle,
        )
        if context.journal is not None:
            if known.moved:
                context.journal.rename(self.key, known.moved)
            for key, part in known.notes.items():
                context.journal.record(self.key, key, part.digest, part.ref)
        return await self._judge(known, asks=asks)

    async def _judge(self, knowledge: Knowledge, *, asks: bool) -> bool:
        """Decide what is in doubt, given what is known, and whether the server is asked first.

        Tells whether anything is to be done.
        """
        context, creation = self._context, self._creation
        record, same = knowledge.record, knowledge.same
        digest = self._digest = self._digest or digest_of_parts(self.parts)
        here = self._run, self._place[1]
        lines = {(run, number): other for run, number, other in knowledge.claims if context.is_own(run)}
        if clashing := [line for line, other in lines.items() if line != here and other != digest]:
            return self._conflict(f"{self._named(*min(clashing), self.key)} is the same order, with other content")
        # A run that was given up may have left the keys of what it was to load before.
        edited = record is not None and (record.digest != digest or not record.ended)
        known = NOTHING if record is None else record.parts
        known = self._renumbered(known) if edited else known
        own = known.get(self.order_part.key)
        if any(one.ref is not None and (own is None or own.ref is None or own.ref == one.ref) for one in same):
            first = next(one for one in same if one.ref is not None)
            return self._conflict(
                f"{self._named(first.run, first.number, first.key)} has the same reference id,"
                f" and is on the server as the order {first.ref}: within two days the two are one order to the server,"
                " and orderedAt cannot be changed"
            )
        unsure = asks or knowledge.sent > NEVER or (record is not None and not record.ended)
        complete = record is not None and record.complete and not edited
        for part in self.parts:
            found = known.get(part.key)
            part.ref = None if found is None else found.ref
            part.in_doubt = part.ref is None and (unsure or found is not None)
            part.verdict = PartVerdict.FOUND if complete else None
        since = max(context.began if asks else NEVER, knowledge.sent)
        creation.doubt(known, [one.key for one in same], context.clock() if record is not None or same else since)
        self._open = False
        self._find_orphans(known, unsure=unsure)
        self.order_part.in_doubt = self.order_part.ref is None and any(part.in_doubt for part in self.parts)
        if complete:
            return False
        return not creation.refuses or await self._inspect()

    async def _inspect(self) -> bool:
        """Find what is there before anything is sent; tell whether nothing of it has to be refused."""
        creation = self._creation
        try:
            good = await creation.inspect()
        except BaseException:
            self._forget_verdicts()  # no part has come to its end: they end with that of the order
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

    def _renumbered(self, records: Mapping[str, PartRecord]) -> Mapping[str, PartRecord]:
        """Return what is known by the keys that the parts have now, and let the journal have it so too."""
        keys = renumbered(self.parts, records)
        if keys and self._context.journal is not None:
            self._context.journal.rename(self.key, keys)
        return renamed(records, keys)

    def _find_orphans(self, known: Mapping[str, PartRecord], *, unsure: bool) -> None:
        """Note which known parts the input no longer has.

        A part that is new may be one of them, edited; and so may one that is in doubt, by a run that was given up. What
        can be taken for a part that is in doubt is so too.
        """
        keys = {part.key for part in self.parts}
        claimed = {(kind_of(key), one.ref) for key, one in known.items() if key in keys}
        orphans = {key: one for key, one in known.items() if key not in keys and (kind_of(key), one.ref) not in claimed}
        creation = self._creation
        creation.orphans = {(kind_of(key), one.ref): key for key, one in orphans.items() if one.ref is not None}
        if not orphans and not any(part.in_doubt for part in self.parts):
            return
        lookup = creation.lookup
        lookup.edited = True
        lookup.listless = not unsure and all(one.ref is not None for one in known.values())
        lookup.orphans = {ref: kind for kind, ref in creation.orphans if ref is not None and kind not in EXTENSIONS}
        kinds = {kind_of(key) for key in orphans}
        groups = {part.group for part in self.parts if part.in_doubt and part.group}
        renamed: set[Part] = set()
        for part in self.parts:
            if part.ref is not None:
                continue
            if part.group in groups or (part.kind in kinds and part.kind not in EXTENSIONS):
                part.in_doubt = True
                renamed.add(part)
            elif part.owner in renamed:
                part.in_doubt = True

    def _conflict(self, reason: str) -> bool:
        self.order_part.verdict, self.order_part.reason = PartVerdict.CONFLICT, reason
        for part in self.parts[1:]:
            part.verdict = PartVerdict.BLOCKED
        return False

    def _named(self, run: bytes, number: int, key: str) -> str:
        """Name another order, for a person: with its place, where it is in the input too."""
        if not self._context.is_own(run):
            return key
        file = self._context.file_of(run)
        return f"{key} (number {number} of the input)" if file is None else f"{key} (line {number} of {file})"

    def _unblock(self, settled: Part) -> Sequence[Part]:
        """Return those that only waited for the part just *settled*; give up those that cannot be without it."""
        freed: list[Part] = []
        ended = [settled]
        while ended:
            part = ended.pop()
            there = part.is_there
            for n in part.followers:
                other = self.parts[n]
                if other.verdict is not None:
                    continue
                if there or (other.after is part and not other.is_behind_doubt):
                    other.waits -= 1
                    if not other.waits:
                        freed.append(other)
                else:
                    self._creation.give_up(other, None)
                    self.left -= 1
                    ended.append(other)
        return freed

    @property
    def _is_complete(self) -> bool:
        return self._verdicts <= AS_TOLD

    @property
    def _verdicts(self) -> set[PartVerdict | None]:
        """What came of the parts that this run did not create: of most orders nothing, which costs no hash."""
        return {part.verdict for part in self.parts if part.verdict is not CREATED}

    async def _end(self, task: asyncio.Task[object]) -> None:
        """Note the end of the order, durably; *task* is the current one."""
        journal = self._context.journal
        if journal is None or not self._claimed:
            return
        complete = self._is_complete
        try:
            if self._open or (self._known_complete and complete):  # the journal says so already
                journal.release(self.key)
                return
            for part in self.parts if not complete else ():
                if part.in_doubt:  # the next run must look again
                    journal.record(self.key, part.key, part.digest, None)
            with self._context.waiting(self.times, "journal"):
                await journal.end(self.key, complete=complete)
        except BaseException as error:  # noqa: BLE001 told by the load
            self._unrecorded = True
            if isinstance(error, asyncio.CancelledError):
                self._cancelled("the end of the order", task)
            else:
                self.error = self.error or as_failure(error)
