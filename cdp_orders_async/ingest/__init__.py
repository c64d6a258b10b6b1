"""The bulk loader: whole orders, exactly once in effect."""

from __future__ import annotations

from cdp_orders_async.ingest.before import Before, KeepBefore
from cdp_orders_async.ingest.compare import differences
from cdp_orders_async.ingest.context import OnExisting
from cdp_orders_async.ingest.entry import SETTLE, Priority, Source, ingest, ingest_one
from cdp_orders_async.ingest.load import Load
from cdp_orders_async.ingest.outcomes import Failure, Leftover, Outcome, PartOutcome, PartVerdict, Verdict
from cdp_orders_async.ingest.undoing import ENDING, OrderUndo, UndoneOrder, UndonePart, UndoVerdict, is_in_doubt

__all__ = [
    "ENDING",
    "SETTLE",
    "Before",
    "Failure",
    "KeepBefore",
    "Leftover",
    "Load",
    "OnExisting",
    "OrderUndo",
    "Outcome",
    "PartOutcome",
    "PartVerdict",
    "Priority",
    "Source",
    "UndoVerdict",
    "UndoneOrder",
    "UndonePart",
    "Verdict",
    "differences",
    "ingest",
    "ingest_one",
    "is_in_doubt",
]
