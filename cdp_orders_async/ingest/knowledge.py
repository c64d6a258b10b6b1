"""Combine the knowledge of an order before it is sent: from its journal and from the memory of the client.

Pure functions. A journal knows the work of its loads. The memory knows the work of this client, with any journal or
without one, and is reliable as long as the lists of the server may lag behind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from msgspec import Struct

from cdp_orders_async.ingest.claims import Remembered
from cdp_orders_async.ingest.duplicates import keys_without_clash, with_new_keys
from cdp_orders_async.journal import Claimed, GraphRecord, Journal, OrderId, PartRecord, SameReference, is_same_order
from cdp_orders_async.journal.load_ids import start_of

__all__ = ["NEVER", "Knowledge", "combine_knowledge"]

NEVER = float("-inf")
"""A time before all other times."""


class Knowledge(Struct):
    """The knowledge of one order."""

    record: GraphRecord | None
    """The record of the order with this key."""
    same: list[SameReference]
    """Other orders that the server takes for this one, and that are or may be on the server."""
    claims: list[tuple[bytes, int, bytes]]
    """Earlier claims of this order: the load, the position in its input, and the hash of the order in that input."""
    cut_off: bool = False
    """Whether the last run of it with its journal did not come to its end."""
    order_created: bool = False
    """Whether a load with its journal created the order itself."""
    sent_since: datetime | None = None
    """The start of that load, if it is not known whether the order came: an older order is not its own."""
    new_keys: Mapping[str, str | None] = {}
    """The new keys of records in its journal, by old key."""
    unrecorded: Mapping[str, PartRecord] = {}
    """The parts that its journal does not know yet."""
    last_ended: float = NEVER
    """When the client last ended it."""
    last_sent: float = NEVER
    """When the client last sent something for it without a reliable record of it: the server has to be asked."""


def combine_knowledge(
    order: OrderId,
    claimed: Claimed,
    memory: Sequence[Remembered],
    *,
    journal: Journal | None,
    now: float,
    settle: float,
) -> Knowledge:
    """Return the knowledge of *order*: what its *journal* told when it was *claimed*, and the *memory* of the client.

    The memory holds the ended orders with the same reference id. It is reliable until *settle* seconds after the end
    of an order; *now* is the time in seconds.
    """
    record = claimed.record
    claims = [] if record is None else [(record.run, record.number, record.digest)]
    known = Knowledge(
        record,
        list(claimed.same_reference),
        claims,
        cut_off=record is not None and not record.ended,
        order_created=claimed.order_created,
    )
    own = None if record is None else record.parts.get("order")
    if record is not None and (own is None or own.ref is None):
        known.sent_since = start_of(record.run)
        known.order_created = claimed.order_created and known.sent_since is not None
    keys = {reference.key for reference in claimed.same_reference}
    for remembered in memory:
        parts = remembered.records()
        if remembered.key != order.key:
            first = parts.get("order")
            is_same = is_same_order(remembered.ordered_at, order.ordered_at)
            if first is not None and is_same and remembered.key not in keys:
                known.same.append(SameReference(remembered.key, first.ref, remembered.run, remembered.number))
            continue
        known.claims.append((remembered.run, remembered.number, remembered.digest))
        known.last_ended = max(known.last_ended, remembered.ended)
        if journal is not None and (
            remembered.journal is journal or (record and _is_same(remembered.journal, journal))
        ):
            continue  # the journal knows that too, and also the later work of other processes
        if now - remembered.ended > settle:  # the lists of the server show it by now
            parts = {key: PartRecord(b"", part.ref) for key, part in parts.items()}
            if known.record is None:
                known.last_sent = remembered.ended
                continue
        _merge(known, remembered, parts)
    return known


def _is_same(journal: Journal | None, other: Journal) -> bool:
    """Tell whether two journals are one that was opened again; a journal of the user may not say its place."""
    place = getattr(other, "place", None)
    return place is not None and getattr(journal, "place", None) == place


def _merge(known: Knowledge, remembered: Remembered, parts: Mapping[str, PartRecord]) -> None:
    """Add a *remembered* order with its *parts* to what is *known*."""
    record = known.record
    if record is None:
        known.unrecorded = parts
        known.record = GraphRecord(
            remembered.digest,
            complete=remembered.complete,
            ended=True,
            parts=parts,
            run=remembered.run,
            number=remembered.number,
            gaps=remembered.gaps,
        )
        return
    is_same = record.complete and remembered.complete and record.digest == remembered.digest
    if is_same and parts.keys() <= record.parts.keys() and not remembered.gaps:
        return
    # It is not known which of the two is newer, so the parts that differ are looked up.
    agreed = {key: _agreed(part, record.parts.get(key)) for key, part in parts.items() if part.ref is not None}
    known.new_keys = keys_without_clash(record.parts, agreed)
    before = with_new_keys(record.parts, known.new_keys)
    known.unrecorded = {key: part for key, part in agreed.items() if before.get(key) != part}
    known.record = GraphRecord(b"", complete=False, ended=False, parts={**before, **agreed}, gaps=True)


def _agreed(part: PartRecord, other: PartRecord | None) -> PartRecord:
    """Return *part*; without its hash, so that it is compared again, where the *other* record of it differs."""
    return part if other is None or other == part or other.ref is None else PartRecord(b"", part.ref)
