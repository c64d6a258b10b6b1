"""What the vendor's documents leave open, as named switches; the default is the most plausible reading."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any, Literal, TypeAlias, get_args, get_origin, get_type_hints

import attrs
import orjson

from cdp_orders_async.emulator.limits import Limit, read_limits
from cdp_orders_async.emulator.naming import EXAMPLES, OPERATIONS, WRITES, named

__all__ = ["Seconds", "Switches", "seconds"]


class ByOperation(tuple[tuple[str, float], ...]):
    """Seconds by the names of operations, which may have wildcards: pairs of a mapping, because pairs have a hash."""

    __slots__ = ()


Seconds: TypeAlias = float | ByOperation
"""Seconds for all operations, or for some."""


def seconds(given: Seconds, operation: str) -> float:
    """Return the seconds of *operation*; of the names that fit, the one with the fewest operations decides.

    Of two such names, the first decides. An empty *operation*, outside of the API, has 0 seconds.
    """
    if not operation:
        return 0
    if not isinstance(given, ByOperation):
        return given
    fitting = [(len(named(name)), wait) for name, wait in given if fnmatchcase(operation, name)]
    return min(fitting, key=lambda fit: fit[0], default=(0, 0))[1]


def frozen(given: float | Mapping[str, float] | ByOperation) -> Seconds:
    """Return the pairs of a mapping, and anything else unchanged."""
    return ByOperation(given.items()) if isinstance(given, Mapping) else given


def check_seconds(_: Switches, switch: attrs.Attribute[Any], given: object) -> None:
    """Raise ValueError, which names the *switch*, unless *given* is seconds, for all operations or for some."""
    known = WRITES if switch.name == "slow_writes" else OPERATIONS
    pairs = list[tuple[object, object]](given if isinstance(given, ByOperation) else [("*", given)])
    for name, wait in pairs:
        if not isinstance(name, str) or not named(name) & known:
            operations = "operations that write," if known is WRITES else "operations"
            raise ValueError(f"{switch.name} must name {operations} {EXAMPLES}, not {name!r}")
        if isinstance(wait, bool) or not isinstance(wait, int | float) or not 0 <= wait <= sys.float_info.max:
            raise ValueError(f"{switch.name} must be seconds, a finite number of at least 0, not {wait!r}")


def check_count(_: Switches, switch: attrs.Attribute[Any], given: object) -> None:
    """Raise ValueError, which names the *switch*, unless *given* is a whole number of at least 0."""
    if type(given) is not int or given < 0:
        raise ValueError(f"{switch.name} must be a whole number of at least 0, not {given!r}")


def check_time(_: Switches, switch: attrs.Attribute[Any], given: object) -> None:
    """Raise ValueError, which names the *switch*, unless *given* is a time that can be added to a date."""
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 <= given <= LONGEST_TIME:
        raise ValueError(f"{switch.name} must be a number from 0 to {LONGEST_TIME:,}, not {given!r}")


def check_positive(_: Switches, switch: attrs.Attribute[Any], given: object) -> None:
    """Raise ValueError, which names the *switch*, unless *given* is a whole number of at least 1."""
    if type(given) is not int or given < 1:
        raise ValueError(f"{switch.name} must be a whole number of at least 1, not {given!r}")


def check_rate(_: Switches, switch: attrs.Attribute[Any], given: object) -> None:
    """Raise ValueError, which names the *switch*, unless *given* is requests a second."""
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 < given <= sys.float_info.max:
        raise ValueError(f"{switch.name} must be a finite number above 0, not {given!r}")


LONGEST_TIME = 1_000_000
"""Seconds or hours: with it a date stays a date."""


@attrs.frozen(kw_only=True)
class Switches:
    """How the emulator behaves where the documents are silent."""

    upsert: bool = True
    """A POST of an order with a known referenceId, ordered within *match_hours*, updates the stored order and
    answers 201 with its ref. False: it stores a second order."""
    match_hours: float = attrs.field(default=48, validator=check_time)
    """Two orders are the same if their orderedAt differ by at most so many hours."""
    refuse_identity_change: bool = True
    """PUT or PATCH with another referenceId or orderedAt gives 400. False: the other value is ignored."""
    require_all_on_patch: bool = False
    """PATCH needs all the required keys. False: any subset."""
    unknown_ref_status: Literal[400, 404] = 404
    """The status of the answer to an unknown ref."""
    unexpanded: Literal["href", "ref"] = "href"
    """The contents of a list entry that is not expanded: only the href, or the ref too."""
    limit_max: int = attrs.field(default=100, validator=check_positive)
    """A higher limit is served as this one; a limit below 1 is refused with 400."""
    require_first_name: bool | None = None
    """A contact or a consumer without firstName gives 400, in version 2 also without lastName; None: only in
    version 2. False: neither."""
    extension_post_existing: Literal["replace", "merge", "refuse"] = "replace"
    """The effect of a POST on an existing extension: it replaces or merges the pairs and answers 201, or 400."""
    unknown_keys: Literal["ignore", "refuse"] = "ignore"
    """Keys of a body that the documents do not name are ignored, or refused with 400."""
    rate: float | None = attrs.field(default=None, validator=attrs.validators.optional(check_rate))
    """Above so many requests a second, the answer is 429; None: no limit."""
    burst: int = attrs.field(default=1, validator=check_positive)
    """The number of requests that may come at once under *rate*."""
    retry_after: int | None = attrs.field(default=None, validator=attrs.validators.optional(check_count))
    """The seconds of ``Retry-After`` on a 429; None: no such header."""
    limits: tuple[Limit, ...] = attrs.field(default=(), converter=read_limits)
    """Limiters as in real APIs, one or several: objects of `limits`, or mappings such as
    ``{"kind": "bucket", "rate": 50, "burst": 50, "refusal": "reset", "ban": 60}``."""
    list_lag: float = attrs.field(default=0, validator=check_time)
    """Seconds for which a new object is missing in every list."""
    delete_last_contact: Literal["keep", "refuse"] = "keep"
    """After its last contact is deleted, an order stays, without an owner; or the deletion gives 400."""
    cascade: bool = True
    """Deleting an order or an item deletes what is under it. False: the parts stay, each under its own reference."""
    ignore_expand: bool = False
    """Lists stay unexpanded even with ``expand=true``."""
    repeat_next: bool = False
    """The last page of a list has a ``next`` too: a link to itself."""
    clamp_silently: bool = False
    """A page does not show that *limit_max* clamped it: the key ``limit`` is missing, and the links repeat the limit of
    the request. A page of version 2.1 has a ``next`` if another one follows, as always."""
    empty_gets: int = attrs.field(default=0, validator=check_count)
    """Every n-th GET is answered 200 with an empty body; 0: none."""
    dates_only: bool = False
    """A Date of version 2, dateOfBirth, is stored as the day in UTC: its time becomes 00:00:00."""
    latency: Seconds = attrs.field(default=0, converter=frozen, validator=check_seconds)
    """Seconds from the end of a request until its answer leaves: one number, or a mapping by operation such as
    ``{"orders.create": 3, "*": 0.1}``, in which the name with the fewest operations decides. The request takes effect
    right before the answer is made; if the client has gone by then, it has no effect, unless it is a slow write."""
    slow_writes: Seconds = attrs.field(default=0, converter=frozen, validator=check_seconds)
    """Seconds before a POST, PUT, PATCH or DELETE takes effect, even if the client has gone meanwhile; then its answer
    leaves. Until then no list, no GET and no ledger shows it. Its form is that of *latency*, and the two add up. When
    the server stops or is reset, delayed requests take effect at once."""
    batch_seconds: float = 0
    """Seconds from the upload of a batch file to its result. When the server stops or is reset, the result is there at
    once."""
    batch_location_seconds: float = 3600
    """Seconds for which the location of an upload, and the URL of an error log, are valid: the vendor says an hour."""
    batch_again: Literal["renew", "refuse"] = "renew"
    """A second PUT of a batch without an accepted file answers with a new location, or 409."""
    batch_second_upload: Literal["ignore", "process"] = "ignore"
    """A second upload to the location of a batch changes nothing, or the file is processed again."""
    batch_upsert_items: Literal["refuse", "ignore"] = "refuse"
    """An order in mode upsert with items, which the vendor does not support, is refused, or its items are ignored."""
    batch_model: Literal["v2.1", "v2"] = "v2.1"
    """The data model whose rules hold for the records of a batch, beside those of the Batch API."""
    batch_identity: bool = False
    """A record without an email or an identifier of its contact is refused: ``Identity information missing``."""

    @classmethod
    def read(cls, given: Iterable[str]) -> Switches:
        """Make switches from texts such as ``list_lag=2``; raise ValueError that names a wrong text.

        The value is JSON, or a word: ``unexpanded=ref``.
        """
        hints = get_type_hints(cls)
        found = cls()
        for text in given:
            name, _, word = text.partition("=")
            try:
                value: object = orjson.loads(word)
            except orjson.JSONDecodeError:
                value = word
            if name not in hints:
                raise ValueError(f"{text}: there is no switch {name}; there are {', '.join(hints)}")
            if not _fits(value, hints[name]):
                raise ValueError(f"{text}: {word!r} is not a value of this switch")
            change: dict[str, Any] = {name: value}
            try:
                found = attrs.evolve(found, **change)
            except ValueError as wrong:
                raise ValueError(f"{text}: {wrong}") from None
        return found


def _fits(value: object, hint: Any) -> bool:  # noqa: ANN401 a type hint can be anything
    """Tell whether *value* has the type *hint*: a literal, a plain type, by operation, limits, or a union of them."""
    if hint is ByOperation:
        return isinstance(value, dict)  # the switch checks the contents
    if hint == tuple[Limit, ...]:
        return isinstance(value, dict | list)  # the same
    if get_origin(hint) is Literal:
        return any(value == word and type(value) is type(word) for word in get_args(hint))
    if parts := get_args(hint):
        return any(_fits(value, part) for part in parts)
    return type(value) is hint or (hint is float and type(value) is int)
