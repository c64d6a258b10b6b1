"""The sections of the page of engines on Ray and Spark: the recipe runs, and the arithmetic is right."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import Any, cast

import pytest

from cdp_orders_async.emulator import in_thread
from tests.cli.support import orders, write
from tests.databases import PostgresServer
from tests.laws.pages import ROOT, blocks, section

PAGE = "cdp_orders_async/engines/README.md"
REQUESTS = 1137 / 50
"""Requests of a real order."""
RATE = 20
PACKED = 18_692 / 50
"""Bytes of a real order, packed."""
BATCH_ORDERS, BATCH_SPEED = 50_000, 100
PLAN = 193
"""Seconds of CPU for a million orders."""


def test_the_table_is_what_the_figures_give() -> None:
    """Each row of the arithmetic follows from the figures above it."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in section("## The arithmetic", PAGE).splitlines()
        if re.match(r"\| [\d,]+ million", line)
    ]
    assert [row[0] for row in rows] == ["10 million", "100 million", "1,000 million"]
    for row in rows:
        count = float(row[0].split()[0].replace(",", "")) * 1e6
        expected = [
            (count * REQUESTS / 1e6, "million"),
            (count * REQUESTS / RATE / 3600, "hours"),
            (count / BATCH_ORDERS, ""),
            (count * PACKED / 1e9, "GB"),
            (count / BATCH_SPEED / 3600, "hours"),
            (count * PLAN / 1e6 / 3600, "hours"),
            (count * 2000 / 1e9, "GB"),
        ]
        for cell, (value, unit) in zip(row[1:], expected, strict=True):
            figure, _, named = cell.partition(" ")
            assert named == unit
            assert float(figure.replace(",", "")) == pytest.approx(value, rel=0.08), row


def recipe() -> str:
    """Return the recipe for Spark."""
    _, (_, text) = blocks(section("## Ray and Spark", PAGE))
    return text


def test_the_recipe_for_spark_is_short() -> None:
    """It has at most fifteen lines with words."""
    assert len([line for line in recipe().splitlines() if line]) <= 15


@pytest.mark.filterwarnings("ignore::FutureWarning:pyspark[.]")  # it warns of the newest pandas
def test_the_recipe_for_spark_runs(
    postgres: str, postgres_server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spark loads each order once, though it is asked twice."""
    sql = pytest.importorskip("pyspark.sql", reason="Spark is not installed: pip install pyspark")
    if shutil.which("java") is None:
        pytest.skip("Java is not installed: apt-get install default-jre-headless")
    assert postgres_server is not None
    write(tmp_path / "orders.jsonl", orders(4))
    monkeypatch.chdir(tmp_path)
    with in_thread() as served:
        for name, value in (("BASE_URL", served.base_url), ("CLIENT_KEY", "key"), ("API_TOKEN", "token")):
            monkeypatch.setenv(f"CDP_{name}", value)
        monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)  # else the workers are of the first python3 that is found
        monkeypatch.setenv("PYTHONPATH", str(ROOT))
        spark = sql.SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false").getOrCreate()
        try:
            names: dict[str, Any] = {"spark": spark}
            text = recipe().replace("postgresql://app@db/app", postgres)
            exec(compile(text, PAGE, "exec"), names)  # noqa: S102 the page is this project's own
            for _ in range(2):
                assert sorted(row["verdict"] for row in names["done"].collect()) == ["loaded"] * 4
        finally:
            spark.stop()
        assert len(cast("list[object]", served.ledger()["effects"])) == 24
