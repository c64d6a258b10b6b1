"""The journal in a database: what it refuses, each with one sentence, and what it survives."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from cdp_orders_async.errors import Invalid, JournalError, NotSent
from cdp_orders_async.jobs import journal_place
from cdp_orders_async.journal import (
    Claimed,
    GraphRecord,
    PartRecord,
    PostgresAddress,
    PostgresJournal,
    SqliteJournal,
)
from cdp_orders_async.journal.postgres import connection
from cdp_orders_async.pacing.postgres import PostgresLimiter
from tests.databases import PostgresServer
from tests.journal.stores import claimed, key, looked, order

ROOT = Path(__file__).parents[2]
IDENTITY = {"base URL": "http://a", "client key": "k"}
DIGEST = b"graph"
ONE, TWO = UUID(int=1), UUID(int=2)
G = key("G")
PASSWORD = "canary-password"  # noqa: S105 it guards nothing


async def opened(dsn: str, retry_for: float = 30) -> PostgresJournal:
    """Open the journal in a database."""
    return await PostgresJournal.open(dsn, identity=IDENTITY, retry_for=retry_for)


async def refusal(dsn: str) -> str:
    """Return the sentence with which a journal is refused; it never has the password in it."""
    with pytest.raises(JournalError) as refused:
        await opened(dsn)
    assert PASSWORD not in repr(refused.value)
    assert refused.value.__cause__ is None
    return str(refused.value)


def inside(journal: PostgresJournal) -> Any:  # noqa: ANN401 it is nobody else's
    """Return the part of a journal that writes."""
    return vars(journal)["_writer"]


def connection_of(journal: PostgresJournal) -> Any:  # noqa: ANN401 it is nobody else's
    """Return the connection of a journal."""
    return getattr(inside(journal), "_connection")  # noqa: B009 it is private


def with_password(dsn: str) -> str:
    """Return an address with a password."""
    return dsn.replace("tester@", f"tester:{PASSWORD}@")


@pytest.fixture
async def journal(postgres: str) -> AsyncIterator[PostgresJournal]:
    """Open a journal in a fresh database."""
    async with await opened(postgres) as new:
        yield new


# Addresses.


@pytest.mark.parametrize(
    "dsn",
    [
        f"postgresql://u:{PASSWORD}/x@h/db",
        f"postgresql://u:{PASSWORD}#x@h/db",
        f"postgresql://u:{PASSWORD}@h/db#x",
        f"mysql://u:{PASSWORD}@h/db",
        f"postgresql://u:{PASSWORD}@[h/db",
        f"postgresql://u:{PASSWORD}@h/db?schema=",
        f"postgresql://u:{PASSWORD}@h/db?schema={'s' * 64}",
        f"postgresql://u:{PASSWORD}@h/db?tenant=x",
        f"postgresql://u:{PASSWORD}@h:port/db",
        f"postgresql://u:{PASSWORD}@127.0.0.1:99999/db",
        f"postgresql://u:{PASSWORD}@127.0.0.1:1/db?sslmode=never",
    ],
)
async def test_an_address_that_cannot_be_read(dsn: str) -> None:
    """It is refused with a sentence that has no part of it that could be a password."""
    assert "address of" in await refusal(dsn)


@pytest.mark.parametrize(
    "text",
    [
        f"postgresql+asyncpg://u:{PASSWORD}@h/db",
        f"mysql://u:{PASSWORD}@h/db",
        f"postgres:/u:{PASSWORD}@h/db",
        f"jdbc:postgresql://h/db?password={PASSWORD}",
        f"host=h user=u password={PASSWORD} dbname=db",
    ],
)
async def test_an_address_of_another_library_is_no_file(text: str) -> None:
    """Where a file or an address can be given it is not taken for a file, whose name would be shown."""
    with pytest.raises(JournalError, match="the address of the journal cannot be read") as refused:
        journal_place(text)
    assert PASSWORD not in repr(refused.value)
    for path in (text, Path(text)):
        with pytest.raises(JournalError, match="an address of a database is no file") as refused:
            await SqliteJournal.open(path, identity=IDENTITY)
        assert PASSWORD not in repr(refused.value)


@pytest.mark.parametrize(
    "text", ["j.sqlite", "/a b/j.sqlite", r"C:\j.sqlite", "C:/j.sqlite", "2024-01-01T10:00/j", "-"]
)
def test_names_of_files(text: str) -> None:
    """They are no addresses, those of Windows neither."""
    assert journal_place(text) == Path(text)


@pytest.mark.parametrize(
    ("dsn", "name", "again"),
    [
        ("postgresql://u:p@h:1/db", "postgresql://u@h:1/db", "postgresql://u@h:1/db"),
        ("postgresql:///db?host=/tmp&password=p", "postgresql:///db", "postgresql:///db?host=%2Ftmp"),
        ("postgres://u:a%2Fb@h,i/db?schema=s", "postgres://u@h,i/db?schema=s", "postgres://u@h,i/db?schema=s"),
        ("postgresql://:p@h/db", "postgresql://h/db", "postgresql://h/db"),
    ],
)
def test_an_address_is_shown_without_its_password(dsn: str, name: str, again: str) -> None:
    """Its name and its repr have no password, and it can be given again without one."""
    address = PostgresAddress.parse(dsn)
    assert (str(address), address.without_password, address.has_password) == (name, again, True)
    assert not PostgresAddress.parse(again).has_password
    assert ":p" not in repr(address)
    assert "password" not in repr(address.without_password)


# Refusals.


async def test_a_database_that_is_away(postgres_server: PostgresServer, unused_tcp_port: int) -> None:
    """Nobody listens, the host has no address, or the database does not exist."""
    dsn = with_password(postgres_server.dsn("nothing"))
    assert "names a database that does not exist" in await refusal(dsn)
    nobody = dsn.replace(f":{postgres_server.port}", f":{unused_tcp_port}")
    assert "is not there (connection refused)" in await refusal(nobody)
    assert "cannot be reached" in await refusal("postgresql://u@host.invalid/db")
    assert "refuses the login" in await refusal(postgres_server.dsn(user="nobody_knows"))


async def test_what_is_no_postgres() -> None:
    """A server of another kind at the port is told from a database."""

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        assert "whether it is a Postgres" in await refusal(f"postgresql://u:{PASSWORD}@127.0.0.1:{port}/db")


async def test_a_server_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that takes the connection and says nothing is given up, by the journal and by the shared rate."""
    taken: list[asyncio.Future[None]] = []

    async def read_only(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        taken.append(ended := asyncio.get_running_loop().create_future())
        await reader.read()
        writer.close()
        await writer.wait_closed()
        ended.set_result(None)

    monkeypatch.setattr(connection, "CONNECT_SECONDS", 0.1)
    silent = await asyncio.start_server(read_only, "127.0.0.1", 0)
    async with silent:
        dsn = f"postgresql://u:{PASSWORD}@127.0.0.1:{silent.sockets[0].getsockname()[1]}/db"
        assert "does not answer: see whether its server runs" in await refusal(dsn)
        with pytest.raises(NotSent, match="does not answer: see whether its server runs"):
            await PostgresLimiter.open(dsn, name="a", rate=5, retry_for=0)
        await asyncio.gather(*taken)


@pytest.mark.parametrize(
    ("sql", "sentence"),
    [
        (
            "UPDATE cdp_orders.format SET version = 9",
            "has format 9, and this version of cdp-orders-async reads format 1",
        ),
        ("DROP TABLE cdp_orders.graphs", "the tables of the journal"),
        ("ALTER TABLE cdp_orders.format RENAME COLUMN version TO v", "holds tables of another program"),
        ("DROP TABLE cdp_orders.format", "holds tables of another program"),
    ],
)
async def test_tables_of_others(
    journal: PostgresJournal, postgres: str, postgres_server: PostgresServer, sql: str, sentence: str
) -> None:
    """Tables of another version or of another program are left alone."""
    await journal.aclose()
    postgres_server.run(sql, postgres.rpartition("/")[2])
    assert sentence in await refusal(postgres)


async def test_a_role_without_rights(postgres: str, postgres_server: PostgresServer) -> None:
    """A user who may not make the tables, or may not write them, is told so; once they are there, rights are enough."""
    database = postgres.rpartition("/")[2]
    postgres_server.run("DROP ROLE IF EXISTS guest; CREATE ROLE guest LOGIN")
    dsn = postgres_server.dsn(database, "guest")
    assert "has too few rights (permission denied for database" in await refusal(dsn)
    await (await opened(postgres)).aclose()
    assert "has too few rights (permission denied for schema" in await refusal(dsn)
    rights = "GRANT USAGE ON SCHEMA cdp_orders TO guest;"
    rights += "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA cdp_orders TO guest"
    postgres_server.run(rights, database)
    async with await opened(dsn) as journal:
        assert await claimed(journal, "G") is None
    postgres_server.run("DROP OWNED BY guest; DROP ROLE guest", database)


async def test_a_role_with_a_schema_and_no_other_rights(postgres: str, postgres_server: PostgresServer) -> None:
    """A schema that is there is used: its owner need not be one who may make schemas."""
    database = postgres.rpartition("/")[2]
    postgres_server.run("CREATE ROLE tenant LOGIN; CREATE SCHEMA made AUTHORIZATION tenant", database)
    dsn = f"{postgres_server.dsn(database, user='tenant')}?schema=made"
    try:
        async with await PostgresLimiter.open(dsn, name="a", rate=50) as limiter:
            await limiter.acquire()
        async with await opened(dsn) as journal:
            assert isinstance(await journal.claim(order("A"), DIGEST), Claimed)
    finally:
        postgres_server.run("DROP OWNED BY tenant; DROP ROLE tenant", database)


async def test_a_database_that_becomes_read_only(
    journal: PostgresJournal, postgres: str, postgres_server: PostgresServer
) -> None:
    """A claim fails with one sentence, and nothing is claimed."""
    database = postgres.rpartition("/")[2]
    connection_of(journal).terminate()
    postgres_server.run(f"ALTER DATABASE {database} SET default_transaction_read_only = on")
    with pytest.raises(JournalError, match="is read-only: name the primary server"):
        await journal.claim(order("G"), DIGEST)
    postgres_server.run(f"ALTER DATABASE {database} RESET default_transaction_read_only")
    assert await claimed(journal, "G") is None


async def test_a_full_disk(journal: PostgresJournal, postgres: str, postgres_server: PostgresServer) -> None:
    """It ends a call with one sentence; what was noted is written once there is room."""
    database = postgres.rpartition("/")[2]
    postgres_server.run(
        "CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql"
        " AS $$ BEGIN RAISE 'no room' USING ERRCODE = '53100'; END $$;"
        " CREATE TRIGGER no_room BEFORE INSERT ON cdp_orders.parts EXECUTE FUNCTION no_room()",
        database,
    )
    await claimed(journal, "G")
    journal.record(G, "order", b"o", ONE, created=True)
    with pytest.raises(JournalError, match="is full: free some space and resume"):
        await journal.end(G, complete=True)
    postgres_server.run("DROP TRIGGER no_room ON cdp_orders.parts", database)
    assert await journal.owner(ONE) == G
    parts = {"order": PartRecord(b"o", ONE)}
    assert await looked(journal, "G") == GraphRecord(DIGEST, complete=True, ended=True, parts=parts)


async def test_times_that_cannot_be() -> None:
    """A lease and the time of further attempts are numbers above 0."""
    for options in ({"lease": 0.0}, {"lease": float("inf")}, {"retry_for": -1.0}):
        with pytest.raises(Invalid):
            await PostgresJournal.open("postgresql://h/d", identity=IDENTITY, **options)


def test_without_the_extra() -> None:
    """Without asyncpg the package works, and a journal says what to install."""
    code = (
        "import sys, asyncio; sys.modules['asyncpg'] = None; import cdp_orders_async as c\n"
        "try: asyncio.run(c.PostgresJournal.open('postgresql://h/d', identity={}))\n"
        "except c.JournalError as error: print(error)"
    )
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert said == "a journal in Postgres needs asyncpg: pip install 'cdp-orders-async[postgres]'\n"


# Sharing.


async def test_first_workers_make_the_tables_once(postgres: str) -> None:
    """Some workers that start at once in an empty database all get the same tables."""
    journals = await asyncio.gather(*(opened(postgres) for _ in range(6)))
    assert [journal.new for journal in journals] == [True] * 6
    assert await claimed(journals[0], "G") is None
    assert await journals[1].claim(order("G"), DIGEST) != await journals[2].claim(order("H"), DIGEST)
    for journal in journals:
        await journal.aclose()
    async with await opened(postgres) as later:
        assert not later.new


async def test_each_tenant_has_its_own_records(postgres: str) -> None:
    """Two tenants in one database do not see each other, and who looks in must say whom."""
    first = await PostgresJournal.open(postgres, identity={"base URL": "http://a"})
    second = await PostgresJournal.open(postgres, identity={"base URL": "http://b"})
    other = await PostgresJournal.open(f"{postgres}?schema=Other%20one", identity={"base URL": "http://a"})
    for journal in (first, second, other):
        assert await claimed(journal, "G") is None
        journal.record(G, "order", b"o", ONE)
        await journal.end(G, complete=True)
        assert [found.key async for found in journal.orders()] == [G]
        await journal.aclose()
    with pytest.raises(JournalError, match=r"several tenants, .*\?tenant=NUMBER.*: 1 is .*http://a.*; 2 is .*http://b"):
        await PostgresJournal.open(postgres, identity=None)
    with pytest.raises(JournalError, match="has no tenant 7"):
        await PostgresJournal.open(f"{postgres}?tenant=7", identity=None)
    async with await PostgresJournal.open(f"{postgres}?tenant=2", identity=None) as looking:
        assert looking.identity == {"API version": "2.1", "base URL": "http://b"}
        assert await looking.size() > 0
    with pytest.raises(JournalError, match="there is no journal at"):
        await PostgresJournal.open(f"{postgres}?schema=none", identity=None)


async def test_a_claim_is_durable_whatever_the_database_does(postgres: str, postgres_server: PostgresServer) -> None:
    """Each transaction waits for the disk, also where the database does not do so by default."""
    database = postgres.rpartition("/")[2]
    for default, used in (("off", "on"), ("local", "on"), ("on", "on"), ("remote_apply", "remote_apply")):
        postgres_server.run(f"ALTER DATABASE {database} SET synchronous_commit = {default}")
        async with await opened(postgres) as journal:
            assert await connection_of(journal).fetchval("SHOW synchronous_commit") == used


async def test_a_transaction_sees_what_others_wrote_while_it_waited(
    postgres: str, postgres_server: PostgresServer
) -> None:
    """Two workers claim the same orders at once, also where a transaction sees only what was there at its start."""
    database = postgres.rpartition("/")[2]
    postgres_server.run(f"ALTER DATABASE {database} SET default_transaction_isolation = serializable")
    async with await opened(postgres) as first, await opened(postgres) as second:
        assert await connection_of(first).fetchval("SHOW transaction_isolation") == "read committed"
        found = await asyncio.gather(
            *(journal.claim(order(f"G{n}"), DIGEST) for n in range(100) for journal in (first, second))
        )
        assert sum(isinstance(claim, Claimed) for claim in found) == 100


async def test_a_pooler_that_resets_the_connection(journal: PostgresJournal) -> None:
    """A connection that forgets its state ends the call with one sentence; nothing that was noted is lost."""
    await claimed(journal, "G")
    journal.record(G, "order", b"o", ONE)
    await journal.known(0)
    journal.record(G, "contact", b"c", TWO)
    await connection_of(journal).execute("DISCARD ALL")
    with pytest.raises(JournalError, match="forgets the state of a connection, as behind a pooler"):
        await journal.claim(order("G"), DIGEST)
    await journal.end(G, complete=True)
    parts = {"order": PartRecord(b"o", ONE), "contact": PartRecord(b"c", TWO)}
    assert await looked(journal, "G") == GraphRecord(DIGEST, complete=True, ended=True, parts=parts)


async def test_who_waits_together_is_committed_together(journal: PostgresJournal) -> None:
    """Many claims, records and ends share their transactions, and no task is made for each."""
    before = journal.commits, len(asyncio.all_tasks())
    claims = [asyncio.ensure_future(journal.claim(order(f"G{number}"), DIGEST)) for number in range(200)]
    await asyncio.gather(*claims)
    for number in range(200):
        for part in range(12):
            journal.record(key(f"G{number}"), f"orderItems[{part}]", DIGEST, None)
    assert len(asyncio.all_tasks()) == before[1]
    await asyncio.gather(*(journal.end(key(f"G{number}"), complete=True) for number in range(200)))
    assert journal.commits - before[0] <= 20
    await journal.aclose()
    assert len(asyncio.all_tasks()) <= before[1]


# Connections that break.


class Cut:
    """Breaks the connection of a journal in the next transaction, before or after its end."""

    def __init__(self, journal: PostgresJournal, *, after: bool) -> None:
        """Wait for the next transaction."""
        self.tables = inside(journal).tables
        self.do, self.after, self.left = self.tables.do, after, 1
        self.tables.do = self.broken

    async def broken(self, connection: Any, batch: Any) -> None:  # noqa: ANN401 those of a writer
        """Do a batch, and lose the answer."""
        if self.left and not self.after:
            self.left -= 1
            connection.terminate()
        await self.do(connection, batch)
        if self.left:
            self.left -= 1
            raise ConnectionResetError


async def test_a_connection_that_the_server_ended(
    journal: PostgresJournal, postgres: str, postgres_server: PostgresServer
) -> None:
    """A connection that an administrator, or a time limit, ended while it rested is made again; nobody is told."""
    mine = "datname = current_database() AND pid <> pg_backend_pid()"
    ends = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {mine}"  # noqa: S608 a constant
    for number in range(4):
        # In a thread, so that the connection learns of its end at the moment when it is used again.
        await asyncio.to_thread(postgres_server.run, ends, postgres.rpartition("/")[2])
        assert await claimed(journal, f"G{number}") is None


@pytest.mark.parametrize("after", [False, True])
async def test_a_transaction_is_done_once(journal: PostgresJournal, after: bool) -> None:  # noqa: FBT001
    """If the connection breaks before or after its end, a second connection does it, or sees that it is done."""
    await claimed(journal, "G")
    for number, part in enumerate(("a", "b")):
        journal.record(G, part, b"d", UUID(int=number))
    await journal.known(0)
    cut = Cut(journal, after=after)
    journal.rename(G, {"a": "b", "b": "a"})
    await journal.end(G, complete=False)
    assert cut.left == 0
    parts = {"a": PartRecord(b"d", UUID(int=1)), "b": PartRecord(b"d", UUID(int=0))}
    assert await looked(journal, "G") == GraphRecord(DIGEST, complete=False, ended=True, parts=parts)
    Cut(journal, after=after)
    assert await claimed(journal, "H") is None


@pytest.fixture(scope="module")
def own_server() -> Iterator[PostgresServer]:
    """Give a server that a test may stop."""
    server = PostgresServer(fsync="on")
    try:
        server.start()
        yield server
    finally:
        server.remove()


async def test_a_database_that_crashes_and_comes_back(own_server: PostgresServer) -> None:
    """Everything that was acknowledged is there, and a call that waited then succeeds."""
    async with await opened(own_server.dsn()) as journal:
        await claimed(journal, "G")
        journal.record(G, "order", b"o", ONE, created=True)
        await journal.known(0)
        own_server.kill()
        waiting = asyncio.ensure_future(journal.claim(order("H"), DIGEST))
        await asyncio.sleep(0)
        await asyncio.to_thread(own_server.start)
        await waiting
        assert await journal.owner(ONE) == G
        assert await journal.renew([G, key("H")]) == set()


async def test_a_database_that_stays_away(own_server: PostgresServer) -> None:
    """Each call ends with one sentence; what was noted is written when the database is back."""
    journal = await opened(own_server.dsn(), retry_for=0)
    await claimed(journal, "K")
    own_server.stop()
    journal.record(key("K"), "order", b"o", TWO, created=True)
    sentence = "is not there|broke|starting or shutting down"
    for call in (journal.claim(order("L"), DIGEST), journal.end(key("K"), complete=True), journal.renew([key("K")])):
        with pytest.raises(JournalError, match=sentence):
            await call
    own_server.start()
    assert await journal.owner(TWO) == key("K")
    assert await claimed(journal, "L") is None
    own_server.stop()
    journal.record(key("L"), "order", b"o", ONE)
    with pytest.raises(JournalError, match=sentence):
        await journal.aclose()
    await journal.aclose()
    own_server.start()
