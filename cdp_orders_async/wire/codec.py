"""Values to JSON and back."""

from __future__ import annotations

import contextlib
import functools
import types
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, TypeGuard, TypeVar, Union, get_args, get_origin
from uuid import UUID

import attrs
import cattrs
import msgspec
import orjson
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from cdp_orders_async.models import (
    Consumer,
    Contact,
    Extension,
    Link,
    NewConsumer,
    NewConsumerV2,
    NewContactV2,
    OrderItemV2,
    OrderV2,
)
from cdp_orders_async.models.common import RESERVED_KEYS, as_sent, camel, once_a_model

__all__ = [
    "MOMENT_RULE",
    "encode",
    "field_hook",
    "in_utc",
    "is_list",
    "is_object",
    "load",
    "read_fields",
    "read_moment",
    "ref_text",
    "structure",
    "to_json",
    "with_ref",
    "write_hook",
]

T = TypeVar("T")

BOM = b"\xef\xbb\xbf"
INTEGERS = range(-(2**63), 2**64)  # whole numbers that the reader keeps; it makes floats of larger ones
UUID_RULE = "must be a UUID, such as 7c9e6679-7425-40de-944b-e07fc1f90ae7"
MOMENT_RULE = "must be a time, such as 2024-01-01T16:17:16Z"
EXACT_FLOATS = 2**53  # a float holds every whole number below this, and JSON shows it without a fraction


def is_object(value: object) -> TypeGuard[dict[str, Any]]:
    """Tell whether JSON data is an object."""
    return isinstance(value, dict)


def is_list(value: object) -> TypeGuard[list[Any]]:
    """Tell whether JSON data is a list."""
    return isinstance(value, list)


def _camel_overrides(cls: type[Any]) -> dict[str, Any]:
    return {field.name: override(rename=camel(field.name)) for field in attrs.fields(cls)}


def _text(value: object, _: object) -> str:
    if not isinstance(value, str):
        raise TypeError("must be text")
    return value


def _int(value: object, _: object) -> int:
    if type(value) is int and value in INTEGERS:
        return value
    if type(value) is not float or not value.is_integer():
        raise TypeError("must be an integer")
    return int(value)


def _decimal(value: object, _: object) -> Decimal:
    if type(value) is not float and not (type(value) is int and value in INTEGERS):
        raise TypeError("must be a number")
    return Decimal(repr(value))


def _amount(value: object, _: object) -> int | Decimal:
    return value if type(value) is int and value in INTEGERS else _decimal(value, Decimal)


def _number(value: Decimal) -> int | float:
    number = float(value)
    return int(number) if -EXACT_FLOATS < number < EXACT_FLOATS and number.is_integer() else number


def _uuid(value: object, _: object) -> UUID:
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            return UUID(value)
    raise TypeError(UUID_RULE)


def _moment(value: object, _: object) -> datetime:
    """Read ISO 8601."""
    if isinstance(value, str):
        with contextlib.suppress(ValueError, OverflowError):
            return in_utc(read_moment(value))
    raise TypeError(MOMENT_RULE)


def read_moment(value: str) -> datetime:
    """Read ISO 8601, with or without a time zone; raise ValueError for anything else."""
    try:
        return msgspec.convert(value, datetime)  # the fast path reads it so too: rounded to a microsecond
    except msgspec.ValidationError:
        return datetime.fromisoformat(value)


def in_utc(moment: datetime) -> datetime:
    """Return the same moment in UTC; without a time zone it is in UTC, as at the vendor."""
    if moment.tzinfo is UTC:
        return moment
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _iso(value: datetime) -> str:
    moment = as_sent(value if value.tzinfo is UTC else value.astimezone(UTC))
    return f"{moment.isoformat()[: 23 if moment.microsecond else 19]}Z"  # to a millisecond, or to a second


def _is_union(hint: object) -> bool:
    return get_origin(hint) in {Union, types.UnionType}


def _widest(hint: object) -> Any:  # noqa: ANN401 cattrs hands out types as Any
    """Return the type to convert a union with: `str` if present (unknown words stay text), else `Decimal` or the first.

    None does not count.
    """
    members = get_args(hint)
    return next(kind for kind in (str, Decimal, *members) if kind in members and kind is not types.NoneType)


