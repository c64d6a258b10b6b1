"""The rules for the bodies of requests, as tables, and the function that applies them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TypeAlias

import attrs

from cdp_orders_async.emulator.records import Invalid, Json, members, moment, text_of
from cdp_orders_async.emulator.switches import Switches

__all__ = ["EXTENSION_PAIRS_MAX", "V2_1_RULES", "V2_RULES", "Check", "Rules", "checked", "checked_pairs", "day"]

Check: TypeAlias = Callable[[Json], Json]
"""Returns the value to store, or raises Invalid with the rule that it breaks."""

EXTENSION_PAIRS_MAX = 100
NAME_MAX = 128
INT32_MAX = 2**31 - 1
EXACT_FLOATS = 2**53  # below this a float holds every whole number


def text(value: Json) -> Json:
    """Accept a string."""
    if not isinstance(value, str):
        raise Invalid("must be a string.")
    return value


def short_text(value: Json) -> Json:
    """Accept a string of at most 128 characters."""
    if not isinstance(value, str) or len(value) > NAME_MAX:
        raise Invalid(f"must be a string of at most {NAME_MAX} characters.")
    return value


def number(value: Json) -> Json:
    """Accept a number; a whole one gets no fraction, as at the vendor: some clients read it as an int."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Invalid("must be a number.")
    return int(value) if isinstance(value, float) and abs(value) < EXACT_FLOATS and value.is_integer() else value


def integer(value: Json) -> Json:
    """Accept a whole number of 32 bits."""
    number = int(value) if isinstance(value, float) and value.is_integer() else value
    if isinstance(number, bool) or not isinstance(number, int) or not -INT32_MAX - 1 <= number <= INT32_MAX:
        raise Invalid("must be an integer of 32 bits.")
    return number


def instant(value: Json) -> Json:
    """Accept a date-time with a time zone; keep it in UTC, so that equal instants are equal texts."""
    try:
        return text_of(moment(value if isinstance(value, str) else ""))
    except (ValueError, OverflowError):
        raise Invalid("must be an ISO 8601 date-time with a time zone.") from None


def day(value: Json) -> Json:
    """Accept an `instant`; keep its day in UTC, with no time."""
    return f"{str(instant(value)).partition('T')[0]}T00:00:00Z"


def matching(pattern: str, words: str) -> Check:
    """Accept a string of one form, which *words* describe."""
    form = re.compile(pattern)

    def check(value: Json) -> Json:
        if not isinstance(value, str) or not form.fullmatch(value):
            raise Invalid(f"must be {words}.")
        return value

    return check


def one_of(*words: str) -> Check:
    """Accept one of the words."""

    def check(value: Json) -> Json:
        if value not in words:
            raise Invalid(f"must be one of {', '.join(words)}.")
        return value

    return check


def item_type(value: Json) -> Json:
    """Accept free text, except the reserved words."""
    if value in RESERVED_TYPES:
        raise Invalid(f"must not be one of {', '.join(RESERVED_TYPES)}.")
    return text(value)


def strings(value: Json) -> Json:
    """Accept a list of strings."""
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise Invalid("must be an array of strings.")
    return value


def identifiers(value: Json) -> Json:
    """Accept a list of identifiers, each with a provider and an id."""
    wrong = Invalid("must be an array of objects with the strings provider and id.")
    if not isinstance(value, list):
        raise wrong
    kept: list[Json] = []
    for each in value:
        if not isinstance(each, dict) or not (
            isinstance(each.get("provider"), str) and isinstance(each.get("id"), str)
        ):
            raise wrong
        expiry = {"expiryDate": instant(each["expiryDate"])} if each.get("expiryDate") is not None else {}
        kept.append({"provider": each["provider"], "id": each["id"], **expiry})
    return kept


def item_links(value: Json) -> Json:
    """Accept links to items; keep the refs, the last segments of the paths."""
    entries = value.get("items") if isinstance(value, dict) else None
    if not isinstance(entries, list):
        raise Invalid('must be an object like {"items": [{"href": "..."}]}.')
    refs: list[Json] = []
    for entry in entries:
        ref = linked(entry)
        if ref is None:
            raise Invalid('must be an object like {"items": [{"href": "..."}]}.')
        refs.append(ref)
    return refs


def linked(value: Json) -> str | None:
    """Return the ref in a link to any host: the last segment of its path."""
    href = value.get("href") if isinstance(value, dict) else None
    return href.partition("?")[0].rstrip("/").rpartition("/")[2].lower() if isinstance(href, str) else None


def link(value: Json) -> Json:
    """Accept a link; keep the ref."""
    ref = linked(value)
    if ref is None:
        raise Invalid('must be an object like {"href": "..."}.')
    return ref


