"""The verbs, each written once, and the resources built from them.

What a resource cannot do is said by what it inherits: a verb that a kind lacks does not exist on it.
Every verb raises a `CdpError`: `Invalid` before anything is sent, `NotSent`, `OutcomeUnknown`,
`Refused`, `Unreadable` or `DeadlineExceeded` after that.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Generic, Literal, TypeVar
from uuid import UUID

import attrs

from cdp_orders_async import kinds
from cdp_orders_async.errors import CdpError, Invalid, NotFound, Violation
from cdp_orders_async.kinds import Api, Kind
from cdp_orders_async.models import (
    Consumer,
    ConsumerChanges,
    Extension,
    ExtensionValue,
    NewConsumer,
    NewOrder,
    NewOrderV2,
    Order,
    OrderChanges,
    OrderItem,
    OrderV2,
)
from cdp_orders_async.rules import check, check_extension, check_limit, refuse, text
from cdp_orders_async.wire import (
    NO_QUERY,
    Page,
    Request,
    Transport,
    encode,
    hidden,
    reads,
    reads_nothing,
    reads_page,
    ref_text,
    to_json,
    write,
)

__all__ = [
    "Consumers",
    "DeletablePartsV2",
    "Extensions",
    "ExtensionsV2",
    "Listing",
    "Orders",
    "OrdersV2",
    "Parts",
    "PartsV2",
]

New = TypeVar("New")
Got = TypeVar("Got")
Changes = TypeVar("Changes")
T = TypeVar("T")

LARGEST_PAGE = 100


class Listing(Generic[T]):
    """The entries of a collection, fetched page by page as they are asked for.

    ``async for entry in listing`` yields whole entries: one that the server did not expand is fetched by
    itself. `pages` yields what arrives. A listing advances by what arrived, not by what was asked for; it
    ends where there is no next page (see `Page.has_next`), at an empty page, or at one that repeats the page
    before.
    When a page fails, the error's *offset* says where to go on. A listing can be walked more than once.
    """

    def __init__(self, fetch: Callable[[int], Awaitable[Page[T]]], whole: Callable[[T], Awaitable[T]]) -> None:
        self._fetch = fetch
        self.whole = whole
        """Makes an entry whole: fetches it where the server listed only a link."""

    async def __aiter__(self) -> AsyncGenerator[T, None]:
        async for page in self.pages():
            for entry in page.items:
                yield await self.whole(entry)

    async def pages(self, start: int = 0) -> AsyncIterator[Page[T]]:
        """Yield the pages from the entry number *start* on."""
        offset = start
        before: tuple[T, ...] = ()
        while True:
            try:
                page = await self._fetch(offset)
            except CdpError as error:
                error.offset = offset
                raise
            if not page.items or page.items == before:
                return
            yield page
            if not page.has_next:
                return
            before = page.items
            offset += len(page.items)


class _Verbs(Generic[New, Got, Changes]):
    """What every resource has: where it lives, and how its requests leave."""

    def __init__(self, transport: Transport, kind: Kind[New, Got, Changes], base: str, api: Api = kinds.V2_1) -> None:
        self._transport = transport
        self._kind = kind
        self._base = base
        self._api = api
        self._routes = api.routes_of(kind)
        self._read = reads(kind.got)
        self._has_links = any(hasattr(kind.new, name) for name in ("order_items", "guest"))

    def _request(
        self,
        name: str,
        ref: UUID | None,
        read: Callable[[bytes], T],
        query: Mapping[str, str] = NO_QUERY,
        body: bytes | None = None,
        *,
        ext: UUID | None = None,
        creates: bool = False,
        looked_up: bool = False,
        stage: int = 0,
    ) -> Request[T]:
        operation, method, path = self._routes[name]
        if "{ref}" in path:
            path = path.replace("{ref}", _ref(ref))
        if ext is not None:
            path = path.replace("{ext}", _ref(ext))
        return Request(operation, method, path, read, query, body, creates, looked_up, stage)

    def _body(self, value: New | Changes) -> bytes:
        """Write links as the vendor does, as absolute URLs."""
        if type(value) is self._kind.new and not self._has_links:
            return write(value)
        plain = to_json(value)
        at = self._base + self._api.prefix
        if "orderItems" in plain:
            plain["orderItems"] = {"items": [{"href": f"{at}/orderItems/{ref}"} for ref in plain["orderItems"]]}
        if "guest" in plain:
            plain["guest"] = {"href": f"{at}/guests/{plain['guest']}"}
        return encode(plain)

    def _first_page(self, name: str, ref: UUID | None, model: type[T], **query: str) -> Request[Page[T]]:
        read = reads_page(model, names_next=self._api.whole_lists)
        return self._request(name, ref, read, query={**query, "expand": "true"} if self._api.whole_lists else query)

    def _pages(
        self,
        first: Request[Page[T]],
        limit: int,
        whole: Callable[[T], Awaitable[T]],
    ) -> Listing[T]:
        refuse(check_limit(limit))

        async def fetch(offset: int) -> Page[T]:
            query = {**first.query, "offset": str(offset), "limit": str(limit)}
            return await self._transport.send(attrs.evolve(first, query=query))

        return Listing(fetch, whole)


def _whole_by(get: Callable[[UUID], Awaitable[T]]) -> Callable[[T], Awaitable[T]]:
    """Return what makes an entry whole: itself, or fetched where the server listed only its link."""

    async def whole(entry: T) -> T:
        link: Any = entry
        bare = type(link)(ref=link.ref, href=link.href)
        return await get(link.ref) if link == bare else entry

    return whole


def _ref(ref: object) -> str:
    """Return the text of *ref* if it is a reference: nothing else may become part of a path."""
    try:
        return ref_text(ref if isinstance(ref, UUID) else UUID(str(ref)))
    except ValueError:
        raise Invalid((Violation("ref", "must be a UUID"),)) from None


class Readable(_Verbs[New, Got, Changes]):
    """What can be fetched by its reference."""

    async def get(self, ref: UUID) -> Got:
        """Fetch the one with the reference *ref*."""
        return await self._transport.send(self._request("get", ref, self._read))


class Deletable(Readable[New, Got, Changes]):
    """What can be deleted."""

    async def delete(self, ref: UUID) -> None:
        """Delete the one with the reference *ref*."""
        await self._transport.send(self._request("delete", ref, reads_nothing))


class Updatable(Readable[New, Got, Changes]):
    """What can be changed: with changes in version 2.1, with the whole thing in version 2, which has no others."""

    def to_update(self, ref: UUID, changes: Changes) -> Request[Got]:
        """Return the request that `update` sends, unchecked, as a value."""
        return self._request("update", ref, self._read, body=self._body(changes))

    async def update(self, ref: UUID, changes: Changes) -> Got:
        """Change the fields that *changes* names; version 2.1 leaves the rest alone."""
        changes = hidden(changes)
        refuse(check(self._kind.changes, changes))
        return await self._transport.send(self.to_update(ref, changes))


class Editable(Deletable[New, Got, Changes], Updatable[New, Got, Changes]):
    """What can be changed, replaced and deleted."""

    def to_replace(self, ref: UUID, new: New) -> Request[Got]:
        """Return the request that `replace` sends, unchecked, as a value."""
        return self._request("replace", ref, self._read, body=self._body(new))

    async def replace(self, ref: UUID, new: New) -> Got:
        """Put *new* in place of the one with the reference *ref*; what *new* leaves out is dropped."""
        refuse(check(self._kind.new, new))
        return await self._transport.send(self.to_replace(ref, new))


class UnderAnOrder(Readable[New, Got, Changes]):
    """What is created and listed under an order."""

    def to_create(self, order: UUID, new: New, *, stage: int = 0, looked_up: bool = False) -> Request[Got]:
        """Return the request that `create` sends, unchecked, as a value; see `Request` for the options."""
        body = self._body(new)
        return self._request("create", order, self._read, body=body, creates=True, stage=stage, looked_up=looked_up)

    async def create(self, order: UUID, new: New) -> Got:
        """Create one under the order with the reference *order*."""
        refuse(check(self._kind.new, new))
        return await self._transport.send(self.to_create(order, new))

    def list(self, order: UUID, *, limit: int = LARGEST_PAGE) -> Listing[Got]:
        """Walk those of an order, *limit* (1 to 100) a page."""
        return self._pages(self._first_page("list", order, self._kind.got), limit, _whole_by(self.get))


class AtTheRoot(Readable[New, Got, Changes]):
    """What is created and listed by itself: orders."""

    def to_create(self, new: New, *, stage: int = 0, looked_up: bool = False) -> Request[Got]:
        """Return the request that `create` sends, unchecked, as a value; see `Request` for the options."""
        body = self._body(new)
        return self._request("create", None, self._read, body=body, creates=True, stage=stage, looked_up=looked_up)

    async def create(self, new: New) -> Got:
        """Create an order.

        The API matches orders with the same *reference_id* whose *ordered_at* lies within two days.
        """
        refuse(check(self._kind.new, new))
        return await self._transport.send(self.to_create(new))

    def _list(self, reference_id: str | None, guest_ref: UUID | None, limit: int, **more: str) -> Listing[Got]:
        if (reference_id is None) == (guest_ref is None):
            refuse([Violation("reference_id, guest_ref", "exactly one of them must be given")])
        given = {name: value for name, value in {"reference_id": reference_id, **more}.items() if value is not None}
        # What UTF-8 cannot carry would be left out of the URL without a word.
        refuse([Violation(name, wrong) for name, value in given.items() if (wrong := text(value))])
        query = {"referenceId": reference_id} if reference_id is not None else {"guestRef": _ref(guest_ref)}
        return self._pages(self._first_page("list", None, self._kind.got, **query, **more), limit, _whole_by(self.get))


class Orders(Editable[NewOrder, Order, OrderChanges], AtTheRoot[NewOrder, Order, OrderChanges]):
    """Orders: the parents of everything else."""

    def list(
        self,
        *,
        reference_id: str | None = None,
        guest_ref: UUID | None = None,
        sort: Literal["created", "orderedAt", "created::DESC", "orderedAt::DESC"] | None = None,
        limit: int = LARGEST_PAGE,
    ) -> Listing[Order]:
        """Walk the orders with one *reference_id*, or those of one guest: exactly one of the two.

        Parameters: *sort*, by creation or, only with *guest_ref*, by order time; the direction is written
        as the vendor's Guest API writes it. *limit*, 1 to 100, the size of a page.
        """
        if sort is not None and sort.startswith("orderedAt") and guest_ref is None:
            refuse([Violation("sort", "orderedAt goes only with guest_ref")])
        return self._list(reference_id, guest_ref, limit, **({} if sort is None else {"sort": sort}))


class OrdersV2(Updatable[NewOrderV2, OrderV2, NewOrderV2], AtTheRoot[NewOrderV2, OrderV2, NewOrderV2]):
    """Orders in version 2, which cannot delete them."""

    async def create(self, new: NewOrderV2, *, guest_ref: UUID | None = None) -> OrderV2:
        """Create an order, as in version 2.1, under the guest *guest_ref* where one is given.

        That an order can be created under a guest is not documented by the vendor; clients in use do it.
        """
        refuse(check(NewOrderV2, new))
        query = {} if guest_ref is None else {"guestRef": _ref(guest_ref)}
        return await self._transport.send(attrs.evolve(self.to_create(new), query=query))

    async def get(self, ref: UUID, *, expand_items: bool = False) -> OrderV2:
        """Fetch the order with the reference *ref*, with its items where *expand_items* is true."""
        query = {"expand": "orderItems"} if expand_items else {}
        return await self._transport.send(self._request("get", ref, self._read, query=query))

    def list(
        self, *, reference_id: str | None = None, guest_ref: UUID | None = None, limit: int = LARGEST_PAGE
    ) -> Listing[OrderV2]:
        """Walk the orders with one *reference_id*, or those of one guest: exactly one of the two."""
        return self._list(reference_id, guest_ref, limit)


class Parts(Editable[New, Got, Changes], UnderAnOrder[New, Got, Changes]):
    """The parts of an order."""


class PartsV2(Updatable[New, Got, New], UnderAnOrder[New, Got, New]):
    """The parts of an order in version 2."""


class DeletablePartsV2(PartsV2[New, Got], Deletable[New, Got, New]):
    """The parts of an order that version 2 can delete: items and contacts."""


class Consumers(Parts[NewConsumer, Consumer, ConsumerChanges]):
    """The people who use the items of an order."""

    def items(self, consumer: UUID, *, limit: int = LARGEST_PAGE) -> Listing[OrderItem]:
        """Walk the items that a consumer uses.

        The vendor lists only links here, so iterating fetches each item; `Listing.pages` does not.
        """
        items = Readable(self._transport, kinds.ITEMS, self._base)
        return self._pages(self._first_page("items", consumer, OrderItem), limit, _whole_by(items.get))


class Extensible(_Verbs[dict[str, ExtensionValue], Extension, dict[str, ExtensionValue]]):
    """A data extension: at most one for each owner, up to 100 key-value pairs."""

    def _body(self, value: Mapping[str, ExtensionValue]) -> bytes:
        return encode(dict(value))

    def to_create(
        self, owner: UUID, pairs: Mapping[str, ExtensionValue], *, stage: int = 0, looked_up: bool = False
    ) -> Request[Extension]:
        """Return the request that `create` sends, unchecked, as a value; see `Request` for the options."""
        body = self._body(pairs)
        return self._request("create", owner, self._read, body=body, creates=True, stage=stage, looked_up=looked_up)

    async def create(self, owner: UUID, pairs: Mapping[str, ExtensionValue]) -> Extension:
        """Create the extension of the order or item with the reference *owner*."""
        pairs = hidden(pairs)
        refuse(check_extension(pairs))
        return await self._transport.send(self.to_create(owner, pairs))


class Extensions(Extensible):
    """The data extension of an order or of an item: at most one each, up to 100 key-value pairs."""

    def to_replace(self, owner: UUID, pairs: Mapping[str, ExtensionValue]) -> Request[Extension]:
        """Return the request that `replace` sends, unchecked, as a value."""
        return self._request("replace", owner, self._read, body=self._body(pairs))

    def to_update(self, owner: UUID, pairs: Mapping[str, ExtensionValue]) -> Request[Extension]:
        """Return the request that `update` sends, unchecked, as a value."""
        return self._request("update", owner, self._read, body=self._body(pairs))

    async def get(self, owner: UUID) -> Extension:
        """Fetch the extension of *owner*; raises `NotFound` where there is none."""
        return await self._transport.send(self._request("get", owner, self._read))

    async def replace(self, owner: UUID, pairs: Mapping[str, ExtensionValue]) -> Extension:
        """Put *pairs* in place of all that the extension holds."""
        pairs = hidden(pairs)
        refuse(check_extension(pairs))
        return await self._transport.send(self.to_replace(owner, pairs))

    async def update(self, owner: UUID, pairs: Mapping[str, ExtensionValue]) -> Extension:
        """Set the given *pairs* and leave the others alone."""
        pairs = hidden(pairs)
        refuse(check_extension(pairs))
        return await self._transport.send(self.to_update(owner, pairs))

    async def delete(self, owner: UUID) -> None:
        """Delete the extension of *owner* with all its pairs."""
        await self._transport.send(self._request("delete", owner, reads_nothing))

    async def delete_fields(self, owner: UUID, names: Sequence[str] | None) -> Extension:
        """Delete the pairs with these *names*, or all pairs where *names* is None; return what is left."""
        if names is not None and (
            isinstance(names, str) or not names or any(text(n) or not n or "|" in n for n in names)
        ):
            refuse([Violation("names", "must be a list of keys without '|', at least one; None stands for all")])
        query = {} if names is None else {"name": "|".join(names)}
        return await self._transport.send(self._request("delete_fields", owner, self._read, query=query))

    def list(self, owner: UUID, *, limit: int = LARGEST_PAGE) -> Listing[Extension]:
        """Walk the extensions of *owner*: one, or none."""
        return self._pages(self._first_page("list", owner, Extension), limit, _whole_by(lambda _: self.get(owner)))


class ExtensionsV2(Extensible):
    """The data extension of an order in version 2.

    It is not documented by the vendor: this is what version 2 documents for guests, read for orders. Where there
    is one already, `create` sets its pairs.
    """

    def _body(self, value: Mapping[str, ExtensionValue]) -> bytes:
        return encode({**value, "key": "default"})

    async def get(self, owner: UUID) -> Extension:
        """Fetch the extension of *owner*, which takes two requests; raises `NotFound` where there is none."""
        first = self._first_page("list", owner, Extension)
        for entry in (await self._transport.send(first)).items:
            return await self._whole(owner)(entry)
        raise NotFound(first.method, first.path, 404, message="the order has no data extension")

    def list(self, owner: UUID, *, limit: int = LARGEST_PAGE) -> Listing[Extension]:
        """Walk the extensions of *owner*: one, or none."""
        return self._pages(self._first_page("list", owner, Extension), limit, self._whole(owner))

    def _whole(self, owner: UUID) -> Callable[[Extension], Awaitable[Extension]]:
        return _whole_by(lambda ref: self._transport.send(self._request("get", owner, self._read, ext=ref)))
