"""Which of several identical parts each record of a journal belongs to, after the input was edited: pure decisions.

Identical items or people of one order have numbered keys. Where one of them is added or removed, the numbers move:
then a record belongs to the part that has the same content, and the same extension.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from cdp_orders_async.ingest.parts import Part
from cdp_orders_async.journal import PartRecord

__all__ = ["known_by_part"]


def known_by_part(parts: Sequence[Part], records: Mapping[str, PartRecord]) -> dict[str, PartRecord]:
    """Return what is known of each of *parts*, by its key; *records* is what a journal has, by the keys of its time."""
    groups: defaultdict[str, tuple[list[Part], list[str]]] = defaultdict(lambda: ([], []))
    known: dict[str, PartRecord] = {}
    extensions = {part.owner: part for part in parts if part.kind == "item_extensions"}
    for part in parts:
        if part.kind in {"items", "consumers"}:
            groups[_without_number(part.key)][0].append(part)
        elif part.kind != "item_extensions" and part.key in records:
            known[part.key] = records[part.key]
    for key in records:
        if key.startswith(("item", "consumer")) and not key.endswith("/ext"):
            groups[_without_number(key)][1].append(key)
    for sought, keys in groups.values():
        for part, key in _pairs(sought, keys, extensions, records):
            known[part.key] = records[key]
            extension = extensions.get(part)
            if extension is not None and f"{key}/ext" in records:
                known[extension.key] = records[f"{key}/ext"]
    return known


def _pairs(
    sought: list[Part], keys: list[str], extensions: Mapping[Part | None, Part], records: Mapping[str, PartRecord]
) -> Sequence[tuple[Part, str]]:
    def same_extension(part: Part, key: str) -> bool:
        extension, record = extensions.get(part), records.get(f"{key}/ext")
        return (extension.digest if extension else None) == (record.digest if record else None)

    def same(part: Part, key: str) -> bool:
        return part.digest == records[key].digest

    def whole(part: Part, key: str) -> bool:
        return same(part, key) and same_extension(part, key)

    paired: list[tuple[Part, str]] = []

    def same_key(part: Part, key: str) -> bool:
        return part.key == key

    def any_key(_: Part, __: str) -> bool:
        return True

    fits: tuple[Callable[[Part, str], bool], ...] = (whole, same, same_key, any_key)
    for fit in fits:
        for part in list(sought):
            key = next((key for key in keys if fit(part, key)), None)
            if key is not None:
                paired.append((part, key))
                sought.remove(part)
                keys.remove(key)
    return paired


def _without_number(key: str) -> str:
    start, mark, number = key.rpartition("~")
    return start if mark and number.isdigit() else key
