"""What a journal belongs to, by names and values that a person understands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cdp_orders_async.errors import JournalError

__all__ = ["check_identity", "differences"]


def check_identity(name: str, stored: Mapping[str, str], identity: Mapping[str, str], advice: str) -> None:
    """Raise `JournalError` unless the journal that is called *name* and belongs to *stored* belongs to *identity*.

    They may say different things, but not two different values of one thing. Who says which client key must find it,
    and where one of them says a version of the API, so must the other.
    """
    keys = ({*stored} | {"client key"}) & {*identity}
    versions = {"API version"} & ({*stored} | {*identity})
    if stored and (found := differences(stored, identity, keys | versions)):
        raise JournalError(f"{name} belongs to {found}: {advice}")


def differences(stored: Mapping[str, str], identity: Mapping[str, str], keys: Iterable[str]) -> str:
    """Say in which of *keys* two identities differ; nothing if in none."""
    return " and to ".join(
        f"{key} {stored.get(key, '(none)')}, not {identity.get(key, '(none)')}"
        for key in sorted(keys)
        if stored.get(key) != identity.get(key)
    )
