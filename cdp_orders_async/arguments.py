"""What an argument must be: another type is refused in words that name it, and that never show the value."""

from __future__ import annotations

from collections.abc import Callable
from types import NoneType

__all__ = ["called", "need", "need_method"]

NAMES = {NoneType: "None", int: "a whole number", float: "a number"}
"""What types are called; others have their own name."""


def need(value: object, kinds: type | tuple[type, ...], name: str, what: str = "") -> None:
    """Raise TypeError in words if *value*, the argument *name*, is of none of these types.

    A whole number is a number; a bool is none. *what* says what is taken, where the names of the types do not.
    """
    kinds = kinds if isinstance(kinds, tuple) else (kinds,)
    if type(value) in kinds or (type(value) is int and float in kinds):  # nearly always, and much cheaper
        return
    if isinstance(value, bool) or not isinstance(value, (*kinds, int) if float in kinds else kinds):
        raise TypeError(f"{name} must be {what or ' or '.join(map(_name, kinds))}, not {called(value)}")


def need_method(value: object, method: str, name: str, what: str) -> None:
    """Raise TypeError in words if *value*, the argument *name*, has no such *method*, by which a *what* is known."""
    has: Callable[..., object] | None = getattr(value, method, None)
    if isinstance(value, type) or not callable(has):
        raise TypeError(f"{name} must be {what}, not {called(value)}")


def called(value: object) -> str:
    """Return what the type of *value* is called, for words about a wrong one."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    return type(value).__name__


def _name(kind: type) -> str:
    return NAMES.get(kind, kind.__name__)
