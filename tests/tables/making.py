"""Tables for tests, and the orders that are read from them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb

from cdp_orders_async import GraphFiles, InputLine, TableSource

Json = dict[str, Any]
Source = GraphFiles | TableSource

MOMENT = "TIMESTAMPTZ '2024-01-01 16:17:16Z'"
ORDER = f"""'A-1' AS "referenceId", {MOMENT} AS "orderedAt", 50.10 AS price, 'EUR' AS "currencyCode" """
"""The columns of a right order, in SQL."""
KEY = "A-1@2024-01-01T16:17:16+00:00"


def parquet(path: Path, select: str) -> Path:
    """Write the result of *select* as a Parquet file."""
    duckdb.execute(f"COPY ({select}) TO '{path}' (FORMAT parquet)")
    return path


def text(path: Path, content: str) -> Path:
    """Write a text file."""
    path.write_bytes(content.encode())
    return path


async def lines(source: Source) -> list[InputLine]:
    """Return all lines of a source."""
    return [line async for line in source]


async def one(path: Path, **options: Any) -> InputLine:  # noqa: ANN401 those of the source
    """Return the one line of a table."""
    (line,) = await lines(TableSource([path], **options))
    return line


def told(line: InputLine) -> list[str]:
    """Return what is wrong with a line, in words."""
    return [str(violation) for violation in line.violations]


def raw(line: InputLine) -> Json:
    """Return a bad line as it is kept."""
    assert line.raw is not None
    value: Json = json.loads(line.raw.open())
    return value
