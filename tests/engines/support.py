"""Orders that the Batch API can take, and loads of them over an emulator."""

from __future__ import annotations

import gzip
import importlib.resources
import os
import signal
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson

from cdp_orders_async import CdpOrders, GraphFiles, Settings, jobs
from cdp_orders_async.emulator import Emulator, Faults, Switches, running
from cdp_orders_async.engines.batch import BatchEngine
from cdp_orders_async.wire import is_list, is_object
from tests.cli.support import TOKEN, write

Json = dict[str, Any]

ENGINE = BatchEngine(most_orders=3, open_files=1, first_poll=0.001, longest_poll=0.002, settle=0.02)
"""Small files, one after the other, and no long waits."""


def real(count: int) -> list[Json]:
    """Return so many real orders, as import records; beyond 50, copies under other ids."""
    packed = importlib.resources.files("cdp_orders_async").joinpath("data/orders-50.jsonl.gz").read_bytes()
    records = [orjson.loads(line) for line in gzip.decompress(packed).splitlines()]
    return [renamed(records[n % len(records)], n // len(records)) for n in range(count)]


def renamed(record: Json, copy: int) -> Json:
    """Return the *copy* of a record, with the id of an order of its own."""
    value = record["value"]
    return record if not copy else {**record, "value": {**value, "referenceId": f"{value['referenceId']}-{copy}"}}


def importable(order: Json) -> Json:
    """Return an *order* with all that the Batch API requires."""
    more = {"productId": "P-1", "description": "A thing", "vendor": "A shop"}
    return {
        **order,
        "channel": "WEB",
        "pointOfSale": "shop-1",
        "status": "PURCHASED",
        "paymentType": "Cash",
        "orderItems": [{**item, **more} for item in order.get("orderItems", ())],
    }


@asynccontextmanager
async def served(
    switches: Switches | None = None, faults: Json | None = None
) -> AsyncGenerator[tuple[Emulator, CdpOrders], None]:
    """Give an emulator and a client of it."""
    server = Emulator(api_token=TOKEN, switches=switches, faults=None if faults is None else Faults.of(faults))
    settings = Settings(retries=0, connections=8)
    async with (
        running(server) as base_url,
        CdpOrders(base_url=base_url, client_key="key", api_token=TOKEN, settings=settings) as cdp,
    ):
        yield server, cdp


async def load(
    cdp: CdpOrders,
    folder: Path,
    lines: list[Json],
    engine: BatchEngine | None = ENGINE,
    **options: Any,  # noqa: ANN401 those of `jobs.load`
) -> jobs.Report:
    """Load *lines* with the journal of the *folder*."""
    source = GraphFiles([write(folder / "o.jsonl", lines)])
    return await jobs.load(cdp, source, journal=folder / "j", outcomes=folder / "out", engine=engine, **options)


def interrupting(server: Emulator, operation: str, count: int = 1) -> jobs.OnEvent:
    """Return an observer that interrupts this process once the server got so many requests of an *operation*."""
    sent = False

    def observe(_: jobs.Event) -> None:
        nonlocal sent
        if not sent and server.requests[operation] >= count:
            sent = True
            os.kill(os.getpid(), signal.SIGINT)

    return observe


def counted(report: jobs.Report) -> dict[str, int]:
    """Return the verdicts of a load."""
    return {str(verdict): count for verdict, count in report.counts.items() if count}


def twice(server: Emulator) -> Counter[str]:
    """Return what happened to the orders of a server besides their creation: nothing may."""
    return Counter(effect["effect"] for effect in server.store.effects if effect["effect"] != "created")


def there(server: Emulator) -> Counter[str]:
    """Return how often a server has each order."""
    return Counter(str(order.data["referenceId"]) for order in server.store.all("orders"))


def state(server: Emulator) -> list[Json]:
    """Return all orders of a server without references and times: its logical state."""
    orders: Any = server.state()["orders"]
    return sorted((bare(order) for order in orders), key=lambda order: str(order["referenceId"]))


SERVED = frozenset({"ref", "href", "createdAt", "modifiedAt", "guest", "order", "orderItem"})


def bare(value: Any) -> Any:  # noqa: ANN401 JSON data
    """Return JSON data without what the server sets; lists that have no order are sorted."""
    if is_object(value):
        return {key: bare(held) for key, held in value.items() if key not in SERVED}
    if is_list(value):
        return sorted(
            (bare(held) for held in value), key=lambda held: str(orjson.dumps(held, option=orjson.OPT_SORT_KEYS))
        )
    return value
