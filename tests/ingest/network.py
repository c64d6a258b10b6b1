"""A network without sockets between a load and the emulator, which does as it is told; loads over it."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterable, Callable, Iterable
from typing import Any, TypeVar

import orjson

from cdp_orders_async import Journal, Load, NotSent, OrderGraph, Outcome, OutcomeUnknown, Request
from cdp_orders_async.emulator import Emulator
from cdp_orders_async.emulator.records import Cause, Record
from cdp_orders_async.emulator.service import Asked
from cdp_orders_async.ingest import OnExisting
from cdp_orders_async.wire import parse_response
from tests.ingest.orders import Json
from tests.ingest.serving import BASE, KEY, TOKEN
from tests.ingest.versions import NEW, Version
from tests.virtual import VirtualLoop

Fate = Callable[[Request[Any]], str | int | Json]
T = TypeVar("T")

ELSEWHERE = Cause("elsewhere", "POST", "/", None)
"""What somebody else does."""


OF_A_GATEWAY = {
    "page": b"<html>Come back later</html>",
    "json": b'{"message":"Not Found"}',
    "exists": b'{"status":409,"code":409,"message":"exists","moreInfoUrl":"https://support.sitecore.com"}',
}
"""The bodies of the answers of a gateway, and of the API to what it got twice, by the first word of their fate."""


class Network:
    """A transport without sockets: the emulator itself, and what *fate* says that becomes of each request.

    Fates: ``ok``; ``lost``, sent and its answer lost, done or ``lost, not done``; ``not sent``; ``unreadable``,
    done; ``hung``, never answered; a number, the status of an answer to what was not done; an object, the body of a
    400; ``page 404`` or ``json 404``, what a gateway shows with that status, for what was not done, or was:
    ``page 404, done``; ``no entries``, a list that leaves them out.
    """

    def __init__(self, emulator: Emulator, fate: Fate = lambda _: "ok") -> None:
        self.emulator = emulator
        self.fate: Fate = fate
        self.requests: list[Request[Any]] = []
        """Whatever was asked for, in order."""
        self.delay = 0.0
        """Seconds from a request to its fate."""

    async def send(self, request: Request[T], /) -> T:
        """Do with *request* what fate wants."""
        self.requests.append(request)
        await asyncio.sleep(self.delay)
        fate = self.fate(request)
        if not isinstance(fate, str):
            status, refusal = (fate, {}) if isinstance(fate, int) else (400, fate)
            return parse_response(request, status, orjson.dumps(refusal))
        if fate == "not sent":
            raise NotSent("the wire is cut")
        body = b"{}"
        status = 200
        word, _, rest = fate.partition(" ")
        if fate.endswith(", done") or not ("not done" in fate or word in OF_A_GATEWAY):
            endpoint, segments = self.emulator.find(request.method, request.path)
            reply = await self.emulator.answer_slowly(endpoint, segments, asked(request))
            status, body = reply.status, orjson.dumps(reply.body)
        if fate.startswith("hung"):
            await asyncio.get_running_loop().create_future()
        if fate.startswith("lost"):
            raise OutcomeUnknown("the answer is lost")
        if fate == "no entries":
            body = b'{"offset":0}'
        if word in OF_A_GATEWAY:
            status, body = int(rest.removesuffix(", done")), OF_A_GATEWAY[word]
        return parse_response(request, status, b"<html>" if fate == "unreadable" else body)


def loading(
    loop: VirtualLoop,
    network: Network,
    graphs: Iterable[OrderGraph] | AsyncIterable[OrderGraph],
    *,
    version: Version = NEW,
    journal: Journal | None = None,
    look_first: bool = False,
    on_existing: OnExisting = "keep",
    open_orders: int = 5,
    settle: float = 2.0,
    drain: float = 1.0,
    width: int | None = None,
) -> Load:
    """Begin a load in virtual time; whoever begins it closes it."""
    load = Load(
        version.resources(network, BASE),
        graphs,
        journal=journal,
        look_first=look_first,
        on_existing=on_existing,
        open_orders=open_orders,
        settle=settle,
        drain=drain,
        width=width,
        clock=loop.time,
    )
    load.start()
    return load


async def collected(load: Load) -> list[Outcome]:
    """Return all outcomes."""
    return [outcome async for outcome in load]


def asked(request: Request[Any]) -> Asked:
    """Return *request* as the emulator reads it."""
    return Asked(
        method=request.method,
        path=request.path,
        query=request.query,
        base=BASE,
        authorization=f"Basic {base64.b64encode(f'{KEY}:{TOKEN}'.encode()).decode()}",
        content_type="application/json",
        request_id=None,
        body=request.body or b"",
    )


def add(emulator: Emulator, kind: str, data: Json) -> Record:
    """Let somebody else make something under the first order of *emulator*."""
    owner = "" if kind == "orders" else next(iter(emulator.store.all("orders"))).ref
    return emulator.store.create(kind, data, ELSEWHERE, owner)
