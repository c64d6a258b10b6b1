"""Two workers, real processes, load the same orders with one journal in Postgres, and are killed or put to sleep.

At any size: ``python -m tests.campaigns.shared --lives 300 --seed 1``.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP, Signals
from typing import Any

import attrs
import msgspec
import orjson

from cdp_orders_async.emulator import Faults, running
from tests.campaigns.commands import Striking
from tests.campaigns.loads import READINGS, TIMEOUT, Figures, judged, served
from tests.campaigns.orders import orders, parts_of
from tests.campaigns.worker import Job, work
from tests.databases import running_server, stop_running_server

ROOT = Path(__file__).parents[2]
WORKERS = 2
LEASE = 2.0
"""Seconds: longer than a request, and short, so that the claims of a killed worker end soon."""


class Waking(Striking):
    """An emulator that lets a process sleep for longer than its claims last, or kills it."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 those of an emulator
        super().__init__(**options)
        self.struck = asyncio.Event()

    def strike(self) -> None:
        """Send the signal; a process that was stopped goes on later."""
        super().strike()
        self.struck.set()
        if self.signal is SIGSTOP:
            asyncio.get_running_loop().call_later(1.5 * LEASE, self.wake, self.pid)

    def wake(self, pid: int) -> None:
        """Let a process go on."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, SIGCONT)


class Worker:
    """A worker; when it was killed, another takes its place."""

    def __init__(self) -> None:
        """Start none yet."""
        self.process: Process | None = None
        self.killed = 0

    async def running(self) -> Process:
        """Return the process of the worker, which is alive."""
        if self.process is None or self.process.returncode is not None:
            command = (sys.executable, "-m", "tests.campaigns.worker")
            self.process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdin=PIPE, stdout=PIPE)
        return self.process

    async def do(self, job: Job) -> Counter[str]:
        """Do a job to its end, again from its start after each kill; return the verdicts of the last time."""
        while True:
            process = await self.running()
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(msgspec.json.encode(job) + b"\n")
            with contextlib.suppress(ConnectionError):
                await process.stdin.drain()
            if line := await process.stdout.readline():
                return Counter(orjson.loads(line))
            if (status := await process.wait()) != -SIGKILL:
                raise RuntimeError(f"a worker ended with status {status}")
            self.killed += 1

    async def close(self) -> None:
        """End the process."""
        if self.process is not None and self.process.stdin is not None:
            self.process.stdin.close()
            await self.process.wait()


@asynccontextmanager
async def workers() -> AsyncGenerator[list[Worker]]:
    """Give the workers for some lives."""
    made = [Worker() for _ in range(WORKERS)]
    try:
        yield made
    finally:
        for worker in made:
            await worker.close()


@attrs.frozen
class Life:
    """What became of one life."""

    figures: Figures
    killed: int
    slept: int
    verdicts: Counter[str]


async def lived(
    pair: list[Worker], dsn: str, seed: int, count: int = 3, hurts: Sequence[Signals] | None = None
) -> Life:
    """Let two workers load the same orders while they are hurt, by *hurts* or at random; then nothing is left to do."""
    draw = random.Random(seed)  # noqa: S311 (it chooses what goes wrong)
    reading = draw.choice(list(READINGS))
    graphs = orders(draw.randrange(1, count + 1), seed)
    emulator, began = served(reading, draw.choice((0, 0, 0.1)), seed, Waking), time.monotonic()
    most = min(max(2, parts_of(graphs).total() // 2), 40)
    killed, slept = sum(worker.killed for worker in pair), 0

    async def strike() -> None:
        nonlocal slept
        times = draw.choice((0, 1, 1, 2))
        for signal in [draw.choice((SIGKILL, SIGKILL, SIGSTOP)) for _ in range(times)] if hurts is None else hurts:
            emulator.signal = signal
            emulator.pid = (await draw.choice(pair).running()).pid
            emulator.struck.clear()
            emulator.left, emulator.after = draw.randrange(1, most), draw.uniform(0, 0.05)
            await emulator.struck.wait()
            slept += signal is SIGSTOP

    async with running(emulator) as base_url:
        job = Job(base_url, dsn, LEASE, READINGS[reading][1], TIMEOUT, seed, graphs)
        striking = asyncio.create_task(strike())
        jobs = [msgspec.structs.replace(job, seed=seed + number) for number in range(WORKERS)]
        counts = await asyncio.gather(*(worker.do(its) for worker, its in zip(pair, jobs, strict=True)))
        striking.cancel()
        await asyncio.wait({striking})
        emulator.left, emulator.faults = 0, Faults()
        last = await work(job)
    figures = judged(seed, graphs, emulator, 2, began, ended=last.keys() <= {"already"})
    return Life(figures, sum(worker.killed for worker in pair) - killed, slept, sum(counts, Counter[str]()))


async def main(lives: int, seed: int) -> int:
    """Live many lives; print each that lost or doubled something, and return 1 if one did."""
    server, began, bad = running_server(), time.monotonic(), 0
    total, verdicts = Counter[str](), Counter[str]()
    try:
        dsn = server.dsn(server.create_database())
        async with workers() as pair:
            for number in range(seed, seed + lives):
                life = await lived(pair, dsn, number)
                figures = life.figures
                total.update(
                    orders=figures.graphs,
                    parts=figures.parts,
                    requests=figures.requests,
                    killed=life.killed,
                    slept=life.slept,
                    lost=figures.lost,
                    doubled=figures.doubled,
                )
                verdicts.update(life.verdicts)
                if not figures.exact:
                    bad += 1
                    sys.stdout.write(f"--seed {number} --lives 1: {life}\n")
                    sys.stdout.flush()
    finally:
        stop_running_server()
    seconds = time.monotonic() - began
    sys.stdout.write(f"{lives} lives from seed {seed} in {seconds:.0f} s: {bad} with findings\n")
    sys.stdout.write(f"{dict(total)}\n{dict(verdicts)}\n")
    return int(bad > 0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("lives", 300), ("seed", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    raise SystemExit(asyncio.run(main(**vars(parser.parse_args()))))
