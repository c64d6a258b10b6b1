"""The journal in memory."""

from __future__ import annotations

from uuid import UUID

from msgspec import Struct, field

from cdp_orders_async.errors import JournalError
from cdp_orders_async.journal.records import GraphRecord, PartRecord

__all__ = ["MemoryJournal"]


class _Graph(Struct):
    number: int
    digest: bytes
    complete: bool = False
    ended: bool = False
    parts: dict[str, PartRecord] = field(default_factory=dict[str, PartRecord])


class MemoryJournal:
    """A journal that lives as long as the process: it guards against redelivery, not against a crash."""

    def __init__(self) -> None:
        """Start with nothing known."""
        self._graphs: dict[str, _Graph] = {}
        self._claims: dict[UUID, set[str]] = {}
        """The graphs whose order has, or once had, this ref."""
        self._closed = False

    async def begin(self, graph: str, digest: bytes) -> GraphRecord | None:
        """Note that *graph* is under way, and return what was known of it before: None if nothing."""
        self._check_open()
        graph.encode()
        known = self._graphs.get(graph)
        if known is None:
            self._graphs[graph] = _Graph(len(self._graphs), digest)
            return None
        before = GraphRecord(known.digest, known.complete, known.ended, dict(known.parts))
        if not (before.complete and before.digest == digest):
            known.digest, known.complete, known.ended = digest, False, False
        return before

    def record(self, graph: str, part: str, digest: bytes, ref: UUID | None) -> None:
        """Note the *ref* of a part, or with None that it may have been done."""
        self._check_open()
        if known := self._graphs.get(graph):
            known.parts[part] = PartRecord(digest, ref)
            if part == "order" and ref is not None:
                self._claims.setdefault(ref, set()).add(graph)

    def forget(self, graph: str, part: str) -> None:
        """Drop the record of a part that is certainly not there."""
        self._check_open()
        if known := self._graphs.get(graph):
            known.parts.pop(part, None)

    async def end(self, graph: str, *, complete: bool) -> None:
        """Note that *graph* is no longer under way."""
        self._check_open()
        if known := self._graphs.get(graph):
            known.complete, known.ended = complete, True

    async def owner(self, ref: UUID) -> str | None:
        """Return the graph whose part named ``order`` has this *ref*; of several, the one begun first."""
        self._check_open()
        owners = [
            graph
            for graph in self._claims.get(ref, ())
            if (order := self._graphs[graph].parts.get("order")) and order.ref == ref
        ]
        return min(owners, key=lambda graph: self._graphs[graph].number, default=None)

    async def aclose(self) -> None:
        """Refuse everything from now on; closing again does nothing."""
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise JournalError("the journal is closed: open another")
