"""The journal in memory."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Container, Mapping, Sequence
from types import NoneType
from typing import TypeVar
from uuid import UUID

from msgspec import Struct, field

from cdp_orders_async.arguments import need
from cdp_orders_async.errors import JournalError
from cdp_orders_async.journal.claims import Claims
from cdp_orders_async.journal.identity import check_identity
from cdp_orders_async.journal.records import (
    Busy,
    Claimed,
    CreatedPart,
    GraphRecord,
    OrderId,
    PartRecord,
    RecordedOrder,
    SameReference,
    is_same_order,
)
from cdp_orders_async.journal.states import (
    COMPLETE,
    ENDED,
    UNDER_WAY,
    is_order_created,
    record_of,
    run_of_claim,
    state_of_claim,
    state_of_end,
    state_of_first_claim,
)

__all__ = ["MemoryJournal"]

T = TypeVar("T")


class _Graph(Struct):
    order: OrderId
    place: int
    """The number of graphs that were claimed before it."""
    digest: bytes
    state: int
    run: bytes
    number: int
    parts: dict[str, PartRecord] = field(default_factory=dict[str, PartRecord])
    created: dict[str, UUID] = field(default_factory=dict[str, UUID])
    """The refs of created parts, also while their record is unknown; the newest comes last."""

    @property
    def is_complete(self) -> bool:
        return self.state & ENDED == COMPLETE

    @property
    def is_under_way(self) -> bool:
        return self.state & ENDED == UNDER_WAY


class MemoryJournal:
    """A journal that lives as long as the process: it protects against redelivery, not against a crash.

    If it has too many orders, it forgets those that ended first. It never forgets an order that is under way, in doubt
    or partly done.
    """

    lease: float | None = None
    """A claim holds as long as the journal is open."""

    def __init__(self, limit: int = 100_000, *, identity: Mapping[str, str] | None = None) -> None:
        """Start empty.

        *limit* is the most orders that are remembered, apart from orders that must not be forgotten. *identity* is the
        API and the tenant, as in `SqliteJournal.open`; None: those of the first client that uses it. Raises TypeError
        for an argument of another type.
        """
        need(limit, int, "limit")
        need(identity, (Mapping, NoneType), "identity")
        self._limit = limit
        self._identity = dict(identity or {})
        self._graphs: dict[str, _Graph] = {}
        self._keys: dict[str, set[str]] = {}
        """The graphs, by reference id."""
        self._owners: dict[UUID, set[str]] = {}
        """The graphs, by the ref of their order."""
        self._claims = Claims()
        self._begun = 0
        self._forgettable: dict[str, None] = {}
        """The graphs that may be forgotten, the first to forget first."""
        self._closed = False

    def check(self, identity: Mapping[str, str]) -> None:
        """Raise `JournalError` unless this journal belongs to *identity*; without an identity, it takes this one."""
        self._check_open()
        check_identity("the journal in memory", self._identity, identity, "use another journal")
        # The base URL may change while the process lives, as in a test with an emulator; the tenant does not.
        self._identity = self._identity or {key: value for key, value in identity.items() if key != "base URL"}

    async def claim(
        self, order: OrderId, digest: bytes, *, run: bytes = b"", number: int = 0, sends: bool = False
    ) -> Claimed | Busy:
        """Claim *order*, and return its records; `Busy` if an order with its reference id is claimed.

        *sends*: if nothing is known of it, the caller sends it and does not ask the server.
        """
        self._check_open()
        order.key.encode()
        if busy := self._claims.take(order):
            return busy
        keys = self._keys.setdefault(order.reference_id, set())
        others = [other for key in keys if key != order.key and _is_same(other := self._graphs[key], order)]
        same_reference = tuple(map(_same_reference, sorted(others, key=lambda other: other.place)))
        sends = sends and not same_reference
        known = self._graphs.get(order.key)
        if known is None:
            keys.add(order.key)
            state = state_of_first_claim(sends=sends)
            self._graphs[order.key] = _Graph(order, self._begun, digest, state, run, number)
            self._begun += 1
            self._forget_some()
            return Claimed(None, same_reference)
        before = _record(known)
        part = before.parts.get("order")
        created = part is not None and known.created.get("order") == part.ref
        order_created = is_order_created(known.state, part, created=created)
        has_order = part is not None
        known.run = run_of_claim(known.state, known.run, run, has_order=has_order)
        known.state = state_of_claim(known.state, known.digest, digest, sends=sends, has_order=has_order)
        known.digest, known.number = digest or known.digest, number
        self._sort(known)
        return Claimed(before, same_reference, order_created)

    async def renew(self, keys: Sequence[str]) -> set[str]:  # noqa: ARG002 - part of the protocol
        """Return nothing, because no claim can be lost."""
        self._check_open()
        return set()

    def record(self, graph: str, part: str, digest: bytes, ref: UUID | None, *, created: bool = False) -> None:
        """Note the *ref* of a part, None if it may have been created; *created*: by a load with this journal."""
        self._check_open()
        if not (known := self._graphs.get(graph)):
            return
        self._set_order(known, part, ref)
        known.parts[part] = PartRecord(digest, ref)
        if ref is not None and (created or known.created.get(part) != ref):
            known.created.pop(part, None)
            if created:
                known.created[part] = ref
        self._sort(known)

    def forget(self, graph: str, part: str) -> None:
        """Drop the record of a part that is certainly not there."""
        self._check_open()
        if known := self._graphs.get(graph):
            self._set_order(known, part, None)
            known.parts.pop(part, None)
            known.created.pop(part, None)
            self._sort(known)

    def rename(self, graph: str, parts: Mapping[str, str | None]) -> None:
        """Give records other names, all at once; None: drop the record."""
        self._check_open()
        if known := self._graphs.get(graph):
            replaced = {new for old, new in parts.items() if old in known.parts} - parts.keys()
            renamed = _renamed(known.parts, parts, replaced)
            self._set_order(known, "order", order.ref if (order := renamed.get("order")) else None)
            known.parts, known.created = renamed, _renamed(known.created, parts, replaced)
            self._sort(known)

    async def end(self, graph: str, *, complete: bool, gaps: bool | None = None) -> None:
        """Note that *graph* is no longer under way, and give up its claim."""
        self._check_open()
        if self._claims.give_up(graph):
            known = self._graphs[graph]
            ended, stay = state_of_end(complete=complete, gaps=gaps)
            known.state = known.state & stay | ended
            self._sort(known)

    def release(self, graph: str) -> None:
        """Give up the claim without an end: the next load of the order must ask the server."""
        self._check_open()
        if self._claims.give_up(graph):
            self._sort(self._graphs[graph])

    async def owner(self, ref: UUID) -> str | None:
        """Return the graph whose part ``order`` has this *ref*; of several, the graph that was claimed first."""
        self._check_open()
        return min(self._owners.get(ref, ()), key=lambda graph: self._graphs[graph].place, default=None)

    async def created(self) -> AsyncIterator[CreatedPart]:
        """Yield each recorded part that a load with this journal created, newest first."""
        self._check_open()
        for known in reversed([*self._graphs.values()]):
            for part, ref in reversed([*known.created.items()]):
                record = known.parts.get(part)
                if record and record.ref == ref:
                    yield CreatedPart(known.order.key, part, ref, record.digest)

    async def orders(self) -> AsyncIterator[RecordedOrder]:
        """Yield each order with all that is recorded of it, the one that was claimed first first."""
        self._check_open()
        for key, known in [*self._graphs.items()]:
            created = (part for part, ref in known.created.items() if known.parts[part].ref == ref)
            yield RecordedOrder(key, _record(known), frozenset(created))

    async def known(self, limit: int) -> Sequence[tuple[str, UUID]]:
        """Return the keys of at most *limit* complete orders, newest first, and the refs of their orders."""
        self._check_open()
        found = (
            (key, order.ref)
            for key, known in reversed(self._graphs.items())
            if known.is_complete and (order := known.parts.get("order")) and order.ref is not None
        )
        return [*itertools.islice(found, max(limit, 0))]

    async def aclose(self) -> None:
        """Close the journal; closing again does nothing."""
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise JournalError("the journal is closed: open another")

    def _set_order(self, known: _Graph, part: str, ref: UUID | None) -> None:
        """Update the owners, before *ref* is recorded for *part*."""
        if part != "order":
            return
        before = known.parts.get(part)
        if before and before.ref is not None:
            owners = self._owners[before.ref]
            owners.discard(known.order.key)
            if not owners:
                del self._owners[before.ref]
        if ref is not None:
            self._owners.setdefault(ref, set()).add(known.order.key)

    def _sort(self, known: _Graph) -> None:
        """Update whether a graph may be forgotten: it is not claimed, and complete or certainly not on the server."""
        key = known.order.key
        if key not in self._claims and (known.is_complete or not (known.is_under_way or known.parts)):
            self._forgettable.setdefault(key)
            self._forget_some()
        else:
            self._forgettable.pop(key, None)

    def _forget_some(self) -> None:
        while len(self._graphs) > self._limit and self._forgettable:
            key = next(iter(self._forgettable))
            known = self._graphs[key]
            self._set_order(known, "order", None)
            del self._forgettable[key], self._graphs[key]
            keys = self._keys[known.order.reference_id]
            keys.discard(key)
            if not keys:
                del self._keys[known.order.reference_id]


def _record(known: _Graph) -> GraphRecord:
    return record_of(known.digest, known.state, dict(known.parts), known.run, known.number)


def _renamed(known: Mapping[str, T], names: Mapping[str, str | None], replaced: Container[str | None]) -> dict[str, T]:
    """Return *known* by its new names, without the *replaced* ones and those that have no new name."""
    renamed = {names.get(old, old): held for old, held in known.items() if old not in replaced}
    return {new: held for new, held in renamed.items() if new is not None}


def _is_same(known: _Graph, order: OrderId) -> bool:
    """Tell whether the server takes *known* and *order* for one order, and has or may have *known*."""
    is_there = "order" in known.parts or known.is_under_way
    return is_there and is_same_order(known.order.ordered_at, order.ordered_at)


def _same_reference(known: _Graph) -> SameReference:
    order = known.parts.get("order")
    return SameReference(known.order.key, order.ref if order else None, known.run, known.number)
