"""The bulk loader: whole orders, exactly once in effect."""

from __future__ import annotations

from cdp_orders_async.ingest.control import OnExisting
from cdp_orders_async.ingest.entry import SETTLE, ingest, ingest_one
from cdp_orders_async.ingest.load import Load
from cdp_orders_async.ingest.outcomes import Failure, Outcome, PartOutcome, PartVerdict, Verdict

__all__ = [
    "SETTLE",
    "Failure",
    "Load",
    "OnExisting",
    "Outcome",
    "PartOutcome",
    "PartVerdict",
    "Verdict",
    "ingest",
    "ingest_one",
]
