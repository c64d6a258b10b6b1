"""The identity of a journal: its API and tenant, by names and values that a person understands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from cdp_orders_async.errors import JournalError

__all__ = ["check_identity", "cure", "differences"]

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
    if stored and (found := differences(stored, identity, keys | {*DEFAULTS})):
        raise JournalError(f"{name} belongs to {found}: {cure(stored, identity, advice)}")


def cure(stored: Mapping[str, str], identity: Mapping[str, str], advice: str) -> str:
    """Say how to use the journal of the identity *stored*, if that is possible, or else to follow the *advice*."""
    keys = [key for key in sorted({*stored} | {*identity}) if _value(stored, key) != _value(identity, key)]
    if not all(key in CURES and (key in stored or key in DEFAULTS) for key in keys):
        return advice
    return f"use {' and '.join(CURES[key].format(_value(stored, key)) for key in keys)}, or {advice}"


def differences(stored: Mapping[str, str], identity: Mapping[str, str], keys: Iterable[str]) -> str:
    """Describe the differences of two identities in *keys*; empty if there are none."""
    return " and to ".join(
        f"{key} {was}, not {asked}"
        for key in sorted(keys)
        if (was := _value(stored, key)) != (asked := _value(identity, key))
    )


def _value(identity: Mapping[str, str], key: str) -> str:
    return identity.get(key) or DEFAULTS.get(key, "(none)")
