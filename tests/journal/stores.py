"""The sorts of journals: each is opened here, and nowhere else in the tests of what every journal does."""

from __future__ import annotations

import itertools
import shutil
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Final, Protocol

from cdp_orders_async.engines.leases import JournalOwner, RemoteJournal
from cdp_orders_async.journal import (
    Claimed,
    GraphRecord,
    Journal,
    MemoryJournal,
    OrderId,
    PostgresJournal,
    SqliteJournal,
)
from tests.databases import PostgresServer, running_server
from tests.journal.shared import SharedDatabase, SharedJournal

IDENTITY: Final = {"base URL": "https://api.example.com", "client key": "k"}
START: Final = datetime(2017, 1, 15, 12, tzinfo=UTC)
LEASE: Final = 60.0
NEVER: Final = 1e6
"""Seconds that no test lasts."""


def order(name: str, hours: float = 0) -> OrderId:
    """Return an order with this reference id, so many hours after the first."""
    return OrderId.of(name, START + timedelta(hours=hours))


def key(name: str) -> str:
    """Return the key of the first order with this reference id."""
    return order(name).key


async def claimed(journal: Journal, name: str, digest: bytes = b"graph") -> GraphRecord | None:
    """Claim the first order with this reference id, which nobody holds, and return what was known of it."""
    found = await journal.claim(order(name), digest)
    assert isinstance(found, Claimed)
    return found.record


async def looked(journal: Journal, name: str, digest: bytes = b"graph") -> GraphRecord | None:
    """Do as `claimed`, and give the claim up."""
    known = await claimed(journal, name, digest)
    journal.release(key(name))
    return known


class Store(Protocol):
    """Where a sort of journal keeps what it knows."""

    workers: int
    """How many may work at the same time."""
    can_crash: bool
    """Whether what was durable is there after a crash."""
    releases_at_once: bool
    """Whether a claim that is given up is free at once, and not when the journal is used again."""

    @property
    def seconds(self) -> float:
        """The time."""
        ...

    @seconds.setter
    def seconds(self, seconds: float) -> None: ...

    async def connect(self) -> Journal:
        """Open the journal for one more worker, which closes it itself."""
        ...

    async def crash(self, journal: Journal) -> None:
        """Let the worker with this journal crash."""
        ...


class MemoryStore:
    """No place at all: only a journal that is open knows anything."""

    workers, can_crash, releases_at_once, seconds = 1, False, False, 0.0

    def __init__(self, _: Path) -> None:
        """Need nothing."""

    async def connect(self) -> Journal:
        """Return a new journal."""
        return MemoryJournal(identity=IDENTITY)

    async def crash(self, journal: Journal) -> None:
        """Lose everything."""
        raise AssertionError(journal)


class SqliteStore:
    """A file, which one worker at a time may use."""

    workers, can_crash, releases_at_once, seconds = 1, True, False, 0.0

    def __init__(self, folder: Path) -> None:
        """Keep the files in *folder*."""
        self._paths = (folder / f"{number}.sqlite" for number in itertools.count())
        self.path = next(self._paths)

    async def connect(self) -> Journal:
        """Open the file; a small batch, so that there are many."""
        return await SqliteJournal.open(self.path, identity=IDENTITY, max_batch=3)

    async def crash(self, journal: Journal) -> None:
        """Go on with the files as they are now, when all that was queued is committed."""
        await journal.known(0)
        before, self.path = self.path, next(self._paths)
        for suffix in ("", "-wal"):
            shutil.copyfile(f"{before}{suffix}", f"{self.path}{suffix}")
        await journal.aclose()


class SharedStore:
    """A database that several workers share."""

    workers, can_crash, releases_at_once = 3, True, False

    def __init__(self, _: Path) -> None:
        """Start with no worker, at no time."""
        self.seconds = 0.0
        self.database = SharedDatabase(lambda: self.seconds, LEASE, identity=IDENTITY)

    async def connect(self) -> Journal:
        """Connect one more worker."""
        return self.database.connect()

    async def crash(self, journal: Journal) -> None:
        """Kill the worker: what it queued is lost, and its leases stay."""
        assert isinstance(journal, SharedJournal)
        journal.kill()


class OwnedStore:
    """A journal in memory that its owner shares among the workers of a cluster."""

    workers, can_crash, releases_at_once = 3, True, True
    _numbers = itertools.count()

    def __init__(self, _: Path) -> None:
        """Start with no worker, at no time."""
        self.seconds = 0.0
        self.owner = JournalOwner(MemoryJournal(sys.maxsize, identity=IDENTITY), LEASE, clock=lambda: self.seconds)

    async def connect(self) -> Journal:
        """Connect one more worker."""
        user = f"worker {next(self._numbers)}"
        return RemoteJournal(self.owner.do, user, identity=IDENTITY, lease=LEASE, linger=NEVER)

    async def crash(self, journal: Journal) -> None:
        """Kill the worker: what it queued is lost, and its leases stay."""
        vars(journal)["_steps"].clear()
        vars(journal)["_closed"] = True
        if (timer := vars(journal)["_timer"]) is not None:
            timer.cancel()


class PostgresStore:
    """A database server that several workers share: each store is another tenant in the same tables."""

    workers, can_crash, releases_at_once = 3, True, True
    _numbers = itertools.count()

    def __init__(self, _: Path) -> None:
        """Start at no time."""
        self._server = running_server()
        self._clock = _clock_file(self._server)
        self.seconds = 0.0
        self._identity = {**IDENTITY, "store": str(next(self._numbers))}

    @property
    def seconds(self) -> float:
        """The time of the database."""
        return self._seconds

    @seconds.setter
    def seconds(self, seconds: float) -> None:
        self._seconds = seconds
        self._clock.write_text(repr(seconds), encoding="ascii")

    async def connect(self) -> PostgresJournal:
        """Connect one more worker, for which the database has the time of this store."""
        dsn = f"{self._server.dsn()}?search_path=clock,pg_catalog"
        return await PostgresJournal.open(dsn, identity=self._identity, lease=LEASE)

    async def crash(self, journal: Journal) -> None:
        """Kill the worker: what it queued is lost, and its leases stay."""
        writer = vars(journal)["_writer"]
        writer.queue.clear()
        await writer.close()


@cache
def _clock_file(server: PostgresServer) -> Path:
    """Return the file that holds the time of the database, for those who look for it in the schema clock first."""
    path = server.folder / "clock"
    server.run(
        "CREATE SCHEMA clock; CREATE FUNCTION clock.clock_timestamp() RETURNS timestamptz VOLATILE LANGUAGE sql AS"
        f" $$ SELECT timestamptz 'epoch' + pg_read_file('{path}')::float8 * interval '1 second' $$"
    )
    return path


STORES: Final[Mapping[str, Callable[[Path], Store]]] = {
    "memory": MemoryStore,
    "sqlite": SqliteStore,
    "shared": SharedStore,
    "owned": OwnedStore,
    "postgres": PostgresStore,
}
"""Each sort of journal; a new one is tested by its line here."""
