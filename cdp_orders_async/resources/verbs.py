"""The verbs, each written once.

What a resource cannot do is said by what it inherits: a verb that a kind lacks does not exist on it.
Every verb raises a `CdpError`: `Invalid` before anything is sent, `NotSent`, `OutcomeUnknown`,
`Refused`, `Unreadable` or `DeadlineExceeded` after that.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Generic, TypeVar
from uuid import UUID

from cdp_orders_async import kinds
from cdp_orders_async.errors import CdpError, Invalid, Violation
from cdp_orders_async.kinds import Api, Changes, Got, Kind, New
from cdp_orders_async.models.common import once_a_model
from cdp_orders_async.models.constraints import text
from cdp_orders_async.redact import seal_methods, sealed
from cdp_orders_async.rules import check, check_limit, refuse, types_and_rules
from cdp_orders_async.wire import (
    NO_QUERY,
    Page,
    Request,
    Transport,
    encode,
    reads,
    reads_nothing,
    reads_page,
    ref_text,
    to_json,
    writer,
)

__all__ = [
    "LARGEST_PAGE",
    "AtTheRoot",
    "Deletable",
    "Editable",
    "Listing",
    "Readable",
    "UnderAnOrder",
    "Updatable",
    "Verbs",
    "checked_writer",
    "ref_in",
    "whole_by",
]

T = TypeVar("T")

LARGEST_PAGE = 100


@once_a_model
def checked_writer(model: type[Any]) -> Callable[[Any], bytes]:
    """Return what writes a *model* that keeps its rules, and raises any exception for another."""
    return writer(model, *types_and_rules(model))


@once_a_model
def unchecked_writer(model: type[Any]) -> Callable[[Any], bytes]:
    """Return what writes a *model* of which the rules were checked before: for an order in half the codec's time."""
    return writer(model, {}, ())


@functools.cache
def _routes(api: Api, kind: Kind[Any, Any, Any]) -> Mapping[str, tuple[str, str, str, str, str]]:
    """Return the routes of *kind* by their verbs, with their paths parted at ``{ref}``."""
    return {
        verb: (operation, method, *path.partition("{ref}"))
        for verb, (operation, method, path) in api.table.routes_of(kind.name).items()
    }


