"""What every benchmark needs: a server on a core of its own, interleaved rounds, results that a machine can read.

Timings drift by some 15 % from minute to minute, so what counts are ratios: variants run in turn, in random order, the
ratio is taken in each round, and the median of the rounds is told with its quartiles. One variant runs twice under
two names, as the control: how much those two differ is noise.
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
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TypeAlias

import attrs

HERE = Path(__file__).parent
PACKAGES = (
    "aiohttp",
    "attrs",
    "cattrs",
    "httptools",
    "msgspec",
    "orjson",
    *(HERE / "requirements.txt").read_text().split("\n")[1:-1],
)

Call: TypeAlias = Callable[[], Awaitable[object]]
Batch: TypeAlias = Callable[[], Awaitable[int]]
"""Makes a number of calls and returns how many."""
Rounds: TypeAlias = dict[str, list[float]]
"""A figure of each round, by variant."""


def arguments(text: str | None) -> argparse.ArgumentParser:
    """Return the parser of the options that every benchmark has; *text* is the docstring of its file."""
    out = Path(tempfile.gettempdir()) / "cdp-orders-benchmarks"
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds: a look, not a measurement")
    parser.add_argument("--out", type=Path, default=out, help="folder for the results (default: %(default)s)")
    return parser


def pin(process: int = 0, *, last: bool = False) -> None:
    """Keep *process* (by default this one, and those that it starts) on the first core, or on the *last*."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(process, {(os.cpu_count() or 1) - 1 if last else 0})


@contextlib.asynccontextmanager
async def serving(delay: float = 0.0, certificate: str | None = None) -> AsyncGenerator[str, None]:
    """Run the server on the last core, over TLS with a file of a *certificate* and its key; gives its URL."""
    command = [sys.executable, str(HERE / "server.py"), str(delay), *([] if certificate is None else [certificate])]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    pin(process.pid, last=True)
    try:
        assert process.stdout is not None  # noqa: S101 as asked for above
        scheme = "http" if certificate is None else "https"
        yield f"{scheme}://127.0.0.1:{int(await process.stdout.readline())}"
    finally:
        process.kill()
        await process.wait()


async def requests_seen(url: str) -> int:
    """Return how many requests the server got since it was last asked."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    writer.write(b"GET /stats HTTP/1.1\r\n\r\n")
    told = json.loads(await reader.read())
    writer.close()
    return int(told["requests"])


def kept_waiting() -> float:
    """Return the seconds so far in which this thread could have run, and another process had the core."""
    try:
        return int(Path("/proc/self/schedstat").read_text().split()[1]) / 1e9
    except OSError:  # not Linux: as if the machine were ours
        return 0.0


async def interleaved(batches: Mapping[str, Batch], rounds: int) -> tuple[Rounds, Rounds]:
    """Run every batch once in each round, after one round that does not count.

    Returns microseconds of CPU and of time per call; the time is without that in which another process had the core.
    """
    cpu: Rounds = {name: [] for name in batches}
    wall: Rounds = {name: [] for name in batches}
    names = list(batches)
    dice = random.Random(1)  # noqa: S311 no secret
    for n in range(rounds + 1):
        dice.shuffle(names)
        for name in names:
            gc.collect()
            began, at = time.process_time(), time.perf_counter() - kept_waiting()
            calls = await batches[name]()
            took, time_took = time.process_time() - began, time.perf_counter() - kept_waiting() - at
            if n:
                cpu[name].append(took / calls * 1e6)
                wall[name].append(time_took / calls * 1e6)
    return cpu, wall


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


@attrs.frozen
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

    @property
    def met(self) -> str:
        """Whether it is as good as it should be, in words; nothing where nothing is asked of it."""
        good = (self.least is None or self.value >= self.least) and (self.most is None or self.value <= self.most)
        return "" if self.least is None is self.most else "yes" if good else "**no**"

    @property
    def asked(self) -> str:
        """What is asked of it, in words."""
        bounds = [f"{sign} {bound:g}" for sign, bound in ((">=", self.least), ("<=", self.most)) if bound is not None]
        return " and ".join(bounds)


@attrs.frozen
class Point:
    """A point of a picture."""

    picture: str
    series: str
    x: float
    y: float
    low: float
    high: float


def result(
    goal: str, what: str, rounds: Sequence[float], unit: str, least: float | None = None, most: float | None = None
) -> Result:
    """Sum up the figures of *rounds*."""
    low, value, high = statistics.quantiles(rounds, n=4, method="inclusive") if len(rounds) > 1 else [*rounds] * 3
    return Result(goal, what, value, low, high, unit, least, most)


def ratios(some: Sequence[float], others: Sequence[float]) -> list[float]:
    """Return the ratio in each round."""
    return [one / other for one, other in zip(some, others, strict=True)]


def compared(
    goal: str, what: str, rounds: Rounds, unit: str, least: float | None = None, most: float | None = None
) -> list[Result]:
    """Compare the first variant with the second; the third is the second again, the control."""
    ours, base, control = list(rounds)[:3]
    return [
        result(goal, f"{what}: {ours} / {base}", ratios(rounds[ours], rounds[base]), "x", least, most),
        result("", f"{what}: {control} / {base}, the control", ratios(rounds[control], rounds[base]), "x"),
        *(result("", f"{what}: {name}", rounds[name], unit) for name in (ours, base)),
    ]


def machine() -> dict[str, str]:
    """Name the machine, and the versions that matter."""
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        model = Path("/proc/cpuinfo").read_text().partition("model name\t: ")[2].partition("\n")[0] or model
    there = {one.name: one.version for one in metadata.distributions()}
    return {
        "machine": f"{os.cpu_count()} cores of {model}, {platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "load": f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "nan",
        "packages": ", ".join(f"{name} {there[name]}" for name in PACKAGES if name in there),
    }


def benchmark(
    measure: Callable[[argparse.Namespace], Coroutine[object, object, tuple[Sequence[Result], Sequence[Point]]]],
    parser: argparse.ArgumentParser,
) -> None:
    """Do what a script does: *measure* on the first core, print the results, and write them as JSON lines."""
    options = parser.parse_args()
    pin()
    lines = [json.dumps({"machine": machine()})]
    results, points = asyncio.run(measure(options))
    for one in results:
        spread = f"({one.low:.4g} to {one.high:.4g})"
        print(f"{one.goal:>3} {one.what:<66} {one.value:9.4g} {one.unit:<3} {spread} {one.asked} {one.met}")
        lines.append(json.dumps({"result": attrs.asdict(one)}))
    lines += [json.dumps({"point": attrs.asdict(point)}) for point in points]
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / f"{Path(sys.argv[0]).stem}.jsonl").write_text("\n".join(lines) + "\n")