def segments(value: Json) -> Json:
    """Accept a list of flight segments with their required keys and local times."""
    if not isinstance(value, list) or len(members(value)) != len(value):
        raise Invalid("must be an array of objects.")
    for segment in members(value):
        for name, check in SEGMENT.items():
            if segment.get(name) is None:
                if name in SEGMENT_NEEDS:
                    raise Invalid(f"{name} may not be null.")
            else:
                try:
                    check(segment[name])
                except Invalid as wrong:
                    raise Invalid(f"{name} {wrong}") from None
    return value


@attrs.frozen
class Rules:
    """The rules for the body of one kind."""

    fields: Mapping[str, Check]
    required: tuple[str, ...] = ()
    past: tuple[str, ...] = ()
    """Date-times that must lie in the past."""
    dates: tuple[str, ...] = ()
    """The keys that the vendor's pages call a Date, not a date-time."""
    served: frozenset[str] = frozenset()
    """The keys that only answers have; a body may repeat them, and they are ignored."""


def checked(
    rules: Rules, body: dict[str, Json], *, now: datetime, partial: bool, switches: Switches
) -> dict[str, Json]:
    """Return the values of *body* to store; null stays only in a *partial* body, where it removes a value.

    Raise Invalid with all complaints in one message.
    """
    only_sent = partial and not switches.require_all_on_patch
    needed = [name for name in rules.required if name in body or not only_sent]
    complaints = [f"{name}: may not be null." for name in needed if body.get(name) is None]
    kept: dict[str, Json] = {}
    for name, value in body.items():
        check = rules.fields.get(name)
        if check is None:
            if switches.unknown_keys == "refuse" and name not in rules.served:
                complaints.append(f"{name}: is not a known key.")
        elif value is not None:
            try:
                kept[name] = check(value)
            except Invalid as wrong:
                complaints.append(f"{name}: {wrong}")
        elif partial:
            kept[name] = None
    for name in rules.past:
        value = kept.get(name)
        if isinstance(value, str) and moment(value) >= now:
            complaints.append(f"{name}: must be in the past.")
    if complaints:
        raise Invalid(" ".join(complaints))
    return kept


def checked_pairs(body: dict[str, Json]) -> dict[str, Json]:
    """Return the pairs of a data extension; raise Invalid with all complaints in one message."""
    complaints: list[str] = []
    for name, value in body.items():
        if name in RESERVED_KEYS:
            complaints.append(f"{name}: is reserved.")
        elif not CAMEL_CASE.fullmatch(name):
            complaints.append(f"{name}: must be alphanumeric and in camel case.")
        elif not isinstance(value, str | bool | int | float):
            complaints.append(f"{name}: must be a string, a boolean or a number.")
    if len(body) > EXTENSION_PAIRS_MAX:
        complaints.append(f"ext: must have at most {EXTENSION_PAIRS_MAX} key-value pairs.")
    if complaints:
        raise Invalid(" ".join(complaints))
    return dict(body)


