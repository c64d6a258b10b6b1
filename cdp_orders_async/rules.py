"""The vendor's documented rules, checked before anything is sent: one row a field.

Each rule is a function of a value that returns what is wrong in words, or None. The words name the
rule and never repeat the value, which may be personal.
"""

from __future__ import annotations

import math
import re
import string
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, TypeAlias, TypeGuard, get_args, is_typeddict
from uuid import UUID

import attrs
from msgspec import Meta

from cdp_orders_async.arguments import need
from cdp_orders_async.errors import Invalid, Violation, shown_key
from cdp_orders_async.models import (
    Channel,
    ConsumerChanges,
    ContactChanges,
    FlightSegment,
    Gender,
    Identifier,
    NewConsumer,
    NewConsumerV2,
    NewContact,
    NewContactV2,
    NewOrder,
    NewOrderItem,
    NewOrderItemV2,
    NewOrderV2,
    OrderChanges,
    OrderItemChanges,
    OrderItemStatusV2,
    OrderItemTypeV2,
    OrderStatus,
    OrderStatusV2,
)
from cdp_orders_async.models.common import RESERVED_KEYS, camel

__all__ = ["check", "check_extension", "check_limit", "refuse", "text", "types_and_rules"]

Rule: TypeAlias = Callable[[object], str | None]

EXTENSION_LIMIT = 100
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
    """Accept a code of so many capital letters, told in *words*."""

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


def one_of(alias: object) -> Rule:
    """Accept one of the values that the vendor lists."""
    values = get_args(alias)

    def rule(value: object) -> str | None:
        return None if value in values else f"must be one of {', '.join(values)}"

    return rule


def name(value: object) -> str | None:
    """Accept the name of an item."""
    return filled(value) or (None if len(str(value)) <= LONGEST_NAME else f"must be at most {LONGEST_NAME} characters")


def item_type(value: object) -> str | None:
    """Accept the type of an item, which must not be a reserved word; say what to send in its place."""
    if (wrong := filled(value)) or value not in RESERVED_TYPES:
        return wrong
    word = str(value).replace("_", " ").lower()
    return (
        f"must not be {value} in version 2.1: use another word, such as '{word.capitalize()}', "
        f"and put the {word} details into the item's extension"
    )


def money(value: object) -> str | None:
    """Accept an exact amount that survives the trip through a JSON number."""
    if not isinstance(value, Decimal):
        if not isinstance(value, int) or isinstance(value, bool):
            return "must be a number (a Decimal in Python)"
        value = Decimal(value)
    if not value.is_finite() or abs(value.adjusted()) > 300:  # noqa: PLR2004 what a JSON number can hold
        return "must be a finite number"
    if len(str(value)) <= SIGNIFICANT_DIGITS:  # nearly always, and much cheaper than to count them
        return None
    digits = "".join(map(str, value.as_tuple().digits)).rstrip("0")
    return None if len(digits) <= SIGNIFICANT_DIGITS else TOO_MANY_DIGITS


def whole(value: object) -> str | None:
    """Accept a 32-bit integer."""
    good = isinstance(value, int) and not isinstance(value, bool) and -INT32 <= value < INT32
    return None if good else "must be an integer of 32 bits"


def amount(value: object) -> str | None:
    """Accept a number of things, where it need not be whole."""
    return whole(value) if isinstance(value, int) else money(value)


def moment(value: object) -> str | None:
    """Accept a date and time whose zone is known, and which UTC has too."""
    good = isinstance(value, datetime) and value.utcoffset() is not None and EARLIEST <= value <= LATEST
    return None if good else "must be a date and time with a time zone"


def past(value: object) -> str | None:
    """Accept a date and time in the past."""
    return moment(value) or (
        None if isinstance(value, datetime) and value < datetime.now(UTC) else "must be in the past"
    )


def local_time(value: object) -> str | None:
    """Accept the text of a date and time without a zone, as flights have it."""
    good = isinstance(value, str) and re.fullmatch(LOCAL_TIME, value, re.ASCII) and _is_time(value)
    return None if good else "must be a local date and time that ends in Z: 2025-08-23T16:17Z"


def _is_time(value: str) -> bool:
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


def is_list(value: object) -> TypeGuard[Sequence[object]]:
    """Tell whether a value is what a model takes for a list."""
    return isinstance(value, (tuple, list))


def texts(value: object) -> str | None:
    """Accept a list of text."""
    return next(filter(None, map(text, value)), None) if is_list(value) else "must be a list of text"


def ref(value: object) -> str | None:
    """Accept a reference."""
    return None if isinstance(value, UUID) else "must be a UUID"


def refs(value: object) -> str | None:
    """Accept a list of references."""
    good = is_list(value) and all(isinstance(one, UUID) for one in value)
    return None if good else "must be a list of UUIDs"


