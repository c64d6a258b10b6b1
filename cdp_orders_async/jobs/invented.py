"""Invented orders of any number, made from the baskets of the packaged sample, and the files that hold them."""

from __future__ import annotations

import csv
import gzip
import importlib.resources
import io
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any, BinaryIO, Literal, TypeAlias, get_args

import orjson

from cdp_orders_async.arguments import need
from cdp_orders_async.errors import Invalid, Violation
from cdp_orders_async.jobs.owned_file import check, create, put_aside, unwritable, write_all
from cdp_orders_async.redact import sealed
from cdp_orders_async.sources import copied_to_parquet

__all__ = ["SampleFormat", "invented_orders", "write_invented"]

Json: TypeAlias = dict[str, Any]
SampleFormat: TypeAlias = Literal["jsonl", "parquet", "csv"]

WHAT = "sample"
START = datetime(2024, 1, 1, tzinfo=UTC)
SECONDS = 366 * 24 * 3600
"""The length of the year of the orders."""
FIRST_NAMES = ("Ada", "Bela", "Chidi", "Dagny", "Emre", "Fatima", "Goran", "Hana", "Ines", "Jonas", "Kai", "Lea")
LAST_NAMES = ("Example", "Sample", "Specimen", "Testman", "Placeholder", "Invented", "Demoson", "Mockler")
CHANNELS = ("WEB", "MOBILE_WEB", "MOBILE_APP", "CALL_CENTER", "OFFLINE")
PAYMENTS = (("Card", "Visa"), ("Card", "Mastercard"), ("Paypal", None), ("Cash", None))
ORDERS_OF_A_PERSON = 3
"""How many orders a person has on average."""
USED_ITEMS = 5
"""The first items of an order, which its consumer uses."""
BATCH = 500  # orders that are written at once

PEOPLE = "firstName VARCHAR, lastName VARCHAR, emails VARCHAR[], identifiers STRUCT(provider VARCHAR, id VARCHAR)[]"
COLUMNS = {
    "referenceId": "VARCHAR",
    "orderedAt": "TIMESTAMPTZ",
    "price": "DECIMAL(15, 2)",
    "currencyCode": "VARCHAR",
    "channel": "VARCHAR",
    "pointOfSale": "VARCHAR",
    "status": "VARCHAR",
    "paymentType": "VARCHAR",
    "cardType": "VARCHAR",
    "contact": f"STRUCT({PEOPLE}, city VARCHAR, country VARCHAR)",
    "orderItems": (
        "STRUCT(type VARCHAR, productId VARCHAR, name VARCHAR, description VARCHAR, vendor VARCHAR,"
        " price DECIMAL(15, 2), currencyCode VARCHAR, quantity INTEGER, referenceId VARCHAR, status VARCHAR,"
        " extensions STRUCT(department VARCHAR, retailDiscount DOUBLE, couponDiscount DOUBLE, couponUsed BOOLEAN)[])[]"
    ),
    "consumers": f"STRUCT({PEOPLE}, orderItems STRUCT(referenceId VARCHAR)[])[]",
    "extensions": "STRUCT(storeId VARCHAR, lines INTEGER)[]",
}
"""The columns of a Parquet file, with their types in SQL."""


@sealed
def invented_orders(count: int, seed: int = 0) -> Iterator[Json]:
    """Yield *count* orders as JSON data; the same *seed* gives the same orders, and a larger *count* more of them.

    They have about ten items each, an extension for each order and item, a contact, and every third one a consumer. The
    products and prices are real. The people are invented, and their addresses are of example.com.
    """
    draw = Random(seed).random  # noqa: S311 nothing secret is drawn

    def one_of(values: Any) -> Any:  # noqa: ANN401 any sequence
        return values[int(draw() * len(values))]

    baskets = _baskets()
    products = [item for basket in baskets for item in basket["orderItems"]]
    for number in range(count):
        reference = f"S{seed}-{number:08}"
        items = [
            {**one_of(products), "referenceId": f"{reference}-{place}"}
            for place in range(1, len(one_of(baskets)["orderItems"]) + 1)
        ]
        payment, card = one_of(PAYMENTS)
        person = int(draw() * (number + ORDERS_OF_A_PERSON) / ORDERS_OF_A_PERSON)
        contact = _person(seed, person)
        order = {
            "referenceId": reference,
            "orderedAt": f"{START + timedelta(seconds=int(draw() * SECONDS)):%Y-%m-%dT%H:%M:%SZ}",
            "price": float(sum(Decimal(str(item["price"])) for item in items)),
            "currencyCode": "USD",
            "channel": one_of(CHANNELS),
            "pointOfSale": f"shop-{int(draw() * 100):02}.example.com",
            "status": "PURCHASED",
            "paymentType": payment,
            **({} if card is None else {"cardType": card}),
            "contact": {**contact, "city": "Exampleton", "country": "US"},
            "orderItems": items,
        }
        if not number % 3:
            used = [{"referenceId": item["referenceId"]} for item in items[:USED_ITEMS]]
            order["consumers"] = [{**contact, "orderItems": used}]
        order["extensions"] = [{"storeId": f"{int(draw() * 500)}", "lines": len(items)}]
        yield order


