"""Before a load sends anything: whether its journal and the server know the same orders."""

from __future__ import annotations

import asyncio
import os
import shlex
from collections.abc import AsyncGenerator, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path

import orjson
import pytest

from cdp_orders_async import CdpOrders, GraphFile, InputError, JournalError, SqliteJournal, Verdict, ingest, parse_graph
from cdp_orders_async.graph import InputLine
from cdp_orders_async.jobs import probe
from cdp_orders_async.jobs.probe import peeked, probed
from tests.cli.support import PARTS, TOKEN, Json, Watched, cdp_orders, ended, names, orders, started, watched, write
from tests.ingest.orders import order

QUICK = ("--rate", "none", "--settle", "0.1", "--json")
NEW = "but the journal {} is new: name the journal of the load that made it, or add --look-first"


def client(server: Watched, key: str = "key") -> CdpOrders:
    """Make a client of *server*."""
    return CdpOrders(base_url=server.base_url, client_key=key, api_token=TOKEN)


async def make(server: Watched, line: Json, days: float = 0) -> None:
    """Let the order of *line* be on the server, ordered some *days* later."""
    async with client(server) as cdp:
        made = order(line["referenceId"])
        await cdp.orders.create(order(line["referenceId"], ordered_at=made.ordered_at + timedelta(days=days)))


@pytest.mark.parametrize("days", [0, 2])
async def test_new_journal_and_a_loaded_order_stop_a_load(tmp_path: Path, days: float) -> None:
    """A large input whose first orders are there stops before anything is sent, each time, until it is told to look."""
    lines = orders(101)
    source = write(tmp_path / "o.jsonl", lines)
    arguments = ("load", source, *QUICK)
    async with watched() as server:
        await make(server, lines[2], days)
        before = server.received
        for _ in range(2):  # the first one leaves no journal behind that the second would take for its own
            ran = await cdp_orders(*arguments, cwd=tmp_path, env=server.environment)
            assert ran.refused("the order B-2 is on the server already", NEW.format(f"{source}.journal.sqlite"))
            assert orjson.loads(ran.out)["error"] == ran.err.removeprefix("cdp-orders: ").strip()
            assert names(tmp_path) == ["o.jsonl"]
        assert server.received == before + 6
        assert server.requests["orders.list"] == 6
        ran = await cdp_orders(*arguments, "--look-first", cwd=tmp_path, env=server.environment)
    assert (ran.status, orjson.loads(ran.out)["graphs"]) == (1 if days else 0, 101)


@pytest.mark.parametrize("new", [3, 5, 40, 100])
async def test_export_that_begins_with_new_orders_is_stopped(tmp_path: Path, new: int) -> None:
    """Orders spread over the lines that are read are looked for too, the last one among them; the rest was loaded."""
    lines = orders(120)
    source = write(tmp_path / "o.jsonl", lines)
    async with watched() as server:
        for line in lines[new:]:
            await make(server, line)
        before = server.received
        ran = await cdp_orders("load", source, *QUICK, cwd=tmp_path, env=server.environment)
        assert ran.refused("is on the server already", "at most 6 orders of the first 101 lines are looked for")
        assert server.received == before + server.requests["orders.list"] <= before + 6
        assert names(tmp_path) == ["o.jsonl"]


@pytest.mark.parametrize(
    ("count", "positions"),
    [(0, []), (2, [0, 1]), (6, range(6)), (7, [0, 1, 2, 3, 4, 6]), (101, [0, 1, 2, 34, 67, 100])],
)
def test_orders_that_are_looked_for(count: int, positions: Sequence[int]) -> None:
    """They are the first three, and at most three more, of which the last order is one."""
    assert probed(range(count)) == list(positions)


async def test_new_journal_of_new_orders_loads(tmp_path: Path) -> None:
    """An order more than two days apart is another one; a large input takes one request for each of six orders."""
    lines = orders(101)
    async with watched() as server:
        await make(server, lines[0], 2.1)
        before = server.received
        ran = await cdp_orders("load", write(tmp_path / "o", lines), *QUICK, cwd=tmp_path, env=server.environment)
        assert server.received == before + 101 * PARTS + 6
    assert (ran.status, orjson.loads(ran.out)["loaded"]) == (0, 101)


