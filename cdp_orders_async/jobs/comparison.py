"""Compare one order of the input with what a server has of it, part by part: pure functions."""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

import attrs
from msgspec import Struct

from cdp_orders_async.errors import shown_key
from cdp_orders_async.ingest.compare import diff, extra_fields, may_match
from cdp_orders_async.ingest.parts import EXTENSIONS, LISTED, Part
from cdp_orders_async.jobs.snapshot import Snapshot

__all__ = ["Difference", "DifferenceKind", "all_missing", "compare"]


class DifferenceKind(enum.StrEnum):
    """How a server differs from the input."""

    DIFFERENT = "different"
    """A part has other values."""
    MISSING = "missing"
    """A part is not there."""
    EXTRA = "extra"
    """A resource on the server is not a part of the input."""


class Difference(Struct, frozen=True):
    """One difference between an order of the input and the server."""

    part: str
    """The name of the part, such as ``items/3``. Of something extra it is the part that it repeats, or the part that it
    extends, or else its kind, such as ``items``."""
    ref: UUID | None
    """The reference of the part, or of what is extra; None where it is not known."""
    problem: DifferenceKind
    fields: tuple[str, ...] = ()
    """The fields that differ, or the keys of an extension; ``***`` for a key that may be a personal value."""

    def to_json(self, key: str) -> dict[str, object]:
        """Return it as JSON data; *key* is that of the order."""
        ref = None if self.ref is None else str(self.ref)
        return {"key": key, "part": self.part, "ref": ref, "problem": str(self.problem), "fields": self.fields}


def all_missing(names: Sequence[str], refs: Mapping[str, UUID | None]) -> list[Difference]:
    """Return the differences of an order that is not there: each part is missing."""
    return [Difference(name, refs.get(name), DifferenceKind.MISSING) for name in names]


def compare(
    parts: Sequence[Part], refs: Mapping[str, UUID | None], snapshot: Snapshot, others: Collection[UUID]
) -> list[Difference]:
    """Return in what a server differs from the *parts* of an order.

    A part with a known reference, in *refs* by its name, is compared with the resource that has this reference. Each
    other part is compared with the resource that fits it best and belongs to no other part. *others* are the references
    of resources that belong to other lines of the input.
    """
    return list(_Comparison(parts, refs, snapshot, others).differences())


class _Comparison:
    """Compares one order."""

    def __init__(
        self, parts: Sequence[Part], refs: Mapping[str, UUID | None], snapshot: Snapshot, others: Collection[UUID]
    ) -> None:
        self._parts = parts
        self._refs = refs
        self._snapshot = snapshot
        self._others = others
        self._gone: set[UUID] = set()
        """The references of items that are missing: links to them are not compared a second time."""

    def differences(self) -> Iterator[Difference]:
        """Match the parts, and yield what differs."""
        order = self._parts[0]
        order.ref = self._snapshot.ref
        for kind in LISTED:  # the items before the consumers, which link to them
            self._match([part for part in self._parts if part.kind == kind], self._snapshot.listed(kind))
        for part in self._parts:
            yield from self._part(part)
        for ref in self._snapshot.doubles:
            yield Difference("order", ref, DifferenceKind.EXTRA)
        for kind in LISTED:
            yield from self._extra(kind)
        yield from self._extra_extensions()

    def _match(self, parts: Sequence[Part], stored: Mapping[UUID, Any]) -> None:
        """Find each of some *parts* of one kind among what is *stored*."""
        for part in parts:
            ref = self._refs.get(part.name)
            part.ref = ref if ref in stored else None
            if ref is not None and part.ref is None:
                self._gone.add(ref)
        claimed = {part.ref for part in parts} | set(self._others)
        free = {ref: thing for ref, thing in stored.items() if ref not in claimed}
        sought = [part for part in parts if part.ref is None and self._refs.get(part.name) is None]
        fits = [
            (len(diff(*pair)), extra_fields(*pair), n, ref)
            for n, part in enumerate(sought)
            for ref, thing in free.items()
            if may_match(*(pair := self._pair(part, thing)))
        ]
        for _, _, n, ref in sorted(fits):
            if sought[n].ref is None and ref in free:
                sought[n].ref = ref
                del free[ref]

    def _pair(self, part: Part, stored: Any) -> tuple[Any, Any]:  # noqa: ANN401 a model, and the resource on the server
        """Return the value of a part and the stored one, without links to items that are missing."""
        if not part.uses:
            return part.value, stored
        links = tuple(use.ref for use in part.uses if use.ref is not None)
        shown = tuple(ref for ref in stored.order_items or () if ref not in self._gone)
        return attrs.evolve(part.value, order_items=links), attrs.evolve(stored, order_items=shown)

    def _part(self, part: Part) -> Iterator[Difference]:
        stored: Any = None
        ref = self._refs.get(part.name)
        if part.kind in EXTENSIONS:
            owner = part.owner_ref
            held = None if owner is None else self._snapshot.extensions.get(owner)
            stored = None if held is None else held.open()
        elif part.kind == "orders":
            stored = self._snapshot.order.open()
        elif part.ref is not None:
            stored = self._snapshot.listed(part.kind)[part.ref]
        if stored is None:
            yield Difference(part.name, ref, DifferenceKind.MISSING)
        elif fields := diff(*self._pair(part, stored)):
            names = tuple(map(shown_key, fields)) if part.kind in EXTENSIONS else fields
            yield Difference(part.name, stored.ref or ref, DifferenceKind.DIFFERENT, names)

    def _extra(self, kind: str) -> Iterator[Difference]:
        """Yield the resources of a *kind* that belong to no part, each with the part that it repeats."""
        parts = [part for part in self._parts if part.kind == kind]
        claimed = {part.ref for part in parts} | set(self._others)
        for ref, thing in self._snapshot.listed(kind).items():
            if ref not in claimed:
                repeats = (part.name for part in parts if not diff(*self._pair(part, thing)))
                yield Difference(next(repeats, kind), ref, DifferenceKind.EXTRA)

    def _extra_extensions(self) -> Iterator[Difference]:
        extended = {part.owner_ref for part in self._parts if part.kind in EXTENSIONS} | set(self._others)
        names = {part.ref: "ext" if part.kind == "orders" else f"{part.name}/ext" for part in self._parts}
        for owner, held in self._snapshot.extensions.items():
            extension = held.open()
            if owner not in extended and extension.pairs:
                yield Difference(names.get(owner, "item_extensions"), extension.ref, DifferenceKind.EXTRA)
