"""P4 and P8: what the loader adds to the requests that it makes.

P4: its CPU on a stand-in for the network, next to the same typed creates in a bare `asyncio.TaskGroup`; and with the
journal. P8: its requests per second to a server that answers at once, next to raw aiohttp.
"""

from __future__ import annotations

import asyncio
import importlib.resources
import itertools
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TypeVar
from uuid import UUID

import attrs
from harness import Batch, Result, arguments, cpu, hammer, interleaved, pin, ratios, serving, tell
from peers import raw_aiohttp

from cdp_orders_async import (
    CdpOrders,
    GraphFile,
    GraphItem,
    Order,
    OrderGraph,
    OrderItem,
    Outcome,
    Request,
    Resources,
    Settings,
    SqliteJournal,
    ingest,
)

T = TypeVar("T")
OPEN = 128
CONNECTIONS = 64


class Network:
    """A stand-in that answers at once: everything that is created gets a reference."""

    def __init__(self) -> None:
        self.requests = 0

    async def send(self, request: Request[T], /) -> T:
        """Answer *request*."""
        self.requests += 1
        await asyncio.sleep(0)
        return request.read(b'{"ref":"%032x"}' % self.requests)


async def sample(count: int) -> list[OrderGraph]:
    """Return *count* orders, each a new one: the packaged ones, again and again."""
    packed = importlib.resources.files("cdp_orders_async") / "data" / "orders-50.jsonl.gz"
    with importlib.resources.as_file(packed) as path:
        graphs = [line.graph async for line in GraphFile(path) if line.graph is not None]
    return [
        attrs.evolve(graph, order=attrs.evolve(graph.order, reference_id=f"{graph.order.reference_id}-{n}"))
        for n, graph in zip(range(count), itertools.cycle(graphs), strict=False)
    ]


def parts(graph: OrderGraph) -> int:
    """Return how many requests an order takes."""
    extensions = [graph.extension, *(item.extension for item in graph.items)]
    return 1 + (graph.contact is not None) + len(graph.items) + len(graph.consumers) + len(extensions) - extensions.count(None)


async def loaded(outcomes: AsyncIterator[Outcome]) -> list[float]:
    """Return the seconds that each order took; all must have been loaded."""
    seconds: list[float] = []
    async for outcome in outcomes:
        if outcome.verdict != "loaded":
            raise SystemExit(f"not loaded: {outcome}")
        seconds.append(outcome.seconds)
    return seconds


async def by_hand(cdp: Resources, graph: OrderGraph) -> None:
    """Load one order as one would write it by hand, without a thought for what may go wrong."""
    order: Order = await cdp.orders.create(graph.order)
    items: dict[str | None, UUID] = {}

    async def item(part: GraphItem) -> None:
        made: OrderItem = await cdp.items.create(order.ref, part.item)
        items[part.item.reference_id] = made.ref
        if part.extension is not None:
            await cdp.item_extensions.create(made.ref, part.extension)

    async with asyncio.TaskGroup() as group:
        if graph.contact is not None:
            group.create_task(cdp.contacts.create(order.ref, graph.contact))
        if graph.extension is not None:
            group.create_task(cdp.order_extensions.create(order.ref, graph.extension))
        for part in graph.items:
            group.create_task(item(part))
    for user in graph.consumers:
        uses = tuple(items[use] for use in user.uses) or None
        await cdp.consumers.create(order.ref, attrs.evolve(user.consumer, order_items=uses))


def bare(graphs: Sequence[OrderGraph]) -> Batch:
    """Return the loading of *graphs* by a bare task group."""

    async def work(cdp: Resources, rest: Iterator[OrderGraph]) -> None:
        for graph in rest:
            await by_hand(cdp, graph)

    async def batch() -> int:
        network = Network()
        cdp = Resources(network, "https://host")
        rest = iter(graphs)
        async with asyncio.TaskGroup() as group:
            for _ in range(OPEN):
                group.create_task(work(cdp, rest))
        return network.requests

    return batch


def whole(graphs: Sequence[OrderGraph], folder: Path | None = None) -> Batch:
    """Return the loading of *graphs* by the loader, with a new journal in *folder* each time."""
    numbers = itertools.count()

    async def batch() -> int:
        network = Network()
        async with AsyncExitStack() as stack:
            journal = None
            if folder is not None:
                path = folder / f"{next(numbers)}.sqlite"
                journal = await stack.enter_async_context(await SqliteJournal.open(path, identity={"base URL": "none"}))
            cdp = Resources(network, "https://host")
            await loaded(await stack.enter_async_context(ingest(cdp, graphs, journal=journal, open_orders=OPEN)))
        return network.requests

    return batch


async def on_a_stand_in(graphs: Sequence[OrderGraph], rounds: int) -> list[Result]:
    """Return the results of P4."""
    with tempfile.TemporaryDirectory() as folder:
        batches = {
            "bare": bare(graphs),
            "bare again": bare(graphs),
            "loader": whole(graphs),
            "journal": whole(graphs, Path(folder)),
        }
        costs = {name: cpu(found) for name, found in (await interleaved(batches, rounds)).items()}
    journal = [one - other for one, other in zip(costs["journal"], costs["loader"], strict=True)]
    return [
        Result.of("P4", "CPU of the loader / a bare TaskGroup, no network", ratios(costs["loader"], costs["bare"]), most=1.25),
        Result.of("P4", "CPU that the journal adds to a request", journal, "us", most=60),
        Result.of("", "control: TaskGroup / TaskGroup", ratios(costs["bare again"], costs["bare"])),
        *(Result.of("", f"CPU of a request, {name}", values, "us") for name, values in costs.items()),
    ]


async def on_a_server(graphs: Sequence[OrderGraph], rounds: int) -> list[Result]:
    """Return the results of P8."""
    async with serving() as server, AsyncExitStack() as stack:
        settings = Settings(connections=CONNECTIONS)
        client = CdpOrders(base_url=server.url, client_key="key", api_token="token", settings=settings)  # noqa: S106
        cdp = await stack.enter_async_context(client)
        requests = sum(map(parts, graphs))
        raw = hammer(await raw_aiohttp(server.url, CONNECTIONS, stack), CONNECTIONS, requests // CONNECTIONS)

        async def batch() -> int:
            async with ingest(cdp, graphs, open_orders=CONNECTIONS) as outcomes:
                await loaded(outcomes)
            return requests

        found = await interleaved({"raw": raw, "raw again": raw, "loader": batch}, rounds)
    rates = {name: [1e6 / cost.wall for cost in costs] for name, costs in found.items()}
    return [
        Result.of("P8", f"requests/s of the loader / raw aiohttp, {CONNECTIONS} in flight", ratios(rates["loader"], rates["raw"]), least=0.8),
        Result.of("", "control: raw aiohttp / raw aiohttp", ratios(rates["raw again"], rates["raw"])),
        *(Result.of("", f"requests per second, {name}", values, "/s") for name, values in rates.items()),
    ]


async def main() -> None:
    """Measure and tell."""
    options = arguments(__doc__).parse_args()
    pin()
    graphs = await sample(50 if options.quick else 250)
    rounds = 5 if options.quick else 15
    tell("loader", options.out, [*await on_a_stand_in(graphs, rounds), *await on_a_server(graphs, rounds)])


if __name__ == "__main__":
    asyncio.run(main())
