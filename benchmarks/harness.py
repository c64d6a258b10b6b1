"""What every benchmark needs: a server on a core of its own, interleaved rounds, and results that a machine can read.

Absolute times drift by some 15 % from minute to minute, so what counts are ratios: the variants run in turn, in
random order, the ratio is taken in each round, and the median of the rounds is told with its quartiles. One variant
runs twice under two names, and how much those two differ is the noise.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import os
import platform
import random
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TypeAlias

import attrs

HERE = Path(__file__).parent
OUT = Path(tempfile.gettempdir()) / "cdp-orders-benchmarks"
PACKAGES = ("aiohttp", "cattrs", "attrs", "orjson", "uvloop", "msgspec", "httpx", "openai", "anthropic", "stripe")
MORE_PACKAGES = ("azure-core", "elastic-transport", "aiolimiter", "pydantic")

Call: TypeAlias = Callable[[], Awaitable[object]]
Batch: TypeAlias = Callable[[], Awaitable[int]]
"""Does a number of calls and returns how many."""


def arguments(text: str | None) -> argparse.ArgumentParser:
    """Return the parser of the options that every benchmark has; *text* is the docstring of its file."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds: a look, not a measurement")
    parser.add_argument("--out", type=Path, default=OUT, help="folder for the results (default: %(default)s)")
    return parser


def pin(process: int = 0, *, last: bool = False) -> None:
    """Keep *process* (by default this one, and those that it starts) on the first core, or on the *last*."""
    if hasattr(os, "sched_setaffinity"):
        cores = range(os.cpu_count() or 1)
        os.sched_setaffinity(process, {cores[-1 if last else 0]})


@attrs.frozen
class Server:
    """A running server."""

    port: int

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    async def stats(self) -> dict[str, float]:
        """Return what came since the last time, by the fields of `server.Stats`."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(b"GET /stats HTTP/1.1\r\n\r\n")
        body = (await reader.read()).partition(b"\r\n\r\n")[2]
        writer.close()
        told: dict[str, float] = json.loads(body)
        return told


@contextlib.asynccontextmanager
async def serving(delay: float = 0.0) -> AsyncGenerator[Server, None]:
    """Run the server on the last core, this process on the first; it answers after *delay* seconds."""
    pin()
    script = str(HERE / "server.py")
    process = await asyncio.create_subprocess_exec(sys.executable, script, str(delay), stdout=asyncio.subprocess.PIPE)
    pin(process.pid, last=True)
    try:
        assert process.stdout is not None  # noqa: S101 as asked for above
        yield Server(int(await process.stdout.readline()))
    finally:
        process.kill()
        await process.wait()


def kept_waiting() -> float:
    """Return the seconds so far in which this thread could have run, and another process had the core."""
    try:
        return int(Path("/proc/self/schedstat").read_text().split()[1]) / 1e9
    except OSError:  # not Linux: as if the machine were ours
        return 0.0


@attrs.frozen
class Cost:
    """What one call of a batch took, on average, in microseconds."""

    cpu: float
    wall: float
    """Without the time in which another process had the core."""


async def measured(batch: Batch) -> Cost:
    """Run *batch* once."""
    gc.collect()
    cpu, wall = time.process_time(), time.perf_counter() - kept_waiting()
    calls = await batch()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - kept_waiting() - wall
    return Cost(cpu / calls * 1e6, wall / calls * 1e6)


async def interleaved(batches: Mapping[str, Batch], rounds: int) -> dict[str, list[Cost]]:
    """Run every batch once in each round, in random order, after one round that does not count."""
    found: dict[str, list[Cost]] = {name: [] for name in batches}
    names = list(batches)
    dice = random.Random(1)  # noqa: S311 no secret
    for name in names:
        await batches[name]()
    for _ in range(rounds):
        dice.shuffle(names)
        for name in names:
            found[name].append(await measured(batches[name]))
    return found


def hammer(call: Call, workers: int, each: int) -> Batch:
    """Return a batch in which each of *workers* makes *each* calls, one after the other."""

    async def work() -> None:
        for _ in range(each):
            await call()

    async def batch() -> int:
        async with asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(work())
        return workers * each

    return batch


def cpu(costs: Iterable[Cost]) -> list[float]:
    """Return the CPU of each round."""
    return [cost.cpu for cost in costs]


def ratios(some: Sequence[float], others: Sequence[float]) -> list[float]:
    """Return the ratio in each round."""
    return [one / other for one, other in zip(some, others, strict=True)]


@attrs.frozen(kw_only=True)
class Result:
    """A figure of the table: the median of the rounds, between their quartiles."""

    goal: str
    """Its number; empty for what only helps to judge the others."""
    what: str
    value: float
    low: float
    high: float
    unit: str
    least: float | None = None
    most: float | None = None

    @classmethod
    def of(
        cls,
        goal: str,
        what: str,
        values: Sequence[float],
        unit: str = "x",
        *,
        least: float | None = None,
        most: float | None = None,
    ) -> Result:
        """Sum up *values*, one of each round."""
        low, value, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [*values] * 3
        return cls(goal=goal, what=what, value=value, low=low, high=high, unit=unit, least=least, most=most)

    @property
    def met(self) -> bool | None:
        """Whether it is as good as it should be; None where nothing is asked of it."""
        if self.least is None and self.most is None:
            return None
        return (self.least is None or self.value >= self.least) and (self.most is None or self.value <= self.most)

    @property
    def asked(self) -> str:
        """What is asked of it, in words."""
        bounds = [f">= {self.least:g}"] if self.least is not None else []
        bounds += [f"<= {self.most:g}"] if self.most is not None else []
        return f"{' and '.join(bounds)} {self.unit}" if bounds else ""


@attrs.frozen
class Point:
    """A point of a picture."""

    picture: str
    series: str
    x: float
    y: float
    low: float | None = None
    high: float | None = None


def machine() -> dict[str, str]:
    """Name the machine, and the versions that matter."""
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), model)
    versions: dict[str, str] = {}
    for name in (*PACKAGES, *MORE_PACKAGES):
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return {
        "machine": f"{os.cpu_count()} cores of {model}, {platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "load": f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown",
        **versions,
    }


def tell(name: str, out: Path, results: Iterable[Result], points: Iterable[Point] = ()) -> None:
    """Print *results*, and write them as JSON lines to a file in the folder *out*, with what a picture needs."""
    rows: list[dict[str, object]] = [{"machine": machine()}]
    for result in results:
        mark = {True: "met", False: "NOT MET", None: ""}[result.met]
        spread = f"{result.low:.4g} to {result.high:.4g}"
        print(f"{result.goal:>3} {result.what:<72} {result.value:9.4g} {result.unit:<4} ({spread}) {result.asked} {mark}")
        rows.append({"result": attrs.asdict(result)})
    rows += [{"point": attrs.asdict(point)} for point in points]
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
