"""The campaigns at any size: ``python -m tests.campaigns.run --graphs 2000 --kills 100 --seed 1``."""

from __future__ import annotations

import argparse
import asyncio
import itertools
import sys
import tempfile
from collections import Counter
from pathlib import Path
from signal import SIGKILL

from tests import ways
from tests.campaigns.commands import HURTS, IN_FLIGHT, hurt
from tests.campaigns.loads import READINGS, load
from tests.campaigns.naive import naive
from tests.campaigns.verdicts import verdicts
from tests.ways import Way

CHANCES = (0.05, 0.15, 0.3)
GRAPHS = 80  # of one load
KILLS = 10  # of one load


def say(*columns: object) -> None:
    """Print a row of a table at once: its name, and then numbers."""
    sys.stdout.write(f"{columns[0]:42}" + "".join(f"{column:>9}" for column in columns[1:]) + "\n")
    sys.stdout.flush()


async def main(graphs: int, kills: int, seed: int, http: Way) -> int:
    """Run every campaign and print its figures; return 1 if anything is not as it must be."""
    ways.chosen = http
    sent = await verdicts()
    bad = sum(not one.true for one in sent)
    say(f"{len(sent)} requests, each with a fault; not true: {bad}")
    for (done, said), count in sorted(Counter((one.done, one.said) for one in sent).items()):
        say(f"  {'done' if done else 'not done'}, and said to be {said}", count)

    names = ("seed", "graphs", "parts", "requests", "faults", "runs", "seconds", "lost", "doubled")
    say("\nLoads under faults", *names, "naive:", "lost", "doubled")
    total: Counter[str] = Counter()
    cases = zip(itertools.count(seed), itertools.cycle(READINGS), itertools.cycle(CHANCES), strict=False)
    for (number, reading, chance), start in zip(cases, range(0, graphs, GRAPHS), strict=False):
        size = min(GRAPHS, graphs - start)
        with tempfile.TemporaryDirectory() as folder:
            ours = await load(reading, size, chance, number, Path(folder))
        theirs = await naive(reading, size, chance, number)
        say(f"  {reading}, {chance:.0%}", *ours.row, "", theirs.lost, theirs.doubled)
        bad += not ours.exact
        total.update(lost=ours.lost, doubled=ours.doubled, theirs_lost=theirs.lost, theirs_doubled=theirs.doubled)
    say("  in all", *[""] * 7, *(total[key] for key in ("lost", "doubled")), "", *list(total.values())[2:])

    say(f"\nThe command hurt, {IN_FLIGHT} requests in flight", *names, "hurt", "edited", "repeated")
    left = {"killed": kills, "disk full": 1, "read-only": 1}
    cases = zip(itertools.count(seed), itertools.cycle(READINGS), itertools.cycle((0, 0.1)), strict=False)
    while how := next((how for how in HURTS if left[how] > 0), None):
        number, reading, chance = next(cases)
        with tempfile.TemporaryDirectory() as folder:
            figures, ends = await hurt(how, min(KILLS, left[how]), reading, 30, chance, number, Path(folder))
        times = sum(status in {-SIGKILL, 2} for status, _ in ends)
        left[how] -= times
        say(
            f"  {how}: {reading}, {chance:.0%}", *figures.row, times, figures.edits, "-" if chance else figures.repeated
        )
        bad += not figures.exact
    return int(bad > 0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("graphs", 2000), ("kills", 100), ("seed", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--http", choices=ways.WAYS, default=ways.chosen)
    raise SystemExit(asyncio.run(main(**vars(parser.parse_args()))))