@sealed
class Listing(Generic[T]):
    """The entries of a collection, fetched page by page as they are asked for.

    ``async for entry in listing`` yields whole entries: one that the server did not expand is fetched by
    itself. `pages` yields what arrives. A listing advances by what arrived, not by what was asked for. It ends at an
    empty page, at one that repeats the page before, or where no next page is named. Version 2 names none: there, a
    page ends the list if it is shorter than a limit that the server set itself (see `Page.has_next`).
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
        """Yield the pages from the entry number *start* on; raises what fetching one raises."""
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


class Verbs(Generic[New, Got, Changes]):
    """What every resource has: where it lives, and how its requests leave.

    Each public method is sealed. What it was given is in none of its frames while a request is sent.
    """

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        seal_methods(cls)

    def __init__(self, transport: Transport, kind: Kind[New, Got, Changes], base: str, api: Api = kinds.V2_1) -> None:
        self._transport = transport
        self._kind = kind
        self._base = base
        self._api = api
        self._routes = _routes(api, kind)
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
    ) -> Request[T]:
        operation, method, path, under, rest = self._routes[name]
        if under:
            path += ref_in(ref) + rest
        if ext is not None:
            path = path.replace("{ext}", ref_in(ext))
        return Request(operation, method, path, read, query, body, creates)

    def _checked(self, new: New) -> bytes:
        """Write *new*; raise `Invalid` for what breaks a rule."""
        model = self._kind.new
        if type(new) is model and not self._has_links:
            try:
                return checked_writer(model)(new)
            except Exception:  # noqa: BLE001, S110 what is wrong, `check` says in words
                pass
        refuse(check(model, new))
        return self._body(new)

    def _body(self, value: New | Changes) -> bytes:
        """Write links as the vendor does, as absolute URLs."""
        if type(value) is self._kind.new and not self._has_links:
            return unchecked_writer(self._kind.new)(value)
        plain = to_json(value)
        at = self._base + self._api.prefix
        if "orderItems" in plain:
            plain["orderItems"] = {"items": [{"href": f"{at}/orderItems/{ref}"} for ref in plain["orderItems"]]}
        if "guest" in plain:
            plain["guest"] = {"href": f"{at}/guests/{plain['guest']}"}
        return encode(plain)

    def _pages(
        self, name: str, ref: UUID | None, model: type[T], limit: int, whole: Callable[[T], Awaitable[T]], **query: str
    ) -> Listing[T]:
        refuse(check_limit(limit))
        read = reads_page(model, asked=None if self._api.whole_lists else limit)
        first = self._request(name, ref, read, {**query, "expand": "true"} if self._api.whole_lists else query)

        async def fetch(offset: int) -> Page[T]:
            query = {**first.query, "offset": str(offset), "limit": str(limit)}
            return await self._transport.send(first.with_query(query))

        return Listing(fetch, whole)


def whole_by(get: Callable[[UUID], Awaitable[T]]) -> Callable[[T], Awaitable[T]]:
    """Return what makes an entry whole: itself, or fetched where the server listed only its link."""

    async def whole(entry: T) -> T:
        link: Any = entry
        bare = type(link)(ref=link.ref, href=link.href)
        return await get(link.ref) if link == bare else entry

    return whole


def ref_in(ref: object) -> str:
    """Return the text of *ref* if it is a reference: nothing else may become part of a path."""
    try:
        return ref_text(ref if isinstance(ref, UUID) else UUID(str(ref)))
    except ValueError:
        raise Invalid((Violation("ref", "must be a UUID"),)) from None


class Readable(Verbs[New, Got, Changes]):
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
        request = self._request("update", ref, self._read)
        refuse(check(self._kind.changes, changes))
        request.body = self._body(changes)
        del changes
        return await self._transport.send(request)


class Editable(Deletable[New, Got, Changes], Updatable[New, Got, Changes]):
    """What can be changed, replaced and deleted."""

    def to_replace(self, ref: UUID, new: New) -> Request[Got]:
        """Return the request that `replace` sends, unchecked, as a value."""
        return self._request("replace", ref, self._read, body=self._body(new))

    async def replace(self, ref: UUID, new: New) -> Got:
        """Put *new* in place of the one with the reference *ref*; what *new* leaves out is dropped."""
        request = self._request("replace", ref, self._read)
        request.body = self._checked(new)
        del new
        return await self._transport.send(request)


class UnderAnOrder(Readable[New, Got, Changes]):
    """What is created and listed under an order."""

    def to_create(self, order: UUID, new: New, *, read: Callable[[bytes], Got] | None = None) -> Request[Got]:
        """Return the request that `create` sends, unchecked, as a value; see `Request` for the options."""
        return self._request("create", order, read or self._read, body=self._body(new), creates=True)

    async def create(self, order: UUID, new: New) -> Got:
        """Create one under the order with the reference *order*."""
        request = self._request("create", order, self._read, creates=True)
        request.body = self._checked(new)
        del new
        return await self._transport.send(request)

    def list(self, order: UUID, *, limit: int = LARGEST_PAGE) -> Listing[Got]:
        """Walk those of an order, *limit* (1 to 100) a page."""
        return self._pages("list", order, self._kind.got, limit, whole_by(self.get))


class AtTheRoot(Readable[New, Got, Changes]):
    """What is created and listed by itself: orders."""

    def to_create(self, new: New, *, read: Callable[[bytes], Got] | None = None) -> Request[Got]:
        """Return the request that `create` sends, unchecked, as a value; see `Request` for the options."""
        return self._request("create", None, read or self._read, body=self._body(new), creates=True)

    async def create(self, new: New) -> Got:
        """Create an order.

        The API matches orders with the same *reference_id* whose *ordered_at* lies within two days.

        Parameters: *new*, the order. Returns it as the server keeps it, with its *ref*. Raises `Invalid` for an order
        that breaks a documented rule, before anything is sent; `OutcomeUnknown` where it may have been created, which
        is why such a create is not sent again; and what `Resources` says.
        Source: https://api-docs.sitecore.com/cdp/order-rest-api/order/createorder

            order = await cdp.orders.create(
                NewOrder(reference_id="B94TXY-1", ordered_at=now, price=Decimal("49.90"), currency_code="EUR")
            )
        """
        request = self._request("create", None, self._read, body=self._checked(new), creates=True)
        del new
        return await self._transport.send(request)

    def _list(self, reference_id: str | None, guest_ref: UUID | None, limit: int, **more: str) -> Listing[Got]:
        if (reference_id is None) == (guest_ref is None):
            refuse([Violation("reference_id, guest_ref", "exactly one of them must be given")])
        given = {name: value for name, value in {"reference_id": reference_id, **more}.items() if value is not None}
        # What UTF-8 cannot carry would be left out of the URL without a word.
        refuse([Violation(name, wrong) for name, value in given.items() if (wrong := text(value))])
        query = {"referenceId": reference_id} if reference_id is not None else {"guestRef": ref_in(guest_ref)}
        return self._pages("list", None, self._kind.got, limit, whole_by(self.get), **query, **more)
