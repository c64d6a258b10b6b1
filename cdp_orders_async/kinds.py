"""Where each thing lives and what can be done with it: the API as a table of rows.

39 operations = 4 kinds x (get, replace, update, delete) + 3 kinds x (create, list under an order)
+ 2 extensions x 7 + the order's create and list + the consumer's items. Source: the vendor's index
page of the Order REST API v2.1. The legacy version 2 has 18 of them, with an update by POST; source: its
own pages.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any, Generic, NamedTuple, TypeVar

from msgspec import Struct

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

__all__ = [
    "CONSUMERS",
    "CONSUMERS_V2",
    "CONTACTS",
    "CONTACTS_V2",
    "ITEMS",
    "ITEMS_V2",
    "ITEM_EXTENSIONS",
    "ORDERS",
    "ORDERS_V2",
    "ORDER_EXTENSIONS",
    "ORDER_EXTENSIONS_V2",
    "V2",
    "V2_1",
    "Api",
    "Changes",
    "Got",
    "Kind",
    "New",
    "Route",
    "Verb",
]

New = TypeVar("New")
Got = TypeVar("Got")
Changes = TypeVar("Changes")


class Verb(NamedTuple):
    """One thing that can be done: its name, HTTP method and path."""

    name: str
    method: str
    path: str
    """Filled with ``{kind}`` and ``{part}`` of a row and the ``{ref}`` that the call is about; in version 2
    also with the ``{ext}`` of that order."""


GET = Verb("get", "GET", "/{kind}/{ref}")
REPLACE = Verb("replace", "PUT", "/{kind}/{ref}")
UPDATE = Verb("update", "PATCH", "/{kind}/{ref}")
UPDATE_V2 = Verb("update", "POST", "/{kind}/{ref}")
DELETE = Verb("delete", "DELETE", "/{kind}/{ref}")
CREATE = Verb("create", "POST", "/{kind}")
LIST = Verb("list", "GET", "/{kind}")
CREATE_UNDER_ORDER = Verb("create", "POST", "/orders/{ref}/{part}")
LIST_UNDER_ORDER = Verb("list", "GET", "/orders/{ref}/{part}")
ITEMS_OF = Verb("items", "GET", "/{kind}/{ref}/orderItems")
GET_EXTENSION = Verb("get", "GET", "/{kind}/{ref}/extensions/ext")
CREATE_EXTENSION = Verb("create", "POST", "/{kind}/{ref}/extensions/ext")
REPLACE_EXTENSION = Verb("replace", "PUT", "/{kind}/{ref}/extensions/ext")
UPDATE_EXTENSION = Verb("update", "PATCH", "/{kind}/{ref}/extensions/ext")
DELETE_EXTENSION = Verb("delete", "DELETE", "/{kind}/{ref}/extensions/ext")
DELETE_FIELDS = Verb("delete_fields", "DELETE", "/{kind}/{ref}/extensions/ext/fields")
LIST_EXTENSIONS = Verb("list", "GET", "/{kind}/{ref}/extensions")
GET_EXTENSION_V2 = Verb("get", "GET", "/{kind}/{ref}/extext/{ext}")
CREATE_EXTENSION_V2 = Verb("create", "POST", "/{kind}/{ref}/extext")
LIST_EXTENSIONS_V2 = Verb("list", "GET", "/{kind}/{ref}/extext")

EDIT = (GET, REPLACE, UPDATE, DELETE)
UNDER_ORDER = (CREATE_UNDER_ORDER, LIST_UNDER_ORDER)
EXTEND = (
    CREATE_EXTENSION,
    GET_EXTENSION,
    REPLACE_EXTENSION,
    UPDATE_EXTENSION,
    DELETE_EXTENSION,
    DELETE_FIELDS,
    LIST_EXTENSIONS,
)
EXTEND_V2 = (CREATE_EXTENSION_V2, GET_EXTENSION_V2, LIST_EXTENSIONS_V2)


class Kind(Struct, Generic[New, Got, Changes], frozen=True, eq=False):
    """A row: what a thing is called, where it lives, its models and its verbs."""

    name: str
    """The attribute of the client, as in ``cdp.items``."""
    path: str
    """The collection in the path, as in ``/orderItems/{ref}``; an extension has its owner's."""
    part: str
    """The last segment under an order, as in ``/orders/{ref}/contacts``; empty where there is none."""
    new: type[New]
    got: type[Got]
    changes: type[Changes]
    verbs: tuple[Verb, ...]


