"""Where the time of calls went."""

from __future__ import annotations

import msgspec

__all__ = ["Times"]


class Times(msgspec.Struct):
    """Seconds of calls by what they were spent on; those of calls in parallel add up."""

    connection: float = 0.0
    """Waiting until fewer calls were in flight."""
    rate: float = 0.0
    """Waiting for a turn at the rate."""
    lane: float = 0.0
    """Of a bulk call, waiting for a turn because interactive calls went first, as far as could be told before."""
    backoff: float = 0.0
    """Waiting before a call was sent again."""
    connect: float = 0.0
    """Getting a connection, new or kept."""
    server: float = 0.0
    """From the request to the first byte of the answer."""
    body: float = 0.0
    """Reading the answer."""
    decode: float = 0.0
    """Making a value of the answer."""
    journal: float = 0.0
    """Waiting until the journal had it on disk."""

    @property
    def total(self) -> float:
        """All of them."""
        seconds: float = sum(msgspec.structs.astuple(self))
        return seconds

    def add(self, other: Times) -> None:
        """Add what *other* has."""
        for name in FIELD_NAMES:
            if seconds := getattr(other, name):
                setattr(self, name, getattr(self, name) + seconds)

    def to_json(self) -> dict[str, float]:
        """Return those that are not zero, rounded to milliseconds."""
        return {name: seconds for name in FIELD_NAMES if (seconds := round(getattr(self, name), 3))}


FIELD_NAMES = Times.__struct_fields__
