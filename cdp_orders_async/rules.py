"""Check the vendor's documented rules before anything is sent. Each rule stands in the models, beside its field."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
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
    int32,
    is_tuple_or_list,
    moment,
    money,
    name,
    one_of,
    ref,
    refs,
    text,
    texts,
)

__all__ = ["check", "check_extension", "check_fields", "check_limit", "raise_invalid", "rules_of", "types_and_rules"]

EXTENSION_LIMIT = 100
OF_TYPE: Mapping[Any, Rule] = {
    str: text,
    int: int32,
    Decimal: money,
    datetime: moment,
    UUID: ref,
    tuple[str, ...]: texts,
    tuple[UUID, ...]: refs,
}
"""The rules of fields that have only a type."""
TYPES: Mapping[Rule, Any] = {
    text: str,
    filled: Annotated[str, Meta(min_length=1)],
    name: Annotated[str, Meta(min_length=1, max_length=LONGEST_NAME)],
    int32: Annotated[int, Meta(ge=-INT32, le=INT32 - 1)],
}
"""The types for rules that msgspec can check. Invalid Unicode needs no rule: msgspec refuses to write it."""


@once_a_model
def rules_of(model: type[Any]) -> tuple[Mapping[str, Rule], frozenset[str]]:
    """Return the rule of each field of a *model*, a class or a TypedDict, and the required fields.

    The rules of the required fields come first.
    """
    fields = attrs.fields(model) if attrs.has(model) else ()
    needed = frozenset(field.name for field in fields if field.default is attrs.NOTHING or "needed" in field.metadata)
    hints = get_type_hints(model, include_extras=True)
    return {name: _rule(hints[name]) for name in sorted(hints, key=lambda name: name not in needed)}, needed


def _rule(hint: Any) -> Rule:  # noqa: ANN401 types are Any
    """Return the rule of a value of type *hint*."""
    match get_origin(hint), get_args(hint):
        case (origin, kinds) if origin in {Union, UnionType}:
            first, *others = (kind for kind in kinds if kind is not NoneType)
            found = amount if others == [Decimal] else _rule(first)  # for known words or any text: the words
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
    """Accept a list of a *model*; each entry must keep the rules of the model."""

    def rule(value: object) -> str | None:
        for entry in value if is_tuple_or_list(value) else (None,):
            if not isinstance(entry, model):
                return f"must be a list of {model.__name__}"
            for wrong in check(model, entry):
                return f"each {wrong.field.removeprefix('$.')} {wrong.rule}"
        return None

    return rule


def types_and_rules(model: type) -> tuple[Mapping[str, Any], list[tuple[str, bool, Rule]]]:
    """Return the rules of *model*: the types for rules that msgspec can check, by field, and a list of the others.

    Each entry of the list is the name of a field, whether None is allowed, and the rule.
    """
    table, required = rules_of(model)
    forms = {
        key: TYPES[rule] if key in required else TYPES[rule] | None for key, rule in table.items() if rule in TYPES
    }
    return forms, [(key, key not in required, rule) for key, rule in table.items() if rule not in TYPES]


def check(model: type, value: object, at: str = "$") -> list[Violation]:
    """Return every rule that *value* breaks.

    Parameters: *model*, the class or TypedDict with the rules; *value*, an instance or a dict of changes; *at*, the
    path of the value, put before each field.
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
            continue  # nearly always; a call would take longer
        elif wrong := rule(field):
            found.append(Violation(f"{at}.{camel(key)}", wrong))
    return found


def check_fields(model: type, values: Mapping[str, object], unread: Collection[str]) -> list[Violation]:
    """Return every rule that the *values* of a *model*, by field, break, and each required field that is not there.

    An *unread* field may be missing: its value could not be read.
    """
    table, required = rules_of(model)
    found: list[Violation] = []
    for key, rule in table.items():
        value = values.get(key)
        if value is not None and (wrong := rule(value)):
            found.append(Violation(f"$.{camel(key)}", wrong))
        elif value is None and key in required and key not in unread:
            found.append(Violation(f"$.{camel(key)}", "is required"))
    return found


def _check_changes(table: Mapping[str, Rule], value: object, at: str) -> list[Violation]:
    if not _is_dict(value):
        return [Violation(at, "must be a dict of the fields that change")]
    return [
        Violation(f"{at}.{shown_key(camel(str(key)))}", wrong)
        for key, change in value.items()
        if (wrong := table[key](change) if key in table else "is not a field that can change")
    ]


def _is_dict(value: object) -> TypeGuard[dict[str, object]]:
    return isinstance(value, dict)


def _is_mapping(value: object) -> TypeGuard[Mapping[object, object]]:
    return type(value) is dict or isinstance(value, Mapping)  # nearly always the first, which is much faster


def check_extension(pairs: object, at: str = "$") -> list[Violation]:
    """Return every rule that the *pairs* of a data extension break; of very many pairs, only the limit."""
    if not _is_mapping(pairs):
        return [Violation(at, "must be a dict of keys and values")]
    found = [] if len(pairs) <= EXTENSION_LIMIT else [Violation(at, f"must have at most {EXTENSION_LIMIT} pairs")]
    if len(pairs) > 10 * EXTENSION_LIMIT:
        return found
    for key, value in pairs.items():
        if not (isinstance(key, str) and key.isascii() and key.isalnum() and key[0].islower()):
            name = f"{at}.{shown_key(key)}" if isinstance(key, str) else at
            rule = "be camelCase, letters and digits only" if isinstance(key, str) else "be text"
            found.append(Violation(name, f"each key must {rule}"))
        elif key in RESERVED_KEYS:
            found.append(Violation(f"{at}.{key}", "is a key that the server sets itself"))
        elif not (isinstance(value, str) and value.isascii()) and (wrong := primitive(value)):
            found.append(Violation(f"{at}.{shown_key(key)}", wrong))
    return found


def primitive(value: object) -> str | None:
    """Accept a value of a data extension."""
    if isinstance(value, float):
        return None if math.isfinite(value) else "must be a finite number"
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return None if -(2**63) <= value < 2**64 else "must be an integer of 64 bits: send a longer one as text"
    return text(value) if isinstance(value, str) else "must be text, a boolean or a number"


def check_limit(limit: int) -> list[Violation]:
    """Return the rule that the size of a page breaks, if any."""
    need(limit, int, "limit", "a whole number from 1 to 100")
    return [] if 1 <= limit <= 100 else [Violation("limit", "must be from 1 to 100")]  # noqa: PLR2004 the vendor's numbers


def raise_invalid(found: list[Violation]) -> None:
    """Raise `Invalid` if there is any violation."""
    if found:
        raise Invalid(tuple(found))
