"""What is known of an order before anything of it is sent: from its journal, and from the memory of the client.

Pure decisions. A journal knows what its loads did; the memory knows what this client did with any journal or none, and
vouches for it as long as the lists of the server may lag behind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from cdp_orders_async.ingest.claims import Remembered
from cdp_orders_async.ingest.duplicates import keys_without_clash, with_new_keys
from cdp_orders_async.journal import GraphRecord, Journal, OrderId, PartRecord, SameReference, is_same_order

__all__ = ["NEVER", "Knowledge", "combine_knowledge"]

NEVER = float("-inf")
"""A time before all others."""


class Knowledge(Struct):
    """What is known of one order."""

    record: GraphRecord | None
    """What was done for it, by its key."""
    same: list[SameReference]
    """The other orders that are the same as this one to the server, and that are or may be there."""
    claims: list[tuple[bytes, int, bytes]]
    """Who claimed it before: a load, the position in its input, and the hash of the order there."""
    new_keys: Mapping[str, str | None] = {}
    """The new keys of records that its journal has under others."""
    unrecorded: Mapping[str, PartRecord] = {}
    """What its journal does not know yet."""
    last_sent: float = NEVER
    """When the client last sent something for it that nobody vouches for any more: then the server has to be asked."""


def combine_knowledge(
    order: OrderId,
    record: GraphRecord | None,
    same: Sequence[SameReference],
    memory: Sequence[Remembered],
    *,
    journal: Journal | None,
    now: float,
    settle: float,
) -> Knowledge:
    """Add the *memory* of orders with the reference id of *order* to what its *journal* knows.

    The memory of an order vouches for it until *settle* seconds after its end; *now* is the time in seconds.
    """
    known = Knowledge(record, list(same), [] if record is None else [(record.run, record.number, record.digest)])
    keys = {reference.key for reference in same}
    for remembered in memory:
        parts = remembered.records()
        if remembered.key != order.key:
            first = parts.get("order")
            is_same = is_same_order(remembered.ordered_at, order.ordered_at)
            if first is not None and is_same and remembered.key not in keys:
                known.same.append(SameReference(remembered.key, first.ref, remembered.run, remembered.number))
            continue
        known.claims.append((remembered.run, remembered.number, remembered.digest))
        if journal is not None and remembered.journal is journal:
            continue  # the journal knows that too, and what other processes did since
        if now - remembered.ended > settle:  # the server tells what became of it since
            parts = {key: PartRecord(b"", part.ref) for key, part in parts.items()}
            if known.record is None:
                known.last_sent = remembered.ended
                continue
        _merge(known, remembered, parts)
    return known


def _merge(known: Knowledge, remembered: Remembered, parts: Mapping[str, PartRecord]) -> None:
    """Add what the memory knows to what is *known*."""
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
        )
        return
    if record.complete and remembered.complete and record.digest == remembered.digest:
        return
    # Nobody knows which of the two is newer: what they do not agree on is looked at.
    agreed = {key: _agreed(part, record.parts.get(key)) for key, part in parts.items() if part.ref is not None}
    known.new_keys = keys_without_clash(record.parts, agreed)
    before = with_new_keys(record.parts, known.new_keys)
    known.unrecorded = {key: part for key, part in agreed.items() if before.get(key) != part}
    known.record = GraphRecord(b"", complete=False, ended=False, parts={**before, **agreed})


def _agreed(part: PartRecord, other: PartRecord | None) -> PartRecord:
    """Return *part*, to be compared again where the *other* record of it says something else."""
    return part if other is None or other == part or other.ref is None else PartRecord(b"", part.ref)