def _text_or_none(value: object, _: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise TypeError("must be text")
    return value


def _union_hook(hint: Any, converter: cattrs.Converter) -> Callable[[object, object], Any]:  # noqa: ANN401 the same
    """Return the reader of ``X | None``, with few calls: most fields have such a type."""
    if str in get_args(hint):
        return _text_or_none
    kind = _widest(hint)
    read = _amount if int in get_args(hint) and kind is Decimal else converter.get_structure_hook(kind)

    def read_some(value: object, _: object) -> Any:  # noqa: ANN401 the same
        return None if value is None else read(value, None)

    return read_some


def _is_tuple(hint: object) -> bool:
    return get_origin(hint) is tuple


def _tuple_hook(hint: Any, converter: cattrs.Converter) -> Callable[[object, object], tuple[Any, ...]]:  # noqa: ANN401 cattrs hands out types as Any
    read_list = converter.get_structure_hook(types.GenericAlias(list, get_args(hint)[0]))

    def read(value: object, _: object) -> tuple[Any, ...]:
        if not is_list(value):
            raise TypeError("must be a list")
        return tuple(read_list(value, list))

    return read


def _entries(value: object) -> list[Any] | None:
    """Return the entries of a list within a resource; None if it is only a link, ``{"href"}``."""
    entries: object = value.get("items") if is_object(value) else None
    return entries if is_list(entries) else None


def _ref_in(link: object) -> UUID | None:
    href: object = link.get("href") if is_object(link) else None
    return Link(href=href).ref if isinstance(href, str) else None


def _item_refs(value: object, _: object) -> tuple[UUID, ...] | None:
    """Read the links of a consumer to its items."""
    entries = _entries(value)
    return None if entries is None else tuple(ref for ref in map(_ref_in, entries) if ref is not None)


def _guest_ref(value: object, _: object) -> UUID | None:
    """Read the link of a person to its guest."""
    ref = _ref_in(value)
    if ref is None and value is not None:
        raise TypeError("must be a link to a guest")
    return ref


def _links(converter: cattrs.Converter) -> Mapping[type[Any], Mapping[str, Callable[..., Any]]]:
    """Return the readers of the fields that are links, or lists in a resource, by model."""

    def parts(model: type[Any]) -> Callable[[object, object], tuple[Any, ...] | None]:
        def read(value: object, _: object) -> tuple[Any, ...] | None:
            entries = _entries(value)
            return None if entries is None else tuple(converter.structure(with_ref(entry), model) for entry in entries)

        return read

    return {
        Consumer: {"order_items": _item_refs},
        NewConsumer: {"order_items": _item_refs},
        NewConsumerV2: {"order_items": _item_refs, "guest": _guest_ref},
        NewContactV2: {"guest": _guest_ref},
        OrderV2: {"contacts": parts(Contact), "consumers": parts(Consumer), "order_items": parts(OrderItemV2)},
    }


def _with_pairs(value: dict[str, Any]) -> dict[str, Any]:
    """Put the user's pairs of an extension under one key, ``pairs``, beside the keys that the server sets."""
    set_by_server = {key: value[key] for key in RESERVED_KEYS & value.keys()}
    users = {key: held for key, held in value.items() if key not in RESERVED_KEYS}
    return {**set_by_server, "pairs": {key: held for key, held in users.items() if isinstance(held, (str, int, float))}}


@functools.cache
def _converter(*, detailed: bool = False) -> cattrs.Converter:
    """Make the converter of this API; a *detailed* one is slower, and tells where an answer does not fit."""
    converter = cattrs.Converter(detailed_validation=detailed)
    links = _links(converter)

    def structure_attrs(cls: type[Any]) -> Callable[..., Any]:
        overrides = _camel_overrides(cls)
        for name, read_links in links.get(cls, {}).items():
            overrides[name] = override(rename=camel(name), struct_hook=read_links)
        if cls is Extension:
            overrides["pairs"] = override(struct_hook=lambda pairs, _: pairs)
        read = make_dict_structure_fn(attrs.resolve_types(cls, include_extras=False), converter, **overrides)

        def hook(value: object, _: object) -> object:
            if not is_object(value):
                raise TypeError("must be an object")
            return read(_with_pairs(value) if cls is Extension else value, cls)

        return hook

    def unstructure_attrs(cls: type[Any]) -> Callable[..., Any]:
        plain = attrs.resolve_types(cls, include_extras=False)
        return make_dict_unstructure_fn(plain, converter, _cattrs_omit_if_default=True, **_camel_overrides(cls))

    def write_union(hint: object) -> Callable[[Any], Any]:
        return converter.get_unstructure_hook(_widest(hint))

    converter.register_structure_hook_factory(attrs.has, structure_attrs)
    converter.register_unstructure_hook_factory(attrs.has, unstructure_attrs)
    converter.register_unstructure_hook_factory(_is_union, write_union)
    converter.register_structure_hook_factory(_is_tuple, _tuple_hook)
    converter.register_structure_hook_factory(_is_union, _union_hook)
    converter.register_structure_hook(str, _text)
    converter.register_structure_hook(int, _int)
    converter.register_structure_hook(Decimal, _decimal)
    converter.register_structure_hook(UUID, _uuid)
    converter.register_structure_hook(datetime, _moment)
    converter.register_unstructure_hook(Decimal, _number)
    converter.register_unstructure_hook(UUID, ref_text)
    converter.register_unstructure_hook(datetime, _iso)
    return converter


def field_hook(model: type[Any], name: str, hint: object) -> Callable[[object, object], Any]:
    """Return the function that makes the value of a field of type *hint* from JSON data."""
    converter = _converter()
    return _links(converter).get(model, {}).get(name) or converter.get_structure_hook(hint)


@once_a_model
def write_hook(hint: type[Any]) -> Callable[[Any], Any]:
    """Return the function that makes JSON data from a value of type *hint*."""
    return _converter().get_unstructure_hook(hint)


def to_json(value: object) -> dict[str, Any]:
    """Return JSON data for *value*: a model, or a mapping of changes with snake_case keys."""
    if is_object(value):
        return {camel(key): _converter().unstructure(change) for key, change in value.items()}
    plain: dict[str, Any] = write_hook(value.__class__)(value)
    return plain


def encode(value: object) -> bytes:
    """Return JSON data as the bytes of a body."""
    return orjson.dumps(value)


def ref_text(ref: UUID) -> str:
    """Return the text of *ref*, faster than `str`."""
    text: str = msgspec.to_builtins(ref)
    return text


def structure(value: object, model: type[T], at: str = "$") -> T:
    """Make a *model* of the JSON data at the path *at*; raise ValueError with a line per misfit, ``rule @ $.path``."""
    try:
        return _converter().structure(value, model)
    except Exception:  # noqa: BLE001 the detailed pass says what is wrong, and where
        try:
            return _converter(detailed=True).structure(value, model)
        except Exception as error:  # noqa: BLE001 the same
            misfits = cattrs.transform_error(error, at, format_exception=_describe)
    raise ValueError(*map(camel, misfits))  # without the cause, which would show the values


def read_fields(fields: Mapping[str, Any], model: type[Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the fields of a *model* that can be read from JSON data, by name, and the names of the other fields."""
    read, unread = dict[str, Any](), list[str]()
    for field in attrs.fields(attrs.resolve_types(model, include_extras=False)):
        if (key := camel(field.name)) in fields:
            try:
                read[field.name] = field_hook(model, field.name, field.type)(fields[key], field.type)
            except Exception:  # noqa: BLE001 `structure` says what is wrong
                unread.append(field.name)
        elif field.default is attrs.NOTHING:
            unread.append(field.name)
    return read, unread


def _describe(error: BaseException, _: type | None) -> str:
    if isinstance(error, KeyError):
        return "is required"
    return str(error) if isinstance(error, TypeError) else "has the wrong form"


def load(body: bytes) -> Any:  # noqa: ANN401 JSON can be anything
    """Return the JSON data of a body."""
    return orjson.loads(body.removeprefix(BOM))


def with_ref(entry: object) -> object:
    """Return an entry of a list with its ref; an entry that is not expanded has it only in its ``href``."""
    if is_object(entry) and entry.get("ref") is None and isinstance(href := entry.get("href"), str):
        ref = Link(href=href).ref
        return entry if ref is None else {**entry, "ref": ref_text(ref)}
    return entry
