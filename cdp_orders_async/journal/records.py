"""What a journal can do, and what it tells."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol, Self
from uuid import UUID

from msgspec import Struct

__all__ = [
    "SAME_ORDER",
    "Busy",
    "Claimed",
    "CreatedPart",
    "GraphRecord",
    "Journal",
    "OrderId",
    "PartRecord",
    "RecordedOrder",
    "SameReference",
    "is_same_order",
]

SAME_ORDER: Final = timedelta(days=2)
"""To the server, two orders with one reference id are one where they are at most this far apart."""


def is_same_order(one: datetime, other: datetime) -> bool:
    """Tell whether two orders with one reference id, ordered at these times, are one to the server.

    It gets times in milliseconds, without what is finer.
    """
    return abs(_as_sent(one) - _as_sent(other)) <= SAME_ORDER


def _as_sent(moment: datetime) -> datetime:
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


class OrderId(Struct, frozen=True):
    """What tells an order from others."""

    key: str
    """Its reference id, ``@`` and its time in UTC, as `of` makes it."""
    reference_id: str
    ordered_at: datetime
    """When it was ordered, with a time zone."""

    @classmethod
    def of(cls, reference_id: str, ordered_at: datetime) -> Self:
        """Return what tells the order with this *reference_id* and this time, which has a time zone, from others."""
        return cls(f"{reference_id}@{ordered_at.astimezone(UTC).isoformat()}", reference_id, ordered_at)

    @classmethod
    def parse(cls, key: str) -> Self | None:
        """Return the order that has this *key*, or None if no order has it."""
        reference_id, _, time = key.rpartition("@")
        try:
            order = cls.of(reference_id, datetime.fromisoformat(time))
        except (ValueError, OverflowError):
            return None
        return order if order.key == key else None


class PartRecord(Struct, frozen=True):
    """What is known of one part of a graph."""

    digest: bytes
    """The hash of the part's payload when it was sent."""
    ref: UUID | None
    """What the server calls it; None: it was sent, and whether it was done is unknown."""


class GraphRecord(Struct, frozen=True):
    """What is known of one graph."""

    digest: bytes
    """The hash of the whole graph when it was last claimed."""
    complete: bool
    """Whether every part of it is done."""
    ended: bool
    """False: the process stopped while it was under way, so any part without a record may have been sent."""
    parts: Mapping[str, PartRecord]
    """The recorded parts by name."""
    run: bytes = b""
    """The run (one load) that claimed it last; empty: unknown."""
    number: int = 0
    """The line or position for which that run claimed it."""


class SameReference(Struct, frozen=True):
    """Another order with the same reference id, at most `SAME_ORDER` apart, that is or may be on the server."""

    key: str
    ref: UUID | None
    """What the server calls it; None: whether it is on the server is unknown."""
    run: bytes
    """The run that claimed it last; empty: unknown."""
    number: int
    """The line or position for which that run claimed it."""


class Claimed(Struct, frozen=True):
    """An order that is the caller's now, and what was known before."""

    record: GraphRecord | None
    """What was known of it; None: nothing. Its run and its number are those of the claim before this one."""
    same_reference: tuple[SameReference, ...] = ()
    """The other orders that the server would take for this one; the one claimed first comes first."""


class Busy(Struct, frozen=True):
    """An order that somebody else has claimed."""

    key: str
    """The order that is claimed: this one, or another with its reference id."""
    seconds: float | None
    """How long that claim still holds unless it is renewed; None: unknown."""


class CreatedPart(Struct, frozen=True):
    """A part that was created by a load with this journal, and that is still recorded."""

    key: str
    part: str
    ref: UUID
    """What the server calls it."""
    digest: bytes
    """The hash of the part's payload when it was sent."""


class RecordedOrder(Struct, frozen=True):
    """An order of a journal."""

    key: str
    record: GraphRecord
    created: frozenset[str]
    """The names of the parts that loads with this journal created."""


