"""Jobs and commands whose input is a table, and the orders of a sample."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from cdp_orders_async import CdpOrders, GraphFiles, InputError, TableSource, ingest, jobs
from cdp_orders_async.cli.sample import sample
from tests.cli.support import TOKEN, cdp_orders, lines_of, names, watched
from tests.tables.making import ORDER, lines, parquet, text

ORDERS = 20
SQL = """SELECT id AS "referenceId", '2024-01-01T16:17:16Z' AS "orderedAt", price, 'EUR' AS "currencyCode" FROM input"""


async def test_the_formats_of_a_sample_hold_the_same_orders(tmp_path: Path) -> None:
    """The same seed gives the same orders in each; fewer are the first of more, and another seed gives others."""
    graphs = {}
    for form in ("jsonl", "parquet", "csv"):
        path = tmp_path / f"o.{form}"
        jobs.write_invented(ORDERS, 7, form, path)
        assert path.stat().st_mode & 0o777 == 0o600
        found = await lines(GraphFiles([path]))
        graphs[form] = [line.graph for line in found]
        assert [line.violations for line in found] == [()] * ORDERS
    assert graphs["jsonl"] == graphs["parquet"] == graphs["csv"]
    first = list(jobs.invented_orders(ORDERS, 7))
    assert list(jobs.invented_orders(2 * ORDERS, 7))[:ORDERS] == first
    assert list(jobs.invented_orders(ORDERS, 8)) != first
    plan = await jobs.plan(GraphFiles([tmp_path / "o.parquet"]))
    assert (plan.orders, plan.invalid, list(plan.warnings.to_json())) == (ORDERS, 0, [])


async def test_load_retry_and_verify_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By SQL that is told once: the record of the run tells it to retry and verify."""
    monkeypatch.chdir(tmp_path)
    rows = "".join(f"A-{n},{'zz' if n == 2 else n}\n" for n in range(1, 4))
    text(tmp_path / "orders.csv", f"id,price\n{rows}")
    text(tmp_path / "orders.sql", SQL)
    async with watched() as server:

        async def run(*words: str) -> tuple[int, str]:
            ran = await cdp_orders(*words, cwd=tmp_path, env=server.environment)
            return ran.status, ran.err

        source = TableSource(["orders.csv"], sql="orders.sql")
        planned = await jobs.plan(source, rejects=Path("bad.jsonl"))
        assert (planned.orders, planned.invalid) == (3, 1)
        options = ("--sql", "orders.sql", "--outcomes", "outcomes.jsonl", "--journal", "j.sqlite")
        status, err = await run("load", "orders.csv", *options)
        assert status == 1, err
        places = [(line["file"], line["number"], line["verdict"]) for line in lines_of(tmp_path / "outcomes.jsonl")]
        assert sorted(places) == [
            ("orders.sql", 1, "loaded"),
            ("orders.sql", 2, "invalid"),
            ("orders.sql", 3, "loaded"),
        ]
        assert lines_of(tmp_path / "bad.jsonl")[0]["referenceId"] == "A-2"
        text(tmp_path / "orders.csv", f"id,price\n{rows.replace('zz', '2')}")
        retry = ("retry", "outcomes.jsonl", "--journal", "j.sqlite", "--only", "invalid", "--outcomes", "again.jsonl")
        assert (await run(*retry))[0] == 0
        assert [line["key"].partition("@")[0] for line in lines_of(tmp_path / "again.jsonl")] == ["A-2"]
        async with CdpOrders(base_url=server.base_url, client_key="key", api_token=TOKEN) as cdp:
            report = await jobs.load(cdp, source, journal=Path("j.sqlite"), outcomes=Path("all.jsonl"))
        assert report.counts == {"already": 3}
        assert await run("verify", "all.jsonl", "orders.csv", "--sql", "orders.sql") == (0, "")
        keys = [line["key"] for name in ("outcomes", "again") for line in lines_of(tmp_path / f"{name}.jsonl")]
        assert len(set(keys)) == 3


async def test_sample_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Standard output takes JSON lines; an earlier file is put aside; a wrong option is told."""
    ran = await cdp_orders("sample", "--orders", "3", "--seed", "5", cwd=tmp_path)
    assert (ran.status, len(ran.out.splitlines())) == (0, 3)
    for _ in range(2):
        assert sample(orders=2, output=tmp_path / "o.jsonl") == 0
    assert names(tmp_path) == ["o.jsonl", "o.jsonl.1"]
    for wrong, rule in (
        (partial(sample, form="parquet"), "--output must be given for parquet"),
        (partial(sample, orders=-1), "--orders must be at least 0"),
    ):
        assert wrong() == 2
        told = capsys.readouterr()
        assert (told.out, told.err.count("\n")) == ("", 1)
        assert rule in told.err


def test_sample_is_checked(tmp_path: Path) -> None:
    """Arguments of a wrong type, and folders that do not exist."""
    with pytest.raises(TypeError, match="count must be a whole number"):
        jobs.write_invented("3")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType] that is the test
    with pytest.raises(InputError, match="the sample cannot be written"):
        jobs.write_invented(1, 0, "jsonl", tmp_path / "none" / "o.jsonl")


async def test_ingest_of_the_path_of_a_table(tmp_path: Path) -> None:
    """A path is read as a job reads it: Parquet, also without its suffix, and SQL."""
    path = parquet(tmp_path / "o.parquet", f"SELECT {ORDER}")
    sql = text(tmp_path / "o.sql", f"FROM '{path.name}'")
    plain = tmp_path / "plain"
    plain.write_bytes(path.read_bytes())
    async with watched() as server, CdpOrders(base_url=server.base_url, client_key="key", api_token=TOKEN) as cdp:
        for source, word in ((str(path), "loaded"), (sql, "already"), (plain, "already")):
            async with ingest(cdp, source) as load:
                found = [(outcome.file, outcome.number, str(outcome.verdict)) async for outcome in load]
            assert found == [(str(source), 1, word)]