def identifiers(value: object) -> str | None:
    """Accept a list of identifiers, each whole."""
    for one in value if is_list(value) else (None,):
        if not isinstance(one, Identifier):
            return "must be a list of Identifier"
        if wrong := filled(one.provider) or filled(one.id):
            return f"each needs a provider and an id: {wrong}"
        if one.expiry_date is not None and (wrong := moment(one.expiry_date)):
            return f"expiryDate {wrong}"
    return None


def segments(value: object) -> str | None:
    """Accept a list of flight segments, each with what it needs."""
    for one in value if is_list(value) else (None,):
        if not isinstance(one, FlightSegment):
            return "must be a list of FlightSegment"
        for key, rule in SEGMENT.items():
            if (field := getattr(one, key)) is None:
                wrong = "is required" if key in SEGMENT_NEEDS else None
            else:
                wrong = rule(field)
            if wrong:
                return f"each {camel(key)} {wrong}"
    return None


CURRENCY = code(3, "an ISO 4217 code of three capital letters")
ORDER: Mapping[str, Rule] = {
    "reference_id": filled,
    "ordered_at": moment,
    "price": money,
    "currency_code": CURRENCY,
    "channel": one_of(Channel),
    "point_of_sale": text,
    "status": one_of(OrderStatus),
    "payment_type": text,
    "card_type": text,
}
ITEM: Mapping[str, Rule] = {
    "type": item_type,
    "name": name,
    "price": money,
    "currency_code": filled,
    "status": filled,
    "description": text,
    "product_id": text,
    "original_price": money,
    "original_currency_code": text,
    "reference_id": text,
    "vendor": text,
    "language": text,
    "quantity": whole,
    "channel": text,
}
PERSON: Mapping[str, Rule] = {
    "title": text,
    "first_name": text,
    "last_name": text,
    "gender": one_of(Gender),
    "date_of_birth": past,
    "emails": texts,
    "phone_numbers": texts,
    "nationality": text,
    "passport_number": text,
    "passport_expiry": moment,
    "identifiers": identifiers,
    "street": texts,
    "city": text,
    "state": text,
    "post_code": text,
    "country": code(2, "an ISO 3166-1 code of two capital letters"),
}
CONSUMER: Mapping[str, Rule] = {**PERSON, "order_items": refs}

SEGMENT: Mapping[str, Rule] = {
    **{field.name: text for field in attrs.fields(FlightSegment)},
    "id": filled,
    "origin": filled_capitals,
    "destination": filled_capitals,
    "origin_destination": capitals,
    "departure_date_time": local_time,
    "arrival_date_time": local_time,
    "fare_class": filled,
    "booking_class": capitals,
    "carrier": filled_capitals,
    "flight_number": filled,
    "equipment_type": capitals,
}
SEGMENT_NEEDS = frozenset(
    {
        *("id", "origin", "destination", "departure_date_time", "arrival_date_time"),
        *("fare_class", "carrier", "flight_number"),
    }
)
"""The fields that a flight segment must have to be sent."""
ORDER_V2: Mapping[str, Rule] = {**ORDER, "point_of_sale": filled, "status": one_of(OrderStatusV2)}
ITEM_V2: Mapping[str, Rule] = {
    **ITEM,
    "type": one_of(OrderItemTypeV2),
    "status": one_of(OrderItemStatusV2),
    "currency_code": CURRENCY,
    "original_currency_code": CURRENCY,
    "channel": capitals,
    "product_id": filled,
    "reference_id": filled,
    "language": code(2, "an ISO 639 code of two capital letters"),
    "quantity": amount,
    "ordered_at": moment,
    "passenger_type_code": text,
    "flight_segments": segments,
    "consumer_type_code": text,
}
PERSON_V2: Mapping[str, Rule] = {
    **{key: rule for key, rule in PERSON.items() if key not in {"street", "city", "state", "post_code"}},
    "first_name": filled,
    "last_name": filled,
    "guest": ref,
}
CONSUMER_V2: Mapping[str, Rule] = {**PERSON_V2, "order_items": refs}

RULES: Mapping[type, tuple[Mapping[str, Rule], frozenset[str]]] = {
    NewOrder: (ORDER, frozenset({"reference_id", "ordered_at", "price", "currency_code"})),
    OrderChanges: (
        {key: rule for key, rule in ORDER.items() if key not in {"reference_id", "ordered_at"}},
        frozenset(),
    ),
    NewOrderItem: (ITEM, frozenset({"type", "name", "price", "currency_code", "status"})),
    OrderItemChanges: (ITEM, frozenset()),
    NewContact: (PERSON, frozenset()),
    ContactChanges: (PERSON, frozenset()),
    NewConsumer: (CONSUMER, frozenset()),
    ConsumerChanges: (CONSUMER, frozenset()),
    NewOrderV2: (ORDER_V2, frozenset({"reference_id", "ordered_at", "price", "currency_code", "point_of_sale"})),
    NewOrderItemV2: (
        ITEM_V2,
        frozenset({"type", "price", "currency_code", "status", "product_id", "reference_id"}),
    ),
    NewContactV2: (PERSON_V2, frozenset({"first_name", "last_name"})),
    NewConsumerV2: (CONSUMER_V2, frozenset({"first_name", "last_name"})),
}
"""For each model: the rule of each field, and which fields must be there."""
TYPES: Mapping[Rule, Any] = {
    text: str,
    filled: Annotated[str, Meta(min_length=1)],
    name: Annotated[str, Meta(min_length=1, max_length=LONGEST_NAME)],
    whole: Annotated[int, Meta(ge=-INT32, le=INT32 - 1)],
}
"""The types that tell msgspec what a rule says, but for what UTF-8 cannot carry: that, it refuses to write."""


