"""Loads over the Batch API that die at random steps: ``python -m tests.engines.batch_campaign --lives 100 --seed 1``.

Each life ends before a step of its own, or with the end of the load. In between the input may get more lines, and the
server loses answers. Each order must be on the server once, and no record may have counted twice.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

import attrs

from cdp_orders_async.emulator import Emulator, Faults, Switches, in_thread
from tests.cli.support import TOKEN, orders, write
from tests.engines.dying import DEAD, ask, dying
from tests.engines.support import Json, importable, there, twice

__all__ = ["Figures", "campaign"]

MOST_ORDERS = 9
MOST_STEPS = 40
"""Steps before which a life may end; a load of few orders has fewer."""
CHANCE = 0.05
OPERATIONS = ("batches.create", "batches.upload", "batches.get")
MOST_RUNS = 200
"""Lives of one load, after which it counts as one that never ends."""


@attrs.frozen(kw_only=True)
class Figures:
    """What a campaign came to."""

    lives: int
    deaths: int
    loads: int
    orders: int
    faults: int
    seconds: float
    lost: int
    doubled: int
    unended: int
    """Loads that did not end."""

    @property
    def exact(self) -> bool:
        """Whether each order is there once."""
        return self.lost == self.doubled == self.unended == 0


def lost_answers(seed: int) -> Faults:
    """Return faults that leave it open whether a request counted."""
    faults: list[Json] = [
        {"operation": operation, "chance": CHANCE, "action": "reset", "phase": phase}
        for operation in OPERATIONS
        for phase in ("accepted", "written")
    ]
    faults += [
        {"operation": operation, "chance": CHANCE, "action": "status", "status": 500} for operation in OPERATIONS
    ]
    plan: Json = {"seed": seed, "faults": faults}
    return Faults.of(plan)


def campaign(folder: Path, *, lives: int, seed: int) -> Figures:
    """Run loads until so many *lives* have ended; their files are in the *folder*."""
    draw = random.Random(seed)  # noqa: S311 no secret
    server = Emulator(api_token=TOKEN)
    began = time.monotonic()
    done = deaths = loads = made = faults = lost = doubled = unended = 0
    with in_thread(server) as served, dying(served.base_url) as process:
        while done < lives:
            loads += 1
            place = folder / str(loads)
            place.mkdir()
            count, runs, status = draw.randint(1, MOST_ORDERS), 0, DEAD
            served.reset()
            served.switches = Switches(
                batch_again=draw.choice(("renew", "refuse")),
                batch_second_upload=draw.choice(("ignore", "process")),
                batch_seconds=draw.choice((0, 0.01)),
            )
            server.faults = lost_answers(seed + loads)
            while status != 0 and runs < MOST_RUNS:
                runs += 1
                write(place / "o.jsonl", [importable(order) for order in orders(count)])
                step = draw.randint(1, MOST_STEPS) if done < lives else 0
                status, _ = ask(process, place, step)
                done += 1
                deaths += status == DEAD
                if status != 0 and draw.random() < 1 / 3:
                    count += 1
            found = there(server)
            lost += sum(f"B-{n}" not in found for n in range(count))
            doubled += found.total() - len(found) + twice(server).total()
            unended += status != 0
            made += count
            faults += server.faults.done.total()
    return Figures(
        lives=done,
        deaths=deaths,
        loads=loads,
        orders=made,
        faults=faults,
        seconds=round(time.monotonic() - began, 1),
        lost=lost,
        doubled=doubled,
        unended=unended,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lives", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        figures = campaign(Path(name), lives=given.lives, seed=given.seed)
    sys.stdout.write(f"seed {given.seed}: {figures}\n")
    raise SystemExit(not figures.exact)