async def test_small_input_asks_nothing_first(tmp_path: Path) -> None:
    """An input of a hundred lines sends its parts and nothing else, also with a new journal."""
    async with watched() as server:
        ran = await cdp_orders("load", write(tmp_path / "o", orders(100)), *QUICK, cwd=tmp_path, env=server.environment)
        assert server.received == 100 * PARTS
    assert ran.status == 0


async def test_mended_lines_are_loaded_with_the_same_journal(tmp_path: Path) -> None:
    """A line of a loaded order was edited and breaks a rule: with the journal that is told, it is not loaded twice."""
    good = orders(2)
    async with watched() as server:
        load = partial(cdp_orders, "load", cwd=tmp_path, env=server.environment)
        assert (await load(write(tmp_path / "o", good), *QUICK)).status == 0
        bad = [good[0], {**good[1], "currencyCode": "eur"}]
        ran = await load(write(tmp_path / "o", bad), *QUICK, "--rejects", "bad file")
        assert (ran.status, orjson.loads(ran.out)["invalid"]) == (1, 1)
        before = server.received
        (told,) = [line for line in ran.err.splitlines() if line.startswith("Mend bad file, ")]
        write(tmp_path / "bad file", good[1:])
        ran = await load("bad file", *shlex.split(told.partition(" options and ")[2]), *QUICK)
        assert (ran.status, orjson.loads(ran.out)["already"], server.received - before) == (0, 1, 1)


async def test_new_journal_is_no_use_where_the_server_cannot_say(tmp_path: Path) -> None:
    """Where the first orders cannot be looked for, a load with a new journal ends, and leaves no journal behind."""
    denied = {"operation": "orders.list", "action": "html", "status": 403}
    async with watched({"faults": [denied]}) as server:
        ran = await cdp_orders("load", write(tmp_path / "o", orders(101)), cwd=tmp_path, env=server.environment)
        assert server.received == 1
    assert ran.refused("does not answer as the API does", "GET /v2.1/orders: 403")
    assert names(tmp_path) == ["o"]


async def test_standard_input_is_looked_at_as_it_comes(tmp_path: Path) -> None:
    """Also an input of unknown size is probed; what comes slowly is not held up by it."""
    lines = orders(101)
    given = b"".join(orjson.dumps(line) + b"\n" for line in lines)
    arguments = ("load", "-", "--journal", "j.sqlite", *QUICK)
    async with watched() as server:
        await make(server, lines[0])
        ran = await cdp_orders(*arguments, cwd=tmp_path, env=server.environment, given=given)
        assert ran.refused("the order B-0 is on the server already")
        reader, writer = os.pipe()
        async with started(*arguments, cwd=tmp_path, env=server.environment, stdin=reader) as process:
            os.close(reader)
            os.write(writer, given.splitlines(keepends=True)[1])
            before = server.received
            await server.has_received(before + PARTS)
            os.close(writer)
            assert (await ended(process)).status == 0


async def test_emptied_tenant_is_told(tmp_path: Path) -> None:
    """A tenant that has none of the orders that a journal knows is told in one sentence, and gets nothing."""
    lines = orders(3)
    arguments = ("load", write(tmp_path / "o.jsonl", lines), *QUICK)
    async with watched() as server:
        assert (await cdp_orders(*arguments, cwd=tmp_path, env=server.environment)).status == 0
        server.reset()
        ran = await cdp_orders(*arguments, cwd=tmp_path, env=server.environment)
        assert ran.refused("the server no longer has the orders", str(tmp_path / "o.jsonl.journal.sqlite"))
        assert server.requests == {"orders.get": 3}
        again = await cdp_orders(*arguments, "--journal", "new.sqlite", cwd=tmp_path, env=server.environment)
        assert again.status == 0
        assert server.holds(lines)


