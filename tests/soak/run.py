"""A soak of any length: ``python -m tests.soak.run --minutes 30``."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

import attrs

from tests import ways
from tests.soak.soaking import BLOCKS, BOUND, CHANCE, SETTLED, Held, Soak, soaking
from tests.ways import Way


def say(*columns: object) -> None:
    """Print a row of the table at once."""
    sys.stdout.write("".join(f"{column:>11}" for column in columns) + "\n")
    sys.stdout.flush()


async def main(minutes: float, every: float, http: Way) -> int:
    """Soak, and print what there is; return 1 if anything is left behind, or grows."""
    ways.chosen = http
    say("seconds", "generation", *(field.name for field in attrs.fields(Held)))
    generations = max(3, min(10, round(minutes)))
    with tempfile.TemporaryDirectory() as folder:
        soak = await soaking(Soak(say, every), minutes * 60, generations, CHANCE, Path(folder))
    for what, count in sorted(soak.ends.items()):
        say(f"{count:,}", f" {what}")
    seconds = soak.memory[-1][0]
    say(f"{soak.requests:,}", f" requests, {soak.requests / seconds:,.0f} a second, {generations} clients")
    say(f"{soak.slope:+.2f}", f" MiB a minute; at most {BOUND} in more than {SETTLED} s")
    say(f"{soak.left:+.1f}", f" blocks of memory left of 1,000 requests; at most {BLOCKS}")
    soak.judge()
    for wrong in soak.wrong:
        sys.stdout.write(f"wrong: {wrong}\n")
    return int(bool(soak.wrong))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--every", type=float, default=10, help="seconds between two samples")
    parser.add_argument("--http", choices=ways.WAYS, default=ways.chosen)
    raise SystemExit(asyncio.run(main(**vars(parser.parse_args()))))
