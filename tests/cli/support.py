"""The real command, run as a process against an emulator in this one."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncGenerator, Generator, Iterable, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import attrs
import orjson

from cdp_orders_async.emulator import Emulator, Faults, running
from cdp_orders_async.emulator.service import Endpoint
from cdp_orders_async.graph import parse_graph
from cdp_orders_async.kinds import V2_1, Api
from tests.ingest.expectations import stored, wanted

Json = dict[str, Any]

COMMAND = (sys.executable, "-m", "cdp_orders_async")
TOKEN = "canary-token"  # noqa: S105 it guards an emulator
PATIENCE = 180.0  # seconds after which something that must come counts as lost
PARTS = 6
"""The parts, and so the requests, of each order that `orders` makes."""


def orders(count: int) -> list[Json]:
    """Return orders with one part of each kind, whose personal values are canaries."""
    return [
        {
            "referenceId": f"B-{n}",
            "orderedAt": "2024-01-01T16:17:16Z",
            "price": 50,
            "currencyCode": "EUR",
            "contact": {"firstName": "canary-John", "identifiers": [{"provider": "CRM", "id": f"canary-{n}"}]},
            "orderItems": [
                {
                    "referenceId": f"A-{n}",
                    "type": "MOBILE",
                    "name": "AZ10",
                    "price": 50,
                    "currencyCode": "EUR",
                    "status": "CONFIRMED",
                    "extensions": [{"name": "ext", "note": "canary-note"}],
                }
            ],
            "consumers": [{"firstName": "canary-Jane", "orderItems": [{"referenceId": f"A-{n}"}]}],
            "extensions": [{"name": "ext", "storeLocation": "canary-London"}],
        }
        for n in range(count)
    ]


def orders_v2(count: int) -> list[Json]:
    """Return orders for version 2 with one part of each kind that it has."""
    return [
        {
            **order,
            "pointOfSale": "spinair.com",
            "contact": {**order["contact"], "lastName": "canary-Doe"},
            "orderItems": [
                {
                    "referenceId": f"A-{n}",
                    "type": "FLIGHT",
                    "productId": "DUB-LHR",
                    "price": 50,
                    "currencyCode": "EUR",
                    "status": "CONFIRMED",
                    "flightSegments": [
                        {
                            "id": "1",
                            "origin": "DUB",
                            "destination": "LHR",
                            "departureDateTime": "2025-08-15T16:00Z",
                            "arrivalDateTime": "2025-08-15T17:20Z",
                            "fareClass": "Economy",
                            "carrier": "FR",
                            "flightNumber": "459",
                        }
                    ],
                }
            ],
            "consumers": [{**order["consumers"][0], "lastName": "canary-Doe"}],
        }
        for n, order in enumerate(orders(count))
    ]


def write(path: Path, lines: Iterable[object]) -> Path:
    """Write *lines* as JSON lines."""
    path.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))
    return path


def lines_of(path: Path) -> list[Json]:
    """Read JSON lines."""
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def names(folder: Path) -> list[str]:
    """Return the names of the files in *folder*, sorted."""
    return sorted(path.name for path in folder.iterdir())


@attrs.frozen
class Ran:
    """What a command left behind."""

    status: int
    out: str
    err: str

    @property
    def told(self) -> str:
        """What it said, except where its new journal is, and progress, which only a slow machine sees."""
        said = re.sub(r"^A new journal remembers what is loaded: /.*\n", "", self.err, count=1, flags=re.MULTILINE)
        return re.sub(r"^\d\d:\d\d:\d\d · .*\n", "", said, flags=re.MULTILINE)

    def refused(self, *words: str) -> bool:
        """Whether it said in one sentence what is wrong, with all *words* in it."""
        sentence = self.err.removesuffix("\n")
        told = sentence.startswith("cdp-orders: ") and "\n" not in sentence and all(word in sentence for word in words)
        return self.status == 2 and told


class Watched(Emulator):
    """An emulator that can be waited for."""

    def __init__(self, faults: Json | None = None) -> None:
        super().__init__(api_token=TOKEN, faults=None if faults is None else Faults.of(faults))
        self.received = 0
        """Requests to the API."""
        self.base_url = ""
        self._bells: list[tuple[int, asyncio.Event]] = []

    def find(self, method: str, path: str) -> tuple[Endpoint, list[str]]:
        """Count a request."""
        self.received += 1
        for number, bell in self._bells:
            if self.received >= number:
                bell.set()
        return super().find(method, path)

    async def has_received(self, requests: int) -> None:
        """Wait until so many *requests* have come in all."""
        bell = asyncio.Event()
        self._bells.append((requests, bell))
        if self.received >= requests:
            bell.set()
        await asyncio.wait_for(bell.wait(), PATIENCE)

    def holds(self, lines: Iterable[Json], api: Api = V2_1) -> bool:
        """Whether each of the orders *lines*, made for *api*, is there once with all its parts, and nothing else."""
        return stored(self) == wanted(parse_graph(line, api) for line in lines)

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables that a client of this emulator needs."""
        return {"CDP_BASE_URL": self.base_url, "CDP_CLIENT_KEY": "key", "CDP_API_TOKEN": TOKEN}


@asynccontextmanager
async def watched(faults: Json | None = None) -> AsyncGenerator[Watched, None]:
    """Serve an emulator."""
    server = Watched(faults)
    async with running(server) as base_url:
        server.base_url = base_url
        yield server
    server.close()


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a command: *variables*, and of our own what has nothing to do with the client.

    There is no limit of the rate: to find one, a load starts slowly.
    """
    ours = {key: value for key, value in os.environ.items() if not key.startswith("CDP_")}
    return {**ours, "CDP_RATE": "none", **variables}


@asynccontextmanager
async def started(
    *arguments: object,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    command: tuple[str, ...] = COMMAND,
    stdin: int = DEVNULL,
    stdout: int = PIPE,
    stderr: int = PIPE,
) -> AsyncGenerator[Process, None]:
    """Run the command with *arguments* while the block lasts, and kill it if it outlives the block."""
    process = await asyncio.create_subprocess_exec(
        *command,
        *map(str, arguments),
        cwd=cwd,
        env=environment(env or {}),
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def ended(process: Process, given: bytes | None = None) -> Ran:
    """Wait until a command has ended by itself; it reads *given* from its standard input."""
    out, err = await asyncio.wait_for(process.communicate(given), PATIENCE)
    assert process.returncode is not None
    return Ran(process.returncode, (out or b"").decode(), (err or b"").decode())


async def cdp_orders(
    *arguments: object,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    command: tuple[str, ...] = COMMAND,
    given: bytes | None = None,
) -> Ran:
    """Run the command with *arguments* to its end."""
    stdin = DEVNULL if given is None else PIPE
    async with started(*arguments, cwd=cwd, env=env, command=command, stdin=stdin) as process:
        return await ended(process, given)


@contextmanager
def broken_pipe() -> Generator[int, None, None]:
    """Give the end of a pipe at whose other end nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        yield writer
    finally:
        os.close(writer)


@contextmanager
def full_disk() -> Generator[int, None, None]:
    """Give a file on which there is no space."""
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        yield full
    finally:
        os.close(full)


async def said(process: Process, word: str) -> str:
    """Wait for a line on standard error with *word* in it, and return all up to it."""
    assert process.stderr is not None
    told = b""
    while word.encode() not in told:
        line = await asyncio.wait_for(process.stderr.readline(), PATIENCE)
        assert line, f"it ended, and said only {told!r}"
        told += line
    return told.decode()
