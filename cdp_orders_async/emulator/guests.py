"""The guests: how a contact or a consumer is matched to a guest, and how it updates the guest."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Iterator, Mapping, Sequence

from cdp_orders_async.emulator.records import Json, members, texts

__all__ = ["GUEST_TYPES", "Index", "identities", "profile"]

GUEST_TYPES: Mapping[str, str] = {"contacts": "customer", "consumers": "traveller"}
"""The kinds of persons, and the type of the guest that each creates."""

SEARCHABLE_MAX = 2_000
"""The number of characters of a guest that a search by parts of words reads."""
AT_ONCE = 3
"""The number of words that one pass of a search looks for."""
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


class Index:
    """The guests by their numbers, in the order of creation, for searches by parts of words.

    Each pass of a search is one comprehension over few objects: 200,000 guests take some hundredths of a second.
    """

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._refs: list[str] = []
        self._texts: list[str] = []
        self._types: list[str] = []

    def put(self, ref: str, data: Mapping[str, Json]) -> None:
        """Add a guest, or note how it has changed."""
        text, kind = search_text(ref, data), sys.intern(str(data["guestType"]))
        number = self._numbers.setdefault(ref, len(self._refs))
        if number == len(self._refs):
            self._refs.append(ref)
            self._texts.append(text)
            self._types.append(kind)
        else:
            self._texts[number], self._types[number] = text, kind

    def found(self, text: str, kind: str, first: Sequence[str] = ()) -> list[str]:
        """Return the refs of the guests with each word of *text*, the newest first, after those in *first*.

        kind: only guests of this type; empty: of all types.
        """
        texts, types = self._texts, self._types
        numbers: Sequence[int] = range(len(self._refs))
        if kind:
            numbers = [number for number, known in enumerate(types) if known == kind]
        # The longest words come first: the fewest guests have them.
        words = sorted({*searchable(text).split()}, key=len, reverse=True)
        for at in range(0, len(words), AT_ONCE):
            one, two, three = [*words[at : at + AT_ONCE], "", ""][:AT_ONCE]
            numbers = [n for n in numbers if one in texts[n] and two in texts[n] and three in texts[n]]
        named = [number for number in map(self._numbers.__getitem__, first) if not kind or types[number] == kind]
        if named:
            numbers = [number for number in numbers if number not in named]
        refs = self._refs
        return [*[refs[number] for number in named], *[refs[number] for number in reversed(numbers)]]