async def test_one_lost_order_empties_no_tenant(tmp_path: Path) -> None:
    """Where one of several orders is gone, or a gateway says that it is, the load goes on."""
    arguments = ("load", write(tmp_path / "o.jsonl", orders(3)), *QUICK)
    gone = {"operation": "orders.get", "script": [{"action": "status", "status": 404}]}
    page = {"operation": "orders.get", "action": "html", "status": 404}
    async with watched({"faults": [gone, page]}) as server:
        for _ in range(3):
            ran = await cdp_orders(*arguments, cwd=tmp_path, env=server.environment)
            assert (ran.status, ran.told) == (0, "")
        assert server.requests["orders.create"] == 3


async def test_revoked_credentials_are_told_where_nothing_is_left_to_load(tmp_path: Path) -> None:
    """Credentials that the API refuses are told also if the journal knows everything as loaded."""
    arguments = ("load", write(tmp_path / "o.jsonl", orders(1)))
    async with watched() as server:
        assert (await cdp_orders(*arguments, cwd=tmp_path, env=server.environment)).status == 0
        env = {**server.environment, "CDP_API_TOKEN": "revoked"}
        assert (await cdp_orders(*arguments, cwd=tmp_path, env=env)).refused("refused the credentials (401)")


async def test_journal_is_shared_with_python(tmp_path: Path) -> None:
    """The journal of the command serves a Python program with the same tenant, and no other one."""
    lines = orders(2)
    source = write(tmp_path / "o.jsonl", lines)
    async with watched() as server:
        assert (await cdp_orders("load", source, cwd=tmp_path, env=server.environment)).status == 0
        before = server.received
        path = tmp_path / "o.jsonl.journal.sqlite"
        cdp = client(server)
        async with (
            cdp,
            await SqliteJournal.open(path, identity=cdp.identity) as journal,
            ingest(cdp, GraphFile(source), journal=journal) as load,
        ):
            assert await load.run() == {Verdict.ALREADY: 2}
        assert server.received == before
        other = client(server, "another-tenant")
        with pytest.raises(JournalError, match="belongs to client key"):
            await SqliteJournal.open(path, identity=other.identity)
        ran = await cdp_orders("load", source, "--client-key", "another", cwd=tmp_path, env=server.environment)
    assert ran.refused(str(path), "belongs to client key")


async def test_default_journal_lies_beside_the_input(tmp_path: Path) -> None:
    """Wherever the command runs, it finds the journal of its input; one in the current folder goes on, and is told."""
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    source = write(there / "o.jsonl", orders(2))
    async with watched() as server:
        first = await cdp_orders("load", source, cwd=here, env=server.environment)
        again = await cdp_orders("load", "o.jsonl", "--json", cwd=there, env=server.environment)
        (there / "o.jsonl.journal.sqlite").rename(here / "o.jsonl.journal.sqlite")
        old = await cdp_orders("load", source, "--json", cwd=here, env=server.environment)
        assert server.requests["orders.create"] == 2
    assert first.err == f"A new journal remembers what is loaded: {there}/o.jsonl.journal.sqlite\n"
    assert (again.status, again.err, orjson.loads(again.out)["already"]) == (0, "", 2)
    assert (old.status, orjson.loads(old.out)["already"]) == (0, 2)
    assert old.err == f"The journal of an earlier version goes on: {here}/o.jsonl.journal.sqlite\n"
    assert not (there / "o.jsonl.journal.sqlite").exists()


LINES = [InputLine("o", n, parse_graph(line)) for n, line in enumerate(orders(5))]
BADS = [InputLine("o", n, None) for n in range(10, 15)]
KINDS = (LINES, BADS)


async def coming(
    lines: Sequence[InputLine], closed: list[str], *, broken: bool = False
) -> AsyncGenerator[InputLine, None]:
    """Yield *lines*; *closed* tells that it was closed."""
    try:
        for line in lines:
            yield line
        if broken:
            raise InputError("it broke off")
    finally:
        closed.append("yes")


def in_turn(came: Sequence[InputLine], lines: Sequence[InputLine]) -> bool:
    """Whether all *lines* came, the orders in turn, and the others too."""
    return all(
        [line for line in came if line in some] == [line for line in lines if line in some] for some in (LINES, BADS)
    )


