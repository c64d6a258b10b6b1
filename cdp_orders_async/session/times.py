"""Where the time of calls went."""

from __future__ import annotations

from contextvars import ContextVar

import attrs

__all__ = ["TIMES", "Times"]


@attrs.define
class Times:
    """Seconds of calls by what they were spent on; calls in parallel add up."""

    connection: float = 0.0
    """Waiting until fewer calls were in flight."""
    rate: float = 0.0
    """Waiting for a turn at the rate."""
    backoff: float = 0.0
    """Waiting before a call was sent again."""
    connect: float = 0.0
    """Getting a connection, new or kept, and writing the head of the request."""
    server: float = 0.0
    """From the request to the first byte of the answer."""
    body: float = 0.0
    """Reading the answer."""
    decode: float = 0.0
    """Making a value of the answer."""
    journal: float = 0.0
    """Waiting for the journal."""
    settle: float = 0.0
    """Waiting until a look-up could be trusted."""

    def add(self, other: Times) -> None:
        """Add the seconds of *other*."""
        for field in attrs.fields(Times):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))


TIMES: ContextVar[Times | None] = ContextVar("TIMES", default=None)
"""Where calls made in this context count their time; tasks inherit it from the one that starts them."""
