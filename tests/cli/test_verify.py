"""``cdp-orders verify`` and ``retry``: the commands, their exit status and what they say."""

from __future__ import annotations

import signal
from pathlib import Path
from uuid import UUID

import orjson

from cdp_orders_async import CdpOrders, Settings
from cdp_orders_async.emulator import Faults
from tests.cli.support import PARTS, TOKEN, Watched, cdp_orders, ended, lines_of, names, orders, started, watched, write


async def load(server: Watched, folder: Path, count: int) -> list[dict[str, UUID]]:
    """Load orders, and return the references of the parts of each."""
    write(folder / "o.jsonl", orders(count))
    arguments = ("load", "o.jsonl", "--outcomes", "out.jsonl", "--journal", "j")
    assert (await cdp_orders(*arguments, cwd=folder, env=server.environment)).status in {0, 1}
    recorded = sorted(lines_of(folder / "out.jsonl"), key=lambda line: line["number"])
    return [{part["name"]: UUID(part["ref"]) for part in line["parts"] if "ref" in part} for line in recorded]


async def test_verify_tells_what_differs(tmp_path: Path) -> None:
    """A clean load gives 0; after a change the command gives 1, and names it without any personal value."""
    async with watched() as server:
        at = await load(server, tmp_path, 5)
        clean = await cdp_orders("verify", "out.jsonl", "--json", cwd=tmp_path, env=server.environment)
        assert (clean.status, clean.err) == (0, "")
        report = orjson.loads(clean.out)
        assert (report["orders"], report["parts"], report["same"]) == (5, 5 * PARTS, 5 * PARTS)
        async with CdpOrders(
            base_url=server.base_url, client_key="key", api_token=TOKEN, settings=Settings(rate=None)
        ) as cdp:
            await cdp.contacts.update(at[1]["contact"], {"first_name": "canary-Ann"})
            await cdp.items.delete(at[2]["items/0"])
        arguments = ("verify", "out.jsonl", "o.jsonl", "--differences", "d.jsonl", "--settle", "0")
        ran = await cdp_orders(*arguments, cwd=tmp_path, env=server.environment)
        again = await cdp_orders(*arguments, "--json", cwd=tmp_path, env=server.environment)
        wrong = await cdp_orders(*arguments, cwd=tmp_path, env={**server.environment, "CDP_API_TOKEN": "wrong"})
    assert (ran.status, again.status) == (1, 1)
    assert "o.jsonl:2: contact different in first_name\n" in ran.err
    assert "o.jsonl:3: items/0 missing; items/0/ext missing\n" in ran.err
    assert "5 orders with 30 parts were checked:" in ran.out
    assert "\nTo give an order the values of the input again: cdp-orders journal forget KEY" in ran.out
    assert [line["fields"] for line in sorted(lines_of(tmp_path / "d.jsonl"), key=str)] == [["first_name"], [], []]
    assert (tmp_path / "d.jsonl.1").exists()
    assert "canary" not in ran.out + ran.err + (tmp_path / "d.jsonl").read_text()
    assert orjson.loads(again.out)["missing"] == 2
    assert wrong.status == 2
    assert "refused the credentials" in wrong.err
    assert "out.jsonl.verified" not in names(tmp_path)  # nothing was checked


async def test_stopped_verify_goes_on(tmp_path: Path) -> None:
    """Ctrl-C gives 130 and says how far it is; the same command goes on there."""
    arguments = ("verify", "out.jsonl", "--connections", "1", "--settle", "0", "--differences", "d")
    async with watched() as server:
        await load(server, tmp_path, 30)
        received = server.received
        env = server.environment
        async with started(*arguments, cwd=tmp_path, env=env) as process:
            await server.has_received(received + 60)
            process.send_signal(signal.SIGINT)
            ran = await ended(process)
        assert ran.status == 130
        assert " orders are checked. The same command goes on with the others." in ran.err
        checked = int(ran.err.split("Stopped: ")[1].split()[0])
        assert 0 < checked < 30
        received = server.received
        rest = await cdp_orders(*arguments, "--json", cwd=tmp_path, env=env)
        assert server.received - received == (30 - checked) * PARTS
    assert rest.status == 0
    assert rest.err == f"The verification that was stopped goes on: {checked} orders are checked.\n"
    assert orjson.loads(rest.out)["same"] == 30 * PARTS
    assert "out.jsonl.verified" not in names(tmp_path)


async def test_sample_says_how_sure_it_is(tmp_path: Path) -> None:
    """A sample tells how many of all differ at most."""
    async with watched() as server:
        await load(server, tmp_path, 20)
        ran = await cdp_orders("verify", "out.jsonl", "--sample", 10, cwd=tmp_path, env=server.environment)
    # None of 10 differs: C(16,10)/C(20,10) is 4.3 % where 4 of 20 differ, and 10.5 % where 3 do.
    assert "They are a sample of 20 orders, of which at most 15.00% differ (3), with 95 % confidence." in ran.out
    assert ran.status == 0