@pytest.mark.parametrize(
    ("lines", "looks"),
    [
        (LINES[:2], []),
        (LINES[:3], [(3, 3)]),
        (LINES, [(3, 3)]),
        (BADS, []),
        (BADS + LINES, [(3, 8)]),
        (BADS + LINES[:1], [(1, 6)]),
        ([*LINES[:1], *BADS, *LINES[1:]], [(3, 8)]),
    ],
)
async def test_what_was_looked_at_is_not_lost(
    monkeypatch: pytest.MonkeyPatch, lines: Sequence[InputLine], looks: Sequence[tuple[int, int]]
) -> None:
    """A look takes no line away, neither at the end, nor where the input breaks off; it waits for three orders."""
    monkeypatch.setattr(probe, "SMALL", 2)
    seen: list[tuple[int, int]] = []
    closed: list[str] = []

    async def look(some: Sequence[InputLine], count: int) -> None:
        seen.append((len(some), count))

    assert in_turn([line async for line in peeked(coming(lines, closed), look)], lines)
    assert seen == looks
    broken = peeked(coming(lines, closed, broken=True), look)
    assert in_turn([await anext(broken) for _ in lines], lines)
    with pytest.raises(InputError, match="it broke off"):
        await anext(broken)
    assert seen == [*looks, *(looks or [(len(lines), len(lines))] * any(line.graph for line in lines))]
    assert closed == ["yes"] * 2


async def test_input_that_pauses_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody knows how long an input is that pauses: its orders so far are looked for."""
    monkeypatch.setattr(probe, "IDLE", 0.01)
    done: list[InputLine] = []
    seen: list[tuple[int, int]] = []
    goes_on = asyncio.Event()

    async def lines() -> AsyncGenerator[InputLine, None]:
        for line in (BADS[0], *LINES):
            yield line
            if line in (BADS[0], LINES[0]):  # it pauses until this line was passed on
                await goes_on.wait()
                goes_on.clear()

    async def look(some: Sequence[InputLine], count: int) -> None:
        seen.append((len(some), count))

    async for line in peeked(lines(), look):
        done.append(line)
        goes_on.set()
    assert done == [BADS[0], *LINES]
    assert seen == [(1, 2)]


async def test_a_pause_is_not_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """An input that paused after lines that break rules is looked at, although it then ends soon."""
    monkeypatch.setattr(probe, "IDLE", 0.01)
    goes_on = asyncio.Event()
    seen: list[tuple[int, int]] = []

    async def lines() -> AsyncGenerator[InputLine, None]:
        yield BADS[0]
        await goes_on.wait()
        for line in LINES[:2]:
            yield line

    async def look(some: Sequence[InputLine], count: int) -> None:
        seen.append((len(some), count))

    async for _ in peeked(lines(), look):
        goes_on.set()
    assert seen == [(2, 3)]


async def test_lines_that_break_rules_hide_no_orders(tmp_path: Path) -> None:
    """Orders after a hundred lines that break rules are looked for, and nothing is sent."""
    lines = [{**line, "orderedAt": "2024-01-01"} if n < 110 else line for n, line in enumerate(orders(120))]
    async with watched() as server:
        await make(server, lines[112])
        before = server.received
        source = write(tmp_path / "o.jsonl", lines)
        for _ in range(2):
            ran = await cdp_orders("load", source, *QUICK, cwd=tmp_path, env=server.environment)
            assert (ran.status, "the order B-112 is on the server already" in ran.err) == (2, True)
            assert orjson.loads(ran.out)["graphs"] == orjson.loads(ran.out)["invalid"] == 110
            assert names(tmp_path) == ["o.jsonl"]
        assert server.received == before + 6 == before + server.requests["orders.list"]


async def test_look_at_silent_input_can_be_cancelled() -> None:
    """An input that gives nothing yet is closed when nobody waits for it any more."""
    closed: list[str] = []
    waits = asyncio.Event()

    async def lines() -> AsyncGenerator[InputLine, None]:
        try:
            yield LINES[0]
            waits.set()
            await asyncio.Event().wait()
        finally:
            closed.append("yes")

    async def look(_: Sequence[InputLine], __: int) -> None:
        raise AssertionError

    task = asyncio.ensure_future(anext(peeked(lines(), look)))
    await waits.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert closed == ["yes"]
