"""The same create by other clients: ``python benchmarks/peers.py NAME URL IN_FLIGHT CALLS`` prints the CPU of a call.

One process for each, since some of them run threads. *raw* is the bare HTTP client: bytes to a fixed URL, bytes back.
All others do what an SDK does: values in and out, authentication, retries on, each URL a new one.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from importlib import import_module
from ssl import SSLContext
from typing import Any, Literal, TypeAlias
from uuid import uuid4

import aiohttp
import attrs
import orjson
from harness import Call, hammer
from server import FIELDS

from cdp_orders_async import CdpOrders, NewOrderItem, Settings
from cdp_orders_async.wire import structure

Way: TypeAlias = Literal["aiohttp", "httptools"]
Peer: TypeAlias = Callable[[str, int, AsyncExitStack], Awaitable[Call]]
"""Makes the call of a client, from the URL of the server, how many are in flight, and what closes the client."""

HEADERS = {"Authorization": "Basic a2V5OnRva2Vu", "Content-Type": "application/json", "Accept": "application/json"}
BODY = orjson.dumps(FIELDS)
NEW: Mapping[str, Any] = attrs.asdict(structure(FIELDS, NewOrderItem))
ORDERS = tuple(uuid4() for _ in range(1000))
PATHS = tuple(f"/v2.1/orders/{ref}/orderItems" for ref in ORDERS)


def client(
    url: str, in_flight: int, rate: float | None = None, http: Way = "aiohttp", tls: SSLContext | None = None
) -> CdpOrders:
    """Return this package's client."""
    settings = Settings(rate=rate, burst=100, connections=in_flight, http=http, ssl_context=tls)
    return CdpOrders(base_url=url, client_key="key", api_token="token", settings=settings)  # noqa: S106 no secret


async def cdp(
    url: str, in_flight: int, stack: AsyncExitStack, http: Way = "aiohttp", tls: SSLContext | None = None
) -> Call:
    """Make the whole typed call: checked, encoded, limited, retried, authenticated, decoded."""
    items = (await stack.enter_async_context(client(url, in_flight, 100_000, http, tls))).items
    refs = itertools.cycle(ORDERS)
    return lambda: items.create(next(refs), NewOrderItem(**NEW))


async def raw_aiohttp(url: str, in_flight: int, stack: AsyncExitStack, tls: SSLContext | None = None) -> Call:
    """Send and read bytes."""
    connector = aiohttp.TCPConnector(limit=in_flight, ssl=tls or True)
    session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector, headers=HEADERS))

    async def call() -> object:
        async with session.post(url + PATHS[0], data=BODY) as response:
            return await response.read()

    return call


async def _httpx(url: str, in_flight: int, stack: AsyncExitStack) -> Any:  # noqa: ANN401 httpx's client
    httpx = import_module("httpx")
    limits = httpx.Limits(max_connections=in_flight, max_keepalive_connections=in_flight)
    return await stack.enter_async_context(httpx.AsyncClient(base_url=url, limits=limits, headers=HEADERS, timeout=60))


async def raw_httpx(url: str, in_flight: int, stack: AsyncExitStack) -> Call:
    """Send and read bytes."""
    http = await _httpx(url, in_flight, stack)

    async def call() -> object:
        return (await http.post(PATHS[0], content=BODY)).content

    return call


async def typed_httpx(url: str, in_flight: int, stack: AsyncExitStack) -> Call:
    """Do what many write by hand: httpx, with pydantic models in and out, and no retries."""
    http, create_model = await _httpx(url, in_flight, stack), import_module("pydantic").create_model
    item = create_model("Item", **{key: (type(value), ...) for key, value in FIELDS.items()})
    kept, paths = create_model("Kept", __base__=item, ref=(str, ...)), itertools.cycle(PATHS)

    async def call() -> object:
        response = await http.post(next(paths), content=item(**FIELDS).model_dump_json())
        return kept.model_validate_json(response.raise_for_status().content)

    return call


