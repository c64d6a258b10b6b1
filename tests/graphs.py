"""Orders as JSON data, and what is told of them."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from cdp_orders_async import GraphFile, InputLine, Invalid, parse_graph

Json = dict[str, object]

ITEM: Json = {
    "type": "MOBILE",
    "name": "AZ10",
    "price": 105,
    "currencyCode": "EUR",
    "status": "CONFIRMED",
    "referenceId": "I-1",
}
ORDER: Json = {"referenceId": "B94TXY-1", "orderedAt": "2024-01-01T16:17:16Z", "price": 50, "currencyCode": "EUR"}
GOOD = orjson.dumps(ORDER)
TEXT = GOOD + b"\n" + GOOD + b"\n"
KEY = "B94TXY-1@2024-01-01T16:17:16+00:00"


def told(line: InputLine) -> list[str]:
    """Return what is wrong with a line, in words."""
    return [str(violation) for violation in line.violations]


def refused(value: object) -> list[str]:
    """Return what is wrong with an order, in words."""
    with pytest.raises(Invalid) as caught:
        parse_graph(value)
    return [str(violation) for violation in caught.value.violations]


def written(path: Path, *lines: bytes) -> Path:
    """Write lines."""
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


async def read(file: GraphFile) -> list[InputLine]:
    """Return all lines of a file."""
    return [line async for line in file]
