"""The verbs, each written once.

A resource inherits its verbs: a verb that a kind does not have does not exist on its resource.
Every verb raises a `CdpError`: `Invalid` before anything is sent, `NotSent`, `OutcomeUnknown`,
`Refused`, `Unreadable` or `DeadlineExceeded` after that.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Generic, TypeVar
from uuid import UUID

from cdp_orders_async import kinds
from cdp_orders_async.arguments import need
from cdp_orders_async.errors import CdpError, Invalid, Violation
from cdp_orders_async.kinds import Api, Changes, Kind, New, Stored
from cdp_orders_async.models.common import once_a_model
from cdp_orders_async.models.constraints import text
from cdp_orders_async.redact import seal_methods, sealed
from cdp_orders_async.rules import check, check_limit, raise_invalid, types_and_rules
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
    """Return the writer of a *model*, which raises any exception if a rule is broken."""
    return writer(model, *types_and_rules(model))


@once_a_model
def unchecked_writer(model: type[Any]) -> Callable[[Any], bytes]:
    """Return the writer of a *model* whose rules were checked before; for an order it takes half the codec's time."""
    return writer(model, {}, ())


@functools.cache
def _routes(api: Api, kind: Kind[Any, Any, Any]) -> Mapping[str, tuple[str, str, str, str, str]]:
    """Return the routes of *kind* by verb; each path is split at ``{ref}``."""
    return {
        verb: (operation, method, *path.partition("{ref}"))
        for verb, (operation, method, path) in api.table.routes_of(kind.name).items()
    }


@sealed
class Listing(Generic[T]):
    """The entries of a collection; each page is fetched when it is needed.

    ``async for entry in listing`` yields whole entries: an entry that the server did not expand is fetched with a
    request of its own. `pages` yields the pages as they arrive. A listing advances by the number of entries that
    arrived, not by the limit of the request. It ends at an empty page, at a page that repeats the page before, or if no
    next page is named. Version 2 names none: there, a page ends the list if it is shorter than a limit that the server
    set (see `Page.has_next`). If a page fails, the *offset* of the error says where to continue. A listing can be
    walked more than once.
    """

    def __init__(self, fetch: Callable[[int], Awaitable[Page[T]]], whole: Callable[[T], Awaitable[T]]) -> None:
        self._fetch = fetch
        self.whole = whole
        """Returns the whole entry: fetches it if the server listed only a link."""

    async def __aiter__(self) -> AsyncGenerator[T, None]:
        async for page in self.pages():
            for entry in page.items:
                yield await self.whole(entry)

    async def pages(self, start: int = 0) -> AsyncIterator[Page[T]]:
        """Yield the pages from the entry number *start* on.

        Raises TypeError for a *start* that is no whole number, `Invalid` for one below 0, and the `CdpError` of a page
        that fails.
        """
        need(start, int, "start")
        if start < 0:
            raise Invalid((Violation("start", "must not be below 0"),))
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


class Verbs(Generic[New, Stored, Changes]):
    """The base of every resource: its routes and its transport.

    Each public method is sealed. While a request is sent, none of its frames holds an argument.
    """

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        seal_methods(cls)

    def __init__(
        self, transport: Transport, kind: Kind[New, Stored, Changes], base: str, api: Api = kinds.V2_1
    ) -> None:
        self._transport = transport
        self._kind = kind
        self._base = base
        self._api = api
        self._routes = _routes(api, kind)
        self._read = reads(kind.stored)
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
        """Write *new*; raise `Invalid` if it breaks a rule."""
        model = self._kind.new
        if type(new) is model and not self._has_links:
            try:
                return checked_writer(model)(new)
            except Exception:  # noqa: BLE001, S110 `check` says what is wrong
                pass
        raise_invalid(check(model, new))
        return self._body(new)

    def _body(self, value: New | Changes) -> bytes:
        """Write *value*; links become absolute URLs, as at the vendor."""
        if type(value) is self._kind.new and not self._has_links:
            try:
                return unchecked_writer(self._kind.new)(value)
            except Exception:  # noqa: BLE001, S110 its text may hold the value: the codec raises one without it
                pass
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
        raise_invalid(check_limit(limit))
        read = reads_page(model, asked=None if self._api.whole_lists else limit)
        first = self._request(name, ref, read, {**query, "expand": "true"} if self._api.whole_lists else query)

        async def fetch(offset: int) -> Page[T]:
            query = {**first.query, "offset": str(offset), "limit": str(limit)}
            return await self._transport.send(first.with_query(query))

        return Listing(fetch, whole)


def whole_by(get: Callable[[UUID], Awaitable[T]]) -> Callable[[T], Awaitable[T]]:
    """Return the function that returns the whole entry: it calls *get* if the server listed only a link."""

    async def whole(entry: T) -> T:
        link: Any = entry
        return await get(link.ref) if link == type(link)(ref=link.ref, href=link.href) else entry

    return whole


