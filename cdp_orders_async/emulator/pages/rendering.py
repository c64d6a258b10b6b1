"""The templates. This module imports jinja2, so it is imported when the first page is opened."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import cast

import orjson
from jinja2 import Environment, PackageLoader, StrictUndefined

from cdp_orders_async.emulator.pages.visit import PAGES
from cdp_orders_async.emulator.records import Json, Record, members, moment, texts

__all__ = ["render"]

LONGEST_VALUE = 500
"""The number of characters of a value that are shown."""
LONGEST_MEMBER = 100
"""The number of characters of a member of a list that are shown, and of a name or a title."""
SECTIONS = ("guests", "orders", "requests", "ledger", "switches", "faults")
UNSEEN = re.compile(r"[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that a browser leaves out, or that turn the order of others round."""
MANY = 50
"""The number of members of a list that are shown."""


def render(template: str, values: Mapping[str, object]) -> str:
    """Return a page."""
    return ENVIRONMENT.get_template(template).render(pages=PAGES, sections=SECTIONS, **values)


def shown(value: Json) -> str:
    """Return a value as text, cut if it is long."""
    if isinstance(value, list) and len(texts(value)) == len(value):
        more = f", and {len(value) - MANY:,} more" if len(value) > MANY else ""
        return ", ".join(cut(text, LONGEST_MEMBER) for text in texts(value[:MANY])) + more
    return cut(value if isinstance(value, str) else orjson.dumps(value).decode(), LONGEST_VALUE)


def cut(text: str, most: int) -> str:
    """Return *text*, or its first *most* characters and its length."""
    return seen(text if len(text) <= most else f"{text[:most]}… ({len(text):,} characters)")


def seen(text: str) -> str:
    """Return *text* with each character that cannot be seen as its code, as in JSON."""
    return UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def brief(text: str) -> str:
    """Return *text*, or its beginning if it is too long for a title or a table."""
    return text if len(text) <= LONGEST_MEMBER else f"{text[:LONGEST_MEMBER]}…"


def label(key: str) -> str:
    """Return the words of a key in camel case: First name."""
    words = "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in key).strip()
    return f"{words[:1].upper()}{words[1:]}"


def person(record: Record) -> str:
    """Return the name of a person, else another text that tells the person, cut if it is long."""
    names = [name for key in ("firstName", "lastName") if isinstance(name := record.data.get(key), str)]
    name = " ".join(names).strip()
    emails = texts(record.data.get("emails"))
    return brief(seen(name or next(filter(str.strip, emails), f"No name ({record.ref[:8]})")))


def title(record: Record, *keys: str) -> str:
    """Return the first of these values that is a text, else the ref, cut if it is long."""
    found = (value for key in keys if isinstance(value := record.data.get(key), str) and value.strip())
    return brief(seen(next(found, record.ref)))


def instant(time: datetime, digits: str = "seconds") -> str:
    """Return a time in UTC with so many *digits*, as in `datetime.isoformat`."""
    return time.isoformat(" ", digits).replace("+00:00", " UTC")


def time_of(value: Json) -> datetime | None:
    """Return the time that a client sent, None if it is none."""
    try:
        return moment(str(value))
    except ValueError:
        return None


def amount(data: Mapping[str, Json]) -> str:
    """Return a price with its currency."""
    return f"{shown(data.get('price', ''))} {shown(data.get('currencyCode', ''))}".strip()


ENVIRONMENT = Environment(
    loader=PackageLoader("cdp_orders_async.emulator.pages"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
cast("dict[str, object]", ENVIRONMENT.filters).update(
    shown=shown,
    brief=brief,
    time_of=time_of,
    label=label,
    person=person,
    title_of=title,
    instant=instant,
    amount=amount,
    members=members,
    texts=texts,
)
