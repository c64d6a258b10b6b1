"""The story of a backfill as a person lives it: each command, twice, over a network that fails."""

from __future__ import annotations

import gzip
import importlib.resources
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from uuid import UUID

import orjson

from cdp_orders_async import (
    CdpOrders,
    NewContact,
    NewOrderItem,
    OrderChanges,
    OrderGraph,
    OrderItemChanges,
    Settings,
    ingest_one,
    parse_graph,
)
from cdp_orders_async.emulator import Faults
from tests.cli.support import TOKEN, Json, Ran, Watched, cdp_orders, ended, lines_of, started, watched, write
from tests.ingest.expectations import stored, wanted

LARGE = 20
"""Items of an order that would only make the story longer."""
ADOPTED = 2
"""Orders that are on the server before the story begins."""
FAULTS: Json = {
    "seed": 7,
    "faults": [
        {"operation": "*", "action": "close", "phase": "written", "chance": 0.07},
        {"operation": "*", "action": "reset", "phase": "accepted", "chance": 0.07},
        {"operation": "*", "action": "status", "status": 503, "phase": "before", "chance": 0.06},
    ],
}
LOAD = ("load", "orders.jsonl", "--look-first", "--settle", "0.2", "--rate", "300")


def real_orders() -> list[Json]:
    """Return real orders that are not large."""
    sample = importlib.resources.files("cdp_orders_async") / "data" / "orders-50.jsonl.gz"
    lines = [orjson.loads(line) for line in gzip.decompress(sample.read_bytes()).splitlines()[:14]]
    return [line for line in lines if len(parse_graph(line).items) < LARGE]


class Person:
    """A person who runs commands in a folder, over a server."""

    def __init__(self, server: Watched, folder: Path) -> None:
        self._server = server
        self._folder = folder

    async def run(self, *words: object) -> tuple[Ran, Json]:
        """Run a command with ``--json``; return what it left and what it printed."""
        ran = await cdp_orders(*words, "--json", cwd=self._folder, env=self._server.environment)
        assert ran.out, ran.err
        return ran, orjson.loads(ran.out)

    async def twice(self, *words: object) -> tuple[Ran, Json]:
        """Run a command until nothing fails, and once more: the last run changes nothing on the server."""
        ran, printed = await self.run(*words)
        while printed.get("failed") or printed.get("unknown") or printed.get("partial"):
            ran, printed = await self.run(*words)
        before = len(self._server.store.effects)
        again, _ = await self.run(*words)
        assert len(self._server.store.effects) == before, again.err
        return ran, printed

    async def interrupted(self, *words: object) -> Ran:
        """Run a command, and press Ctrl-C after a part of its requests."""
        async with started(*words, cwd=self._folder, env=self._server.environment) as process:
            await self._server.has_received(self._server.received + 120)
            process.send_signal(signal.SIGINT)
            return await ended(process)


async def damage(cdp: CdpOrders, graphs: Sequence[OrderGraph], refs: Mapping[str, Mapping[str, UUID]]) -> list[Json]:
    """Damage seven things in seven orders; return the lines that a verification must write."""
    found: list[Json] = []

    def expect(graph: OrderGraph, part: str, ref: object, problem: str, *fields: str) -> None:
        found.append({"key": graph.key, "part": part, "ref": str(ref), "problem": problem, "fields": list(fields)})

    a, b, c, d, e, f, g = graphs
    ref = refs[a.key]["order"]
    await cdp.orders.update(ref, OrderChanges(status="CANCELLED"))
    expect(a, "order", ref, "different", "status")
    ref = refs[b.key]["items/0"]
    await cdp.items.update(ref, OrderItemChanges(name="another"))
    expect(b, "items/0", ref, "different", "name")
    assert c.items[0].extension is not None
    key = next(iter(c.items[0].extension))
    await cdp.item_extensions.update(refs[c.key]["items/0"], {key: "another"})
    expect(c, "items/0/ext", refs[c.key]["items/0/ext"], "different", key)
    await cdp.item_extensions.delete(refs[d.key]["items/0"])
    expect(d, "items/0/ext", refs[d.key]["items/0/ext"], "missing")
    ref = refs[e.key]["contact"]
    await cdp.contacts.delete(ref)
    expect(e, "contact", ref, "missing")
    extra = await cdp.contacts.create(refs[f.key]["order"], NewContact(first_name="Jane", last_name="Doe"))
    expect(f, "contacts", extra.ref, "extra")
    item = g.items[0].item
    assert isinstance(item, NewOrderItem)
    double = await cdp.items.create(refs[g.key]["order"], item)
    expect(g, "items/0", double.ref, "extra")
    return found


