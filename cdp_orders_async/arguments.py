"""Check the types of arguments; the error names the argument and never shows its value."""

from __future__ import annotations

from collections.abc import Callable
from types import NoneType

__all__ = ["called", "need", "need_callable", "need_method"]

NAMES = {NoneType: "None", int: "a whole number", float: "a number"}
"""The words for some types; any other type has its own name."""


def need(value: object, kinds: type | tuple[type, ...], name: str, what: str = "") -> None:
    """Raise TypeError unless *value*, the argument *name*, has one of these types.

    A whole number is a number, a bool is not. *what* describes the allowed values, if the names of the types do not.
    """
    kinds = kinds if isinstance(kinds, tuple) else (kinds,)
    if type(value) in kinds or (type(value) is int and float in kinds):  # nearly always, and much faster
        return
    if isinstance(value, bool) or not isinstance(value, (*kinds, int) if float in kinds else kinds):
        raise TypeError(f"{name} must be {what or ' or '.join(map(_name, kinds))}, not {called(value)}")


def need_method(value: object, method: str, name: str, what: str) -> None:
    """Raise TypeError unless *value*, the argument *name*, has this *method*; *what* describes the allowed values."""
    has: Callable[..., object] | None = getattr(value, method, None)
    if isinstance(value, type) or not callable(has):
        raise TypeError(f"{name} must be {what}, not {called(value)}")


def need_callable(value: object, name: str, what: str) -> None:
    """Raise TypeError unless *value*, the argument *name*, can be called; *what* describes the allowed values."""
    if not callable(value):
        raise TypeError(f"{name} must be {what}, not {called(value)}")


def called(value: object) -> str:
    """Return the name of the type of *value*, for a message."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    return type(value).__name__


def _name(kind: type) -> str:
    return NAMES.get(kind, kind.__name__)
