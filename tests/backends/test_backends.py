"""The web backends of the manual, two processes each: nothing is lost or doubled, whatever ends in the middle."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import orjson
import pytest

from cdp_orders_async import CdpOrders, PostgresJournal, PostgresLimiter, ingest, parse_graph
from cdp_orders_async.emulator import Switches, running
from tests.backends.serving import (
    FASTER,
    FRAMEWORKS,
    Backend,
    ask,
    checkout,
    connections,
    has_status,
    is_empty,
    loaded_module,
    until,
)
from tests.cli.support import TOKEN, Json, Watched, orders
from tests.databases import PostgresServer

RATE = 400
AT_ONCE = {"FastAPI": 200, "Starlette": 20, "aiohttp.web": 20}
"""The customers at once."""
FEW = 8
PHASES = 5
"""Phases of a test with a few customers each."""
CHANGES = {**FASTER, "RATE = 100": f"RATE = {RATE}"}


async def bulk(dsn: str, server: Watched, lines: Sequence[Json]) -> None:
    """Load orders in this process, with the rate and the journal of the backend."""
    async with (
        await PostgresLimiter.open(dsn, name="cdp", rate=RATE) as limiter,
        CdpOrders(base_url=server.base_url, client_key="key", api_token=TOKEN, shared_limiter=limiter) as cdp,
        await PostgresJournal.open(dsn, identity=cdp.identity) as journal,
        ingest(cdp, map(parse_graph, lines), journal=journal) as load,
    ):
        await load.run()


@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_backend(
    framework: str, tmp_path: Path, postgres: str, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Customers beside a bulk load, customers who leave, killed workers, a server that is away, and a stop."""
    at_once = AT_ONCE[framework]
    lines = orders(at_once + PHASES * FEW)
    crowd, loads, left, killed, away, stopped = (
        lines[:at_once],
        *(lines[at_once + n * FEW : at_once + (n + 1) * FEW] for n in range(PHASES)),
    )
    server = Watched()
    async with (
        AsyncExitStack() as serving,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as caller,
    ):
        server.base_url = await serving.enter_async_context(running(server))
        async with Backend.running(framework, tmp_path, postgres, server, CHANGES) as backend:

            def asking(some: Iterable[Json]) -> list[asyncio.Task[int]]:
                return [asyncio.ensure_future(checkout(caller, backend.url, line)) for line in some]

            if framework == "Starlette":  # its middleware cancels what takes longer than 0.3 s
                server.store.switches = Switches(latency=0.15)
                assert set(await asyncio.gather(*(ask(caller, backend.url, line) for line in crowd))) == {504}
            await asyncio.gather(bulk(postgres, server, loads), *asking(crowd))

            requests = server.received
            leaving = [asyncio.ensure_future(ask(caller, backend.url, line)) for line in left]
            await server.has_received(requests + FEW)
            await cancelled(leaving)
            await asyncio.gather(*asking(left))

            requests, customers = server.received, asking(killed)
            await server.has_received(requests + 2 * FEW)
            await backend.kill()
            await asyncio.gather(*customers)

            await serving.aclose()
            assert not await has_status(caller, f"{backend.url}/ready", 200)
            absent = await asyncio.gather(*(ask(caller, backend.url, line) for line in away))
            assert set(absent) <= {202, 504}
            port = int(server.base_url.rpartition(":")[2])
            await serving.enter_async_context(running(server, port=port))
            await until(lambda: has_status(caller, f"{backend.url}/ready", 200))
            await asyncio.gather(*asking(away))
            await until(lambda: is_empty(postgres_server, postgres))
            assert server.holds([line for line in lines if line not in stopped])

            requests, customers = server.received, asking(stopped)
            await server.has_received(requests + 2 * FEW)
            assert set(await backend.stop()) == {0}
            await cancelled(customers)
            assert backend.log == []
            assert await connections(postgres_server, postgres) == 0

        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        program, tasks = loaded_module(tmp_path), asyncio.all_tasks()
        monkeypatch.setattr(program, "DATABASE", postgres)
        async with program.Checkout.open() as opened:
            for line in stopped:  # some had no answer yet
                assert (await opened.place(orjson.dumps(line)))[0] in {201, 202}
            await until(lambda: is_empty(postgres_server, postgres))
        assert asyncio.all_tasks() == tasks
        assert await connections(postgres_server, postgres) == 0
    assert server.holds(lines)
    server.close()


async def cancelled(tasks: Sequence[asyncio.Task[int]]) -> None:
    """Cancel *tasks*: their customers go away."""
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
