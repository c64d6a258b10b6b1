"""The token and what is known of people are in no log, error, traceback, pickle, file or list of processes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import aiohttp
import orjson
import pytest

from cdp_orders_async import BadRequest, CdpOrders, Invalid, Settings, parse_graph
from cdp_orders_async.emulator import Emulator, Faults, running
from cdp_orders_async.emulator.faults import ACTIONS
from cdp_orders_async.settings import Credentials
from tests.calls import ORDER
from tests.cli.support import Json, cdp_orders, orders, started, watched, write
from tests.security.canaries import CALLS, PERSON, TOKEN, client, failure, leaks, logged, shown
from tests.servers import Reply, Server, read_body, read_head, serving

FAULTS: list[Json] = [
    {"action": action, "phase": phase, "seconds": 5, **({"status": status} if status else {})}
    for action, phases in ACTIONS.items()
    for phase in phases
    if phase != "processing"  # of the Batch API
    for status in {"status": (400, 503), "html": (200, 502)}.get(action, (None,))
]
"""Every kind of fault at every phase where it makes sense."""


@asynccontextmanager
async def filled(emulator: Emulator) -> AsyncGenerator[tuple[str, UUID, UUID]]:
    """Serve *emulator* with an order and a contact in it; give its base URL and their references."""
    async with running(emulator) as url:
        async with client(url) as cdp:
            order = await cdp.orders.create(ORDER)
            contact = await cdp.contacts.create(order.ref, PERSON)
            await cdp.order_extensions.create(order.ref, {"some": True})
        yield url, order.ref, contact.ref


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: "-".join(map(str, fault.values())))
async def test_no_failed_call_shows_a_secret(fault: Json, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever goes wrong with a call, neither the token nor a personal value is in its error, or in a log at DEBUG."""
    caplog.set_level(logging.DEBUG)
    asyncio.get_running_loop().set_debug(True)
    emulator = Emulator(api_token=TOKEN)
    async with filled(emulator) as (url, order, contact):
        emulator.faults = Faults.of({"faults": [{"operation": "*", **fault}]})
        slow = fault["action"] in {"stall", "drip"}
        async with client(url, timeout=1.0 if slow else 30.0) as cdp:
            tasks = [asyncio.create_task(failure(call(cdp, order, contact))) for call in CALLS.values()]
            errors = [await task for task in tasks]
            assert leaks(repr(cdp), repr(cdp.session), repr(cdp.session.settings)) == []
    assert None not in errors
    assert leaks(*(shown(error) for error in errors if error is not None)) == []
    assert emulator.faults.done.total() == len(CALLS) or slow
    assert leaks(logged(caplog.records)) == []


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("operation", CALLS)
async def test_no_abandoned_call_shows_a_secret(operation: str) -> None:
    """Nor are they in the traceback of a call that its caller gave up."""
    emulator = Emulator(api_token=TOKEN)
    async with filled(emulator) as (url, order, contact), client(url) as cdp:
        emulator.faults = Faults.of({"faults": [{"operation": operation, "action": "stall", "phase": "body"}]})

        async def impatient() -> None:
            async with asyncio.timeout(0.1):
                await CALLS[operation](cdp, order, contact)

        error = await failure(impatient())
    assert isinstance(error, TimeoutError)
    assert leaks(shown(error)) == []


class Parrot(Server):
    """Refuses everything, and repeats what was sent."""

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int) -> None:
        while True:
            body = await read_body(reader, await read_head(reader, connection))
            said = {"message": f"Cannot take {body.decode()}.", "developerMessage": "so " * 100_000}
            writer.writelines(Reply(400, orjson.dumps(said)).written)
            await writer.drain()


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("operation", CALLS)
async def test_no_refusal_repeats_a_secret(operation: str) -> None:
    """Where a server repeats what it refuses, the error does not; the rest of its words is kept, up to a length."""
    async with serving(kind=Parrot) as server, client(server.url) as cdp:
        error = await failure(CALLS[operation](cdp, UUID(int=4), UUID(int=4)))
    assert isinstance(error, BadRequest)
    assert leaks(shown(error)) == []
    assert "Cannot take" in str(error)
    assert len(shown(error)) < 20_000


