"""The extra tables: orders come from Parquet, and from CSV, also packed."""

from __future__ import annotations

import asyncio
import gzip
import importlib
import sys
import tempfile
from pathlib import Path

from cdp_orders_async import GraphFiles, jobs

COUNT = 3


def tables(folder: Path) -> list[Path]:
    """Write tables of orders to *folder*."""
    zstd = importlib.import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")
    jobs.write_invented(COUNT, 1, "parquet", folder / "orders.parquet")
    jobs.write_invented(COUNT, 1, "csv", folder / "orders.csv")
    text = (folder / "orders.csv").read_bytes()
    (folder / "orders.csv.gz").write_bytes(gzip.compress(text))
    (folder / "orders.csv.zst").write_bytes(zstd.compress(text))
    return sorted(folder.iterdir())


async def main() -> None:
    """Read each table."""
    with tempfile.TemporaryDirectory() as folder:
        for path in tables(Path(folder)):
            lines = [line async for line in GraphFiles([path])]
            assert [line.graph is not None for line in lines] == [True] * COUNT, path.name


asyncio.run(main())
