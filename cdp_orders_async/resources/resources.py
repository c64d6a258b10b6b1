"""The resources, built from the verbs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import NoneType
from typing import Literal
from uuid import UUID

from cdp_orders_async import kinds
from cdp_orders_async.arguments import need
from cdp_orders_async.errors import NotFound, Violation
from cdp_orders_async.kinds import Changes, New, Stored
from cdp_orders_async.models import (
    Consumer,
    ConsumerChanges,
    Contact,
    ContactChanges,
    Extension,
    ExtensionValue,
    NewConsumer,
    NewConsumerV2,
    NewContact,
    NewContactV2,
    NewOrder,
    NewOrderItem,
    NewOrderItemV2,
    NewOrderV2,
    Order,
    OrderChanges,
    OrderItem,
    OrderItemChanges,
    OrderItemV2,
    OrderV2,
)
from cdp_orders_async.models.constraints import text
from cdp_orders_async.resources.verbs import (
    LARGEST_PAGE,
    AtTheRoot,
    Deletable,
    Editable,
    Listing,
    Readable,
    UnderAnOrder,
    Updatable,
    Verbs,
    ref_in,
    whole_by,
)
from cdp_orders_async.rules import check_extension, raise_invalid
from cdp_orders_async.wire import Request, encode, reads_nothing, reads_page

__all__ = [
    "Consumers",
    "ConsumersV2",
    "Contacts",
    "ContactsV2",
    "DeletablePartsV2",
    "Extensions",
    "ExtensionsV2",
    "Items",
    "ItemsV2",
    "Orders",
    "OrdersV2",
    "Parts",
    "PartsV2",
]


class Orders(Editable[NewOrder, Order, OrderChanges], AtTheRoot[NewOrder, Order, OrderChanges]):
    """Orders: the parents of everything else.

    Source: https://api-docs.sitecore.com/cdp/order-rest-api/order

        order = await cdp.orders.create(
            NewOrder(reference_id="B94TXY-1", ordered_at=now, price=Decimal("49.90"), currency_code="EUR")
        )
    """

    def list(
        self,
        *,
        reference_id: str | None = None,
        guest_ref: UUID | None = None,
        sort: Literal["created", "orderedAt", "created::DESC", "orderedAt::DESC"] | None = None,
        limit: int = LARGEST_PAGE,
    ) -> Listing[Order]:
        """Walk the orders with a *reference_id*, or the orders of the guest *guest_ref*: give exactly one of the two.

        Parameters: *sort*, by the time of creation or, only with *guest_ref*, by order time; the direction is written
        as in the vendor's Guest API. *limit*, 1 to 100, the size of a page. Raises `Invalid`.
        """
        need(sort, (str, NoneType), "sort")
        if sort is not None and sort.startswith("orderedAt") and guest_ref is None:
            raise_invalid([Violation("sort", "orderedAt goes only with guest_ref")])
        return self._list(reference_id, guest_ref, limit, **({} if sort is None else {"sort": sort}))


class OrdersV2(Updatable[NewOrderV2, OrderV2, NewOrderV2], AtTheRoot[NewOrderV2, OrderV2, NewOrderV2]):
    """Orders in version 2, which cannot delete them.

    Source: https://doc.sitecore.com/cdp/en/developers/api/create-an-order--legacy-.html
    """

    async def create(self, new: NewOrderV2, *, guest_ref: UUID | None = None) -> OrderV2:
        """Create an order, as in version 2.1; if *guest_ref* is given, under that guest.

        The vendor does not document that an order can be created under a guest; existing clients do it.
        """
        query = {} if guest_ref is None else {"guestRef": ref_in(guest_ref)}
        request = self._request("create", None, self._read, query, self._checked(new), creates=True)
        del new
        return await self._transport.send(request)

    async def get(self, ref: UUID, *, expand_items: bool = False) -> OrderV2:
        """Fetch the order with the reference *ref*; with *expand_items*, its items too."""
        need(expand_items, bool, "expand_items", "True or False")
        query = {"expand": "orderItems"} if expand_items else {}
        return await self._transport.send(self._request("get", ref, self._read, query=query))

    def list(
        self, *, reference_id: str | None = None, guest_ref: UUID | None = None, limit: int = LARGEST_PAGE
    ) -> Listing[OrderV2]:
        """Walk the orders with a *reference_id*, or the orders of a guest: give exactly one of the two.

        Parameters: *guest_ref*, the reference of the guest; *limit*, 1 to 100, the size of a page. Raises `Invalid`.
        """
        return self._list(reference_id, guest_ref, limit)


class Parts(Editable[New, Stored, Changes], UnderAnOrder[New, Stored, Changes]):
    """The parts of an order."""


class Items(Parts[NewOrderItem, OrderItem, OrderItemChanges]):
    """Things bought as part of an order: a seat, a phone, excess baggage.

    Source: https://api-docs.sitecore.com/cdp/order-rest-api/order-item

        item = await cdp.items.create(order.ref, NewOrderItem(type="SEAT", name="12A", ...))
    """


class Contacts(Parts[NewContact, Contact, ContactChanges]):
    """The primary person of an order; creating one links the order to a guest.

    Source: https://api-docs.sitecore.com/cdp/order-rest-api/order-contact

        contact = await cdp.contacts.create(order.ref, NewContact(first_name="Ada", emails=("ada@example.com",)))
    """


class PartsV2(Updatable[New, Stored, New], UnderAnOrder[New, Stored, New]):
    """The parts of an order in version 2."""


class DeletablePartsV2(PartsV2[New, Stored], Deletable[New, Stored, New]):
    """The parts of an order that version 2 can delete: items and contacts."""


class ItemsV2(DeletablePartsV2[NewOrderItemV2, OrderItemV2]):
    """Things bought as part of an order in version 2, of a type that the vendor lists: a flight, a hotel, a bag.

    Source: https://doc.sitecore.com/cdp/en/developers/api/create-an-order-item--legacy-.html
    """


class ContactsV2(DeletablePartsV2[NewContactV2, Contact]):
    """The primary person of an order in version 2; creating one links the order to a guest.

    Source: https://doc.sitecore.com/cdp/en/developers/api/order-contact-rest-api-v2--legacy-.html
    """


class ConsumersV2(PartsV2[NewConsumerV2, Consumer]):
    """The people who use the items of an order in version 2, which cannot delete them.

    Source: https://doc.sitecore.com/cdp/en/developers/api/order-consumer-rest-api-v2--legacy-.html
    """


class Consumers(Parts[NewConsumer, Consumer, ConsumerChanges]):
    """The people who use the items of an order.

    Source: https://api-docs.sitecore.com/cdp/order-rest-api/order-consumer

        consumer = await cdp.consumers.create(order.ref, NewConsumer(first_name="Bob", order_items=(item.ref,)))
    """

    def items(self, consumer: UUID, *, limit: int = LARGEST_PAGE) -> Listing[OrderItem]:
        """Walk the items that a *consumer* uses, *limit* (1 to 100) a page.

        The vendor lists only links here, so the iteration fetches each item; `Listing.pages` does not.
        """
        items = Readable(self._transport, kinds.ITEMS, self._base)
        return self._pages("items", consumer, OrderItem, limit, whole_by(items.get))


class Extensible(Verbs[dict[str, ExtensionValue], Extension, dict[str, ExtensionValue]]):
    """A data extension: at most one for each owner, up to 100 key-value pairs."""

    def _body(self, value: Mapping[str, ExtensionValue]) -> bytes:
        return encode(dict(value))

    def _checked(self, new: Mapping[str, ExtensionValue]) -> bytes:
        raise_invalid(check_extension(new))
        return self._body(new)

    def to_create(
        self, owner: UUID, pairs: Mapping[str, ExtensionValue], *, read: Callable[[bytes], Extension] | None = None
    ) -> Request[Extension]:
        """Return the request of `create`, unchecked; *read* is another reader for its answer."""
        return self._request("create", owner, read or self._read, body=self._body(pairs), creates=True)

    async def create(self, owner: UUID, pairs: Mapping[str, ExtensionValue]) -> Extension:
        """Create the extension of the order or item with the reference *owner*."""
        request = self._request("create", owner, self._read, creates=True)
        request.body = self._checked(pairs)
        del pairs
        return await self._transport.send(request)


class Extensions(Extensible):
    """The data extension of an order or of an item: at most one each, up to 100 key-value pairs.

    Source: https://api-docs.sitecore.com/cdp/order-rest-api/order-data-extension

        await cdp.order_extensions.create(order.ref, {"newsletter": True, "seatsLeft": 8})
    """

    def to_replace(self, owner: UUID, pairs: Mapping[str, ExtensionValue]) -> Request[Extension]:
        """Return the request of `replace`, unchecked."""
        return self._request("replace", owner, self._read, body=self._body(pairs))

    def to_update(self, owner: UUID, pairs: Mapping[str, ExtensionValue]) -> Request[Extension]:
        """Return the request of `update`, unchecked."""
        return self._request("update", owner, self._read, body=self._body(pairs))

    async def get(self, owner: UUID) -> Extension:
        """Fetch the extension of *owner*; raises `NotFound` if there is none."""
        return await self._transport.send(self._request("get", owner, self._read))

    async def replace(self, owner: UUID, pairs: Mapping[str, ExtensionValue]) -> Extension:
        """Replace all pairs of the extension with *pairs*."""
        request = self._request("replace", owner, self._read)
        request.body = self._checked(pairs)
        del pairs
        return await self._transport.send(request)

    async def update(self, owner: UUID, pairs: Mapping[str, ExtensionValue]) -> Extension:
        """Set the given *pairs*; the other pairs stay."""
        request = self._request("update", owner, self._read)
        request.body = self._checked(pairs)
        del pairs
        return await self._transport.send(request)

    async def delete(self, owner: UUID) -> None:
        """Delete the extension of *owner* with all its pairs."""
        await self._transport.send(self._request("delete", owner, reads_nothing))

    async def delete_fields(self, owner: UUID, names: Sequence[str] | None) -> Extension:
        """Delete the pairs with these *names*, or all pairs if *names* is None; return the extension without them."""
        need(names, (Sequence, NoneType), "names", "a list of keys, or None")
        if names is not None and (
            isinstance(names, str) or not names or any(text(n) or not n or "|" in n for n in names)
        ):
            raise_invalid([Violation("names", "must be a list of keys without '|', at least one; None stands for all")])
        request = self._request(
            "delete_fields", owner, self._read, query={} if names is None else {"name": "|".join(names)}
        )
        del names
        return await self._transport.send(request)

    def list(self, owner: UUID, *, limit: int = LARGEST_PAGE) -> Listing[Extension]:
        """Walk the extensions of *owner*, one or none, with *limit* (1 to 100) as the size of a page."""
        return self._pages("list", owner, Extension, limit, whole_by(lambda _: self.get(owner)))


class ExtensionsV2(Extensible):
    """The data extension of an order in version 2.

    The vendor documents it only for guests; here the same is used for orders. If the order already has an extension,
    `create` sets its pairs.
    """

    def _body(self, value: Mapping[str, ExtensionValue]) -> bytes:
        return encode({**value, "key": "default"})

    async def get(self, owner: UUID, ref: UUID | None = None) -> Extension:
        """Fetch the extension of *owner*; raises `NotFound` if there is none.

        It takes one request with *ref*, the reference of the extension, and two without it.
        """
        if ref is not None:
            return await self._by_ref(owner, ref)
        listing = self._request("list", owner, reads_page(Extension))
        for entry in (await self._transport.send(listing)).items:
            return await self._whole(owner)(entry)
        raise NotFound(listing.method, listing.path, 404, message="the order has no data extension")

    def list(self, owner: UUID, *, limit: int = LARGEST_PAGE) -> Listing[Extension]:
        """Walk the extensions of *owner*, one or none, with *limit* (1 to 100) as the size of a page."""
        return self._pages("list", owner, Extension, limit, self._whole(owner))

    def _whole(self, owner: UUID) -> Callable[[Extension], Awaitable[Extension]]:
        return whole_by(lambda ref: self._by_ref(owner, ref))

    async def _by_ref(self, owner: UUID, ref: UUID) -> Extension:
        return await self._transport.send(self._request("get", owner, self._read, ext=ref))
