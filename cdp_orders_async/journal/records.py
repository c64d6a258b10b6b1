"""The protocol of a journal, and its records."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol, Self
from uuid import UUID

from msgspec import Struct

from cdp_orders_async.models.common import as_sent

__all__ = [
    "MAX_REFERENCE_BYTES",
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
    "current_key",
    "is_same_order",
    "key_of_record",
]

MAX_REFERENCE_BYTES: Final = 2_000
"""The longest reference id of an order that a journal records: an index of a database takes no longer texts."""
SAME_ORDER: Final = timedelta(days=2)
"""The server takes two orders with one reference id for one order if their times differ by at most this."""


def is_same_order(one: datetime, other: datetime) -> bool:
    """Tell whether the server takes two orders with one reference id and these times for one order.

    The times are compared in milliseconds, as they are sent.
    """
    return abs(as_sent(one) - as_sent(other)) <= SAME_ORDER


def current_key(key: str) -> str:
    """Return the *key* of an order as `OrderId.of` makes it: keys of earlier versions may have microseconds."""
    has_microseconds = key[-13:-12] == "." and key[-9:-6] != "000"
    order = OrderId.parse(key) if has_microseconds else None
    return key if order is None else order.key


class OrderId(Struct, frozen=True):
    """The identity of an order."""

    key: str
    """Its reference id, ``@`` and its time in UTC, as `of` makes it."""
    reference_id: str
    ordered_at: datetime
    """When it was ordered, in UTC and to the millisecond."""

    @classmethod
    def of(cls, reference_id: str, ordered_at: datetime) -> Self:
        """Return the identity of the order with this *reference_id* and this time, which has a time zone.

        The time is cut off after the milliseconds, as it is sent.
        """
        moment = as_sent(ordered_at.astimezone(UTC))
        return cls(_key(reference_id, moment), reference_id, moment)

    @classmethod
    def parse(cls, key: str) -> Self | None:
        """Return the order that has this *key*, or None if no order has it.

        Earlier versions made keys with microseconds: the order has the key of today.
        """
        reference_id, _, time = key.rpartition("@")
        try:
            moment = datetime.fromisoformat(time)
            return cls.of(reference_id, moment) if _key(reference_id, moment) == key else None
        except (ValueError, OverflowError):
            return None


def key_of_record(order: OrderId, recorded: Mapping[str, UUID | None]) -> str:
    """Return the key under which a journal has what it knows of *order*.

    *recorded* are the graphs of this order that are or may be on the server, by key, with their references. An earlier
    version may have made several, of times that differ by less than a millisecond: only the first was ever sent.
    """
    return max(recorded, key=lambda key: (recorded[key] is not None, key == order.key), default=order.key)


def _key(reference_id: str, moment: datetime) -> str:
    return f"{reference_id}@{moment.astimezone(UTC).isoformat()}"


class PartRecord(Struct, frozen=True):
    """The record of one part of a graph."""

    digest: bytes
    """The hash of the part's payload when it was sent."""
    ref: UUID | None
    """Its reference on the server; None: it was sent, and it is unknown whether it was created."""


class GraphRecord(Struct, frozen=True):
    """The record of one graph."""

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
    gaps: bool = False
    """Whether the server may have parts of it, of an earlier content, that have no record."""


class SameReference(Struct, frozen=True):
    """Another order with the same reference id, at most `SAME_ORDER` apart, that is or may be on the server."""

    key: str
    ref: UUID | None
    """Its reference on the server; None: it is unknown whether it is there."""
    run: bytes
    """The run that claimed it last; empty: unknown."""
    number: int
    """The line or position for which that run claimed it."""


class Claimed(Struct, frozen=True):
    """An order that the caller has claimed now, and its records."""

    record: GraphRecord | None
    """Its record before this claim; None: there was none. Its run and its number are those of the claim before."""
    same_reference: tuple[SameReference, ...] = ()
    """The other orders that the server would take for this one, in the order of their claims."""
    order_created: bool = False
    """Whether a load with this journal created the order itself, so that all its parts are younger.

    True also if it is not known whether the order is there, and a load claimed it to send it.
    """


class Busy(Struct, frozen=True):
    """An order that another load has claimed."""

    key: str
    """The order that is claimed: this one, or another with its reference id."""
    seconds: float | None
    """How long that claim still holds unless it is renewed; None: unknown."""


class CreatedPart(Struct, frozen=True):
    """A recorded part that a load with this journal created."""

    key: str
    part: str
    ref: UUID
    """Its reference on the server."""
    digest: bytes
    """The hash of the part's payload when it was sent."""