def stainless(package: str, name: str) -> Peer:
    """Return the peer for a generated SDK: dicts in, models out."""

    async def make(url: str, _: int, stack: AsyncExitStack) -> Call:  # its pool has a thousand connections
        sdk = import_module(package)
        hints = {"ref": str, **{key: type(value) for key, value in FIELDS.items()}}
        kept, paths = type("Kept", (sdk.BaseModel,), {"__annotations__": hints}), itertools.cycle(PATHS)
        made = await stack.enter_async_context(getattr(sdk, name)(api_key="key", base_url=url))
        return lambda: made.post(next(paths), cast_to=kept, body=FIELDS)

    return make


async def stripe(url: str, _: int, stack: AsyncExitStack) -> Call:
    """Create something under a customer; it does not look at the fields."""
    sdk = import_module("stripe")
    http, refs = sdk.HTTPXClient(), itertools.cycle(ORDERS)
    stack.push_async_callback(http.close_async)
    made = sdk.StripeClient("sk_test_key", base_addresses={"api": url}, http_client=http, max_network_retries=2)
    return lambda: made.v1.customers.balance_transactions.create_async(str(next(refs)), FIELDS)


async def azure(url: str, in_flight: int, stack: AsyncExitStack) -> Call:
    """Run the pipeline under all of Azure's clients with its usual policies: dicts in and out, over aiohttp."""
    core, rest = import_module("azure.core"), import_module("azure.core.rest")
    policies, credentials = import_module("azure.core.pipeline.policies"), import_module("azure.core.credentials")
    session = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=in_flight)))
    transport = import_module("azure.core.pipeline.transport").AioHttpTransport(session=session, session_owner=False)
    key = policies.AzureKeyCredentialPolicy(credentials.AzureKeyCredential("key"), "api-key")
    names = ("RequestId", "Headers", "UserAgent", "ContentDecode", "AsyncRedirect", "AsyncRetry", "HttpLogging")
    chain = [*(getattr(policies, f"{name}Policy")() for name in names), key]
    made, paths = core.AsyncPipelineClient(url, transport=transport, policies=chain), itertools.cycle(PATHS)

    async def call() -> object:
        response = await made.send_request(rest.HttpRequest("POST", url + next(paths), json=FIELDS))
        response.raise_for_status()
        return response.json()

    return call


async def elastic(url: str, in_flight: int, stack: AsyncExitStack) -> Call:
    """Run the transport under Elasticsearch's client: dicts in and out, over aiohttp."""
    sdk, paths = import_module("elastic_transport"), itertools.cycle(PATHS)
    _, host, port = url.replace("/", "").split(":")
    transport = sdk.AsyncTransport([sdk.NodeConfig("http", host, int(port), connections_per_node=in_flight)])
    stack.push_async_callback(transport.close)
    return lambda: transport.perform_request("POST", next(paths), headers=HEADERS, body=FIELDS)


PEERS: Mapping[str, Peer] = {
    "cdp-orders-async": cdp,
    "cdp-orders-async, httptools": partial(cdp, http="httptools"),
    "raw aiohttp": raw_aiohttp,
    "raw httpx": raw_httpx,
    "httpx + pydantic": typed_httpx,
    "openai": stainless("openai", "AsyncOpenAI"),
    "anthropic": stainless("anthropic", "AsyncAnthropic"),
    "stripe": stripe,
    "azure-core": azure,
    "elastic-transport": elastic,
}


async def main(name: str, url: str, in_flight: int, calls: int) -> None:
    """Print how many microseconds of CPU one call takes."""
    async with AsyncExitStack() as stack:
        call = await PEERS[name](url, in_flight, stack)
        await hammer(call, in_flight, max(2, 400 // in_flight))()
        gc.collect()
        before = time.process_time()
        made = await hammer(call, in_flight, max(1, calls // in_flight))()
        print((time.process_time() - before) / made * 1e6)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