LOCAL_TIME = matching(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?Z", "a local date-time that ends in Z")
CAPITALS = matching(r"[^a-z]*", "in capitals")
SEGMENT: Mapping[str, Check] = {
    **dict.fromkeys(
        ("id", "fareClass", "fareFamily", "flightNumber", "operatingCarrier", "operatingFlightNumber"), text
    ),
    **dict.fromkeys(
        ("origin", "destination", "originDestination", "bookingClass", "carrier", "equipmentType"), CAPITALS
    ),
    "departureDateTime": LOCAL_TIME,
    "arrivalDateTime": LOCAL_TIME,
}
SEGMENT_NEEDS = frozenset(
    {"id", "origin", "destination", "departureDateTime", "arrivalDateTime", "flightNumber", "fareClass", "carrier"}
)
CAMEL_CASE = re.compile(r"[a-z][A-Za-z0-9]*")
RESERVED_KEYS = frozenset({"name", "href", "ref", "key", "createdAt", "modifiedAt", "order", "orderItem"})
RESERVED_TYPES = ("FLIGHT", "HOTEL", "MORTGAGE", "MORTGAGE_APPLICATION", "LOAN_APPLICATION", "PERSONAL_LOAN", "RAIL")
SERVED = frozenset({"ref", "href", "createdAt", "modifiedAt"})

CHANNELS = (
    "WEB", "MOBILE_WEB", "MOBILE_APP", "CALL_CENTER", "AIRPORT_KIOSK", "BRANCH", "KIOSK", "OFFLINE", "GDS", "OTA",
    "OTHER",
)  # fmt: skip
ITEM_STATUSES_V2 = (
    "RESERVED", "PENDING", "DECLINED", "CONFIRMED", "CANCELLED", "REFUNDED", "PURCHASED", "UNKNOWN",
)  # fmt: skip
ORDER_STATUSES_V2 = (*ITEM_STATUSES_V2, "PAYMENT_PENDING", "PARTIALY_CONFIRMED", "PARTIALY_REFUNDED")
ORDER_STATUSES = (*ORDER_STATUSES_V2, "BROWSED", "SEARCHED")

ORDER = Rules(
    fields={
        "referenceId": text,
        "orderedAt": instant,
        "price": number,
        "currencyCode": text,
        "channel": one_of(*CHANNELS),
        "pointOfSale": text,
        "status": one_of(*ORDER_STATUSES),
        "paymentType": text,
        "cardType": text,
    },
    required=("referenceId", "orderedAt", "price", "currencyCode"),
    served=SERVED,
)
ITEM = Rules(
    fields={
        "type": item_type,
        "name": short_text,
        "price": number,
        "currencyCode": text,
        "status": text,
        "description": text,
        "productId": text,
        "originalPrice": number,
        "originalCurrencyCode": text,
        "referenceId": text,
        "vendor": text,
        "language": text,
        "quantity": integer,
        "channel": text,
    },
    required=("type", "name", "price", "currencyCode", "status"),
    served=SERVED | {"order", "orderedAt"},
)
CONTACT = Rules(
    fields={
        "title": text,
        "firstName": text,
        "lastName": text,
        "gender": one_of("male", "female", "unknown"),
        "dateOfBirth": instant,
        "emails": strings,
        "phoneNumbers": strings,
        "nationality": text,
        "passportNumber": text,
        "passportExpiry": instant,
        "identifiers": identifiers,
        "street": strings,
        "city": text,
        "state": text,
        "postCode": text,
        "country": text,
    },
    past=("dateOfBirth",),
    served=SERVED | {"guest", "order"},
)
CONSUMER = attrs.evolve(CONTACT, fields={**CONTACT.fields, "orderItems": item_links})

V2_1_RULES: Mapping[str, Rules] = {"orders": ORDER, "items": ITEM, "contacts": CONTACT, "consumers": CONSUMER}

ITEM_TYPES_V2 = (
    "FLIGHT", "HOTEL", "CAR", "BAG", "INSURANCE", "CAR_SEAT", "MEAL", "FEE", "LOUNGE_ACCESS", "HOTEL_WIFI",
    "HOTEL_BREAKFAST", "SEAT_UPGRADE", "TAXI", "PARKING", "SEAT", "UPGRADE", "TRANSPORT", "OTHER",
    "INFLIGHT_ENTERTAINMENT", "ACTIVITY", "CARBON_OFFSET", "PAID_SUBSCRIPTION", "COMFORT_PACK", "INFLIGHT_VOUCHER",
    "PACKAGE", "SMS_ITINERARY", "SPECIAL_ASSISTANCE", "CHARITY_DONATION", "TRANSFER", "BAGGAGE", "FEES",
    "SEAT_UPGRADES", "INFLIGHT_VOUCHERS",
)  # fmt: skip
CURRENCY = matching("[A-Z]{3}", "an ISO 4217 code of three capital letters")
ORDER_V2 = Rules(
    fields={
        **ORDER.fields,
        "status": one_of(*ORDER_STATUSES_V2),
        # The pages of version 2 describe the codes; those of version 2.1 only call them text.
        "currencyCode": CURRENCY,
    },
    required=(*ORDER.required, "pointOfSale"),
    served=SERVED | {"contact", "contacts", "consumers", "orderItems"},
)
ITEM_V2 = Rules(
    fields={
        **ITEM.fields,
        "type": one_of(*ITEM_TYPES_V2),
        "status": one_of(*ITEM_STATUSES_V2),
        "currencyCode": CURRENCY,
        "channel": CAPITALS,
        "language": matching("[A-Z]{2}", "an ISO 639 code of two capital letters"),
        "quantity": number,
        "orderedAt": instant,
        "passengerTypeCode": text,
        "flightSegments": segments,
        "consumerTypeCode": text,
    },
    required=("currencyCode", "price", "status", "type", "productId", "referenceId"),
    served=SERVED | {"order"},
)
CONTACT_V2 = Rules(
    fields={
        **{key: check for key, check in CONTACT.fields.items() if key not in {"street", "city", "state", "postCode"}},
        "country": matching("[A-Z]{2}", "an ISO 3166-1 code of two capital letters"),
        "guest": link,
    },
    required=("firstName", "lastName"),
    past=CONTACT.past,
    dates=("dateOfBirth",),
    served=SERVED | {"order"},
)
CONSUMER_V2 = attrs.evolve(CONTACT_V2, fields={**CONTACT_V2.fields, "orderItems": item_links})

V2_RULES: Mapping[str, Rules] = {"orders": ORDER_V2, "items": ITEM_V2, "contacts": CONTACT_V2, "consumers": CONSUMER_V2}
