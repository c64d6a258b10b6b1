"""Find the key of an order in text that is not JSON, so that its outcome names the order."""

from __future__ import annotations

import re
from datetime import tzinfo

import orjson

from cdp_orders_async.graph.parsing import key_of

__all__ = ["key_in"]

LONGEST_LOOKED_AT = 2**16
"""The bytes in which the key is looked for."""
TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?|[][{},]', re.DOTALL)
"""A text, also one that is cut off, or a mark that opens, ends or parts something."""
PAIR = re.compile(rb'\s*"(referenceId|orderedAt)"\s*:\s*("[^"\\]*(?:\\.[^"\\]*)*")\s*[,}]', re.DOTALL)


def key_in(text: bytes, zone: tzinfo | None) -> str | None:
    """Return the key of the order in *text*, as in `OrderGraph.key`, as far as it can be read.

    Only texts at the first level count, each of which is given once: the items have reference ids too.
    """
    if not text.startswith(b"{"):
        return None
    level = 0
    found: list[tuple[str, str]] = []
    for token in TOKEN.finditer(text, 0, LONGEST_LOOKED_AT):
        mark = token[0]
        level += (mark in {b"{", b"["}) - (mark in {b"}", b"]"})
        if level == 0:
            break
        if level == 1 and mark in {b"{", b","} and (pair := PAIR.match(text, token.end(), LONGEST_LOOKED_AT)):
            try:
                found.append((pair[1].decode(), orjson.loads(pair[2])))
            except orjson.JSONDecodeError:
                return None
    fields = dict(found)
    return key_of(fields, zone) if len(fields) == len(found) else None
