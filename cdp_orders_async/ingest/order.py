"""One order, loaded: each part as soon as what it needs is there, and nothing made twice.

A create whose outcome is unknown is looked up before it is sent again. Found: its reference is adopted.
Absent, also after the time that lists may lag behind writes: it is sent. Several candidates: it is set
aside as a conflict.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

import msgspec

from cdp_orders_async.client import ResourcesV2
from cdp_orders_async.errors import (
    CdpError,
    DeadlineExceeded,
    Delivery,
    Forbidden,
    NotSent,
    OutcomeUnknown,
    RateLimited,
    ServerError,
    Unauthorized,
    Unreadable,
)
from cdp_orders_async.graph import OrderGraph
from cdp_orders_async.ingest.compare import diff as differences
from cdp_orders_async.ingest.compare import merge as filled
from cdp_orders_async.ingest.control import Control, counts_against
from cdp_orders_async.ingest.find import Finder, SeveralError
from cdp_orders_async.ingest.outcomes import Failure, Outcome, PartVerdict, Verdict
from cdp_orders_async.ingest.plan import EXTENSIONS, Made, MadeExtension, Part, digest_of, plan
from cdp_orders_async.journal import PartRecord
from cdp_orders_async.session import Times
from cdp_orders_async.wire import Request, reads

__all__ = ["OrderRun"]

T = TypeVar("T")

ROUNDS = 8  # times that a part is tried while nothing but the part itself seems to be the reason that it fails
IMMUTABLE = frozenset({"reference_id", "ordered_at"})
PASSING = (DeadlineExceeded, NotSent, OutcomeUnknown, RateLimited, ServerError, Unreadable)
MAYBE_DONE = frozenset({Delivery.UNKNOWN, Delivery.DONE_UNREADABLE})
READ, READ_EXTENSION = reads(Made), reads(MadeExtension)


class OrderRun:
    """One order while it is loaded."""

    def __init__(self, graph: OrderGraph, control: Control, file: str | None, number: int) -> None:
        self.name = graph.order.reference_id
        self.parts = plan(graph)
        self.order = self.parts[0]
        self.left = len(self.parts)
        """How many parts have not come to their end."""
        self.times = Times()
        """Where its time went."""
        self._key = graph.key
        self._place = file, number
        self._graph = graph
        self._namesake_in_doubt = False
        """Whether an order on the server with this reference id may be that of another graph."""
        self._control = control
        self._journal = control.journal
        self._transport = control.transport(self.times)
        self._known: Mapping[str, PartRecord] = {}
        """What the journal knew of the parts when this run began."""
        self._namesakes: set[UUID] = set()
        """The orders on the server that could be this one, also those that belong to others of the input."""
        self._doubtful = False
        """Whether anything of it could be on the server."""
        self._starting = False
        """Whether it is about to begin: then it soon has parts to send."""
        self._tasks: set[asyncio.Task[Any]] = set()
        """Those that work on a part of it; none of them is to be cancelled when it works on something else."""
        self._drawn = control.clock()
        self._since = 0.0
        """When this run began: whatever another run sent, it sent before."""
        self._made = False

    @property
    def verdict(self) -> Verdict:
        """What came of it as a whole."""
        if all(part.is_there for part in self.parts):
            return Verdict.LOADED if self._made else Verdict.ALREADY
        verdicts = {part.verdict for part in self.parts}
        if PartVerdict.CONFLICT in verdicts:
            return Verdict.CONFLICT
        if PartVerdict.UNKNOWN in verdicts:
            return Verdict.UNKNOWN
        return Verdict.PARTIAL if any(part.is_there for part in self.parts) else Verdict.FAILED

    def outcome(self) -> Outcome:
        """Return what came of it and its parts, for whoever listens."""
        file, number = self._place
        return Outcome(
            file=file,
            number=number,
            key=self._key,
            verdict=self.verdict,
            parts=tuple([part.outcome for part in self.parts]),
            seconds=self._control.clock() - self._drawn,
            times=self.times,
        )

    async def begin(self, *, namesake_in_doubt: bool) -> Sequence[Part]:
        """Find out what is left to do, and return the part to begin with; raises `JournalError` if the journal fails.

        *namesake_in_doubt*: whether an order on the server with this reference id may be that of another graph.
        """
        self._namesake_in_doubt = self._doubtful = namesake_in_doubt
        self._starting = True
        self._control.starting += 1
        if await self._is_complete():
            self._begun()
            self.left = 0
            return ()
        self._since = self._control.clock()
        return (self.order,)

    async def settle(self, part: Part, task: asyncio.Task[Any]) -> Sequence[Part]:
        """Bring *part* to its end in *task*, the current one, and return those that waited for it alone.

        Raises `JournalError` as `begin` does.
        """
        error: CdpError | None = None
        self._tasks.add(task)
        try:
            await (self._load(part) if self._doubtful else self._create(part))
        except SeveralError:
            self._note(part, None)  # one of them may be it: the next run must look again
            part.verdict = PartVerdict.CONFLICT
        except asyncio.CancelledError:
            if not self._control.aborting:
                raise
            task.uncancel()
        except CdpError as caught:
            if isinstance(caught, (Unauthorized, Forbidden)):
                self._control.heard(caught)
            error = caught
        finally:
            self._tasks.discard(task)
        if part.verdict is None:
            self._not_there(part, error)
        if part is self.order:
            self._begun()
        self.left -= 1
        freed = self._freed_by(part) if part.followers else ()
        if not self.left and self._journal is not None:
            complete = all(part.is_there and not part.differs for part in self.parts)
            await self._spend("journal", self._journal.end(self._key, complete=complete))
        return freed

    def abort(self) -> None:
        """Give up what is in flight."""
        current = asyncio.current_task()
        for task in self._tasks:
            if task is not current:  # who gives up itself will see
                task.cancel()

    async def _is_complete(self) -> bool:
        """Find out what is known of the order, and what is in doubt; tell whether nothing is left to do."""
        complete, unsure = False, self._control.look_first or self._graph.mode == "upsert"
        if self._journal is not None:
            digest = digest_of(*[part.key.encode() + part.digest for part in self.parts])
            record = await self._spend("journal", self._journal.begin(self._key, digest))
            if record is not None:
                self._known, unsure = record.parts, unsure or not record.ended
                complete = record.complete and record.digest == digest
        if self._known or unsure:
            self._doubtful = True
            for part in self.parts:
                known = self._known.get(part.key)
                part.ref = None if known is None else known.ref
                part.in_doubt = part.ref is None and (unsure or known is not None)
                part.verdict = PartVerdict.FOUND if complete else None
            self.order.in_doubt = self.order.ref is None and any(part.in_doubt for part in self.parts)
        return complete

    def _begun(self) -> None:
        """Let another order begin: the parts of this one can be sent, or it waits for something else."""
        if self._starting:
            self._starting = False
            self._control.starting -= 1

    def _freed_by(self, settled: Part) -> Sequence[Part]:
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
                if there or (other.after is part and not part.in_doubt):
                    other.waits -= 1
                    if not other.waits:
                        freed.append(other)
                else:
                    self._not_there(other, None)
                    self.left -= 1
                    ended.append(other)
        return freed

    async def _load(self, part: Part) -> None:
        known = self._known.get(part.key)
        if known is not None and known.ref is not None and known.digest == part.digest:
            part.verdict = PartVerdict.FOUND
        elif self._control.aborting or (part is self.order and self._namesake_in_doubt and part.ref is None):
            return
        elif part.ref is not None:
            await self._meet(part, await self._finder.current(part), PartVerdict.FOUND)
        elif not part.in_doubt or not await self._adopt(part, self._since, PartVerdict.FOUND):
            if part is self.order and not self._namesakes:
                self._nothing_is_in_doubt()  # without the order, none of its parts can be there
            await self._create(part)

    async def _create(self, part: Part) -> None:
        """Send *part*; after a lost answer look it up, and send it again only when it is absent."""
        control = self._control
        rounds, answers = 0, control.answers
        while True:
            if control.breaker.state != "closed":
                await self._server_is_up()
            if control.halted:
                part.verdict = PartVerdict.BLOCKED
                return
            part.in_doubt = True
            try:
                got = await self._transport.send(self._request(part))
            except CdpError as error:
                control.heard(error)
                rounds += counts_against(error, others=control.answers > answers)
                answers = control.answers
                if error.delivery in MAYBE_DONE:
                    if await self._adopt(part, control.clock(), PartVerdict.CREATED):
                        self._made = True
                        return
                    error.delivery = Delivery.NOT_SENT  # looked up: it is certainly not there
                part.in_doubt = False
                if not isinstance(error, PASSING) or rounds >= ROUNDS or control.halted:
                    raise
            else:
                control.heard(None)
                self._made = True
                if part is self.order and got.ref not in self._namesakes:
                    self._nothing_is_in_doubt()  # a new order has no parts yet
                self._know(part, got.ref)
                part.verdict = PartVerdict.CREATED
                return

    async def _adopt(self, part: Part, since: float, verdict: PartVerdict) -> bool:
        """Take over *part* if the server has it; *since* is when it may have been sent at the latest.

        Lists may lag behind writes, so that something is absent or differs counts only after the settling time.
        """
        control = self._control
        settled = since + control.settle
        looks = [since, since + control.settle / 4, settled] if settled > control.clock() else [settled]
        for after in looks:
            if after > control.clock():
                self._begun()  # others need not wait for what waits for the time to pass
                await self._spend("backoff", control.pause(after - control.clock()))
            if control.halted and control.clock() < after:
                raise OutcomeUnknown(f"the load was stopped before it was certain whether {part.name} is there")
            got = await self._finder.look(part, after)
            if got is not None and (after == settled or not differences(part.sent(), got)):
                await self._meet(part, got, verdict)
                return True
        if self._journal is not None:
            self._journal.forget(self._key, part.key)
        part.in_doubt = False
        return False

    async def _meet(self, part: Part, got: Any, verdict: PartVerdict) -> None:  # noqa: ANN401 any resource
        """Deal with a part that is there: leave what is otherwise in it, change it, or refuse, as the load was told."""
        policy = "update" if self._graph.mode == "upsert" else self._control.on_existing
        differs = differences(part.sent(), got)
        fixed = IMMUTABLE if part is self.order else frozenset[str]()
        changed = [name for name in differs if name not in fixed]
        self._know(part, got.ref, differs)
        if differs and policy == "fail":
            verdict = PartVerdict.CONFLICT
        elif changed and policy == "update":
            await self._patiently(partial(self._transport.send, self._change(part, changed, got)))
            self._made = True
            verdict = PartVerdict.UPDATED
            self._know(part, got.ref, tuple(name for name in differs if name in fixed))
        part.verdict = verdict

    @functools.cached_property
    def _finder(self) -> Finder:
        cdp = type(self._control.cdp)(self._transport, self._control.cdp.base_url)
        journaled = {one.ref for one in self._known.values() if one.ref is not None}
        return Finder(
            self._graph,
            self.parts,
            journaled,
            cdp,
            self._control.clock,
            self._patiently,
            lambda ref: self._spend("journal", self._control.may_claim(ref, self._key)),
            self._namesakes,
        )

    async def _patiently(self, make: Callable[[], Awaitable[T]]) -> T:
        """Do what may be done again and again, also while the server is down for a time."""
        control = self._control
        rounds, answers = 0, control.answers
        while True:
            if control.breaker.state != "closed":
                await self._server_is_up()
            try:
                result = await make()
            except PASSING as error:
                control.heard(error)
                rounds += counts_against(error, others=control.answers > answers)
                answers = control.answers
                if rounds >= ROUNDS or control.halted or (isinstance(error, Unreadable) and not error.cut):
                    raise
            else:
                control.heard(None)
                return result

    async def _server_is_up(self) -> None:
        """Wait while the server is down, and for the turn to try it."""
        await self._spend("backoff", self._control.breaker.wait())

    async def _spend(self, name: str, waiting: Awaitable[T]) -> T:
        """Wait, and count the time as *name*."""
        began = self._control.clock()
        self._control.step_aside()
        try:
            return await waiting
        finally:
            self._control.step_in()
            setattr(self.times, name, getattr(self.times, name) + self._control.clock() - began)

    def _request(self, part: Part) -> Request[Any]:
        to_create: Callable[..., Request[Any]] = getattr(self._control.cdp, part.kind).to_create
        if part.owner is None:
            return to_create(part.value, read=READ, looked_up=True)
        read = READ_EXTENSION if part.kind in EXTENSIONS else READ
        return to_create(part.owner.ref, part.sent(), read=read, stage=part.stage, looked_up=True)

    def _change(self, part: Part, names: Sequence[str], got: Any) -> Request[Any]:  # noqa: ANN401 any resource
        """Return the request that brings the fields *names* of *part* up to the input, where the server has *got*.

        Version 2 takes only the whole thing, so what the input does not say is sent as it is there. For extensions
        it has one request: what makes one, sets the pairs of one that is there.
        """
        resource: Any = getattr(self._control.cdp, part.kind)
        legacy, sent = isinstance(self._control.cdp, ResourcesV2), part.sent()
        if part.kind in EXTENSIONS and legacy:
            request: Request[Any] = msgspec.structs.replace(resource.to_create(part.under, sent), creates=False)
        elif part.kind in EXTENSIONS:
            request = resource.to_replace(part.under, sent)
        elif legacy:
            request = resource.to_update(part.ref, filled(sent, got, IMMUTABLE if part is self.order else ()))
        else:
            request = resource.to_update(part.ref, {name: getattr(sent, name) for name in names})
        return request

    def _know(self, part: Part, ref: UUID | None, differs: tuple[str, ...] = ()) -> None:
        """Note that *part* is on the server as *ref*, where it *differs* from the input in some fields."""
        part.ref = ref or part.under  # an extension is found by its owner, whatever it is called
        part.in_doubt, part.differs = False, differs
        if part is self.order and part.ref is not None:
            self._control.claim(part.ref, self._key)
        self._note(part, part.ref)

    def _not_there(self, part: Part, error: CdpError | None) -> None:
        """Settle a part that failed, or whose task was given up: unknown where it may be there all the same."""
        part.failure = None if error is None else Failure.of(error, self._graph)
        part.differs = ()
        if part.in_doubt:
            self._note(part, None)
            part.verdict = PartVerdict.UNKNOWN
        else:
            part.verdict = PartVerdict.BLOCKED if error is None else PartVerdict.FAILED

    def _note(self, part: Part, ref: UUID | None) -> None:
        if self._journal is not None:
            # A part that differs keeps a hash that fits no input, so that the next run compares again.
            self._journal.record(self._key, part.key, b"" if part.differs else part.digest, ref)

    def _nothing_is_in_doubt(self) -> None:
        for part in self.parts:
            part.in_doubt = False
