"""Make instances of classes: of the engines and of the readers of tables."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import patch
from uuid import UUID

import orjson
from faststream.redis import RedisBroker
from redis.asyncio import Redis

from cdp_orders_async import V2_1, CdpOrders, InputLine, MemoryJournal, Opaque, Settings, TableSource, parse_graph
from cdp_orders_async.engines.delivery import deliver
from cdp_orders_async.engines.faststream import subscribe
from cdp_orders_async.engines.leases import JournalOwner, RemoteJournal
from cdp_orders_async.engines.partition import PartitionLoader, PartitionOptions, SourceLine
from cdp_orders_async.engines.slots import Slots
from cdp_orders_async.engines.streams import Consumer, Entry
from cdp_orders_async.engines.subscriber import _QuietConfig  # pyright: ignore[reportPrivateUsage] every class is looked at
from cdp_orders_async.journal import PostgresAddress, SqliteJournal
from cdp_orders_async.journal.records import OrderId
from cdp_orders_async.pacing.postgres import PostgresLimiter, PostgresSlots
from cdp_orders_async.pacing.shared import SharedLimiter
from cdp_orders_async.sources.columns import branches, keys_of
from cdp_orders_async.sources.expressions import Column
from cdp_orders_async.sources.rows import _Order  # pyright: ignore[reportPrivateUsage] every class is looked at
from cdp_orders_async.sources.table_file import TableFile, _Walk  # pyright: ignore[reportPrivateUsage] every class is looked at
from tests.security.canaries import TOKEN, WHOLE
from tests.values import NOW

__all__ = ["in_a_cluster", "in_processes", "of_a_stream", "of_tables"]

DATABASE = f"postgresql://user:{TOKEN}@127.0.0.1/db?password={TOKEN}"
TEXT = orjson.dumps(WHOLE)


async def of_tables(folder: Path) -> list[object]:
    """Return instances of what reads a table, in the middle of it."""
    head = "referenceId,orderedAt,price,currencyCode,contact.firstName,orderItems.name"
    rows = [f"A-{n},2024-01-01T16:17:16Z,50,EUR,canary-first,canary-{n}" for n in range(2)]
    file = folder / "orders.csv"
    file.write_text("\n".join([head, *rows]), encoding="utf-8")
    table = TableFile(str(file), V2_1)
    walk = _Walk(table.batches)
    async for batch in walk:
        assert b"canary-first" in batch[0][1]
        order = _Order(1, "A-0", b'{"a":"canary"}', b'{"name":"canary-0"}')
        order.add(b'{"a":"canary-other"}', b'{"name":"canary-1"}')
        found = branches(head.split(","), V2_1, "orders.csv")
        keys = keys_of(V2_1, as_record=False)
        return [table, walk, order, TableSource([file]), Column("price", None), *found.values(), *keys.values()]
    raise AssertionError("the table has no rows")


async def in_processes(url: str) -> list[object]:
    """Return instances of what several processes share, with a claim and a note under way."""
    order = OrderId.of("A-1", NOW)
    owner = JournalOwner(MemoryJournal(identity={}))
    remote = RemoteJournal(owner.do, "user", identity={})
    await remote.claim(order, b"")
    remote.record(order.key, "order", b"", UUID(int=1))
    store = PostgresSlots(PostgresAddress.parse(DATABASE), "name", 1.0)
    options = PartitionOptions(settings=Settings(proxy=f"http://user:{TOKEN}@127.0.0.1"))
    loader = PartitionLoader(url, 1.0, DATABASE, PartitionOptions())
    slots = Slots(1.0)
    return [
        *(owner, remote, store, PostgresLimiter(store, 1.0), SharedLimiter(store, 1.0), slots, slots.lease(1)),
        *(loader, options, loader.condition, SourceLine("file", 1, TEXT)),
    ]


async def of_a_stream(client: CdpOrders) -> list[object]:
    """Return instances of a worker of a stream, with a message and the decision about it."""
    broker = RedisBroker(f"redis://:{TOKEN}@127.0.0.1:9")
    subscribe(broker, client, stream="orders")
    consumer = Consumer("orders", "group", "name", dead_letters="dead", claim_after=1.0, delete=True)
    consumer._client = Redis(password=TOKEN)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] it is never opened
    wrong = await deliver(client, orjson.dumps({**WHOLE, "price": "canary-price"}))
    entry = Entry(b"1-1", Opaque({b"data": TEXT}), 1)
    return [*broker.subscribers, _QuietConfig(cast("Any", broker).config), consumer, entry, wrong]


async def in_a_cluster(client: CdpOrders, records: SqliteJournal) -> list[object]:
    """Return instances of a load in a Ray cluster, of which nothing is started; none where there is no Ray."""
    if find_spec("ray") is None:
        return []
    actors: Any = import_module("cdp_orders_async.engines.ray_actors")
    owners: Any = import_module("cdp_orders_async.engines.ray_owner")
    loads: Any = import_module("cdp_orders_async.engines.ray_load")
    job = owners.Job(url="http://x", rate=1.0, journal=DATABASE, identity={}, options=PartitionOptions(), workers=1)
    handle = SimpleNamespace(worker_starts=SimpleNamespace(remote=str))
    context = SimpleNamespace(get_actor_id=lambda: "id")

    def get_actor(_: str, *, namespace: str) -> object:  # noqa: ARG001 as it is called
        return handle

    def get(_: object) -> object:
        return job

    ray = SimpleNamespace(get_actor=get_actor, get_runtime_context=lambda: context, get=get)
    with patch.object(actors, "ray", ray):
        worker = actors.Worker("owner")
    line, engine = InputLine("file", 1, parse_graph(WHOLE)), loads.RayEngine()

    async def lines() -> Any:  # noqa: ANN401 a generator
        yield line

    outcomes = actors.unread([line, SourceLine("file", 2, TEXT)])
    load = loads.RayLoad(client, lines(), records, job, None, engine, 0.0)
    return [job, owners.Owner(job), actors.Result(outcomes=outcomes), worker, actors._OwnerSlots(handle), engine, load]  # noqa: SLF001 every class is looked at
