"""The command that takes loads back, as a person runs it."""

from __future__ import annotations

import os
import re
import signal
import stat
import sys
from pathlib import Path

import orjson
import pytest

from cdp_orders_async.cli import main
from cdp_orders_async.emulator import Emulator, Faults, in_thread
from tests.cli.support import (
    PARTS,
    TOKEN,
    Json,
    Ran,
    Watched,
    cdp_orders,
    ended,
    lines_of,
    names,
    orders,
    orders_v2,
    started,
    watched,
    write,
)
from tests.ingest.expectations import stored
from tests.ingest.network import ELSEWHERE

SOON = (
    sys.executable,
    "-c",
    (
        "import sys; import cdp_orders_async.jobs; from cdp_orders_async.cli import main;"
        " sys.modules['cdp_orders_async.jobs.undo'].DRAIN = 2.0; sys.exit(main())"
    ),
)
"""The command, in which what is in flight has less time to finish."""


async def loaded(server: Watched, folder: Path, count: int = 2) -> None:
    """Load some orders."""
    source = write(folder / "o.jsonl", orders(count))
    assert (await cdp_orders("load", source, "--journal", "j", cwd=folder, env=server.environment)).status == 0


async def undone(server: Watched, folder: Path, *options: object) -> Ran:
    """Undo the loads, without asking."""
    return await cdp_orders("undo", "--journal", "j", "--yes", *options, cwd=folder, env=server.environment)


async def test_undo_and_the_same_load_again(tmp_path: Path) -> None:
    """The server is where it was, twice does nothing, and the same load loads again."""
    async with watched() as server:
        await loaded(server, tmp_path)
        first = await undone(server, tmp_path, "--outcomes", "out", "--json")
        assert (first.status, orjson.loads(first.out)) == (0, {"deleted": 2 * PARTS, "kept": 0, "failed": 0})
        assert (first.err, stored(server)) == ("", [])
        received = server.received
        second = await undone(server, tmp_path, "--outcomes", "out")
        assert (second.status, second.err) == (0, "")
        assert second.out == "The journal knows nothing that its loads created: nothing was deleted.\n"
        assert server.received == received
        await loaded(server, tmp_path)
        assert server.holds(orders(2))
        assert (await undone(server, tmp_path, "--outcomes", "out")).out == "12 parts deleted, 0 kept, 0 failed\n"
    assert names(tmp_path) == ["j", "o.jsonl", "out", "out.1"]
    assert [line["verdict"] for line in lines_of(tmp_path / "out")] == ["deleted"] * 2


async def test_undo_asks_first(tmp_path: Path) -> None:
    """On a terminal it asks, and only yes is yes; without one it wants --yes."""
    async with watched() as server:
        await loaded(server, tmp_path)
        received = server.received
        alone = await cdp_orders("undo", "--journal", "j", cwd=tmp_path, env=server.environment)
        assert alone.refused("nobody is at a terminal", "nothing was done", "--yes")
        for answer, status in (("no\n", 2), ("\n", 2), ("y\n", 2), ("yes\n", 0)):
            assert server.received == received
            ours, theirs = os.openpty()
            try:
                os.write(ours, answer.encode())
                async with started(
                    "undo", "--journal", "j", cwd=tmp_path, env=server.environment, stdin=theirs
                ) as process:
                    told = await ended(process)
            finally:
                os.close(ours)
                os.close(theirs)
            assert f"Delete 12 parts of 2 orders at {server.base_url}? Type yes:\n" in told.err
            assert told.status == status
            assert ("nothing was done" in told.err) == bool(status)
        assert stored(server) == []


async def test_undo_tells_what_stays(tmp_path: Path) -> None:
    """What stays has its reason and its exit status; the next command is named; --force deletes it."""
    async with watched() as server:
        await loaded(server, tmp_path)
        contact = next(iter(server.store.all("contacts")))
        server.store.update(contact, {"firstName": "canary-Other"}, ELSEWHERE)
        kept = await undone(server, tmp_path)
        assert (kept.status, kept.out) == (1, f"{2 * PARTS - 2} parts deleted, 2 kept, 0 failed\n")
        assert ": kept: contact: " in kept.err
        assert "its part contact stays" in kept.err
        assert kept.err.endswith("To delete it all the same, add --force.\n")
        assert "canary" not in kept.err
        assert (await undone(server, tmp_path, "--force")).status == 0
        assert stored(server) == []


