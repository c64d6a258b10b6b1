"""P1 and P2: what one typed create costs, next to raw HTTP clients and to other SDKs.

Over aiohttp, as the settings come, and over connections of the package's own (``http="httptools"``).

P1: against raw aiohttp in one process, and that in several, since how memory happens to lie makes a process fast or
slow as long as it lives; and against the SDKs, each in a process of its own. In the same rounds, where the rest goes:
what one attempt over aiohttp takes, and what each layer above it adds.
P2: against raw httpx, also with 256 connections to a server that takes 100 ms.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
import sys
import time
from argparse import Namespace
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from contextlib import AsyncExitStack
from multiprocessing import get_context

from harness import (
    HERE,
    Call,
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
from peers import NEW, ORDERS, PEERS, client

from cdp_orders_async import Credentials, NewOrderItem, Request
from cdp_orders_async.session import Timings
from cdp_orders_async.session.backends.aiohttp import AiohttpBackend

OURS = {"typed": "cdp-orders-async", "typed over httptools": "cdp-orders-async, httptools"}
RAW, HTTPX, IN_FLIGHT = "raw aiohttp", "raw httpx", 16
SDKS = [peer for peer in PEERS if peer not in {*OURS.values(), RAW, HTTPX, "httpx + pydantic"}]
LAYERS = ("one attempt over aiohttp", "retries, rate, connections", "reading the answer")


async def layers(url: str, stack: AsyncExitStack) -> dict[str, Call]:
    """Return the typed create without its upper layers: each does what the one before does, and one thing more."""
    cdp = await stack.enter_async_context(client(url, IN_FLIGHT, 100_000))
    http = AiohttpBackend(url, Credentials("key", "token"), cdp.session.settings, None, (), time.monotonic)
    stack.push_async_callback(http.aclose)
    await http.open()
    times = Timings()
    ready = [cdp.items.to_create(order, NewOrderItem(**NEW)) for order in ORDERS]
    unread = itertools.cycle([Request(one.operation, one.method, one.path, bytes, body=one.body) for one in ready])
    requests = itertools.cycle(ready)
    calls: tuple[Call, ...] = (
        lambda: http.send_once(next(unread), "number", 60, times),
        lambda: cdp.session.send(next(unread)),
        lambda: cdp.session.send(next(requests)),
    )
    return dict(zip(LAYERS, calls, strict=True))


async def side_by_side(url: str, rounds: int) -> Rounds:
    """Return the CPU of our call, of raw aiohttp and of our layers, in rounds of 320 calls."""
    variants = {"typed": OURS["typed"], "raw aiohttp": RAW, "raw again": RAW, **OURS}
    async with AsyncExitStack() as stack:
        calls = {variant: await PEERS[peer](url, IN_FLIGHT, stack) for variant, peer in variants.items()}
        calls |= await layers(url, stack)
        cpu, _ = await interleaved({name: hammer(call, IN_FLIGHT, 20) for name, call in calls.items()}, rounds)
    return cpu


def in_a_process(url: str, rounds: int) -> Rounds:
    """Do `side_by_side` in the process that this is called in."""
    return asyncio.run(side_by_side(url, rounds))


async def against_raw(url: str, processes: int, rounds: int) -> tuple[list[Result], list[Point]]:
    """Compare with raw aiohttp, and tell what each layer adds."""
    cpu: Rounds = {}
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as pool:
        for _ in range(processes):
            found = await asyncio.get_running_loop().run_in_executor(pool, in_a_process, url, rounds)
            for variant, costs in found.items():
                cpu.setdefault(variant, []).extend(costs)
    what = f"CPU of a create, {IN_FLIGHT} in flight"
    results, points = compared("P1", what, cpu, "us", most=1.25), list[Point]()
    own = "typed over httptools"
    results.append(result("P1", f"{what}: {own} / {RAW}", ratios(cpu[own], cpu[RAW]), "x", most=1.25))
    results.append(result("", f"{what}: {own}", cpu[own], "us"))
    below = [0.0] * len(cpu["typed"])
    for n, layer in enumerate((*LAYERS, "checking and writing")):
        costs = cpu.get(layer, cpu["typed"])
        more = [one - other for one, other in zip(costs, below, strict=True)]
        added = result("", f"{what}: of it, {layer}", more, "us")
        results.append(added)
        points.append(Point("layers", layer, n, added.value, added.low, added.high))
        below = costs
    points.append(Point("layers", RAW, len(points), *(statistics.median(cpu["raw aiohttp"]),) * 3))
    return results, points


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
            f"CPU of a create, {what}: {peer} / {typed}",
            ratios(costs, found[ours]),
            "x",
            least.get(peer),
        )
        for typed, ours in OURS.items()
        for peer, costs in found.items()
        if peer not in OURS.values()
    ]


async def measure(options: Namespace) -> tuple[list[Result], list[Point]]:
    """Measure everything."""
    quick: bool = options.quick
    async with serving() as url:
        results, points = await against_raw(url, 4 if quick else 12, 6)
        found = await of_each(url, PEERS, IN_FLIGHT, 400 if quick else 2000, 2 if quick else 7)
    results += judged(found, f"{IN_FLIGHT} in flight", {**dict.fromkeys(SDKS, 3.0), HTTPX: 8})
    costs = [result("", peer, rounds, "us") for peer, rounds in found.items()]
    points += [Point("cost", one.what, n, one.value, one.low, one.high) for n, one in enumerate(costs)]
    async with serving(0.1) as url:
        found = await of_each(url, (*OURS.values(), RAW, HTTPX), 256, 512 if quick else 2560, 1 if quick else 3)
    results += judged(found, "256 in flight, 100 ms", {HTTPX: 20})
    return results, points


if __name__ == "__main__":
    benchmark(measure, arguments(__doc__))
