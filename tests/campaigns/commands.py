"""Loads by the command that are hurt at random moments, each with one journal until everything is loaded."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sys
import time
from asyncio.subprocess import PIPE
from pathlib import Path
from signal import SIGKILL, SIGUSR1, Signals

import attrs
import orjson

from cdp_orders_async.emulator import Emulator, running
from cdp_orders_async.emulator.service import Endpoint
from tests import ways
from tests.campaigns.loads import MOST_RUNS, READINGS, TIMEOUT, Figures, judged, served
from tests.campaigns.orders import edit, orders, parts_of

ROOT = Path(__file__).parents[2]
IN_FLIGHT = 8
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


class Striking(Emulator):
    """An emulator that, when so many more requests have come, sends a signal to who sends them."""

    left = 0
    pid = 0
    signal: Signals | None = None
    after = 0.0
    """Seconds from that request to the signal."""

    def find(self, method: str, path: str) -> tuple[Endpoint, list[str]]:
        """Count a request."""
        self.left -= 1
        if self.left == 0:
            asyncio.get_running_loop().call_later(self.after, self.strike)
        return super().find(method, path)

    def strike(self) -> None:
        """Send the signal, unless the process has ended."""
        if self.signal is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, self.signal)


async def hurt(
    how: str, times: int, reading: str, count: int, chance: float, seed: int, folder: Path
) -> tuple[Figures, list[tuple[int | None, str]]]:
    """Load orders under faults and hurt the command several times; return also how each run ended and what it said.

    After each of these times some orders are edited, and what is there is to be updated.
    """
    graphs, emulator, began = orders(count, seed), served(reading, chance, seed, Striking), time.monotonic()
    edits = 0
    most = 2 * parts_of(graphs).total() // (times + 1)
    draw = random.Random(seed)  # noqa: S311 (it chooses moments)
    run, signal = HURTS[how]
    environ = {**os.environ, "CDP_HTTP": ways.chosen}
    ends: list[tuple[int | None, str]] = []
    async with running(emulator) as base_url:
        options = f"load {folder}/orders.jsonl --journal {folder}/journal.sqlite --settle {READINGS[reading][1]}"
        options += f" --base-url {base_url} --client-key key --api-token token"
        timeout = TIMEOUT if chance else 60  # without faults, only a slow machine could pass a short one
        options += f" --connections {IN_FLIGHT} --rate none --timeout {timeout} --on-existing update"
        while len(ends) <= times or (ends[-1][0] != 0 and len(ends) < times + MOST_RUNS):
            hurting = len(ends) < times
            (folder / "orders.jsonl").write_bytes(b"\n".join(map(orjson.dumps, graphs)))
            process = await asyncio.create_subprocess_exec(
                *(run if hurting else COMMAND), *options.split(), cwd=ROOT, env=environ, stdout=PIPE, stderr=PIPE
            )
            emulator.left = draw.randrange(1, most) if hurting else 0
            emulator.pid, emulator.signal, emulator.after = process.pid, signal, draw.uniform(0, 0.01)
            _, said = await process.communicate()
            ends.append((process.returncode, said.decode()))
            for graph in draw.sample(graphs, len(graphs) // 5) if hurting else ():
                edit(graph, draw)
                edits += 1
    figures = judged(seed, graphs, emulator, len(ends), began, ended=ends[-1][0] == 0)
    return attrs.evolve(figures, edits=edits), ends
