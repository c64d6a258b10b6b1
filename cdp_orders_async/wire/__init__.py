"""Values to JSON and back, a request as a value, and an answer as a result or an error.

Nothing here does I/O, so all of it can be tested, printed and compared.
"""

from __future__ import annotations

from cdp_orders_async.wire.codec import (
    MOMENT_RULE,
    encode,
    in_utc,
    is_list,
    is_object,
    read_fields,
    read_moment,
    ref_text,
    structure,
    to_json,
)
from cdp_orders_async.wire.copies import copy_of
from cdp_orders_async.wire.direct import writer
from cdp_orders_async.wire.request import (
    MAYBE_DONE_BEFORE,
    NO_QUERY,
    Page,
    Request,
    Transport,
    is_of_a_gateway,
    masked_message,
    parse_response,
    reads,
    reads_nothing,
    reads_page,
    sent_words,
)

__all__ = [
    "MAYBE_DONE_BEFORE",
    "MOMENT_RULE",
    "NO_QUERY",
    "Page",
    "Request",
    "Transport",
    "copy_of",
    "encode",
    "in_utc",
    "is_list",
    "is_object",
    "is_of_a_gateway",
    "masked_message",
    "parse_response",
    "read_fields",
    "read_moment",
    "reads",
    "reads_nothing",
    "reads_page",
    "ref_text",
    "sent_words",
    "structure",
    "to_json",
    "writer",
]
