"""Processes that share a rate by Postgres, and the emulator that counts their requests by its own clock."""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import attrs

from cdp_orders_async.emulator import Emulator, running
from cdp_orders_async.emulator.limits import Fate, Leave
from tests.pacing.test_shared import most_in_a_second

__all__ = ["Seen", "TimedEmulator", "shared", "worker"]

NAME = "a tenant"
CALLERS = 32
WORKER = f"""
import asyncio, itertools, sys
from cdp_orders_async import CdpOrders, PostgresLimiter, Settings

async def main(dsn, url, rate, calls):
    numbers = iter(range(int(calls))) if int(calls) else itertools.count()
    async with (
        await PostgresLimiter.open(dsn, name={NAME!r}, rate=float(rate)) as limiter,
        CdpOrders(base_url=url, client_key="key", api_token="token", shared_limiter=limiter,
                  settings=Settings(http="httptools", trust_env=False)) as cdp,
    ):
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        async def work():
            for _ in numbers:
                await cdp.ping()
        async with asyncio.TaskGroup() as group:
            for _ in range({CALLERS}):
                group.create_task(work())

asyncio.run(main(*sys.argv[1:]))
"""


class TimedEmulator(Emulator):
    """An emulator that keeps when each request came."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    def enter(self, operation: str, method: str) -> tuple[Fate, Leave]:
        """Keep the time."""
        self.times.append(time.monotonic())
        return super().enter(operation, method)


@attrs.frozen
class Seen:
    """The requests at the server, by its clock."""

    requests: int
    rate: float
    """Requests a second after the first second."""
    most: int
    """Requests in the fullest span of one second."""
    seconds: float
    """From the beginning to the last: a server that stood still may get the first of them late."""

    @classmethod
    def of(cls, began: float, times: Sequence[float]) -> Seen:
        """Count those that came since *began*."""
        steady = [when for when in times if when >= times[0] + 1]
        rate = (len(steady) - 1) / (steady[-1] - steady[0]) if len(steady) > 1 else 0.0
        return cls(len(times), rate, most_in_a_second(times), times[-1] - began)


@asynccontextmanager
async def worker(dsn: str, url: str, rate: float, calls: int = 0) -> AsyncGenerator[Process, None]:
    """Start a process that waits for a line, and then makes so many *calls*, 0 for as many as it can; end it."""
    command = (sys.executable, "-c", WORKER, dsn, url, str(rate), str(calls))
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, cwd=Path(__file__).parents[2])
    try:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def start(processes: Sequence[Process]) -> None:
    """Let *processes* begin."""
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(b"\n")


async def shared(dsn: str, processes: int, rate: float, seconds: float = 0.0, calls: int = 0) -> Seen:
    """Let *processes* share *rate* for *seconds*, or until each has made its *calls*; count what comes."""
    emulator = TimedEmulator()
    async with running(emulator) as url, AsyncExitStack() as stack:
        workers = [
            await stack.enter_async_context(worker(dsn, url, rate, calls)) for _ in itertools.repeat(None, processes)
        ]
        began = time.monotonic()
        start(workers)
        if calls:
            assert [await process.wait() for process in workers] == [0] * processes
        else:
            await asyncio.sleep(seconds)
        return Seen.of(began, emulator.times)
