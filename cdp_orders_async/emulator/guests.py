"""The guests: how a contact or a consumer is matched to a guest, and how it updates the guest."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping

from cdp_orders_async.emulator.records import Json, members, texts

__all__ = ["GUEST_TYPES", "identities", "profile", "search_text", "searchable"]

GUEST_TYPES: Mapping[str, str] = {"contacts": "customer", "consumers": "traveller"}
"""The kinds of persons, and the type of the guest that each creates."""

SEARCHABLE_MAX = 2_000
"""The number of characters of a guest that a search by parts of words reads."""
LINKS = frozenset({"guest", "orderItems"})
"""The keys of a person that are links, not values of the person."""


def identities(data: Mapping[str, Json]) -> Iterator[tuple[str, str]]:
    """Yield the identities of a person: first the identifiers, then the email addresses, which have no provider."""
    for identifier in members(data.get("identifiers")):
        yield str(identifier["provider"]), str(identifier["id"])
    for email in texts(data.get("emails")):
        yield "", email.casefold()


def profile(known: Mapping[str, Json], person: Mapping[str, Json], kind: str) -> dict[str, Json]:
    """Return the data of a guest after a *person* of this *kind* was matched to it.

    New values replace old ones, emails and identifiers are added, and a customer stays a customer.
    """
    merged = {**known, **{name: value for name, value in person.items() if name not in LINKS}}
    for name in ("emails", "identifiers"):
        before, after = known.get(name), person.get(name)
        if isinstance(before, list) and isinstance(after, list):
            merged[name] = [*before, *(each for each in after if each not in before)]
    if known.get("guestType") != "customer":
        merged["guestType"] = GUEST_TYPES[kind]
    return merged


def searchable(text: str) -> str:
    """Return *text* in the form in which searches compare it: without case, and with one form of each letter."""
    return unicodedata.normalize("NFKC", text).casefold()


def search_text(ref: str, data: Mapping[str, Json]) -> str:
    """Return the text of a guest that a search reads: its ref, names, email addresses and identifiers."""
    names = [name for key in ("firstName", "lastName") if isinstance(name := data.get(key), str)]
    ids = [str(identifier["id"]) for identifier in members(data.get("identifiers"))]
    return searchable("\n".join((ref, *names, *texts(data.get("emails")), *ids))[:SEARCHABLE_MAX])
