"""What is left of calls that end in every way: ``python -m tests.campaigns.endings --calls 10000 --seed 1``."""

from __future__ import annotations

import argparse
import itertools
import sys
from collections import Counter
from collections.abc import Sequence

import trustme

from tests import ways
from tests.session.batches import CALLS, Batch
from tests.session.endings import SEVERAL, TLS, Loop, Trust
from tests.virtual import run_in
from tests.ways import Way

WAVES = 25
"""Timings that a session is used by some calls at once before it is closed."""


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main(calls: int, seed: int, http: Sequence[Way]) -> int:
    """End so many calls over each way and each version of TLS; return 1 if anything is not as it must be."""
    say(f"seed {seed}, {calls:,} calls each, {SEVERAL} connections")
    authority, wrong = trustme.CA(), 0
    for way, tls in itertools.product(http, TLS):
        ways.chosen = way
        trust = Trust.of(authority, tls)
        ends, left, most, sessions = Counter[str](), Counter[str](), 0, 0
        while ends.total() < calls:
            batch = Batch(seed + sessions, trust, min(WAVES, -(-(calls - ends.total()) // CALLS)))
            run_in(Loop, batch.run)
            sessions += 1
            ends += batch.ends
            left.update(batch.left)
            most = max(most, batch.most)
            wrong += len(batch.wrong)
            for problem in batch.wrong:
                say(f"wrong with seed {batch.seed}: {problem}")
        say(f"\n{way}, {tls}: {ends.total():,} calls, {sessions} sessions, at most {most} sockets at the same time")
        say(f"  left after the close: {dict(left)}")
        for end, count in sorted(ends.items()):
            say(f"  {count:8,} {end}")
    return int(wrong > 0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--http", choices=ways.WAYS, nargs="+", default=ways.WAYS)
    raise SystemExit(main(**vars(parser.parse_args())))
