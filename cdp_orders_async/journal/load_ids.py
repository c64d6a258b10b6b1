"""The ids of loads, which journals keep with the orders that a load claimed: pure functions."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime

__all__ = ["id_with_file", "load_id", "start_of", "with_first_start", "without_first_start"]

TIME_BYTES = 4
RANDOM_BYTES = 6
FILE_BYTES = 8
"""The bytes of the hash of a file name."""

LENGTHS = frozenset({TIME_BYTES + RANDOM_BYTES, TIME_BYTES + RANDOM_BYTES + FILE_BYTES})


def load_id(now: float, random: Callable[[int], bytes]) -> bytes:
    """Return the id of a load that starts *now*, in Unix seconds; *random* gives bytes that tell it from others."""
    return int(now).to_bytes(TIME_BYTES, "big") + random(RANDOM_BYTES)


def id_with_file(load: bytes, file: str) -> bytes:
    """Return the id of a *load* and a *file* of its input."""
    return load + hashlib.blake2b(str(file).encode(errors="backslashreplace"), digest_size=FILE_BYTES).digest()


def with_first_start(run: bytes, before: bytes) -> bytes:
    """Return the id *run* of a claim with the start of an earlier one, *before*, behind it; as it is without one.

    A journal keeps it so while it is not known whether the order of the earlier load came.
    """
    start = _start_of(before)
    return run if start is None or len(run) not in LENGTHS or run[:TIME_BYTES] <= start else run + start


def without_first_start(run: bytes) -> bytes:
    """Return the id of a claim as its load gave it."""
    return run[:-TIME_BYTES] if len(run) - TIME_BYTES in LENGTHS else run


def start_of(run: bytes) -> datetime | None:
    """Return the start of the load of a claim, cut off after the seconds; None for a *run* that does not tell it.

    It is the start of the first load that may have sent the order, if it is not known whether that came.
    """
    start = _start_of(run)
    return None if start is None else datetime.fromtimestamp(int.from_bytes(start, "big"), UTC)


def _start_of(run: bytes) -> bytes | None:
    if len(run) - TIME_BYTES in LENGTHS:
        return run[-TIME_BYTES:]
    return run[:TIME_BYTES] if len(run) in LENGTHS else None
