"""Answers straight to models, where they are as documented: of a whole call, that saves a tenth.

msgspec reads text, references and whole numbers in C, into a struct made from the fields of the model; the hooks of
the codec read the rest of the fields. What does not fit is left to the codec, which knows every form and says
what is wrong.
"""

from __future__ import annotations

import functools
import typing
from collections.abc import Callable
from types import NoneType, UnionType
from typing import Any, TypeVar
from uuid import UUID

import attrs
import msgspec

from cdp_orders_async.models import Extension
from cdp_orders_async.models.common import camel
from cdp_orders_async.wire.codec import field_hook, load, structure

__all__ = ["decode", "reader"]

T = TypeVar("T")

NATIVE = frozenset({str, int, UUID})
"""What msgspec reads as the codec does."""


def decode(body: bytes, model: type[T]) -> T:
    """Make a *model* of a body; raise ValueError as `structure` does."""
    made: T | None = None
    if model is not Extension:  # your pairs beside its fields fit no struct
        try:
            made = reader(model)(body)  # type: ignore[arg-type]  # mypy takes no class for hashable
        except Exception:  # noqa: BLE001 what is not as documented, the codec judges
            made = None
    return structure(load(body), model) if made is None else made


@functools.cache
def reader(model: type[Any]) -> Callable[[bytes], Any]:
    """Return what makes a *model* of a body that is as documented, and raises any exception for another."""
    hints = typing.get_type_hints(model)
    fields: list[tuple[str, Any, Any]] = []
    hooks: list[tuple[str, Callable[[object, object], Any]]] = []
    for field in attrs.fields(model):
        hint = _native(hints[field.name])
        if hint is Any:
            hooks.append((field.name, field_hook(model, field.name, hints[field.name])))
        default = msgspec.NODEFAULT if field.default is attrs.NOTHING else field.default
        fields.append((field.name, hint, default))
    struct = msgspec.defstruct(model.__name__, fields, rename=camel, kw_only=True, gc=False)
    read, items = msgspec.json.Decoder(struct).decode, msgspec.structs.asdict

    def to_model(body: bytes) -> Any:  # noqa: ANN401 the model
        values = items(read(body))
        for name, hook in hooks:
            values[name] = hook(values[name], None)
        return model(**values)

    return to_model


def _native(hint: Any) -> Any:  # noqa: ANN401 types are Any
    """Return what tells msgspec to read as the codec does, Any where nothing does."""
    if typing.get_origin(hint) not in {typing.Union, UnionType}:
        return hint if hint in NATIVE else Any
    members = set(typing.get_args(hint)) - {NoneType}
    if str in members:  # among known values, which may grow
        return str | None
    return hint if members <= NATIVE else Any
