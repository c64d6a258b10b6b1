"""Match the records of a journal with duplicate parts after the input was edited: pure functions.

Duplicate items or people of one order have numbered keys. If one of them is added or removed, the numbers shift: a
record then belongs to the part with the same content and the same extension. The record of a part that the input no
longer has stays, under a free number.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Container, Mapping, Sequence
from uuid import UUID

from cdp_orders_async.ingest.parts import Part, kind_of
from cdp_orders_async.journal import PartRecord

__all__ = ["NUMBERED_KINDS", "keys_after_edit", "keys_without_clash", "with_new_keys"]

NUMBERED_KINDS = frozenset({"items", "consumers"})
"""The kinds of parts that may have duplicates within one order."""


def keys_after_edit(parts: Sequence[Part], records: Mapping[str, PartRecord]) -> dict[str, str | None]:
    """Return the new keys of *records*, by old key, where they differ; None for a record that repeats another one.

    The journal holds the keys of the input at an earlier time; *parts* have the keys of the current input.
    """
    groups: defaultdict[str, tuple[list[Part], list[str]]] = defaultdict(lambda: ([], []))
    extensions = {part.owner: part for part in parts if part.kind == "item_extensions"}
    for part in parts:
        if part.kind in NUMBERED_KINDS:
            groups[_without_number(part.key)][0].append(part)
    for key in records:
        if _is_numbered(key):
            groups[_without_number(key)][1].append(key)
    keys: dict[str, str] = {}
    for sought, known in groups.values():
        keys.update((key, part.key) for part, key in _pairs(sought, known, extensions, records))
    used = {part.key for part in parts}
    for key in sorted(filter(_is_numbered, records), key=used.__contains__):  # free keys first: their records keep them
        if key not in keys:
            keys[key] = _free_key(key, used)
            used.add(keys[key])
    by_new_key = {_new_key(key, keys): record for key, record in records.items()}
    left = _without_repeats(by_new_key, {part.key: part for part in parts})
    return {key: new for key in records if (new := left.get(_new_key(key, keys))) != key}


def keys_without_clash(records: Mapping[str, PartRecord], others: Mapping[str, PartRecord]) -> dict[str, str | None]:
    """Return new keys with free numbers for those of *records* whose key stands for another resource in *others*."""
    used = {*records, *others}
    keys: dict[str, str] = {}
    for key in filter(_is_numbered, records):
        if key in others and records[key].ref is not None and records[key].ref != others[key].ref:
            keys[key] = _free_key(key, used)
            used.add(keys[key])
    return {key: new for key in records if (new := _new_key(key, keys)) != key}


def with_new_keys(records: Mapping[str, PartRecord], keys: Mapping[str, str | None]) -> dict[str, PartRecord]:
    """Return *records* by their new keys in *keys*; a record whose new key is None is dropped."""
    by_key = {keys.get(key, key): record for key, record in records.items()}
    return {key: record for key, record in by_key.items() if key is not None}


def _without_repeats(records: Mapping[str, PartRecord], parts: Mapping[str, Part]) -> dict[str, str]:
    """Return the new keys of *records*, without records that repeat the reference of another one.

    Of such records the one of a part stays, preferably of a part that did not change. The record of an extension goes
    with its owner.
    """

    def order(key: str) -> tuple[bool, bool]:
        part = parts.get(key)
        return part is None, part is None or part.digest != records[key].digest

    first: dict[tuple[str, UUID], str] = {}
    keys: dict[str, str] = {}
    for key in sorted((key for key in records if not key.endswith("/ext")), key=order):
        if (ref := records[key].ref) is not None:
            keys[key] = first.setdefault((kind_of(key), ref), key)
    moved = {key: _new_key(key, keys) for key in records}
    kept: dict[str, str] = {}  # the old key, by new key: an extension with a reference rather than one without
    for key in sorted(records, key=lambda key: (records[key].ref is None, moved[key] != key)):
        kept.setdefault(moved[key], key)
    return {key: new for new, key in kept.items()}


def _is_numbered(key: str) -> bool:
    return key.startswith(("item", "consumer")) and not key.endswith("/ext")


def _free_key(key: str, used: Container[str]) -> str:
    start = _without_number(key)
    numbers = (f"{start}~{number}" for number in itertools.count(2))
    return next(candidate for candidate in itertools.chain((key,), numbers) if candidate not in used)


def _new_key(key: str, keys: Mapping[str, str]) -> str:
    """Return the new key of a record; the key of an extension follows its owner."""
    owner = key.removesuffix("/ext")
    return keys.get(owner, owner) + key[len(owner) :]


def _pairs(
    sought: list[Part], keys: list[str], extensions: Mapping[Part | None, Part], records: Mapping[str, PartRecord]
) -> Sequence[tuple[Part, str]]:
    def same_extension(part: Part, key: str) -> bool:
        extension, record = extensions.get(part), records.get(f"{key}/ext")
        return (extension.digest if extension else None) == (record.digest if record else None)

    paired: list[tuple[Part, str]] = []
    fits: tuple[Callable[[Part, str], bool], ...] = (  # the best fit first
        lambda part, key: part.digest == records[key].digest and same_extension(part, key),
        lambda part, key: part.digest == records[key].digest,
        lambda part, key: part.key == key,
        lambda _, __: True,
    )
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
