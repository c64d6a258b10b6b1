"""The state of a graph as journals keep it, a number: how it ended, and whether it has gaps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from cdp_orders_async.journal.load_ids import with_first_start
from cdp_orders_async.journal.records import GraphRecord, PartRecord

__all__ = [
    "COMPLETE",
    "ENDED",
    "SENT",
    "UNDER_WAY",
    "is_order_created",
    "record_of",
    "run_of_claim",
    "state_of_claim",
    "state_of_end",
    "state_of_first_claim",
]

UNDER_WAY: Final = 0
INCOMPLETE: Final = 1
COMPLETE: Final = 2
ENDED: Final = 3
"""The bits that say how it ended."""
GAPS: Final = 4
SENT: Final = 8
"""Its order was sent, or was about to be, when nothing of it was or may have been there: see `is_order_created`."""


def state_of_end(*, complete: bool, gaps: bool | None) -> tuple[int, int]:
    """Return the bits that an end sets, and those of the state before it that stay."""
    ended = COMPLETE if complete else INCOMPLETE
    stay = (0 if complete else SENT) | (GAPS if gaps is None else 0)
    return ended | GAPS if gaps else ended, stay


def state_of_first_claim(*, sends: bool) -> int:
    """Return the state of a graph of which nothing was known; *sends* as in `state_of_claim`."""
    return SENT if sends else UNDER_WAY


def state_of_claim(state: int, known: bytes, digest: bytes, *, sends: bool, has_order: bool) -> int:
    """Return the state of a graph that is claimed in a *state*: its digest was *known*, and is *digest* now.

    An empty *digest* changes nothing of what it contains. *sends*: the caller sends its order unless this may be there.
    *has_order*: the order has a record.
    """
    if state & ENDED == UNDER_WAY:
        return state & (GAPS | SENT) if digest in {b"", known} else state & SENT | GAPS
    if state & ENDED == COMPLETE and known == digest:
        return state
    return state & (GAPS | SENT) if has_order else state & GAPS or state_of_first_claim(sends=sends)


def run_of_claim(state: int, before: bytes, run: bytes, *, has_order: bool) -> bytes:
    """Return the run of a graph that is claimed by *run* in a *state*, *before* by another run.

    While it is not known whether its order came, the start of the first load that may have sent it is kept.
    """
    is_sent = state & SENT and (has_order or state & ENDED == UNDER_WAY)
    return with_first_start(run, before) if is_sent else run


def is_order_created(state: int, order: PartRecord | None, *, created: bool) -> bool:
    """Tell whether a load made the order of a graph in this *state*; *created*: its record, *order*, says so."""
    return created if order is not None and order.ref is not None else state & SENT > 0


def record_of(digest: bytes, state: int, parts: Mapping[str, PartRecord], run: bytes, number: int) -> GraphRecord:
    """Return the record of a graph in this *state*."""
    ended = state & ENDED
    return GraphRecord(digest, ended == COMPLETE, ended != UNDER_WAY, parts, run, number, gaps=state & GAPS > 0)
