"""What the tests of the journals share."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from cdp_orders_async.journal import Journal
from tests.databases import stop_running_server
from tests.journal.stores import STORES, Store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Name a file that is not there."""
    return tmp_path / "J.sqlite"


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """Give a place for a journal of each sort."""
    return STORES[request.param](tmp_path)


@pytest.fixture
async def journal(store: Store) -> AsyncIterator[Journal]:
    """Open a new journal of each sort."""
    async with aclosing(await store.connect()) as new:
        yield new


@pytest.fixture(scope="session", autouse=True)
def stores_end() -> Iterator[None]:
    """End the database server that a store has started."""
    yield
    stop_running_server()


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """Check that every test ends with no thread of a journal."""
    yield
    assert [thread for thread in threading.enumerate() if thread.name.startswith("journal ")] == []
