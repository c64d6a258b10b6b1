"""Runs on one journal, one after the other, with whatever goes wrong on the way to the server."""

from __future__ import annotations

from collections import Counter

import attrs

from cdp_orders_async import MemoryJournal, OrderGraph, Outcome, PartVerdict, ingest_one
from cdp_orders_async.emulator import Emulator, Switches
from cdp_orders_async.ingest import OnExisting
from cdp_orders_async.journal import Claimed, Journal, OrderId
from tests.ingest.expectations import stored, wanted
from tests.ingest.network import Network
from tests.ingest.serving import BASE
from tests.ingest.versions import NEW, Version


@attrs.define
class Case:
    """A server, a journal, and what goes wrong on the way to the server."""

    network: Network
    version: Version = NEW
    journal: MemoryJournal = attrs.Factory(MemoryJournal)
    bad: dict[str, str | int] = attrs.Factory(dict[str, "str | int"])
    """Fates by operation."""

    @classmethod
    def new(cls, version: Version = NEW) -> Case:
        """Return a case in which nothing goes wrong."""
        case = cls(Network(Emulator(switches=Switches(upsert=False))), version)
        case.network.fate = lambda request: case.bad.get(request.operation, "ok")
        return case

    async def load(self, graph: OrderGraph, on_existing: OnExisting = "keep", **bad: str | int) -> Outcome:
        """Load one order while some operations go wrong."""
        self.bad = {name.replace("__", "."): fate for name, fate in bad.items()}
        self.network.requests.clear()
        cdp = self.version.resources(self.network, BASE)
        return await ingest_one(cdp, self.version.of(graph), journal=self.journal, on_existing=on_existing, settle=0.0)

    @property
    def asked(self) -> Counter[str]:
        """How often the last load asked for what."""
        return Counter(request.operation for request in self.network.requests)

    def holds(self, graph: OrderGraph) -> bool:
        """Whether the server has *graph* and nothing else."""
        return stored(self.network.emulator) == wanted([self.version.of(graph)])


async def crash(journal: Journal, graph: OrderGraph, digest: bytes = b"whatever it was") -> None:
    """Leave *journal* as a process does that is killed right after it claimed an order."""
    order = OrderId.of(graph.order.reference_id, graph.order.ordered_at)
    claimed = await journal.claim(order, digest)
    assert isinstance(claimed, Claimed)
    journal.release(order.key)


def parts(outcome: Outcome, verdict: PartVerdict) -> set[str]:
    """Return the names of the parts with a verdict."""
    return {part.name for part in outcome.parts if part.verdict == verdict}


def differs(outcome: Outcome) -> dict[str, tuple[str, ...]]:
    """Return what was left as it is though the input says otherwise."""
    return {part.name: part.differs for part in outcome.parts if part.differs}
