"""The fixtures for tests of your own, and the message of a failed assert on models.

In the ``conftest.py`` at the root of your tests::

    pytest_plugins = ["cdp_orders_async.testing"]

A test of a program that calls the API, with any event loop::

    async def test_mine(cdp_client: CdpClient, cdp_served: Served, cdp_postgres: str) -> None:
        cdp_served.faults = Faults.of({"faults": [{"operation": "items.create", "script": [{"action": "reset"}]}]})
        async with cdp_client() as cdp, await PostgresJournal.open(cdp_postgres, identity=cdp.identity) as journal:
            await ingest_one(cdp, graph, journal=journal)
        assert len(cdp_served.state()["orders"]) == 1
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol
from uuid import uuid4

import pytest

from cdp_orders_async.client import CdpOrders
from cdp_orders_async.emulator.fixtures import cdp_emulator, cdp_served
from cdp_orders_async.emulator.threads import Served
from cdp_orders_async.models.common import Value, differences
from cdp_orders_async.settings import Settings
from cdp_orders_async.telemetry import Observer

__all__ = ["CdpClient", "cdp_client", "cdp_emulator", "cdp_postgres", "cdp_served", "pytest_assertrepr_compare"]

POSTGRES: Final = "CDP_TEST_POSTGRES"
"""The variable with the address of a database for tests."""


class CdpClient(Protocol):
    """Makes clients of the emulator of one test."""

    def __call__(self, *, settings: Settings | None = None, observers: Sequence[Observer] = ()) -> CdpOrders:
        """Return a client, to use as ``async with cdp_client() as cdp``.

        Parameters: *settings*, by default those without any environment variable; *observers* as in `CdpOrders`.
        """
        ...


@pytest.fixture
def cdp_client(cdp_served: Served) -> CdpClient:
    """Give a function that makes clients of `cdp_served`: ``async with`` closes them.

    The environment is not used, so that no test calls your tenant.
    """

    def made(*, settings: Settings | None = None, observers: Sequence[Observer] = ()) -> CdpOrders:
        return CdpOrders(
            base_url=cdp_served.base_url,
            client_key="key",
            api_token="token",  # noqa: S106 it guards nothing
            settings=Settings(trust_env=False) if settings is None else settings,
            observers=observers,
        )

    return made


@pytest.fixture
def cdp_postgres() -> Iterator[str]:
    """Give an address for `PostgresJournal.open` and `PostgresLimiter.open`, with no records.

    It names a new schema in the database of the variable ``CDP_TEST_POSTGRES``, such as
    ``postgresql://app@localhost/test``. The schema is deleted after the test. Without the variable, the test is
    skipped.
    """
    given = os.environ.get(POSTGRES)
    if not given:
        pytest.skip(f"set {POSTGRES} to the address of a database for tests: postgresql://USER@HOST:PORT/DATABASE")
    schema = f"cdp_test_{uuid4().hex}"
    address = f"{given}{'&' if '?' in given else '?'}schema={schema}"
    try:
        yield address
    finally:
        # The thread has its own event loop: this fixture works beside any other.
        with ThreadPoolExecutor(1) as thread:
            thread.submit(asyncio.run, _drop(address)).result()


async def _drop(address: str) -> None:
    """Delete the schema of an *address*."""
    from cdp_orders_async.journal.postgres import PostgresAddress  # noqa: PLC0415 only this fixture needs it
    from cdp_orders_async.journal.postgres.connection import connect, disconnect  # noqa: PLC0415 an extra
    from cdp_orders_async.journal.postgres.schema import quoted  # noqa: PLC0415 an extra

    parsed = PostgresAddress.parse(address)
    connection = await connect(parsed)
    try:
        await connection.execute(f"DROP SCHEMA IF EXISTS {quoted(parsed.schema)} CASCADE")
    finally:
        await disconnect(connection)


def pytest_assertrepr_compare(op: str, left: object, right: object) -> list[str] | None:
    """Tell in which fields two models differ that a test takes for equal, and show no personal value.

    In place of a personal value stands a mark: equal values have equal marks, within one process. Returns the lines of
    the message, and None for what pytest compares itself.
    """
    if op != "==" or not isinstance(left, Value) or not isinstance(right, Value) or type(left) is not type(right):
        return None
    name = type(left).__name__
    return [f"{name}(...) == {name}(...), but these fields differ:", *differences(left, right)]
