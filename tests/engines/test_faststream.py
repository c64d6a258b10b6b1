"""A worker of FastStream on a real Redis, in this process."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import orjson
import pytest
from faststream import BaseMiddleware
from faststream.redis import RedisBroker, TestRedisBroker
from redis.asyncio import Redis

from cdp_orders_async import CdpOrders, Invalid, JournalError, MemoryJournal, SqliteJournal
from cdp_orders_async.emulator import Emulator, Faults, Switches
from cdp_orders_async.engines.faststream import BrokerError, subscribe
from cdp_orders_async.engines.streams import Consumer
from tests.cli.support import orders, orders_v2
from tests.engines.brokers import RedisServer, redis_server
from tests.engines.streaming import DEAD, GROUP, STREAM, Json, dead, holds, pending, publish, settled, until, working
from tests.ingest.serving import serving

ORDERS = orders(12)
POISON: list[bytes] = [
    b"no JSON",
    b"x" * 5_000_000,
    orjson.dumps({**ORDERS[0], "note": "x" * 5_000_000}),
    orjson.dumps(orders_v2(1)[0]),
    orjson.dumps({**ORDERS[0], "price": "much"}),
    b"",
]


def without(order: Json, *keys: str) -> Json:
    """Return *order* without some of its parts."""
    return {key: value for key, value in order.items() if key not in keys}


def doubling(**switches: Any) -> Emulator:  # noqa: ANN401 switches of the emulator
    """Return an emulator that makes a second order of the same."""
    return Emulator(switches=Switches(upsert=False, **switches))


async def test_orders_before_and_after_the_start(redis: Redis, broker_server: RedisServer) -> None:
    """What came before the group and what comes after is loaded once, whoever published it."""
    emulator = doubling()
    async with serving(emulator) as cdp:
        await publish(redis, *ORDERS[:6])
        async with working(broker_server.url, cdp) as broker:
            await publish(redis, *ORDERS[6:8])
            for order in ORDERS[8:10]:
                await broker.publish(order, stream=STREAM)
            await broker.publish(orjson.dumps(ORDERS[10]), stream=STREAM)
            await broker.publish(orjson.dumps(ORDERS[11]).decode(), stream=STREAM)
            await until(lambda: settled(redis))
    assert holds(emulator, *ORDERS)
    assert not emulator.requests["orders.list"]
    assert not await dead(redis)


async def test_started_again(redis: Redis, broker_server: RedisServer) -> None:
    """A worker that starts again gets what came meanwhile."""
    emulator = doubling()
    async with serving(emulator) as cdp:
        for n in range(0, 12, 4):
            await publish(redis, *ORDERS[n : n + 2])
            async with working(broker_server.url, cdp):
                await publish(redis, *ORDERS[n + 2 : n + 4])
                await until(lambda: settled(redis))
    assert holds(emulator, *ORDERS)


async def test_poison(redis: Redis, broker_server: RedisServer) -> None:
    """Poison is put aside with all its bytes and a reason, once; the orders beside it are loaded."""
    emulator = doubling()
    async with serving(emulator) as cdp, working(broker_server.url, cdp, journal=MemoryJournal()):
        ids = await publish(redis, *POISON[:3], *ORDERS, *POISON[3:])
        odd: Any = await redis.xadd(STREAM, {"order": b"\xff", "more": b"1"})
        await until(lambda: settled(redis))
    rows = {row["cdp_entry"]: row for row in await dead(redis)}
    assert holds(emulator, *ORDERS)
    assert len(rows) == len(await dead(redis)) == len(POISON) + 1
    for id_, body in zip([*ids[:3], *ids[-3:]], POISON, strict=True):
        assert rows[id_]["data"] == body
        assert (rows[id_]["cdp_verdict"], rows[id_]["cdp_deliveries"]) == (b"invalid", b"1")
        assert rows[id_]["cdp_stream"] == STREAM.encode()
        assert orjson.loads(rows[id_]["cdp_outcome"])["violations"]
        assert rows[id_]["cdp_reason"].startswith(b"$")
        assert len(rows[id_]["cdp_reason"]) < 500
    assert (rows[odd]["order"], rows[odd]["more"]) == (b"\xff", b"1")
    assert rows[odd]["cdp_reason"].startswith(b"$: the entry must have the order in its field data")


async def test_poison_of_many_fields(redis: Redis, broker_server: RedisServer) -> None:
    """An entry with more fields than a script of Redis can write is put aside too."""
    fields: Any = {f"field{number}": b"\xff" for number in range(5_000)}
    async with serving(doubling()) as cdp, working(broker_server.url, cdp):
        await redis.xadd(STREAM, fields)
        await until(lambda: settled(redis))
    (row,) = await dead(redis)
    assert fields.items() <= row.items()
    assert row["cdp_deliveries"] == b"1"
    assert not await pending(redis)


async def test_poison_from_faststream(redis: Redis, broker_server: RedisServer) -> None:
    """A dead letter that FastStream published is published again as it was, and read again."""
    async with serving(doubling()) as cdp, working(broker_server.url, cdp) as broker:
        await broker.publish({**ORDERS[0], "colour": "red"}, stream=STREAM, headers={"trace": "1"})
        await until(lambda: settled(redis))
        (row,) = await dead(redis)
        again: Any = row
        await redis.xadd(STREAM, again)
        await until(lambda: settled(redis))
        first, second = await dead(redis)
    assert first["__data__"] == second["__data__"]
    assert first["cdp_reason"] == second["cdp_reason"]


async def test_refused_order_is_put_aside(redis: Redis, broker_server: RedisServer) -> None:
    """An order that the server refuses is tried *most* times and put aside; no part of it is doubled."""
    emulator = doubling()
    emulator.faults = Faults.of(
        {"faults": [{"operation": "items.create", "chance": 1, "action": "status", "status": 400}]}
    )
    async with serving(emulator) as cdp, working(broker_server.url, cdp, most=3):
        await publish(redis, ORDERS[0])
        await until(lambda: settled(redis))
    (row,) = await dead(redis)
    assert row["cdp_verdict"] in {b"partial", b"unknown"}
    assert row["cdp_deliveries"] == b"3"
    assert (emulator.requests["orders.create"], emulator.requests["items.create"]) == (1, 3)


@pytest.mark.parametrize("fault", [{"action": "status", "status": 500}, {"action": "html", "status": 407}])
async def test_server_away(redis: Redis, broker_server: RedisServer, fault: Json) -> None:
    """While the server fails, or a proxy refuses all, no order is put aside; then each is loaded once."""
    emulator = doubling()
    emulator.faults = Faults.of({"faults": [{"operation": "*", "chance": 1, **fault}]})
    async with serving(emulator) as cdp, working(broker_server.url, cdp, most=2, claim_after=10.6):
        await publish(redis, *ORDERS[:4])

        async def tried_often() -> bool:
            return sum(emulator.requests.values()) > 20

        await until(tried_often)
        emulator.faults = Faults.of({"faults": []})
        await until(lambda: settled(redis))
    assert holds(emulator, *ORDERS[:4])
    assert not await dead(redis)


@pytest.mark.parametrize("fault", [{"action": "status", "status": 500}, {"action": "html", "status": 403}])
async def test_order_that_breaks_the_server(redis: Redis, broker_server: RedisServer, fault: Json) -> None:
    """An order with which the server fails, or that a gateway refuses, is put aside while it does well with others."""
    emulator = doubling()
    async with serving(emulator) as cdp, working(broker_server.url, cdp, most=3):
        emulator.faults = Faults.of({"faults": [{"operation": "contacts.create", "chance": 1, **fault}]})
        await publish(redis, ORDERS[0])
        others = [
            {**without(ORDERS[0], "contact", "orderItems", "consumers"), "referenceId": f"C-{n}"} for n in range(999)
        ]

        async def put_aside() -> bool:
            await publish(redis, others.pop())
            return bool(await dead(redis))

        await until(put_aside)
    (row,) = await dead(redis)
    assert orjson.loads(row["data"]) == ORDERS[0]
    assert len(await dead(redis)) == 1


async def test_entries_stay_while_another_group_reads(redis: Redis, broker_server: RedisServer) -> None:
    """With another group on the stream, and on request, entries are acknowledged and stay."""
    await redis.xgroup_create(STREAM, "others", id="0", mkstream=True)
    emulator = doubling()
    async with serving(emulator) as cdp:
        cases: list[Json] = [{}, {"delete": False, "group": "a third"}]
        for options in cases:
            async with working(broker_server.url, cdp, journal=MemoryJournal(), **options):
                await publish(redis, ORDERS[0], b"poison")

                async def acknowledged(group: str = str({"group": GROUP, **options}["group"])) -> bool:
                    (info,) = [info for info in await redis.xinfo_groups(STREAM) if info["name"] == group.encode()]
                    return not info["pending"] and info["lag"] == 0

                await until(acknowledged)
    assert await redis.xlen(STREAM) == 4
    assert emulator.requests["orders.create"] == 1


async def test_dead_consumers(redis: Redis, broker_server: RedisServer) -> None:
    """The messages of a dead consumer are taken over and looked up; it is removed once nothing of it is pending."""
    emulator = doubling()
    await redis.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
    await publish(redis, ORDERS[0])
    await redis.xreadgroup(GROUP, "killed", {STREAM: ">"}, count=1)
    await redis.xgroup_createconsumer(STREAM, GROUP, "killed before")
    async with serving(emulator) as cdp, working(broker_server.url, cdp, deadline=1.5, drain=0.0, claim_after=1.6):

        async def only_the_living() -> bool:
            names = [consumer["name"] for consumer in await redis.xinfo_consumers(STREAM, GROUP)]
            return await settled(redis) and not any(name.startswith(b"killed") for name in names)

        await until(only_the_living)
    assert not await redis.xinfo_consumers(STREAM, GROUP)
    assert emulator.requests["orders.list"] > 0
    assert holds(emulator, ORDERS[0])


async def test_no_more_is_read_than_begun(redis: Redis, broker_server: RedisServer) -> None:
    """Each worker takes as many messages as it has room for, under a name of its own; the others stay free."""
    emulator = doubling()
    emulator.faults = Faults.of(
        {"faults": [{"operation": "orders.create", "chance": 1, "action": "stall", "seconds": 60}]}
    )
    await publish(redis, *ORDERS)
    options: Json = {"consumer": "worker", "workers": 3, "timeout": 0.01, "drain": 0.0}
    async with (
        serving(emulator) as cdp,
        working(broker_server.url, cdp, **options),
        working(broker_server.url, cdp, **options),
    ):

        async def begun() -> bool:
            return emulator.requests["orders.create"] >= 6

        await until(begun)
        names = [entry["consumer"].decode() for entry in await pending(redis)]
        assert sorted(names.count(name) for name in {*names}) == [3, 3]
        assert all(name.startswith("worker-") for name in names)
    assert emulator.requests["orders.create"] == 6


async def test_stop_hands_back_at_once(redis: Redis, broker_server: RedisServer) -> None:
    """A message under way when the worker stops goes to another worker at once, which looks before it sends."""
    emulator = doubling()
    emulator.faults = Faults.of(
        {"faults": [{"operation": "items.create", "script": [{"phase": "written", "action": "stall", "seconds": 60}]}]}
    )
    await publish(redis, ORDERS[0])
    async with serving(emulator) as cdp:
        async with working(broker_server.url, cdp, timeout=0.01, drain=0.0):

            async def begun() -> bool:
                return emulator.requests["items.create"] == 1

            await until(begun)
        (entry,) = await pending(redis)
        assert (entry["times_delivered"], entry["time_since_delivered"] > 10_000) == (1, True)
        async with working(broker_server.url, cdp, claim_after=40.0):
            await until(lambda: settled(redis))
    assert holds(emulator, ORDERS[0])


async def test_group_that_is_lost(redis: Redis, broker_server: RedisServer) -> None:
    """A group or a stream that somebody deletes is made again; what the lost group delivered is looked up first."""
    emulator = doubling()
    async with serving(emulator) as cdp, working(broker_server.url, cdp, workers=1):
        await publish(redis, ORDERS[0])
        await until(lambda: settled(redis))
        await redis.delete(STREAM)
        await publish(redis, ORDERS[1])
        await until(lambda: settled(redis))
        await redis.xgroup_destroy(STREAM, GROUP)

        async def made_again() -> bool:
            return bool(await redis.xinfo_groups(STREAM))

        await until(made_again)
        await publish(redis, ORDERS[2])
        await until(lambda: settled(redis))
    assert holds(emulator, *ORDERS[:3])


async def test_entries_of_a_lost_group_are_doubted_by_all(redis: Redis) -> None:
    """Whoever gets an entry after a group was made again, one of the workers of before or a new one, doubts it."""

    def consumer(name: str) -> Consumer:
        return Consumer(STREAM, GROUP, name, dead_letters=DEAD, claim_after=40.0, delete=False)

    first, second, new = map(consumer, ("first", "second", "new"))
    await first.open(redis)
    await second.open(redis)
    ids = await publish(redis, *ORDERS[:3])
    (under_way,) = await first.read(1, None)
    assert (under_way.id, under_way.times) == (ids[0], 1)
    await redis.xgroup_destroy(STREAM, GROUP)
    await second.restore()
    await first.restore()
    await new.open(redis)
    (later,) = await publish(redis, ORDERS[3])
    assert [(entry.id, entry.times) for entry in await first.read(9, None)] == [(later, 1)]
    await first.ack(under_way)
    found = [*await first.claim(1), *await new.claim(9)]
    assert [(entry.id, entry.times) for entry in found] == [(id_, 2) for id_ in ids[1:]]


async def test_a_long_stream_whose_group_is_lost(redis: Redis) -> None:
    """All its entries come again."""
    consumer = Consumer(STREAM, GROUP, "a", dead_letters=DEAD, claim_after=40.0, delete=False)
    await consumer.open(redis)
    await publish(redis, *[ORDERS[0]] * 600)
    await redis.xgroup_destroy(STREAM, GROUP)
    await consumer.restore()
    assert (await redis.xpending(STREAM, GROUP))["pending"] == 600


async def test_broker_restarted(tmp_path: Path) -> None:
    """A broker that comes back empty is used again, without a restart of the worker."""
    emulator = doubling()
    with redis_server(tmp_path) as server:
        async with serving(emulator) as cdp, working(server.url, cdp):
            async with server.client() as redis:
                await publish(redis, ORDERS[0])
                await until(lambda: settled(redis))
            server.stop()
            server.start()
            async with server.client() as redis:
                await publish(redis, ORDERS[1])
                await until(lambda: settled(redis))
                assert [info["name"] for info in await redis.xinfo_groups(STREAM)] == [GROUP.encode()]
    assert holds(emulator, *ORDERS[:2])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--rename-command", "XGROUP", ""), "has no streams, or not all of their commands: use Redis 6.2 or newer"),
        (
            ("--rename-command", "XAUTOCLAIM", ""),
            "has no streams, or not all of their commands: use Redis 6.2 or newer",
        ),
        (("--requirepass", "secret"), "the broker refuses"),
        (
            ("--user", *["default", "on", "nopass", "~*", "&*", "+@all", "-xgroup"]),
            "the broker's user may not use the stream orders",
        ),
    ],
)
async def test_broker_that_cannot(options: tuple[str, ...], words: str, tmp_path: Path) -> None:
    """A broker without streams, rights or a password ends the start with one sentence."""
    with redis_server(tmp_path, *options) as server:
        async with serving(Emulator()) as cdp:
            with pytest.raises(BrokerError) as caught:
                async with working(server.url, cdp):
                    pass
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_broker_away_at_the_start(tmp_path: Path) -> None:
    """A broker that is away ends the start with one sentence."""
    server = RedisServer(tmp_path)
    async with serving(Emulator()) as cdp:
        with pytest.raises(BrokerError, match=r"^the broker cannot be reached: "):
            async with working(server.url, cdp):
                pass


async def test_stream_that_is_none(redis: Redis, broker_server: RedisServer) -> None:
    """A key of another kind ends the start with one sentence."""
    await redis.set(STREAM, "text")
    async with serving(Emulator()) as cdp:
        with pytest.raises(BrokerError, match=r"^the key orders of the broker is not a stream: "):
            async with working(broker_server.url, cdp):
                pass


async def test_dead_letter_that_cannot_be_written(redis: Redis, broker_server: RedisServer) -> None:
    """Poison stays in the stream until its dead letter is written."""
    await redis.set(DEAD, "text")
    async with serving(Emulator()) as cdp, working(broker_server.url, cdp, deadline=0.2, drain=0.0, claim_after=0.3):
        await publish(redis, b"poison")

        async def tried_again() -> bool:
            return any(entry["times_delivered"] > 1 for entry in await pending(redis))

        await until(tried_again)
        await redis.delete(DEAD)
        await until(lambda: settled(redis))
    (row,) = await dead(redis)
    assert row["data"] == b"poison"


async def test_nothing_on_standard_output(
    redis: Redis, broker_server: RedisServer, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """The access log of FastStream is at level DEBUG of the package's logger, and has the ids of the entries."""
    caplog.set_level(logging.DEBUG, "cdp_orders_async.engines.faststream")
    async with serving(doubling()) as cdp, working(broker_server.url, cdp):
        (id_,) = await publish(redis, ORDERS[0])
        await until(lambda: settled(redis))
    told = [record for record in caplog.records if record.getMessage() in {"Received", "Processed"}]
    assert [(record.levelno, vars(record)["message_id"]) for record in told] == [(logging.DEBUG, id_.decode())] * 2
    assert capfd.readouterr().out == ""


