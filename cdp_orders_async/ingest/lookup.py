"""Find a part on the server after a create with an unknown outcome, or before one."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar
from uuid import UUID

import attrs

from cdp_orders_async.client import Resources, ResourcesV2
from cdp_orders_async.errors import CdpError, NotFound, OutcomeUnknown
from cdp_orders_async.ingest.compare import diff, extra_fields, may_match
from cdp_orders_async.ingest.doubts import Doubts
from cdp_orders_async.ingest.edits import AmbiguousError, pair_edited
from cdp_orders_async.ingest.knowledge import NEVER
from cdp_orders_async.ingest.parts import EXTENSIONS, Part
from cdp_orders_async.ingest.requests import NO_EXTENSION, is_shown
from cdp_orders_async.models import Extension
from cdp_orders_async.resources import Listing
from cdp_orders_async.wire import Page

__all__ = ["Lookup", "Retrier"]

T = TypeVar("T")

LINK_PAGES = 2
"""The pages of a list of links to few parts."""
LACKS_EXTENSION = 2
"""How well an item without an extension fits one that has one; a smaller number is a better fit."""


class Retrier(Protocol):
    """Repeats a request until it succeeds or is given up."""

    def __call__(self, make: Callable[[], Awaitable[T]], operation: str, /) -> Awaitable[T]:
        """Return the result of *make*, a call of *operation*."""
        ...


class Lookup:
    """Finds the *parts* of one order on the server; the parts share the lists that were read.

    *cdp* makes the requests, and *retry* repeats them. *doubts* are those of the order, if it has any.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        cdp: Resources | ResourcesV2,
        retry: Retrier,
        clock: Callable[[], float],
        doubts: Doubts | None,
    ) -> None:
        self.needs_no_list = doubts is not None and doubts.needs_no_list
        """Whether the references of the whole order are known, so that no list needs to be read."""
        self.deleted: set[UUID] = set()
        """The references of deleted resources, which lists may still show."""
        self._edited = doubts is not None and doubts.edited
        """Whether an unclaimed resource may be an older state of a part."""
        left = () if doubts is None else doubts.left
        self._left = {ref: kind for kind, ref in left if kind not in EXTENSIONS}
        """The known references of parts that the input no longer has, with their kinds."""
        self._unproven: Mapping[str, UUID] = {} if doubts is None else doubts.unproven
        self._parts = parts
        self._cdp = cdp
        self._retry = retry
        self._clock = clock
        self._fetched: dict[UUID, Any] = {}
        self._lists: dict[str, tuple[float, list[Any]]] = {}
        self._extensions: dict[UUID | None, tuple[float, Extension | None]] = {}
        self._listing = asyncio.Lock()
        self._entries = 0  # of the list that is read now, which were fetched one by one

    @property
    def claimed(self) -> set[UUID]:
        """The references of the parts of this order."""
        return {part.ref for part in self._parts if part.ref is not None}

    @property
    def leftovers(self) -> Sequence[tuple[str, UUID]]:
        """The known resources on the server that no part claims, with their kinds."""
        claimed, gone = self.claimed | self.deleted, self.gone
        found = {stored.ref: kind for kind, (_, listed) in self._lists.items() if kind != "orders" for stored in listed}
        left = [(kind, ref) for ref, kind in {**found, **self._left}.items() if ref not in claimed]
        return [thing for thing in left if thing not in gone]

    @property
    def gone(self) -> set[tuple[str, UUID]]:
        """The known resources that no part claims, and that the server no longer has."""
        fetched = self._fetched
        return {(kind, ref) for ref, kind in self._left.items() if ref in fetched and fetched[ref] is None}

    def requests_left(self, parts: Mapping[str, int]) -> int:
        """Return the requests that finding *parts* takes: how many there are of each kind.

        An extension counts as a kind. The lists of version 2 have links only, and their last page is empty.
        """
        unread = [count for kind, count in parts.items() if kind not in self._lists]
        if self._cdp.api.whole_lists:
            return len(unread)
        return max(0, sum(unread) + LINK_PAGES * len(unread) - self._entries)

    async def orders(self, order: Part, after: float) -> list[Any]:
        """Return the orders that the server takes for the same as *order*, from a list that was read after *after*.

        Raises `OutcomeUnknown` for a list of orders with other reference ids. A cache or a server that ignores the
        query returned it, so it does not show whether *order* is absent.
        """
        listed = await self.read(order.kind, after)
        same = [stored for stored in listed if may_match(order.value, stored) and stored.ref not in self.deleted]
        if not same and any(_is_other(order.value.reference_id, stored.reference_id) for stored in listed):
            raise OutcomeUnknown("the list of the orders with this reference id has other ones: it proves nothing")
        return same

    async def find(self, part: Part, after: float, *, settled: bool) -> Any:  # noqa: ANN401 any resource
        """Return the resource of *part* on the server, None if there is none; a list must be read after *after*.

        *settled* says whether such a list shows all writes. Raises `AmbiguousError` if several resources could be the
        part.
        """
        if part.kind in EXTENSIONS:
            return await self.extension(part.kind, part.owner_ref, after)
        sent = part.sent()
        listed = [] if self.needs_no_list else await self.read(part.kind, after)
        left = await self._fetch_left(part.kind) if self._edited else ()
        claimed = self.claimed | self.deleted
        by_ref = {stored.ref: stored for stored in (*listed, *left)}
        free = [stored for ref, stored in by_ref.items() if ref not in claimed]
        if part.kind == "consumers":
            free = [await self._with_links(stored) for stored in free]
        candidates = [stored for stored in free if may_match(sent, stored)]
        if part.kind == "items" and not part.value.reference_id:
            others = {item.value.reference_id for item in self._parts if item.kind == "items"} - {None}
            candidates = [stored for stored in candidates if stored.reference_id not in others]
        if candidates:
            found = await self._best_fit(part, candidates, after)
        else:
            found = next((stored for stored in free if self._is_recorded(part, stored)), None)
        if found is None and self._edited and settled:
            found = self._before_edit(part, free)
        if found is not None and found.ref in self.claimed:  # another part claimed it meanwhile
            found = await self.find(part, after, settled=settled)
        return found

    async def fetch(self, part: Part) -> Any:  # noqa: ANN401 any resource
        """Fetch the resource with the reference of *part*; raises `NotFound`."""
        if part.kind in EXTENSIONS:
            return await self._fetch_extension(part)
        resource: Any = getattr(self._cdp, part.kind)
        stored = await self._retry(partial(resource.get, part.ref), f"{part.kind}.get")
        return await self._with_links(stored) if part.kind == "consumers" else stored

    async def _fetch_extension(self, part: Part) -> Extension:
        """Fetch the extension *part*. Version 2 has a list of them, which may not show it yet: its reference does."""
        get, operation = partial(self._get_extension, part.kind, part.owner_ref), f"{part.kind}.get"
        if not self._cdp.api.whole_lists:
            try:
                return await self._retry(partial(get, part.ref), operation)
            except NotFound as error:
                if not error.from_api:
                    raise
        return await self._retry(get, operation)

    async def _fetch_left(self, kind: str) -> Sequence[Any]:
        """Return the known resources of a *kind* that the input no longer has, without deleted ones."""
        resource: Any = getattr(self._cdp, kind)
        async with self._listing:
            for ref in [ref for ref, its_kind in self._left.items() if its_kind == kind and ref not in self._fetched]:
                try:
                    self._fetched[ref] = await self._retry(partial(resource.get, ref), f"{kind}.get")
                except NotFound as error:
                    if not error.from_api:
                        raise
                    self._fetched[ref] = None
            fetched = [self._fetched.get(ref) for ref, its_kind in self._left.items() if its_kind == kind]
            return [stored for stored in fetched if stored is not None]

    def _before_edit(self, part: Part, free: Sequence[Any]) -> Any:  # noqa: ANN401 any resource
        """Return the resource of *part* from before the edit, None if the part is new; raises `AmbiguousError`."""
        new = [other for other in self._parts if other.kind == part.kind and other.in_doubt]
        left = list(free)
        # Each other part that was not edited takes the resource that fits it best. None fitted this part.
        others = [other for other in new if other is not part]
        fits = [
            (other, stored)
            for other in others
            for stored in left
            if may_match(other.sent(), stored) or self._is_recorded(other, stored)
        ]
        taken: dict[Part, Any] = {}
        for other, stored in sorted(fits, key=lambda fit: _difference(fit[0].sent(), fit[1])):
            if other in new and stored in left:
                new.remove(other)
                left.remove(stored)
                taken[other] = stored
        found = pair_edited(part, new, left)
        if found is not None and any(_fits_as_well(other.sent(), stored, found) for other, stored in taken.items()):
            raise AmbiguousError
        return found

    def _is_recorded(self, part: Part, stored: Any) -> bool:  # noqa: ANN401 any resource
        """Tell whether *stored* is *part* by a record that proves nothing: it counts if nothing fits better."""
        return bool(stored.ref == self._unproven.get(part.key))

    async def read(self, kind: str, after: float = NEVER) -> list[Any]:
        """Return the resources of a *kind* that no part claimed, from a list that was read after *after*."""
        order = self._parts[0]
        async with self._listing:
            read_at, listed = self._lists.get(kind, (NEVER, []))
            if read_at <= after:
                read_at = self._clock()
                resource: Any = getattr(self._cdp, kind)
                if kind == order.kind:
                    listing = resource.list(reference_id=order.value.reference_id)
                else:
                    listing = resource.list(order.ref)
                read = f"{kind}.list"
                # An entry can come twice: when something is deleted meanwhile, or when a page is served twice.
                entries = {entry.ref: entry for entry in await self._entries_of(listing, read)}
                listed, claimed = list[Any](), self.claimed
                for ref, entry in entries.items():
                    if ref not in claimed:
                        try:
                            listed.append(await self._retry(partial(listing.whole, entry), f"{kind}.get"))
                            self._entries += 1
                        except NotFound as error:
                            if not error.from_api:  # the page of a gateway does not show that the entry was deleted
                                raise
                self._lists[kind] = (read_at, listed)
                self._entries = 0
            return listed

    async def _entries_of(self, listing: Listing[T], operation: str) -> list[T]:
        """Return all entries of a list; after a failure only the page that failed is read again."""
        entries: list[T] = []
        pages = listing.pages()

        async def next_page() -> Page[T] | None:
            nonlocal pages
            try:
                return await anext(pages)
            # A default would crash CPython, if the loop is closing and its warning about that is an error.
            except StopAsyncIteration:
                return None
            except CdpError:
                pages = listing.pages(len(entries))
                raise

        while (page := await self._retry(next_page, operation)) is not None:
            entries.extend(page.items)
        return entries

    async def _with_links(self, consumer: Any) -> Any:  # noqa: ANN401 a Consumer
        """Return *consumer* with the links to its items, which version 2.1 may show only in a separate list."""
        cdp = self._cdp
        if isinstance(cdp, Resources) and consumer.order_items is None and any(part.uses for part in self._parts):
            items = await self._entries_of(cdp.consumers.items(consumer.ref), "consumers.items")
            consumer.order_items = tuple(item.ref for item in items)
        return consumer

    async def extension(self, kind: str, owner: UUID | None, after: float = NEVER) -> Extension | None:
        """Return the extension of *owner*, read after *after*; None if it has none."""
        read_at, found = self._extensions.get(owner, (NEVER, None))
        if read_at <= after:
            read_at = self._clock()
            try:
                found = await self._retry(partial(self._get_extension, kind, owner), f"{kind}.get")
            except NotFound as error:
                if not error.from_api:  # the page of a gateway does not show that the extension is absent
                    raise
                found = None
            self._extensions[owner] = (read_at, found)
        return found

    async def _get_extension(self, kind: str, owner: UUID | None, *ref: UUID | None) -> Extension:
        """Fetch the extension of *owner*, in version 2 by its *ref*; raises `OutcomeUnknown` for a gateway's JSON."""
        resource: Any = getattr(self._cdp, kind)
        extension: Extension = await resource.get(owner, *ref)
        if not is_shown(extension):
            raise OutcomeUnknown(f"the answer shows no extension: it {NO_EXTENSION}")
        return extension

    async def _best_fit(self, part: Part, candidates: list[Any], after: float) -> Any:  # noqa: ANN401 any resource
        """Return the candidate that fits *part* best, None if each one fits another part better.

        Identical parts may take any candidates, if no equal candidate is left over.
        """
        sought = [member for member in self._parts if member.in_doubt and member.group == part.group]
        if len(candidates) == 1 and len(sought) <= 1:
            return candidates[0]
        extensions = {extension.owner: extension for extension in self._parts if extension.kind == "item_extensions"}
        # Equal parts fit equally, so one of each sort is compared. Duplicates may differ only in their extensions.
        sorts: dict[tuple[bytes, bytes], Part] = {}
        counts: Counter[Part] = Counter()
        for member in (part, *(member for member in sought if member is not part)):
            extension = extensions.get(member)
            counts[sorts.setdefault((member.digest, extension.digest if extension else b""), member)] += 1
        held: list[Extension | None] = [None] * len(candidates)
        if any(member in extensions for member in counts):
            held = [await self.extension("item_extensions", stored.ref, after) for stored in candidates]
        fits = {
            member: [_fit(member, extensions.get(member), *pair) for pair in zip(candidates, held, strict=True)]
            for member in counts
        }
        mine, left = _assign(fits, counts, part)
        if (
            mine is not None
            and not _is_perfect(fits[part][mine])
            and any(fits[part][i] == fits[part][mine] for i in left)
        ):
            raise AmbiguousError
        return None if mine is None else candidates[mine]


