"""The commands that look into a journal."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import orjson
import pytest

from tests.cli.support import PARTS, Watched, cdp_orders, names, orders, watched, write
from tests.ingest.expectations import stored

FAILING = {"faults": [{"operation": "contacts.create", "script": [{"action": "status", "status": 400}]}]}


async def load(server: Watched, folder: Path, *options: object) -> int:
    """Load three orders; with `FAILING`, one without its contact at first."""
    source = write(folder / "o.jsonl", orders(3))
    command = ("load", source, "--journal", "j", "--settle", "0", *options)
    return (await cdp_orders(*command, cwd=folder, env=server.environment)).status


async def test_show(tmp_path: Path) -> None:
    """It tells what the journal belongs to and how much it knows, and needs no server and no credentials."""
    async with watched(FAILING) as server:
        assert await load(server, tmp_path) == 1
        url = server.base_url
    shown = await cdp_orders("journal", "show", "--journal", "j", cwd=tmp_path)
    assert (shown.status, shown.err) == (0, "")
    said = shown.out.splitlines()
    assert said[0] == f"base URL: {url}"
    assert said[2] == "3 orders: 2 complete, 1 incomplete, 0 under way"
    assert said[3].startswith("17 parts on the server, 17 of them created with this journal; 0 in doubt")
    assert said[4].startswith("1 load, ")
    told = orjson.loads((await cdp_orders("journal", "show", "--journal", "j", "--json", cwd=tmp_path)).out)
    assert told.pop("size") >= (tmp_path / "j").stat().st_size > 0
    assert told.pop("identity").keys() == {"base URL", "client key"}
    counts = {"orders": 3, "complete": 2, "incomplete": 1, "under_way": 0}
    assert told == {**counts, "empty": 0, "parts": 17, "created": 17, "in_doubt": 0, "without_ref": 0, "runs": 1}


async def test_export(tmp_path: Path) -> None:
    """Each order is a line with the references that the server gave its parts, the first order first."""
    async with watched(FAILING) as server:
        await load(server, tmp_path)
        refs = {
            record.ref for kind in ("orders", "items", "contacts", "consumers") for record in server.store.all(kind)
        }
    exported = await cdp_orders("journal", "export", "--journal", "j", cwd=tmp_path)
    lines = [orjson.loads(line) for line in exported.out.splitlines()]
    assert [line["key"] for line in lines] == [f"B-{n}@2024-01-01T16:17:16+00:00" for n in range(3)]
    assert sorted(line["complete"] for line in lines) == [False, True, True]
    assert refs <= {ref for line in lines for ref in line["refs"].values()}
    assert {len(line["refs"]) for line in lines} == {PARTS, PARTS - 1}
    assert "canary" not in exported.out


async def test_forget(tmp_path: Path) -> None:
    """A forgotten order is found again by --look-first; no undo deletes it."""
    key = "B-1@2024-01-01T16:17:16+00:00"
    async with watched() as server:
        assert await load(server, tmp_path) == 0
        alone = await cdp_orders("journal", "forget", key, "--journal", "j", cwd=tmp_path)
        assert alone.refused("nobody is at a terminal", "--yes")
        forgotten = await cdp_orders("journal", "forget", key, "--journal", "j", "--yes", cwd=tmp_path)
        assert forgotten.status == 0
        assert forgotten.out == "The journal has forgotten the order with 6 parts; the server keeps it.\n"
        assert "needs --look-first" in forgotten.err
        again = await cdp_orders("journal", "forget", key, "--journal", "j", "--yes", cwd=tmp_path)
        assert again.refused("knows no order B-1@")
        exported = await cdp_orders("journal", "export", "--journal", "j", cwd=tmp_path)
        assert [orjson.loads(line)["key"][:3] for line in exported.out.splitlines()] == ["B-0", "B-2"]
        assert await load(server, tmp_path, "--look-first") == 0
        assert server.holds(orders(3))
        undone = await cdp_orders("undo", "--journal", "j", "--yes", cwd=tmp_path, env=server.environment)
        assert (undone.status, undone.out) == (0, f"{2 * PARTS} parts deleted, 0 kept, 0 failed\n")
        assert len(stored(server)) == 1


@pytest.mark.parametrize("finer", ["456", "000"])
async def test_keys_of_an_earlier_version(tmp_path: Path, finer: str) -> None:
    """A key with microseconds is exported as it is today, and forgotten by either form."""
    key = "B-0@2024-01-01T16:17:16.123{}+00:00".format
    source = write(tmp_path / "o.jsonl", [{**orders(1)[0], "orderedAt": "2024-01-01T16:17:16.123456Z"}])
    async with watched() as server:
        await cdp_orders("load", source, "--journal", "j", "--settle", "0", cwd=tmp_path, env=server.environment)
    with closing(sqlite3.connect(tmp_path / "j")) as db, db:
        assert db.execute("UPDATE graphs SET graph = ? WHERE graph = ?", (key("456"), key("000"))).rowcount == 1
    exported = await cdp_orders("journal", "export", "--journal", "j", cwd=tmp_path)
    assert orjson.loads(exported.out)["key"] == key("000")
    assert "1 order: 1 complete" in (await cdp_orders("journal", "show", "--journal", "j", cwd=tmp_path)).out
    forgotten = await cdp_orders("journal", "forget", key(finer), "--journal", "j", "--yes", cwd=tmp_path)
    assert (forgotten.status, "with 6 parts" in forgotten.out) == (0, True)
    assert (await cdp_orders("journal", "export", "--journal", "j", cwd=tmp_path)).out == ""


async def test_nothing_is_known_of_what_was_undone(tmp_path: Path) -> None:
    """After an undo the journal shows and exports nothing."""
    async with watched() as server:
        await load(server, tmp_path)
        await cdp_orders("undo", "--journal", "j", "--yes", cwd=tmp_path, env=server.environment)
    assert (await cdp_orders("journal", "export", "--journal", "j", cwd=tmp_path)).out == ""
    assert "0 orders: 0 complete" in (await cdp_orders("journal", "show", "--journal", "j", cwd=tmp_path)).out


@pytest.mark.parametrize("command", [("show",), ("export",), ("forget", "A@2024-01-01T00:00:00+00:00", "--yes")])
async def test_what_is_no_journal_is_refused(tmp_path: Path, command: tuple[str, ...]) -> None:
    """A journal that is not there is not made, and another file is not touched."""
    missing = await cdp_orders("journal", *command, "--journal", "j", cwd=tmp_path)
    assert missing.refused("there is no journal at j")
    (tmp_path / "text").write_text("text", encoding="utf-8")
    assert (await cdp_orders("journal", *command, "--journal", "text", cwd=tmp_path)).refused("text")
    assert names(tmp_path) == ["text"]
    assert (tmp_path / "text").read_text(encoding="utf-8") == "text"
