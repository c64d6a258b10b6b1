"""A server with a limit of its own, and a client with a governor, in virtual time."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import attrs

from cdp_orders_async.limiter import Limiter, Slots
from cdp_orders_async.session.governor import Governor
from tests.virtual import VirtualLoop

MOST = 40


@attrs.define
class Server:
    """Answers after 50 to 100 ms, and refuses what its token bucket has no token for."""

    loop: VirtualLoop
    rate: float = math.inf
    burst: int = 1
    window: float = 0.0
    """Where it is above 0: the seconds of which each has its own number of calls, in place of the bucket."""
    on_the_way: bool = False
    """Whether the time differs on the way there too, so that calls do not come as evenly as they were sent."""
    failing: float = 0.0
    """The chance that it refuses a call whatever the bucket holds."""
    losing: float = 0.0
    """The chance that a call gets no answer at all."""
    timeout: float = 2.0
    """Seconds for which a client waits for an answer."""
    slowness: float = 1.0
    """How many times longer an answer takes."""
    at_once: int = 10**9
    """How many calls it works on; others wait for those."""
    seed: int = 0

    calls: list[tuple[float, bool]] = attrs.field(factory=list[tuple[float, bool]])
    """When each call came and whether it was good."""
    busy: int = 0
    """How many calls there are."""
    _random: random.Random = attrs.field(init=False)
    _desks: asyncio.Semaphore = attrs.field(init=False)
    _tokens: float = 0.0
    _filled: float = 0.0

    def __attrs_post_init__(self) -> None:
        self._random = random.Random(self.seed)  # noqa: S311 - not for secrets
        self._desks = asyncio.Semaphore(self.at_once)

    async def answer(self) -> bool:
        """Answer a call: whether it is good."""
        seconds = self._random.uniform(0.05, 0.1) * self.slowness
        there = seconds / 2 if self.on_the_way else 0.025
        self.busy += 1
        try:
            await asyncio.sleep(there)
            if self._random.random() < self.losing:
                self.calls.append((self.loop.time(), False))
                await asyncio.sleep(self.timeout - there)
                return False
            async with self._desks:
                good = self._random.random() >= self.failing and self._admits()
                self.calls.append((self.loop.time(), good))
                await asyncio.sleep(seconds - there)
        finally:
            self.busy -= 1
        return good

    def _admits(self) -> bool:
        if self.rate == math.inf:
            return True
        now = self.loop.time()
        if self.window:
            if now // self.window > self._filled // self.window:
                self._tokens = self.rate * self.window
        else:
            self._tokens = min(self.burst, self._tokens + (now - self._filled) * self.rate)
        self._filled = now
        if self._tokens < 1 - 1e-9:
            return False
        self._tokens -= 1
        return True

    def seen(self, since: float, until: float) -> tuple[float, float]:
        """Return how many good calls a second there were in that time, and the share of the calls that were refused."""
        found = [good for when, good in self.calls if since <= when < until]
        return sum(found) / (until - since), 1 - sum(found) / max(1, len(found))


@attrs.define
class Client:
    """Calls a server as fast as it may, with a governor or with fixed slots."""

    server: Server
    governed: bool = True
    connections: int = MOST
    limiter: Limiter = attrs.field(init=False)
    slots: Slots = attrs.field(init=False)
    governor: Governor = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        clock = self.server.loop.time
        self.limiter = Limiter(None, clock=clock)
        self.slots = Slots(self.connections)
        self.governor = Governor(self.limiter, self.slots, self.connections, clock)

    async def call(self, *, bulk: bool) -> float:
        """Call once; return the seconds that it waited for its turn."""
        clock = self.server.loop.time
        asked = clock()
        await self.slots.acquire(bulk=bulk)
        try:
            await self.limiter.acquire(bulk=bulk)
            sent = clock()
            if not self.governed:
                await self.server.answer()
                return sent - asked
            self.governor.sent()
            if await self.server.answer():
                self.governor.answered(clock() - sent)
            else:
                self.governor.refused(clock() - sent)
        finally:
            self.slots.release()
        return sent - asked

    @asynccontextmanager
    async def full(self, workers: int | None = None) -> AsyncGenerator[None]:
        """Let so many bulk workers call all the time; None: as many as there are connections."""

        async def worker() -> None:
            while True:
                await self.call(bulk=True)

        tasks = [self.server.loop.create_task(worker()) for _ in range(workers or self.connections)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
