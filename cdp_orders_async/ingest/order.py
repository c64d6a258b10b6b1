"""One order, loaded: each part as soon as what it needs is there, and nothing made twice.

A create whose outcome is unknown is looked up before it is sent again. Found: its reference is adopted.
Absent, also after the time that lists may lag behind writes: it is sent. Several candidates: it is set
aside as a conflict.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, Protocol, TypeVar
from uuid import UUID

import attrs

from cdp_orders_async.breaker import Breaker
from cdp_orders_async.client import Resources, ResourcesV2
from cdp_orders_async.errors import (
    CdpError,
    DeadlineExceeded,
    Delivery,
    Forbidden,
    NotSent,
    OutcomeUnknown,
    PoolTimeout,
    RateLimited,
    ServerError,
    Unauthorized,
    Unreadable,
)
from cdp_orders_async.graph import OrderGraph
from cdp_orders_async.ingest.find import Finder, SeveralError
from cdp_orders_async.ingest.match import differences, filled
from cdp_orders_async.ingest.outcomes import Failure, PartOutcome, PartVerdict, Verdict
from cdp_orders_async.ingest.plan import EXTENSIONS, Work, digest_of, plan
from cdp_orders_async.journal import GraphRecord, Journal, PartRecord
from cdp_orders_async.retry import down
from cdp_orders_async.wire import Request

__all__ = ["Control", "OnExisting", "OrderRun"]

T = TypeVar("T")
OnExisting = Literal["keep", "update", "fail"]

ROUNDS = 8  # times that a part is tried while nothing but the part itself seems to be the reason that it fails
IMMUTABLE = frozenset({"reference_id", "ordered_at"})
PASSING = (DeadlineExceeded, NotSent, OutcomeUnknown, RateLimited, ServerError, Unreadable)
MAYBE_DONE = frozenset({Delivery.UNKNOWN, Delivery.DONE_UNREADABLE})


class Control(Protocol):
    """What an order shares with the load that it belongs to."""

    cdp: Resources | ResourcesV2
    journal: Journal | None
    breaker: Breaker
    settle: float
    """Seconds that a list may lag behind a write."""
    on_existing: OnExisting
    look_first: bool
    answers: int
    """How many calls succeeded so far."""
    halted: bool
    """Whether nothing more may be created."""
    aborting: bool
    """Whether what is in flight is being given up."""

    def clock(self) -> float:
        """Return the time in seconds."""
        ...

    async def pause(self, seconds: float) -> None:
        """Sleep, but wake up when the load is halted."""
        ...

    def heard(self, error: CdpError | None) -> None:
        """Note what the server answered, or that it did not."""
        ...

    async def may_claim(self, ref: UUID, key: str) -> bool:
        """Tell whether the order *ref* belongs to no other order of the input."""
        ...

    def claim(self, ref: UUID, key: str) -> None:
        """Note to which order of the input the order *ref* belongs."""
        ...


class OrderRun:
    """The state of one order while it is loaded."""

    def __init__(self, graph: OrderGraph, control: Control, *, namesake_in_doubt: bool = False) -> None:
        self.graph = graph
        self.key = graph.key
        self.work = Work(graph, plan(graph))
        self.outcomes: dict[int, PartOutcome] = {}
        self._namesake_in_doubt = namesake_in_doubt
        """Whether an order on the server with this reference id may be that of another graph."""
        self._control = control
        self._journal = control.journal
        self._finder = Finder(
            self.work, control.cdp, control.clock, self._patiently, lambda ref: control.may_claim(ref, self.key)
        )
        self._record: GraphRecord | None = None
        self._missing = [len(part.needs) + (part.after is not None) for part in self.work.parts]
        """For how many other parts each still waits."""
        self._tasks: list[asyncio.Task[None]] = []
        self._since = 0.0
        """When this run began: whatever another run sent, it sent before."""
        self._made = False

    @property
    def in_doubt(self) -> bool:
        """Whether the order itself may be on the server, with a reference that is not known."""
        return 0 in self.work.in_doubt

    async def run(self) -> Verdict:
        """Load the order and return what came of it; raises `JournalError` if the journal fails."""
        verdict = await self._resume()
        if verdict is not None:
            return verdict
        self._since = self._control.clock()
        async with asyncio.TaskGroup() as group:
            self._start(group, 0)
        verdict = self._verdict()
        if self._journal is not None:
            whole = verdict in {Verdict.LOADED, Verdict.ALREADY}
            kept = any(outcome.differs for outcome in self.outcomes.values())
            await self._journal.end(self.key, complete=whole and not kept)
        return verdict

    def abort(self) -> None:
        """Give up what is in flight."""
        for task in self._tasks:
            task.cancel()

    async def _resume(self) -> Verdict | None:
        """Find out what is known of the order and what is in doubt; return its verdict if nothing is left to do."""
        parts, record = self.work.parts, None
        digest = b""
        if self._journal is not None:
            digest = digest_of(*[part.key.encode() + part.digest for part in parts])
            record = self._record = await self._journal.begin(self.key, digest)
        known: Mapping[str, PartRecord] = {} if record is None else record.parts
        interrupted = record is not None and not record.ended
        look_first = self._control.look_first or self.graph.mode == "upsert"
        self.work.taken = {one.ref for one in known.values() if one.ref is not None}
        for n, part in enumerate(parts):
            if part.key in known and (ref := known[part.key].ref) is not None:
                self.work.refs[n] = ref
            elif part.key in known or interrupted or look_first:
                self.work.in_doubt.add(n)
        if record is not None and record.complete and record.digest == digest:
            for n in range(len(parts)):
                self._settle_as(n, PartVerdict.FOUND)
            return Verdict.ALREADY
        if self.work.in_doubt and 0 not in self.work.refs:
            self.work.in_doubt.add(0)
        return None

    def _start(self, group: asyncio.TaskGroup, n: int) -> None:
        self._tasks.append(group.create_task(self._settle(group, n)))

    async def _settle(self, group: asyncio.TaskGroup, first: int) -> None:
        """Bring a part to its outcome, and then whatever waited for it alone: one here, the others at the same time."""
        ready = [first]
        while ready:
            n, *others = ready
            for other in others:
                self._start(group, other)
            error: CdpError | None = None
            try:
                await self._load(n)
            except SeveralError:
                self._note(n, None)  # one of them may be it: the next run must look again
                self._settle_as(n, PartVerdict.CONFLICT)
            except asyncio.CancelledError:
                if not self._control.aborting:
                    raise
            except CdpError as caught:
                if isinstance(caught, (Unauthorized, Forbidden)):
                    self._control.heard(caught)
                error = caught
            if n not in self.outcomes:
                self._not_there(n, error)
            ready = self._ready(n)

    def _ready(self, settled: int) -> list[int]:
        """Return the parts that only waited for the one just *settled*, and give up those that cannot be without it."""
        ready, news = list[int](), [settled]
        while news:
            n = news.pop()
            there = self.outcomes[n].verdict.there
            for other in self.work.parts[n].followers:
                if other in self.outcomes:
                    continue
                if there or (self.work.parts[other].after == n and n not in self.work.in_doubt):
                    self._missing[other] -= 1
                    if not self._missing[other]:
                        ready.append(other)
                else:
                    self._not_there(other, None)
                    news.append(other)
        return ready

    async def _load(self, n: int) -> None:
        part = self.work.parts[n]
        known = None if self._record is None else self._record.parts.get(part.key)
        if known is not None and known.ref is not None and known.digest == part.digest:
            self._settle_as(n, PartVerdict.FOUND)
        elif self._control.aborting:
            return
        elif known is not None and known.ref is not None:
            now = await self._finder.current(n, known.ref)
            await self._meet(n, now, PartVerdict.FOUND)
        elif n == 0 and self._namesake_in_doubt:
            return
        elif n not in self.work.in_doubt or not await self._adopt(n, self._since, PartVerdict.FOUND):
            if n == 0 and not self._finder.namesakes:
                self.work.in_doubt.clear()  # without the order, none of its parts can be there
            await self._create(n)

    async def _create(self, n: int) -> None:
        """Send part *n*; after a lost answer look it up, and send it again only when it is absent."""
        control = self._control
        rounds, answers = 0, control.answers
        while True:
            await control.breaker.wait()
            if control.halted:
                self._settle_as(n, PartVerdict.BLOCKED)
                return
            self.work.in_doubt.add(n)
            try:
                got = await control.cdp.transport.send(self._request(n))
            except CdpError as error:
                control.heard(error)
                rounds += _counts(error, others=control.answers > answers)
                answers = control.answers
                if error.delivery in MAYBE_DONE:
                    if await self._adopt(n, control.clock(), PartVerdict.CREATED):
                        self._made = True
                        return
                    error.delivery = Delivery.NOT_SENT  # looked up: it is certainly not there
                self.work.in_doubt.discard(n)
                if not isinstance(error, PASSING) or rounds >= ROUNDS or control.halted:
                    raise
            else:
                control.heard(None)
                self._made = True
                if n == 0 and got.ref not in self._finder.namesakes:
                    self.work.in_doubt.clear()  # a new order has no parts yet
                self._know(n, got.ref)
                self._settle_as(n, PartVerdict.CREATED)
                return

    async def _adopt(self, n: int, since: float, verdict: PartVerdict) -> bool:
        """Take over part *n* if the server has it; *since* is when it may have been sent at the latest.

        Lists may lag behind writes, so that something is absent or differs counts only after the settling time.
        """
        control = self._control
        settled = since + control.settle
        looks = [since, since + control.settle / 4, settled] if settled > control.clock() else [settled]
        for after in looks:
            await control.pause(after - control.clock())
            if control.halted and control.clock() < after:
                raise OutcomeUnknown(
                    f"the load was stopped before it was certain whether {self.work.parts[n].name} is there"
                )
            got = await self._finder.look(n, after)
            if got is not None and (after == settled or not differences(self.work.sent(n), got)):
                await self._meet(n, got, verdict)
                return True
        if self._journal is not None:
            self._journal.forget(self.key, self.work.parts[n].key)
        self.work.in_doubt.discard(n)
        return False

    async def _meet(self, n: int, got: Any, verdict: PartVerdict) -> None:  # noqa: ANN401 any resource
        """Deal with a part that is there: leave what is otherwise in it, change it, or refuse, as the load was told."""
        policy = "update" if self.graph.mode == "upsert" else self._control.on_existing
        differs = differences(self.work.sent(n), got)
        fixed = IMMUTABLE if n == 0 else frozenset[str]()
        changed = [name for name in differs if name not in fixed]
        self._know(n, got.ref, differs)
        if differs and policy == "fail":
            verdict = PartVerdict.CONFLICT
        elif changed and policy == "update":
            await self._patiently(partial(self._control.cdp.transport.send, self._change(n, changed, got)))
            self._made = True
            verdict = PartVerdict.UPDATED
            differs = tuple(name for name in differs if name in fixed)
            self._know(n, got.ref, differs)
        self._settle_as(n, verdict, differs)

    async def _patiently(self, make: Callable[[], Awaitable[T]]) -> T:
        """Do what may be done again and again, also while the server is down for a time."""
        control = self._control
        rounds, answers = 0, control.answers
        while True:
            await control.breaker.wait()
            try:
                result = await make()
            except PASSING as error:
                control.heard(error)
                rounds += _counts(error, others=control.answers > answers)
                answers = control.answers
                if rounds >= ROUNDS or control.halted or (isinstance(error, Unreadable) and not error.cut):
                    raise
            else:
                control.heard(None)
                return result

    def _request(self, n: int) -> Request[Any]:
        part, value = self.work.parts[n], self.work.sent(n)
        resource: Any = getattr(self._control.cdp, part.kind)
        under = () if n == 0 else (self.work.refs[part.owner],)
        request: Request[Any] = resource.to_create(*under, value, stage=part.stage, looked_up=True)
        return request

    def _change(self, n: int, names: Sequence[str], got: Any) -> Request[Any]:  # noqa: ANN401 any resource
        """Return the request that brings the fields *names* of part *n* up to the input, where the server has *got*.

        Version 2 takes only the whole thing, so what the input does not say is sent as it is there. For extensions
        it has one request: what makes one, sets the pairs of one that is there.
        """
        part, sent = self.work.parts[n], self.work.sent(n)
        resource: Any = getattr(self._control.cdp, part.kind)
        legacy = isinstance(self._control.cdp, ResourcesV2)
        if part.kind in EXTENSIONS:
            owner = self.work.refs[part.owner]
            request: Request[Any] = (
                attrs.evolve(resource.to_create(owner, sent), creates=False)
                if legacy
                else resource.to_replace(owner, sent)
            )
        elif legacy:
            request = resource.to_update(self.work.refs[n], filled(sent, got, IMMUTABLE if n == 0 else ()))
        else:
            request = resource.to_update(self.work.refs[n], {name: getattr(sent, name) for name in names})
        return request

    def _know(self, n: int, ref: UUID | None, differs: Sequence[str] = ()) -> None:
        """Note that part *n* is on the server as *ref*, where it *differs* from the input in some fields."""
        part = self.work.parts[n]
        ref = ref or self.work.refs[part.owner]  # an extension is found by its owner, whatever it is called
        self.work.holds(n, ref)
        self.work.in_doubt.discard(n)
        if n == 0:
            self._control.claim(ref, self.key)
        self._note(n, ref, differs=bool(differs))

    def _not_there(self, n: int, error: CdpError | None) -> None:
        """Settle a part that failed, or whose task was given up: unknown where it may be there all the same."""
        failure = None if error is None else Failure.of(error, self.graph)
        if n in self.work.in_doubt:
            self._note(n, None)
            self._settle_as(n, PartVerdict.UNKNOWN, failure=failure)
        else:
            self._settle_as(n, PartVerdict.BLOCKED if error is None else PartVerdict.FAILED, failure=failure)

    def _note(self, n: int, ref: UUID | None, *, differs: bool = False) -> None:
        if self._journal is not None:
            part = self.work.parts[n]
            # A part that differs keeps a hash that fits no input, so that the next run compares again.
            self._journal.record(self.key, part.key, b"" if differs else part.digest, ref)

    def _settle_as(
        self, n: int, verdict: PartVerdict, differs: tuple[str, ...] = (), failure: Failure | None = None
    ) -> None:
        self.outcomes[n] = PartOutcome(self.work.parts[n].name, verdict, self.work.refs.get(n), differs, failure)

    def _verdict(self) -> Verdict:
        """Sum up; whatever was not reached is blocked, or still in doubt."""
        for n in range(len(self.work.parts)):
            if n not in self.outcomes:
                self._not_there(n, None)
        verdicts = {outcome.verdict for outcome in self.outcomes.values()}
        if PartVerdict.CONFLICT in verdicts:
            return Verdict.CONFLICT
        if PartVerdict.UNKNOWN in verdicts:
            return Verdict.UNKNOWN
        if all(verdict.there for verdict in verdicts):
            return Verdict.LOADED if self._made else Verdict.ALREADY
        return Verdict.PARTIAL if any(verdict.there for verdict in verdicts) else Verdict.FAILED


def _counts(error: CdpError, *, others: bool) -> bool:
    """Tell whether a failed try speaks against the part itself, given whether *others* got through meanwhile.

    A server that is down fails everybody, and one that is busy somebody: then the part waits for its turn.
    """
    match error:
        case PoolTimeout():
            return False
        case RateLimited():
            return not others
        case _:
            return others or not down(error)
