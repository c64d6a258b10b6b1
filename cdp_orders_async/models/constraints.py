"""The vendor's documented rules for a single value, and the types that give a field its rule.

A rule is a function: it returns the fault of a value as words, or None. The words name the rule and never repeat the
value, which may be personal. A field has the rule of its type, such as `text`, or its own: ``reference_id: Filled``.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, TypeAlias, TypeGuard
from uuid import UUID

Rule: TypeAlias = Callable[[object], str | None]

LONGEST_NAME = 128
SIGNIFICANT_DIGITS = 15
TOO_MANY_DIGITS = f"must have at most {SIGNIFICANT_DIGITS} significant digits: round it, as 3.3000000000000003 to 3.30"
INT32 = 2**31
RESERVED_TYPES = frozenset(
    {"FLIGHT", "HOTEL", "MORTGAGE", "MORTGAGE_APPLICATION", "LOAN_APPLICATION", "PERSONAL_LOAN", "RAIL"}
)
EARLIEST, LATEST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
CAPITALS = frozenset(string.ascii_uppercase)
LOCAL_TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?Z"


def text(value: object) -> str | None:
    """Accept any text that UTF-8 can carry."""
    if not isinstance(value, str):
        return "must be text"
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            return "must be valid Unicode"
    return None


def filled(value: object) -> str | None:
    """Accept text that is not empty."""
    if isinstance(value, str) and value and value.isascii():  # nearly always
        return None
    return text(value) or (None if value else "must not be empty")


def code(length: int, words: str) -> Rule:
    """Accept a code of *length* capital letters; *words* describe it."""

    def rule(value: object) -> str | None:
        good = isinstance(value, str) and len(value) == length and CAPITALS.issuperset(value)
        return None if good else f"must be {words}"

    return rule


def capitals(value: object) -> str | None:
    """Accept text without small letters."""
    return text(value) or (None if value == str(value).upper() else "must be in capitals")


def filled_capitals(value: object) -> str | None:
    """Accept text without small letters that is not empty."""
    return filled(value) or capitals(value)


def one_of(values: Sequence[str]) -> Rule:
    """Accept one of the *values* that the vendor lists."""

    def rule(value: object) -> str | None:
        return None if value in values else f"must be one of {', '.join(values)}"

    return rule


def name(value: object) -> str | None:
    """Accept the name of an item."""
    return filled(value) or (None if len(str(value)) <= LONGEST_NAME else f"must be at most {LONGEST_NAME} characters")


def item_type(value: object) -> str | None:
    """Accept the type of an item, except a reserved word; say what to send instead."""
    if (wrong := filled(value)) or value not in RESERVED_TYPES:
        return wrong
    word = str(value).replace("_", " ").lower()
    return (
        f"must not be {value} in version 2.1: use another word, such as '{word.capitalize()}', "
        f"and put the {word} details into the item's extension"
    )


def money(value: object) -> str | None:
    """Accept an amount that a JSON number holds exactly."""
    if not isinstance(value, Decimal):
        if not isinstance(value, int) or isinstance(value, bool):
            return "must be a number (a Decimal in Python)"
        value = Decimal(value)
    if not value.is_finite() or abs(value.adjusted()) > 300:  # noqa: PLR2004 what a JSON number can hold
        return "must be a finite number"
    if len(str(value)) <= SIGNIFICANT_DIGITS:  # nearly always; to count the digits takes much longer
        return None
    digits = "".join(map(str, value.as_tuple().digits)).rstrip("0")
    return None if len(digits) <= SIGNIFICANT_DIGITS else TOO_MANY_DIGITS


def int32(value: object) -> str | None:
    """Accept a 32-bit integer."""
    good = isinstance(value, int) and not isinstance(value, bool) and -INT32 <= value < INT32
    return None if good else "must be an integer of 32 bits"


def amount(value: object) -> str | None:
    """Accept a number that need not be whole."""
    return int32(value) if isinstance(value, int) else money(value)


def moment(value: object) -> str | None:
    """Accept a date and time with a time zone, that exists in UTC too."""
    good = isinstance(value, datetime) and value.utcoffset() is not None and EARLIEST <= value <= LATEST
    return None if good else "must be a date and time with a time zone"


def past(value: object) -> str | None:
    """Accept a date and time in the past."""
    return moment(value) or (
        None if isinstance(value, datetime) and value < datetime.now(UTC) else "must be in the past"
    )


def local_time(value: object) -> str | None:
    """Accept the text of a date and time without a time zone, as flights have it."""
    with suppress(ValueError):
        if isinstance(value, str) and re.fullmatch(LOCAL_TIME, value, re.ASCII):
            datetime.fromisoformat(value)  # raises for 30 February
            return None
    return "must be a local date and time that ends in Z: 2025-08-23T16:17Z"


def is_tuple_or_list(value: object) -> TypeGuard[Sequence[object]]:
    """Tell whether a value is a tuple or a list: models accept both."""
    return isinstance(value, (tuple, list))


def texts(value: object) -> str | None:
    """Accept a list of text."""
    return next(filter(None, map(text, value)), None) if is_tuple_or_list(value) else "must be a list of text"


def ref(value: object) -> str | None:
    """Accept a reference."""
    return None if isinstance(value, UUID) else "must be a UUID"


def refs(value: object) -> str | None:
    """Accept a list of references."""
    good = is_tuple_or_list(value) and all(isinstance(entry, UUID) for entry in value)
    return None if good else "must be a list of UUIDs"


Filled: TypeAlias = Annotated[str, filled]
Capitals: TypeAlias = Annotated[str, capitals]
FilledCapitals: TypeAlias = Annotated[str, filled_capitals]
Currency: TypeAlias = Annotated[str, code(3, "an ISO 4217 code of three capital letters")]
Country: TypeAlias = Annotated[str, code(2, "an ISO 3166-1 code of two capital letters")]
Language: TypeAlias = Annotated[str, code(2, "an ISO 639 code of two capital letters")]
ItemName: TypeAlias = Annotated[str, name]
ItemType: TypeAlias = Annotated[str, item_type]
Past: TypeAlias = Annotated[datetime, past]
LocalTime: TypeAlias = Annotated[str, local_time]
