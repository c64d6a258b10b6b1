"""Find the resource on the server that a part was before the input was edited: pure functions.

A part without an id of its own is found by its content. If its content was edited, the part is a resource that no
part of the input claims any longer. The part is never created beside that resource.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cdp_orders_async.ingest.compare import diff, may_match
from cdp_orders_async.ingest.parts import Part
from cdp_orders_async.models.common import AnyPerson

__all__ = ["AmbiguousError", "is_another_person", "pair_edited"]

NAME_FIELDS: Mapping[str, tuple[str, ...]] = {
    "items": ("type", "name", "product_id"),
    "consumers": ("first_name", "last_name"),
    "contacts": (),
}
"""The fields by which a person would recognise a part, by kind."""


class AmbiguousError(Exception):
    """Several resources on the server could be the part."""

    def __str__(self) -> str:
        return "it could be any of several things on the server"


def pair_edited(part: Part, new: Sequence[Part], left: Sequence[Any]) -> Any:  # noqa: ANN401 any resource
    """Return the resource that *part* was before its edit, out of *left*, the resources that no part claims.

    *new* are the parts of its kind without a matching resource; *part* is one of them. Returns None if *part* is new.
    Raises `AmbiguousError` if several resources could be the part.
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
    """Return the parts that may be one of the resources, and the resources that may be one of the parts."""
    parts = [part for part in new if any(_may_be(part, stored) for stored in left)]
    return parts, [stored for stored in left if any(_may_be(part, stored) for part in new)]


def _clear_pair(new: Sequence[Part], left: Sequence[Any]) -> tuple[Part, Any] | None:
    """Return a part and a resource, each the best fit of the other; None if there is no such pair."""
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
    """Tell whether *stored* may be an older state of *part*; different ids mean different things."""
    value = part.value
    if part.kind == "items" and value.reference_id is None and stored.reference_id is not None:
        return _same_name(part, stored)  # one that has lost its id and has another name is another item
    if part.kind == "items":
        return stored.reference_id is None or value.reference_id == stored.reference_id
    if part.kind == "consumers" and value.identifiers and stored.identifiers:
        return may_match(part.sent(), stored) or _same_name(part, stored)
    return True


def is_another_person(sent: AnyPerson, stored: AnyPerson) -> bool:
    """Tell whether two people are certainly two: they have other identifiers and another name."""
    if not sent.identifiers or not stored.identifiers or may_match(sent, stored):
        return False
    return bool({*NAME_FIELDS["consumers"]} & set(diff(sent, stored)))


def _same_name(part: Part, stored: Any) -> bool:  # noqa: ANN401 any resource
    names = [name for name in NAME_FIELDS[part.kind] if getattr(part.value, name) is not None]
    return bool(names) and not set(names) & set(diff(part.sent(), stored))


def _distance(part: Part, stored: Any) -> tuple[bool, int]:  # noqa: ANN401 any resource
    """Return the distance of *part* and *stored*: whether the names differ, and the number of fields that differ."""
    differs = diff(part.sent(), stored)
    return bool(set(NAME_FIELDS[part.kind]) & set(differs)), len(differs)
