"""How ``rate="auto"`` does with limiters of many kinds: ``python benchmarks/limits.py [--quick] [--out DIR]``.

The whole client creates items over sockets, as fast as it may, on 32 connections; the emulator, in a process of its
own, has the limiter. Beside it stand a plain AIMD of some lines in the same place, and the exact limit as a rate that
is given by hand: the three at the same time, each with an emulator of its own. What is used of the limit, and what is
refused, counts after the first 40 seconds. What fails is not sent again, so that every call is one request. All takes
13 minutes.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from argparse import Namespace
from collections.abc import Mapping, Sequence
from typing import Literal

from governor import LATENCY, Conditions, loading
from harness import Point, Result, arguments, benchmark, result

from cdp_orders_async.emulator import Bucket, Concurrency, Limit, Queue, Window
from cdp_orders_async.session import Session

FIRST = 40.0
"""Seconds in which the rate is found."""
THEN = 30.0
"""Seconds that count."""
Way = Literal["auto", "aimd", "by hand"]
WAYS: Sequence[Way] = ("auto", "aimd", "by hand")
CASES: Mapping[str, tuple[Limit, float]] = {
    "fixed second": (Window(calls=50, seconds=1), 50),
    "sliding second": (Window(calls=50, seconds=1, sliding=True), 50),
    "20 s window": (Window(calls=600, seconds=20), 30),
    "bucket": (Bucket(rate=50, burst=50), 50),
    "bucket, resets": (Bucket(rate=50, burst=50, refusal="reset"), 50),
    "bucket, wait 1 s": (Bucket(rate=50, burst=50, retry_after=1), 50),
    "ban 5 s": (Bucket(rate=50, burst=50, ban=5), 50),
    "10 at once": (Concurrency(calls=10), 200),
    "queue, 504": (Queue(rate=20, gateway=1), 20),
    "5 times faster": (Bucket(rate=20, burst=20, steps=((20, 5),)), 100),
    "another tenant": (Bucket(rate=100, burst=100, steps=((10, 0.3),), repeat=20), 65),
}
"""Limiters, and the calls per second that each allows."""
UNBOUND = frozenset({"10 at once", "another tenant"})
"""Those for which no share is asked: the one lets through what latency makes of it, the other changes all the time."""


class Aimd:
    """Additive increase, multiplicative decrease: it doubles each second until the first refusal."""

    def __init__(self, session: Session) -> None:
        self._limiter = session.limiter
        self._clock = time.monotonic
        self._first = True
        self._cut_at = self._raised = self._clock()
        self._limiter.set_rate(10.0)

    def limiter(self, *, reads: bool) -> object:
        """Return the one limiter."""
        del reads
        return self._limiter

    def sent(self, *, reads: bool) -> None:
        """Do nothing."""

    def answered(self, seconds: float, *, reads: bool) -> None:
        """Raise the rate."""
        del seconds, reads
        rate, now = self._limiter.rate or 10.0, self._clock()
        gone, self._raised = now - self._raised, now
        self._limiter.set_rate(rate * 2**gone if self._first else rate + gone * max(0.5, 0.01 * rate))

    def refused(self, seconds: float, why: str, asked: float, *, reads: bool) -> None:
        """Lower the rate, once for a round trip."""
        del why, asked, reads
        now = self._clock()
        if now - seconds > self._cut_at:
            self._first, self._cut_at = False, now
            self._limiter.set_rate(max(0.5, 0.8 * (self._limiter.rate or 10.0)))


async def found(limit: Limit, most: float, way: Way, starting: asyncio.Lock) -> tuple[float, float]:
    """Return what is used of *most* calls a second, and the share of the calls that is refused."""
    async with contextlib.AsyncExitStack() as stack:
        async with starting:  # one after the other: a process that starts takes the core that the first call needs
            load = await stack.enter_async_context(loading(most if way == "by hand" else "auto", callers=0))
        if way == "aimd":
            setattr(load.cdp.session, "autorate", Aimd(load.cdp.session))  # noqa: B010 it is none for the types
        at_once = isinstance(limit, Concurrency)
        conditions = Conditions(limits=(limit,), latency=LATENCY if at_once else 0.0)
        began, end = await load.under(conditions, FIRST + THEN)
        used, refused = load.seen(began + FIRST, end)
    return used / most, refused


async def measure(options: Namespace) -> tuple[Sequence[Result], Sequence[Point]]:
    """Measure everything; quickly: three limiters."""
    results: list[Result] = []
    points: list[Point] = []
    names = ["bucket", "bucket, resets", "queue, 504"] if options.quick else list(CASES)
    for x, name in enumerate(names):
        limit, most = CASES[name]
        starting = asyncio.Lock()
        shares = await asyncio.gather(*(found(limit, most, way, starting) for way in WAYS))
        for way, (used, refused) in zip(WAYS, shares, strict=True):
            asked = way == "auto" and name not in UNBOUND
            results += [
                result("R7" if asked else "", f"{name}: {way}, used", [used], "", 0.85 if asked else None),
                result("R7" if asked else "", f"{name}: {way}, refused", [refused], "", most=0.02 if asked else None),
            ]
            points += [
                Point("limits", f"{name}|{way}|{what}", x, share, share, share)
                for what, share in (("used", used), ("refused", refused))
            ]
    return results, points


if __name__ == "__main__":
    benchmark(measure, arguments(__doc__))