class RecordedOrder(Struct, frozen=True):
    """An order of a journal."""

    key: str
    record: GraphRecord
    created: frozenset[str]
    """The names of the parts that loads with this journal created."""


class Journal(Protocol):
    """Keeps the claims of a load on its orders, and the records of their parts, before and after they are sent.

    Each method raises `JournalError` if the journal is closed. An awaited method raises it also if the journal cannot
    be read or written.
    """

    @property
    def lease(self) -> float | None:
        """The seconds that a claim lasts unless it is renewed; None: as long as the journal is open."""
        ...

    def check(self, identity: Mapping[str, str]) -> None:
        """Raise `JournalError`, with one sentence, unless this journal belongs to *identity*.

        A journal that was opened with an empty identity belongs to every identity. A journal in memory without an
        identity belongs to *identity* from now on.
        """
        ...

    async def claim(
        self, order: OrderId, digest: bytes, *, run: bytes = b"", number: int = 0, sends: bool = False
    ) -> Claimed | Busy:
        """Claim *order*, write that it is under way, and return its records.

        While any caller holds an order with the same reference id, return `Busy` and change nothing. An order that is
        complete with the same *digest* is claimed too, and stays complete, with the new *run* and *number*. An order
        that is still under way with another *digest* has gaps from now on, which the same write notes. An empty
        *digest* is that of an undo, which changes no content: the order keeps its digest, and is under way. The claim
        lasts until `end` or `release`, or until its lease ends. *sends*: if the journal knows nothing of the order, the
        caller sends it and does not ask the server, so if it is there later, a load with this journal created it.

        Raises UnicodeEncodeError for a key that is not valid Unicode.
        """
        ...

    async def renew(self, keys: Sequence[str]) -> set[str]:
        """Renew the claims of these orders for another lease, and return the orders whose claim is lost.

        A claim is lost if its lease ended and another load has claimed an order with its reference id. Orders that this
        journal does not hold are left out.
        """
        ...

    def record(self, graph: str, part: str, digest: bytes, ref: UUID | None, *, created: bool = False) -> None:
        """Note the *ref* of a part, None if it may have been created.

        *created*: a load with this journal created it; False: it was found, or nothing new is known. A part stays
        created until another ref is recorded for it.

        It is queued, in order, and on disk at the latest when the next `claim`, `end` or `owner` returns. It never
        fails because of the disk: the next awaited call raises that error. A graph that was never claimed has no
        records. After its claim was lost, a *ref* is still recorded, because it is a fact; a None is dropped if another
        load claims the order before it is written.
        """
        ...

    def forget(self, graph: str, part: str) -> None:
        """Delete the record of a part that is certainly not on the server; queued like a record without a *ref*."""
        ...

    def rename(self, graph: str, parts: Mapping[str, str | None]) -> None:
        """Rename records of *graph*: *parts* has the new names, by old name; None deletes a record.

        All changes are one step: names can be exchanged, and a crash leaves all of them or none. A record that has a
        new name already is replaced. Queued like a record without a *ref*.
        """
        ...

    async def end(self, graph: str, *, complete: bool, gaps: bool | None = None) -> None:
        """Write that *graph* is no longer under way, with everything noted before, and give up its claim.

        *complete* says whether every part of it is done; *gaps*, whether the server may have parts of it that have no
        record, None if nothing new is known of that. If the claim was lost or given up before, only the notes are
        written.
        """
        ...

    def release(self, graph: str) -> None:
        """Give up the claim without an end, as after a crash: the next load of the order must ask the server.

        It is queued like a record.
        """
        ...

    async def owner(self, ref: UUID) -> str | None:
        """Return the graph whose part ``order`` has this *ref*; of several, the graph that was claimed first."""
        ...

    def created(self) -> AsyncIterator[CreatedPart]:
        """Yield each recorded part that a load with this journal created.

        The graph that was claimed first comes last; within a graph, the part that was created first comes last.
        """
        ...

    def orders(self) -> AsyncIterator[RecordedOrder]:
        """Yield each order with all that is recorded of it; the order that was claimed first comes first."""
        ...

    async def known(self, limit: int) -> Sequence[tuple[str, UUID]]:
        """Return the keys of at most *limit* complete orders, and the refs of their parts ``order``.

        The order that was claimed first comes last.
        """
        ...

    async def aclose(self) -> None:
        """Write all queued operations, give up all claims and close the journal; closing again does nothing."""
        ...
