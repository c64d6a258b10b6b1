"""Keeps what was sent about a person out of what a server says: it may repeat the value that it refuses."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from cdp_orders_async.wire.codec import is_list, is_object

__all__ = ["masked", "masked_values", "texts_in"]

LONG = 5  # characters; a shorter number may as well be a status or a version


def masked(text: str, *sent: object) -> str:
    """Return *text* with ``***`` in place of each text in the JSON data *sent*, and of each number that is long."""
    return masked_values(text, texts_in(*sent))


def texts_in(*sent: object) -> frozenset[str]:
    """Return each text in the JSON data *sent*, and each number that is long."""
    return frozenset(value for one in sent for value in _texts(one))


def masked_values(text: str, values: Iterable[str]) -> str:
    """Return *text* with ``***`` in place of each of the *values*."""
    for value in sorted((value for value in values if value in text), key=len, reverse=True):
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
    elif isinstance(value, str) and len(value) > 1 and (len(value) >= LONG or not value.isdecimal()):
        yield value
    elif isinstance(value, (int, float)) and len(str(value)) >= LONG:
        yield str(value)
