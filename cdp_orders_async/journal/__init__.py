"""What a load has done so far, durable before it goes on, so that it can resume and do nothing twice.

A *graph* is one whole order, under a key that the caller chooses; its *parts* are the things created for it. The
journal holds keys, hashes, refs and states, never what was sent.
"""

from __future__ import annotations

from cdp_orders_async.journal.memory import MemoryJournal
from cdp_orders_async.journal.records import GraphRecord, Journal, PartRecord
from cdp_orders_async.journal.sqlite import SqliteJournal

__all__ = ["GraphRecord", "Journal", "MemoryJournal", "PartRecord", "SqliteJournal"]
