"""Times without a time zone: the user says their zone, and it is never guessed."""

from __future__ import annotations

from datetime import date, datetime, time, tzinfo
from types import NoneType
from typing import TypeAlias

from cdp_orders_async.arguments import need
from cdp_orders_async.errors import Invalid, Violation
from cdp_orders_async.redact import printable
from cdp_orders_async.wire import read_moment

__all__ = ["DATES", "MOMENTS", "Timezone", "zone_of", "zoned"]

Timezone: TypeAlias = str | tzinfo | None

MOMENTS = frozenset({"orderedAt"})
"""The keys that hold a time."""
DATES = frozenset({"dateOfBirth", "expiryDate", "passportExpiry"})
"""The keys that hold a date. The vendor writes it as midnight in UTC: another time zone would change the day."""

NO_ZONE = (
    "must have a time zone, such as Z or +01:00 at its end; --timezone Europe/Dublin (timezone= in Python) "
    "reads it as a time in Dublin"
)
CHANGED = "must have an offset, such as +01:00: in {zone} this time {happened}, as clocks changed"
NO_TIME = "must be a date and time, since a date alone is a whole day"


def zone_of(timezone: Timezone) -> tzinfo | None:
    """Return the time zone *timezone*; raise `Invalid` if this system does not know it, TypeError for another type."""
    need(timezone, (str, tzinfo, NoneType), "timezone")
    if not isinstance(timezone, str):
        return timezone
    import zoneinfo  # noqa: PLC0415 it is slow, and few programs need it

    try:
        return zoneinfo.ZoneInfo(timezone)
    except (KeyError, ValueError, OSError):
        rule = f"{printable(timezone[:64])!r} is no time zone that this system knows, such as Europe/Dublin"
    if not zoneinfo.available_timezones():
        rule = "this system has no time zones: install the package tzdata"
    raise Invalid((Violation("timezone", rule),))


def zoned(key: str, text: str, zone: tzinfo | None) -> tuple[str, str | None]:
    """Return *text*, the value of *key*, with a time zone, and the rule that it breaks, if any.

    Text that is not a time is returned unchanged.
    """
    if text.endswith("Z"):  # nearly always
        return text, None
    try:
        moment = read_moment(text)
    except ValueError:
        return text, None
    if moment.tzinfo is not None or (key in DATES and moment.time() == time()):
        return text, None
    if key not in DATES and _is_date(text):
        return text, NO_TIME
    return (text, NO_ZONE) if zone is None else _in_zone(moment, text, zone)


def _in_zone(moment: datetime, text: str, zone: tzinfo) -> tuple[str, str | None]:
    """Return *text*, which is *moment*, with its offset in *zone*, and the rule that it breaks, if any."""
    first, second = (moment.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
    offset, later = first.utcoffset(), second.utcoffset()
    if offset is None or later is None or offset == later:
        return first.isoformat(), None
    happened = "was there twice" if offset > later else "was never there"
    return text, CHANGED.format(zone=printable(str(zone)), happened=happened)


def _is_date(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True
