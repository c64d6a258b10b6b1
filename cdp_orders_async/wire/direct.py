"""Answers straight to models, where they are as documented: of a whole call, that saves a tenth.

msgspec reads text and references in C, into a struct made from the fields of the model; the hooks of the codec read
the rest of the fields. What does not fit is left to the codec, which knows every form and says
what is wrong.
"""

from __future__ import annotations

import functools
import typing
from collections.abc import Callable
from types import GenericAlias, NoneType, UnionType
from typing import Any, Generic, TypeVar
from uuid import UUID

import attrs
import msgspec

from cdp_orders_async.models import Extension
from cdp_orders_async.models.common import camel
from cdp_orders_async.wire.codec import field_hook, is_list, is_object, load, structure, with_ref

__all__ = ["decode", "decode_page", "page_reader", "reader"]

T = TypeVar("T")

NATIVE = frozenset({str, UUID})
"""What msgspec reads as the codec does."""


class Listed(msgspec.Struct, Generic[T]):
    """What a page of a listing says."""

    items: tuple[T, ...]
    offset: object = None
    limit: object = None
    next: object = None


def decode(body: bytes, model: type[T]) -> T:
    """Make a *model* of a body; raise ValueError as `structure` does."""
    made: T | None = None
    if model is not Extension:  # your pairs beside its fields fit no struct
        try:
            made = reader(model)(body)  # type: ignore[arg-type]  # mypy takes no class for hashable
        except Exception:  # noqa: BLE001 what is not as documented, the codec judges
            made = None
    return structure(load(body), model) if made is None else made


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
    return lambda body: to_model(read(body))


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


def _struct(model: type[Any]) -> tuple[type[msgspec.Struct], Callable[[msgspec.Struct], Any]]:
    """Return a struct with the fields of *model*, and what makes a *model* of one."""
    hints = typing.get_type_hints(model)
    fields: list[tuple[str, Any, Any]] = []
    hooks: list[tuple[str, Callable[[object, object], Any]]] = []
    for field in attrs.fields(model):
        hint = _native(hints[field.name])
        if hint is Any:
            hooks.append((field.name, field_hook(model, field.name, hints[field.name])))
        default = msgspec.NODEFAULT if field.default is attrs.NOTHING else field.default
        fields.append((field.name, hint, default))
    values_of = msgspec.structs.asdict

    def to_model(read: msgspec.Struct) -> Any:  # noqa: ANN401 the model
        values = values_of(read)
        for name, hook in hooks:
            values[name] = hook(values[name], None)
        return model(**values)

    return msgspec.defstruct(model.__name__, fields, rename=camel, kw_only=True, gc=False), to_model


def _native(hint: Any) -> Any:  # noqa: ANN401 types are Any
    """Return what tells msgspec to read as the codec does, Any where nothing does."""
    if typing.get_origin(hint) not in {typing.Union, UnionType}:
        return hint if hint in NATIVE else Any
    members = set(typing.get_args(hint)) - {NoneType}
    if str in members:  # among known values, which may grow
        return str | None
    return hint if members <= NATIVE else Any
