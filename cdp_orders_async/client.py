"""The client: attributes with docstrings, nothing else."""

from __future__ import annotations

import os
from collections.abc import Sequence
from types import TracebackType
from typing import ClassVar, Self

from cdp_orders_async import kinds
from cdp_orders_async.kinds import Api
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
from cdp_orders_async.settings import Credentials, Settings, base_url_of, secret
from cdp_orders_async.wire import Transport

__all__ = ["CdpOrders", "CdpOrdersV2", "Resources", "ResourcesV2"]


class _Bound:
    """What every set of resources has."""

    api: ClassVar[Api]
    """The version of the API."""

    def __init__(self, transport: Transport, base_url: str) -> None:
        self.transport = transport
        """What sends the requests."""
        self.base_url = base_url
        """Where the API is."""

    @property
    def identity(self) -> dict[str, str]:
        return {"base URL": self.base_url}


class Resources(_Bound):
    """The resources of version 2.1 over any transport, for instance a stand-in of your own in a test.

    Parameters: *transport*, what sends the requests; *base_url*, put before the links that are sent.
    """

    api = kinds.V2_1

    def __init__(self, transport: Transport, base_url: str) -> None:
        super().__init__(transport, base_url)
        self.orders = Orders(transport, kinds.ORDERS, base_url)
        """Orders: the parents of everything else."""
        self.items = Parts(transport, kinds.ITEMS, base_url)
        """Things bought as part of an order: a seat, a phone, excess baggage."""
        self.contacts = Parts(transport, kinds.CONTACTS, base_url)
        """The primary person of an order; creating one links the order to a guest."""
        self.consumers = Consumers(transport, kinds.CONSUMERS, base_url)
        """The people who use the items of an order."""
        self.order_extensions = Extensions(transport, kinds.ORDER_EXTENSIONS, base_url)
        """Key-value pairs of your own on an order."""
        self.item_extensions = Extensions(transport, kinds.ITEM_EXTENSIONS, base_url)
        """Key-value pairs of your own on an item."""


class ResourcesV2(_Bound):
    """The resources of the legacy version 2 over any transport; the parameters are those of `Resources`."""

    api = kinds.V2

    def __init__(self, transport: Transport, base_url: str) -> None:
        super().__init__(transport, base_url)
        self.orders = OrdersV2(transport, kinds.ORDERS_V2, base_url, kinds.V2)
        """Orders: the parents of everything else."""
        self.items = DeletablePartsV2(transport, kinds.ITEMS_V2, base_url, kinds.V2)
        """Things bought as part of an order, of a type that the vendor lists: a flight, a hotel, a bag."""
        self.contacts = DeletablePartsV2(transport, kinds.CONTACTS_V2, base_url, kinds.V2)
        """The primary person of an order; creating one links the order to a guest."""
        self.consumers = PartsV2(transport, kinds.CONSUMERS_V2, base_url, kinds.V2)
        """The people who use the items of an order."""
        self.order_extensions = ExtensionsV2(transport, kinds.ORDER_EXTENSIONS_V2, base_url, kinds.V2)
        """Key-value pairs of your own on an order; not documented by the vendor."""


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
        session: ClientSession | None = None,
        limiter: RateLimiter | None = None,
        trace_configs: Sequence[TraceConfig] = (),
    ) -> None:
        if region is None and base_url is None:
            region, base_url = os.environ.get("CDP_REGION") or None, os.environ.get("CDP_BASE_URL") or None
        if bearer_token is None and client_key is None and api_token is None:
            bearer_token = os.environ.get("CDP_BEARER_TOKEN")
        if bearer_token is None:
            client_key = client_key or os.environ.get("CDP_CLIENT_KEY")
            api_token = api_token or os.environ.get("CDP_API_TOKEN")
        api_token, bearer_token = secret(api_token), secret(bearer_token)
        url = base_url_of(region, base_url)
        self.session = Session(
            url,
            Credentials(client_key, api_token, bearer_token),
            settings or Settings.from_env(),
            http=session,
            limiter=limiter,
            trace_configs=trace_configs,
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


class CdpOrders(_Client, Resources):
    """The Order REST API, version 2.1.

    Where *region* (``ap``, ``eu``, ``jp``, ``us``) or *base_url*, *client_key*, *api_token*,
    *bearer_token* or *settings* are not given, the environment is asked: ``CDP_REGION``,
    ``CDP_BASE_URL``, ``CDP_CLIENT_KEY``, ``CDP_API_TOKEN``, ``CDP_BEARER_TOKEN``, and one variable for each
    of the `Settings`.

    *session* is an aiohttp session of your own: its connector and its TLS are used, and it is never closed.
    *limiter* is a further limiter, for instance one that several processes share. *trace_configs* go to the
    aiohttp session that is made where you give none.

    The constructor touches no event loop; the connections open on first use. Close it with ``async with`` or
    `aclose`. Raises `Invalid` where something is missing or wrong.
    """


class CdpOrdersV2(_Client, ResourcesV2):
    """The legacy Order REST API, version 2; its parameters are those of `CdpOrders`.

    It is for what still depends on it; anything new takes `CdpOrders`.
    """
