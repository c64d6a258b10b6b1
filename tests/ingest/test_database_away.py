"""Single orders, as a web backend loads them, while the database of their journal goes and comes back."""

from __future__ import annotations

import asyncio
import random
import string

import attrs
import pytest

from cdp_orders_async import CdpOrders, JournalError, Outcome, PostgresJournal, Settings, Verdict, ingest, ingest_one
from cdp_orders_async.emulator import Switches, running
from cdp_orders_async.graph import parse_graph
from tests.cli.support import PARTS, TOKEN, Watched, orders
from tests.databases import PostgresServer
from tests.pacing.test_postgres import Relay

COUNT = 8
LINES = orders(COUNT)
GRAPHS = [parse_graph(line) for line in LINES]


async def answered(cdp: CdpOrders, journal: PostgresJournal) -> list[Verdict | None]:
    """Load all orders at once; return their verdicts, None after an error of the journal with an outcome."""

    async def verdict(number: int) -> Verdict | None:
        try:
            return (await ingest_one(cdp, GRAPHS[number], journal=journal, settle=0.2)).verdict
        except JournalError as error:
            return None if Outcome.of(error) else Verdict.FAILED

    return await asyncio.gather(*map(verdict, range(COUNT)))


@pytest.mark.parametrize("begun", [0, COUNT, PARTS * COUNT // 2], ids=["before", "at the start", "in the middle"])
async def test_a_database_that_goes_and_comes_back(begun: int, postgres: str) -> None:
    """Each call ends with an error that has an outcome. Once the database is back, each order is there once."""
    server, way = Watched(), Relay(postgres)
    server.store.switches = Switches(upsert=False, latency=0.02)
    dsn = await way.open()
    async with (
        running(server) as url,
        CdpOrders(base_url=url, client_key="key", api_token=TOKEN, settings=Settings(connections=COUNT)) as cdp,
        await PostgresJournal.open(dsn, identity=cdp.identity, retry_for=0) as journal,
    ):
        calls = asyncio.create_task(answered(cdp, journal)) if begun else None
        await server.has_received(begun)
        await way.cut()
        if calls is not None:
            assert None in await calls
        received = server.received
        assert await answered(cdp, journal) == [None] * COUNT
        assert server.received == received  # without a claim nothing is sent
        await way.open()
        assert set(await answered(cdp, journal)) <= {Verdict.LOADED, Verdict.ALREADY}
        assert server.holds(LINES)
    await way.cut()
    server.close()


async def test_an_order_with_a_reference_that_no_index_takes(postgres: str) -> None:
    """It is invalid, and hurts no other order; a long reference of an item is no problem."""
    letters = random.Random(1).choices(string.ascii_letters, k=20_000)  # noqa: S311 text that cannot be compressed
    long, (line,), server = "".join(letters), orders(1), Watched()
    items = [{**line["orderItems"][0], "referenceId": f"{long}{n}"} for n in range(2)]
    consumers = [{**line["consumers"][0], "orderItems": [{"referenceId": f"{long}1"}]}]
    good = [{**line, "orderItems": items, "consumers": consumers}, {**line, "referenceId": "é" * 1_000}]
    bad = [{**line, "referenceId": name} for name in (long, "é" * 1_001)]
    async with (
        running(server) as url,
        CdpOrders(base_url=url, client_key="key", api_token=TOKEN) as cdp,
        await PostgresJournal.open(postgres, identity=cdp.identity) as journal,
    ):
        told: list[Outcome] = []
        for _ in range(2):
            async with ingest(cdp, [parse_graph(each) for each in (*bad, *good)], journal=journal) as load:
                told = sorted([outcome async for outcome in load], key=lambda outcome: outcome.number)
            for outcome in told[:2]:
                [violation] = outcome.violations
                assert str(violation) == "$.referenceId: must have at most 2,000 bytes, to be kept in a journal"
        verdicts = [outcome.verdict for outcome in told]
        assert verdicts == [Verdict.INVALID, Verdict.INVALID, Verdict.ALREADY, Verdict.ALREADY]
        assert server.holds(good)
    server.close()


@attrs.frozen
class Hurt:
    """A database that takes nothing: the SQL that makes it so, and the SQL that heals it."""

    hurt: str
    heal: str
    words: str
    """The sentence."""


HURTS = {
    "read-only": Hurt(
        "ALTER DATABASE {0} SET default_transaction_read_only = on; SELECT pg_terminate_backend(pid)"
        " FROM pg_stat_activity WHERE datname = '{0}' AND pid <> pg_backend_pid()",
        "SET TRANSACTION READ WRITE; ALTER DATABASE {0} RESET default_transaction_read_only",
        "is read-only: name the primary server",
    ),
    "full": Hurt(
        "CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE 'no room' USING ERRCODE = '53100'; END $$;"
        " CREATE TRIGGER no_room BEFORE INSERT ON cdp_orders.parts EXECUTE FUNCTION no_room()",
        "DROP TRIGGER no_room ON cdp_orders.parts",
        "is full: free some space and resume",
    ),
}


@pytest.mark.parametrize("hurt", HURTS.values(), ids=HURTS)
async def test_a_database_that_takes_nothing(hurt: Hurt, postgres: str, postgres_server: PostgresServer) -> None:
    """The sentence names the problem; once it is over, the order is there once, and what was sent is recorded."""
    name, server = postgres.rpartition("/")[2], Watched()
    server.store.switches = Switches(upsert=False)
    async with (
        running(server) as url,
        CdpOrders(base_url=url, client_key="key", api_token=TOKEN) as cdp,
        await PostgresJournal.open(postgres, identity=cdp.identity) as journal,
    ):
        postgres_server.run(hurt.hurt.format(name), name)
        with pytest.raises(JournalError, match=hurt.words) as raised:
            await ingest_one(cdp, GRAPHS[0], journal=journal, settle=0.2)
        outcome = Outcome.of(raised.value)
        assert outcome is not None
        assert (outcome.ref is None) is (server.received == 0)
        sent = server.received
        postgres_server.run(hurt.heal.format(name), name)
        await ingest_one(cdp, GRAPHS[0], journal=journal, settle=0.2)
        assert server.holds(LINES[:1])
        assert sent in {0, PARTS}
    server.close()
