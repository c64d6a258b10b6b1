"""One journal for the loads of several processes: its owner grants claims for a time, and its users call the owner."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextvars import Context
from types import MappingProxyType
from typing import Any, Final, TypeAlias
from uuid import UUID

from msgspec import Struct

from cdp_orders_async.errors import JournalError
from cdp_orders_async.journal import Busy, Claimed, CreatedPart, Journal, OrderId, RecordedOrder
from cdp_orders_async.journal.identity import check_identity

__all__ = ["JournalOwner", "RemoteJournal", "Step"]

LEASE: Final = 60.0
"""Seconds that a claim lasts unless it is renewed."""
LINGER: Final = 0.02

Step: TypeAlias = tuple[str, tuple[Any, ...]]
"""A method of `JournalOwner` and its arguments."""


class _Claim(Struct, eq=False):
    user: str
    order: OrderId
    until: float
    lost: bool = False
    """Whether another user has taken the order over."""


class JournalOwner:
    """Share *journal*, which nobody else uses, among users: each claim lasts *lease* seconds unless it is renewed.

    *clock* gives the time in seconds. A user that dies stops to renew its claims; whoever comes after their end takes
    its orders over, and looks them up.
    """

    def __init__(self, journal: Journal, lease: float = LEASE, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._journal = journal
        self._lease = lease
        self._clock = clock
        self._claims: dict[str, _Claim] = {}
        """The claims that hold, by reference id."""
        self._users: dict[str, dict[str, _Claim]] = {}
        """The claims of each user by key, also those that it has lost without knowing it."""

    async def do(self, user: str, steps: Sequence[Step]) -> list[object]:
        """Do the *steps* of a *user* in their order, and return the result, or the error, of each."""
        # Each begins in its turn, and notes are queued when it begins; the journal writes them in that order.
        work = (self._do(user, name, values) for name, values in steps)
        return list(await asyncio.gather(*work, return_exceptions=True))

    async def _do(self, user: str, name: str, values: tuple[Any, ...]) -> object:
        if name in _NOTES:
            self._note(user, name, values)
            return None
        return await getattr(self, f"_{name}")(user, *values)

    async def _claim(
        self,
        user: str,
        order: OrderId,
        digest: bytes,
        run: bytes,
        number: int,
        sends: bool,  # noqa: FBT001
    ) -> Claimed | Busy:
        held = self._claims.get(order.reference_id)
        if held is not None:
            if (left := held.until - self._clock()) > 0:
                return Busy(held.order.key, left)
            held.lost = True
            self._journal.release(held.order.key)
        claim = _Claim(user, order, self._clock() + self._lease)
        self._claims[order.reference_id] = claim
        try:
            claimed = await self._journal.claim(order, digest, run=run, number=number, sends=sends)
        except BaseException:
            self._drop(claim)
            raise
        self._users.setdefault(user, {})[order.key] = claim
        return claimed

    async def _renew(self, user: str, keys: Sequence[str]) -> set[str]:
        held = self._users.get(user, {})
        claims = [held[key] for key in keys if key in held]
        for claim in claims:
            claim.until = self._clock() + self._lease
        return {claim.order.key for claim in claims if claim.lost}

    def _note(self, user: str, name: str, values: tuple[Any, ...]) -> None:
        """Pass a note on; after the claim was lost, only a reference is a fact that still counts."""
        key = values[0]
        claim = self._users.get(user, {}).get(key)
        if name == "release":
            if claim is not None and self._leave(claim):
                self._journal.release(key)
        elif name == "record":
            graph, part, digest, ref, created = values
            if ref is not None or self._may_note(claim, user, key):
                self._journal.record(graph, part, digest, ref, created=created)
        elif self._may_note(claim, user, key):
            getattr(self._journal, name)(*values)

    def _may_note(self, claim: _Claim | None, user: str, key: str) -> bool:
        if claim is not None:
            return not claim.lost
        return all(held.user == user for held in self._claims.values() if held.order.key == key)

    async def _end(self, user: str, key: str, complete: bool, gaps: bool | None) -> None:  # noqa: FBT001 steps have no names
        claim = self._users.get(user, {}).get(key)
        if claim is not None and self._leave(claim):
            await self._journal.end(key, complete=complete, gaps=gaps)
        else:
            await self._journal.known(0)  # returns after the notes are written

    async def _owner(self, _: str, ref: UUID) -> str | None:
        return await self._journal.owner(ref)

    async def _known(self, _: str, limit: int) -> Sequence[tuple[str, UUID]]:
        return await self._journal.known(limit)

    async def _created(self, _: str) -> list[CreatedPart]:
        return [part async for part in self._journal.created()]

    async def _orders(self, _: str) -> list[RecordedOrder]:
        return [order async for order in self._journal.orders()]

    async def _close(self, user: str) -> None:
        """Give up all claims of a *user*."""
        for claim in list(self._users.pop(user, {}).values()):
            if self._leave(claim):
                self._journal.release(claim.order.key)
        await self._journal.known(0)

    def _leave(self, claim: _Claim) -> bool:
        """Forget a claim; return whether it still held."""
        self._users.get(claim.user, {}).pop(claim.order.key, None)
        return self._drop(claim)

    def _drop(self, claim: _Claim) -> bool:
        reference_id = claim.order.reference_id
        if self._claims.get(reference_id) is not claim:
            return False
        del self._claims[reference_id]
        return True


_NOTES: Final = frozenset({"record", "forget", "rename", "release"})
"""The steps that are queued, and have no result."""


class RemoteJournal:
    """The journal of a `JournalOwner`, as the *user* of this name sees it.

    *send* hands steps to the owner and returns their results; it raises `JournalError` if the owner cannot be reached.
    One call is under way at a time, with all steps that came meanwhile. *identity*, *lease* and *new* are those of the
    journal of the owner. *linger*, seconds after which notes are sent if no call takes them along. Use it in one event
    loop.
    """

    def __init__(
        self,
        send: Callable[[str, Sequence[Step]], Awaitable[Sequence[object]]],
        user: str,
        *,
        identity: Mapping[str, str],
        lease: float = LEASE,
        new: bool = False,
        linger: float = LINGER,
    ) -> None:
        self._linger = linger
        self._send = send
        self._user = user
        self.identity: Mapping[str, str] = MappingProxyType(dict(identity))
        """The API and the tenant of the journal."""
        self.lease: float | None = lease
        """The seconds that a claim lasts unless it is renewed."""
        self.new = new
        """Whether the journal was made for this load."""
        self._steps: list[tuple[Step, asyncio.Future[Any] | None]] = []
        self._sending: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._failure: JournalError | None = None
        self._closed = False

    def check(self, identity: Mapping[str, str]) -> None:
        """Raise `JournalError` unless the journal belongs to *identity*."""
        self._check_open()
        check_identity("the journal of the load", self.identity, identity, "name another journal")

    async def claim(
        self, order: OrderId, digest: bytes, *, run: bytes = b"", number: int = 0, sends: bool = False
    ) -> Claimed | Busy:
        """Claim *order*, and return its records; `Busy` while an order with its reference id is claimed."""
        order.key.encode()
        claimed: Claimed | Busy = await self._ask("claim", order, digest, run, number, sends)
        return claimed

    async def renew(self, keys: Sequence[str]) -> set[str]:
        """Renew the claims of these orders, and return the orders whose claim is lost."""
        lost: set[str] = await self._ask("renew", tuple(keys))
        return lost

    def record(self, graph: str, part: str, digest: bytes, ref: UUID | None, *, created: bool = False) -> None:
        """Note the *ref* of a part, None if it may have been created; *created*: by a load with this journal."""
        self._put("record", graph, part, digest, ref, created)

    def forget(self, graph: str, part: str) -> None:
        """Drop the record of a part that is certainly not there."""
        self._put("forget", graph, part)

    def rename(self, graph: str, parts: Mapping[str, str | None]) -> None:
        """Give records other names, all at once; None: drop the record."""
        self._put("rename", graph, dict(parts))

    async def end(self, graph: str, *, complete: bool, gaps: bool | None = None) -> None:
        """Write that *graph* is no longer under way, with everything noted before, and give up its claim."""
        await self._ask("end", graph, complete, gaps)

    def release(self, graph: str) -> None:
        """Give up the claim without an end: the next load of the order must ask the server."""
        self._put("release", graph)

    async def owner(self, ref: UUID) -> str | None:
        """Return the graph whose part ``order`` has this *ref*."""
        key: str | None = await self._ask("owner", ref)
        return key

    async def created(self) -> AsyncIterator[CreatedPart]:
        """Yield each recorded part that a load with this journal created, newest first; all are read at once."""
        for part in await self._ask("created"):
            yield part

    async def orders(self) -> AsyncIterator[RecordedOrder]:
        """Yield each order with all that is recorded of it; all are read at once."""
        for order in await self._ask("orders"):
            yield order

    async def known(self, limit: int) -> Sequence[tuple[str, UUID]]:
        """Return the keys of at most *limit* complete orders, newest first, and the refs of their orders."""
        known: Sequence[tuple[str, UUID]] = await self._ask("known", limit)
        return known

    async def aclose(self) -> None:
        """Send all that is queued and give up all claims; closing again does nothing."""
        if not self._closed:
            closing = asyncio.ensure_future(self._ask("close"))
            self._closed = True
            await closing

    def _check_open(self) -> None:
        if self._closed:
            raise JournalError("the journal is closed: open it again")

    def _put(self, name: str, *values: object, answer: asyncio.Future[Any] | None = None) -> None:
        self._check_open()
        self._steps.append(((name, values), answer))
        if answer is not None:
            self._start()
        elif self._timer is None and self._sending is None:
            self._timer = asyncio.get_running_loop().call_later(self._linger, self._start)

    def _start(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._sending is None:
            self._sending = asyncio.get_running_loop().create_task(self._send_all(), context=Context())

    def _ask(self, name: str, *values: object) -> asyncio.Future[Any]:
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._put(name, *values, answer=answer)
        return answer

    async def _send_all(self) -> None:
        while steps := [step for step in self._steps if step[1] is None or not step[1].cancelled()]:
            self._steps.clear()
            results: Sequence[object]
            try:
                if self._failure is not None:
                    raise self._failure
                results = await self._send(self._user, [step for step, _ in steps])
            except JournalError as error:
                self._failure = error
                results = [error] * len(steps)
            for (step, answer), result in zip(steps, results, strict=True):
                self._settle(step, answer, result)
        self._steps.clear()
        self._sending = None

    def _settle(self, step: Step, answer: asyncio.Future[Any] | None, result: object) -> None:
        if answer is not None and not answer.done():
            if isinstance(result, BaseException):
                # A new one for each caller.
                answer.set_exception(JournalError(*result.args) if isinstance(result, JournalError) else result)
            else:
                answer.set_result(result)
        elif answer is None and isinstance(result, JournalError):
            self._failure = result  # the next call that waits raises it
        elif step[0] == "claim" and isinstance(result, Claimed):  # its caller was cancelled
            self._steps.append((("release", (step[1][0].key,)), None))