class Journal(Protocol):
    """Where a load claims an order, notes what it is about to do with it, and notes what came of it.

    Each method raises `JournalError` if the journal is closed. Those that are awaited raise it also if the journal
    cannot be read or written.
    """

    @property
    def lease(self) -> float | None:
        """How many seconds a claim holds unless it is renewed; None: as long as the journal is open."""
        ...

    def check(self, identity: Mapping[str, str]) -> None:
        """Raise `JournalError`, with one sentence, unless this journal belongs to *identity*.

        A journal that was opened with no identity belongs to every one. A journal in memory that belongs to nothing
        yet belongs to *identity* from now on.
        """
        ...

    async def claim(self, order: OrderId, digest: bytes, *, run: bytes = b"", number: int = 0) -> Claimed | Busy:
        """Claim *order*, make durable that it is under way, and return what was known before.

        While anybody, this caller too, holds an order with the same reference id, return `Busy`: nothing is changed.
        An order that is complete with the same *digest* stays complete, with the new *run* and *number*; it is
        claimed all the same. The claim holds until `end` or `release`, or until its lease ends.

        Raise UnicodeEncodeError for a key that is not valid Unicode.
        """
        ...

    async def renew(self, keys: Sequence[str]) -> set[str]:
        """Let the claims of these orders hold for another lease, and return the orders whose claim is lost.

        A claim is lost when its lease had ended and somebody else has claimed an order with its reference id. Of an
        order that this journal does not hold, nothing is said.
        """
        ...

    def record(self, graph: str, part: str, digest: bytes, ref: UUID | None, *, created: bool = False) -> None:
        """Note the *ref* of a part, or with None that it may have been done.

        *created*: a load with this journal created it; False: it was found, or nothing new is known. What was created
        stays created while no other ref is recorded for that part.

        It is queued, in order, and durable at the latest when the next `claim`, `end` or `owner` returns. It never
        fails because of the disk: the next call that is awaited says so. A graph that was never claimed has none. A
        graph whose claim was lost has: a *ref* is a fact, whoever holds the order. That it may have been done is none,
        and is dropped where somebody else has claimed the order before it is durable.
        """
        ...

    def forget(self, graph: str, part: str) -> None:
        """Drop the record of a part that is certainly not there; queued, and dropped, like a record without a *ref*."""
        ...

    def rename(self, graph: str, parts: Mapping[str, str | None]) -> None:
        """Give records of *graph* other names: *parts* has the new name of each, None where its record is dropped.

        It is done all at once, so that names can be exchanged, and a crash leaves all of it done or nothing. Another
        record under a new name is replaced. Queued, and dropped, like a record without a *ref*.
        """
        ...

    async def end(self, graph: str, *, complete: bool) -> None:
        """Make durable that *graph* is no longer under way, with everything noted before, and give its claim up.

        *complete* says whether every part of it is done. Where the claim was lost or given up before, only what was
        noted is made durable.
        """
        ...

    def release(self, graph: str) -> None:
        """Give the claim up without an end, as a crash would: who claims the order next must look at the server.

        It is queued like a record.
        """
        ...

    async def owner(self, ref: UUID) -> str | None:
        """Return the graph whose part named ``order`` has this *ref*; of several, the one claimed first."""
        ...

    def created(self) -> AsyncIterator[CreatedPart]:
        """Yield each part that loads with this journal created and that is still recorded.

        The graph that was claimed first comes last, and so does, of one graph, the part that was created first.
        """
        ...

    def orders(self) -> AsyncIterator[RecordedOrder]:
        """Yield each order with all that is recorded of it; the order that was claimed first comes first."""
        ...

    async def known(self, limit: int) -> Sequence[tuple[str, UUID]]:
        """Return the keys of at most *limit* complete orders, and the refs of their parts named ``order``.

        Those that were claimed first come last.
        """
        ...

    async def aclose(self) -> None:
        """Write what is queued, give all claims up and let go of everything; closing again does nothing."""
        ...
