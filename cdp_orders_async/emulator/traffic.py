"""The latest requests, with their answers, for people who watch."""

from __future__ import annotations

from collections import deque
from datetime import datetime
from itertools import takewhile

import attrs

__all__ = ["KEPT", "Handled", "Traffic"]

KEPT = 2_000
"""The number of requests that are kept."""
LONGEST_PATH = 300
"""The number of characters that are kept of a path with its query."""


@attrs.frozen
class Handled:
    """One request, when it ended."""

    number: int
    """It counts from 1, and goes on after a reset."""
    time: datetime
    method: str
    path: str
    """With the query."""
    operation: str
    """Empty for a request outside of the API."""
    status: int | None
    """The status of the answer; None: no whole answer was sent."""
    note: str
    """The reason of an answer that the operation did not make: a fault, a limit, or a client that left."""


class Traffic:
    """The last requests that ended."""

    def __init__(self) -> None:
        self.count = 0
        """The number of requests so far."""
        self._kept: deque[Handled] = deque(maxlen=KEPT)

    def add(
        self, time: datetime, method: str, path: str, operation: str, status: int | None = None, note: str = ""
    ) -> None:
        """Keep a request that ended at this *time*."""
        self.count += 1
        cut = path if len(path) <= LONGEST_PATH else f"{path[:LONGEST_PATH]}…"
        self._kept.append(Handled(self.count, time, method, cut, operation, status, note))

    def after(self, number: int) -> list[Handled]:
        """Return the kept requests after this *number*, newest first."""
        return list(takewhile(lambda handled: handled.number > number, reversed(self._kept)))

    def clear(self) -> None:
        """Forget the kept requests."""
        self._kept.clear()
