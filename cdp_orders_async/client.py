"""The clients of both versions, with their resources as attributes."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from types import NoneType, TracebackType
from typing import ClassVar, Generic, Self, TypeVar, cast

from cdp_orders_async import kinds
from cdp_orders_async.addresses import base_url_of, normalised
from cdp_orders_async.arguments import need, need_method
from cdp_orders_async.errors import Invalid, Violation
from cdp_orders_async.kinds import Api
from cdp_orders_async.redact import sealed
from cdp_orders_async.resources import (
    Consumers,
    ConsumersV2,
    Contacts,
    ContactsV2,
    Extensions,
    ExtensionsV2,
    Items,
    ItemsV2,
    Orders,
    OrdersV2,
)
from cdp_orders_async.session import ClientSession, RateLimiter, Session, TraceConfig
from cdp_orders_async.settings import Credentials, Settings, fingerprint
from cdp_orders_async.telemetry import Observer
from cdp_orders_async.wire import Request, Transport, reads_page

__all__ = ["CdpOrders", "CdpOrdersV2", "Resources", "ResourcesV2"]

NOBODY = "cdp-orders-async-ping"
"""A reference id that no order has, for an empty page."""

R = TypeVar("R")
T = TypeVar("T")


class _Bound:
    """The base of every set of resources."""

    api: ClassVar[Api]
    """The version of the API."""

    def __init__(self, transport: Transport, base_url: str) -> None:
        need_method(transport, "send", "transport", "a Transport, which has a method send")
        need(base_url, str, "base_url")
        self.transport = transport
        """Sends the requests."""
        self.base_url = base_url
        """The URL of the API, without a version."""
        for row in self.api.kinds:
            getattr(self, row.name)  # makes the resource, so that vars() shows it

    @property
    def identity(self) -> Mapping[str, str]:
        """Return the identity of a journal of loads into this API, by names that a person understands.

        It has the normalised base URL; for a client also a fingerprint of its client key, which identifies the tenant
        (with a bearer token it is the fingerprint of no key); and for version 2 the version of the API.
        """
        version = {} if self.api is kinds.V2_1 else {"API version": self.api.version}
        return {"base URL": normalised(self.base_url), **self._tenant(), **version}

    def _tenant(self) -> Mapping[str, str]:
        return {}


class _Resource(Generic[R]):
    """A resource as an attribute: on the class, the class of the resource; on an object, the resource, made once."""

    def __init__(self, kind: Callable[..., R], *given: object) -> None:
        self._kind = kind
        self._given = given

    def __set_name__(self, owner: type[_Bound], name: str) -> None:
        self._name = name

    def __get__(self, bound: _Bound | None, owner: type[_Bound]) -> Callable[..., R] | R:
        if bound is None:
            return self._kind
        row, *api = self._given
        made = self._kind(bound.transport, row, bound.base_url, *api)
        vars(bound)[self._name] = made
        return made


def _resource(kind: Callable[..., R], *given: object) -> R:
    """Declare a resource of *kind*; *given* are its row and, for version 2, its API."""
    return cast("R", _Resource(kind, *given))


class Resources(_Bound):
    """The resources of version 2.1 over any transport, for instance your own stand-in in a test.

    Parameters: *transport*, which sends the requests; *base_url*, the start of the links in requests. Raises TypeError
    for an argument of another type.

    Each verb of a resource raises `Invalid` if an argument breaks a documented rule, before anything is sent. After
    that it raises `NotSent`, `OutcomeUnknown`, `Refused` (by status: `Unauthorized`, `NotFound`, ...), `Unreadable` or
    `DeadlineExceeded`; the *delivery* of each error says whether the request may have had an effect.

        cdp = Resources(StandIn(), "https://api.test")
        await cdp.orders.get(ref)
    """

    api = kinds.V2_1

    orders: Orders = _resource(Orders, kinds.ORDERS)
    """Orders: the parents of everything else."""
    items: Items = _resource(Items, kinds.ITEMS)
    """Things bought as part of an order: a seat, a phone, excess baggage."""
    contacts: Contacts = _resource(Contacts, kinds.CONTACTS)
    """The primary person of an order; creating one links the order to a guest."""
    consumers: Consumers = _resource(Consumers, kinds.CONSUMERS)
    """The people who use the items of an order."""
    order_extensions: Extensions = _resource(Extensions, kinds.ORDER_EXTENSIONS)
    """Key-value pairs of your own on an order."""
    item_extensions: Extensions = _resource(Extensions, kinds.ITEM_EXTENSIONS)
    """Key-value pairs of your own on an item."""


class ResourcesV2(_Bound):
    """The resources of the legacy version 2 over any transport; parameters and errors are those of `Resources`."""

    api = kinds.V2

    orders: OrdersV2 = _resource(OrdersV2, kinds.ORDERS_V2, kinds.V2)
    """Orders: the parents of everything else."""
    items: ItemsV2 = _resource(ItemsV2, kinds.ITEMS_V2, kinds.V2)
    """Things bought as part of an order, of a type that the vendor lists: a flight, a hotel, a bag."""
    contacts: ContactsV2 = _resource(ContactsV2, kinds.CONTACTS_V2, kinds.V2)
    """The primary person of an order; creating one links the order to a guest."""
    consumers: ConsumersV2 = _resource(ConsumersV2, kinds.CONSUMERS_V2, kinds.V2)
    """The people who use the items of an order."""
    order_extensions: ExtensionsV2 = _resource(ExtensionsV2, kinds.ORDER_EXTENSIONS_V2, kinds.V2)
    """Key-value pairs of your own on an order; not documented by the vendor."""


@sealed
class _Client(_Bound):
    """Resources with a session of their own."""

    def __init__(
        self,
        *,
        region: str | None = None,
        base_url: str | None = None,
        client_key: str | None = None,
        api_token: str | None = None,
        bearer_token: str | None = None,
        settings: Settings | None = None,
        http_session: ClientSession | None = None,
        shared_limiter: RateLimiter | None = None,
        trace_configs: Sequence[TraceConfig] = (),
        observers: Sequence[Observer] = (),
        session: ClientSession | None = None,
        limiter: RateLimiter | None = None,
    ) -> None:
        need(settings, (Settings, NoneType), "settings")
        http_session = _renamed("session", session, "http_session", http_session)
        shared_limiter = _renamed("limiter", limiter, "shared_limiter", shared_limiter)
        need(http_session, (ClientSession, NoneType), "http_session")
        if shared_limiter is not None:
            need_method(shared_limiter, "acquire", "shared_limiter", "a RateLimiter, which has a method acquire")
        if region is None and base_url is None:
            region, base_url = os.environ.get("CDP_REGION") or None, os.environ.get("CDP_BASE_URL") or None
        if bearer_token is None and client_key is None and api_token is None:
            bearer_token = os.environ.get("CDP_BEARER_TOKEN") or None  # an empty variable counts as not set
        if bearer_token is None:
            # A credential that is given as empty text counts as given: the one of the environment could be another
            # tenant's.
            client_key = os.environ.get("CDP_CLIENT_KEY") if client_key is None else client_key
            api_token = os.environ.get("CDP_API_TOKEN") if api_token is None else api_token
        url = base_url_of(region, base_url)
        credentials = Credentials(client_key, api_token, bearer_token)
        self._fingerprint = fingerprint(credentials.client_key)
        self.session = Session(
            url,
            credentials,
            Settings.from_env() if settings is None else settings,
            http=http_session,
            limiter=shared_limiter,
            trace_configs=trace_configs,
            observers=observers,
        )
        """Sends the requests; you can read its *stats* and its *limiter*, and change the rate."""
        super().__init__(self.session, url)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({vars(self).get('base_url')!r})"  # a traceback may show an unfinished client

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def ping(self) -> None:
        """Ask the API for one page of no orders, to see that the base URL and the credentials are right.

        It is one cheap request, ``GET /v2.1/orders`` (in version 2 ``GET /v2/orders``) for a *referenceId* that no
        order has. It is an interactive call: it waits for the rate limit and is sent again if it fails. Returns None if
        all is well. Source:
        https://api-docs.sitecore.com/cdp/order-rest-api/order/retrieveorders and, for version 2,
        https://doc.sitecore.com/cdp/en/developers/api/retrieve-orders--legacy-.html

        Raises `Unauthorized` if the credentials are missing or wrong; `Forbidden` if they may not read orders;
        `NotSent` if nothing answers at the base URL; `NotFound`, or another `Refused`, and `Unreadable` if something
        other than this API answers there, such as a web page; `DeadlineExceeded`; and the other errors of a call of
        `orders`.

            async with CdpOrders(region="eu") as cdp:
                await cdp.ping()
        """
        route = self.api.table.routes_of(kinds.ORDERS.name)["list"]
        query = {"referenceId": NOBODY, "offset": "0", "limit": "1"}
        request = Request(route.operation, route.method, route.path, reads_page(kinds.ORDERS.stored), query)
        await self.transport.send(request)

    async def aclose(self) -> None:
        """Close the connections, and end the calls that wait with `NotSent`.

        Your own aiohttp session stays open. Closing twice is not an error. Raises nothing.

            cdp = CdpOrders(region="eu")
            await cdp.aclose()
        """
        await self.session.aclose()

    def _tenant(self) -> Mapping[str, str]:
        return {"client key": self._fingerprint}


def _renamed(old: str, of_old: T | None, new: str, of_new: T | None) -> T | None:
    """Return the value of an argument that has a new name; raises `Invalid` if both names are used."""
    if of_old is None:
        return of_new
    if of_new is not None:
        raise Invalid((Violation(new, f"must be given once: {old} is its old name"),))
    warnings.warn(f"the argument {old} is now {new}; the old name goes in the next release", DeprecationWarning, 4)
    return of_old


class CdpOrders(_Client, Resources):
    """Call the Order REST API, version 2.1, with one connection pool, one rate and one set of credentials.

    Missing arguments are taken from the environment: ``CDP_REGION`` or ``CDP_BASE_URL``; ``CDP_CLIENT_KEY`` with
    ``CDP_API_TOKEN``, or ``CDP_BEARER_TOKEN``; and one variable for each of the `Settings`.

    Parameters: *region*, one of ``ap``, ``eu``, ``jp`` and ``us``, or else *base_url*, such as
    ``https://cdp-gateway.example.com``, without the version of the API. *client_key* and *api_token*, or else
    *bearer_token*, the credentials. *settings*, the rate, the times in seconds and the other settings. *http_session*,
    your own aiohttp session: its connector and its TLS are used, and it is never closed. *shared_limiter*, a second
    limiter, for instance one that several processes share. *trace_configs*, for the aiohttp session that is made if you
    give none. *observers*, functions that get events, such as calls and the ends of orders. *session* and *limiter*,
    the old names of *http_session* and *shared_limiter*.

    The constructor needs no event loop and sends nothing; the connections open at the first call, and `ping` tells
    whether the base URL and the credentials are right. Close it with ``async with`` or `aclose`. Raises `Invalid` if an
    argument is missing or wrong, and TypeError for an argument of another type. `Resources` lists the errors of its
    verbs.

    Source: https://api-docs.sitecore.com/cdp/order-rest-api

        async with CdpOrders(region="eu", client_key="...", api_token="...") as cdp:
            order = await cdp.orders.create(
                NewOrder(reference_id="B94TXY-1", ordered_at=now, price=Decimal("49.90"), currency_code="EUR")
            )
    """

    __annotations__ = {**Resources.__annotations__}  # for tools that read the annotations of one class alone


class CdpOrdersV2(_Client, ResourcesV2):
    """Call the legacy Order REST API, version 2; its parameters and its errors are those of `CdpOrders`.

    It is for programs that still need version 2; use `CdpOrders` for new ones.
    Source: https://doc.sitecore.com/cdp/en/developers/api/create-an-order--legacy-.html

        async with CdpOrdersV2(region="eu") as cdp:
            order = await cdp.orders.get(ref, expand_items=True)
    """

    __annotations__ = {**ResourcesV2.__annotations__}
