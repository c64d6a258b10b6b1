"""The client: attributes with docstrings, nothing else."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import ClassVar, Generic, Self, TypeVar, cast

from cdp_orders_async import kinds
from cdp_orders_async.addresses import base_url_of, normalised
from cdp_orders_async.errors import Invalid, Violation
from cdp_orders_async.kinds import Api
from cdp_orders_async.models import (
    Consumer,
    Contact,
    ContactChanges,
    NewConsumerV2,
    NewContact,
    NewContactV2,
    NewOrderItem,
    NewOrderItemV2,
    OrderItem,
    OrderItemChanges,
    OrderItemV2,
)
from cdp_orders_async.redact import sealed
from cdp_orders_async.resources import (
    Consumers,
    DeletablePartsV2,
    Extensions,
    ExtensionsV2,
    Orders,
    OrdersV2,
    Parts,
    PartsV2,
)
from cdp_orders_async.session import ClientSession, RateLimiter, Session, TraceConfig
from cdp_orders_async.settings import Credentials, Settings, fingerprint
from cdp_orders_async.telemetry import Observer
from cdp_orders_async.wire import Transport

__all__ = ["CdpOrders", "CdpOrdersV2", "Resources", "ResourcesV2"]

R = TypeVar("R")
T = TypeVar("T")


class _Bound:
    """What every set of resources has."""

    api: ClassVar[Api]
    """The version of the API."""

    def __init__(self, transport: Transport, base_url: str) -> None:
        self.transport = transport
        """What sends the requests."""
        self.base_url = base_url
        """Where the API is."""
        for row in self.api.kinds:
            getattr(self, row.name)  # which makes the resource, for vars() to show it

    @property
    def identity(self) -> Mapping[str, str]:
        """What a journal of loads into this API belongs to, by names that a person understands.

        The base URL, normalised; of a client also a fingerprint of its client key, which tells tenants apart, and
        which is that of no key where a bearer token authenticates; for version 2 the version of the API.
        """
        version = {} if self.api is kinds.V2_1 else {"API version": self.api.version}
        return {"base URL": normalised(self.base_url), **self._tenant(), **version}

    def _tenant(self) -> Mapping[str, str]:
        return {}


class _Resource(Generic[R]):
    """A resource as an attribute: on the class it is the class of the resource, on an object it is made once."""

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
    """Declare a resource of *kind*; what is *given* are its row and, if it is not the current one, its API."""
    return cast("R", _Resource(kind, *given))


class Resources(_Bound):
    """The resources of version 2.1 over any transport, for instance a stand-in of your own in a test.

    Parameters: *transport*, what sends the requests; *base_url*, put before the links that are sent.
    """

    api = kinds.V2_1

    orders: Orders = _resource(Orders, kinds.ORDERS)
    """Orders: the parents of everything else."""
    items: Parts[NewOrderItem, OrderItem, OrderItemChanges] = _resource(Parts, kinds.ITEMS)
    """Things bought as part of an order: a seat, a phone, excess baggage."""
    contacts: Parts[NewContact, Contact, ContactChanges] = _resource(Parts, kinds.CONTACTS)
    """The primary person of an order; creating one links the order to a guest."""
    consumers: Consumers = _resource(Consumers, kinds.CONSUMERS)
    """The people who use the items of an order."""
    order_extensions: Extensions = _resource(Extensions, kinds.ORDER_EXTENSIONS)
    """Key-value pairs of your own on an order."""
    item_extensions: Extensions = _resource(Extensions, kinds.ITEM_EXTENSIONS)
    """Key-value pairs of your own on an item."""


class ResourcesV2(_Bound):
    """The resources of the legacy version 2 over any transport; the parameters are those of `Resources`."""

    api = kinds.V2

    orders: OrdersV2 = _resource(OrdersV2, kinds.ORDERS_V2, kinds.V2)
    """Orders: the parents of everything else."""
    items: DeletablePartsV2[NewOrderItemV2, OrderItemV2] = _resource(DeletablePartsV2, kinds.ITEMS_V2, kinds.V2)
    """Things bought as part of an order, of a type that the vendor lists: a flight, a hotel, a bag."""
    contacts: DeletablePartsV2[NewContactV2, Contact] = _resource(DeletablePartsV2, kinds.CONTACTS_V2, kinds.V2)
    """The primary person of an order; creating one links the order to a guest."""
    consumers: PartsV2[NewConsumerV2, Consumer] = _resource(PartsV2, kinds.CONSUMERS_V2, kinds.V2)
    """The people who use the items of an order."""
    order_extensions: ExtensionsV2 = _resource(ExtensionsV2, kinds.ORDER_EXTENSIONS_V2, kinds.V2)
    """Key-value pairs of your own on an order; not documented by the vendor."""


@sealed
class _Client(_Bound):
    """What makes resources a client: a session of its own."""

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
        http_session = _renamed("session", session, "http_session", http_session)
        shared_limiter = _renamed("limiter", limiter, "shared_limiter", shared_limiter)
        if region is None and base_url is None:
            region, base_url = os.environ.get("CDP_REGION") or None, os.environ.get("CDP_BASE_URL") or None
        if bearer_token is None and client_key is None and api_token is None:
            bearer_token = os.environ.get("CDP_BEARER_TOKEN")
        if bearer_token is None:
            # One that is given empty is none: in its place that of the environment could be another tenant's.
            client_key = os.environ.get("CDP_CLIENT_KEY") if client_key is None else client_key
            api_token = os.environ.get("CDP_API_TOKEN") if api_token is None else api_token
        url = base_url_of(region, base_url)
        credentials = Credentials(client_key, api_token, bearer_token)
        self._fingerprint = fingerprint(credentials.client_key)
        self.session = Session(
            url,
            credentials,
            settings or Settings.from_env(),
            http=http_session,
            limiter=shared_limiter,
            trace_configs=trace_configs,
            observers=observers,
        )
        """What sends the requests; its *stats* and *limiter* can be watched, and the rate changed."""
        super().__init__(self.session, url)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({vars(self).get('base_url')!r})"  # a traceback may show one half made

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections. Closing twice is no error."""
        await self.session.aclose()

    def _tenant(self) -> Mapping[str, str]:
        return {"client key": self._fingerprint}


