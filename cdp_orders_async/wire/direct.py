"""Models to JSON and back the short way, where they are as documented.

msgspec reads and writes in C what it takes as the codec does, by way of a struct made from the fields of the model; the
hooks of the codec do the other fields. What does not fit is left to the codec, which knows every form and says what is
wrong.
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
"""What msgspec writes as the codec does, where it keeps the rules."""
READ: Mapping[Any, Any] = {
    str: str,
    UUID: UUID,
    int: Annotated[int, msgspec.Meta(ge=INTEGERS.start, le=INTEGERS.stop // 2 - 1)],
    tuple[str, ...]: tuple[str, ...],
    Link: Link,
}
"""What msgspec reads as the codec does, and how that is told."""
EXACT = Context(prec=15, Emin=-300, Emax=300, traps=[InvalidOperation, Rounded, Subnormal])
"""Reads numbers of which a float, which the codec reads, keeps every digit, and refuses others."""


class Listed(msgspec.Struct, Generic[T]):
    """What a page of a listing says."""

    items: tuple[T, ...]
    offset: object = None
    limit: object = None
    next: object = None


def setter(names: Sequence[str]) -> Callable[..., None]:
    """Return a function that sets the fields *names* of an object, given first, to the values that follow.

    That takes a quarter of the time of `setattr` field by field.
    """
    set_all: Callable[..., None] = vars(attrs.make_class("Fields", list(names)))["__init__"]
    return set_all


def decode(body: bytes, model: type[T]) -> T:
    """Make a *model* of a body; raise ValueError as `structure` does."""
    try:
        made: T = reader(model)(body)
    except Exception:  # noqa: BLE001 what is not as documented, the codec judges
        return structure(load(body), model)
    return made


def decode_page(body: bytes, model: type[T]) -> Listed[T]:
    """Make what it says of a body that holds a page of *model*; raise ValueError as `structure` does.

    An entry that is not expanded holds only ``href``; its ref is the last segment of that.
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
    if entries is None and "offset" in page:  # a page with nothing on it
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
    """Return what makes a page of *model* of a body, as the reader of one does."""
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
    """Return what writes a *model* that keeps its rules, and raises any exception for another: all of it in one go.

    Parameters: *forms*, the type that a field must be of, by name; *rules*, what finds fault with a field: its name,
    whether None is right, and a function of the value that returns what is wrong.
    """
    hints = typing.get_type_hints(model)
    hooks = [(name, write_hook(hint)) for name, hint in hints.items() if _kind(hint)[0] not in WRITTEN]
    struct = _defined(model, _fields(model), lambda name: forms.get(name, Any))
    to_bytes = msgspec.json.Encoder(decimal_format="number").encode

    def to_body(value: Any) -> bytes:  # noqa: ANN401 the model
        held = msgspec.convert(value, struct, from_attributes=True)
        for name, optional, rule in rules:
            one = getattr(held, name)
            if not (optional and one is None) and rule(one):
                raise ValueError(name)
        for name, hook in hooks:
            if (one := getattr(held, name)) is not None:
                setattr(held, name, hook(one))
        return to_bytes(held)

    return to_body


def _struct(model: type[Any]) -> tuple[type[msgspec.Struct], Callable[[msgspec.Struct], Any]]:
    """Return a struct with the fields of *model*, and what makes a *model* of one."""
    hints = typing.get_type_hints(model)
    fields = _fields(model)
    ways = {one.name: _read(model, one.name, hints[one.name]) for one in fields}
    moments = [at for at, way in enumerate(ways.values(), 1) if way.hook is in_utc]
    hooks = [(at, way.hook) for at, way in enumerate(ways.values(), 1) if at not in moments and way.hook]
    new, values_of = object.__new__, msgspec.structs.astuple
    set_all = setter([*ways])

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

    return _defined(model, fields, lambda name: ways[name].hint), to_model


class _Way(msgspec.Struct):
    """How a field is read."""

    hint: Any
    """As what msgspec takes it."""
    hook: Callable[[Any], Any] | None = None
    """What makes the one of the other, where they differ."""


def _read(model: type[Any], name: str, hint: Any) -> _Way:  # noqa: ANN401 types are Any
    kind, optional = _kind(hint)
    if kind in READ or kind is datetime:
        known = READ.get(kind, datetime)
        return _Way(known | None if optional else known, in_utc if kind is datetime else None)
    if kind is Decimal and optional:
        return _Way(Any, _number)
    hook = field_hook(model, name, hint)

    def value_of(raw: msgspec.Raw) -> Any:  # noqa: ANN401 the value
        return hook(load(bytes(raw)), None)

    return _Way(msgspec.Raw, value_of)


def _number(value: object) -> Decimal:
    if isinstance(value, Decimal):
        return value
    if type(value) is not int or value not in INTEGERS:
        raise TypeError("must be a number")
    return Decimal(value)


def _fields(model: type[Any]) -> list[attrs.Attribute[Any]]:
    """Return the fields of *model*, those that are required first."""
    return sorted(attrs.fields(model), key=lambda field: field.default is not attrs.NOTHING)


def _defined(
    model: type[Any], fields: Sequence[attrs.Attribute[Any]], hint: Callable[[str], Any]
) -> type[msgspec.Struct]:
    return msgspec.defstruct(
        model.__name__,
        [
            (one.name, hint(one.name), msgspec.NODEFAULT if one.default is attrs.NOTHING else one.default)
            for one in fields
        ],
        rename=camel,
        namespace={"__repr__": object.__repr__, "__rich_repr__": _nothing},  # what it holds is about people
        omit_defaults=True,
        gc=False,
    )


def _nothing(_: object) -> tuple[()]:
    """Show nothing of a struct."""
    return ()


def _kind(hint: Any) -> tuple[Any, bool]:  # noqa: ANN401 types are Any
    """Return the one type of what is in a field, None where it may be of several; and whether it may be None."""
    members = set(typing.get_args(hint) if typing.get_origin(hint) in {typing.Union, UnionType} else [hint])
    optional = NoneType in members
    if str in members:  # among known values, which may grow
        return str, optional
    kind, *others = members - {NoneType}
    return (None if others else kind), optional
