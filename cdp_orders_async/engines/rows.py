"""A row of a table that another program has read, as the JSON text of an order."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, cast

import orjson

__all__ = ["row_text"]

NOT_A_NUMBER = orjson.Fragment(b"NaN")
"""Is no JSON, so the line is refused, as it must be."""


def row_text(row: Mapping[str, Any]) -> bytes:
    """Return the JSON text of a *row* whose columns are the fields of an order.

    Null fields are left out, decimals keep their digits, times keep their zone. A NaN makes the line invalid.
    """
    return orjson.dumps(_value(row))


def _value(value: object) -> object:  # noqa: PLR0911 a line for each type
    match value:
        case Mapping():
            fields = cast("Mapping[str, object]", value)
            return {key: _value(held) for key, held in fields.items() if held is not None}
        case str() | bool() | int() | None:
            return value
        case bytes():
            return value.decode()
        case float():
            return value if math.isfinite(value) else NOT_A_NUMBER
        case Decimal():
            return orjson.Fragment(format(value, "f").encode()) if value.is_finite() else NOT_A_NUMBER
        case datetime() | date():
            return value.isoformat()
        case Sequence():
            return [_value(held) for held in cast("Sequence[object]", value)]
        case _:
            raise TypeError(f"a row has a {type(value).__name__}, which is no value of JSON")
