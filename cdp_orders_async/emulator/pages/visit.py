"""What a page is made from, and what a view returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, TypeAlias
from urllib.parse import urlencode
from uuid import UUID

import attrs

from cdp_orders_async.emulator.faults import Faults
from cdp_orders_async.emulator.records import Invalid, Record
from cdp_orders_async.emulator.representation import whole_number
from cdp_orders_async.emulator.store import Store
from cdp_orders_async.emulator.traffic import Traffic

__all__ = ["PAGES", "Moved", "Page", "Part", "Result", "Subject", "View", "Visit", "Wrong"]

PAGES = "/__pages"
"""The path of the pages."""
ROWS = 50
"""The number of rows of a page of a list."""
TEXT_MAX = 200
"""The number of characters that a person may search for."""


class Subject(Protocol):
    """The part of an emulator that the pages see."""

    store: Store
    faults: Faults
    traffic: Traffic


class Wrong(Exception):
    """The request is wrong; the text, one sentence, says what to do."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@attrs.frozen
class Page:
    """A page: its template, and the values in it."""

    template: str
    values: Mapping[str, object]
    status: int = 200


@attrs.frozen
class Moved:
    """Another page to open instead."""

    path: str


Result: TypeAlias = Page | Moved


@attrs.frozen
class Part:
    """One page of a list."""

    rows: list[Record]
    count: int
    """The number of rows of all pages."""
    number: int
    path: str
    query: Mapping[str, str]
    name: str
    """The key of the number in the query."""
    place: str = ""
    """The part of the page with the list, for links."""

    @property
    def last(self) -> int:
        """The number of the last page."""
        return max(self.count - 1, 0) // ROWS + 1

    @property
    def start(self) -> int:
        """The number of rows before this page."""
        return (self.number - 1) * ROWS

    def url(self, number: int) -> str:
        """Return the path of another page of the list."""
        query = urlencode({**self.query, self.name: number})
        return f"{self.path}?{query}{self.place and '#'}{self.place}"


@attrs.frozen
class Visit:
    """A request for a page, or a form that was sent."""

    subject: Subject
    path: str
    query: Mapping[str, str]
    refs: list[str]
    """The open segments of the path."""
    form: Mapping[str, str] = attrs.field(factory=dict[str, str])

    def record(self, kind: str, noun: str) -> Record:
        """Return the record that the path names; raise Wrong."""
        ref = self.refs[0]
        if not is_ref(ref):
            raise Wrong(400, f"A reference of {noun} is a UUID, such as 123e4567-e89b-42d3-a456-426614174000.")
        record = self.subject.store.find(kind, ref)
        if record is None:
            raise Wrong(
                404, f"No {noun.partition(' ')[2]} has this reference. A reset or a deletion may have removed it."
            )
        return record

    def text(self, *, words: int = TEXT_MAX) -> str:
        """Return the text to search for; raise Wrong if it is too long, or has more than so many words."""
        text = self.query.get("q", "").strip()
        if len(text) > TEXT_MAX:
            raise Wrong(400, f"The text to search for has {len(text):,} characters: use at most {TEXT_MAX}.")
        if len(text.split()) > words:
            raise Wrong(400, f"The text to search for has {len(text.split()):,} words: use at most {words}.")
        return text

    def word(self, name: str, words: Mapping[str, str]) -> str:
        """Return one of *words*, or nothing; raise Wrong for another word."""
        word = self.query.get(name, "")
        if word and word not in words:
            raise Wrong(400, f"{name}: choose one of the words of the list.")
        return word

    def number(self, name: str, default: int, *, least: int = 1) -> int:
        """Return a number of the query; raise Wrong."""
        try:
            return whole_number(self.query, name, default, least=least)
        except Invalid as wrong:
            raise Wrong(400, str(wrong)) from None

    def part(self, count: int, rows: Callable[[int, int], list[Record]], name: str = "page", place: str = "") -> Part:
        """Return the asked page of a list; *rows* returns so many rows from a number on. Raise Wrong."""
        number = self.number(name, 1)
        part = Part([], count, number, self.path, self.query, name, place)
        if number > part.last:
            pages = "1 page" if part.last == 1 else f"{part.last:,} pages"
            raise Wrong(404, f"This list has {pages}, and no page {number:,}.")
        return attrs.evolve(part, rows=rows(part.start, ROWS))

    def part_of(self, rows: list[Record], name: str = "page", place: str = "") -> Part:
        """Return the asked page of *rows*; raise Wrong."""
        return self.part(len(rows), lambda start, count: rows[start : start + count], name, place)


View: TypeAlias = Callable[[Visit], Result]


def is_ref(text: str) -> bool:
    """Tell whether *text* is a UUID in its usual form."""
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False