def _renamed(old: str, of_old: T | None, new: str, of_new: T | None) -> T | None:
    """Return the value of an argument that has a new name; raises `Invalid` where both names are used."""
    if of_old is None:
        return of_new
    if of_new is not None:
        raise Invalid((Violation(new, f"must be given once: {old} is its old name"),))
    warnings.warn(f"the argument {old} is now {new}; the old name goes in the next release", DeprecationWarning, 4)
    return of_old


class CdpOrders(_Client, Resources):
    """The Order REST API, version 2.1.

    Where *region* (``ap``, ``eu``, ``jp``, ``us``) or *base_url*, *client_key*, *api_token*,
    *bearer_token* or *settings* are not given, the environment is asked: ``CDP_REGION``,
    ``CDP_BASE_URL``, ``CDP_CLIENT_KEY``, ``CDP_API_TOKEN``, ``CDP_BEARER_TOKEN``, and one variable for each
    of the `Settings`.

    *http_session* is an aiohttp session of your own: its connector and its TLS are used, and it is never closed.
    *shared_limiter* is a further limiter, for instance one that several processes share. *trace_configs* go to the
    aiohttp session that is made where you give none. *observers* are told of events, such as calls and the ends of
    orders. *session* and *limiter* are the old names of the first two.

    The constructor touches no event loop; the connections open on first use. Close it with ``async with`` or
    `aclose`. Raises `Invalid` where something is missing or wrong.
    """


class CdpOrdersV2(_Client, ResourcesV2):
    """The legacy Order REST API, version 2; its parameters are those of `CdpOrders`.

    It is for what still depends on it; anything new takes `CdpOrders`.
    """
