"""The records of the emulator, as plain JSON, the effects on them, and the two kinds of refusals."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TypeAlias, TypedDict

import attrs

__all__ = [
    "Cause",
    "Effect",
    "Invalid",
    "Json",
    "Missing",
    "NoExtension",
    "Record",
    "members",
    "moment",
    "text_of",
    "texts",
    "utc_now",
]

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
"""Any JSON value."""


class Invalid(Exception):
    """The request is wrong."""


class Missing(Exception):
    """No record has the reference in the request."""


class NoExtension(Missing):
    """The owner exists, but has no data extension."""


@attrs.frozen
class Record:
    """One stored object of any kind; a change makes another record with the same ref."""

    kind: str
    """The kind as in the operations: ``orders``, ``items``, ``contacts``, ``item_extensions``, ...; or ``guests``."""
    ref: str
    owner: str
    """The ref that its path is under: the order's, or for an extension its owner's; empty for orders and guests."""
    order: str
    """The ref of its order; empty for guests."""
    serial: int
    """The number of the effect that created it."""
    data: Mapping[str, Json]
    """The checked values that the client sent. The links of a consumer to items are refs here."""
    created: datetime
    modified: datetime
    guest: str = ""
    """The ref of the guest that a contact or a consumer was matched to."""


@attrs.frozen
class Cause:
    """The request that causes an effect."""

    operation: str
    method: str
    path: str
    request_id: str | None = None


class Effect(TypedDict):
    """One line of the ledger: one change of state."""

    sequence: int
    time: str
    effect: str
    operation: str
    method: str
    path: str
    ref: str
    order: str
    requestId: str | None


def utc_now() -> datetime:
    """Return the time now."""
    return datetime.now(UTC)


def moment(text: str) -> datetime:
    """Read an ISO 8601 date-time that has a time zone; raise ValueError otherwise."""
    read = datetime.fromisoformat(text)
    if read.tzinfo is None:
        raise ValueError("has no time zone")
    return read.astimezone(UTC)


def text_of(instant: datetime) -> str:
    """Write an instant as the API does: in UTC, with a fraction only if there is one."""
    return instant.astimezone(UTC).isoformat().removesuffix("+00:00") + "Z"


def texts(value: Json) -> list[str]:
    """Return the strings of a list."""
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def members(value: Json) -> list[dict[str, Json]]:
    """Return the objects of a list."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
