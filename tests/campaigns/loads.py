"""Loads under faults of every kind, by the loader and by a naive client, and what they lose and double."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import attrs

from cdp_orders_async import SqliteJournal, Verdict, ingest
from cdp_orders_async.emulator import Emulator, Faults, Switches
from cdp_orders_async.graph import parse_graph
from tests.campaigns.orders import Json, orders, parts_of
from tests.ingest.expectations import stored
from tests.ingest.serving import serving

E = TypeVar("E", bound=Emulator)
TIMEOUT = 0.5
CONNECTIONS = 32
MOST_RUNS = 20
PHASES = ("before", "accepted", "written", "head", "body")
READINGS: Mapping[str, tuple[Switches, float]] = {
    "as documented": (Switches(), 0.05),
    "no upsert": (Switches(upsert=False), 0.05),
    "lists lag": (Switches(list_lag=0.3), 0.6),
    "lists lag, no upsert": (Switches(list_lag=0.3, upsert=False), 0.6),
    "expand ignored": (Switches(ignore_expand=True, upsert=False), 0.05),
    "expand ignored, refs": (Switches(ignore_expand=True, unexpanded="ref"), 0.05),
    "last page repeats": (Switches(repeat_next=True, upsert=False), 0.05),
    "3 to a page": (Switches(limit_max=3, upsert=False, extension_post_existing="refuse"), 0.05),
}
"""How the API may be read, and how long a load waits before what a list does not show counts as absent."""


@attrs.frozen(kw_only=True)
class Figures:
    """What one load came to."""

    seed: int
    graphs: int
    parts: int
    requests: int
    faults: int
    runs: int
    seconds: float
    lost: int
    doubled: int
    repeated: int
    """Creates that the server received beyond one for each part."""
    ended: bool
    """Whether the last run said that everything is loaded."""
    edits: int = 0
    """Edits of the orders between the runs."""

    @property
    def exact(self) -> bool:
        """Whether everything is there once, and known to be; a part that differs is both lost and doubled."""
        return self.lost == self.doubled == 0 and self.ended

    @property
    def row(self) -> tuple[float, ...]:
        """The figures for a table, from the seed to what was doubled."""
        return attrs.astuple(self)[:-3]


def every_fault(chance: float) -> list[Json]:
    """Return all faults; a request meets one of them with *chance*."""
    cuts: list[Json] = [
        {"action": action, "phase": phase} for action in ("close", "reset", "stall") for phase in PHASES
    ]
    cuts += [{"action": "drip", "phase": "body", "seconds": seconds} for seconds in (TIMEOUT / 10, 10 * TIMEOUT)]
    answers: list[Json] = [
        {"action": action, "phase": phase, "status": status}
        for action, status in (("status", 500), ("status", 502), ("status", 503), ("html", 502))
        for phase in PHASES[:3]
    ]
    answers += [
        {"action": "status", "phase": "accepted", "status": status, "retry_after": wait}
        for status, wait in ((503, 0), (429, None), (429, 0), (429, 1))
    ]
    faults = cuts + answers
    # A 429 holds up every request of a load, so it is rarer than the others, or there would be little else.
    each = chance / len(faults)
    return [{"operation": "*", "chance": each / 5 if fault.get("status") == 429 else each, **fault} for fault in faults]


def judged(seed: int, graphs: list[Json], emulator: Emulator, runs: int, began: float, *, ended: bool) -> Figures:
    """Compare what the emulator has and what its ledger says was created with *graphs*."""
    wanted, found = parts_of(graphs), parts_of(stored(emulator))
    creates = (effect["operation"] for effect in emulator.store.effects if effect["effect"] == "created")
    created = Counter(name.partition(".")[0] for name in creates)
    kinds = Counter(kind for kind, _ in wanted.elements())
    return Figures(
        seed=seed,
        graphs=len(graphs),
        parts=wanted.total(),
        faults=emulator.faults.done.total(),
        requests=(emulator.requests + emulator.dropped).total(),
        runs=runs,
        lost=max((wanted - found).total(), (kinds - created).total()),
        doubled=max((found - wanted).total(), (created - kinds).total()),
        repeated=sum(n for name, n in emulator.requests.items() if name.endswith(".create")) - wanted.total(),
        seconds=round(time.monotonic() - began, 1),
        ended=ended,
    )


def served(reading: str, chance: float, seed: int, kind: type[E]) -> E:
    """Make the emulator of a load; with the same seed the same requests meet the same faults."""
    plan: Any = {"seed": seed, "faults": every_fault(chance)}
    return kind(switches=READINGS[reading][0], faults=Faults.of(plan), seed=seed)


async def load(reading: str, count: int, chance: float, seed: int, folder: Path) -> Figures:
    """Load orders under faults, again and again with one journal until all of them are there."""
    graphs, emulator, began = orders(count, seed), served(reading, chance, seed, Emulator), time.monotonic()
    run, whole, settle = 0, False, READINGS[reading][1]
    while not whole and run < MOST_RUNS:
        run += 1
        async with (
            serving(emulator, timeout=TIMEOUT, retries=3, connections=CONNECTIONS) as cdp,
            await SqliteJournal.open(folder / "journal.sqlite", identity={}) as journal,
            ingest(cdp, map(parse_graph, graphs), journal=journal, settle=settle, open_orders=64) as outcomes,
        ):
            whole = {outcome.verdict async for outcome in outcomes} <= {Verdict.LOADED, Verdict.ALREADY}
    return judged(seed, graphs, emulator, run, began, ended=whole)
