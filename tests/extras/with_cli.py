"""The extra cli: a load of packed orders with a report."""

from __future__ import annotations

import gzip
import importlib
import sys
import tempfile
from pathlib import Path

from cdp_orders_async import emulator, jobs
from cdp_orders_async.__main__ import main as command

COUNT = 3


def ran(*arguments: str) -> int:
    """Run the command in this process, and return its exit status."""
    sys.argv = ["cdp-orders", *arguments]
    try:
        return command()
    except SystemExit as ended:
        return int(ended.code or 0)


def main() -> None:
    """Load two files."""
    zstd = importlib.import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")
    with tempfile.TemporaryDirectory() as name, emulator.in_thread() as served:
        folder = Path(name)
        jobs.write_invented(COUNT, 1, "jsonl", folder / "orders.jsonl")
        text = (folder / "orders.jsonl").read_bytes()
        (folder / "orders.jsonl").unlink()
        for packed, compress in (("orders.jsonl.zst", zstd.compress), ("orders.jsonl.gz", gzip.compress)):
            (folder / packed).write_bytes(compress(text))
            report, outcomes = str(folder / "report.html"), str(folder / f"{packed}.outcomes")
            server = ("--base-url", served.base_url, "--client-key", "key", "--api-token", "token", "--rate", "1000")
            assert ran("load", str(folder / packed), *server, "--outcomes", outcomes, "--report", report) == 0, packed
            assert "<html" in Path(report).read_text(encoding="utf-8")


if __name__ == "__main__":
    main()
