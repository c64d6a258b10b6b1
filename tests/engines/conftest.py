"""One Redis server for all tests of engines, and a fresh database for each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from redis.asyncio import Redis

from tests.engines.brokers import RedisServer, redis_server


@pytest.fixture(scope="session")
def broker_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Start one Redis server for all tests of this process."""
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
async def redis(broker_server: RedisServer) -> AsyncIterator[Redis]:
    """Give a client of an empty server."""
    async with broker_server.emptied() as client:
        yield client
