"""P4 and P8: what the loader adds to the requests that it makes.

P4: its CPU on a stand-in for the network, next to the same typed creates in a bare `asyncio.TaskGroup`; and with the
journal. P8: its requests per second to a server that answers at once, over aiohttp and
over connections of the package's own, next to raw aiohttp; and the CPU of `ingest_one`, called by a few at once, next
to `ingest`.

All of it with the garbage collector as ``cdp-orders load`` sets it, which is to all variants' good.
"""

from __future__ import annotations

import asyncio
import importlib.resources
import itertools
import tempfile
from argparse import Namespace
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TypeVar
from uuid import UUID

import attrs
from harness import Batch, Point, Result, arguments, benchmark, compared, hammer, interleaved, ratios, result, serving
from peers import Way, client, raw_aiohttp

from cdp_orders_async import (
    GraphFile,
    GraphItem,
    NewConsumer,
    NewContact,
    NewOrder,
    NewOrderItem,
    OrderGraph,
    Outcome,
    Request,
    Resources,
    SqliteJournal,
    ingest,
    ingest_one,
)
from cdp_orders_async.__main__ import relax_gc

T = TypeVar("T")
OPEN, CONNECTIONS, CALLERS = 128, 64, 8
OWN = "loader over httptools"


class Network:
    """A stand-in that answers at once: everything that is created gets a reference."""

    def __init__(self) -> None:
        self.requests = 0

    async def send(self, request: Request[T], /) -> T:
        """Answer *request*."""
        self.requests += 1
        number = self.requests
        await asyncio.sleep(0)
        return request.read(b'{"ref":"%032x"}' % number)


async def sample(count: int) -> list[OrderGraph]:
    """Return *count* orders, each a new one: the packaged ones, again and again."""
    packed = importlib.resources.files("cdp_orders_async") / "data" / "orders-50.jsonl.gz"
    with importlib.resources.as_file(packed) as path:
        graphs = [line.graph async for line in GraphFile(path) if line.graph is not None]
    return [
        attrs.evolve(graph, order=attrs.evolve(graph.order, reference_id=f"{graph.order.reference_id}-{n}"))
        for n, graph in zip(range(count), itertools.cycle(graphs), strict=False)
    ]


def again(graphs: Sequence[OrderGraph], n: int) -> list[OrderGraph]:
    """Return *graphs* as other orders: a client knows again what it loaded shortly before."""
    return [
        attrs.evolve(graph, order=attrs.evolve(graph.order, reference_id=f"{graph.order.reference_id}-{n}"))
        for graph in graphs
    ]


async def loaded(outcomes: AsyncIterator[Outcome]) -> list[float]:
    """Return the seconds that each order took; all must have been loaded."""
    seconds: list[float] = []
    async for outcome in outcomes:
        if outcome.verdict != "loaded":
            raise SystemExit(f"not loaded: {outcome}")
        seconds.append(outcome.seconds)
    return seconds


async def by_hand(cdp: Resources, rest: Iterator[OrderGraph]) -> None:
    """Load orders as one would write it by hand, without a thought for what may go wrong."""

    async def create(part: GraphItem, order: UUID, items: dict[str | None, UUID]) -> None:
        assert isinstance(part.item, NewOrderItem)  # noqa: S101 the sample is of version 2.1
        item = await cdp.items.create(order, part.item)
        items[part.item.reference_id] = item.ref
        if part.extension is not None:
            await cdp.item_extensions.create(item.ref, part.extension)

    for graph in rest:
        assert isinstance(graph.order, NewOrder)  # noqa: S101 the same
        order, items = (await cdp.orders.create(graph.order)).ref, dict[str | None, UUID]()
        async with asyncio.TaskGroup() as group:
            if isinstance(graph.contact, NewContact):
                group.create_task(cdp.contacts.create(order, graph.contact))
            if graph.extension is not None:
                group.create_task(cdp.order_extensions.create(order, graph.extension))
            for part in graph.items:
                group.create_task(create(part, order, items))
        for user in graph.consumers:
            if isinstance(user.consumer, NewConsumer):
                uses = tuple(items[use] for use in user.uses) or None
                await cdp.consumers.create(order, attrs.evolve(user.consumer, order_items=uses))


def bare(graphs: Sequence[OrderGraph]) -> Batch:
    """Return the loading of *graphs* by a bare task group."""

    async def batch() -> int:
        network, rest = Network(), iter(graphs)
        async with asyncio.TaskGroup() as group:
            for _ in range(OPEN):
                group.create_task(by_hand(Resources(network, "https://host"), rest))
        return network.requests

    return batch


