"""What a journal must do, said as simply as it can be said."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from uuid import UUID

from cdp_orders_async.journal import (
    Busy,
    Claimed,
    CreatedPart,
    GraphRecord,
    OrderId,
    PartRecord,
    RecordedOrder,
    SameReference,
)


@dataclass
class Graph:
    """All that is known of one order."""

    order: OrderId
    digest: bytes = b""
    state: str = "under way"
    run: bytes = b""
    number: int = 0
    gaps: bool = False
    sent: bool = False
    sent_by: bytes = b""
    """The start of the first load that may have sent it, if a later one claimed it."""
    parts: dict[str, PartRecord] = field(default_factory=dict[str, PartRecord])
    created: list[tuple[str, UUID]] = field(default_factory=list[tuple[str, UUID]])

    @property
    def ref(self) -> UUID | None:
        """What the server calls the order, if that is known."""
        return self.parts["order"].ref if "order" in self.parts else None

    def told(self) -> GraphRecord:
        """Return what a claim tells of it."""
        return GraphRecord(
            digest=self.digest,
            complete=self.state == "complete",
            ended=self.state != "under way",
            parts=dict(self.parts),
            run=self.run + self.sent_by,
            number=self.number,
            gaps=self.gaps,
        )


@dataclass
class Claim:
    """Who holds which order until when."""

    worker: int
    key: str
    until: float


class Model:
    """One journal, and *workers* that use it; with a *lease* each has a queue of its own that others cannot see."""

    def __init__(self, workers: int, lease: float | None) -> None:
        self.lease = lease
        self.now = 0.0
        self.graphs: dict[str, Graph] = {}
        self.claims: dict[str, Claim] = {}
        self.held: list[dict[str, Claim]] = [{} for _ in range(workers)]
        self.queues: list[list[Callable[[], None]]] = [[] for _ in range(workers)]

    def write(self, worker: int) -> None:
        """Do what a worker has queued."""
        queue, self.queues[worker] = self.queues[worker], []
        for do in queue:
            do()

    def put(self, worker: int, do: Callable[[], None]) -> None:
        """Queue something."""
        self.queues[worker].append(do)
        if self.lease is None:
            self.write(worker)

    def claim(
        self, worker: int, order: OrderId, digest: bytes, run: bytes, number: int, *, sends: bool
    ) -> Claimed | Busy:
        """Claim an order."""
        self.write(worker)
        holder = self.claims.get(order.reference_id)
        if holder and holder.until > self.now:
            return Busy(holder.key, None if self.lease is None else holder.until - self.now)
        until = float("inf") if self.lease is None else self.now + self.lease
        self.claims[order.reference_id] = self.held[worker][order.key] = Claim(worker, order.key, until)
        same = tuple(
            SameReference(graph.order.key, graph.ref, graph.run + graph.sent_by, graph.number)
            for graph in self.graphs.values()
            if graph.order.reference_id == order.reference_id
            and graph.order.key != order.key
            and abs(graph.order.ordered_at - order.ordered_at) <= timedelta(hours=48)
            and ("order" in graph.parts or graph.state == "under way")
        )
        before = self.graphs.get(order.key)
        after = self.graphs[order.key] = before or Graph(order)
        known = before.told() if before else None
        start = after.sent_by or after.run[:4]
        order_created = after.sent if after.ref is None else ("order", after.ref) in after.created
        if known is None or (known.ended and "order" not in known.parts):
            is_done = known is not None and known.complete and known.digest == digest
            is_looked_for = same or is_done or (known is not None and known.gaps)
            after.sent, start = sends and not is_looked_for, b""
        if before and digest not in {b"", before.digest} and before.state == "under way":
            after.gaps = True
        if after.digest != digest or after.state != "complete":
            after.digest, after.state = digest or after.digest, "under way"
        after.run, after.number = run, number
        after.sent_by = start if after.sent and start < run[:4] else b""
        return Claimed(known, same, order_created)

    def give_up(self, worker: int, key: str) -> bool:
        """Give a claim up, and return whether the worker had it."""
        claim = self.held[worker].pop(key, None)
        found = [name for name, holder in self.claims.items() if holder is claim]
        for name in found:
            del self.claims[name]
        return found != []

    def renew(self, worker: int) -> set[str]:
        """Prolong all claims of a worker."""
        self.write(worker)
        lost = {key for key, claim in self.held[worker].items() if claim not in self.claims.values()}
        for key in self.held[worker].keys() - lost:
            self.held[worker][key].until = self.now + (self.lease or float("inf"))
        return lost if self.lease is not None else set()

    def end(self, worker: int, key: str, *, complete: bool, gaps: bool | None) -> None:
        """End an order."""
        self.write(worker)
        if self.give_up(worker, key):
            self.graphs[key].state = "complete" if complete else "incomplete"
            self.graphs[key].sent = self.graphs[key].sent and not complete
            self.graphs[key].gaps = self.graphs[key].gaps if gaps is None else gaps

    def release(self, worker: int, key: str) -> None:
        """Give a claim up, in turn."""
        self.put(worker, lambda: void(self.give_up(worker, key)))

    def record(self, worker: int, key: str, part: str, digest: bytes, ref: UUID | None, *, created: bool) -> None:
        """Record a part, in turn."""
        note = partial(self._record, key, part, digest, ref, created=created)
        self.put(worker, note if ref is not None else partial(self._unless_taken, worker, key, note))

    def _unless_taken(self, worker: int, key: str, note: Callable[[], None]) -> None:
        """Write what is only a doubt, or takes one back, unless another worker has claimed the order since."""
        held = self.held[worker].get(key)
        name = key.rpartition("@")[0]
        holder = self.claims.get(name)
        if self.lease is None or held is holder or (held is None and (holder is None or holder.key != key)):
            note()

    def _record(self, key: str, part: str, digest: bytes, ref: UUID | None, *, created: bool) -> None:
        if graph := self.graphs.get(key):
            graph.parts[part] = PartRecord(digest, ref)
            if ref is not None and (created or (part, ref) not in graph.created):
                graph.created = [other for other in graph.created if other[0] != part]
                graph.created += [(part, ref)] if created else []

    def forget(self, worker: int, key: str, part: str) -> None:
        """Forget a part, in turn."""
        self.put(worker, partial(self._unless_taken, worker, key, partial(self._forget, key, part)))

    def _forget(self, key: str, part: str) -> None:
        if graph := self.graphs.get(key):
            graph.parts.pop(part, None)
            graph.created = [other for other in graph.created if other[0] != part]

    def rename(self, worker: int, key: str, parts: Mapping[str, str | None]) -> None:
        """Rename parts, in turn."""
        self.put(worker, partial(self._unless_taken, worker, key, partial(self._rename, key, parts)))

    def _rename(self, key: str, parts: Mapping[str, str | None]) -> None:
        if graph := self.graphs.get(key):
            before, created = dict(graph.parts), dict(graph.created)
            for part in (*parts, *(new for old, new in parts.items() if old in before and new is not None)):
                self._forget(key, part)
            moved = {old: new for old, new in parts.items() if new is not None}
            graph.parts |= {new: before[old] for old, new in moved.items() if old in before}
            names = {part: part for part, _ in graph.created} | moved
            graph.created = [(names[part], ref) for part, ref in created.items() if part in names]

    def owner(self, ref: UUID) -> str | None:
        """Return the first order with this ref."""
        return next((key for key, graph in self.graphs.items() if graph.ref == ref), None)

    def known(self, limit: int) -> list[tuple[str, UUID]]:
        """Return the newest complete orders."""
        found = [(key, graph.ref) for key, graph in self.graphs.items() if graph.state == "complete"]
        return [(key, ref) for key, ref in reversed(found) if ref is not None][:limit]

    def created(self) -> list[CreatedPart]:
        """Return what was created, newest first."""
        return [
            CreatedPart(key, part, ref, graph.parts[part].digest)
            for key, graph in reversed(self.graphs.items())
            for part, ref in reversed(graph.created)
            if graph.parts[part].ref == ref
        ]

    def orders(self) -> list[RecordedOrder]:
        """Return all orders, oldest first."""
        created = [(part.key, part.part) for part in self.created()]
        return [
            RecordedOrder(key, graph.told(), frozenset(part for its, part in created if its == key))
            for key, graph in self.graphs.items()
        ]

    def close(self, worker: int) -> None:
        """Close the journal of a worker."""
        self.write(worker)
        for key in [*self.held[worker]]:
            self.give_up(worker, key)

    def crash(self, worker: int) -> None:
        """Kill a worker."""
        if self.lease is None:
            self.close(worker)
        self.queues[worker].clear()
        self.held[worker].clear()


def void(_: object) -> None:
    """Return nothing."""
