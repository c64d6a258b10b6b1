"""P9: orders of a table a CPU-second, as JSON text, and the peak of the memory at ten times as many.

The orders are those of ``cdp-orders sample``, with about ten items each, in each layout of a table. Each number is
measured in a process of its own. The control is the ``to_json`` of duckdb over nested Parquet, which keeps nulls and
loses digits.
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

HEAD = (
    """"referenceId", "orderedAt", price, "currencyCode", channel, "pointOfSale", status, "paymentType", "cardType\""""
)
CONTACT = """contact."firstName" AS "contact.firstName", contact."lastName" AS "contact.lastName",
    contact.emails[1] AS "contact.emails", contact.identifiers[1].provider AS "contact.identifiers.provider",
    contact.identifiers[1].id AS "contact.identifiers.id", contact.city AS "contact.city",
    contact.country AS "contact.country", extensions[1]."storeId" AS "extensions.storeId\""""
FIELDS = ("type", "productId", "name", "description", "vendor", "price", "currencyCode", "quantity", "referenceId",
          "status")  # fmt: skip
ITEM = ", ".join(f'i."{field}" AS "orderItems.{field}"' for field in FIELDS)
PAIRS = """i.extensions[1].department AS "orderItems.extensions.department",
    i.extensions[1]."retailDiscount" AS "orderItems.extensions.retailDiscount",
    i.extensions[1]."couponUsed" AS "orderItems.extensions.couponUsed\""""
ROWS = 'FROM (SELECT *, unnest("orderItems") AS i FROM orders)'
FLAT = f"SELECT {HEAD}, {CONTACT}, {ITEM}, {PAIRS} {ROWS}"
TEXTS = ", ".join(f'to_json("{name}")::VARCHAR AS "{name}"' for name in ("contact", "orderItems", "extensions"))
LINES = """SELECT "referenceId" AS ref, "orderedAt" AS bought, price AS total, "currencyCode" AS money,
    i.name AS product, i."referenceId" AS line, i.price AS price"""
SQL = """SELECT ref AS "referenceId", replace(bought, ' ', 'T') || ':00' AS "orderedAt", total AS price,
    money AS "currencyCode", line AS "orderItems.referenceId", product AS "orderItems.name", 'P' AS "orderItems.type",
    price AS "orderItems.price", money AS "orderItems.currencyCode", 'PURCHASED' AS "orderItems.status" FROM input"""
LAYOUTS = {
    "parquet, nested": "FROM orders",
    "parquet, an item a row": FLAT,
    "csv, JSON in texts": f"SELECT {HEAD}, {TEXTS} FROM orders",  # noqa: S608 these names
    "csv, an item a row": FLAT,
    "csv, an item a row, not sorted": f'{FLAT} ORDER BY hash(i."referenceId")',
    "csv, by SQL": f"{LINES} {ROWS}",
}
"""The tables, as SQL of the sample."""
SAMPLE = "csv of sample"
"""It repeats the JSON of an order in the row of each item."""


def paths(folder: Path, count: int) -> dict[str, Path]:
    """Return the file of each layout."""
    tables = {name: folder / f"{count}-{number}.{name.partition(',')[0]}" for number, name in enumerate(LAYOUTS)}
    return {**tables, SAMPLE: folder / f"{count}-sample.csv"}


def write(folder: Path, count: int) -> None:
    """Write the sample in each layout."""
    found = paths(folder, count)
    nested, *others = LAYOUTS
    write_invented(count, 1, "parquet", found[nested])
    write_invented(count, 1, "csv", found[SAMPLE])
    with connected(str(folder), doing="written") as connection:
        connection.execute(f"CREATE VIEW orders AS FROM read_parquet('{found[nested]}')")
        for name in others:
            form = name.partition(",")[0]
            connection.execute(f"COPY ({LAYOUTS[name]}) TO '{found[name]}' (FORMAT {form})")


def read(name: str, *, control: bool, sql: str | None) -> None:
    """Read a table, and print the orders, the CPU-seconds, and the peak of the memory in MB."""
    began, count = time.process_time(), 0
    if control:
        with connected(name) as connection:
            connection.execute("SELECT to_json(t) FROM read_parquet(?) AS t", [name])
            while rows := connection.fetchmany(256):
                count += len(rows)
    else:
        table = TableFile(name, V2_1) if sql is None else TableFile(sql, V2_1, tables={"lines": [name]})
        count = sum(map(len, table.batches([])))
    seconds = time.process_time() - began
    print(count, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)


def run(*options: str) -> str:
    """Run this program in a process of its own, whose peak of the memory is its own."""
    command = [sys.executable, __file__, *options]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603 itself


def main() -> None:
    """Measure everything."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, default=100_000)
    parser.add_argument("--write", type=Path)
    parser.add_argument("--read")
    parser.add_argument("--sql")
    parser.add_argument("--control", action="store_true")
    options = parser.parse_args()
    if options.write is not None:
        write(options.write, options.orders)
    elif options.read is not None:
        read(options.read, control=options.control, sql=options.sql)
    else:
        for count in (options.orders, 10 * options.orders):
            with tempfile.TemporaryDirectory() as folder:
                measure(Path(folder), count)


def measure(folder: Path, count: int) -> None:
    """Write and read so many orders in each layout."""
    run("--write", str(folder), "--orders", str(count))
    (folder / "lines.sql").write_text(SQL)
    for name, path in [*paths(folder, count).items(), ("to_json", paths(folder, count)["parquet, nested"])]:
        more = {"csv, by SQL": ["--sql", str(folder / "lines.sql")], "to_json": ["--control"]}.get(name, [])
        orders, seconds, peak = map(float, run("--read", str(path), *more).split())
        print(f"{name}: {orders:,.0f} orders, {orders / seconds:,.0f} a CPU-second, peak {peak:,.0f} MB", flush=True)


if __name__ == "__main__":
    main()
