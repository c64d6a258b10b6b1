"""A rate that processes share by a real Postgres."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib.machinery import ModuleSpec
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cdp_orders_async import Delivery, Invalid, NotSent, PostgresJournal, PostgresLimiter
from cdp_orders_async.journal.postgres import PostgresAddress
from cdp_orders_async.pacing import postgres as module
from cdp_orders_async.pacing.postgres import PostgresSlots
from tests.databases import PostgresServer
from tests.pacing.rates import shared
from tests.servers import serving
from tests.session.calling import ONCE, ask, calling, closed_port, failure

TICK = 3e-6  # seconds: the clock of the database counts microseconds


class Relay:
    """A way to a database that can be cut."""

    def __init__(self, dsn: str) -> None:
        place = urlsplit(dsn)
        self._to = place.hostname, place.port
        self._writers: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server | None = None
        self._port = 0
        self._dsn = dsn

    async def open(self) -> str:
        """Let connections pass, and return the address of the database by this way; it stays the same."""
        self._server = await asyncio.start_server(self._pass, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]
        return self._dsn.replace(f":{self._to[1]}/", f":{self._port}/")

    async def cut(self) -> None:
        """End all connections, and let no other pass."""
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()
        await self._server.wait_closed()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection(*self._to)
        self._writers += [writer, there_writer]
        await asyncio.gather(_pump(reader, there_writer), _pump(there_reader, writer))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
    except ConnectionError:
        pass
    finally:
        writer.transport.abort()


@pytest.fixture
async def relay(postgres: str) -> AsyncGenerator[Relay, None]:
    """Give a way to a fresh database, which is cut in the end."""
    way = Relay(postgres)
    yield way
    await way.cut()


@asynccontextmanager
async def slots(dsn: str, rate: float | None, name: str = "a") -> AsyncGenerator[PostgresSlots, None]:
    """Give the slots of a rate."""
    store = PostgresSlots(PostgresAddress.parse(dsn), name, 5.0)
    await store.begin(rate)
    try:
        yield store
    finally:
        await store.aclose()


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    counts=st.lists(st.tuples(st.integers(0, 1), st.integers(1, 400)), min_size=2, max_size=20), rate=st.floats(1, 50)
)
def test_leases_follow_each_other(
    postgres: str, postgres_server: PostgresServer, counts: list[tuple[int, int]], rate: float
) -> None:
    """Whoever takes a lease gets the slots after those of the last one, and none begins before now."""

    async def main() -> None:
        async with slots(postgres, rate) as first, slots(postgres, None) as second:
            leases = [(await (first, second)[who].lease(count), count) for who, count in counts]
        for (lease, count), (after, _) in pairwise(leases):
            end = lease.start + count / rate
            assert after.start == pytest.approx(max(end, after.start if after.now > end else end), abs=TICK)
            assert after.start >= after.now - 1
            assert after.rate == rate

    asyncio.run(main())
    postgres_server.run("DELETE FROM cdp_orders.limits", database(postgres))


def database(dsn: str) -> str:
    """Return the name of the database of *dsn*."""
    return urlsplit(dsn).path[1:]


async def test_pauses_and_changes(postgres: str) -> None:
    """A pause moves the next slot, and a shorter one does not move it back; a higher rate does not end it."""
    async with slots(postgres, 10.0) as one, slots(postgres, None) as other:
        await one.pause(100)
        await other.pause(5)
        paused = await other.lease(1)
        assert paused.start - paused.now == pytest.approx(100, abs=5)
        assert paused.changes == 2
        await other.set_rate(20.0)
        await other.set_rate(20.0)  # nothing new
        again = await one.lease(2)
        assert (again.rate, again.changes) == (20, 3)
        assert again.start == pytest.approx(paused.start, abs=0.2)
        assert (await one.lease(0)).changes == 3
    async with slots(postgres, 0.01, "slow") as slow:
        await slow.lease(10)
        await slow.set_rate(10.0)
        soon = await slow.lease(1)
        assert soon.start - soon.now <= 0.1


async def test_a_clock_that_was_set_back(postgres: str, postgres_server: PostgresServer) -> None:
    """The due time of a database whose clock was an hour ahead goes back with it."""
    async with slots(postgres, 10.0) as store:
        await store.lease(5)
        later = "UPDATE cdp_orders.limits SET seen = seen + interval '1 hour', due = due + interval '1 hour'"
        postgres_server.run(later, database(postgres))
        lease = await store.lease(1)
        assert lease.start - lease.now <= 1


async def test_processes_keep_the_rate(postgres: str) -> None:
    """Two processes send all that they should, and together no faster than they may.

    What comes in one second is for a machine that is not busy: `tests.campaigns.rates` counts it.
    """
    seen = await shared(postgres, processes=2, rate=100.0, calls=75)
    assert seen.requests == 150
    assert seen.seconds > 1.2  # 1.5 at 100 a second, and 0.75 if each process had a rate of its own


async def test_a_limiter_with_a_client(postgres: str) -> None:
    """Calls go through the limiter; the rate of the first process counts for one that names none."""
    async with (
        await PostgresLimiter.open(postgres, name="a", rate=500) as first,
        await PostgresLimiter.open(postgres, name="a") as second,
        await PostgresLimiter.open(postgres, name="b", rate=7) as other,
        serving() as server,
        calling(server.url, ONCE, limiter=second) as session,
    ):
        assert (first.rate, second.rate, other.rate, session.settings.rate) == (500, 500, 7, 500)
        for _ in range(3):
            await session.send(ask())
        assert len(server.requests) == 3
        async with await PostgresLimiter.open(postgres, name="a", rate=400):
            await second.acquire()
        assert second.rate == 400
        assert repr(second) == "<PostgresLimiter 'a': 400 a second, 0 waiting>"


async def test_a_rate_that_is_in_use_is_kept(postgres: str, postgres_server: PostgresServer) -> None:
    """Whoever must not change the rate gets a sentence while others use it, and his rate once they do not."""
    async with await PostgresLimiter.open(postgres, name="a", rate=40) as limiter:
        with pytest.raises(Invalid, match="rate: must be 40: other processes used the shared rate 'a' at that rate"):
            await PostgresLimiter.open(postgres, name="a", rate=50, change_rate=False)
        postgres_server.run("UPDATE cdp_orders.limits SET seen = seen - interval '2 min'", database(postgres))
        async with await PostgresLimiter.open(postgres, name="a", rate=50, change_rate=False):
            await limiter.acquire()
        assert limiter.rate == 50


async def test_first_processes_at_once(postgres: str) -> None:
    """Processes that open the first limiters and a journal at once make the tables once; nobody fails."""
    *limiters, journal = await asyncio.gather(
        *(PostgresLimiter.open(postgres, name="a", rate=5) for _ in range(6)),
        PostgresJournal.open(postgres, identity={"base URL": "http://a"}),
    )
    for opened in (*limiters, journal):
        assert isinstance(opened, PostgresLimiter | PostgresJournal)
        await opened.aclose()


async def test_a_database_that_goes_and_comes_back(relay: Relay) -> None:
    """A call waits for a short absence; after a longer one it fails, was not sent, and the next one goes through."""
    dsn = await relay.open()
    async with (
        await PostgresLimiter.open(dsn, name="a", rate=100, retry_for=0) as hasty,
        await PostgresLimiter.open(dsn, name="a", retry_for=60) as patient,
        serving() as server,
        calling(server.url, ONCE, limiter=hasty) as session,
    ):
        await session.send(ask())
        await relay.cut()
        error = await failure(session, ask("POST"))
        assert error.delivery is Delivery.NOT_SENT
        assert "the shared rate postgresql://" in str(error)
        assert len(server.requests) == 1
        waiting = asyncio.create_task(patient.acquire())
        await asyncio.sleep(0)
        await relay.open()
        await waiting
        await session.send(ask("POST"))


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("DROP SCHEMA cdp_orders CASCADE", "damaged|tables"),
        ("DELETE FROM cdp_orders.limits", "has no rate 'a'"),
    ],
)
async def test_a_table_that_is_gone(postgres: str, postgres_server: PostgresServer, sql: str, words: str) -> None:
    """A limiter whose row or table was deleted says so; nothing is sent."""
    async with await PostgresLimiter.open(postgres, name="a", rate=100) as limiter:
        postgres_server.run(sql, database(postgres))
        with pytest.raises(NotSent, match=words) as raised:
            await limiter.acquire()
        assert raised.value.lasting


async def test_what_cannot_be_opened(
    postgres: str, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sentence says what is wrong, with no password in it."""
    with pytest.raises(NotSent, match="has no rate 'new': give the rate"):
        await PostgresLimiter.open(postgres, name="new")
    nobody = closed_port().replace("http://", "postgresql://me:canary-token@") + "/db"
    with pytest.raises(NotSent, match="is not there") as refused:
        await PostgresLimiter.open(nobody, name="a", rate=5, retry_for=0)
    assert "canary" not in str(refused.value)
    with pytest.raises(NotSent, match="does not exist"):
        await PostgresLimiter.open(postgres_server.dsn("nothing"), name="a", rate=5)
    name = database(postgres)
    postgres_server.run("DROP ROLE IF EXISTS guest_of_limits; CREATE ROLE guest_of_limits LOGIN")
    with pytest.raises(NotSent, match="too few rights"):
        await PostgresLimiter.open(postgres_server.dsn(name, "guest_of_limits") + "?schema=x", name="a", rate=5)
    postgres_server.run("COMMENT ON TABLE cdp_orders.limits IS 'something else'", name)
    with pytest.raises(NotSent, match=r"another version \(something else\)"):
        await PostgresLimiter.open(postgres, name="a", rate=5)
    postgres_server.run("COMMENT ON TABLE cdp_orders.limits IS NULL", name)
    with pytest.raises(NotSent, match=r"another version \(no format\)"):
        await PostgresLimiter.open(postgres, name="a", rate=5)
    real = importlib.util.find_spec

    def lacking(name: str, package: str | None = None) -> ModuleSpec | None:
        return None if name == "asyncpg" else real(name, package)

    monkeypatch.setattr(module, "find_spec", lacking)
    with pytest.raises(NotSent, match=r"pip install 'cdp-orders-async\[postgres\]'"):
        await PostgresLimiter.open(postgres, name="a", rate=5)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"dsn": "mysql://me:canary@h/d"}, "dsn: the address of the shared rate cannot be read"),
        ({"name": ""}, "name: must have from 1"),
        ({"name": "a\0"}, "name: must be text that a database can store"),
        ({"name": "a\udcff"}, "name: must be text that a database can store"),
        ({"rate": 0.0}, "rate: must be from 0.001"),
        ({"rate": float("nan")}, "rate: must be from 0.001"),
        ({"rate": 1e7}, "rate: must be from 0.001"),
        ({"retry_for": -1.0}, "retry_for: must be a finite"),
        ({"bulk_share": 2.0}, "bulk_share: must be from 0 to 1"),
    ],
)
async def test_values_that_are_impossible(changed: dict[str, Any], words: str) -> None:
    """They are refused before anything is done, with no password in the sentence."""
    values: dict[str, Any] = {"dsn": "postgresql://nowhere/db", "name": "a", "rate": 5.0, **changed}
    with pytest.raises(Invalid, match=words) as raised:
        await PostgresLimiter.open(**values)
    assert "canary" not in str(raised.value)


async def test_values_of_another_type() -> None:
    """They are refused by name."""
    wrong: dict[str, Any] = {"dsn": 5, "name": None, "rate": "auto", "retry_for": "5", "bulk_share": "all"}
    for name, value in wrong.items():
        values: dict[str, Any] = {"dsn": "postgresql://nowhere/db", "name": "a", name: value}
        with pytest.raises(TypeError, match=name):
            await PostgresLimiter.open(**values)
