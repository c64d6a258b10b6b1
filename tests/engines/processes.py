"""Workers on a Redis stream in processes of their own."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from tests.engines.worker import run

__all__ = ["Worker", "worker"]


class Worker:
    """A worker that is a process of its own, and tells its steps."""

    def __init__(self, process: BaseProcess, steps: Connection[Any, str]) -> None:
        self._process, self._steps = process, steps

    async def step(self) -> str:
        """Wait for the next step, and return it; raise EOFError after the last one."""
        return await asyncio.to_thread(self._steps.recv)

    def kill(self) -> None:
        """End the process at once (SIGKILL)."""
        self._process.kill()

    def terminate(self) -> None:
        """Ask the process to end (SIGTERM)."""
        self._process.terminate()

    async def end(self) -> tuple[int | None, list[str]]:
        """Wait for the end; return the exit status and the steps that were not read."""
        steps: list[str] = []
        with contextlib.suppress(EOFError):
            while True:
                steps.append(await self.step())
        await asyncio.to_thread(self._process.join)
        return self._process.exitcode, steps

    async def aclose(self) -> None:
        """Kill the process, if it runs."""
        self.kill()
        await self.end()
        self._steps.close()


@asynccontextmanager
async def worker(url: str, base_url: str, **options: Any) -> AsyncGenerator[Worker]:  # noqa: ANN401 options of a worker
    """Run `tests.engines.worker` as a process, a fork of one that has imported everything."""
    forking = multiprocessing.get_context("forkserver")
    forking.set_forkserver_preload(["pytest", "tests.engines.worker"])
    steps, told = forking.Pipe(duplex=False)
    process = forking.Process(target=run, args=({"redis": url, "base_url": base_url, **options}, told))
    await asyncio.to_thread(process.start)
    told.close()
    running = Worker(process, steps)
    try:
        yield running
    finally:
        await running.aclose()
