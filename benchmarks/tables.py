"""P9: orders of a table a CPU-second, as JSON text, and the peak of the memory at ten times as many.

The orders are those of ``cdp-orders sample``. Each number is measured in a process of its own. The control is the
``to_json`` of duckdb, which keeps nulls and loses digits.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser
from pathlib import Path

from cdp_orders_async.jobs import write_invented
from cdp_orders_async.kinds import V2_1
from cdp_orders_async.sources.duck import connected
from cdp_orders_async.sources.table_file import TableFile


def read(name: str, *, control: bool) -> None:
    """Read a table, and print the orders, the CPU-seconds, and the peak of the memory in MB."""
    began, count = time.process_time(), 0
    if control:
        with connected(name) as connection:
            connection.execute("SELECT to_json(t) FROM read_parquet(?) AS t", [name])
            while rows := connection.fetchmany(256):
                count += len(rows)
    else:
        count = sum(map(len, TableFile(name, V2_1).batches([])))
    seconds = time.process_time() - began
    print(count, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)


def main() -> None:
    """Measure everything."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, default=100_000)
    parser.add_argument("--read")
    parser.add_argument("--control", action="store_true")
    options = parser.parse_args()
    if options.read is not None:
        read(options.read, control=options.control)
        return
    with tempfile.TemporaryDirectory() as folder:
        for count in (options.orders, 10 * options.orders):
            path = Path(folder) / f"{count}.parquet"
            write_invented(count, 1, "parquet", path)
            for more in ([], ["--control"]):
                command = [sys.executable, __file__, "--read", str(path), *more]
                out = subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603 itself
                orders, seconds, peak = map(float, out.split())
                what = "to_json" if more else "tables"
                print(f"{what}: {orders:,.0f} orders, {orders / seconds:,.0f} a CPU-second, peak {peak:,.0f} MB")


if __name__ == "__main__":
    main()
