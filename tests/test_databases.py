"""The database servers of the tests."""

from __future__ import annotations

import socket

import asyncpg
import pytest

from tests import databases
from tests.databases import REQUIRED, PostgresServer, missing


async def test_each_test_has_a_fresh_database(postgres: str, postgres_server: PostgresServer) -> None:
    """The database is empty, and anybody may make a table in it."""
    connection = await asyncpg.connect(postgres)
    await connection.execute("CREATE TABLE something (id int)")
    await connection.close()
    other = postgres_server.create_database()
    assert postgres_server.run("SELECT count(*) FROM pg_class WHERE relname = 'something'", other) == "0\n"
    postgres_server.drop_database(other)


def test_a_port_that_somebody_takes_meanwhile() -> None:
    """Then the server starts on another port, and keeps that one."""
    server = PostgresServer()
    try:
        with socket.create_server((databases.HOST, server.port)) as other:
            server.start()
            assert server.port != other.getsockname()[1]
            assert server.run("SELECT 1") == "1\n"
        port = server.port
        server.stop()
        server.start()
        assert server.port == port
    finally:
        server.stop()
        server.remove()


def test_a_missing_program_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests without their program are skipped, and fail where all programs are required."""
    monkeypatch.delenv(REQUIRED, raising=False)
    monkeypatch.setattr(databases, "_programs", lambda: None)
    with pytest.raises(pytest.skip.Exception, match="Postgres is not installed: apt-get install postgresql"):
        PostgresServer()
    monkeypatch.setenv(REQUIRED, "1")
    with pytest.raises(pytest.fail.Exception, match="Redis is not installed: apt-get install redis-server"):
        missing("Redis", "redis-server")
