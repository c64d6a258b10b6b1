"""The same create by other clients: ``python benchmarks/peers.py NAME URL IN_FLIGHT CALLS`` prints the CPU of a call.

One process for each, since some of them run threads. *raw* is the bare HTTP client: bytes of a fixed URL in, bytes
out. All others do what an SDK does: a value in and a value out, authentication, retries on, each URL a new one.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from decimal import Decimal
from importlib import import_module
from typing import Any, TypeAlias
from uuid import uuid4

import aiohttp
import orjson
from harness import Call, hammer

from cdp_orders_async import CdpOrders, NewOrderItem, Settings

Peer: TypeAlias = Callable[[str, int, AsyncExitStack], Awaitable[Call]]
"""Makes the call of a client, from the URL of the server, how many are in flight, and what closes the client."""

HEADERS = {"Authorization": "Basic a2V5OnRva2Vu", "Content-Type": "application/json", "Accept": "application/json"}
FIELDS: dict[str, Any] = {
    "type": "MOBILE",
    "name": "Mobile AZ10",
    "description": "Mobile AZ10, 256 GB, midnight blue, with a charger and a case",
    "productId": "1233-44",
    "price": 105.5,
    "currencyCode": "EUR",
    "originalPrice": 110.25,
    "originalCurrencyCode": "USD",
    "referenceId": "AAAAA-134",
    "vendor": "Vendor XYZ",
    "status": "CONFIRMED",
    "language": "EN",
    "quantity": 1,
    "channel": "WEB",
}
BODY = orjson.dumps(FIELDS)
ORDERS = tuple(uuid4() for _ in range(1000))
PATHS = tuple(f"/v2.1/orders/{ref}/orderItems" for ref in ORDERS)


def new_item() -> NewOrderItem:
    """Return the item that everybody creates."""
    return NewOrderItem(
        type="MOBILE",
        name="Mobile AZ10",
        description="Mobile AZ10, 256 GB, midnight blue, with a charger and a case",
        product_id="1233-44",
        price=Decimal("105.5"),
        currency_code="EUR",
        original_price=Decimal("110.25"),
        original_currency_code="USD",
        reference_id="AAAAA-134",
        vendor="Vendor XYZ",
        status="CONFIRMED",
        language="EN",
        quantity=1,
        channel="WEB",
    )


async def cdp(url: str, in_flight: int, stack: AsyncExitStack) -> Call:
    """The whole typed call: checked, encoded, limited, retried, authenticated, decoded."""
    settings = Settings(rate=100_000, burst=100, connections=in_flight)
    client = CdpOrders(base_url=url, client_key="key", api_token="token", settings=settings)  # noqa: S106 no secret
    items = (await stack.enter_async_context(client)).items
    refs = itertools.cycle(ORDERS)

    async def call() -> object:
        return await items.create(next(refs), new_item())

    return call


async def raw_aiohttp(url: str, in_flight: int, stack: AsyncExitStack) -> Call:
    """Bytes to a fixed URL, bytes back."""
    connector = aiohttp.TCPConnector(limit=in_flight)
    session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector, headers=HEADERS))
    at = url + PATHS[0]

    async def call() -> object:
        async with session.post(at, data=BODY) as response:
            return await response.read()

    return call


async def raw_httpx(url: str, in_flight: int, stack: AsyncExitStack) -> Call:
    """Bytes to a fixed URL, bytes back."""
    httpx = import_module("httpx")
    limits = httpx.Limits(max_connections=in_flight, max_keepalive_connections=in_flight)
    client = await stack.enter_async_context(httpx.AsyncClient(limits=limits, headers=HEADERS, timeout=60))
    at = url + PATHS[0]

    async def call() -> object:
        return (await client.post(at, content=BODY)).content

    return call


async def typed_httpx(url: str, in_flight: int, stack: AsyncExitStack) -> Call:
    """Return what many write by hand: httpx, with pydantic models in and out, and no retries."""
    httpx, pydantic = import_module("httpx"), import_module("pydantic")
    model = pydantic.create_model("Item", **{key: (type(value), ...) for key, value in FIELDS.items()})
    answer = pydantic.create_model("Answer", ref=(str, ...), **{key: (type(FIELDS[key]), ...) for key in ("name", "price")})
    limits = httpx.Limits(max_connections=in_flight, max_keepalive_connections=in_flight)
    client = await stack.enter_async_context(httpx.AsyncClient(base_url=url, limits=limits, headers=HEADERS, timeout=60))
    paths = itertools.cycle(PATHS)

    async def call() -> object:
        response = await client.post(next(paths), content=model(**FIELDS).model_dump_json())
        response.raise_for_status()
        return answer.model_validate_json(response.content)

    return call


def _stainless(package: str, client: str) -> Peer:
    async def make(url: str, in_flight: int, stack: AsyncExitStack) -> Call:
        del in_flight  # its pool has a thousand connections
        sdk = import_module(package)
        answer = type("Answer", (sdk.BaseModel,), {"__annotations__": {"ref": str, "name": str, "price": float}})
        made = await stack.enter_async_context(getattr(sdk, client)(api_key="key", base_url=url))
        paths = itertools.cycle(PATHS)

        async def call() -> object:
            return await made.post(next(paths), cast_to=answer, body=FIELDS)

        return call

    return make


async def stripe(url: str, in_flight: int, stack: AsyncExitStack) -> Call:
    """Let Stripe's client create something under a customer; it does not look at the fields."""
    del in_flight
    sdk = import_module("stripe")
    http = sdk.HTTPXClient()
    stack.push_async_callback(http.close_async)
    client = sdk.StripeClient("sk_test_key", base_addresses={"api": url}, http_client=http, max_network_retries=2)
    refs = itertools.cycle(ORDERS)

    async def call() -> object:
        return await client.v1.customers.balance_transactions.create_async(str(next(refs)), FIELDS)

    return call


