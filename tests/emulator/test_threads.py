"""The emulator in a thread: for tests without a loop, and for tests whose loops are not its own."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from cdp_orders_async import CdpOrders, NewOrder, Order, ServerError, Settings
from cdp_orders_async.emulator import Emulator, Faults, Served, Switches, in_thread, running
from cdp_orders_async.emulator.fixtures import cdp_emulator, cdp_served
from tests.cli.support import PATIENCE
from tests.emulator.talking import Json

__all__ = ["cdp_emulator", "cdp_served"]

NEW = NewOrder(reference_id="B-1", ordered_at=datetime(2025, 1, 2, tzinfo=UTC), price=Decimal(50), currency_code="EUR")
FAILING: Json = {"faults": [{"operation": "orders.list", "script": [{"action": "status", "status": 503}]}]}


def client(base_url: str) -> CdpOrders:
    """Return a client that tries everything once."""
    settings = Settings(retries=0, trust_env=False)
    return CdpOrders(base_url=base_url, client_key="key", api_token="token", settings=settings)  # noqa: S106 its default


async def made(base_url: str) -> Order:
    """Create an order."""
    async with client(base_url) as cdp:
        return await cdp.orders.create(NEW)


async def listed(base_url: str) -> int:
    """Count the orders that a list shows."""
    async with client(base_url) as cdp:
        return len([order async for order in cdp.orders.list(reference_id="B-1")])


def threads() -> list[threading.Thread]:
    """Return the threads that serve emulators."""
    return [thread for thread in threading.enumerate() if thread.name == "cdp emulator"]


def test_a_synchronous_test_has_a_server(cdp_emulator: str) -> None:
    """A test without a loop runs one after the other against the same emulator."""
    order = asyncio.run(made(cdp_emulator))
    assert asyncio.run(made(cdp_emulator)).ref == order.ref
    assert asyncio.run(listed(cdp_emulator)) == 1


@pytest.mark.asyncio(loop_scope="session")
async def test_a_loop_of_the_session_has_a_server(cdp_emulator: str) -> None:
    """A test in a loop that outlives it uses the same fixture."""
    await made(cdp_emulator)
    assert await listed(cdp_emulator) == 1


async def test_a_loop_of_the_test_has_a_server(cdp_served: Served) -> None:
    """A test in its own loop asks for what the server holds, while it serves."""
    order = await made(cdp_served.base_url)
    assert str(order.ref) in str(cdp_served.state())
    assert cdp_served.ledger()["requests"] == {"orders.create": 1}


def test_it_takes_switches_and_faults(cdp_served: Served) -> None:
    """What is set holds from the next request on, and is told; a reset forgets the orders."""
    asyncio.run(made(cdp_served.base_url))
    cdp_served.switches = Switches(list_lag=3600)
    assert cdp_served.switches == Switches(list_lag=3600)
    assert asyncio.run(listed(cdp_served.base_url)) == 0
    cdp_served.switches = Switches()
    assert asyncio.run(listed(cdp_served.base_url)) == 1
    cdp_served.faults = Faults.of(FAILING)
    with pytest.raises(ServerError):
        asyncio.run(listed(cdp_served.base_url))
    assert cdp_served.faults.done.total() == 1
    cdp_served.reset()
    assert cdp_served.state() == {"orders": []}
    assert cdp_served.ledger()["effects"] == []


def test_everything_ends() -> None:
    """After the context there is no thread and no socket, and what the server held can still be asked."""
    emulator = Emulator(bearer="another")
    with in_thread(emulator) as served:
        assert len(threads()) == 1
        place = urlsplit(served.base_url)
        socket.create_connection((str(place.hostname), place.port or 0)).close()
    assert threads() == []
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((str(place.hostname), place.port or 0))
    assert served.state() == {"orders": []} == emulator.state()
    served.switches = Switches(upsert=False)
    assert emulator.store.switches.upsert is False


def test_it_ends_with_an_error() -> None:
    """An error of the test ends it too, and is raised."""
    with pytest.raises(LookupError), in_thread():
        raise LookupError
    assert threads() == []


def test_several_at_once() -> None:
    """Two servers hold nothing of each other."""
    with in_thread() as first, in_thread() as second:
        asyncio.run(made(first.base_url))
        assert (asyncio.run(listed(first.base_url)), asyncio.run(listed(second.base_url))) == (1, 0)


def test_a_port_that_is_taken() -> None:
    """What keeps it from serving is raised where it was asked to, and leaves no thread."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError, match=r"[Aa]ddress already in use"), in_thread(port=taken.getsockname()[1]):
            pass
    assert threads() == []


def test_what_is_asked_fails_where_it_is_asked() -> None:
    """An error of a question is raised for whoever asks, and the server goes on."""
    with in_thread() as served:
        with pytest.raises(TypeError):
            served.ledger("first")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] the point of the test
        assert served.state() == {"orders": []}


def test_it_goes_on_from_a_file(tmp_path: Path) -> None:
    """What a file stores is served, and what is created is stored, though its owner is another thread."""
    emulator = Emulator(storage=tmp_path / "state.db")
    with in_thread(emulator) as served:
        asyncio.run(made(served.base_url))
    emulator.close()
    again = Emulator(storage=tmp_path / "state.db")
    with in_thread(again) as served:
        assert asyncio.run(listed(served.base_url)) == 1
    again.close()


FORK = """
import os, sys
from cdp_orders_async.emulator import in_thread
with in_thread() as served:
    child = os.fork()
    if child == 0:
        try:
            served.state()
        except RuntimeError as error:
            print(error, flush=True)
    else:
        os.waitpid(child, 0)
        print(served.state(), flush=True)
"""


def test_a_fork_has_no_server() -> None:
    """A forked process is told that the server is not its own, and ends without ending it."""
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORK], capture_output=True, text=True, check=True, timeout=60
    )
    assert run.stdout.splitlines() == [
        "this emulator is served by the parent process: serve another one here",
        "{'orders': []}",
    ]


async def test_a_connection_that_comes_as_it_stops_is_closed() -> None:
    """It was accepted in the step before: it begins, and is closed with the others."""
    with socket.socket() as client:
        async with running() as base_url:
            client.connect(("127.0.0.1", int(base_url.rpartition(":")[2])))
            for _ in range(2):
                await asyncio.sleep(0)
        client.settimeout(0)
        ended = asyncio.get_running_loop().sock_recv(client, 1)
        assert await asyncio.wait_for(ended, PATIENCE) == b""
