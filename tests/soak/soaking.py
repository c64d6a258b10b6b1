"""A client under full load for a long time: what it holds on the way, and what is left of it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import json
import os
import random
import re
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Collection, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import attrs
import orjson

from cdp_orders_async import CdpError, CdpOrders, OrderGraph, Settings, SqliteJournal, ingest, parse_graph
from cdp_orders_async.session import Session
from tests.calls import CALLS, Refs
from tests.campaigns.loads import every_fault
from tests.campaigns.orders import orders
from tests.cli.support import PATIENCE, started
from tests.ways import over

CONNECTIONS = 32
WORKERS = 8
"""Callers besides the load, in the same client."""
CANCELS = 20
"""Calls a second that are cancelled at a random moment."""
CHANCE = 0.01
RATES: tuple[float | Literal["auto"] | None, ...] = (None, 800.0, "auto")
"""What the clients are given, one after the other."""
BOUND = 0.5
"""MiB a minute that the memory may grow in the long run."""
SETTLED = 240
"""Seconds before which the memory tells only how caches fill."""
BLOCKS = 20
"""Blocks of Python's own allocator that may be left of 1,000 requests; one thing forgotten in each call is 1,000."""


@attrs.frozen
class Held:
    """What the process and its client hold at a moment."""

    tasks: int
    threads: int
    sockets: int
    files: int
    """Open file descriptors, the sockets included."""
    waiting: int
    """Calls that wait for their turn at the rate."""
    in_flight: int
    free: int
    """ConnectionSlots that nobody holds."""
    requests: int
    mebibytes: float


@attrs.define
class Soak:
    """A soak under way: its figures, and what is wrong."""

    say: Callable[..., None]
    every: float
    """Seconds between two samples."""
    awaited: Collection[str] = ()
    """Ends of calls and orders that must have come before a client is closed, however slow the machine is."""
    generation: int = 0
    began: float = attrs.field(factory=time.monotonic)
    memory: list[tuple[float, float]] = attrs.field(factory=list[tuple[float, float]])
    """Seconds and MiB of each sample."""
    blocks: list[tuple[int, int]] = attrs.field(factory=list[tuple[int, int]])
    """Requests so far and blocks in use, after each client was closed."""
    wrong: list[str] = attrs.field(factory=list[str])
    ends: Counter[str] = attrs.field(factory=Counter[str])
    """What became of the calls and of the orders."""
    requests: int = 0

    @property
    def lacks(self) -> bool:
        """Whether an end that is awaited has not come yet."""
        return any(not self.ends[end] for end in self.awaited)

    @property
    def slope(self) -> float:
        """MiB a minute that the memory grew in the last two thirds of the time, by least squares."""
        last = [sample for sample in self.memory if sample[0] >= self.memory[-1][0] / 3]
        if len(last) < 3:
            return 0.0
        return statistics.linear_regression(*zip(*last, strict=True)).slope * 60

    @property
    def left(self) -> float:
        """The blocks that are left of 1,000 requests, since the first client, which fills caches."""
        (first, before), *_, (last, after) = self.blocks
        return 1000 * (after - before) / (last - first)

    def judge(self) -> None:
        """Note what grows."""
        if self.slope > BOUND and self.memory[-1][0] >= SETTLED:
            self.wrong.append(f"the memory grows by {self.slope:.2f} MiB a minute")
        if self.left > BLOCKS:
            self.wrong.append(f"{self.left:.0f} blocks are left of 1,000 requests")

    def sample(self, cdp: CdpOrders) -> None:
        """Take a sample and show it."""
        held, seconds = holding(cdp), time.monotonic() - self.began
        self.memory.append((seconds, held.mebibytes))
        self.say(f"{seconds:.0f}", self.generation, *attrs.astuple(held)[:-1], f"{held.mebibytes:.1f}")

    def check(self, what: str, held: Held, wanted: Held) -> None:
        """Note each number in which what is *held* is not what is *wanted*."""
        for field in attrs.fields(Held):
            is_there, right = getattr(held, field.name), getattr(wanted, field.name)
            if field.name not in {"requests", "mebibytes"} and is_there != right:
                self.wrong.append(f"generation {self.generation}, {what}: {field.name} {is_there}, not {right}")


def slots_of(session: Session) -> int:
    """Return how many calls may be in flight now; what finds the rate may allow fewer than there are connections."""
    return session.autorate.states()[0].slots if session.autorate else session.settings.connections


def holding(cdp: CdpOrders | None = None) -> Held:
    """Look at this process, and at a client in it."""
    files: list[str] = []
    for file in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the one of the listing itself
            files.append(str(file.readlink()))
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    free = 0
    if cdp is not None and (
        found := re.search(r"ConnectionSlots\(\d+, free=(\d+), waiting=(\d+)\)", repr(cdp.session))
    ):
        free = int(found[1])
    return Held(
        tasks=len(asyncio.all_tasks()),
        threads=threading.active_count(),
        sockets=sum(file.startswith("socket:") for file in files),
        files=len(files),
        waiting=0 if cdp is None else cdp.session.limiter.waiting,
        in_flight=0 if cdp is None else cdp.session.stats.in_flight,
        free=free,
        requests=0 if cdp is None else cdp.session.stats.requests,
        mebibytes=pages * os.sysconf("SC_PAGE_SIZE") / 2**20,
    )