async def azure(url: str, in_flight: int, stack: AsyncExitStack) -> Call:
    """Run the pipeline under all of Azure's clients: dicts in and out, with the policies that it comes with."""
    core, rest = import_module("azure.core"), import_module("azure.core.rest")
    policies, credentials = import_module("azure.core.pipeline.policies"), import_module("azure.core.credentials")
    session = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=in_flight)))
    transport = import_module("azure.core.pipeline.transport").AioHttpTransport(session=session, session_owner=False)
    key = policies.AzureKeyCredentialPolicy(credentials.AzureKeyCredential("key"), "api-key")
    client = core.AsyncPipelineClient(
        url,
        transport=transport,
        policies=[
            policies.RequestIdPolicy(),
            policies.HeadersPolicy(),
            policies.UserAgentPolicy("benchmark"),
            policies.ContentDecodePolicy(),
            policies.AsyncRedirectPolicy(),
            policies.AsyncRetryPolicy(),
            key,
            policies.DistributedTracingPolicy(),
            policies.HttpLoggingPolicy(),
        ],
    )
    paths = itertools.cycle(PATHS)

    async def call() -> object:
        response = await client.send_request(rest.HttpRequest("POST", url + next(paths), json=FIELDS))
        response.raise_for_status()
        return response.json()

    return call


async def elastic(url: str, in_flight: int, stack: AsyncExitStack) -> Call:
    """Run the transport under Elasticsearch's client: dicts in and out, over aiohttp."""
    sdk = import_module("elastic_transport")
    host, port = url.removeprefix("http://").split(":")
    node = sdk.NodeConfig("http", host, int(port), connections_per_node=in_flight)
    transport = sdk.AsyncTransport([node])
    stack.push_async_callback(transport.close)
    paths = itertools.cycle(PATHS)

    async def call() -> object:
        return (await transport.perform_request("POST", next(paths), headers=HEADERS, body=FIELDS)).body

    return call


PEERS: Mapping[str, Peer] = {
    "cdp-orders-async": cdp,
    "aiohttp, raw": raw_aiohttp,
    "httpx, raw": raw_httpx,
    "httpx + pydantic": typed_httpx,
    "openai": _stainless("openai", "AsyncOpenAI"),
    "anthropic": _stainless("anthropic", "AsyncAnthropic"),
    "stripe": stripe,
    "azure-core": azure,
    "elastic-transport": elastic,
}


async def main(name: str, url: str, in_flight: int, calls: int) -> None:
    """Print how many microseconds of CPU one call takes."""
    async with AsyncExitStack() as stack:
        call = await PEERS[name](url, in_flight, stack)
        await hammer(call, in_flight, max(2, 200 // in_flight))()
        gc.collect()
        batch = hammer(call, in_flight, max(1, calls // in_flight))
        before = time.process_time()
        made = await batch()
        print((time.process_time() - before) / made * 1e6)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
