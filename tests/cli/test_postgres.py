"""The commands with a journal in Postgres, by its address."""

from __future__ import annotations

from pathlib import Path

import orjson

from tests.cli.support import PARTS, cdp_orders, orders, watched, write

PASSWORD = "canary-password"  # noqa: S105 it guards nothing
FAILING = {"faults": [{"operation": "contacts.create", "script": [{"action": "status", "status": 400}]}]}


async def test_a_journal_by_its_address(tmp_path: Path, postgres: str) -> None:
    """Load, retry, look, forget and undo: each works as with a file, and none shows the password."""
    dsn = postgres.replace("tester@", f"tester:{PASSWORD}@")
    source = write(tmp_path / "o.jsonl", orders(3))
    async with watched(FAILING) as server:

        async def run(*command: object, status: int = 0) -> str:
            said = await cdp_orders(*command, "--journal", dsn, cwd=tmp_path, env=server.environment)
            assert (said.status, PASSWORD in said.out + said.err) == (status, False), said
            return said.out if command[:2] == ("journal", "export") else said.out + said.err

        none = await run("retry", write(tmp_path / "none.jsonl", []), "--only", "loaded", status=2)
        assert "holds no whole outcome" in none
        loaded = await run("load", source, "--outcomes", "out.jsonl", status=1)
        assert f"A new journal remembers what is loaded: {postgres}\n" in loaded
        assert "put it into PGPASSWORD or ~/.pgpass" in loaded
        run_file = (tmp_path / "out.jsonl.run.json").read_text(encoding="utf-8")
        assert orjson.loads(run_file)["options"]["journal"] == postgres
        assert PASSWORD not in run_file
        await run("retry", "out.jsonl", "--only", "partial")
        assert "3 orders: 3 complete" in await run("journal", "show")
        exported = [orjson.loads(line) for line in (await run("journal", "export")).splitlines()]
        assert [len(order["refs"]) for order in exported] == [PARTS] * 3
        await run("journal", "forget", exported[0]["key"], "--yes")
        assert "2 orders: 2 complete" in await run("journal", "show")
        assert f"{2 * PARTS} parts deleted" in await run("undo", "--yes")
        assert "knows no order of this tenant" not in await run("undo", "--yes")


async def test_a_database_that_is_away(tmp_path: Path, unused_tcp_port: int) -> None:
    """One sentence without the password, status 2, and nothing is sent; a broken address is refused too."""
    source = write(tmp_path / "o.jsonl", orders(1))
    async with watched() as server:
        for address, sentence in (
            (f"postgresql://u:{PASSWORD}@127.0.0.1:{unused_tcp_port}/db", "is not there (connection refused)"),
            (f"postgresql://u:{PASSWORD}/x@127.0.0.1/db", "the address of the journal cannot be read"),
        ):
            said = await cdp_orders("load", source, "--journal", address, cwd=tmp_path, env=server.environment)
            assert said.status == 2
            assert sentence in said.err
            assert PASSWORD not in said.out + said.err
        assert server.received == 0
