"""The state of a graph as tables keep it, a number: how it ended, and whether it has gaps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from cdp_orders_async.journal.records import GraphRecord, PartRecord

__all__ = ["COMPLETE", "ENDED", "UNDER_WAY", "record_of", "state_of_claim", "state_of_end"]

UNDER_WAY: Final = 0
INCOMPLETE: Final = 1
COMPLETE: Final = 2
ENDED: Final = 3
"""The bits that say how it ended."""
GAPS: Final = 4


def state_of_end(*, complete: bool, gaps: bool | None) -> tuple[int, int]:
    """Return the bits that an end sets, and those of the state before it that stay."""
    ended = COMPLETE if complete else INCOMPLETE
    return ended | GAPS if gaps else ended, GAPS if gaps is None else 0


def state_of_claim(state: int, known: bytes, digest: bytes) -> int:
    """Return the state of a graph that is claimed in a *state*: its digest was *known*, and is *digest* now."""
    if known == digest:
        return state if state & ENDED == COMPLETE else state & GAPS
    return state & GAPS if state & ENDED else GAPS


def record_of(digest: bytes, state: int, parts: Mapping[str, PartRecord], run: bytes, number: int) -> GraphRecord:
    """Return the record of a graph in this *state*."""
    ended = state & ENDED
    return GraphRecord(digest, ended == COMPLETE, ended != UNDER_WAY, parts, run, number, gaps=state & GAPS > 0)
