"""Fuzzing for as long as one likes: ``python -m tests.fuzz.run --minutes 30 --target codec --seed 1``."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.fuzz.engine import Target, hunt
from tests.fuzz.targets import TARGETS

FINDINGS = Path(tempfile.gettempdir()) / "cdp-orders-findings"


def say(*columns: object) -> None:
    """Print a row of the table at once."""
    sys.stdout.write(f"{columns[0]:16}" + "".join(f"{column:>12}" for column in columns[1:]) + "\n")
    sys.stdout.flush()


def main(
    minutes: float, target: list[str] | None, seed: int, findings: Path, targets: Sequence[Target] = TARGETS
) -> int:
    """Divide the *minutes* over the targets; print what was tried, and return 1 if anything was found."""
    chosen = [one for one in targets if target is None or one.name in target]
    say("target", "cases", "a second", "findings")
    found = 0
    for one in chosen:
        began = time.monotonic()
        cases, some = hunt(one, seconds=minutes * 60 / len(chosen), start=seed)
        say(one.name, f"{cases:,}", f"{cases / (time.monotonic() - began):,.0f}", len(some))
        for finding in some:
            path = finding.write(findings)
            sys.stdout.write(f"  {path}: {finding.why}\n")
        found += len(some)
    return int(found > 0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--target", action="append", choices=[one.name for one in TARGETS], help="all by default")
    parser.add_argument(
        "--seed", type=int, default=int(time.time()), help="the same tries the same; the time by default"
    )
    parser.add_argument("--findings", type=Path, default=FINDINGS, help="the folder for the inputs that fail")
    raise SystemExit(main(**vars(parser.parse_args())))
