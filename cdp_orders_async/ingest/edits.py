"""Which thing on the server a part was before the input was edited: pure decisions.

A part without an id of its own is found by its content. Where the content was edited, the part is the thing that no
part of the input claims any more. It is never added beside that thing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cdp_orders_async.ingest.compare import diff, may_match
from cdp_orders_async.ingest.parts import Part

__all__ = ["AmbiguousError", "pair_edited"]

NAME_FIELDS: Mapping[str, tuple[str, ...]] = {
    "items": ("type", "name", "product_id"),
    "consumers": ("first_name", "last_name"),
    "contacts": (),
}
"""The fields that a thing is known by, as a person would."""


class AmbiguousError(Exception):
    """More than one thing on the server could be the part."""

    def __str__(self) -> str:
        return "it could be any of several things that are on the server"


def pair_edited(part: Part, new: Sequence[Part], left: Sequence[Any]) -> Any:  # noqa: ANN401 any resource
    """Return the one of *left*, the things that no part claims, that *part* was before it was edited.

    *new* are the parts of its kind that nothing on the server fits, *part* among them. Returns None where the part is
    new; raises `AmbiguousError` where it would be a guess.
    """
    new, left = _possible(new, left)
    while (clear := _clear_pair(new, left)) is not None:
        paired, stored = clear
        if paired is part:
            return stored
        new.remove(paired)
        left.remove(stored)
        new, left = _possible(new, left)
    if any(_may_be(part, stored) for stored in left):
        raise AmbiguousError
    return None


def _possible(new: Sequence[Part], left: Sequence[Any]) -> tuple[list[Part], list[Any]]:
    """Return those parts that may be any of the things, and those things that may be any of the parts."""
    parts = [part for part in new if any(_may_be(part, stored) for stored in left)]
    return parts, [stored for stored in left if any(_may_be(part, stored) for part in new)]


def _clear_pair(new: Sequence[Part], left: Sequence[Any]) -> tuple[Part, Any] | None:
    """Return a part and a thing of which each fits the other better than all others do, None if there is none."""
    if len(new) == len(left) == 1:
        return (new[0], left[0]) if _may_be(new[0], left[0]) else None
    for part in new:
        nearest = sorted((_distance(part, stored), n) for n, stored in enumerate(left) if _may_be(part, stored))
        if not nearest or nearest[0][0][0] or (len(nearest) > 1 and nearest[1][0] == nearest[0][0]):
            continue
        distance, n = nearest[0]
        rivals = [rival for rival in new if rival is not part and _may_be(rival, left[n])]
        if all(distance < _distance(rival, left[n]) for rival in rivals):
            return part, left[n]
    return None


def _may_be(part: Part, stored: Any) -> bool:  # noqa: ANN401 any resource
    """Tell whether *stored* may be *part* as it was: two ids that differ are two things."""
    value = part.value
    if part.kind == "items":
        return value.reference_id is None or stored.reference_id is None or value.reference_id == stored.reference_id
    if part.kind == "consumers" and value.identifiers and stored.identifiers:
        return may_match(part.sent(), stored) or _same_name(part, stored)
    return True


def _same_name(part: Part, stored: Any) -> bool:  # noqa: ANN401 any resource
    names = [name for name in NAME_FIELDS[part.kind] if getattr(part.value, name) is not None]
    return bool(names) and not set(names) & set(diff(part.sent(), stored))


def _distance(part: Part, stored: Any) -> tuple[bool, int]:  # noqa: ANN401 any resource
    """Return how far *part* is from *stored*: whether it has another name, and in how many fields it differs."""
    differs = diff(part.sent(), stored)
    return bool(set(NAME_FIELDS[part.kind]) & set(differs)), len(differs)
