"""Loads under faults of every kind, by the loader and by a naive client, and what they lose and double."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import aiohttp
import attrs

from cdp_orders_async import CdpOrders, Settings, SqliteJournal, Verdict, ingest
from cdp_orders_async.emulator import Emulator, Faults, Switches, running
from cdp_orders_async.graph import parse_graph
from tests.campaigns.orders import PARTS, Json, compared, orders, parts_of
from tests.ingest.support import stored

TIMEOUT = 0.5
MOST_RUNS = 20
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

    name: str
    seed: int
    graphs: int
    parts: int
    faults: int
    requests: int
    runs: int
    lost: int
    doubled: int
    repeated: int
    """Creates that the server received beyond one for each part."""
    seconds: float

    @property
    def exact(self) -> bool:
        """Whether everything is there once."""
        return self.lost == self.doubled == 0


def every_fault(chance: float) -> list[Json]:
    """Return all faults; a request meets one of them with *chance*."""
    cuts = itertools.product(("close", "reset", "stall"), ("before", "accepted", "written", "head", "body"))
    faults: list[Json] = [{"action": action, "phase": phase} for action, phase in cuts]
    for phase in ("before", "accepted", "written"):
        faults += [{"action": "status", "phase": phase, "status": status} for status in (500, 502, 503)]
        faults.append({"action": "html", "phase": phase})
    faults += [{"action": "drip", "seconds": seconds} for seconds in (TIMEOUT / 10, 10 * TIMEOUT)]
    faults += [{"action": "status", "status": 503, "retry_after": 0}, {"action": "status", "status": 429}]
    faults += [{"action": "status", "status": 429, "retry_after": after} for after in (0, 1)]
    # A 429 holds up every request of a load, so it is rarer than the others, or there would be little else.
    return [
        {"operation": "*", "chance": chance / len(faults) / (5 if fault.get("status") == 429 else 1), **fault}
        for fault in faults
    ]


def judged(name: str, seed: int, graphs: list[Json], emulator: Emulator, runs: int, began: float) -> Figures:
    """Compare what the emulator has with *graphs*."""
    wanted, ledger = parts_of(graphs), emulator.store.effects
    lost, doubled = compared(wanted, parts_of(stored(emulator)))
    created = Counter(effect["operation"].partition(".")[0] for effect in ledger if effect["effect"] == "created")
    kinds = Counter(kind for kind, _ in wanted.elements())
    return Figures(
        name=name,
        seed=seed,
        graphs=len(graphs),
        parts=wanted.total(),
        faults=emulator.faults.done.total(),
        requests=(emulator.requests + emulator.dropped).total(),
        runs=runs,
        lost=max(lost, (kinds - created).total()),
        doubled=max(doubled, (created - kinds).total()),
        repeated=sum(n for name, n in emulator.requests.items() if name.endswith(".create")) - wanted.total(),
        seconds=time.monotonic() - began,
    )


def served(reading: str, chance: float, seed: int) -> Emulator:
    """Make the emulator of a load; with the same seed the same requests meet the same faults."""
    return Emulator(switches=READINGS[reading][0], faults=Faults.of({"seed": seed, "faults": every_fault(chance)}))


async def load(reading: str, count: int, chance: float, seed: int, folder: Path) -> Figures:
    """Load orders under faults, again and again with one journal until all of them are there."""
    graphs, emulator, began = orders(count, seed), served(reading, chance, seed), time.monotonic()
    settings = Settings(timeout=TIMEOUT, connections=32)
    run, whole = 0, False
    async with running(emulator) as base_url:
        while not whole and run < MOST_RUNS:
            run += 1
            async with (
                CdpOrders(base_url=base_url, client_key="key", api_token="token", settings=settings) as cdp,  # noqa: S106
                await SqliteJournal.open(folder / f"{seed}.sqlite", identity={}) as journal,
                ingest(
                    cdp, map(parse_graph, graphs), journal=journal, settle=READINGS[reading][1], open_orders=64
                ) as outcomes,
            ):
                whole = {outcome.verdict async for outcome in outcomes} <= {Verdict.LOADED, Verdict.ALREADY}
    return judged(reading, seed, graphs, emulator, run, began)


async def naive(reading: str, count: int, chance: float, seed: int) -> Figures:
    """Load the same orders under the same faults as many would write it: what fails is sent again, up to 3 times."""
    graphs, emulator, began = orders(count, seed), served(reading, chance, seed), time.monotonic()
    headers = {"Authorization": aiohttp.encode_basic_auth("key", "token")}
    limits = aiohttp.ClientTimeout(total=TIMEOUT)

    async with (
        running(emulator) as base_url,
        aiohttp.ClientSession(f"{base_url}/v2.1/", headers=headers, timeout=limits) as session,
        asyncio.TaskGroup() as group,
    ):
        slots = asyncio.Semaphore(32)

        async def post(path: str, part: Json, **more: object) -> str | None:
            body = {**{name: value for name, value in part.items() if name not in PARTS}, **more}
            for attempt in range(4):
                await asyncio.sleep(0.1 * attempt)
                with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                    async with session.post(path, json=body) as answer:
                        if answer.status == 201:
                            ref: str = (await answer.json())["ref"]
                            return ref
                        if answer.status < 429:
                            return None
            return None

        async def whole(graph: Json) -> None:
            async with slots:
                if (order := await post("orders", graph)) is None:
                    return
                used: dict[str, str] = {}
                if "contact" in graph:
                    await post(f"orders/{order}/contacts", graph["contact"])
                for extension in graph.get("extensions", ()):
                    await post(f"orders/{order}/extensions/ext", extension)
                for item in graph["orderItems"]:
                    if (ref := await post(f"orders/{order}/orderItems", item)) is not None:
                        used[item.get("referenceId")] = f"{base_url}/v2.1/orderItems/{ref}"
                        for extension in item.get("extensions", ()):
                            await post(f"orderItems/{ref}/extensions/ext", extension)
                for consumer in graph.get("consumers", ()):
                    names = [item["referenceId"] for item in consumer.get("orderItems", ())]
                    links = [{"href": used[name]} for name in names if name in used]
                    await post(f"orders/{order}/consumers", consumer, orderItems={"items": links})

        for graph in graphs:
            group.create_task(whole(graph))
    return judged(f"naive: {reading}", seed, graphs, emulator, 1, began)
