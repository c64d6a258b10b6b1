"""P5: whether the rate limiter grants what it is asked for, never more, and in the order of asking."""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from collections.abc import Callable
from importlib import import_module

from harness import Point, Result, arguments, cpu, hammer, interleaved, pin, ratios, tell

from cdp_orders_async import Limiter

RATES = (50, 500, 5000)
WAITERS = 256


async def grants(rate: int, seconds: float) -> tuple[list[float], int]:
    """Return when each call was granted, and how many were granted before one that had asked earlier."""
    limiter = Limiter(rate)
    numbers = itertools.count()
    granted: list[tuple[float, int]] = []

    async def work() -> None:
        while True:
            number = next(numbers)
            await limiter.acquire()
            granted.append((time.monotonic(), number))

    workers = [asyncio.ensure_future(work()) for _ in range(WAITERS)]
    await asyncio.sleep(seconds)
    for worker in workers:
        worker.cancel()
    await asyncio.wait(workers)
    early = sum(one > other for (_, one), (_, other) in itertools.pairwise(granted))
    return [when for when, _ in granted], early


def most_in_a_second(times: list[float]) -> int:
    """Return how many grants fell into the fullest second."""
    most = first = 0
    for last, when in enumerate(times):
        while times[first] <= when - 1:
            first += 1
        most = max(most, last - first + 1)
    return most


def rates(loop: str, factory: Callable[[], asyncio.AbstractEventLoop] | None, seconds: float, rounds: int) -> tuple[list[Result], list[Point]]:
    """Measure on one kind of event loop."""
    results: list[Result] = []
    points: list[Point] = []
    for rate in RATES:
        shares: list[float] = []
        fullest: list[float] = []
        inversions: list[float] = []
        costs: list[float] = []
        for _ in range(rounds):
            before = time.process_time()
            with asyncio.Runner(loop_factory=factory) as runner:
                times, early = runner.run(grants(rate, seconds))
            costs.append((time.process_time() - before) / len(times) * 1e6)
            steady = [when for when in times if when >= times[0] + seconds / 4]
            shares.append((len(steady) - 1) / (steady[-1] - steady[0]) / rate * 100)
            fullest.append(most_in_a_second(times))
            inversions.append(early)
        share = Result.of("P5", f"rate achieved, asked {rate}/s, {loop}", shares, "%", least=99, most=100.5)
        results += [
            share,
            Result.of("P5", f"most in any second, asked {rate}/s, {loop}", fullest, "", most=1.01 * rate + 2),
            Result.of("P5", f"granted out of order, asked {rate}/s, {loop}", inversions, "", most=0),
            Result.of("", f"CPU of a grant, asked {rate}/s, {loop}", costs, "us"),
        ]
        points.append(Point("rate", loop, rate, share.value, share.low, share.high))
    return results, points


async def uncontended(rounds: int) -> list[Result]:
    """Compare a call that need not wait with aiolimiter's."""
    ours, theirs = Limiter(1e9, burst=10**9), import_module("aiolimiter").AsyncLimiter(1e9, 1)
    batches = {"ours": hammer(ours.acquire, 1, 5000), "theirs": hammer(theirs.acquire, 1, 5000)}
    costs = await interleaved(batches, rounds)
    return [
        Result.of("P5", "CPU of a grant at once / aiolimiter", ratios(cpu(costs["ours"]), cpu(costs["theirs"])), most=0.5),
        Result.of("", "CPU of a grant at once", cpu(costs["ours"]), "us"),
    ]


def main() -> None:
    """Measure and tell."""
    options = arguments(__doc__).parse_args()
    pin()
    seconds, rounds = (2.0, 1) if options.quick else (4.0, 3)
    results, points = rates("asyncio", None, seconds, rounds)
    if sys.platform != "win32":
        import uvloop  # noqa: PLC0415 not everywhere

        more, more_points = rates("uvloop", uvloop.new_event_loop, seconds, rounds)
        results += more
        points += more_points
    results += asyncio.run(uncontended(10 if options.quick else 40))
    tell("limiter", options.out, results, points)


if __name__ == "__main__":
    main()
