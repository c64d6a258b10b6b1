"""The web backends of the manual, as programs in a folder and as real processes, and customers who ask them."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Final, TypeAlias

import aiohttp
import attrs
import orjson

from tests.cli.support import PATIENCE, Json, Watched, environment
from tests.databases import PostgresServer, free_port
from tests.laws.pages import blocks, section

__all__ = ["FRAMEWORKS", "PROGRAMS", "Backend", "ask", "checkout", "connections", "is_empty", "loaded_module", "until"]

PAGE: Final = "cdp_orders_async/ingest/README.md"
OUTBOX: Final = "outbox"
FRAMEWORKS: Final = ("FastAPI", "Starlette", "aiohttp.web")
HEADINGS: Final = {OUTBOX: "## In a web backend", **{name: f"### {name}" for name in FRAMEWORKS}}
PROGRAMS: Final[Mapping[str, str]] = {
    name: next(text for language, text in blocks(section(heading, PAGE)) if language == "python")
    for name, heading in HEADINGS.items()
}
"""The programs of the manual."""
LEASE: Final = 3.0
FASTER: Final = {
    "interval '1 min' * least(2 ^ tries, 60)": "interval '0.5 s'",
    "interval '1 min'": "interval '1 s'",
    "identity=cdp.identity": f"identity=cdp.identity, lease={LEASE}",
    "journal=self.journal": "journal=self.journal, settle=0.3",
    "asyncio.sleep(5)": "asyncio.sleep(0.1)",
    "move_on_after(5 ": "move_on_after(0.3 ",
}
"""Times of the programs, and shorter ones for tests."""
WORKERS: Final = 2
STOP_SECONDS: Final = 30.0

Changes: TypeAlias = Mapping[str, str]


def written(folder: Path, framework: str, changes: Changes) -> None:
    """Write the programs of a *framework* into *folder*, with *changes*, each of which is made."""
    made: set[str] = set()
    for name, text in ((OUTBOX, PROGRAMS[OUTBOX]), ("app", PROGRAMS[framework])):
        changed = text
        for old, new in changes.items():
            if old in changed:
                changed = changed.replace(old, new)
                made.add(old)
        (folder / f"{name}.py").write_text(changed, encoding="utf-8")
    assert made >= changes.keys() - {"move_on_after(5 "}


def loaded_module(folder: Path, name: str = OUTBOX) -> ModuleType:
    """Import a program that `written` has put into *folder*."""
    spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


@attrs.define
class Backend:
    """Two worker processes of a program of the manual, on one port."""

    framework: str
    folder: Path
    env: Mapping[str, str]
    port: int
    processes: list[Process] = attrs.field(factory=list[Process])

    @property
    def url(self) -> str:
        """The address of the backend."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> list[str]:
        """What the processes wrote to standard error, without the database's fsync and uvicorn's listening socket."""
        known = ("fsync=off", f"laddr=('127.0.0.1', {self.port})>", "Enable tracemalloc")
        lines = (self.folder / "log").read_text(encoding="utf-8").splitlines()
        return [line for line in lines if not any(words in line for words in known)]

    async def start(self) -> None:
        """Start the processes that do not run."""
        command = ["-m", "uvicorn", "app:app", "--workers", str(WORKERS), "--port", str(self.port)]
        command += ["--log-level", "error", "--timeout-graceful-shutdown", "10"]
        wanted = 1
        if self.framework == "aiohttp.web":
            command, wanted = ["app.py"], WORKERS
        self.processes = [process for process in self.processes if process.returncode is None]
        with (self.folder / "log").open("ab") as log:
            while len(self.processes) < wanted:
                self.processes.append(
                    await asyncio.create_subprocess_exec(
                        sys.executable, *command, cwd=self.folder, env=self.env, stdout=DEVNULL, stderr=log
                    )
                )

    def workers(self) -> list[int]:
        """Return the numbers of the worker processes."""
        if self.framework == "aiohttp.web":
            return [process.pid for process in self.processes if process.returncode is None]
        (parent,) = self.processes
        children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text(encoding="ascii").split()
        return [int(pid) for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]

    async def kill(self) -> None:
        """End all workers by ``kill -9``, and see that others take their places."""
        for pid in self.workers():
            os.kill(pid, signal.SIGKILL)
        if self.framework == "aiohttp.web":
            for process in self.processes:
                await process.wait()
        await self.start()

    async def stop(self) -> list[int]:
        """Stop the processes by SIGTERM, and return their statuses."""
        for process in self.processes:
            process.terminate()
        return [await asyncio.wait_for(process.wait(), STOP_SECONDS) for process in self.processes]

    @classmethod
    @asynccontextmanager
    async def running(
        cls, framework: str, folder: Path, dsn: str, server: Watched, changes: Changes, longest: float = 1.5
    ) -> AsyncGenerator[Backend]:
        """Make the table, start the backend of a *framework*, wait until it is ready, and end it.

        *longest*, seconds of one request to the server.
        """
        written(folder, framework, changes)
        port = free_port()
        variables = {"DATABASE_URL": dsn, "PORT": str(port), "CDP_TIMEOUT": str(longest), "CDP_KEEPALIVE": "1"}
        # A leak is told on standard error.
        variables["PYTHONWARNINGS"] = "default::ResourceWarning"
        path = {"PYTHONPATH": str(Path(__file__).parents[2])}
        env = environment({**server.environment, **variables, **path})
        backend = cls(framework, folder, env, port)
        first = await asyncio.create_subprocess_exec(sys.executable, "outbox.py", cwd=folder, env=env)
        assert await first.wait() == 0
        await backend.start()
        try:
            async with aiohttp.ClientSession() as caller:
                await until(lambda: has_status(caller, f"{backend.url}/ready", 200))
            yield backend
        finally:
            if any(process.returncode is None for process in backend.processes):
                await backend.stop()


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Ask until *condition* is true."""
    async with asyncio.timeout(4 * PATIENCE):
        while not await condition():  # noqa: ASYNC110 another process makes it true
            await asyncio.sleep(0.05)


async def has_status(caller: aiohttp.ClientSession, url: str, status: int) -> bool:
    """Tell whether *url* answers with *status*."""
    try:
        async with caller.get(url) as answer:
            return answer.status == status
    except aiohttp.ClientError:
        return False


async def ask(caller: aiohttp.ClientSession, url: str, order: Json) -> int:
    """Check out an order once, and return the status; 0 if the connection broke."""
    try:
        async with caller.post(f"{url}/checkout", data=orjson.dumps(order)) as answer:
            return answer.status
    except aiohttp.ClientError:
        return 0


async def checkout(caller: aiohttp.ClientSession, url: str, order: Json) -> int:
    """Check out an order as a customer does, who asks again until the shop has it."""
    async with asyncio.timeout(4 * PATIENCE):
        while (status := await ask(caller, url, order)) not in {201, 202}:
            assert status in {0, 503, 504}, status
            await asyncio.sleep(0.3)
    return status


async def is_empty(server: PostgresServer, dsn: str) -> bool:
    """Tell whether the outbox has no rows."""
    return await _number(server, dsn, "SELECT count(*) FROM outbox") == 0


async def connections(server: PostgresServer, dsn: str) -> int:
    """Return the number of connections of others to the database."""
    return await _number(server, dsn, "SELECT count(*) - 1 FROM pg_stat_activity WHERE datname = current_database()")


async def _number(server: PostgresServer, dsn: str, query: str) -> int:
    return int(await asyncio.to_thread(server.run, query, dsn.rpartition("/")[2]))
