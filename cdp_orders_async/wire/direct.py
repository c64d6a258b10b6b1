"""The fast path from models to JSON and back, for bodies that are exactly as documented.

msgspec reads and writes a struct that is made from the fields of the model; for some fields the hooks of the codec are
used. All other bodies go to the codec, which knows every form and explains errors.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Context, Decimal, InvalidOperation, Rounded, Subnormal
from types import GenericAlias, NoneType, UnionType
from typing import Annotated, Any, Generic, TypeAlias, TypeVar
from uuid import UUID

import attrs
import msgspec

from cdp_orders_async.models import Extension, Link
from cdp_orders_async.models.common import camel, once_a_model
from cdp_orders_async.wire.codec import (
    INTEGERS,
    field_hook,
    in_utc,
    is_list,
    is_object,
    load,
    structure,
    with_ref,
    write_hook,
)

__all__ = ["decode", "decode_page", "page_reader", "reader", "setter", "writer"]

T = TypeVar("T")
Asked: TypeAlias = tuple[str, bool, Callable[[object], str | None]]

WRITTEN = frozenset({str, UUID, int, Decimal})
"""The types that msgspec writes as the codec does, if the value keeps the rules."""
READ: Mapping[Any, Any] = {
    str: str,
    UUID: UUID,
    int: Annotated[int, msgspec.Meta(ge=INTEGERS.start, le=INTEGERS.stop // 2 - 1)],
    tuple[str, ...]: tuple[str, ...],
    Link: Link,
    object: Any,
}
"""The types that msgspec reads as the codec does, and their names for msgspec."""
EXACT = Context(prec=15, Emin=-300, Emax=300, traps=[InvalidOperation, Rounded, Subnormal])
"""Reads a number if a float, which the codec reads, keeps all its digits; refuses any other number."""


class Listed(msgspec.Struct, Generic[T]):
    """The contents of a page of a listing."""

    items: tuple[T, ...]
    offset: object = None
    limit: object = None
    next: object = None


def setter(names: Sequence[str]) -> Callable[..., None]:
    """Return a function that gets an object and values, and sets the fields *names* of the object to the values.

    It takes a quarter of the time of one `setattr` for each field.
    """
    set_all: Callable[..., None] = vars(attrs.make_class("Fields", list(names)))["__init__"]
    return set_all


def decode(body: bytes, model: type[T]) -> T:
    """Make a *model* of a body; raise ValueError as `structure` does."""
    try:
        made: T = reader(model)(body)
    except Exception:  # noqa: BLE001 the codec judges a body that is not as documented
        return structure(load(body), model)
    return made


def decode_page(body: bytes, model: type[T]) -> Listed[T]:
    """Read a body that holds a page of *model*; raise ValueError as `structure` does.

    An entry that is not expanded holds only ``href``; its ref is the last segment of that link.
    """
    try:
        made: Listed[T] = page_reader(model)(body)
    except Exception:  # noqa: BLE001 the same
        return _listed(load(body), model)
    return made


def _listed(page: object, model: type[T]) -> Listed[T]:
    if not is_object(page):
        page = {}
    entries: object = page.get("items")
    if entries is None and page.keys() >= {"offset", "limit"}:  # a page with nothing on it
        entries = []
    if not is_list(entries):
        raise ValueError("must be a page with a list @ $.items")
    items = tuple(structure(with_ref(entry), model, f"$.items[{n}]") for n, entry in enumerate(entries))
    return Listed(items, page.get("offset"), page.get("limit"), page.get("next"))


@once_a_model
def reader(model: type[Any]) -> Callable[[bytes], Any]:
    """Return what makes a *model* of a body that is as documented, and raises any exception for another."""
    if model is Extension:  # whose pairs stand beside its fields
        return lambda body: structure(load(body), model)
    struct, to_model = _struct(model)
    read = msgspec.json.Decoder(struct, float_hook=EXACT.create_decimal).decode
    return lambda body: to_model(read(body))


@once_a_model
def page_reader(model: type[Any]) -> Callable[[bytes], Listed[Any]]:
    """Return the reader of a page of *model*."""
    if model is Extension:
        return lambda body: _listed(load(body), model)
    struct, to_model = _struct(model)
    rest = [(name, Any, None) for name in ("offset", "limit", "next")]
    page = msgspec.defstruct("Page", [("items", GenericAlias(list, struct)), *rest])
    read = msgspec.json.Decoder(page, float_hook=EXACT.create_decimal).decode

    def to_page(body: bytes) -> Listed[Any]:
        entries, *others = msgspec.structs.astuple(read(body))
        return Listed(tuple(map(to_model, entries)), *others)

    return to_page


def writer(model: type[Any], forms: Mapping[str, Any], rules: Sequence[Asked]) -> Callable[[Any], bytes]:
    """Return the writer of a *model*, which checks the rules too and raises any exception if one is broken.

    Parameters: *forms*, the types of fields, by name; *rules*, for other fields: the name, whether None is allowed, and
    a function that returns the fault of a value, or None.
    """
    hints = typing.get_type_hints(model)
    hooks = [(name, write_hook(hint)) for name, hint in hints.items() if _kind(hint)[0] not in WRITTEN]
    struct = _defined(model, _fields(model), lambda name: forms.get(name, Any))
    to_bytes = msgspec.json.Encoder(decimal_format="number").encode

    def to_body(value: Any) -> bytes:  # noqa: ANN401 the model
        held = msgspec.convert(value, struct, from_attributes=True)
        for name, optional, rule in rules:
            field = getattr(held, name)
            if not (optional and field is None) and rule(field):
                raise ValueError(name)
        for name, hook in hooks:
            if (field := getattr(held, name)) is not None:
                setattr(held, name, hook(field))
        return to_bytes(held)

    return to_body


def _struct(model: type[Any]) -> tuple[type[msgspec.Struct], Callable[[msgspec.Struct], Any]]:
    """Return a struct with the fields of *model*, and the function that makes a *model* of the struct."""
    hints = typing.get_type_hints(model)
    fields = _fields(model)
    readers = {field.name: _reader(model, field.name, hints[field.name]) for field in fields}
    moments = [at for at, (_, hook) in enumerate(readers.values(), 1) if hook is in_utc]
    hooks = [(at, hook) for at, (_, hook) in enumerate(readers.values(), 1) if at not in moments and hook]
    new, values_of = object.__new__, msgspec.structs.astuple
    set_all = setter([*readers])

    def to_model(read: msgspec.Struct) -> Any:  # noqa: ANN401 the model
        values = [made := new(model), *values_of(read)]
        for at in moments:
            if (moment := values[at]) is not None and moment.tzinfo is not UTC:
                values[at] = in_utc(moment)
        for at, hook in hooks:
            if (value := values[at]) is not None:
                values[at] = hook(value)
        set_all(*values)
        return made

    return _defined(model, fields, lambda name: readers[name][0]), to_model


def _reader(model: type[Any], name: str, hint: Any) -> tuple[Any, Callable[[Any], Any] | None]:  # noqa: ANN401 types are Any
    """Return the type of a field for msgspec, and the function that makes the value of the field from it, if any."""
    kind, optional = _kind(hint)
    if kind in READ or kind is datetime:
        known = READ.get(kind, datetime)
        return known | None if optional else known, in_utc if kind is datetime else None
    if kind is Decimal and optional:
        return Any, _number
    hook = field_hook(model, name, hint)

    def value_of(raw: msgspec.Raw) -> Any:  # noqa: ANN401 the value
        return hook(load(bytes(raw)), None)

    return msgspec.Raw, value_of


def _number(value: object) -> Decimal:
    if isinstance(value, Decimal):
        return value
    if type(value) is not int or value not in INTEGERS:
        raise TypeError("must be a number")
    return Decimal(value)


def _fields(model: type[Any]) -> list[attrs.Attribute[Any]]:
    """Return the fields of *model*, the required ones first."""
    return sorted(attrs.fields(model), key=lambda field: field.default is not attrs.NOTHING)


def _defined(
    model: type[Any], fields: Sequence[attrs.Attribute[Any]], hint: Callable[[str], Any]
) -> type[msgspec.Struct]:
    return msgspec.defstruct(
        model.__name__,
        [
            (field.name, hint(field.name), msgspec.NODEFAULT if field.default is attrs.NOTHING else field.default)
            for field in fields
        ],
        rename=camel,
        namespace={"__repr__": object.__repr__, "__rich_repr__": tuple},  # `tuple()` shows none of its personal data
        omit_defaults=True,
        gc=False,
    )


def _kind(hint: Any) -> tuple[Any, bool]:  # noqa: ANN401 types are Any
    """Return the type of a field, None if it has several types, and whether the field may be None."""
    members = set(typing.get_args(hint) if typing.get_origin(hint) in {typing.Union, UnionType} else [hint])
    optional = NoneType in members
    if str in members:  # beside the known words, to which the vendor may add
        return str, optional
    kind, *others = members - {NoneType}
    return (None if others else kind), optional
