"""Where the time of calls went."""

from __future__ import annotations

import attrs

__all__ = ["Times"]


@attrs.define
class Times:
    """Seconds of calls by what they were spent on; those of calls in parallel add up."""

    connection: float = 0.0
    """Waiting until fewer calls were in flight."""
    rate: float = 0.0
    """Waiting for a turn at the rate."""
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

    @property
    def total(self) -> float:
        """All of them."""
        seconds: float = sum(attrs.astuple(self))
        return seconds
