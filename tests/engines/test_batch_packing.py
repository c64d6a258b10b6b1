"""Files are cut below their limits, with the same bytes for the same records, and rows of a log are found again."""

from __future__ import annotations

import gzip
import hashlib
import random

import orjson
import pytest

from cdp_orders_async import parse_graph
from cdp_orders_async.engines.batch_packing import PENDING, Packer, place_of, record_ref
from cdp_orders_async.graph import import_record, not_importable
from tests.cli.support import Json, orders
from tests.engines.support import importable, real

LIMIT = 2 * PENDING


def packed(records: list[bytes], most_bytes: int = LIMIT, most_records: int = 10**6) -> list[bytes]:
    """Cut *records* into files."""
    files: list[bytes] = []
    packer, data = Packer(most_bytes, most_records), b""
    for record in records:
        if not packer.has_room(record):
            files.append(data + packer.finish())
            packer, data = Packer(most_bytes, most_records), b""
        data += packer.add(record)
    return [*files, data + packer.finish()]


@pytest.mark.parametrize("size", [50, 1_000, 40_000])
def test_files_are_below_their_limit_and_hold_all(size: int) -> None:
    """Also for data that cannot be compressed; the bytes depend on the records alone."""
    chance = random.Random(size)  # noqa: S311 nothing secret
    records = [chance.randbytes(size).hex().encode() for _ in range(1_200_000 // size)]
    files = packed(records)
    assert len(files) > 1
    assert max(map(len, files)) <= LIMIT
    assert b"".join(map(gzip.decompress, files)) == b"\n".join(records) + b"\n"
    assert files == packed(records)
    assert all(file[4:8] == bytes(4) for file in files)  # no time


def test_records_of_a_file_are_limited_and_its_checksum_is_the_md5() -> None:
    """A file ends after so many records."""
    assert [gzip.decompress(file) for file in packed([b"1", b"2", b"3"], most_records=2)] == [b"1\n2\n", b"3\n"]
    packer = Packer(LIMIT, 1)
    data = packer.add(b"1") + packer.finish()
    assert (packer.checksum, packer.size) == (hashlib.md5(data, usedforsecurity=False).hexdigest(), len(data))


def test_reference_of_a_record_says_its_place() -> None:
    """And only in its own file."""
    folder = bytes(range(8))
    for n in (0, 1, 49_999):
        ref = record_ref(folder, 7, n)
        assert (ref.version, place_of(str(ref).upper(), folder, 7)) == (4, n)
        assert place_of(str(ref), folder, 8) is None
        assert place_of(str(ref), bytes(8), 7) is None
    assert place_of("no UUID", folder, 7) is None


@pytest.mark.parametrize("record", real(50), ids=lambda record: str(record["value"]["referenceId"]))
def test_import_record_is_the_order(record: Json) -> None:
    """A real order comes back from its import record as it was."""
    graph = parse_graph(record)
    assert not_importable(graph) == []
    again = import_record(graph, record["ref"])
    assert import_record(parse_graph(orjson.loads(again)), record["ref"]) == again


GOOD = importable(orders(1)[0])
LONG = {f"k{n}": n for n in range(51)}


@pytest.mark.parametrize(
    ("change", "mode", "fields"),
    [
        ({}, "insert", []),
        ({"channel": None}, "insert", ["$.channel"]),
        ({"channel": None, "status": None}, "upsert", ["$.channel", "$.orderItems"]),
        ({"orderItems": [], "consumers": [], "status": None, "paymentType": None}, "upsert", []),
        ({"paymentType": "Card"}, "insert", ["$.cardType"]),
        ({"paymentType": "Card", "cardType": "Visa"}, "insert", []),
        ({"extensions": [LONG]}, "insert", ["$.extensions[0]"]),
        ({"contact": {"emails": ["a@b.ie", "c@d.ie"]}}, "insert", ["$.contact.emails"]),
        ({"consumers": [{"emails": ["a@b.ie", "c@d.ie"]}]}, "insert", ["$.consumers[0].emails"]),
        (
            {"orderItems": [{**GOOD["orderItems"][0], "vendor": None, "extensions": [LONG]}]},
            "insert",
            ["$.orderItems[0].vendor", "$.orderItems[0].extensions[0]"],
        ),
    ],
)
def test_what_the_batch_api_cannot_take_is_named(change: Json, mode: str, fields: list[str]) -> None:
    """By the field of each rule; an upsert without items needs less."""
    value = {key: held for key, held in {**GOOD, **change}.items() if held is not None}
    graph = parse_graph({"schema": "order", "mode": mode, "value": value})
    assert [wrong.field for wrong in not_importable(graph)] == fields