async def until_closed(base: Held, kept: Collection[str]) -> None:
    """Wait until nothing more is open than in *base*. The counts named in *kept* may differ.

    Transports and the pidfd of the server are closed in later turns of the loop. If something is never closed, this
    ends after some minutes, and `Soak.check` reports it.
    """
    free = {"requests", "mebibytes", *kept}
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        held = attrs.asdict(holding())
        if all(held[name] == right for name, right in attrs.asdict(base).items() if name not in free):
            return
        await asyncio.sleep(0.01)


def endless(seed: int) -> Iterator[OrderGraph]:
    """Yield orders, each with a reference of its own."""
    made = orders(50, seed)
    for lap in itertools.count():
        for order in made:
            yield parse_graph({**order, "referenceId": f"{order['referenceId']}-{lap}"})


@asynccontextmanager
async def server(seed: int, chance: float, folder: Path) -> AsyncGenerator[str, None]:
    """Run the emulator, with faults of all kinds, in a process of its own; give its base URL."""
    plan = folder / f"faults-{seed}.json"
    plan.write_bytes(orjson.dumps({"seed": seed, "faults": every_fault(chance)}))
    async with started("emulator", "--port", 0, "--seed", seed, "--faults", plan, cwd=folder) as process:
        assert process.stdout is not None
        said = (await process.stdout.readline()).decode()
        found = re.search(r"http://\S+", said)
        assert found, said
        yield found[0]


async def callers(cdp: CdpOrders, ends: Counter[str], seed: int) -> None:
    """Make all calls there are, again and again, and cancel some of them."""
    calls: set[asyncio.Task[object]] = set()

    async def caller() -> None:
        refs = Refs()
        for operation in itertools.cycle(CALLS):
            call = asyncio.ensure_future(CALLS[operation](cdp, refs))
            calls.add(call)
            try:
                await asyncio.wait([call])
            finally:
                calls.discard(call)
                call.cancel()
            if call.cancelled():
                ends["cancelled"] += 1
                continue
            error = call.exception()
            ends["call " + ("done" if error is None else type(error).__name__)] += 1
            if error is not None and not isinstance(error, CdpError):
                raise error
            if error is None and operation.endswith(".create") and hasattr(refs, kind := operation.partition(".")[0]):
                setattr(refs, kind, getattr(call.result(), "ref"))  # noqa: B009 each has its own type

    async def canceller() -> None:
        draw = random.Random(seed)  # noqa: S311 (it chooses moments)
        while True:
            await asyncio.sleep(draw.expovariate(CANCELS))
            if calls:
                draw.choice(list(calls)).cancel()

    async with asyncio.TaskGroup() as group:
        group.create_task(canceller())
        for _ in range(WORKERS):
            group.create_task(caller())


async def loading(cdp: CdpOrders, ends: Counter[str], seed: int, folder: Path) -> None:
    """Load orders without end."""
    async with (
        await SqliteJournal.open(folder / f"journal-{seed}.sqlite", identity=cdp.identity) as journal,
        ingest(cdp, endless(seed), journal=journal, settle=0.5, open_orders=64, drain=1) as outcomes,
    ):
        async for outcome in outcomes:
            ends[f"order {outcome.verdict}"] += 1


async def generation(soak: Soak, seconds: float, chance: float, folder: Path) -> None:
    """Use one client, and see what is left when it is idle, and when it is closed."""
    seed = soak.generation = soak.generation + 1
    base = holding()
    rate = RATES[seed % len(RATES)]
    settings = over(Settings(rate=rate, timeout=1, deadline=20, retries=3, connections=CONNECTIONS, trust_env=False))
    async with (
        server(seed, chance, folder) as base_url,
        CdpOrders(base_url=base_url, client_key="key", api_token="token", settings=settings) as cdp,  # noqa: S106
    ):
        work = [
            asyncio.create_task(callers(cdp, soak.ends, seed)),
            asyncio.create_task(loading(cdp, soak.ends, seed, folder)),
        ]
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 or (soak.lacks and left > -PATIENCE):
            wait = min(soak.every, left) if left > 0 else soak.every
            done, _ = await asyncio.wait(work, timeout=wait, return_when=asyncio.FIRST_COMPLETED)
            if done:
                break
            soak.sample(cdp)
        for task in work:
            task.cancel()
        await asyncio.wait(work)
        soak.wrong += [f"generation {seed}: {task.exception()!r}" for task in work if not task.cancelled()]
        idle = holding(cdp)
        free = slots_of(cdp.session)
        soak.check("idle", idle, attrs.evolve(idle, tasks=base.tasks, waiting=0, in_flight=0, free=free))
        soak.requests += idle.requests
    await asyncio.to_thread(gc.collect)
    kept = () if seed > 1 else ("threads", "files")  # the first one starts threads that the loop keeps
    await until_closed(base, kept)
    soak.blocks.append((soak.requests, sys.getallocatedblocks()))
    if not kept:
        soak.check("closed", holding(), base)
    for name in os.listdir(folder):  # noqa: PTH208 a path would do it all the same on the loop
        (folder / name).unlink()


async def soaking(soak: Soak, seconds: float, generations: int, chance: float, folder: Path) -> Soak:
    """Use so many clients, one after the other; every figure and every fault is in *soak*."""
    complaints: list[str] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _, context: complaints.append(json.dumps(context, default=repr))
    )
    for _ in range(generations):
        await generation(soak, seconds / generations, chance, folder)
    soak.wrong += complaints
    return soak
