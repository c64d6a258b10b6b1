"""What a client tells of its work: events as frozen values, observers that are told of them, and a log.

No event holds a body, a query, a header, a secret or a personal value: each can be logged whole. An order is named by
its key, which holds its reference id.
"""

from __future__ import annotations

from cdp_orders_async.telemetry.events import (
    AttemptEnded,
    Call,
    CallEnded,
    CallStarted,
    Event,
    OrderEnded,
    PartAdopted,
    PauseBegan,
    PauseEnded,
    RateChanged,
)
from cdp_orders_async.telemetry.observers import Observer, checked, tell

__all__ = [
    "AttemptEnded",
    "Call",
    "CallEnded",
    "CallStarted",
    "Event",
    "Observer",
    "OrderEnded",
    "PartAdopted",
    "PauseBegan",
    "PauseEnded",
    "RateChanged",
    "checked",
    "tell",
]