def _assign(
    fits: Mapping[Part, Sequence[tuple[int, ...]]], counts: Mapping[Part, int], part: Part
) -> tuple[int | None, set[int]]:
    """Assign candidates to parts, the best fit first; return the index of the candidate of *part*, and the rest.

    *fits* says how well each candidate fits each sort of parts; *counts* says how many parts of each sort there are.
    """
    mine: int | None = None
    wanted = dict(counts)
    left = {i for i, fit in enumerate(fits[part]) if not fit[0]}
    for _, sought, i in sorted(
        ((fit, sought, i) for sought, its in fits.items() for i, fit in enumerate(its) if not fit[0]),
        key=lambda pair: pair[0],
    ):
        if i in left and wanted[sought]:
            left.discard(i)
            wanted[sought] -= 1
            mine = i if mine is None and sought is part else mine
    return mine, left


def _is_other(asked: str, returned: str | None) -> bool:
    """Tell whether the *returned* reference id differs from the *asked* one, apart from case and spaces."""
    return returned is not None and returned.strip().casefold() != asked.strip().casefold()


def _difference(sent: Any, stored: Any) -> tuple[bool, int, int]:  # noqa: ANN401 any resource
    """Return how much *stored* differs: whether in its identifiers, and the numbers of other and of further fields."""
    differs = diff(sent, stored)
    return "identifiers" in differs, len(differs), 0 if differs else extra_fields(sent, stored)


