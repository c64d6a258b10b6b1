"""P1 and P2: what one typed create costs, next to raw HTTP clients and to other SDKs.

P1: against raw aiohttp, in one process, and against the others, each in a process of its own.
P2: against raw httpx, also with 256 connections to a server that takes 100 ms.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack

from harness import HERE, Point, Result, Server, arguments, cpu, hammer, interleaved, ratios, serving, tell
from peers import PEERS

OURS = "cdp-orders-async"
RAW = ("aiohttp, raw", "httpx, raw")
IN_FLIGHT = 16


async def in_one_process(server: Server, rounds: int) -> list[Result]:
    """Compare with raw aiohttp in rounds of 320 calls."""
    async with AsyncExitStack() as stack:
        variants = {"raw": RAW[0], "raw again": RAW[0], "typed": OURS}
        batches = {
            variant: hammer(await PEERS[peer](server.url, IN_FLIGHT, stack), IN_FLIGHT, 20)
            for variant, peer in variants.items()
        }
        costs = await interleaved(batches, rounds)
    raw = cpu(costs["raw"])
    what = f"{IN_FLIGHT} in flight"
    return [
        Result.of("P1", f"CPU of a typed create / raw aiohttp, {what}", ratios(cpu(costs["typed"]), raw), most=1.25),
        Result.of("", f"control: raw aiohttp / raw aiohttp, {what}", ratios(cpu(costs["raw again"]), raw)),
        Result.of("", f"CPU of a typed create, {what}", cpu(costs["typed"]), "us"),
        Result.of("", f"CPU of raw aiohttp, {what}", raw, "us"),
    ]


async def of_each(
    server: Server, peers: Sequence[str], in_flight: int, calls: int, rounds: int
) -> dict[str, list[float]]:
    """Return the CPU of one call in microseconds, round by round, each peer in a process of its own."""
    found: dict[str, list[float]] = {peer: [] for peer in peers}
    script = str(HERE / "peers.py")
    for _ in range(rounds):
        for peer in peers:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                script,
                peer,
                server.url,
                str(in_flight),
                str(calls),
                stdout=asyncio.subprocess.PIPE,
            )
            printed, _ = await process.communicate()
            if process.returncode:
                raise SystemExit(f"{peer} failed")
            found[peer].append(float(printed))
    return found


def compared(found: dict[str, list[float]], what: str, least: dict[str, float]) -> list[Result]:
    """Return how many times our CPU each peer takes; *least* says what is asked, for those of which it is."""
    return [
        Result.of(
            "P2" if peer in RAW else "P1" if peer in least else "",
            f"CPU of {peer} / a typed create, {what}",
            ratios(costs, found[OURS]),
            least=least.get(peer),
        )
        for peer, costs in found.items()
        if peer != OURS
    ]


async def main() -> None:
    """Measure and tell."""
    options = arguments(__doc__).parse_args()
    quick: bool = options.quick
    async with serving() as server:
        results = await in_one_process(server, 8 if quick else 40)
        found = await of_each(server, list(PEERS), IN_FLIGHT, 400 if quick else 2000, 2 if quick else 7)
    sdks = dict.fromkeys((peer for peer in PEERS if peer not in {OURS, *RAW, "httpx + pydantic"}), 3.0)
    results += compared(found, f"{IN_FLIGHT} in flight", {**sdks, "httpx, raw": 8})
    costs = [Result.of("", peer, values) for peer, values in found.items()]
    points = [Point("cost", one.what, n, one.value, one.low, one.high) for n, one in enumerate(costs)]
    async with serving(0.1) as server:
        found = await of_each(server, (OURS, *RAW), 256, 512 if quick else 2560, 1 if quick else 3)
    results += compared(found, "256 in flight, 100 ms", {"httpx, raw": 20})
    tell("calls", options.out, results, points)


if __name__ == "__main__":
    asyncio.run(main())