async def test_middlewares_see_each_message(redis: Redis, broker_server: RedisServer) -> None:
    """A middleware of the broker is around each load; an error in one is a failed try of the message."""
    seen: list[bytes] = []

    class Watching(BaseMiddleware):
        async def consume_scope(self, call_next: Any, msg: Any) -> Any:  # noqa: ANN401 FastStream's own
            seen.append(msg.body)
            if len(seen) == 1:
                raise RuntimeError("a mistake")
            return await call_next(msg)

    emulator = doubling()
    async with serving(emulator) as cdp:
        broker = RedisBroker(broker_server.url, middlewares=[Watching])
        subscribe(broker, cdp, stream=STREAM, settle=0.0, retry_after=0.0)
        await broker.start()
        await publish(redis, ORDERS[0])
        await until(lambda: settled(redis))
        await broker.stop()
    assert seen == [orjson.dumps(ORDERS[0])] * 2
    assert holds(emulator, ORDERS[0])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"claim_after": 10.5}, "claim_after: must be above deadline + drain"),
        ({"claim_after": float("inf")}, "claim_after: must be a finite number"),
        ({"retry_after": -1.0}, "retry_after: must be from 0 to claim_after"),
        ({"retry_after": 100.0}, "retry_after: must be from 0 to claim_after"),
        ({"workers": 0}, "workers: must be above 0"),
        ({"most": 0}, "most: must be above 0"),
        ({"stream": ""}, "stream: must not be empty"),
        ({"group": ""}, "group: must not be empty"),
        ({"dead_letters": STREAM}, "dead_letters: must be another stream than the orders"),
        ({"on_existing": "x"}, "on_existing: must be keep, update or fail"),
        ({"timezone": "Nowhere"}, "timezone"),
    ],
)
async def test_impossible_options(options: Json, words: str) -> None:
    """An impossible value is refused before the start, in words."""
    async with CdpOrders(base_url="http://127.0.0.1:9", client_key="key", api_token="token") as cdp:  # noqa: S106 of an emulator
        chosen: Json = {"stream": STREAM, "deadline": 10.0, "drain": 0.5, **options}
        with pytest.raises(Invalid) as caught:
            subscribe(RedisBroker(), cdp, **chosen)
        assert words in str(caught.value)
        for name in ("broker", "client", "stream", "workers", "claim_after", "retry_after", "delete", "consumer"):
            given: Json = {"broker": RedisBroker(), "client": cdp, "stream": STREAM, name: object()}
            with pytest.raises(TypeError, match=name):
                subscribe(**given)


async def test_journal_of_another_tenant(tmp_path: Path) -> None:
    """A journal of another tenant is refused before the start."""
    async with (
        CdpOrders(base_url="http://127.0.0.1:9", client_key="key", api_token="token") as cdp,  # noqa: S106 of an emulator
        await SqliteJournal.open(tmp_path / "journal", identity={"client_key": "another"}) as journal,
    ):
        with pytest.raises(JournalError):
            subscribe(RedisBroker(), cdp, stream=STREAM, journal=journal)


async def test_faststream_can_test_it() -> None:
    """FastStream's own test broker loads a published order, without a Redis."""
    emulator = doubling()
    async with serving(emulator) as cdp:
        broker = RedisBroker()
        subscribe(broker, cdp, stream=STREAM)
        async with TestRedisBroker(broker) as testing:
            await testing.publish(ORDERS[0], stream=STREAM)
    assert holds(emulator, ORDERS[0])
