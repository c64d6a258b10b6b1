"""The vendor's documented rules, checked before anything is sent: each stands in the models, beside its field."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeGuard, Union, get_args, get_origin, get_type_hints, is_typeddict
from uuid import UUID

import attrs
from msgspec import Meta

from cdp_orders_async.arguments import need
from cdp_orders_async.errors import Invalid, Violation, shown_key
from cdp_orders_async.models.common import RESERVED_KEYS, camel, once_a_model
from cdp_orders_async.models.constraints import (
    INT32,
    LONGEST_NAME,
    Rule,
    amount,
    filled,
    is_list,
    moment,
    money,
    name,
    one_of,
    ref,
    refs,
    text,
    texts,
    whole,
)

__all__ = ["check", "check_extension", "check_limit", "refuse", "rules_of", "types_and_rules"]

EXTENSION_LIMIT = 100
OF_TYPE: Mapping[Any, Rule] = {
    str: text,
    int: whole,
    Decimal: money,
    datetime: moment,
    UUID: ref,
    tuple[str, ...]: texts,
    tuple[UUID, ...]: refs,
}
"""The rules of fields beside which none stands."""
TYPES: Mapping[Rule, Any] = {
    text: str,
    filled: Annotated[str, Meta(min_length=1)],
    name: Annotated[str, Meta(min_length=1, max_length=LONGEST_NAME)],
    whole: Annotated[int, Meta(ge=-INT32, le=INT32 - 1)],
}
"""The types with which msgspec checks a rule. They leave out invalid Unicode, because msgspec refuses to write it."""


@once_a_model
def rules_of(model: type[Any]) -> tuple[Mapping[str, Rule], frozenset[str]]:
    """Return the rule of each field of a *model*, a class or a TypedDict, and the fields that must be there.

    Those come first.
    """
    fields = attrs.fields(model) if attrs.has(model) else ()
    needed = frozenset(one.name for one in fields if one.default is attrs.NOTHING or "needed" in one.metadata)
    hints = get_type_hints(model, include_extras=True)
    return {name: _rule(hints[name]) for name in sorted(hints, key=lambda name: name not in needed)}, needed


def _rule(hint: Any) -> Rule:  # noqa: ANN401 types are Any
    """Return the rule of a value of that type."""
    match get_origin(hint), get_args(hint):
        case (origin, kinds) if origin in {Union, UnionType}:
            first, *others = (kind for kind in kinds if kind is not NoneType)
            found = amount if others == [Decimal] else _rule(first)  # of words and any text, the words come first
        case origin, (_, rule) if origin is Annotated:
            found = rule
        case origin, words if origin is Literal:
            found = one_of(words)
        case origin, (model, _) if origin is tuple and attrs.has(model):
            found = _each(model)
        case _:
            found = OF_TYPE[hint]
    return found


def _each(model: type[Any]) -> Rule:
    """Accept a list of a *model*, each with what it needs."""

    def rule(value: object) -> str | None:
        for one in value if is_list(value) else (None,):
            if not isinstance(one, model):
                return f"must be a list of {model.__name__}"
            for wrong in check(model, one):
                return f"each {wrong.field.removeprefix('$.')} {wrong.rule}"
        return None

    return rule


def types_and_rules(model: type) -> tuple[Mapping[str, Any], list[tuple[str, bool, Rule]]]:
    """Return the rules of *model*: those that a type tells, as such, by field; and the others.

    Each of these comes after the name of its field, and whether None is right.
    """
    table, required = rules_of(model)
    forms = {
        key: TYPES[rule] if key in required else TYPES[rule] | None for key, rule in table.items() if rule in TYPES
    }
    return forms, [(key, key not in required, rule) for key, rule in table.items() if rule not in TYPES]


def check(model: type, value: object, at: str = "$") -> list[Violation]:
    """Return every rule that *value* breaks.

    Parameters: *model*, the class or TypedDict whose rules hold; *value*, an instance or a dict of
    changes; *at*, the path of the value, put before each field.
    """
    table, required = rules_of(model)
    if type(value) is not model:
        if is_typeddict(model):
            return _check_changes(table, value, at)
        if not isinstance(value, model):
            return [Violation(at, f"must be a {model.__name__}")]
    found: list[Violation] = []
    for key, rule in table.items():
        field = getattr(value, key)
        if field is None:
            if key in required:
                found.append(Violation(f"{at}.{camel(key)}", "is required"))
        elif (rule is text or rule is filled) and isinstance(field, str) and field and field.isascii():
            continue  # nearly always, and a call costs more
        elif wrong := rule(field):
            found.append(Violation(f"{at}.{camel(key)}", wrong))
    return found


def _check_changes(table: Mapping[str, Rule], value: object, at: str) -> list[Violation]:
    if not _is_dict(value):
        return [Violation(at, "must be a dict of the fields that change")]
    return [
        Violation(f"{at}.{shown_key(camel(str(key)))}", wrong)
        for key, one in value.items()
        if (wrong := table[key](one) if key in table else "is not a field that can change")
    ]


def _is_dict(value: object) -> TypeGuard[dict[str, object]]:
    return isinstance(value, dict)


def _is_mapping(value: object) -> TypeGuard[Mapping[object, object]]:
    return type(value) is dict or isinstance(value, Mapping)  # the first nearly always, and much quicker


def check_extension(pairs: object, at: str = "$") -> list[Violation]:
    """Return every rule that the *pairs* of a data extension break; of very many pairs, only that they are too many."""
    if not _is_mapping(pairs):
        return [Violation(at, "must be a dict of keys and values")]
    found = [] if len(pairs) <= EXTENSION_LIMIT else [Violation(at, f"must have at most {EXTENSION_LIMIT} pairs")]
    if len(pairs) > 10 * EXTENSION_LIMIT:
        return found
    for key, value in pairs.items():
        if not (isinstance(key, str) and key.isascii() and key.isalnum() and key[0].islower()):
            found.append(_key_violation(key, at))
        elif key in RESERVED_KEYS:
            found.append(Violation(f"{at}.{key}", "is a key that the server sets itself"))
        elif not (isinstance(value, str) and value.isascii()) and (wrong := primitive(value)):
            found.append(Violation(f"{at}.{shown_key(key)}", wrong))
    return found


def _key_violation(key: object, at: str) -> Violation:
    if isinstance(key, str):
        return Violation(f"{at}.{shown_key(key)}", "each key must be camelCase, letters and digits only")
    return Violation(at, "each key must be text")


def primitive(value: object) -> str | None:
    """Accept what a data extension can hold."""
    if isinstance(value, float):
        return None if math.isfinite(value) else "must be a finite number"
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return None if -(2**63) <= value < 2**64 else "must be an integer of 64 bits: send a longer one as text"
    return text(value) if isinstance(value, str) else "must be text, a boolean or a number"


def check_limit(limit: int) -> list[Violation]:
    """Return what is wrong with the size of a page."""
    need(limit, int, "limit", "a whole number from 1 to 100")
    return [] if 1 <= limit <= 100 else [Violation("limit", "must be from 1 to 100")]  # noqa: PLR2004 the vendor's numbers


def refuse(found: list[Violation]) -> None:
    """Raise `Invalid` if anything was found."""
    if found:
        raise Invalid(tuple(found))
