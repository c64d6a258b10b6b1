"""Models to JSON and back the short way, where they are as documented: of a whole call, that saves a sixth.

msgspec reads and writes text, references and whole numbers in C, by way of a struct made from the fields of the
model; the hooks of the codec do the rest of the fields. What does not fit is left to the codec, which knows every form
and says what is wrong.
"""

from __future__ import annotations

import functools
import operator
import typing
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from types import GenericAlias, NoneType, UnionType
from typing import Annotated, Any, Generic, TypeAlias, TypeVar
from uuid import UUID

import attrs
import msgspec

from cdp_orders_async.models import Extension
from cdp_orders_async.models.common import camel
from cdp_orders_async.wire.codec import (
    WORD,
    encode,
    field_hook,
    is_list,
    is_object,
    load,
    pairs_in,
    structure,
    to_json,
    with_ref,
    write_hook,
)

__all__ = ["decode", "decode_page", "page_reader", "reader", "write", "writer"]

T = TypeVar("T")

Json: TypeAlias = str | bool | int | float | list[Any] | dict[str, Any]
"""JSON data but null."""
NATIVE: Mapping[Any, Any] = {
    str: str,
    UUID: UUID,
    int: Annotated[int, msgspec.Meta(ge=WORD.start, le=WORD.stop // 2 - 1)],
}
"""What msgspec reads as the codec does, and how that is told."""


class Listed(msgspec.Struct, Generic[T]):
    """What a page of a listing says."""

    items: tuple[T, ...]
    offset: object = None
    limit: object = None
    next: object = None


def decode(body: bytes, model: type[T]) -> T:
    """Make a *model* of a body; raise ValueError as `structure` does."""
    try:
        made: T = reader(model)(body)  # type: ignore[arg-type]  # mypy takes no class for hashable
    except Exception:  # noqa: BLE001 what is not as documented, the codec judges
        return structure(load(body), model)
    return made


def write(value: object) -> bytes:
    """Write a model as `encode` writes what `to_json` makes of it."""
    try:
        return writer(type(value))(value)  # type: ignore[arg-type]  # the same
    except Exception:  # noqa: BLE001 the same
        return encode(to_json(value))


def decode_page(body: bytes, model: type[T]) -> Listed[T]:
    """Make what it says of a body that holds a page of *model*; raise ValueError as `structure` does.

    An entry that is not expanded holds only ``href``; its ref is the last segment of that.
    """
    made: Listed[T] | None = None
    if model is not Extension:
        try:
            made = page_reader(model)(body)  # type: ignore[arg-type]  # the same
        except Exception:  # noqa: BLE001 the same
            made = None
    return _listed(load(body), model) if made is None else made


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


@functools.cache
def reader(model: type[Any]) -> Callable[[bytes], Any]:
    """Return what makes a *model* of a body that is as documented, and raises any exception for another."""
    struct, to_model = _struct(model)
    read = msgspec.json.Decoder(struct).decode
    if model is not Extension:
        return lambda body: to_model(read(body))

    def to_extension(body: bytes) -> Any:  # noqa: ANN401 the model
        made = to_model(read(body))
        made.pairs = pairs_in(load(body))  # they stand beside its fields
        return made

    return to_extension


@functools.cache
def page_reader(model: type[Any]) -> Callable[[bytes], Listed[Any]]:
    """Return what makes a page of *model* of a body, as `reader` does."""
    struct, to_model = _struct(model)
    rest = [(name, Any, None) for name in ("offset", "limit", "next")]
    page = msgspec.defstruct("Page", [("items", GenericAlias(list, struct)), *rest])
    read = msgspec.json.Decoder(page).decode

    def to_page(body: bytes) -> Listed[Any]:
        entries, *others = msgspec.structs.astuple(read(body))
        return Listed(tuple(map(to_model, entries)), *others)

    return to_page


@functools.cache
def writer(model: type[Any]) -> Callable[[Any], bytes]:
    """Return what writes a *model* that holds what it should, and raises any exception for another."""
    hints = typing.get_type_hints(model)
    fields = _fields(model)
    kinds = {one: _kind(hints[one.name]) for one in fields}
    hooks = [
        (one.name, _amount if kind is Decimal else write_hook(hints[one.name]), one.default is attrs.NOTHING)
        for one, kind in kinds.items()
        if kind not in NATIVE
    ]
    struct = _defined(model, fields, lambda _: Any)
    values_of = operator.attrgetter(*(field.name for field in fields))
    to_bytes = msgspec.json.Encoder(decimal_format="number").encode

    def to_body(value: Any) -> bytes:  # noqa: ANN401 the model
        written = struct(*values_of(value))
        for name, hook, required in hooks:
            if (one := getattr(written, name)) is not None or required:
                setattr(written, name, hook(one))
        return to_bytes(written)

    return to_body


def _amount(value: object) -> Decimal:
    if not isinstance(value, Decimal):
        raise TypeError("must be a Decimal")
    return value


def _struct(model: type[Any]) -> tuple[type[msgspec.Struct], Callable[[msgspec.Struct], Any]]:
    """Return a struct with the fields of *model*, and what makes a *model* of one."""
    hints = typing.get_type_hints(model)
    fields = [field for field in _fields(model) if field.name != "pairs"]
    hooks = [
        (one.name, field_hook(model, one.name, hint)) for one in fields if _kind(hint := hints[one.name]) not in NATIVE
    ]

    def read_as(name: str) -> Any:  # noqa: ANN401 types are Any
        read = NATIVE.get(_kind(hints[name]), Json)
        return read | None if NoneType in typing.get_args(hints[name]) else read

    values_of = msgspec.structs.asdict

    def to_model(read: msgspec.Struct) -> Any:  # noqa: ANN401 the model
        values = values_of(read)
        for name, hook in hooks:
            if (value := values[name]) is not None:
                values[name] = hook(value, None)
        return model(**values)

    return _defined(model, fields, read_as), to_model


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
        omit_defaults=True,
        gc=False,
    )


def _kind(hint: Any) -> Any:  # noqa: ANN401 types are Any
    """Return the one type of what is in a field, None apart; None where it may be of several."""
    members = set(typing.get_args(hint) if typing.get_origin(hint) in {typing.Union, UnionType} else [hint])
    if str in members:  # among known values, which may grow
        return str
    kind, *others = members - {NoneType}
    return None if others else kind
