"""Where the time of an order goes: told with its outcome, and summed up by the load."""

from __future__ import annotations

import orjson
import pytest
from msgspec.structs import asdict, replace

from cdp_orders_async import MemoryJournal, OrderGraph, Timings, Verdict, ingest
from cdp_orders_async.emulator import Emulator
from cdp_orders_async.journal import Busy, Claimed, OrderId
from tests.ingest.network import Network, collected, loading
from tests.ingest.orders import item, order, whole
from tests.ingest.serving import serving
from tests.virtual import VirtualLoop, run


class SlowJournal(MemoryJournal):
    """A journal on a slow disk."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self.loop = loop

    async def claim(
        self, order: OrderId, digest: bytes, *, run: bytes = b"", number: int = 0, sends: bool = False
    ) -> Claimed | Busy:
        """Take half a second."""
        self.loop.selector.now += 0.5
        return await super().claim(order, digest, run=run, number=number, sends=sends)

    async def end(self, graph: str, *, complete: bool, gaps: bool | None = None) -> None:
        """Take a quarter of a second."""
        self.loop.selector.now += 0.25
        await super().end(graph, complete=complete, gaps=gaps)


async def test_calls_are_counted_with_their_order() -> None:
    """Each outcome has the times of its own calls, and the load the sum of them; what took no time is left out."""
    async with serving(Emulator()) as cdp, ingest(cdp, [whole("A"), whole("B")], open_orders=1) as load:
        outcomes = await collected(load)
    one, other = (outcome.times for outcome in outcomes)
    assert min(one.server, other.server) > 0
    assert one.journal == one.backoff == one.lane == 0
    assert asdict(load.times) == pytest.approx(
        {name: seconds + getattr(other, name) for name, seconds in asdict(one).items()}
    )
    assert cdp.session.stats.times.server == 0


def test_times_in_the_file_of_outcomes() -> None:
    """The file of outcomes has what is not zero, in seconds rounded to milliseconds; and nothing where all is zero."""

    async def main(loop: VirtualLoop) -> None:
        load = loading(loop, Network(Emulator()), [whole()], journal=SlowJournal(loop))
        (outcome,) = await collected(load)
        await load.aclose()
        told = orjson.loads(orjson.dumps(outcome.to_json()))
        assert (told["seconds"], told["times"]) == (0.75, {"journal": 0.75})
        assert load.times == outcome.times == Timings(journal=0.75)
        assert "times" not in replace(outcome, times=Timings(server=0.0001)).to_json()

    run(main)


def test_waiting_for_lists_is_counted() -> None:
    """The time until it is certain that something is not there is told apart: nothing fails meanwhile."""

    async def main(loop: VirtualLoop) -> None:
        fates = iter(["lost, not done"])
        network = Network(
            Emulator(), lambda request: next(fates, "ok") if request.operation == "items.create" else "ok"
        )
        load = loading(loop, network, [OrderGraph(order=order(), items=(item("i1"),))], settle=2.0)
        (outcome,) = await collected(load)
        await load.aclose()
        assert (outcome.verdict, outcome.times.settle, outcome.times.backoff) == (Verdict.LOADED, 2.0, 0.0)

    run(main)


def test_the_time_in_which_a_load_is_held_is_told_apart() -> None:
    """A load that is held waits for its user: its time says so, and not that the server fails."""

    async def main(loop: VirtualLoop) -> None:
        load = loading(loop, Network(Emulator(), lambda _: "ok"), [OrderGraph(order=order())])
        load.hold()
        loop.call_later(3.0, load.release)
        (outcome,) = await collected(load)
        await load.aclose()
        assert (outcome.verdict, outcome.times.held, outcome.times.backoff) == (Verdict.LOADED, 3.0, 0.0)

    run(main)
