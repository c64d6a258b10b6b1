"""The times of calls, by purpose."""

from __future__ import annotations

import msgspec

__all__ = ["Timings"]


class Timings(msgspec.Struct):
    """The seconds that calls spent, by purpose; the seconds of parallel calls add up."""

    connection: float = 0.0
    """Waiting until fewer calls were in flight."""
    rate: float = 0.0
    """Waiting for a permit of the rate limit."""
    lane: float = 0.0
    """Waiting of a bulk call because interactive calls went first, as far as that was known when it began to wait."""
    backoff: float = 0.0
    """Waiting before a call was sent again."""
    connect: float = 0.0
    """Getting a connection, new or kept."""
    server: float = 0.0
    """From the request to the first byte of the answer."""
    body: float = 0.0
    """Reading the answer."""
    decode: float = 0.0
    """Decoding the answer."""
    journal: float = 0.0
    """Waiting until the journal was on disk."""

    @property
    def total(self) -> float:
        """The sum of all seconds."""
        seconds: float = sum(msgspec.structs.astuple(self))
        return seconds

    def add(self, other: Timings) -> None:
        """Add the seconds of *other*."""
        for name in FIELD_NAMES:
            if seconds := getattr(other, name):
                setattr(self, name, getattr(self, name) + seconds)

    def to_json(self) -> dict[str, float]:
        """Return the seconds that are not zero, rounded to milliseconds."""
        return {name: seconds for name in FIELD_NAMES if (seconds := round(getattr(self, name), 3))}


FIELD_NAMES = Timings.__struct_fields__