BAD_USAGE = [
    (("verify", "nothing"), "nothing: No such file"),
    (("verify", "o.jsonl"), "o.jsonl, line 1: it is not an outcome"),
    (("verify", "out.jsonl", "gone.jsonl"), "gone.jsonl cannot be read"),
    (("verify", "out.jsonl", "--sample", "0"), "--sample must be at least 1"),
    (("verify", "out.jsonl", "--wrong"), "--wrong"),
    (("retry", "out.jsonl"), "--journal"),
    (("retry", "out.jsonl", "--journal", "none", "--only", "loaded"), "there is no journal at none"),
    (("retry", "out.jsonl", "--journal", "j", "--outcomes", "out.jsonl"), "must be different files"),
    (("retry", "out.jsonl", "--journal", "j", "--max-errors", "0"), "--max-errors must be above 0"),
    (("retry", "out.jsonl", "--journal", "j", "--only", "lost"), "--only must be one or several of"),
]
"""Arguments, and words of the sentence that refuses them."""


async def test_bad_usage_is_told_in_a_sentence(tmp_path: Path) -> None:
    """What is wrong is said on standard error, with the exit status 2, and nothing is sent."""
    async with watched() as server:
        await load(server, tmp_path, 1)
        received, before = server.received, names(tmp_path)
        for arguments, words in BAD_USAGE:
            ran = await cdp_orders(*arguments, cwd=tmp_path, env=server.environment)
            assert ran.refused(words), ran
            assert (server.received, names(tmp_path)) == (received, before), arguments


async def test_input_that_moved_is_named(tmp_path: Path) -> None:
    """Where the input is no longer at its place, the command says how to name it."""
    async with watched() as server:
        await load(server, tmp_path, 2)
        (tmp_path / "o.jsonl").rename(tmp_path / "p.jsonl")
        lost = await cdp_orders("verify", "out.jsonl", cwd=tmp_path, env=server.environment)
        found = await cdp_orders("verify", "out.jsonl", "p.jsonl", cwd=tmp_path, env=server.environment)
    assert lost.refused("o.jsonl cannot be read", "name the file of the orders after the outcomes")
    assert found.status == 0


async def test_retry_loads_what_is_left(tmp_path: Path) -> None:
    """What failed is loaded by a retry; a second one does nothing, and verify is content."""
    async with watched() as server:
        server.faults = Faults.of(
            {"faults": [{"operation": "items.create", "script": [{"action": "status", "status": 400}]}]}
        )
        await load(server, tmp_path, 6)
        server.faults = Faults()
        arguments = ("retry", "out.jsonl", "--journal", "j", "--settle", "0", "--json")
        ran = await cdp_orders(*arguments, cwd=tmp_path, env=server.environment)
        again = await cdp_orders(*arguments, cwd=tmp_path, env=server.environment)
        none = await cdp_orders(*arguments, "--only", "busy,not_tried", cwd=tmp_path, env=server.environment)
        assert server.holds(orders(6))
        verified = await cdp_orders("verify", "out.jsonl", "--settle", "0", cwd=tmp_path, env=server.environment)
    counts = [orjson.loads(one.out) for one in (ran, again, none)]
    assert [(one["graphs"], one["loaded"], one["already"]) for one in counts] == [(1, 1, 0), (1, 0, 1), (0, 0, 0)]
    assert [one.status for one in (ran, again, none, verified)] == [0, 0, 0, 0]
    assert none.err == "No order in out.jsonl is busy or not_tried: nothing was loaded.\n"


async def test_retry_has_the_options_of_a_load(tmp_path: Path) -> None:
    """It ends after some errors, tells of it as JSON lines, names the run, and says which command resumes."""
    async with watched() as server:
        server.faults = Faults.of({"faults": [{"operation": "items.create", "action": "status", "status": 400}]})
        await load(server, tmp_path, 3)
        arguments = ("retry", "out.jsonl", "--journal", "j", "--settle", "0", "--outcomes", "again.jsonl", "--json")
        limits = ("--max-errors", "1", "--give-up", "20", "--connections", "1", "--progress", "json")
        ran = await cdp_orders(*arguments, *limits, cwd=tmp_path, env=server.environment)
    told = [orjson.loads(line)["text"] for line in ran.err.splitlines()]
    report = orjson.loads(ran.out)
    assert (ran.status, report["error"] in told) == (1, True), ran
    assert "--max-errors 1" in report["error"]
    assert told[-1].startswith("To resume: cdp-orders retry out.jsonl --journal j")
    assert report["run"] == orjson.loads((tmp_path / "again.jsonl.run.json").read_bytes())["run"]