def _baskets() -> list[Json]:
    """Return the orders of the packaged sample, without what addresses an extension in the Batch API."""
    packed = importlib.resources.files("cdp_orders_async") / "data" / "orders-50.jsonl.gz"
    baskets = [orjson.loads(line)["value"] for line in gzip.decompress(packed.read_bytes()).splitlines()]
    for basket in baskets:
        for item in basket["orderItems"]:
            for name in ("name", "key"):
                del item["extensions"][0][name]
    return baskets


def _person(seed: int, number: int) -> Json:
    first = FIRST_NAMES[number % len(FIRST_NAMES)]
    last = LAST_NAMES[number // len(FIRST_NAMES) % len(LAST_NAMES)]
    return {
        "firstName": first,
        "lastName": last,
        "emails": [f"{first}.{last}.{number}@example.com".lower()],
        "identifiers": [{"provider": "CRM", "id": f"{seed}-{number}"}],
    }


@sealed
def write_invented(
    count: int,
    seed: int = 0,
    form: SampleFormat = "jsonl",
    output: Path | None = None,
    stream: BinaryIO | None = None,
) -> None:
    """Write *count* orders, as `invented_orders` makes them, to the new file *output*, or else to *stream*.

    The memory does not grow with *count*. Parameters: *form*: ``jsonl`` has an order a line; ``parquet`` an order a
    row, with nested columns; ``csv`` an item a row, where consumers and extensions are JSON text. An earlier file is
    put aside, as ``OUTPUT.1`` or the first such name that is free.

    Raises `Invalid` for a *count* below 0, another *form*, or Parquet without *output*; `InputError` where the file
    cannot be written, and where the extra ``tables`` is missing that writes Parquet.
    """
    need(count, int, "count")
    need(seed, int, "seed")
    _check(count, form, output)
    orders = invented_orders(count, seed)
    if output is None:
        if stream is not None:
            for piece in _pieces(orders, form):
                stream.write(piece)
            stream.flush()
        return
    if check(output, WHAT):
        put_aside(output)
    try:
        number = create(output, WHAT)
        try:
            if form == "parquet":
                _write_parquet(orders, output)
            else:
                for piece in _pieces(orders, form):
                    write_all(number, piece)
        finally:
            os.close(number)
    except OSError as error:
        raise unwritable(output, WHAT, error.strerror) from error


def _check(count: int, form: str, output: Path | None) -> None:
    found: list[Violation] = []
    if count < 0:
        found.append(Violation("orders", "must be at least 0"))
    if form not in get_args(SampleFormat):
        found.append(Violation("format", f"must be one of {', '.join(get_args(SampleFormat))}"))
    if form == "parquet" and output is None:
        found.append(Violation("output", "must be given for parquet, which standard output does not take"))
    if found:
        raise Invalid(tuple(found))


def _pieces(orders: Iterator[Json], form: SampleFormat) -> Iterator[bytes]:
    """Yield the bytes of a file with *orders*."""
    make = _csv_rows() if form == "csv" else _lines
    while batch := list(islice(orders, BATCH)):
        yield make(batch)
    if form == "csv":
        yield make([])  # the names of the columns, where there is no order


def _lines(orders: Iterable[Json]) -> bytes:
    return b"".join(orjson.dumps(order) + b"\n" for order in orders)


def _csv_rows() -> Callable[[Iterable[Json]], bytes]:
    """Return the function that writes orders as rows of CSV, one an item."""
    text = io.StringIO(newline="")
    names = [name for name in COLUMNS if name not in {"contact", "orderItems"}]
    people = ("firstName", "lastName", "emails", "identifiers", "city", "country")
    fields = ("type", "productId", "name", "description", "vendor", "price", "currencyCode", "quantity", "referenceId",
              "status", "extensions")  # fmt: skip
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*names, *(f"contact.{name}" for name in people), *(f"orderItems.{name}" for name in fields)])

    def write(orders: Iterable[Json]) -> bytes:
        for order in orders:
            head = [_cell(order.get(name)) for name in names] + [_cell(order["contact"].get(name)) for name in people]
            writer.writerows(head + [_cell(item.get(name)) for name in fields] for item in order["orderItems"])
        written = text.getvalue().encode()
        text.seek(0)
        text.truncate()
        return written

    return write


def _cell(value: object) -> object:
    return orjson.dumps(value).decode() if isinstance(value, (list, dict)) else value


def _write_parquet(orders: Iterator[Json], output: Path) -> None:
    """Write a Parquet file, by way of JSON lines among the temporary files."""
    with tempfile.TemporaryDirectory(prefix="cdp-orders-") as folder:
        lines = Path(folder) / "orders.jsonl.gz"
        with gzip.open(lines, "wb", compresslevel=1) as packed:
            for piece in _pieces(orders, "jsonl"):
                packed.write(piece)
        copied_to_parquet(str(lines), str(output), COLUMNS)
