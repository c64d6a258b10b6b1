"""What a journal can do, and what it tells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol
from uuid import UUID

from msgspec import Struct

__all__ = ["GraphRecord", "Journal", "PartRecord"]


class PartRecord(Struct, frozen=True):
    """What is known of one part of a graph."""

    digest: bytes
    """The hash of the part's payload when it was sent."""
    ref: UUID | None
    """What the server calls it; None: it was sent, and whether it was done is unknown."""


class GraphRecord(Struct, frozen=True):
    """What is known of one graph."""

    digest: bytes
    """The hash of the whole graph when it was last begun."""
    complete: bool
    """Whether every part of it is done."""
    ended: bool
    """False: the process stopped while it was under way, so any part without a record may have been sent."""
    parts: Mapping[str, PartRecord]
    """The recorded parts by name."""


class Journal(Protocol):
    """Where a load notes what it is about to do and what came of it."""

    async def begin(self, graph: str, digest: bytes) -> GraphRecord | None:
        """Make durable that *graph* is under way, and return what was known of it before: None if nothing.

        A graph that is complete with the same *digest* stays as it is. Raise `JournalError` if the journal is
        closed or cannot be written, and UnicodeEncodeError for a key that is not valid Unicode.
        """
        ...

    def record(self, graph: str, part: str, digest: bytes, ref: UUID | None) -> None:
        """Note the *ref* of a part, or with None that it may have been done.

        It is queued, in order, and durable at the latest when the next `end` of any graph returns. It never fails
        because of the disk: the next `begin` or `end` says so. A graph that was never begun has no records.
        """
        ...

    def forget(self, graph: str, part: str) -> None:
        """Drop the record of a part that is certainly not there; queued like a record."""
        ...

    async def end(self, graph: str, *, complete: bool) -> None:
        """Make durable that *graph* is no longer under way, with everything noted before.

        Raise `JournalError` if the journal is closed or cannot be written.
        """
        ...

    async def owner(self, ref: UUID) -> str | None:
        """Return the graph whose part named ``order`` has this *ref*; of several, the one begun first."""
        ...

    async def aclose(self) -> None:
        """Write what is queued and let go of everything; closing again does nothing."""
        ...