ORDERS = Kind("orders", "orders", "", NewOrder, Order, OrderChanges, (CREATE, LIST, *EDIT))
ITEMS = Kind("items", "orderItems", "orderItems", NewOrderItem, OrderItem, OrderItemChanges, (*UNDER_ORDER, *EDIT))
CONTACTS = Kind("contacts", "orderContacts", "contacts", NewContact, Contact, ContactChanges, (*UNDER_ORDER, *EDIT))
CONSUMERS = Kind(
    "consumers", "orderConsumers", "consumers", NewConsumer, Consumer, ConsumerChanges, (*UNDER_ORDER, *EDIT, ITEMS_OF)
)
Pairs = dict[str, ExtensionValue]
ORDER_EXTENSIONS = Kind("order_extensions", "orders", "", Pairs, Extension, Pairs, EXTEND)
ITEM_EXTENSIONS = Kind("item_extensions", "orderItems", "", Pairs, Extension, Pairs, EXTEND)

ORDERS_V2 = Kind("orders", "orders", "", NewOrderV2, OrderV2, NewOrderV2, (CREATE, LIST, GET, UPDATE_V2))
ITEMS_V2 = Kind(
    "items",
    "orderItems",
    "orderItems",
    NewOrderItemV2,
    OrderItemV2,
    NewOrderItemV2,
    (*UNDER_ORDER, GET, UPDATE_V2, DELETE),
)
CONTACTS_V2 = Kind(
    "contacts", "orderContacts", "contacts", NewContactV2, Contact, NewContactV2, (*UNDER_ORDER, GET, UPDATE_V2, DELETE)
)
CONSUMERS_V2 = Kind(
    "consumers", "orderConsumers", "consumers", NewConsumerV2, Consumer, NewConsumerV2, (*UNDER_ORDER, GET, UPDATE_V2)
)
ORDER_EXTENSIONS_V2 = Kind("order_extensions", "orders", "", Pairs, Extension, Pairs, EXTEND_V2)
"""Not documented by the vendor: what version 2 has for guests, read for orders."""


class Route(NamedTuple):
    """One operation of the API: ``items.create`` is ``POST /v2.1/orders/{ref}/orderItems``."""

    operation: str
    method: str
    path: str


class Api(Struct, frozen=True, eq=False):
    """One version of the API: its prefix and its rows."""

    prefix: str
    kinds: tuple[Kind[Any, Any, Any], ...]
    whole_lists: bool = True
    """Whether a list can hold whole entries and names its next page; otherwise it is links, page after page."""

    def __repr__(self) -> str:
        return f"<Api {self.version}>"  # it is a default of public functions, whose help would have all its rows

    @property
    def version(self) -> str:
        """Its number, as in ``2.1``."""
        return self.prefix.removeprefix("/v")

    @property
    @functools.cache  # noqa: B019 there are two versions, and they live as long as the program
    def models(self) -> Mapping[str, type[Any]]:
        """The model of what is sent, by the name of its kind."""
        return {kind.name: kind.new for kind in self.kinds}

    def routes(self) -> Iterator[Route]:
        """Yield every operation of this version."""
        for kind in self.kinds:
            yield from self.routes_of(kind).values()

    @functools.cache  # noqa: B019 there are two versions, and they live as long as the program
    def routes_of(self, kind: Kind[Any, Any, Any]) -> Mapping[str, Route]:
        """Return the operations of one kind, by the name of the verb."""
        there = {"kind": kind.path, "part": kind.part, "ref": "{ref}", "ext": "{ext}"}
        return {
            verb.name: Route(f"{kind.name}.{verb.name}", verb.method, self.prefix + verb.path.format_map(there))
            for verb in kind.verbs
        }


V2_1 = Api("/v2.1", (ORDERS, ITEMS, CONTACTS, CONSUMERS, ORDER_EXTENSIONS, ITEM_EXTENSIONS))
"""The current version."""
V2 = Api("/v2", (ORDERS_V2, ITEMS_V2, CONTACTS_V2, CONSUMERS_V2, ORDER_EXTENSIONS_V2), whole_lists=False)
"""The legacy version."""
