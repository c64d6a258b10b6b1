"""P1 and P2: what one typed create costs, next to raw HTTP clients and to other SDKs.

P1: against raw aiohttp in one process, and that in several, since how memory happens to lie makes a process fast or
slow as long as it lives; and against the SDKs, each in a process of its own.
P2: against raw httpx, also with 256 connections to a server that takes 100 ms.
"""

from __future__ import annotations

import asyncio
import sys
from argparse import Namespace
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from contextlib import AsyncExitStack
from multiprocessing import get_context

from harness import (
    HERE,
    Point,
    Result,
    Rounds,
    arguments,
    benchmark,
    compared,
    hammer,
    interleaved,
    ratios,
    result,
    serving,
)
from peers import PEERS

OURS, RAW, HTTPX, IN_FLIGHT = "cdp-orders-async", "raw aiohttp", "raw httpx", 16
SDKS = [peer for peer in PEERS if peer not in {OURS, RAW, HTTPX, "httpx + pydantic"}]


async def side_by_side(url: str, rounds: int) -> Rounds:
    """Return the CPU of our call and of raw aiohttp in rounds of 320 calls."""
    variants = {"typed": OURS, "raw aiohttp": RAW, "raw again": RAW}
    async with AsyncExitStack() as stack:
        batches = {
            variant: hammer(await PEERS[peer](url, IN_FLIGHT, stack), IN_FLIGHT, 20)
            for variant, peer in variants.items()
        }
        cpu, _ = await interleaved(batches, rounds)
    return cpu


def in_a_process(url: str, rounds: int) -> Rounds:
    """Do `side_by_side` in the process that this is called in."""
    return asyncio.run(side_by_side(url, rounds))


async def against_raw(url: str, processes: int, rounds: int) -> list[Result]:
    """Compare with raw aiohttp."""
    cpu: Rounds = {}
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as pool:
        for _ in range(processes):
            found = await asyncio.get_running_loop().run_in_executor(pool, in_a_process, url, rounds)
            for variant, costs in found.items():
                cpu.setdefault(variant, []).extend(costs)
    return compared("P1", f"CPU of a create, {IN_FLIGHT} in flight", cpu, "us", most=1.25)


async def of_each(url: str, peers: Iterable[str], in_flight: int, calls: int, rounds: int) -> Rounds:
    """Return the CPU of one call in microseconds, each peer in a process of its own."""
    found: Rounds = {peer: [] for peer in peers}
    for _ in range(rounds):
        for peer, costs in found.items():
            command = (sys.executable, str(HERE / "peers.py"), peer, url, str(in_flight), str(calls))
            process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
            printed, _ = await process.communicate()
            if process.returncode:
                raise SystemExit(f"{peer} failed")
            costs.append(float(printed))
    return found


def judged(found: Rounds, what: str, least: dict[str, float]) -> list[Result]:
    """Return how many times our CPU each peer takes; *least* says what is asked."""
    return [
        result(
            "" if peer not in least else "P2" if peer == HTTPX else "P1",
            f"CPU of a create, {what}: {peer} / typed",
            ratios(costs, found[OURS]),
            "x",
            least.get(peer),
        )
        for peer, costs in found.items()
        if peer != OURS
    ]


async def measure(options: Namespace) -> tuple[list[Result], list[Point]]:
    """Measure everything."""
    quick: bool = options.quick
    async with serving() as url:
        results = await against_raw(url, 4 if quick else 12, 6)
        found = await of_each(url, PEERS, IN_FLIGHT, 400 if quick else 2000, 2 if quick else 7)
    results += judged(found, f"{IN_FLIGHT} in flight", {**dict.fromkeys(SDKS, 3.0), HTTPX: 8})
    costs = [result("", peer, rounds, "us") for peer, rounds in found.items()]
    points = [Point("cost", one.what, n, one.value, one.low, one.high) for n, one in enumerate(costs)]
    async with serving(0.1) as url:
        found = await of_each(url, (OURS, RAW, HTTPX), 256, 512 if quick else 2560, 1 if quick else 3)
    results += judged(found, "256 in flight, 100 ms", {HTTPX: 20})
    return results, points


if __name__ == "__main__":
    benchmark(measure, arguments(__doc__))
