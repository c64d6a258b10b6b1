"""P5: whether the rate limiter grants what it is asked for, never more, and in the order of asking."""

from __future__ import annotations

import asyncio
import bisect
import itertools
import time
from argparse import Namespace
from collections.abc import Callable

import uvloop
from harness import Point, Result, arguments, benchmark, result

from cdp_orders_async import Limiter

RATES, WAITERS = (50, 500, 5000), 256


async def granted(rate: int, seconds: float) -> tuple[list[float], int]:
    """Return when each call was granted, and how many came before one that had asked earlier."""
    limiter, numbers = Limiter(rate), itertools.count()
    grants: list[tuple[float, int]] = []

    async def work() -> None:
        while True:
            number = next(numbers)
            await limiter.acquire()
            grants.append((time.monotonic(), number))

    workers = [asyncio.ensure_future(work()) for _ in range(WAITERS)]
    await asyncio.sleep(seconds)
    for worker in workers:
        worker.cancel()
    await asyncio.wait(workers)
    return [when for when, _ in grants], sum(one > other for (_, one), (_, other) in itertools.pairwise(grants))


def run(rate: int, seconds: float, loop: Callable[[], asyncio.AbstractEventLoop]) -> tuple[float, float, float, float]:
    """Return percent of *rate* achieved, grants in the fullest second, grants out of order, and CPU of a grant."""
    before = time.process_time()
    with asyncio.Runner(loop_factory=loop) as runner:
        times, early = runner.run(granted(rate, seconds))
    cpu = (time.process_time() - before) / len(times) * 1e6
    steady = times[bisect.bisect(times, times[0] + seconds / 4) :]
    share = (len(steady) - 1) / (steady[-1] - steady[0]) / rate * 100
    return share, max(n + 1 - bisect.bisect(times, when - 1) for n, when in enumerate(times)), early, cpu


async def measure(options: Namespace) -> tuple[list[Result], list[Point]]:
    """Measure everything; each run has an event loop of its own, and so a thread."""
    seconds, rounds = (2.0, 1) if options.quick else (4.0, 3)
    results: list[Result] = []
    points: list[Point] = []
    for name, loop in {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}.items():
        for rate in RATES:
            runs = [await asyncio.to_thread(run, rate, seconds, loop) for _ in range(rounds)]
            shares, fullest, early, costs = map(list, zip(*runs, strict=True))
            what = f"asked {rate}/s on {name}"
            results += [
                share := result("P5", f"{what}: rate achieved", shares, "%", 99, 100.5),
                result("P5", f"{what}: most in any second", fullest, "", most=1.01 * rate + 2),
                result("P5", f"{what}: out of order", early, "", most=0),
                result("", f"{what}: CPU of a grant", costs, "us"),
            ]
            points.append(Point("rate", name, rate, share.value, share.low, share.high))
    return results, points


if __name__ == "__main__":
    benchmark(measure, arguments(__doc__))