def whole(graphs: Sequence[OrderGraph], folder: Path | None = None) -> Batch:
    """Return the loading of *graphs* by the loader, with a new journal in *folder* each time."""
    numbers = itertools.count()

    async def batch() -> int:
        network, journal = Network(), None
        async with AsyncExitStack() as stack:
            if folder is not None:
                path = folder / f"{next(numbers)}.sqlite"
                journal = await stack.enter_async_context(
                    await SqliteJournal.open(path, identity={"base URL": "https://host"})
                )
            cdp = Resources(network, "https://host")
            await loaded(await stack.enter_async_context(ingest(cdp, graphs, journal=journal, open_orders=OPEN)))
        return network.requests

    return batch


def one_by_one(graphs: Sequence[OrderGraph]) -> Batch:
    """Return the loading of *graphs* by `ingest_one`."""

    async def batch() -> int:
        network = Network()
        await each(Resources(network, "https://host"), graphs)
        return network.requests

    return batch


async def each(cdp: Resources, graphs: Iterable[OrderGraph]) -> None:
    """Load *graphs* one after the other, by a call for each."""
    for graph in graphs:
        if (outcome := await ingest_one(cdp, graph)).verdict != "loaded":
            raise SystemExit(f"not loaded: {outcome}")


async def on_a_stand_in(graphs: Sequence[OrderGraph], rounds: int) -> list[Result]:
    """Return the results of P4."""
    with tempfile.TemporaryDirectory() as folder:
        batches = {"loader": whole(graphs), "TaskGroup": bare(graphs), "TaskGroup again": bare(graphs)}
        batches |= {"journal": whole(graphs, Path(folder)), "one by one": one_by_one(graphs)}
        cpu, _ = await interleaved(batches, rounds)
    journal = [one - other for one, other in zip(cpu["journal"], cpu["loader"], strict=True)]
    what = "CPU of a request, no network"
    return [
        *compared("P4", what, cpu, "us", most=1.25),
        result("P4", f"{what}: what the journal adds", journal, "us", most=60),
        result("P4", f"{what}: ingest_one / ingest", ratios(cpu["one by one"], cpu["loader"]), "x", most=1.15),
    ]


async def on_a_server(graphs: Sequence[OrderGraph], rounds: int) -> list[Result]:
    """Return the results of P8."""
    async with serving() as url, AsyncExitStack() as stack:

        async def loading(http: Way) -> tuple[Batch, Batch]:
            """Return two ways to load: all orders at once, and one by one for each of a few callers."""
            cdp = await stack.enter_async_context(client(url, CONNECTIONS, http=http))
            numbers = itertools.count()

            async def batch() -> int:
                before, some = cdp.session.stats.requests, again(graphs, next(numbers))
                async with ingest(cdp, some, open_orders=CONNECTIONS) as outcomes:
                    await loaded(outcomes)
                return cdp.session.stats.requests - before

            async def by_callers() -> int:
                before, rest = cdp.session.stats.requests, iter(again(graphs, next(numbers)))
                async with asyncio.TaskGroup() as group:
                    for _ in range(CALLERS):
                        group.create_task(each(cdp, rest))
                return cdp.session.stats.requests - before

            return batch, by_callers

        (ours, callers), (own, own_callers) = await loading("aiohttp"), await loading("httptools")
        raw = hammer(await raw_aiohttp(url, CONNECTIONS, stack), CONNECTIONS, await ours() // CONNECTIONS)
        batches = {"loader": ours, "raw aiohttp": raw, "raw again": raw, OWN: own}
        batches |= {"callers": callers, "callers over httptools": own_callers}
        cpu, wall = await interleaved(batches, rounds)
    rates = {name: [1e6 / took for took in rounds] for name, rounds in wall.items()}
    ones = f"CPU of a request over a socket: ingest_one, {CALLERS} callers / ingest"
    what, share = f"requests per second, {CONNECTIONS} in flight", ratios(wall["raw aiohttp"], wall[OWN])
    return [
        *compared("P8", what, rates, "/s", least=0.8),
        result("P8", f"{what}: {OWN} / raw aiohttp", share, "x", least=0.8),
        result("", f"{what}: {OWN}", rates[OWN], "/s"),
        result("P8", f"{ones}, aiohttp", ratios(cpu["callers"], cpu["loader"]), "x", most=1.15),
        result("P8", f"{ones}, httptools", ratios(cpu["callers over httptools"], cpu[OWN]), "x", most=1.15),
    ]


async def measure(options: Namespace) -> tuple[list[Result], list[Point]]:
    """Measure everything."""
    graphs = await sample(50 if options.quick else 250)
    relax_gc()
    rounds = 5 if options.quick else 15
    return [*await on_a_stand_in(graphs, rounds), *await on_a_server(graphs, rounds)], []


if __name__ == "__main__":
    benchmark(measure, arguments(__doc__))
