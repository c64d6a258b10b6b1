"""Keeps what was sent about a person out of what a server says: it may repeat the value that it refuses."""

from __future__ import annotations

import re
from collections.abc import Iterator

from cdp_orders_async.wire.codec import is_list, is_object

__all__ = ["masked"]

LONG = 5  # characters; a shorter number may as well be a status


def masked(text: str, *sent: object) -> str:
    """Return *text* with ``***`` in place of each text in the JSON data *sent*, and of each number that is long."""
    values = {value for one in sent for value in _texts(one) if value in text}
    for value in sorted(values, key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", "***", text)
    return text


def _texts(value: object) -> Iterator[str]:
    """Yield each text in JSON data, and each number that is long enough to be somebody's."""
    if is_object(value):
        for one in value.values():
            yield from _texts(one)
    elif is_list(value):
        for one in value:
            yield from _texts(one)
    elif isinstance(value, str) and value:
        yield value
    elif isinstance(value, (int, float)) and len(str(value)) >= LONG:
        yield str(value)
