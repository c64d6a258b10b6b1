"""The automatic rate at limiters of every kind: ``python -m tests.campaigns.limits --seeds 1 2 --orders 600``."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence

from cdp_orders_async import Verdict
from cdp_orders_async.emulator import Bucket, Limit, Queue, Window
from tests.campaigns.run import say
from tests.ingest.orders import count, whole
from tests.ingest.test_limits import begun, limited, session_to
from tests.limited import World
from tests.pacing.test_autorate import CASES, MINUTE, NOISE, Case, bucket
from tests.virtual import VirtualLoop, run

USED = 0.85
"""The share of a limit that must be used."""
PAUSED = 0.6
"""The same where the server makes long pauses."""
LONG = 10.0
"""Seconds of a pause that is long."""
OF_CARELESS = 0.9
"""The share of the calls of a client without a rate that must be made where no limit is."""
TIMES = 3.0
"""How many times the ideal time a load may take whose server answers nothing, or too late, above its limit."""
QUOTA = 4 * 3600.0
"""Seconds of a long quota."""
HAND = {"45/s by hand": (45.0, 45.0), "100/s by hand": (100.0, 50.0)}
"""Rates that are given by hand, and what a limit of 50 a second lets through of each."""


class Table:
    """The rows that are printed."""

    wrong = 0

    def row(self, name: str, seed: int, *bounds: tuple[float, float, float]) -> None:
        """Print a row: figures with the least and the most that each must be, and whether all are."""
        met = all(least <= value <= most for value, least, most in bounds)
        self.wrong += not met
        texts = list[str]()
        for value, least, most in bounds:
            bound = f">= {least:g}" if least > 0 else f"<= {most:g}" if most < math.inf else "-"
            texts += [f"{value:g}" if value == int(value) else f"{value:.3f}", bound]
        say(f"  {name}", seed, *texts, "yes" if met else "NO")


def asked(case: Case) -> float:
    """Return the share of the limit that must be used."""
    paused = any(limit.ban or (limit.retry_after or 0) > LONG for limit in case.limits)
    return max(case.used, PAUSED if paused else USED)


def calls(table: Table, seeds: Sequence[int]) -> None:
    """Call each server as fast as the rate lets through."""
    say("\nCalls after the first minute", "seed", "used", "asked", "refused", "at most", "met")
    for name, case in CASES.items():
        for seed in seeds:
            good, refused = World(case.limits, seed=seed, **case.world).run(case.until).seen(MINUTE, case.until)
            table.row(name, seed, (good / case.most, asked(case), math.inf), (refused, 0.0, case.refused))
    apart = (bucket(methods=("POST",)), bucket(rate=5, burst=5, methods=("GET",)))
    for seed in seeds:
        world = World(apart, reads=32, seed=seed).run(300)
        for name, reads, most in (("writes", False, 50.0), ("reads", True, 5.0)):
            good, refused = world.seen(MINUTE, 300, reads=reads)
            table.row(f"50 writes and 5 reads: {name}", seed, (good / most, USED, math.inf), (refused, 0.0, 0.02))
    for name, (rate, most) in HAND.items():
        for seed in seeds:
            good, refused = World((bucket(burst=5),), most=rate, seed=seed).run(300).seen(MINUTE, 300)
            table.row(f"50/s, {name}", seed, (good / most, USED, math.inf), (refused, 0.0, 0.02))


def noise(table: Table, seeds: Sequence[int]) -> None:
    """Call servers without a limit."""
    say("\nNoise: calls / those without a rate", "seed", "made", "asked", "met")
    for name, world in NOISE.items():
        for latency in (0.1, 0.2):
            for seed in seeds:
                made, careless = (
                    World(latency=latency, connections=20, governed=governed, seed=seed, **world)
                    .run(120)
                    .seen(MINUTE, 120)[0]
                    for governed in (True, False)
                )
                table.row(f"{name}, {latency} s away", seed, (made / careless, OF_CARELESS, math.inf))


def loads(table: Table, seeds: Sequence[int], orders: int) -> None:
    """Load orders into each server, whose answers are all equally far away."""
    say(f"\nLoads of {orders} orders", "seed", "loaded", "asked", "x ideal", "at most", "met")
    for name, case in CASES.items():
        if not case.world:
            for seed in seeds:
                load(table, name, case.limits, case.most, orders, seed)
    for seed in seeds:
        apart = (bucket(methods=("POST",)), bucket(rate=5, burst=5, methods=("GET",)))
        load(table, "50 writes and 5 reads, looked for first", apart, 50, orders, seed)
        load(table, "a quota of 1000 in four hours", (Window(calls=1000, seconds=QUOTA),), 1000 / QUOTA, orders, seed)


def load(table: Table, name: str, limits: Sequence[Limit], most: float, orders: int, seed: int) -> None:
    """Load so many orders; *most* are the calls a second that the limits allow."""

    async def main(loop: VirtualLoop) -> tuple[int, float]:
        emulator = limited(loop, *limits)
        session = session_to(emulator, loop, seed)
        begin = begun(session, loop, orders=orders, look_first=name.endswith("looked for first"))
        await begin.run()
        took = loop.time()
        await begin.aclose()
        await session.aclose()
        emulator.waiting.finish()
        return begin.counts.get(Verdict.LOADED, 0), took

    loaded, took = run(main)
    ideal = orders * count([whole()]) / most
    bounded = all((isinstance(limit, Queue) and limit.gateway) or is_reset(limit) for limit in limits)
    table.row(name, seed, (loaded, orders, math.inf), (took / ideal, 0.0, TIMES if bounded else math.inf))


def is_reset(limit: Limit) -> bool:
    """Tell whether a limit resets each connection above it, and bans nobody."""
    return isinstance(limit, Bucket) and limit.refusal == "reset" and not limit.ban


def main(seeds: Sequence[int], orders: int) -> int:
    """Print the table; return 1 if a bound is not met."""
    table = Table()
    calls(table, seeds)
    noise(table, seeds)
    loads(table, seeds, orders)
    say(f"\n{table.wrong} rows are not within their bounds")
    return int(table.wrong > 0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--orders", type=int, default=600)
    raise SystemExit(main(**vars(parser.parse_args())))
