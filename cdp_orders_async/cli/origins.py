"""Where the settings of a command come from: cyclopts hands a command its values, and not their sources."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar

__all__ = ["OPTION", "note_origins", "origins"]

OPTION = "option"
"""The origin of what the command line gives."""

_origins: ContextVar[Mapping[str, str]] = ContextVar("_origins")


def note_origins(found: Mapping[str, str]) -> None:
    """Note the origin of each setting of the command that runs."""
    _origins.set(found)


def origins() -> Mapping[str, str]:
    """Return the origin of each setting of the command that runs, by its name; a default has none.

    It is ``option``, the name of a variable, or ``profile P of FILE``.
    """
    return _origins.get({})
