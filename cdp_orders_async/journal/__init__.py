"""The progress of loads, written to disk before each further step, so that a load can resume and does nothing twice.

A *graph* is one whole order, under the key of its `OrderId`; its *parts* are the objects created for it. A load claims
an order before it sends any part of it. The journal holds keys, hashes, refs and states, never the values of an order.
"""

from __future__ import annotations

from cdp_orders_async.journal.folder import batch_folder
from cdp_orders_async.journal.memory import MemoryJournal
from cdp_orders_async.journal.postgres import PostgresAddress, PostgresJournal
from cdp_orders_async.journal.records import (
    MAX_REFERENCE_BYTES,
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
    current_key,
    is_same_order,
)
from cdp_orders_async.journal.sqlite import SqliteJournal

__all__ = [
    "MAX_REFERENCE_BYTES",
    "SAME_ORDER",
    "Busy",
    "Claimed",
    "CreatedPart",
    "GraphRecord",
    "Journal",
    "MemoryJournal",
    "OrderId",
    "PartRecord",
    "PostgresAddress",
    "PostgresJournal",
    "RecordedOrder",
    "SameReference",
    "SqliteJournal",
    "batch_folder",
    "current_key",
    "is_same_order",
]
