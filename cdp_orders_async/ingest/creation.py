"""Create one part: it is sent once, and looked up before it is sent again.

A create with an unknown outcome is looked up. If it is found, its reference is adopted. If it is absent, even after the
time that lists may lag behind writes, it is sent again. If there are several candidates, it is a conflict.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

from cdp_orders_async.errors import MAYBE_DONE, CdpError, Delivery, JournalError, NotFound, OutcomeUnknown
from cdp_orders_async.ingest.ages import Dated
from cdp_orders_async.ingest.attempts import Attempts, not_there
from cdp_orders_async.ingest.before import before
from cdp_orders_async.ingest.compare import diff, same_order
from cdp_orders_async.ingest.context import LoadContext
from cdp_orders_async.ingest.doubts import Doubts
from cdp_orders_async.ingest.edits import AmbiguousError, is_another_person
from cdp_orders_async.ingest.leftovers import Leftovers
from cdp_orders_async.ingest.lookup import Lookup
from cdp_orders_async.ingest.outcomes import Failure, Leftover, PartVerdict
from cdp_orders_async.ingest.parts import EXTENSIONS, UNDOING, CreatedExtension, CreatedRef, Part
from cdp_orders_async.ingest.requests import IMMUTABLE
from cdp_orders_async.journal import PartRecord
from cdp_orders_async.session import BulkTransport, GivenUp, Timings, as_one_call

__all__ = ["ConflictError", "Creation"]

T = TypeVar("T")


class ConflictError(Exception):
    """A person must decide; the text says why."""


class Creation:
    """Creates the *parts* of the order *key*, or finds them; *times* counts the times.

    *place*: the file and the number of the order in the input. *updates*: change stored values to those of the input,
    even if the load was told to keep them.
    """

    def __init__(
        self,
        context: LoadContext,
        key: str,
        place: tuple[str | None, int],
        parts: Sequence[Part],
        times: Timings,
        *,
        updates: bool,
    ) -> None:
        weak = weakref.ref(self)  # if the transport referred to this object, the two would be a circle
        may_end = context.lease is not None  # whether the claim may

        def is_given_up() -> bool:
            return context.halted or (may_end and ((me := weak()) is None or not me.may_send))

        self.transport = context.transport(times, key, *place, given_up=is_given_up)
        self.doubts: Doubts | None = None
        """The doubts about the order; None if nothing of it can be on the server."""
        self.since = 0.0
        """Anything that an earlier run sent was sent before this time."""
        self.known: Mapping[str, PartRecord] = {}
        """The records of the parts when this run began, by key."""
        self.gaps = False
        """Whether the server may have parts of this order that neither a record nor a part of the input names."""
        self.leftovers = Leftovers(context, key, parts)
        self.rivals: Collection[str] = ()
        """The keys of other orders that the server takes for this one, and that it may have."""
        self.made = False
        """Whether this run created or changed anything."""
        self.claimed_until: float | None = None
        """The end of the claim of this order: after it another worker may have the order."""
        self.is_lost = False
        """Whether a part was not sent, because another worker has the claim of this order, or may have it soon."""
        self._context = context
        self._is_watched = context.is_watched
        self._key = key
        self._parts = parts
        self._order = parts[0]
        self._times = times
        self._lookup: Lookup | None = None
        self._claimed: dict[int, Part] = {}
        """The parts with known references, by the integer of the reference, which is faster to hash than a UUID."""
        self._made_before: Collection[str] = ()
        """The keys of the parts that an earlier load with the journal made, if the server has them."""
        self._same: set[UUID] = set()
        """The orders on the server that it takes for this one."""
        self._updates = updates or context.on_existing == "update"
        self.refuses = context.on_existing == "fail" and not self._updates
        """Whether any difference refuses the whole order."""

    def doubt(self, doubts: Doubts, rivals: Collection[str], since: float) -> None:
        """Look parts up before they are sent, because of *doubts*: see `rivals` and `since`."""
        self.doubts, self.known, self.gaps, self.rivals, self.since = doubts, doubts.known, doubts.gaps, rivals, since
        self._made_before = doubts.made_before
        self.leftovers.take_over(doubts)
        for part in self._parts:
            record = doubts.known.get(part.key)
            part.ref = None if record is None else record.ref
            part.in_doubt = part.key in doubts.in_doubt
            part.verdict = PartVerdict.FOUND if doubts.complete else None
            if part.ref is not None and part.kind not in EXTENSIONS:
                self._claimed[part.ref.int] = part

    async def find_or_create(self, part: Part) -> None:
        """Find *part* if it may be on the server, otherwise create it; raises the errors that `failed` handles."""
        if not await self.locate(part):
            await self.create(part)

    async def inspect(self) -> bool:
        """Find all parts without creating any; tell whether none of them has to be refused."""
        good = True
        for part in self._parts:
            owner = part.owner
            clear = all(use.verdict is None or use.is_there for use in part.uses)  # otherwise its links say nothing
            if part.verdict is None and clear and (owner is None or owner.ref is not None):
                try:
                    await self.locate(part)
                except (AmbiguousError, ConflictError, CdpError) as error:
                    self.failed(part, error)
            good = good and (part.verdict is None or part.verdict is PartVerdict.FOUND)
        return good

    async def locate(self, part: Part) -> bool:
        """Find *part* if it may be on the server; tell whether it has its verdict now."""
        known = self.known.get(part.key)
        if known is not None and known.ref is not None and known.digest == part.digest:
            part.verdict = PartVerdict.FOUND
        elif self._context.aborting:
            self.give_up(part, None)
        elif part.ref is not None:
            if part is self._order:
                await self._check_owner(part, part.ref)
            try:
                stored = await self.lookup.fetch(part)
            except NotFound as error:
                if known is None or not known.digest.startswith(UNDOING) or not error.from_api:
                    raise
                await self._was_undone(part, part.ref)
                return part.verdict is not None
            if part is self._order and stored.reference_id not in {None, part.value.reference_id}:
                part.ref = None
                raise ConflictError(
                    f"the server has another order, {stored.reference_id}, as {stored.ref}, which was this one"
                )
            await self._reconcile(part, stored, PartVerdict.FOUND)
        elif part.in_doubt or (part is self._order and self.rivals):
            await self._look_up(part)
        return part.verdict is not None

    async def _look_up(self, part: Part) -> None:
        found = await self._adopt(part, self.since, PartVerdict.FOUND)
        if part is self._order and found:
            # Without a record of it, an earlier run may have made other parts too.
            self.gaps = self.gaps or part.key not in self.known
        elif part is self._order and not self._same:
            self._nothing_is_in_doubt()  # without the order, none of its parts can be there

    def give_up(self, part: Part, error: CdpError | None) -> None:
        """End a part that failed or is not tried; its verdict is unknown if it may be on the server."""
        if error is not None:
            part.failure = Failure.of(error)
        part.differs = ()
        if part.in_doubt:
            part.verdict = PartVerdict.UNKNOWN
        else:
            part.verdict = PartVerdict.BLOCKED if part.failure is None else PartVerdict.FAILED

    @property
    def may_send(self) -> bool:
        """Whether the claim of this order holds until the end of a request that leaves now."""
        if self.claimed_until is not None:
            context = self._context
            self.is_lost = self.is_lost or context.clock() >= self.claimed_until - context.longest_call
        return not self.is_lost

    @property
    def lookup(self) -> Lookup:
        """Finds the parts; made at the first use."""
        if self._lookup is None:
            context = self._context
            cdp = context.over(self.transport)
            self._lookup = Lookup(self._parts, cdp, self._retry, context.clock, self.doubts)
        return self._lookup

    @property
    def named_leftovers(self) -> tuple[Leftover, ...]:
        """The parts on the server that the input no longer has, as far as they are known."""
        return self.leftovers.named(self._lookup)

    def keep_leftovers(self) -> None:
        """Note what was found of parts that the input no longer has."""
        if self._lookup is not None:
            self.leftovers.keep(self._lookup)

    def create(self, part: Part) -> Awaitable[None]:
        """Send *part*; after a lost answer look it up, and send it again only if it is absent."""
        made = self._create(part)
        return as_one_call(made) if self._is_watched else made

    async def _create(self, part: Part) -> None:
        context, transport = self._context, self.transport
        attempts: Attempts | None = None
        while True:
            if context.must_wait:
                await context.server_is_up(self._times)
            if context.halted or (self.claimed_until is not None and not self.may_send):
                self.give_up(part, None)
                return
            part.in_doubt = True
            if attempts is not None:
                attempts.resent()
            try:
                created = await transport.send(context.requests.to_create(part))
            except CdpError as error:
                attempts = attempts or Attempts(context, transport, f"{part.kind}.create", self._times)
                if await self._is_over(part, error, attempts):
                    return
                transport = attempts.transport
            except asyncio.CancelledError as error:
                part.in_doubt = vars(error).get("delivery") is not Delivery.NOT_SENT
                raise
            else:
                context.record_success(creates=True)
                self.made, part.failure = True, None
                if part is self._order:
                    await self._keep_order(part, created)
                else:
                    self._know_new(part, created)
                return

    async def _is_over(self, part: Part, error: CdpError, attempts: Attempts) -> bool:
        """Tell whether *part* has its end after the *error* of an attempt; raise the error if it is given up."""
        not_sent = error.delivery is Delivery.NOT_SENT
        if isinstance(error, GivenUp) or (not_sent and self._context.halted):  # says nothing of the server
            part.in_doubt = False
            self.give_up(part, None)
            return True
        again = attempts.failed(error)
        part.failure = Failure.of(error)
        if error.delivery in MAYBE_DONE:
            if await self._was_made(part, error):
                self.made, part.failure = True, None
                return True
            if not again:
                raise not_there(error) from error
        else:
            part.in_doubt = False
            if not again:
                raise error
            await attempts.wait()
        return False

    async def _was_made(self, part: Part, error: CdpError) -> bool:
        """Look up *part*, whose answer was lost with *error*; adopt it if it is there."""
        self.lookup.needs_no_list = False  # from now on not everything of the order is known
        try:
            return await self._adopt(part, self._context.clock(), PartVerdict.CREATED)
        except JournalError:
            raise
        except CdpError as failed:
            lost = OutcomeUnknown(f"{error}; whether it was made could not be found out: {failed}")
            lost.attempts, lost.request_id = error.attempts, error.request_id
            raise lost from failed

    async def _keep_order(self, order: Part, answer: CreatedRef) -> None:
        """Note that the server created the *order*; raise `ConflictError` if it answered with another order."""
        await self._check_owner(order, answer.ref)
        if answer.ref not in self._same:
            self._nothing_is_in_doubt()  # a new order has no parts yet
        order.verdict = PartVerdict.CREATED
        self._know(order, answer.ref, created=self._is_new(answer))

    async def _check_owner(self, order: Part, ref: UUID) -> None:
        """Raise `ConflictError` if *ref*, the server's reference of *order*, belongs to another order of an input."""
        # The memory of the client decides: if two orders ask the journal at once, it knows neither of them yet.
        owner = self._context.claims.own(ref, await self._owner(ref) or self._key)
        if owner != self._key:
            self._know(order, ref, ("reference_id",))
            raise ConflictError(
                f"the server answered with the order {ref}, which belongs to {owner}: it took the two for one"
            )

    def _know_new(self, part: Part, answer: CreatedRef | CreatedExtension) -> None:
        """Note that the server created *part*; raise `ConflictError` if it answered with another part of the order.

        Then it stays in doubt whether *part* is there too, so that the next run looks for it.
        """
        ref = answer.ref
        if ref is not None and part.kind not in EXTENSIONS:
            other = self._claimed.get(ref.int, part)
            if other is not part and other.kind == part.kind:
                raise ConflictError(f"the server answered with {ref}, which is {other.name}: it took the two for one")
        self._know(part, ref, created=self._is_new(answer))
        part.verdict = PartVerdict.CREATED

    async def _adopt(self, part: Part, since: float, verdict: PartVerdict) -> bool:
        """Adopt *part* if the server has it; *since* is the latest time when it may have been sent.

        Lists may lag behind writes, so an absence or a difference counts only after the settling time.
        """
        context = self._context
        settled = since + context.settle
        context.settled_at = max(context.settled_at, settled)
        looks = [since, since + context.settle / 4, settled] if settled > context.clock() else [settled]
        for after in looks:
            if after > context.clock():
                with context.waiting(self._times, "settle"):
                    await context.pause(after - context.clock())
            if context.halted and context.clock() < after:
                raise OutcomeUnknown(f"the load was stopped before it was certain whether {part.name} is there")
            stored = await self._find(part, after, settled=after == settled)
            if stored is not None and (after == settled or not diff(part.sent(), stored)):
                if isinstance(self.transport, BulkTransport):
                    self.transport.adopted(part.name, part.kind, stored.ref)
                await self._reconcile(part, stored, verdict)
                return True
        if context.journal is not None:
            context.journal.forget(self._key, part.key)
        part.in_doubt = False
        return False

    async def _find(self, part: Part, after: float, *, settled: bool) -> Any:  # noqa: ANN401 any resource
        if part is not self._order:
            return await self.lookup.find(part, after, settled=settled)
        mine: list[Any] = []
        others: list[Any] = []
        for stored in await self.lookup.orders(part, after):
            owner = await self._owner(stored.ref)
            is_mine = owner in {None, self._key} and same_order(part.value, stored)
            (mine if is_mine else others).append(stored)
        self._same.update(stored.ref for stored in (*mine, *others))
        if len(mine) > 1:
            raise AmbiguousError
        if others and not mine and settled:
            raise ConflictError(_same_to_the_server(others[0]))
        return mine[0] if mine else None

    async def _owner(self, ref: UUID) -> str | None:
        """Return the key of the order of an input that owns the order *ref* on the server, None if it is unknown."""
        context = self._context
        owner = context.claims.owner(ref)
        if context.journal is None or owner not in {None, self._key}:
            return owner
        with context.waiting(self._times, "journal"):
            return await context.journal.owner(ref)

    async def _reconcile(self, part: Part, stored: Any, verdict: PartVerdict) -> None:  # noqa: ANN401 any resource
        """Compare a part with its *stored* state: keep, update or refuse the differences, as the load was told."""
        context, sent = self._context, part.sent()
        differs = diff(sent, stored)
        fixed = IMMUTABLE.get(part.kind, ())
        changed = [name for name in differs if name not in fixed]
        since = self._sent_since if part is self._order else None
        if since is not None and (stored.created_at is None or stored.created_at < context.by_server_clock(since)):
            self._made_before = ()
        created = part.key in self._made_before or (verdict is PartVerdict.CREATED and self._is_new(stored))
        self._know(part, stored.ref, differs, created=created)
        if differs and self.refuses:
            part.verdict = PartVerdict.CONFLICT
            return
        if changed and self._updates and part.kind == "contacts" and is_another_person(sent, stored):
            # An update would leave the rest of one person's values with the name of another.
            raise ConflictError(f"the contact on the server, {stored.ref}, has other identifiers and another name")
        if changed and self._updates and self.may_send and context.kept(before, self._key, part, changed, stored):
            change = partial(self.transport.send, context.requests.to_change(part, changed, stored))
            await self._retry(change, f"{part.kind}.update")
            self.made = True
            differs = tuple(name for name in differs if name in fixed)
            self._know(part, stored.ref, differs, created=created)
            verdict = PartVerdict.UPDATED
        part.verdict = PartVerdict.KEPT if differs else verdict

    @property
    def _sent_since(self) -> datetime | None:
        """The start of an earlier load that may have sent the order, and of which it is not known whether it came."""
        return None if self.doubts is None else self.doubts.sent_since

    def _is_new(self, resource: Dated) -> bool:
        """Tell whether this load made the *resource*, or an earlier one that was cut off: an older one it found.

        Only a journal records it, so without one nothing is compared.
        """
        return self._context.journal is None or not self._context.was_there(resource, self._sent_since)

    def _retry(self, make: Callable[[], Awaitable[T]], operation: str) -> Awaitable[T]:
        """Repeat a call that may be repeated, also while the server is not well."""
        made = self._make(make, operation)
        return as_one_call(made) if self._is_watched else made

    async def _make(self, make: Callable[[], Awaitable[T]], operation: str) -> T:
        context = self._context
        attempts: Attempts | None = None
        while True:
            if context.must_wait:
                await context.server_is_up(self._times)
            if context.is_given_up:
                raise GivenUp("the load was given up before it was sent")
            if attempts is not None:
                attempts.resent()
            try:
                result = await make()
            except GivenUp:  # says nothing of the server
                raise
            except CdpError as error:
                attempts = attempts or Attempts(context, self.transport, operation, self._times)
                if not attempts.failed(error):
                    raise
                await attempts.wait()
            else:
                context.record_success(creates=False)
                return result

    def failed(self, part: Part, error: Exception) -> None:
        """End a part because of *error*; raise the error again if it must end the load."""
        if isinstance(error, CdpError) and not isinstance(error, JournalError):
            self.give_up(part, None if isinstance(error, GivenUp) else error)
            return
        if not isinstance(error, (AmbiguousError, ConflictError)):
            raise error
        part.verdict, part.reason = PartVerdict.CONFLICT, str(error)
        if isinstance(error, AmbiguousError):
            part.in_doubt = True  # one of the resources there may be this part
        elif part is self._order:
            self._nothing_is_in_doubt()  # the server has another order, so it has no part of this one

    def _know(self, part: Part, ref: UUID | None, differs: tuple[str, ...] = (), *, created: bool = False) -> None:
        """Note that *part* is on the server as *ref*; *differs* are the fields that differ from the input."""
        context = self._context
        part.ref = ref or part.owner_ref  # a look-up finds an extension by its owner
        part.in_doubt, part.differs = False, differs
        if part.ref is not None and part.kind not in EXTENSIONS:
            self._claimed[part.ref.int] = part
            if part is self._order:
                context.claims.own(part.ref, self._key)
        if self.doubts is not None:
            self.leftovers.claim(part)
        if context.journal is not None:
            # The record of a part that differs gets a hash that fits no input, so that the next run compares it again.
            digest = b"" if differs else part.digest
            context.journal.record(self._key, part.key, digest, part.ref, created=created)

    async def _was_undone(self, part: Part, ref: UUID) -> None:
        """Note that an undo that was cut off deleted *part*, which was *ref*; without the order, none of its parts is.

        A load that was cut off since may have made it again before the journal knew, so it is looked up.
        """
        part.ref = None
        if part.kind not in EXTENSIONS:
            self.lookup.deleted.add(ref)
        if self._context.journal is not None:
            self._context.journal.forget(self._key, part.key)
        if self.doubts is not None and self.doubts.is_open:
            part.in_doubt = True
            await self._look_up(part)
        elif part is self._order:
            self._nothing_is_in_doubt()

    def _nothing_is_in_doubt(self) -> None:
        for part in self._parts:
            part.in_doubt = False
        self.gaps = False
        self.leftovers.unread.clear()


def _same_to_the_server(stored: Any) -> str:  # noqa: ANN401 an Order
    when = f"ordered at {stored.ordered_at.isoformat()}" if stored.ordered_at is not None else "without a time"
    return (
        f"the server has the order {stored.ref} with the same reference id, {when}: within two days the two are one"
        " order to it, and orderedAt cannot be changed"
    )
