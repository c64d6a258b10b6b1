"""What a load has done so far, durable before it goes on, so that it can resume and do nothing twice.

A *graph* is one whole order, under the key of its `OrderId`; its *parts* are the things created for it. A load claims
an order before it sends anything of it. The journal holds keys, hashes, refs and states, never what was sent.
"""

from __future__ import annotations

from cdp_orders_async.journal.memory import MemoryJournal
from cdp_orders_async.journal.records import (
    SAME_ORDER,
    Busy,
    Claimed,
    CreatedPart,
    GraphRecord,
    Journal,
    OrderId,
    PartRecord,
    RecordedOrder,
    SameReference,
    is_same_order,
)
from cdp_orders_async.journal.sqlite import SqliteJournal

__all__ = [
    "SAME_ORDER",
    "Busy",
    "Claimed",
    "CreatedPart",
    "GraphRecord",
    "Journal",
    "MemoryJournal",
    "OrderId",
    "PartRecord",
    "RecordedOrder",
    "SameReference",
    "SqliteJournal",
    "is_same_order",
]
