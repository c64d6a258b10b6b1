"""The parts of one order that the input no longer has: they stay on the server, and each run names them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

from cdp_orders_async.client import ResourcesV2
from cdp_orders_async.errors import NotFound, OutcomeUnknown
from cdp_orders_async.ingest.context import LoadContext
from cdp_orders_async.ingest.doubts import Doubts
from cdp_orders_async.ingest.lookup import Lookup
from cdp_orders_async.ingest.outcomes import Leftover, PartVerdict
from cdp_orders_async.ingest.parts import EXTENDED, EXTENSIONS, LEFT, LISTED, Part, left_key
from cdp_orders_async.journal import PartRecord

__all__ = ["Leftovers", "kinds_of_parts"]


def kinds_of_parts(context: LoadContext) -> Collection[str]:
    """Return the kinds of parts under an order that the version of the API documents."""
    return LISTED if isinstance(context.cdp, ResourcesV2) else (*LISTED, *EXTENSIONS)


class Leftovers:
    """The leftovers of the order *key*, which has *parts* in the input."""

    def __init__(self, context: LoadContext, key: str, parts: Sequence[Part]) -> None:
        self.unread: set[str] = set()
        """The kinds of parts that are to be looked for at the end, because the input no longer has some of them."""
        self._known: dict[tuple[str, UUID], str] = {}
        """Their keys in the journal, by kind and reference."""
        self._open: Collection[str] = ()
        """The keys of parts of which it is unknown whether they are on the server."""
        self._context = context
        self._key = key
        self._parts = parts

    def take_over(self, doubts: Doubts) -> None:
        """Begin with those that earlier runs left."""
        self._known, self._open, self.unread = dict(doubts.left), doubts.left_open, set(doubts.unread)

    @property
    def records(self) -> Mapping[str, PartRecord]:
        """Their records, by key."""
        known = {key: PartRecord(b"", ref) for (_, ref), key in self._known.items()}
        return {**known, **dict.fromkeys(self._open, PartRecord(b"", None))}

    def named(self, lookup: Lookup | None) -> tuple[Leftover, ...]:
        """Return those that are known, and those that *lookup* has found."""
        found = () if lookup is None else lookup.leftovers
        return tuple([Leftover(kind, ref) for kind, ref in dict.fromkeys((*self._known, *found))])

    async def find(self, lookup: Lookup) -> None:
        """Look for what may be left of an earlier content of the order.

        Raises `CdpError` if a list cannot be read, and `OutcomeUnknown` if the load was stopped before.
        """
        for kind in sorted(self.unread) if self._parts[0].is_there else ():
            if self._context.halted:
                raise OutcomeUnknown(f"the load was stopped before it was known which {kind} the input no longer has")
            try:
                if kind in EXTENSIONS:
                    await self._find_extensions(kind, lookup)
                else:
                    await lookup.read(kind)
            except NotFound as error:
                if not error.from_api:  # the page of a gateway does not show that nothing is there
                    raise
            self.unread.discard(kind)

    async def _find_extensions(self, kind: str, lookup: Lookup) -> None:
        extended = {part.owner for part in self._parts if part.kind == kind}
        for owner in self._parts:
            made = owner.verdict is PartVerdict.CREATED
            if owner.kind == EXTENDED[kind] and owner.is_there and not made and owner not in extended:
                extension = await lookup.extension(kind, owner.ref)
                if extension is not None and extension.ref is not None:
                    self._keep(kind, extension.ref)

    def keep(self, lookup: Lookup) -> None:
        """Note those that *lookup* has found in the journal, so that the next run names them too."""
        for thing in self._known.keys() & lookup.gone:
            key = self._known.pop(thing)
            if self._context.journal is not None:
                self._context.journal.forget(self._key, key)
        for kind, ref in lookup.leftovers:
            self._keep(kind, ref)

    def _keep(self, kind: str, ref: UUID) -> None:
        if (kind, ref) not in self._known:
            self._known[kind, ref] = key = left_key(kind, ref)
            if self._context.journal is not None:
                self._context.journal.record(self._key, key, b"", ref)

    def claim(self, part: Part) -> None:
        """Note that *part* of the input is one of them after an edit; its extension is a leftover until it is found."""
        if part.ref is None or (old := self._known.pop((part.kind, part.ref), None)) is None:
            return
        keys = {old: part.key}
        for thing, key in self._known.items():
            if key == f"{old}/ext":
                self._known[thing] = keys[key] = left_key(*thing)
        if self._context.journal is not None and old != part.key:
            self._context.journal.rename(self._key, keys)
        if old.startswith(LEFT):  # nobody has looked for its extension
            kinds = kinds_of_parts(self._context)
            self.unread |= {kind for kind in kinds if EXTENDED.get(kind) == part.kind}
