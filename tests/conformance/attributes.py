"""The vendor's tables of attributes, as rows, and what fits each of them and what does not."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import attrs
import orjson

Version: TypeAlias = Literal["v2", "v2.1"]
Json = dict[str, Any]

FILE = Path(__file__).parents[1] / "data" / "attributes.md"
PERSONS = ("contacts", "consumers")
KINDS = ("orders", "items", *PERSONS)


@attrs.frozen
class Attribute:
    """One row of the tables, in one version."""

    kind: str
    name: str
    use: str
    """``required``, ``optional``, ``answer`` or ``ignored``."""
    type: str
    limit: str
    examples: Sequence[object]

    @property
    def words(self) -> Sequence[str]:
        """The words of its limit, where it has such."""
        return re.findall(r"\b[A-Za-z]\w*", re.sub("^(one|none) of ", "", self.limit)) if " of " in self.limit else ()


def _read() -> Mapping[Version, Sequence[Attribute]]:
    rows: dict[Version, list[Attribute]] = {"v2": [], "v2.1": []}
    for line in FILE.read_text(encoding="utf-8").splitlines():
        if not line.startswith("|") or line.startswith(("| kind |", "| --- |")):
            continue
        kind, name, old, new, kind_of_value, limit, examples = (cell.strip() for cell in line.strip("|").split("|"))
        shown: Sequence[object] = orjson.loads(examples or "[]")
        for use, version in ((old, rows["v2"]), (new, rows["v2.1"])):
            if use != "-":
                version.append(Attribute(kind, name, use, kind_of_value, limit, shown))
    return rows


ROWS = _read()
WORDS = {word for rows in ROWS.values() for row in rows for word in row.words}
"""The words of all limits."""


def attributes(version: Version, kind: str) -> Mapping[str, Attribute]:
    """Return the attributes of a kind, by their names; each has one row."""
    groups = {kind, "persons"} if kind in PERSONS else {kind}
    found = [row for row in ROWS[version] if row.kind in groups or (row.kind == "all" and kind in KINDS)]
    by_name = {row.name: row for row in found}
    assert len(by_name) == len(found)
    return by_name


def names(rows: Iterable[Attribute], *uses: str) -> set[str]:
    """Return the names of the attributes with one of the *uses*."""
    return {row.name for row in rows if row.use in uses}


FITS: Mapping[str, Sequence[object]] = {
    "time": ["2011-01-01T16:17:16.123Z", "2011-01-01T16:17:16+05:30"],
    "past": ["2011-01-01T16:17:16.123Z", "2011-01-01T16:17:16+05:30"],
    "local": ["2025-08-15T16:00:00Z", "2025-08-15T16:00:00.000Z"],
    "number": [0, -45, 0.1, 123456789012.345],
    "int32": [0, -1, 2**31 - 1, -(2**31)],
    "texts": [[], ["a", "b"]],
}
"""Values of each type, both of its ends among them."""
MISFITS: Mapping[str, Sequence[object]] = {
    "text": [1, True, [], {}, ["a"]],
    "time": ["yesterday", "", 1704125836, True, [], "2024-13-01T00:00:00Z"],
    "past": ["yesterday", 1, "2999-01-01T00:00:00Z"],
    "local": [1, "2025-08-15T16:00", "2025-08-15T16:00+01:00", "16:00Z"],
    "number": ["50", "", True, [], {}],
    "int32": [2.5, "1", True, 2**31, -(2**31) - 1],
    "texts": ["a", [1], [None], {}],
    "link": ["x", [], {}, {"href": 1}],
    "identifiers": ["x", {}, ["x"], [None]],
    "segments": ["x", {}, ["x"], [None]],
}
"""Values that are of no such type, and what is just beyond its ends."""
PARTS = ("identifiers", "segments")


def good(version: Version, row: Attribute) -> Sequence[object]:
    """Return what fits: the vendor's examples, and all that its type and its limit allow."""
    parts = [[], *([part] for part in whole(version, row.type))] if row.type in PARTS else []
    return [*row.examples, *FITS.get(row.type, ()), *parts, *(within(row) if row.type == "text" else ())]


def refused(version: Version, row: Attribute) -> Sequence[object]:
    """Return what a server refuses, which is not bound by what is assumed."""
    return [one for one in bad(version, row) if not row.limit.endswith("assumed") or one not in beyond(row)]


def within(row: Attribute) -> Sequence[str]:
    """Return texts within a limit."""
    match row.limit.split():
        case ["one", "of", *_]:
            return row.words
        case ["none", "of", *_]:
            return [*(word.capitalize() for word in row.words), *(WORDS - {*row.words})]
        case ["at", "most", number]:
            return ["x" * int(number), "é" * int(number)]
        case ["capitals"]:
            return ["", "MOBILE_WEB", "É-1"]
        case [_, "capitals" | "capitals,", *_]:
            return []
        case _:
            return ["é \U0001f600 / | ? &", "x" * 1000]


def bad(version: Version, row: Attribute) -> Sequence[object]:
    """Return what does not fit: other types, and what is just beyond a limit."""
    parts = [[part] for part in damaged(version, row.type)] if row.type in PARTS else []
    return [*MISFITS.get(row.type, ()), *parts, *beyond(row)]


def beyond(row: Attribute) -> Sequence[str]:
    """Return texts beyond a limit."""
    match row.limit.split():
        case ["one", "of", *_]:
            return ["", f"{row.words[0]} ", *(word.swapcase() for word in row.words), *(WORDS - {*row.words})]
        case ["none", "of", *_]:
            return row.words
        case ["at", "most", number]:
            return ["x" * (int(number) + 1)]
        case ["capitals"]:
            return ["web", "Web"]
        case [number, "capitals" | "capitals,", *_]:
            letters = "A" * int(number)
            return ["", letters.lower(), letters + "A", letters[1:], letters[1:] + "1"]
        case _:
            return []


def whole(version: Version, kind: str) -> Sequence[Json]:
    """Return parts of a kind: with all that they can have, and with only what they need."""
    rows = attributes(version, kind).values()
    needed = {row.name: row.examples[0] for row in rows if row.use == "required"}
    return [{row.name: row.examples[0] for row in rows if row.examples}, needed]


def damaged(version: Version, kind: str) -> Iterable[Json]:
    """Yield parts of a kind with one thing wrong."""
    complete = whole(version, kind)[0]
    for row in attributes(version, kind).values():
        if row.use == "required":
            yield {name: value for name, value in complete.items() if name != row.name}
        yield from ({**complete, row.name: value} for value in bad(version, row))