async def test_undo_that_fails_goes_on(tmp_path: Path) -> None:
    """What fails is told with the command that goes on, which has no token in it."""
    fault: Json = {"operation": "items.delete", "script": [{"action": "status", "status": 403}]}
    async with watched({"faults": [fault]}) as server:
        await loaded(server, tmp_path)
        env = {**server.environment, "CDP_API_TOKEN": ""}
        words = ("undo", "--journal", "j", "--yes", "--api-token", "canary-token")
        failed = await cdp_orders(*words, cwd=tmp_path, env=env)
        assert failed.status == 1
        assert failed.err.endswith("What is deleted is recorded. To go on: cdp-orders undo --journal j --yes\n")
        assert (await cdp_orders(*words, cwd=tmp_path, env=env)).status == 0
        assert stored(server) == []


async def test_undo_stops_and_goes_on(tmp_path: Path) -> None:
    """A signal lets the requests in flight finish; the same command does the rest; then the load loads again."""
    async with watched() as server:
        await loaded(server, tmp_path, 40)
        received = server.received
        async with started(
            "undo", "--journal", "j", "--yes", "--connections", "2", cwd=tmp_path, env=server.environment
        ) as process:
            await server.has_received(received + 30)
            process.send_signal(signal.SIGINT)
            told = await ended(process)
        assert told.status == 130
        assert "Stopping: the requests in flight finish." in told.err
        assert stored(server) != []
        assert (await undone(server, tmp_path)).status == 0
        assert stored(server) == []
        await loaded(server, tmp_path, 40)
        assert server.holds(orders(40))


@pytest.mark.parametrize(
    ("fault", "rate"),
    [
        ({"operation": "*", "action": "status", "status": 503}, "none"),
        ({"operation": "*", "action": "status", "status": 429, "retry_after": 900}, "none"),
        ({"operation": "*", "action": "reset", "phase": "accepted"}, "none"),
        ({"operation": "*", "action": "stall", "phase": "written", "seconds": 999}, "none"),
        ({"operation": "orders.create", "action": "status", "status": 503}, "1"),
    ],
    ids=["not well", "asks to wait", "closes connections", "is silent", "rate is low"],
)
async def test_undo_that_waits_stops_at_once(tmp_path: Path, fault: Json, rate: str) -> None:
    """A signal gives up what waits for the server, or for its turn; the same command does the rest."""
    async with watched() as server:
        await loaded(server, tmp_path, 12)
        received = server.received
        # It would wait for longer than the test does.
        env = {**server.environment, "CDP_RATE": rate, "CDP_TIMEOUT": "999", "CDP_DEADLINE": "9999"}
        words = ("undo", "--journal", "j", "--yes", "--connections", "3")
        async with started(*words, cwd=tmp_path, env=env, command=SOON) as process:
            await server.has_received(received + 4)
            server.faults = Faults.of({"faults": [fault]})
            await server.has_received(received + 7)
            process.send_signal(signal.SIGTERM)
            told = await ended(process)
        assert told.status == 143
        assert stored(server) != []
        assert "Stopping: the requests in flight finish." in told.err
        assert "parts deleted" in told.out
        assert told.err.count("To go on: ") == 1
        server.faults = Faults()
        assert (await undone(server, tmp_path)).status == 0
        assert stored(server) == []
        await loaded(server, tmp_path, 12)
        assert server.holds(orders(12))


@pytest.mark.parametrize("requests", [9, 33])
async def test_undo_that_is_killed_is_repaired(tmp_path: Path, requests: int) -> None:
    """After kill -9 the same load loads all that is missing, exactly once; and an undo deletes the rest."""
    async with watched() as server:
        await loaded(server, tmp_path, 4)
        for then in ("load", "undo"):
            received = server.received
            async with started(
                "undo", "--journal", "j", "--yes", "--connections", "2", cwd=tmp_path, env=server.environment
            ) as process:
                await server.has_received(received + requests)
                process.kill()
                await process.wait()
            if then == "load":
                resumed = await cdp_orders(
                    *("load", "o.jsonl", "--journal", "j", "--settle", "0"), cwd=tmp_path, env=server.environment
                )
                assert resumed.status == 0
                assert server.holds(orders(4))
        assert (await undone(server, tmp_path)).status == 0
        assert stored(server) == []