def types_and_rules(model: type) -> tuple[Mapping[str, Any], Sequence[tuple[str, bool, Rule]]]:
    """Return the rules of *model*: those that a type tells, as such, by field; and the others.

    Each of these comes after the name of its field, and whether None is right.
    """
    table, required = RULES[model]
    forms = {
        key: TYPES[rule] if key in required else TYPES[rule] | None for key, rule in table.items() if rule in TYPES
    }
    return forms, [(key, key not in required, rule) for key, rule in table.items() if rule not in TYPES]


def check(model: type, value: object, at: str = "$") -> list[Violation]:
    """Return every rule that *value* breaks.

    Parameters: *model*, the class or TypedDict whose rules hold; *value*, an instance or a dict of
    changes; *at*, the path of the value, put before each field.
    """
    table, required = RULES[model]
    if type(value) is not model:
        if is_typeddict(model):
            return _check_changes(table, value, at)
        if not isinstance(value, model):
            return [Violation(at, f"must be a {model.__name__}")]
    found: list[Violation] = []
    for key, rule in table.items():
        field = getattr(value, key)
        if field is None:
            if key in required:
                found.append(Violation(f"{at}.{camel(key)}", "is required"))
        elif (rule is text or rule is filled) and isinstance(field, str) and field and field.isascii():
            continue  # nearly always, and a call costs more
        elif wrong := rule(field):
            found.append(Violation(f"{at}.{camel(key)}", wrong))
    return found


def _check_changes(table: Mapping[str, Rule], value: object, at: str) -> list[Violation]:
    if not _is_dict(value):
        return [Violation(at, "must be a dict of the fields that change")]
    return [
        Violation(f"{at}.{shown_key(camel(str(key)))}", wrong)
        for key, one in value.items()
        if (wrong := table[key](one) if key in table else "is not a field that can change")
    ]


def _is_dict(value: object) -> TypeGuard[dict[str, object]]:
    return isinstance(value, dict)


def _is_mapping(value: object) -> TypeGuard[Mapping[object, object]]:
    return type(value) is dict or isinstance(value, Mapping)  # the first nearly always, and much quicker


def check_extension(pairs: object, at: str = "$") -> list[Violation]:
    """Return every rule that the *pairs* of a data extension break; of very many pairs, only that they are too many."""
    if not _is_mapping(pairs):
        return [Violation(at, "must be a dict of keys and values")]
    found = [] if len(pairs) <= EXTENSION_LIMIT else [Violation(at, f"must have at most {EXTENSION_LIMIT} pairs")]
    if len(pairs) > 10 * EXTENSION_LIMIT:
        return found
    for key, value in pairs.items():
        if not (isinstance(key, str) and key.isascii() and key.isalnum() and key[0].islower()):
            found.append(_key_violation(key, at))
        elif key in RESERVED_KEYS:
            found.append(Violation(f"{at}.{key}", "is a key that the server sets itself"))
        elif not (isinstance(value, str) and value.isascii()) and (wrong := primitive(value)):
            found.append(Violation(f"{at}.{shown_key(key)}", wrong))
    return found


def _key_violation(key: object, at: str) -> Violation:
    if isinstance(key, str):
        return Violation(f"{at}.{shown_key(key)}", "each key must be camelCase, letters and digits only")
    return Violation(at, "each key must be text")


def primitive(value: object) -> str | None:
    """Accept what a data extension can hold."""
    if isinstance(value, float):
        return None if math.isfinite(value) else "must be a finite number"
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return None if -(2**63) <= value < 2**64 else "must be an integer of 64 bits: send a longer one as text"
    return text(value) if isinstance(value, str) else "must be text, a boolean or a number"


def check_limit(limit: int) -> list[Violation]:
    """Return what is wrong with the size of a page."""
    need(limit, int, "limit", "a whole number from 1 to 100")
    return [] if 1 <= limit <= 100 else [Violation("limit", "must be from 1 to 100")]  # noqa: PLR2004 the vendor's numbers


def refuse(found: list[Violation]) -> None:
    """Raise `Invalid` if anything was found."""
    if found:
        raise Invalid(tuple(found))
