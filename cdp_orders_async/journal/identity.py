"""The identity of a journal: its API and tenant, by names and values that a person understands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from cdp_orders_async.errors import JournalError

__all__ = ["check_entries", "check_identity"]

DEFAULTS: Mapping[str, str] = MappingProxyType({"API version": "2.1"})
"""The values of entries that an identity leaves out."""
CURES: Mapping[str, str] = MappingProxyType(
    {
        "API version": "--api v{}",
        "base URL": "--base-url {}",
        "client key": "the credentials of client key {}",
    }
)
"""What a user gives to reach the place with that value of an entry."""


def check_identity(name: str, stored: Mapping[str, str], identity: Mapping[str, str], advice: str) -> None:
    """Raise `JournalError` unless the journal *name*, whose identity is *stored*, belongs to *identity*.

    The two may have different entries, but not two values of one entry. If *identity* has a client key, the journal
    must have it too; without a version of the API, it is the current one.
    """
    keys = ({*stored} | {"client key"}) & {*identity}
    if stored:
        check_entries(name, stored, identity, keys | {*DEFAULTS}, advice)


def check_entries(
    name: str, stored: Mapping[str, str], identity: Mapping[str, str], keys: Iterable[str], advice: str
) -> None:
    """Raise `JournalError` unless *stored*, the identity of the journal *name*, is *identity* in these *keys*.

    The error names the differences, and says how to reach the place of the journal, if a user can, or gives *advice*.
    """
    different = [key for key in sorted(keys) if _value(stored, key) != _value(identity, key)]
    if not different:
        return
    found = " and to ".join(f"{key} {_value(stored, key)}, not {_value(identity, key)}" for key in different)
    if all(key in CURES and (key in stored or key in DEFAULTS) for key in different):
        advice = f"use {' and '.join(CURES[key].format(_value(stored, key)) for key in different)}, or {advice}"
    raise JournalError(f"{name} belongs to {found}: {advice}")


def _value(identity: Mapping[str, str], key: str) -> str:
    return identity.get(key) or DEFAULTS.get(key, "(none)")
