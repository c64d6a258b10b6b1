"""A request to the emulator, the endpoint that answers it, and refusals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import attrs
import orjson

from cdp_orders_async.emulator.operations import Reply
from cdp_orders_async.emulator.records import Invalid, Json

__all__ = ["LARGEST", "SUPPORT", "Answer", "Asked", "Endpoint", "read_object", "refusal"]

SUPPORT = "https://support.sitecore.com"
LARGEST = 2**20
"""The bytes of the largest body of a request to the API."""


@attrs.frozen
class Asked:
    """A request, as read from the connection."""

    method: str
    path: str
    query: Mapping[str, str]
    base: str
    """The scheme and host that the client used; links begin with it."""
    authorization: str
    content_type: str
    request_id: str | None
    body: bytes
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str])
    """All headers, whose names may be written in any case."""


Answer: TypeAlias = Callable[[Asked, list[str]], Reply]
"""Answers a request; the list holds the open segments of its path."""


@attrs.frozen
class Endpoint:
    """An operation at a path."""

    operation: str
    """``items.create``, ...; empty for an endpoint outside of the API, which has no faults and no rate limit."""
    answer: Answer
    is_signed: bool = False
    """Whether its URL holds a signature, in place of credentials."""
    largest: int = LARGEST
    """The bytes of the largest body."""


def refusal(status: int, message: str, *, retry_after: int | None = None) -> Reply:
    """Return the envelope of every error but 401; *retry_after* is in seconds."""
    body = {"status": status, "code": status, "message": message, "developerMessage": message, "moreInfoUrl": SUPPORT}
    return Reply(status, body, retry_after)


def read_object(body: bytes) -> dict[str, Json]:
    """Read a JSON object; raise Invalid."""
    try:
        read: Json = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Invalid("The body is not valid JSON.") from None
    if not isinstance(read, dict):
        raise Invalid("The body must be a JSON object.")
    return read
