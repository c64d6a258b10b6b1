"""Whose order it is: guests found by what identifies them, and what a guest learns from a contact or a consumer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from cdp_orders_async.emulator.records import Json, members, texts

__all__ = ["GUEST_TYPES", "identities", "profile"]

GUEST_TYPES: Mapping[str, str] = {"contacts": "customer", "consumers": "traveller"}
"""The kinds of persons, and the type of the guest that each creates."""

LINKS = frozenset({"guest", "orderItems"})
"""The keys of a person that lead to others, and say nothing of the person."""


def identities(data: Mapping[str, Json]) -> Iterator[tuple[str, str]]:
    """Yield what identifies a person: first the identifiers, then the email addresses, which have no provider."""
    for identifier in members(data.get("identifiers")):
        yield str(identifier["provider"]), str(identifier["id"])
    for email in texts(data.get("emails")):
        yield "", email.casefold()


def profile(known: Mapping[str, Json], person: Mapping[str, Json], kind: str) -> dict[str, Json]:
    """Return what a guest looks like after a *person* of this *kind* was matched to it.

    New values win, lists of what identifies grow, and a customer stays a customer.
    """
    merged = {**known, **{name: value for name, value in person.items() if name not in LINKS}}
    for name in ("emails", "identifiers"):
        before, after = known.get(name), person.get(name)
        if isinstance(before, list) and isinstance(after, list):
            merged[name] = [*before, *(each for each in after if each not in before)]
    if known.get("guestType") != "customer":
        merged["guestType"] = GUEST_TYPES[kind]
    return merged