async def test_no_failure_of_a_hook_shows_a_secret() -> None:
    """An error that is none of the library's has no frame of it with the token, and says where it was raised."""

    async def breaks(*_: object) -> None:
        raise LookupError("the hook is broken")

    hooks = aiohttp.TraceConfig()
    hooks.on_request_start.append(breaks)
    cdp = CdpOrders(base_url="http://127.0.0.1:1", client_key="key", api_token=TOKEN, trace_configs=[hooks])
    async with cdp:
        error = await failure(cdp.contacts.create(UUID(int=4), PERSON))
    assert isinstance(error, LookupError)
    assert leaks(shown(error)) == []
    assert "raise LookupError" in "".join(error.__notes__)


def foreign_client() -> None:
    """Make a client of a server to which the token must not go."""
    CdpOrders(base_url="http://api.test", client_key="key", api_token=TOKEN)


def wrong_settings() -> None:
    """Read settings of an environment that holds the token too."""
    Settings.from_env()


def wrong_credentials() -> None:
    """Make credentials that cannot be sent."""
    Credentials("key", f"{TOKEN}\0")


def wrong_order() -> None:
    """Read an order that misses something."""
    parse_graph({**orders(1)[0], "price": None})


@pytest.mark.parametrize("make", [foreign_client, wrong_settings, wrong_credentials, wrong_order])
async def test_no_refused_value_shows_a_secret(make: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be made shows nothing of what it was given, or found in the environment."""
    monkeypatch.setenv("CDP_API_TOKEN", TOKEN)
    monkeypatch.setenv("CDP_RATE", "fast")
    error = await failure(asyncio.to_thread(make))
    assert isinstance(error, Invalid)
    assert leaks(shown(error)) == []


async def test_no_file_or_output_of_a_load_holds_a_secret(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A load that meets every fault at every phase, and logs all of it, leaves no secret in any output or file."""
    caplog.set_level(logging.DEBUG)
    script = [step for fault in FAULTS for step in (fault, *["ok"] * 5)]
    source = write(tmp_path / "o.jsonl", orders(60))
    files = ("--journal", tmp_path / "j.sqlite", "--outcomes", tmp_path / "out.jsonl")
    pace = ("--connections", "1", "--timeout", "0.5", "--settle", "0.1")
    async with watched({"faults": [{"operation": "*", "script": script}]}) as server:
        env = {**server.environment, "PYTHONASYNCIODEBUG": "1", "PYTHONDEVMODE": "1"}
        ran = await cdp_orders("load", source, *files, *pace, "--verbose", cwd=tmp_path, env=env)
        faults = server.faults.done.total()
    assert faults == len(FAULTS)
    assert ran.status in {0, 1}
    assert "attempt 1: OutcomeUnknown" in ran.err
    written = contents(tmp_path)
    del written[source.name]
    assert written.keys() == {"j.sqlite", "out.jsonl", "out.jsonl.run.json"}
    assert leaks(ran.out, ran.err, *written.values(), logged(caplog.records)) == []


def contents(folder: Path) -> dict[str, str]:
    """Read all files of a folder, by name."""
    return {path.name: path.read_bytes().decode("latin-1") for path in folder.iterdir()}


def command_line(process: int) -> str:
    """Return what the list of processes shows of one."""
    return Path(f"/proc/{process}/cmdline").read_text(encoding="utf-8")


async def test_no_process_shows_the_token(tmp_path: Path) -> None:
    """A token of the environment is not in the list of processes; that an option is, its help says."""
    source = write(tmp_path / "o.jsonl", orders(1))
    async with (
        watched({"faults": [{"operation": "*", "action": "stall"}]}) as server,
        started("load", source, cwd=tmp_path, env=server.environment) as process,
    ):
        await server.has_received(1)
        line = command_line(process.pid)
    told = await cdp_orders("load", "--help", cwd=tmp_path, env={"CDP_API_TOKEN": TOKEN, "CDP_PROXY": "http://canary"})
    assert "load" in line
    assert leaks(line, told.out) == []
    assert "is visible in the list of processes" in " ".join(told.out.replace("│", "").split())
