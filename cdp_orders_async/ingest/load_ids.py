"""The ids of loads, which journals keep with the orders that a load claimed: pure functions."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime

__all__ = ["id_with_file", "load_id", "start_of"]

TIME_BYTES = 4
RANDOM_BYTES = 6
FILE_BYTES = 8
"""The bytes of the hash of a file name."""


def load_id(now: float, random: Callable[[int], bytes]) -> bytes:
    """Return the id of a load that starts *now*, in Unix seconds; *random* gives bytes that tell it from others."""
    return int(now).to_bytes(TIME_BYTES, "big") + random(RANDOM_BYTES)


def id_with_file(load: bytes, file: str) -> bytes:
    """Return the id of a *load* and a *file* of its input."""
    return load + hashlib.blake2b(str(file).encode(errors="backslashreplace"), digest_size=FILE_BYTES).digest()


def start_of(run: bytes) -> datetime | None:
    """Return the start of the load of a claim, cut off after the seconds; None for a *run* that does not tell it."""
    whole = TIME_BYTES + RANDOM_BYTES
    if len(run) not in {whole, whole + FILE_BYTES}:
        return None
    return datetime.fromtimestamp(int.from_bytes(run[:TIME_BYTES], "big"), UTC)