async def test_undo_tells_what_a_load_that_was_killed_may_have_made(tmp_path: Path) -> None:
    """The journal lacks orders whose answers a kill cut off: undo says so, and deletes them after the next load."""
    stalled = {"faults": [{"operation": "orders.create", "phase": "written", "action": "stall", "chance": 1}]}
    async with watched(stalled) as server:
        source, received = write(tmp_path / "o.jsonl", orders(2)), server.received
        async with started("load", source, "--journal", "j", cwd=tmp_path, env=server.environment) as process:
            await server.has_received(received + 2)
            process.kill()
            await process.wait()
        server.faults = Faults()
        told = await undone(server, tmp_path, "--json")
        assert (told.status, orjson.loads(told.out)["in_doubt"]) == (1, 2)
        assert "may have made more of 2 orders than the journal knows: load once more" in told.err
        load = await cdp_orders("load", source, "--journal", "j", "--settle", "0", cwd=tmp_path, env=server.environment)
        assert load.status == 0
        assert server.holds(orders(2))
        assert (await undone(server, tmp_path)).status == 0
        assert stored(server) == []


async def test_undo_refuses_what_cannot_be(tmp_path: Path) -> None:
    """Version 2, a journal that is not there, one of another tenant, and a file of something else: exit status 2."""
    async with watched() as server:
        await loaded(server, tmp_path)
        received = server.received
        assert (await undone(server, tmp_path, "--api", "v2")).refused("version 2", "cannot delete", "nothing was sent")
        missing = await cdp_orders("undo", "--journal", "no", "--yes", cwd=tmp_path, env=server.environment)
        assert missing.refused("there is no journal at no")
        other = {**server.environment, "CDP_CLIENT_KEY": "other"}
        assert (await cdp_orders("undo", "--journal", "j", "--yes", cwd=tmp_path, env=other)).refused(
            "belongs to client key"
        )
        assert (await undone(server, tmp_path, "--outcomes", "o.jsonl")).refused("it holds something else")
        assert (await undone(server, tmp_path, "--before", "o.jsonl")).refused(
            "o.jsonl:1", "a line of the values before"
        )
        assert server.received == received
        write(tmp_path / "v2.jsonl", orders_v2(1))
    assert names(tmp_path) == ["j", "o.jsonl", "v2.jsonl"]


async def test_undo_lists_what_update_changed(tmp_path: Path) -> None:
    """``load --keep-before`` keeps the values, for the owner alone; ``undo --before`` names the fields."""
    async with watched() as server:
        await loaded(server, tmp_path)
        (tmp_path / "j").unlink()
        changed = [{**one, "price": 60} for one in orders(2)]
        source = write(tmp_path / "o.jsonl", changed)
        update = ("load", source, "--journal", "j", "--look-first", "--settle", "0", "--on-existing", "update")
        for _ in range(2):
            done = await cdp_orders(*update, "--keep-before", "before", cwd=tmp_path, env=server.environment)
            assert done.status == 0
        assert [line["fields"] for line in lines_of(tmp_path / "before")] == [{"price": 50}] * 2
        assert stat.S_IMODE((tmp_path / "before").stat().st_mode) == 0o600
        told = await undone(server, tmp_path, "--before", "before")
        assert told.status == 0
        assert "Loads changed 2 parts that stay; before has the values before:" in told.err
        assert told.err.count(": price\n") == 2
        assert server.holds(changed)


def test_counts_of_one_have_a_noun_in_the_singular(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One order of one part is told as such, by each command that counts."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "o.jsonl", [{key: value for key, value in orders(1)[0].items() if isinstance(value, (str, int))}])
    emulator = Emulator(api_token=TOKEN)
    with in_thread(emulator) as served:
        place = ("--base-url", served.base_url, "--client-key", "key", "--api-token", TOKEN)
        assert main(("load", "o.jsonl", "--journal", "j", "--outcomes", "out", *place)) == 0
        assert main(("verify", "out", "--settle", "0", *place)) == 0
        assert main(("journal", "show", "--journal", "j")) == 0
        assert main(("undo", "--journal", "j", "--yes", *place)) == 0
    emulator.close()
    told = capsys.readouterr().out
    for words in ("1 order with 1 part was checked", "1 part is the same", "1 order: 1 complete", "1 part deleted"):
        assert words in told
    assert re.findall(r"\b1 (?:orders|parts|requests|loads)\b", told) == []
