"""The operations of both versions of the API: verbs and paths. Client and emulator share nothing else.

39 operations = 4 places x (get, replace, update, delete) + 3 places x (create, list under an order)
+ 2 extensions x 7 + the order's create and list + the consumer's items. Source: the vendor's index
page of the Order REST API v2.1. The legacy version 2 has 18 of them, with an update by POST; source: its
own pages.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import NamedTuple

__all__ = ["BATCHES", "V2", "V2_1", "Place", "Route", "Table", "Verb"]


class Verb(NamedTuple):
    """One kind of operation: its name, HTTP method and path."""

    name: str
    method: str
    path: str
    """A template: ``{at}`` and ``{part}`` come from a place, ``{ref}`` from the call; in version 2 also ``{ext}``, the
    reference of an extension."""


GET = Verb("get", "GET", "/{at}/{ref}")
REPLACE = Verb("replace", "PUT", "/{at}/{ref}")
UPDATE = Verb("update", "PATCH", "/{at}/{ref}")
UPDATE_V2 = Verb("update", "POST", "/{at}/{ref}")
DELETE = Verb("delete", "DELETE", "/{at}/{ref}")
CREATE = Verb("create", "POST", "/{at}")
LIST = Verb("list", "GET", "/{at}")
CREATE_UNDER_ORDER = Verb("create", "POST", "/orders/{ref}/{part}")
LIST_UNDER_ORDER = Verb("list", "GET", "/orders/{ref}/{part}")
ITEMS_OF = Verb("items", "GET", "/{at}/{ref}/orderItems")
GET_EXTENSION = Verb("get", "GET", "/{at}/{ref}/extensions/ext")
CREATE_EXTENSION = Verb("create", "POST", "/{at}/{ref}/extensions/ext")
REPLACE_EXTENSION = Verb("replace", "PUT", "/{at}/{ref}/extensions/ext")
UPDATE_EXTENSION = Verb("update", "PATCH", "/{at}/{ref}/extensions/ext")
DELETE_EXTENSION = Verb("delete", "DELETE", "/{at}/{ref}/extensions/ext")
DELETE_FIELDS = Verb("delete_fields", "DELETE", "/{at}/{ref}/extensions/ext/fields")
LIST_EXTENSIONS = Verb("list", "GET", "/{at}/{ref}/extensions")
GET_EXTENSION_V2 = Verb("get", "GET", "/{at}/{ref}/extext/{ext}")
CREATE_EXTENSION_V2 = Verb("create", "POST", "/{at}/{ref}/extext")
LIST_EXTENSIONS_V2 = Verb("list", "GET", "/{at}/{ref}/extext")

EDIT_VERBS = (GET, REPLACE, UPDATE, DELETE)
UNDER_ORDER_VERBS = (CREATE_UNDER_ORDER, LIST_UNDER_ORDER)
EXTENSION_VERBS = (
    CREATE_EXTENSION,
    GET_EXTENSION,
    REPLACE_EXTENSION,
    UPDATE_EXTENSION,
    DELETE_EXTENSION,
    DELETE_FIELDS,
    LIST_EXTENSIONS,
)
EXTENSION_VERBS_V2 = (CREATE_EXTENSION_V2, GET_EXTENSION_V2, LIST_EXTENSIONS_V2)


class Place(NamedTuple):
    """The path of one kind of resource, and its verbs."""

    name: str
    """The attribute of the client, as in ``cdp.items``."""
    path: str
    """The collection in the path, as in ``/orderItems/{ref}``; an extension has its owner's."""
    part: str
    """The last segment under an order, as in ``/orders/{ref}/contacts``; empty if there is none."""
    verbs: tuple[Verb, ...]


class Route(NamedTuple):
    """One operation of the API: ``items.create`` is ``POST /v2.1/orders/{ref}/orderItems``."""

    operation: str
    method: str
    path: str


class Table(NamedTuple):
    """The paths of one version of the API: its prefix and its places."""

    prefix: str
    places: tuple[Place, ...]

    def routes(self) -> Iterator[Route]:
        """Yield every operation of this version."""
        for place in self.places:
            yield from self.routes_of(place.name).values()

    @functools.cache  # noqa: B019 there are two versions, and they live as long as the program
    def routes_of(self, name: str) -> Mapping[str, Route]:
        """Return the operations of the place *name*, by the name of the verb."""
        [place] = [place for place in self.places if place.name == name]
        names = {"at": place.path, "part": place.part, "ref": "{ref}", "ext": "{ext}"}
        return {
            verb.name: Route(f"{name}.{verb.name}", verb.method, self.prefix + verb.path.format_map(names))
            for verb in place.verbs
        }


V2_1 = Table(
    "/v2.1",
    (
        Place("orders", "orders", "", (CREATE, LIST, *EDIT_VERBS)),
        Place("items", "orderItems", "orderItems", (*UNDER_ORDER_VERBS, *EDIT_VERBS)),
        Place("contacts", "orderContacts", "contacts", (*UNDER_ORDER_VERBS, *EDIT_VERBS)),
        Place("consumers", "orderConsumers", "consumers", (*UNDER_ORDER_VERBS, *EDIT_VERBS, ITEMS_OF)),
        Place("order_extensions", "orders", "", EXTENSION_VERBS),
        Place("item_extensions", "orderItems", "", EXTENSION_VERBS),
    ),
)
"""The current version."""
V2 = Table(
    "/v2",
    (
        Place("orders", "orders", "", (CREATE, LIST, GET, UPDATE_V2)),
        Place("items", "orderItems", "orderItems", (*UNDER_ORDER_VERBS, GET, UPDATE_V2, DELETE)),
        Place("contacts", "orderContacts", "contacts", (*UNDER_ORDER_VERBS, GET, UPDATE_V2, DELETE)),
        Place("consumers", "orderConsumers", "consumers", (*UNDER_ORDER_VERBS, GET, UPDATE_V2)),
        # The vendor documents these only for guests; here they are assumed for orders.
        Place("order_extensions", "orders", "", EXTENSION_VERBS_V2),
    ),
)
"""The legacy version."""
BATCHES: Mapping[str, Route] = {
    "create": Route("batches.create", "PUT", "/v2/batches/{ref}"),
    "get": Route("batches.get", "GET", "/v2/batches/{ref}"),
    "list": Route("batches.list", "GET", "/v2/batches/inspect"),
    "inspect": Route("batches.inspect", "GET", "/v2/batches/inspect/{ref}"),
}
"""The operations of the Batch API, which has one version. Source: the vendor's pages on the Batch API."""
