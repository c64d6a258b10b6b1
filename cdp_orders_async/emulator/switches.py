"""What the vendor's documents leave open, as named switches: the default is the most plausible reading."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, get_args, get_origin, get_type_hints

import attrs
import orjson

__all__ = ["Switches"]


@attrs.frozen(kw_only=True)
class Switches:
    """How the emulator behaves where the documents are silent; the number is that of the open point."""

    upsert: bool = True
    """1: a POST of an order with a known referenceId, ordered within *match_hours*, updates the order that is there
    and answers 201 with its ref. False: it stores a second order."""
    match_hours: float = 48
    """2: how far apart, in hours and inclusive, two orderedAt may be for the orders to be the same."""
    refuse_identity_change: bool = True
    """3: PUT or PATCH with another referenceId or orderedAt gives 400. False: the other value is ignored."""
    require_all_on_patch: bool = False
    """4: PATCH needs all the required keys. False: any subset."""
    unknown_ref_status: Literal[400, 404] = 404
    """5: the status of the answer to a ref that is not there."""
    unexpanded: Literal["href", "ref"] = "href"
    """6: what an entry of a list that is not expanded holds: the href only, or the ref with it."""
    limit_max: int = 100
    """7: a limit above this is served as this; below 1 it is refused with 400."""
    require_first_name: bool | None = None
    """8: a contact or a consumer without firstName gives 400, in version 2 also without lastName; None: only in
    version 2. False: neither."""
    extension_post_existing: Literal["replace", "merge", "refuse"] = "replace"
    """9: what a POST does to an extension that exists: 201 after replacing or merging its pairs, or 400."""
    unknown_keys: Literal["ignore", "refuse"] = "ignore"
    """10: keys of a body that the documents do not name are ignored, or refused with 400."""
    rate: float | None = None
    """11: requests a second above which 429 is answered; None: no limit."""
    burst: int = 1
    """11: how many requests may come at once under *rate*."""
    retry_after: int | None = None
    """11: the seconds of ``Retry-After`` on a 429; None: no such header."""
    list_lag: float = 0
    """12: seconds for which what was created is missing in every list."""
    delete_last_contact: Literal["keep", "refuse"] = "keep"
    """13: an order whose last contact is deleted is kept, without an owner; or the deletion gives 400."""
    ignore_expand: bool = False
    """Lists stay unexpanded even with ``expand=true``."""
    repeat_next: bool = False
    """The last page of a list has a ``next`` too: a link to itself."""

    @classmethod
    def read(cls, given: Iterable[str]) -> Switches:
        """Make switches of texts such as ``list_lag=2``; raise ValueError that names the wrong one.

        The value is JSON, or a word: ``unexpanded=ref``.
        """
        hints = get_type_hints(cls)
        found: dict[str, Any] = {}
        for text in given:
            name, _, word = text.partition("=")
            try:
                value: object = orjson.loads(word)
            except orjson.JSONDecodeError:
                value = word
            if name not in hints:
                raise ValueError(f"{text}: there is no switch {name}; there are {', '.join(hints)}")
            if not _fits(value, hints[name]):
                raise ValueError(f"{text}: {word!r} is no value of this switch")
            found[name] = value
        return attrs.evolve(cls(), **found)


def _fits(value: object, hint: Any) -> bool:  # noqa: ANN401 a type hint can be anything
    """Tell whether *value* is of the type *hint*, a literal, a plain type or a union of such."""
    if get_origin(hint) is Literal:
        return any(value == one and type(value) is type(one) for one in get_args(hint))
    if parts := get_args(hint):
        return any(_fits(value, part) for part in parts)
    return type(value) is hint or (hint is float and type(value) is int)