def _fits_as_well(sent: Any, stored: Any, other: Any) -> bool:  # noqa: ANN401 any resource
    """Tell whether *sent* may be *stored* or the *other* resource, of which each has something of its own."""
    difference = _difference(sent, stored)
    return any(difference) and may_match(sent, other) and _difference(sent, other) == difference


def _fit(part: Part, extension: Part | None, stored: Any, held: Extension | None) -> tuple[int, ...]:  # noqa: ANN401 any resource
    """Return how well *stored*, with the extension *held*, fits *part*: a smaller tuple is a better fit."""
    # While the references of linked items are unknown, only the number of links is compared.
    linked = all(use.ref for use in part.uses)
    sent = part.sent() if linked else attrs.evolve(part.value, order_items=stored.order_items)
    unlike = 0 if linked else _unlike_links([use.ref for use in part.uses], stored.order_items or ())
    if held is None:  # it may still get one, but a resource that has the extension of the part is the part
        beside = 0 if extension is None else LACKS_EXTENSION
    elif extension is None or diff(extension.value, held):
        beside = 3
    else:
        beside = int(extra_fields(extension.value, held) > 0)
    other_ids, wrong, extra = _difference(sent, stored)
    return (not may_match(sent, stored), other_ids, wrong, unlike, extra, beside)


def _is_perfect(fit: tuple[int, ...]) -> bool:
    """Tell whether resources that fit so are interchangeable: others that fit equally well are not."""
    *others, beside = fit
    return not any(others) and beside in {0, LACKS_EXTENSION}


def _unlike_links(uses: Collection[UUID | None], links: Collection[UUID]) -> int:
    """Return how many of the *uses*, whose references may be unknown, and of the *links* can have no counterpart."""
    same = sum(link in uses for link in links)
    unknown = sum(use is None for use in uses)
    return max(len(uses), len(links)) - same - min(unknown, len(links) - same)