async def test_story(tmp_path: Path) -> None:
    """Plan, load with a Ctrl-C in the middle, resume, retry, verify, damage, undo, and load again."""
    lines = real_orders()
    graphs = [parse_graph(line) for line in lines]
    write(tmp_path / "orders.jsonl", lines)
    async with (
        watched() as server,
        CdpOrders(
            base_url=server.base_url, client_key="key", api_token=TOKEN, settings=Settings(trust_env=False)
        ) as cdp,
    ):
        person = Person(server, tmp_path)
        for graph in graphs[:ADOPTED]:
            await ingest_one(cdp, graph)
        server.faults = Faults.of(FAULTS)

        ran, plan = await person.twice("plan", "orders.jsonl", "--rejects", "bad.jsonl")
        assert (ran.status, plan["orders"], plan["invalid"]) == (0, len(graphs), 0)

        outcomes, journal = ("--outcomes", "outcomes.jsonl"), ("--journal", "orders.jsonl.journal.sqlite")
        load = (*LOAD, "--plan", plan["hash"])
        stopped = await person.interrupted(*load, *outcomes)
        assert stopped.status == 130, stopped.err
        ran, _ = await person.run(*load, *outcomes)
        assert (tmp_path / "outcomes.jsonl.1").exists()
        for _ in range(5):  # what failed comes again
            if ran.status == 0:
                break
            ran, _ = await person.run("retry", "outcomes.jsonl", *journal, "--settle", "0.2")
        ran, loaded = await person.twice(*load, *outcomes)
        assert (ran.status, loaded["already"]) == (0, len(graphs)), ran.err
        assert stored(server) == wanted(graphs)
        ran, _ = await person.twice("retry", "outcomes.jsonl", *journal)
        assert ran.status == 0

        check = ("verify", "outcomes.jsonl", "--settle", "0.2", "--differences", "differences.jsonl")
        ran, verified = await person.twice(*check)
        assert (ran.status, verified["orders"], verified["same"]) == (0, len(graphs), verified["parts"]), ran.err

        server.faults = Faults()
        refs = {
            one["key"]: {part["name"]: UUID(part["ref"]) for part in one["parts"]}
            for one in lines_of(tmp_path / "outcomes.jsonl")
        }
        damaged = await damage(cdp, graphs[ADOPTED : ADOPTED + 7], refs)
        server.faults = Faults.of(FAULTS)
        ran, verified = await person.run(*check)
        assert sorted(lines_of(tmp_path / "differences.jsonl"), key=str) == sorted(damaged, key=str)
        assert (ran.status, verified["different"], verified["missing"], verified["extra"]) == (1, 3, 2, 2)

        ran, undone = await person.twice("undo", *journal, "--yes")
        assert (ran.status, undone["failed"]) == (1, 0), ran.err
        assert undone["kept"] > 0
        ran, undone = await person.twice("undo", *journal, "--yes", "--force")
        assert (ran.status, undone["kept"], undone["failed"]) == (0, 0, 0), ran.err
        assert stored(server) == wanted(graphs[:ADOPTED])

        ran, _ = await person.twice(*LOAD)
        assert ran.status == 0, ran.err
        assert stored(server) == wanted(graphs)
        ran, undone = await person.twice("undo", *journal, "--yes")
        assert (ran.status, undone["kept"]) == (0, 0), ran.err
        assert stored(server) == wanted(graphs[:ADOPTED])
        ran, shown = await person.run("journal", "show", *journal)
        assert (ran.status, shown["created"], shown["empty"]) == (0, 0, len(graphs) - ADOPTED)
