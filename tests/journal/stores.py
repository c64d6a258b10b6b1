"""The sorts of journals: each is opened here, and nowhere else in the tests of what every journal does."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Protocol

from cdp_orders_async.journal import Claimed, GraphRecord, Journal, MemoryJournal, OrderId, SqliteJournal
from tests.journal.shared import SharedDatabase, SharedJournal

IDENTITY: Final = {"base URL": "https://api.example.com", "client key": "k"}
START: Final = datetime(2017, 1, 15, 12, tzinfo=UTC)
LEASE: Final = 60.0


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
    seconds: float
    """The time."""

    async def connect(self) -> Journal:
        """Open the journal for one more worker, which closes it itself."""
        ...

    async def crash(self, journal: Journal) -> None:
        """Let the worker with this journal crash."""
        ...


class MemoryStore:
    """No place at all: only a journal that is open knows anything."""

    workers, can_crash, seconds = 1, False, 0.0

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

    workers, can_crash, seconds = 1, True, 0.0

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

    workers, can_crash = 3, True

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


STORES: Final[Mapping[str, Callable[[Path], Store]]] = {
    "memory": MemoryStore,
    "sqlite": SqliteStore,
    "shared": SharedStore,
}
"""Each sort of journal; a new one is tested by its line here."""
