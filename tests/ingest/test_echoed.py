"""A server, or a cache before it, that answers to a create with what another create made: the verdict is the truth."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TypeVar

import orjson
import pytest

from cdp_orders_async import (
    MemoryJournal,
    OrderGraph,
    PartVerdict,
    Request,
    Resources,
    SqliteJournal,
    Verdict,
    ingest,
    ingest_one,
)
from cdp_orders_async.emulator import Emulator, Switches
from cdp_orders_async.wire import parse_response
from tests.ingest.expectations import stored, wanted
from tests.ingest.network import Network, asked
from tests.ingest.orders import consumer, item, order
from tests.ingest.serving import BASE

T = TypeVar("T")


class Echo(Network):
    """A network that answers to each create of one *operation*, which is done, with what it answered to the first."""

    def __init__(self, operation: str) -> None:
        super().__init__(Emulator())
        self.operation = operation
        self.first = b""

    async def send(self, request: Request[T], /) -> T:
        """Do what is asked."""
        if request.operation != self.operation:
            return await super().send(request)
        reply = self.emulator.answer(*self.emulator.find(request.method, request.path), asked(request))
        self.first = self.first or orjson.dumps(reply.body)
        return parse_response(request, reply.status, self.first)


async def test_one_answer_to_several_orders_at_once(tmp_path: Path) -> None:
    """One of the orders has it; the journal does not know that yet when it is asked."""
    cdp = Resources(Echo("orders.create"), BASE)
    graphs = [OrderGraph(order=order(f"A-{n}")) for n in range(5)]
    async with (
        await SqliteJournal.open(tmp_path / "journal", identity=cdp.identity) as journal,
        ingest(cdp, graphs, journal=journal) as load,
    ):
        verdicts = Counter([outcome.verdict async for outcome in load])
    assert verdicts == {Verdict.LOADED: 1, Verdict.CONFLICT: 4}


@pytest.mark.parametrize("journaled", [True, False])
async def test_the_order_of_a_load_with_another_journal(journaled: bool) -> None:  # noqa: FBT001 a parameter of the test
    """What one caller of a client made belongs to its order, whatever journal the next caller has."""
    cdp = Resources(Echo("orders.create"), BASE)
    first, second = (OrderGraph(order=order(name)) for name in ("A", "B"))
    assert (await ingest_one(cdp, first, journal=MemoryJournal())).verdict == Verdict.LOADED
    outcome = await ingest_one(cdp, second, journal=MemoryJournal() if journaled else None)
    assert outcome.verdict == Verdict.CONFLICT
    assert f"belongs to {first.key}" in str(outcome.parts[0].reason)


@pytest.mark.parametrize("journaled", [True, False])
@pytest.mark.parametrize("kind", ["items", "consumers"])
async def test_another_part_of_the_order(kind: str, journaled: bool) -> None:  # noqa: FBT001 a parameter of the test
    """Whether the second part was made too nobody knows: it is not called made, and the next run looks for it."""
    network = Echo(f"{kind}.create")
    graph = OrderGraph(order=order(), items=(item("i1"), item("i2")), consumers=(consumer("Ann"), consumer("Bob")))
    cdp, journal = Resources(network, BASE), MemoryJournal() if journaled else None
    outcome = await ingest_one(cdp, graph, journal=journal)
    odd = [part for part in outcome.parts if part.verdict != PartVerdict.CREATED]
    assert [(part.name, part.verdict) for part in odd] == [(f"{kind}/1", PartVerdict.CONFLICT)]
    assert f"which is {kind}/0" in str(odd[0].reason)
    assert outcome.verdict == Verdict.CONFLICT
    again = await ingest_one(cdp, graph, journal=journal, settle=0.0)
    assert again.verdict == Verdict.ALREADY
    assert stored(network.emulator) == wanted([graph])


@pytest.mark.parametrize("journaled", [True, False])
async def test_a_list_of_other_orders(journaled: bool) -> None:  # noqa: FBT001 a parameter of the test
    """A list that was asked for by reference id and has other orders does not say that the order is absent."""

    class Cached(Network):
        """Loses the answer to the create of B, and answers the question for it with the list for A."""

        async def send(self, request: Request[T], /) -> T:
            if request.operation == "orders.list":
                request = request.with_query({**request.query, "referenceId": "A"})
            return await super().send(request)

    network = Cached(Emulator(switches=Switches(upsert=False)))
    cdp, journal = Resources(network, BASE), MemoryJournal() if journaled else None
    first, second = (OrderGraph(order=order(name)) for name in ("A", "B"))
    assert (await ingest_one(cdp, first, journal=journal)).verdict == Verdict.LOADED
    network.fate = lambda request: "lost" if request.operation == "orders.create" else "ok"
    outcome = await ingest_one(cdp, second, journal=journal, settle=0.0)
    assert outcome.verdict == Verdict.UNKNOWN
    assert "has other ones" in str(outcome.parts[0].failure)
    assert stored(network.emulator) == wanted([first, second])
