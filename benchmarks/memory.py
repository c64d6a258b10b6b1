"""P7: whether memory depends on the size of the input.

Orders come from another process through a pipe, as fast as they are taken; the journal and a file of outcomes are
written, only the network is a stand-in; the garbage collector is as ``cdp-orders load`` sets it. Needs Linux. The peak
of the whole load is told next to that of its first part.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from argparse import Namespace
from pathlib import Path
from typing import BinaryIO

import orjson
from harness import Point, Result, arguments, benchmark, pin, result
from loader import Network

from cdp_orders_async import GraphFile, Resources, SqliteJournal, ingest
from cdp_orders_async.__main__ import relax_gc

OPEN = 256


def rss() -> float:
    """Return the resident memory in MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def feed(count: int) -> None:
    """Print *count* orders, of four requests each."""
    item = {"type": "MOBILE", "name": "AZ10", "price": 50, "currencyCode": "EUR", "status": "CONFIRMED"}
    order = {"orderedAt": "2024-01-01T16:17:16Z", "price": 50, "currencyCode": "EUR"}
    for n in range(count):
        contact = {"firstName": "John", "lastName": "Doe", "identifiers": [{"provider": "CRM", "id": str(n)}]}
        items = [{**item, "referenceId": f"{n}-1", "extensions": [{"name": "ext", "withWarranty": True}]}]
        line = {"referenceId": f"B-{n}", **order, "contact": contact, "orderItems": items}
        sys.stdout.buffer.write(orjson.dumps(line) + b"\n")


async def load(source: GraphFile, count: int, folder: Path, file: BinaryIO) -> list[tuple[int, float]]:
    """Load *count* orders; return the memory in MB by how many were done."""
    relax_gc()
    samples = [(0, rss())]
    async with (
        await SqliteJournal.open(folder / "journal.sqlite", identity={"base URL": "https://host"}) as journal,
        ingest(Resources(Network(), "https://host"), source, journal=journal, open_orders=OPEN) as outcomes,
    ):
        number = 0
        async for outcome in outcomes:
            number += 1
            file.write(orjson.dumps(outcome.to_json()) + b"\n")
            if outcome.verdict != "loaded":
                raise SystemExit(f"not loaded: {outcome}")
            if number % (count // 200) == 0:
                samples.append((number, rss()))
    return samples


async def measure(options: Namespace) -> tuple[list[Result], list[Point]]:
    """Measure everything."""
    count: int = options.graphs or (100_000 if options.quick else 1_000_000)
    few = count // (5 if options.quick else 10)
    command = (sys.executable, __file__, "--feed", str(count))
    reading, writing = os.pipe()
    feeder = await asyncio.create_subprocess_exec(*command, stdout=writing)
    os.close(writing)
    pin(feeder.pid, last=True)
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "outcomes.jsonl").open("wb") as file:
        samples = await load(GraphFile(f"/dev/fd/{reading}"), count, Path(folder), file)
    await feeder.wait()
    before, early, peak = samples[0][1], max(mb for n, mb in samples if n <= few), max(mb for _, mb in samples)
    results = [
        result("P7", f"peak at {count:,} orders - peak at {few:,}", [peak - early], "MB", most=2),
        result("P7", f"peak at {few:,} orders, {OPEN} open - after the import", [early - before], "MB", most=15),
        result("", f"peak at {count:,} orders", [peak], "MB"),
    ]
    return results, [Point("memory", "loader", n, mb, mb, mb) for n, mb in samples]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--feed"]:
        feed(int(sys.argv[2]))
    else:
        parser = arguments(__doc__)
        parser.add_argument("--graphs", type=int, help="orders in all (default: 1,000,000; quick: 100,000)")
        benchmark(measure, parser)
