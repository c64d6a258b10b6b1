"""What a client tells of its work: events as frozen values, observers that are told of them, and a log.

No event holds a body, a query, a header of the client, a secret or a personal value: each can be logged whole. An
order is named by its key, which holds its reference id.
"""

from __future__ import annotations

from cdp_orders_async.telemetry.events import (
    REFUSED_FOR_LOAD,
    AttemptEnded,
    AttemptStarted,
    Call,
    CallEnded,
    CallStarted,
    Event,
    LoadEnded,
    LoadStarted,
    OrderEnded,
    OrderStarted,
    PartAdopted,
    PauseBegan,
    PauseEnded,
    RateChanged,
    RateState,
)
from cdp_orders_async.telemetry.observers import Observer, SwitchedObserver, checked, switch, tell

__all__ = [
    "REFUSED_FOR_LOAD",
    "AttemptEnded",
    "AttemptStarted",
    "Call",
    "CallEnded",
    "CallStarted",
    "Event",
    "LoadEnded",
    "LoadStarted",
    "Observer",
    "OrderEnded",
    "OrderStarted",
    "PartAdopted",
    "PauseBegan",
    "PauseEnded",
    "RateChanged",
    "RateState",
    "SwitchedObserver",
    "checked",
    "switch",
    "tell",
]
