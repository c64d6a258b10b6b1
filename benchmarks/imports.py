"""P9: the CPU that the import takes, next to that of the libraries that it needs anyway."""

from __future__ import annotations

import asyncio
import os
import random
import sys
import tempfile
from argparse import Namespace

from harness import Point, Result, Rounds, arguments, benchmark, compared

LIBRARIES = "aiohttp, attrs, cattrs, msgspec, orjson"
VARIANTS = {"cdp_orders_async": "cdp_orders_async", LIBRARIES: LIBRARIES, "again": LIBRARIES}


async def milliseconds(names: str, cache: str) -> float:
    """Return the CPU that importing *names* takes in a new interpreter, which keeps compiled files in *cache*."""
    code = f"import time; t = time.process_time(); import {names}; print((time.process_time() - t) * 1000)"
    given = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE, env={**given, "PYTHONPYCACHEPREFIX": cache}
    )
    return float((await process.communicate())[0])


async def measure(options: Namespace) -> tuple[list[Result], list[Point]]:
    """Measure everything."""
    found: Rounds = {name: [] for name in VARIANTS}
    order = list(VARIANTS)
    with tempfile.TemporaryDirectory() as cache:
        for n in range(6 if options.quick else 31):
            random.Random(n).shuffle(order)  # noqa: S311 no secret
            for name in order:
                took = await milliseconds(VARIANTS[name], cache)
                if n:  # the first round fills the caches
                    found[name].append(took)
    return compared("P9", "CPU of the import", found, "ms", most=1.15), []


if __name__ == "__main__":
    benchmark(measure, arguments(__doc__))
