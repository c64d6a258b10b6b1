"""Read JSON without silent losses: no value of a repeated key and no digit of a number is lost.

Usual readers of JSON keep the last of two equal keys and round numbers to floats. So the data is written again, in a
few microseconds: for nearly every line this proves that nothing was lost. The other lines are read once more, by a
slow reader that sees each key and each number.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from decimal import Decimal, DecimalException
from typing import Any

import orjson

from cdp_orders_async.errors import shown_key
from cdp_orders_async.graph.findings import COUNTED, Findings
from cdp_orders_async.wire import is_list, is_object

__all__ = ["is_doubled", "is_record", "not_utf_8", "read_json"]

SPACE = b" \t\r\n"
ESCAPED = b"\\u003"
"""The beginning of the escape of a colon."""
SHAPE = bytes.maketrans(b"123456789.E+", b"0000000000e-")
"""Makes numbers of one length equal."""
INEXACT_CHARACTERS = 16
"""A float may lose a digit of a number of so many characters, the point included; of shorter ones it loses none."""
INEXACT_SHAPE = b"0" * INEXACT_CHARACTERS
LARGE_EXPONENT = re.compile(rb"0e-?000+[ \t\r\n,}\]]")
LARGE_TEXT = 2**16
"""Bytes of a text that may hold very many values."""
MOST_REWRITTEN = 20_000
"""Values of a text that is written again. With more, that would take a hundred times the memory of the text."""
MOST_VALUES = 1_000_000
EXACT_DIGITS = 18
TO_ROUND = frozenset({"price", "originalPrice", "quantity"})
"""The keys of numbers that cannot be sent as text."""

DOUBLED = "must be given only once"
ROUND = "must be a number that arrives digit for digit: round it to at most 15 digits"
AS_TEXT = "must be a number that arrives digit for digit: send this one as text, in quotes"
DEEP = "must not be nested so deep"


class _Doubled(dict[str, Any]):
    """An object with repeated keys."""

    __slots__ = ("doubled",)
    doubled: list[str]


class _Lost(float):
    """Replaces a number that a float would change."""

    __slots__ = ()


def is_record(value: dict[str, Any]) -> bool:
    """Tell whether an object is an import record of the Batch API, which contains the order."""
    return "value" in value


def is_doubled(value: dict[str, Any], key: str) -> bool:
    """Tell whether *key* was repeated in an object that `read_json` read."""
    return isinstance(value, _Doubled) and key in value.doubled


def read_json(text: bytes, found: Findings) -> Any:  # noqa: ANN401 JSON can be anything
    """Return the JSON data in *text*, and add its losses to *found*; raise `orjson.JSONDecodeError` if it is not JSON.

    A lost number is 0. Paths start at the order, also within an import record.
    """
    values = text.count(b",") if len(text) > LARGE_TEXT else 0
    if values >= MOST_VALUES:
        found.add("$", f"must hold at most {MOST_VALUES:,} values")
        return None
    try:
        value = orjson.loads(text)
        if values <= MOST_REWRITTEN and _is_whole(text, value):
            return value
    except orjson.JSONDecodeError as error:
        if "infinity" not in error.msg:  # otherwise it is JSON, with a number that is too large for a float
            raise
        try:
            return _read_slowly(text, found)
        except ValueError:
            raise error from None
    return _read_slowly(text, found)


def not_utf_8(text: bytes) -> str | None:
    """Say where *text* is not UTF-8; None if it is. The reader of JSON names another place."""
    try:
        text.decode()
    except UnicodeDecodeError as error:
        return f"must be UTF-8: it is not at byte {error.start + 1}"
    return None


def _is_whole(text: bytes, value: object) -> bool:
    """Tell whether *value* certainly holds all of *text*."""
    try:
        again = orjson.dumps(value)
    except TypeError:  # it is nested too deep to be written
        return False
    # If both texts are equal, apart from spaces, they have the same keys and numbers.
    if again == text or again.translate(None, SPACE) == text.translate(None, SPACE):
        return True
    # A lost key loses its colon. Without a loss both have the same number of colons, unless a text has an escaped one.
    if again.count(b":") != text.count(b":") or ESCAPED in text:
        return False
    shape = text.translate(SHAPE)
    return INEXACT_SHAPE not in shape and LARGE_EXPONENT.search(shape) is None


def _read_slowly(text: bytes, found: Findings) -> Any:  # noqa: ANN401 JSON can be anything
    lost = 0

    def number(digits: str) -> float:
        nonlocal lost
        value = float(digits)
        if lost >= COUNTED or (len(digits) < INEXACT_CHARACTERS and "e" not in digits and "E" not in digits):
            return value
        try:
            kept = Decimal(repr(value)) == Decimal(digits)
        except DecimalException:
            kept = False
        lost += not kept
        return value if kept else _Lost()

    def whole(digits: str) -> float:
        if len(digits) <= EXACT_DIGITS or (len(digits) <= EXACT_DIGITS + 2 and -(2**63) <= int(digits) < 2**64):
            return int(digits)
        return number(digits)

    def pairs(given: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal lost
        made = dict(given)
        if len(made) == len(given):
            return made
        lost += 1
        doubled = _Doubled(made)
        doubled.doubled = [key for key, count in Counter(key for key, _ in given).items() if count > 1]
        return doubled

    try:
        value = json.loads(
            text, object_pairs_hook=pairs, parse_float=number, parse_int=whole, parse_constant=_no_number
        )
        if lost and (is_object(value) or is_list(value)):
            found.skipped = lost >= COUNTED
            _note(value, "$", found)
    except RecursionError:  # in the reader or in `_note`, depending on the version of Python
        found.become("$", DEEP)
        return None
    return value


def _no_number(name: str) -> None:
    raise ValueError(name)


def _note(value: Any, at: str, found: Findings) -> None:  # noqa: ANN401 JSON can be anything
    """Note the losses in an object or a list, and replace lost numbers with 0."""
    if isinstance(value, _Doubled):
        for name in value.doubled:
            found.add(f"{at}.{shown_key(name)}", DOUBLED)
    inside: Iterable[tuple[Any, Any]] = value.items() if is_object(value) else enumerate(value)
    for key, held in inside:
        if isinstance(held, _Lost):
            found.add(_place(at, key), ROUND if key in TO_ROUND and ".extensions[" not in at else AS_TEXT)
            value[key] = 0  # pyright: ignore[reportArgumentType] the key is one of its own
        elif is_object(held) or is_list(held):
            _note(held, "$" if at == "$" and key == "value" else _place(at, key), found)


def _place(at: str, key: str | int) -> str:
    return f"{at}[{key}]" if isinstance(key, int) else f"{at}.{shown_key(key)}"