def ref_in(ref: object) -> str:
    """Return the text of *ref*, which must be a reference: nothing else may become part of a path."""
    try:
        return ref_text(ref if isinstance(ref, UUID) else UUID(str(ref)))
    except ValueError:
        raise Invalid((Violation("ref", "must be a UUID"),)) from None


class Readable(Verbs[New, Stored, Changes]):
    """A resource whose objects can be fetched."""

    async def get(self, ref: UUID) -> Stored:
        """Fetch the object with the reference *ref*."""
        return await self._transport.send(self._request("get", ref, self._read))


class Deletable(Readable[New, Stored, Changes]):
    """A resource whose objects can be deleted."""

    async def delete(self, ref: UUID) -> None:
        """Delete the object with the reference *ref*."""
        await self._transport.send(self._request("delete", ref, reads_nothing))


class Updatable(Readable[New, Stored, Changes]):
    """A resource whose objects can be changed: by some fields in version 2.1, only as a whole in version 2."""

    def to_update(self, ref: UUID, changes: Changes) -> Request[Stored]:
        """Return the request of `update`, unchecked."""
        return self._request("update", ref, self._read, body=self._body(changes))

    async def update(self, ref: UUID, changes: Changes) -> Stored:
        """Change the fields in *changes*; in version 2.1 the other fields stay."""
        request = self._request("update", ref, self._read)
        raise_invalid(check(self._kind.changes, changes))
        request.body = self._body(changes)
        del changes
        return await self._transport.send(request)


class Editable(Deletable[New, Stored, Changes], Updatable[New, Stored, Changes]):
    """A resource whose objects can be changed, replaced and deleted."""

    def to_replace(self, ref: UUID, new: New) -> Request[Stored]:
        """Return the request of `replace`, unchecked."""
        return self._request("replace", ref, self._read, body=self._body(new))

    async def replace(self, ref: UUID, new: New) -> Stored:
        """Replace the object with the reference *ref* with *new*; fields that *new* leaves out are dropped."""
        request = self._request("replace", ref, self._read)
        request.body = self._checked(new)
        del new
        return await self._transport.send(request)


class UnderAnOrder(Readable[New, Stored, Changes]):
    """A resource whose objects are created and listed under an order."""

    def to_create(self, order: UUID, new: New, *, read: Callable[[bytes], Stored] | None = None) -> Request[Stored]:
        """Return the request of `create`, unchecked; *read* is another reader for its answer."""
        return self._request("create", order, read or self._read, body=self._body(new), creates=True)

    async def create(self, order: UUID, new: New) -> Stored:
        """Create an object under the order with the reference *order*."""
        request = self._request("create", order, self._read, creates=True)
        request.body = self._checked(new)
        del new
        return await self._transport.send(request)

    def list(self, order: UUID, *, limit: int = LARGEST_PAGE) -> Listing[Stored]:
        """Walk the objects of an order, *limit* (1 to 100) a page."""
        return self._pages("list", order, self._kind.stored, limit, whole_by(self.get))


class AtTheRoot(Readable[New, Stored, Changes]):
    """A resource whose objects are created and listed on their own: orders."""

    def to_create(self, new: New, *, read: Callable[[bytes], Stored] | None = None) -> Request[Stored]:
        """Return the request of `create`, unchecked; *read* is another reader for its answer."""
        return self._request("create", None, read or self._read, body=self._body(new), creates=True)

    async def create(self, new: New) -> Stored:
        """Create an order.

        The API matches orders with the same *reference_id* whose *ordered_at* lies within two days.

        Parameters: *new*, the order. Returns the order as the server stores it, with its *ref*. Raises `Invalid` for an
        order that breaks a documented rule, before anything is sent; `OutcomeUnknown` if it may have been created: such
        a create is not sent again; and the errors that `Resources` lists.
        Source: https://api-docs.sitecore.com/cdp/order-rest-api/order/createorder

            order = await cdp.orders.create(
                NewOrder(reference_id="B94TXY-1", ordered_at=now, price=Decimal("49.90"), currency_code="EUR")
            )
        """
        request = self._request("create", None, self._read, body=self._checked(new), creates=True)
        del new
        return await self._transport.send(request)

    def _list(self, reference_id: str | None, guest_ref: UUID | None, limit: int, **more: str) -> Listing[Stored]:
        if (reference_id is None) == (guest_ref is None):
            raise_invalid([Violation("reference_id, guest_ref", "exactly one of them must be given")])
        given = {name: value for name, value in {"reference_id": reference_id, **more}.items() if value is not None}
        # Text that UTF-8 cannot carry would silently be left out of the URL.
        raise_invalid([Violation(name, wrong) for name, value in given.items() if (wrong := text(value))])
        query = {"referenceId": reference_id} if reference_id is not None else {"guestRef": ref_in(guest_ref)}
        return self._pages("list", None, self._kind.stored, limit, whole_by(self.get), **query, **more)
