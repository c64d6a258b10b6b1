"""Loads by the command that are hurt at random moments, each with one journal until everything is loaded."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import Callable
from functools import partial
from pathlib import Path
from signal import SIGKILL, SIGUSR1, Signals

import orjson

from cdp_orders_async.emulator import Emulator, Faults, running
from cdp_orders_async.emulator.service import Endpoint
from tests.campaigns.loads import MOST_RUNS, READINGS, TIMEOUT, Figures, every_fault, judged
from tests.campaigns.orders import orders, parts_of

ROOT = Path(__file__).parents[2]
CONNECTIONS = 8
COMMAND = (sys.executable, "-m", "cdp_orders_async")
READ_ONLY = """
import os, signal, sys
from cdp_orders_async.__main__ import main
def remount(*_):
    log = os.open(sys.argv[sys.argv.index("--journal") + 1] + "-wal", os.O_RDONLY)
    for fd in range(3, log):
        try:
            if os.path.sameopenfile(fd, log):
                os.dup2(log, fd)
        except OSError:  # it is not open
            pass
signal.signal(signal.SIGUSR1, remount)
sys.exit(main())
"""
HURTS: dict[str, tuple[tuple[str, ...], Signals | None]] = {
    "killed": (COMMAND, SIGKILL),
    "disk full": (("sh", "-c", 'ulimit -f 300; exec "$0" "$@"', *COMMAND), None),
    "read-only": ((sys.executable, "-c", READ_ONLY), SIGUSR1),
}
"""What happens to the command: how it is run, and which signal it gets in the middle."""


class Watched(Emulator):
    """An emulator that does something when so many more requests have come."""

    left = 0
    ring: Callable[[], object]

    def find(self, method: str, path: str) -> tuple[Endpoint, list[str]]:
        """Count a request."""
        self.left -= 1
        if self.left == 0:
            self.ring()
        return super().find(method, path)


async def hurt(
    how: str, times: int, reading: str, count: int, chance: float, seed: int, folder: Path
) -> tuple[Figures, list[tuple[int | None, str]]]:
    """Load orders under faults and hurt the command several times; return also how each run ended and what it said."""
    (switches, settle), graphs, began = READINGS[reading], orders(count, seed), time.monotonic()
    most = 2 * parts_of(graphs).total() // (times + 1)
    (folder / "orders.jsonl").write_bytes(b"\n".join(map(orjson.dumps, graphs)))
    run, signal = HURTS[how]
    draw, loop = random.Random(seed), asyncio.get_running_loop()  # noqa: S311 (it chooses moments)
    emulator = Watched(switches=switches, faults=Faults.of({"seed": seed, "faults": every_fault(chance)}))
    ends: list[tuple[int | None, str]] = []
    async with running(emulator) as base_url:
        options = f"--base-url {base_url} --client-key key --api-token token --journal {folder / 'journal.sqlite'}"
        options += f" --connections {CONNECTIONS} --timeout {TIMEOUT} --settle {settle}"
        for number in range(times + MOST_RUNS):
            arguments = ("load", str(folder / "orders.jsonl"), *options.split())
            process = await asyncio.create_subprocess_exec(
                *(run if number < times else COMMAND), *arguments, cwd=ROOT, stdout=PIPE, stderr=PIPE
            )

            def strike(pid: int = process.pid) -> None:
                if signal is not None:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal)

            if number < times:
                emulator.left = draw.randrange(1, most)
                emulator.ring = partial(loop.call_later, draw.uniform(0, 0.01), strike)
            _, said = await process.communicate()
            ends.append((process.returncode, said.decode()))
            if process.returncode == 0:
                break
    return judged(f"{how}: {reading}", seed, graphs, emulator, len(ends), began), ends
