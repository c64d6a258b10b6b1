"""Take one order back: delete what loads with a journal created of it, and nothing else.

All is read before anything is deleted: a part that was changed since, or under which somebody else has something,
stays, and so does whatever that part needs. The journal says that a part is being deleted before the request leaves,
and forgets the part afterwards; so an undo that is cut off is repaired by the next undo, and by the next load too.
It is right whether or not the server deletes the parts of what is deleted.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from typing import Any
from uuid import UUID

from msgspec import Struct

from cdp_orders_async.client import Resources
from cdp_orders_async.errors import BadRequest, CdpError, Conflict, JournalError, NotFound, NotSent, Unauthorized
from cdp_orders_async.ingest.claims import Claims
from cdp_orders_async.ingest.context import RENEWALS, longest_call
from cdp_orders_async.ingest.parts import EXTENSIONS, LISTED, UNDOING, digest_of_stored, kind_of
from cdp_orders_async.ingest.reading import found, items_of
from cdp_orders_async.journal import Busy, CreatedPart, GraphRecord, Journal, OrderId
from cdp_orders_async.models import Extension
from cdp_orders_async.session import GivenUp

__all__ = ["ENDING", "OrderUndo", "UndoVerdict", "UndoneOrder", "UndonePart", "is_in_doubt"]

ENDING = (JournalError, NotSent, Unauthorized)
"""Errors that concern every order: they end the whole undo."""
RANKS = {"orders": 2, "items": 1}
"""The place of a kind in the order of deleting: what others need is deleted after them."""
CHANGED = "it was changed after it was created"
UNCLEAR = "the server shows other values than were sent, and its times do not tell whether somebody changed them"
OWNER_IN_DOUBT = "whether its owner is on the server is not known: load once more first, which finds that out"
IN_DOUBT = ", as far as the journal knows after a load that was cut off: load once more first, which finds that out"
STOPPED = "the undo was stopped"
CLAIMED = "another process has claimed the order"
LOST = "the claim of the order was lost, so another process may have it"
REPLACED = "another process changed it meanwhile"


class UndoVerdict(enum.StrEnum):
    """The result of an order, or of a part of it."""

    DELETED = "deleted"
    """It is no longer on the server, whoever deleted it."""
    KEPT = "kept"
    """It stays, for the reason beside it."""
    FAILED = "failed"
    """It could not be deleted, or not be looked at; the next undo tries it again."""


class UndonePart(Struct):
    """The result of one part that a load created."""

    name: str
    """The part, as the journal names it: ``order``, ``item:A-1``, ``item:A-1/ext``."""
    ref: UUID
    verdict: UndoVerdict | None = None
    """None until it has come to its end."""
    reason: str | None = None
    """Why it is not deleted, in a sentence."""

    def to_json(self) -> dict[str, object]:
        """Return it as JSON data."""
        reason = {} if self.reason is None else {"reason": self.reason}
        return {"name": self.name, "verdict": str(self.verdict), "ref": str(self.ref), **reason}


class UndoneOrder(Struct, frozen=True):
    """The result of one order: its parts that a load created, in the order of deleting."""

    key: str
    parts: tuple[UndonePart, ...]

    @property
    def verdict(self) -> UndoVerdict:
        """The worst verdict of its parts."""
        verdicts = {part.verdict for part in self.parts}
        worst = (verdict for verdict in (UndoVerdict.FAILED, UndoVerdict.KEPT) if verdict in verdicts)
        return next(worst, UndoVerdict.DELETED)

    def to_json(self) -> dict[str, object]:
        """Return it as JSON data, one line of a file of outcomes."""
        return {"key": self.key, "verdict": str(self.verdict), "parts": [part.to_json() for part in self.parts]}


class OrderUndo:
    """Takes the order *key* back: what loads with *journal* *created* of it.

    With *force* nothing is read before: also what was changed is deleted, and the order with whatever others put under
    it. Once *stopped* returns True, nothing more is deleted. The requests go *over* other resources than those of the
    *client*, if they are given: they may raise `GivenUp` for what is not sent because the undo was stopped.
    """

    def __init__(
        self,
        client: Resources,
        journal: Journal,
        key: str,
        created: Iterable[CreatedPart],
        *,
        force: bool,
        stopped: Callable[[], bool],
        over: Resources | None = None,
    ) -> None:
        self._owner = client
        self._client = client if over is None else over
        self._journal = journal
        self._key = key
        self._force = force
        self._stopped = stopped
        newest_first = sorted(created, key=lambda part: RANKS.get(kind_of(part.part), 0))
        self._digests = {part.part: part.digest.removeprefix(UNDOING) for part in newest_first}
        self._parts = {part.part: UndonePart(part.part, part.ref) for part in newest_first}
        self._addresses = {part.part: part.ref for part in newest_first}
        """The references in the paths of the parts: an extension has that of its owner."""
        self._record = GraphRecord(b"", complete=False, ended=False, parts={})
        self._users: dict[UUID, tuple[UUID, ...]] = {}
        """The items that each consumer uses, by the references."""
        self._while_claimed = asyncio.timeout(None)
        """Ends the work when the claim is no longer certain."""
        self._asked = 0.0
        """The time of the loop before the claim was asked for."""
        self._strangers = 0
        """Parts of the order that no load with this journal created."""
        self.order_stays = False
        """Whether the order itself stays because a load found it on the server, or may have."""
        self.error: CdpError | None = None
        """The last error of a request that failed."""
        self._unlisted: dict[str, CdpError] = {}
        """Why the parts of a kind could not be listed."""
        self._refused: dict[str, str] = {}
        """Why the server refused to delete parts, which may go with the order."""

    async def run(self) -> UndoneOrder:
        """Undo the order, and return the outcome; raises `ENDING` errors, after which the next undo goes on."""
        order = OrderId.parse(self._key)
        if order is None:
            self._end_all(UndoVerdict.FAILED, "the journal has a key that no order has")
            return self.undone
        claims, free = Claims.of(self._owner), asyncio.get_running_loop().create_future()
        if not claims.acquire(order.reference_id, _set, free):
            try:
                await free
            except asyncio.CancelledError:
                if not claims.withdraw(order.reference_id, _set, free):
                    claims.release(order.reference_id)
                raise
        try:
            await self._run(order)
        finally:
            claims.forget(order.reference_id, order.key)
            claims.release(order.reference_id)
        return self.undone

    @property
    def undone(self) -> UndoneOrder:
        """The outcome as far as it is known; while the order is under way, parts may have no verdict yet."""
        return UndoneOrder(self._key, tuple(self._parts.values()))

    async def _run(self, order: OrderId) -> None:
        self._asked = asyncio.get_running_loop().time()
        claim = await self._journal.claim(order, b"")  # nothing of what it contains changes
        if isinstance(claim, Busy):
            self._end_all(UndoVerdict.KEPT, CLAIMED)
            return
        self._record = claim.record or self._record
        order_record = self._record.parts.get("order")
        self.order_stays = "order" not in self._parts and order_record is not None and order_record.ref is not None
        self._keep_replaced()
        try:
            async with self._renewed(), self._while_claimed:
                try:
                    await self._look_and_delete()
                except GivenUp:  # the server has not done what was to be done next
                    self._end_all(UndoVerdict.KEPT, STOPPED)
        except BaseException as error:
            if not isinstance(error, JournalError):
                self._journal.release(self._key)
            if not (isinstance(error, TimeoutError) and self._while_claimed.expired()):
                raise
            # Another process may have claimed the order, so nothing more is written of it.
            self._end_all(UndoVerdict.KEPT, LOST)
            return
        await self._end()

    async def _look_and_delete(self) -> None:
        """Decide what stays, and delete the rest."""
        self._find_owners()
        if not self._force:
            await self._look()
        if left := self._left():
            for part in left:
                self._journal.record(self._key, part.name, UNDOING + self._digests[part.name], part.ref)
            await self._journal.owner(left[0].ref)  # which makes durable what was recorded
            await self._delete()

    @contextlib.asynccontextmanager
    async def _renewed(self) -> AsyncGenerator[None, None]:
        """Renew the claim while the block lasts; raise the error of a journal that cannot renew it."""
        if (lease := self._journal.lease) is None:
            yield
            return
        certain = lease - longest_call(self._owner, lease)
        self._while_claimed = asyncio.timeout_at(self._asked + certain)
        renewing = asyncio.create_task(self._renew(lease, certain))
        try:
            yield
        finally:
            renewing.cancel()
            await asyncio.wait({renewing})
            if not renewing.cancelled() and (error := renewing.exception()) is not None:
                raise error

    async def _renew(self, lease: float, certain: float) -> None:
        """Renew the claim, which then is *certain* for so many seconds; end the work if that fails."""
        loop, until, is_lost = asyncio.get_running_loop(), self._while_claimed, False
        while not is_lost:
            await asyncio.sleep(lease / RENEWALS)
            asked, is_lost = loop.time(), True
            try:
                is_lost = bool(await self._journal.renew([self._key]))
            finally:
                if not until.expired():
                    until.reschedule(loop.time() if is_lost else asked + certain)

    def _keep_replaced(self) -> None:
        """Keep the parts that another process deleted or made again before this one claimed the order."""
        for part in self._left():
            known = self._record.parts.get(part.name)
            if known is None or known.ref != part.ref:
                self._keep(part.name, REPLACED)

    def _left(self) -> list[UndonePart]:
        return [part for part in self._parts.values() if part.verdict is None]

    def _end_all(self, verdict: UndoVerdict, reason: str) -> None:
        for part in self._left():
            part.verdict, part.reason = verdict, reason

    def _keep(self, name: str, reason: str, verdict: UndoVerdict = UndoVerdict.KEPT) -> None:
        """Let a part stay, if a load created it."""
        part = self._parts.get(name)
        if part is not None and part.verdict is None:
            part.verdict, part.reason = verdict, reason

    def _find_owners(self) -> None:
        """End the extensions whose owner the journal does not name: they can be neither read nor deleted."""
        for part in self._left():
            if kind_of(part.name) in EXTENSIONS:
                owner = self._record.parts.get(part.name.removesuffix("/ext"))
                if owner is None:  # it was deleted
                    self._gone(part)
                elif owner.ref is None:
                    self._keep(part.name, OWNER_IN_DOUBT, UndoVerdict.FAILED)
                else:
                    self._addresses[part.name] = owner.ref

    async def _look(self) -> None:
        """Read everything back, and decide what stays."""
        stored = await self._lists()
        for part in self._left():
            try:
                await self._compare(part, stored.get((kind_of(part.name), part.ref)))
            except CdpError as error:
                self._check(error)
                self._keep(part.name, f"it could not be read: {error}", UndoVerdict.FAILED)
        self._keep_needed()

    async def _lists(self) -> dict[tuple[str, UUID], Any]:
        """Return the parts on the server by kind and reference; note those that this journal's loads did not create."""
        stored: dict[tuple[str, UUID], Any] = {}
        mine = {(kind_of(name), part.ref) for name, part in self._parts.items()}
        kinds = {kind for kind, _ in mine}
        order = self._record.parts.get("order")
        if order is None or order.ref is None:
            return stored
        for kind in LISTED:
            if "orders" not in kinds and kind not in kinds and not (kind == "consumers" and "items" in kinds):
                continue
            resource: Any = getattr(self._client, kind)
            listing = resource.list(order.ref)
            try:
                async for page in listing.pages():
                    for entry in page.items:
                        thing = kind, entry.ref
                        whole = thing in mine or kind == "consumers"
                        shown = await found(listing.whole(entry)) if whole else entry
                        if shown is None:  # it was deleted meanwhile
                            continue
                        self._strangers += thing not in mine and thing not in stored
                        stored[thing] = shown
                        if kind == "consumers":
                            self._users[entry.ref] = await items_of(self._client, shown)
            except CdpError as error:
                self._check(error)
                if isinstance(error, NotFound) and await self._is_gone(order.ref):
                    break
                self._unlisted[kind] = error
        return stored

    async def _is_gone(self, order: UUID) -> bool:
        """Tell whether the server certainly has no such *order*."""
        try:
            return await found(self._client.orders.get(order)) is None
        except CdpError as error:
            self._check(error)
            return False

    async def _compare(self, part: UndonePart, stored: Any) -> None:  # noqa: ANN401 any resource
        """Keep a part that changed since it was created, or that has an extension of somebody else."""
        kind = kind_of(part.name)
        if kind in EXTENSIONS:
            stored = await self._extension(kind, self._addresses[part.name])
        elif stored is None:
            stored = await found(getattr(self._client, kind).get(part.ref))
            if stored is not None and kind == "consumers":
                self._users[part.ref] = await items_of(self._client, stored)
        if stored is None:
            self._gone(part)
            return
        for listed, error in self._unlisted.items() if kind in {"orders", "items"} else ():
            if kind == "orders" or listed == "consumers":
                self._keep(part.name, f"the {listed} of the order could not be listed: {error}", UndoVerdict.FAILED)
        items = {record.ref: name for name, record in self._record.parts.items() if kind_of(name) == "items"}
        uses = [items.get(ref, "") for ref in self._users.get(part.ref, ())]
        model = self._client.api.models[kind]
        if digest_of_stored(model, stored, uses) != self._digests[part.name] and (why := _changed(stored)):
            self._keep(part.name, why)
        extension = {"orders": "order_extensions", "items": "item_extensions"}.get(kind)
        is_strange = extension is not None and f"{part.name}/ext" not in self._parts
        if extension is not None and is_strange and await self._extension(extension, part.ref) is not None:
            self._keep(part.name, self._strange("an extension"))

    async def _extension(self, kind: str, owner: UUID) -> Extension | None:
        extension: Extension | None = await found(getattr(self._client, kind).get(owner))
        return extension

    def _keep_needed(self) -> None:
        """Keep what is needed by something that stays."""
        if self._strangers:
            self._keep("order", self._strange("a part" if self._strangers == 1 else f"{self._strangers} parts"))
        mine = {part.ref for part in self._parts.values()}
        for consumer, items in self._users.items():
            if consumer not in mine:
                self._keep_items(items)
        for part in self._parts.values():  # extensions before their owners, consumers before items, the order last
            self._keep_needs_of(part)

    def _strange(self, parts: str) -> str:
        """Say that something has *parts* of others, and whether that is in doubt."""
        return f"it has {parts} that no load with this journal created{IN_DOUBT * is_in_doubt(self._record)}"

    def _keep_items(self, items: Sequence[UUID]) -> None:
        for name, part in self._parts.items():
            if kind_of(name) == "items" and part.ref in items:
                self._keep(name, "a consumer that stays uses it")

    def _keep_needs_of(self, part: UndonePart) -> None:
        """Keep what a part needs, if the part stays."""
        if self._goes(part):
            return
        if part.name.endswith("/ext"):
            self._keep(part.name.removesuffix("/ext"), "its extension stays")
        self._keep_items(self._users.get(part.ref, ()))
        if part.name != "order":
            self._keep("order", f"its part {part.name} stays")

    def _goes(self, part: UndonePart) -> bool:
        """Tell whether a part is deleted, or is to be, as far as it is known now."""
        return part.verdict in {None, UndoVerdict.DELETED}

    def _gone(self, part: UndonePart) -> None:
        """Note that a part is no longer on the server, nor its extension."""
        part.verdict = UndoVerdict.DELETED
        self._journal.forget(self._key, part.name)
        if f"{part.name}/ext" in self._record.parts and f"{part.name}/ext" not in self._parts:
            self._journal.forget(self._key, f"{part.name}/ext")

    async def _delete(self) -> None:
        """Delete the remaining parts, each before the part that it needs."""
        for do in (self._delete_one, self._look_at_refused):
            for part in self._left():
                if self._stopped():
                    self._end_all(UndoVerdict.KEPT, STOPPED)
                    return
                if part.verdict is None:
                    try:
                        await do(part)
                    except CdpError as error:
                        self._check(error)
                        self._fail(part, str(error))

    async def _delete_one(self, part: UndonePart) -> None:
        resource: Any = getattr(self._client, kind_of(part.name))
        try:
            await found(resource.delete(self._addresses[part.name]))
        except (BadRequest, Conflict) as error:
            order = self._parts.get("order", part)
            if not error.from_api or order is part or not self._goes(order):
                raise
            self._refused[part.name] = str(error)  # it may go with the order
        else:
            self._gone(part)

    def _check(self, error: CdpError) -> None:
        """Raise an *error* that ends the whole undo, and keep another one."""
        if isinstance(error, ENDING):
            raise error
        self.error = error

    def _fail(self, part: UndonePart, reason: str) -> None:
        """Note that a part could not be deleted; what it needs stays."""
        part.verdict, part.reason = UndoVerdict.FAILED, reason
        self._keep_needs_of(part)

    async def _look_at_refused(self, part: UndonePart) -> None:
        """See whether a part that the server refused to delete, such as the last contact, went with the order."""
        resource: Any = getattr(self._client, kind_of(part.name))
        is_gone = self._parts["order"].verdict is UndoVerdict.DELETED
        if is_gone and await found(resource.get(self._addresses[part.name])) is None:
            self._gone(part)
        else:
            self._fail(part, self._refused[part.name])

    async def _end(self) -> None:
        """Leave the order so that the next load with this journal makes again what was deleted."""
        verdicts = {part.verdict for part in self._parts.values()}
        order = self._parts.get("order")
        without_order = order is not None and order.verdict is UndoVerdict.DELETED
        for name in self._record.parts if without_order else ():
            if name not in self._parts:
                self._journal.forget(self._key, name)
        is_changed = False
        for part in self._parts.values():
            if part.verdict is UndoVerdict.KEPT and part.reason != REPLACED:
                differs = part.reason in {CHANGED, UNCLEAR}
                is_changed |= differs
                digest = UNDOING * differs + self._digests[part.name]  # so that the next load compares it
                self._journal.record(self._key, part.name, digest, part.ref)
        if self._record.ended or without_order:
            complete = self._record.complete and verdicts == {UndoVerdict.KEPT} and not is_changed
            await self._journal.end(self._key, complete=complete, gaps=False if without_order else None)
        else:
            self._journal.release(self._key)


def is_in_doubt(record: GraphRecord) -> bool:
    """Tell whether loads may have made something of the order with this *record* that it does not name."""
    has_doubts = not record.ended or any(part.ref is None for part in record.parts.values())
    return has_doubts and not record.complete  # the Batch API tells no references


def _changed(stored: Any) -> str | None:  # noqa: ANN401 any resource
    """Say why a part with other values than were sent counts as changed, None if the times tell that it is not.

    Many servers show times in whole seconds. Two equal ones do not tell: the change may be of the same second.
    """
    created, modified = stored.created_at, stored.modified_at
    if created is None or modified is None:
        return UNCLEAR
    if modified > created:
        return CHANGED
    return None if created.microsecond else UNCLEAR


def _set(free: asyncio.Future[None]) -> None:
    free.set_result(None)
