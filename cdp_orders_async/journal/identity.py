"""What a journal belongs to, by names and values that a person understands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from cdp_orders_async.errors import JournalError

__all__ = ["check_identity", "differences"]

UNSAID: Mapping[str, str] = MappingProxyType({"API version": "2.1"})
"""The meaning of what an identity does not say."""


def check_identity(name: str, stored: Mapping[str, str], identity: Mapping[str, str], advice: str) -> None:
    """Raise `JournalError` unless the journal that is called *name* and belongs to *stored* belongs to *identity*.

    They may say different things, but not two different values of one thing. Who says which client key must find it,
    and who says no version of the API means the current one.
    """
    keys = ({*stored} | {"client key"}) & {*identity}
    if stored and (found := differences(stored, identity, keys | {*UNSAID})):
        raise JournalError(f"{name} belongs to {found}: {advice}")


def differences(stored: Mapping[str, str], identity: Mapping[str, str], keys: Iterable[str]) -> str:
    """Say in which of *keys* two identities differ; nothing if in none."""
    return " and to ".join(
        f"{key} {was}, not {asked}"
        for key in sorted(keys)
        if (was := _said(stored, key)) != (asked := _said(identity, key))
    )


def _said(identity: Mapping[str, str], key: str) -> str:
    return identity.get(key) or UNSAID.get(key, "(none)")
