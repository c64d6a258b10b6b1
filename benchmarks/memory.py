"""P7: whether memory depends on the size of the input.

Orders come from another process through a pipe, as fast as they are taken; the journal and a file of outcomes are
written, only the network is a stand-in. The peak of the whole load is told next to that of its first tenth.
"""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import orjson
from harness import Point, Result, arguments, pin, tell
from loader import Network

from cdp_orders_async import GraphFile, Resources, SqliteJournal, ingest

OPEN = 256
STATM = Path("/proc/self/statm")


def rss() -> float:
    """Return the resident memory in MB; where the system does not tell, its peak."""
    if STATM.exists():
        return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def feed(count: int) -> None:
    """Print *count* orders, of four requests each."""
    for n in range(count):
        item = {"type": "MOBILE", "name": "AZ10", "price": 50, "currencyCode": "EUR", "status": "CONFIRMED"}
        order = {
            "referenceId": f"B-{n}",
            "orderedAt": "2024-01-01T16:17:16Z",
            "price": 50,
            "currencyCode": "EUR",
            "contact": {"firstName": "John", "lastName": "Doe", "identifiers": [{"provider": "CRM", "id": str(n)}]},
            "orderItems": [{**item, "referenceId": f"{n}-1", "extensions": [{"name": "ext", "withWarranty": True}]}],
        }
        sys.stdout.buffer.write(orjson.dumps(order) + b"\n")


async def load(count: int, folder: Path) -> list[tuple[int, float]]:
    """Load *count* orders; return the memory in MB by how many were done."""
    feeder = subprocess.Popen([sys.executable, __file__, "--feed", str(count)], stdout=subprocess.PIPE)
    assert feeder.stdout is not None  # noqa: S101 as asked for above
    pin(feeder.pid, last=True)
    samples = [(0, rss())]
    cdp = Resources(Network(), "https://host")
    with feeder, (folder / "outcomes.jsonl").open("wb") as file:
        source = GraphFile(f"/dev/fd/{feeder.stdout.fileno()}")
        async with (
            await SqliteJournal.open(folder / "journal.sqlite", identity={"base URL": "none"}) as journal,
            ingest(cdp, source, journal=journal, open_orders=OPEN) as outcomes,
        ):
            async for outcome in outcomes:
                file.write(orjson.dumps(outcome.to_json()) + b"\n")
                if outcomes.done % (count // 200) == 0:
                    samples.append((outcomes.done, rss()))
        if outcomes.counts["loaded"] != count:
            raise SystemExit(f"not all was loaded: {outcomes.counts}")
    return samples


def main() -> None:
    """Measure and tell."""
    parser = arguments(__doc__)
    parser.add_argument("--graphs", type=int, help="orders in all (default: 1,000,000; quick: 100,000)")
    parser.add_argument("--feed", type=int, help="print orders; for this benchmark itself")
    options = parser.parse_args()
    if options.feed:
        feed(options.feed)
        return
    pin()
    count: int = options.graphs or (100_000 if options.quick else 1_000_000)
    few = count // (5 if options.quick else 10)
    with tempfile.TemporaryDirectory() as folder:
        samples = asyncio.run(load(count, Path(folder)))
    before, early, peak = samples[0][1], max(mb for n, mb in samples if n <= few), max(mb for _, mb in samples)
    results = [
        Result.of("P7", f"peak at {count:,} orders - peak at {few:,}", [peak - early], "MB", most=2),
        Result.of("P7", f"peak at {few:,} orders, {OPEN} open - after the import", [early - before], "MB", most=15),
        Result.of("", f"peak at {count:,} orders", [peak], "MB"),
    ]
    tell("memory", options.out, results, [Point("memory", "loader", n, mb) for n, mb in samples])


if __name__ == "__main__":
    main()
