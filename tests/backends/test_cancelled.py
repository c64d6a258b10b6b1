"""A checkout that a middleware cancels by anyio: at each await again, wherever the checkout is."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Literal

import anyio
import httpx
import orjson
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from cdp_orders_async import CdpOrders, MemoryJournal, Settings, Verdict, ingest_one, parse_graph
from cdp_orders_async.emulator import Switches, running
from tests.cli.support import PARTS, TOKEN, Watched, orders
from tests.ways import over

(LINE,) = orders(1)


class TooLateError(Exception):
    """Ends a request."""


class Cancelling:
    """A middleware that cancels the scope of its application when *moment* has come."""

    def __init__(self, app: ASGIApp, moment: asyncio.Event) -> None:
        self.app = app
        self.moment = moment

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        async with anyio.create_task_group() as group:
            group.start_soon(self.cancel, group.cancel_scope)
            await self.app(scope, receive, send)
            group.cancel_scope.cancel()

    async def cancel(self, scope: anyio.CancelScope) -> None:
        """Cancel the scope at the moment."""
        await self.moment.wait()
        scope.cancel()


class Raising(BaseHTTPMiddleware):
    """A middleware whose error cancels its application, by the scope that Starlette has around it."""

    def __init__(self, app: ASGIApp, moment: asyncio.Event) -> None:
        super().__init__(app)
        self.moment = moment

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        """Pass a request on, and raise an error at the moment."""
        response: Response | None = None
        async with anyio.create_task_group() as group:
            group.start_soon(self.fail)
            response = await call_next(request)
            group.cancel_scope.cancel()
        assert response is not None
        return response

    async def fail(self) -> None:
        """Raise an error at the moment."""
        await self.moment.wait()
        raise TooLateError


@pytest.mark.parametrize("number", range(1, PARTS + 1))
@pytest.mark.parametrize("middleware", [Cancelling, Raising])
@pytest.mark.usefixtures("way")
async def test_cancelled_by_a_middleware(
    middleware: type[Cancelling | Raising], number: int, way: Literal["aiohttp", "httptools"]
) -> None:
    """Cancelled at any of its requests, it ends at once and records them: with the journal, the rest is made once."""
    assert way
    server = Watched()
    server.store.switches = Switches(slow_writes=0.05)  # the request that is cut off takes effect later
    settings = over(Settings(retries=0))
    tasks = asyncio.all_tasks()
    async with (
        running(server) as server.base_url,
        CdpOrders(base_url=server.base_url, client_key="key", api_token=TOKEN, settings=settings) as cdp,
    ):
        moment, journal = asyncio.Event(), MemoryJournal()
        ended: list[object] = []

        async def place(request: Request) -> Response:
            graph = parse_graph(orjson.loads(await request.body()))
            try:
                ended.append(await ingest_one(cdp, graph, journal=journal, settle=0.2))
            except asyncio.CancelledError as error:
                ended.append(error)
                raise
            return Response(status_code=201)

        app = Starlette(
            routes=[Route("/checkout", place, methods=["POST"])], middleware=[Middleware(middleware, moment=moment)]
        )

        async def cut() -> None:
            await server.has_received(number)
            moment.set()

        cutting = asyncio.ensure_future(cut())
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as caller:
            with contextlib.suppress(AssertionError):  # of the transport: a cancelled application sends no answer
                await caller.post("/checkout", content=orjson.dumps(LINE))
        await cutting
        assert [type(end) for end in ended] == [asyncio.CancelledError]
        assert cdp.session.stats.in_flight == 0
        outcome = await ingest_one(cdp, parse_graph(LINE), journal=journal, settle=0.2)
        assert outcome.verdict in {Verdict.LOADED, Verdict.ALREADY}
        assert server.holds([LINE])
    server.close()
    assert asyncio.all_tasks() == tasks
