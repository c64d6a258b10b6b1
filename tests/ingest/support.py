"""Orders to load, what a server is to hold of them, and a network between the two that does as it is told."""

from __future__ import annotations

import asyncio
import base64
import importlib.resources
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar

import attrs
import orjson
import pytest

from cdp_orders_async import (
    V2,
    V2_1,
    Api,
    CdpOrders,
    CdpOrdersV2,
    FlightSegment,
    GraphConsumer,
    GraphFile,
    GraphItem,
    Identifier,
    Journal,
    Load,
    NewConsumer,
    NewConsumerV2,
    NewContact,
    NewContactV2,
    NewOrder,
    NewOrderItem,
    NewOrderItemV2,
    NewOrderV2,
    NotSent,
    OrderGraph,
    Outcome,
    OutcomeUnknown,
    Request,
    Resources,
    ResourcesV2,
    Settings,
)
from cdp_orders_async.emulator import Emulator, running
from cdp_orders_async.emulator.records import Cause, Record
from cdp_orders_async.emulator.service import Asked
from cdp_orders_async.ingest import OnExisting
from cdp_orders_async.wire import answer, to_json
from tests.virtual import VirtualLoop
from tests.ways import over

Json = dict[str, Any]
Fate = Callable[[Request[Any]], str | int | Json]
T = TypeVar("T")
M = TypeVar("M", bound=attrs.AttrsInstance)

BASE = "http://127.0.0.1"
KEY, TOKEN = "key", "token"
SERVED = frozenset({"ref", "href", "createdAt", "modifiedAt", "guest", "order", "orderItem"})
ELSEWHERE = Cause("elsewhere", "POST", "/", None)
"""What somebody else does."""
SEGMENT = FlightSegment(
    id="1",
    origin="DUB",
    destination="LHR",
    departure_date_time="2025-08-15T16:00Z",
    arrival_date_time="2025-08-15T17:20Z",
    fare_class="Economy",
    carrier="FR",
    flight_number="459",
)
WHEN = datetime(2024, 1, 1, 16, 17, 16, tzinfo=UTC)


def order(reference_id: str = "A", **rest: object) -> NewOrder:
    """Return an order."""
    values: Json = {"ordered_at": WHEN, "price": Decimal(50), "currency_code": "EUR", **rest}
    return NewOrder(reference_id=reference_id, **values)


def item(
    reference_id: str | None = None, extension: Mapping[str, str | int] | None = None, **rest: object
) -> GraphItem:
    """Return an item, equal to all others but for what is given."""
    values: Json = {"type": "SEAT", "name": "Seat", "price": Decimal("9.5"), "currency_code": "EUR", "status": "OK"}
    values.update(rest)
    return GraphItem(NewOrderItem(reference_id=reference_id, **values), extension)


def person(name: str | None = "Ann", *ids: str) -> Json:
    """Return the fields of a person."""
    identifiers = tuple(Identifier(provider="CRM", id=one) for one in ids) or None
    return {"first_name": name, "identifiers": identifiers}


def consumer(name: str | None = "Ann", *ids: str, uses: Sequence[str] = ()) -> GraphConsumer:
    """Return a consumer who uses some items."""
    return GraphConsumer(NewConsumer(**person(name, *ids)), tuple(uses))


def whole(reference_id: str = "A") -> OrderGraph:
    """Return an order with every kind of part."""
    return OrderGraph(
        order=order(reference_id, channel="WEB"),
        contact=NewContact(**person("Ann", "1"), emails=("ann@example.com",)),
        items=(item("i1", {"seat": "1A"}), item("i2"), item(None, {"seat": "1B"}), item(), item()),
        consumers=(consumer("Ann", "1", uses=["i1", "i2"]), consumer("Bob")),
        extension={"campaign": "spring", "visits": 3},
    )


def as_v2(graph: OrderGraph) -> OrderGraph:
    """Return *graph* as version 2 has it: items without a reference id share one, their extensions are flights."""

    def item_v2(one: GraphItem) -> GraphItem:
        pairs: Json = dict(one.extension or {})
        flight: Json = {
            "flight_segments": (attrs.evolve(SEGMENT, id=str(pairs)),),
            "passenger_type_code": "ADT",
        }
        values: Json = {
            "type": "FLIGHT" if pairs else "SEAT",
            "reference_id": one.item.reference_id or "twin",
            "product_id": "P",
            "status": "CONFIRMED",
            **(flight if pairs else {}),
        }
        return GraphItem(made_of(NewOrderItemV2, one.item, values))

    def person_v2(model: type[M], one: attrs.AttrsInstance) -> M:
        return made_of(model, one, {"last_name": "Doe", "first_name": getattr(one, "first_name", None) or "Eve"})

    return attrs.evolve(
        graph,
        order=made_of(NewOrderV2, graph.order, {"point_of_sale": "shop"}),
        contact=None if graph.contact is None else person_v2(NewContactV2, graph.contact),
        items=tuple(map(item_v2, graph.items)),
        consumers=tuple(attrs.evolve(one, consumer=person_v2(NewConsumerV2, one.consumer)) for one in graph.consumers),
    )


def made_of(model: type[M], other: attrs.AttrsInstance, values: Json) -> M:
    """Return a *model* with *values*, and else with what *other* has."""
    return model(**{field.name: getattr(other, field.name, None) for field in attrs.fields(model)} | values)


@attrs.frozen
class Version:
    """A version of the API."""

    api: Api
    client: type[CdpOrders | CdpOrdersV2]
    resources: type[Resources | ResourcesV2]

    def __str__(self) -> str:
        return self.api.prefix[1:]

    def of(self, graph: OrderGraph) -> OrderGraph:
        """Return *graph*, which is made for version 2.1, as this version has it."""
        return as_v2(graph) if self.api is V2 else graph

    @asynccontextmanager
    async def serving(self, emulator: Emulator, **settings: object) -> AsyncGenerator[CdpOrders | CdpOrdersV2, None]:
        """Give a client of *emulator*."""
        async with served(emulator, **settings) as options, self.client(**options) as cdp:
            yield cdp


NEW, OLD = Version(V2_1, CdpOrders, Resources), Version(V2, CdpOrdersV2, ResourcesV2)
VERSIONS = (NEW, OLD)
in_both_versions = pytest.mark.parametrize("version", VERSIONS, ids=str)


async def sample() -> list[OrderGraph]:
    """Return the packaged orders."""
    packed = importlib.resources.files("cdp_orders_async") / "data" / "orders-50.jsonl.gz"
    with importlib.resources.as_file(packed) as path:
        return [line.graph async for line in GraphFile(path) if line.graph is not None]


def count(graphs: Iterable[OrderGraph]) -> int:
    """Count the parts of orders."""
    return sum(
        1
        + (graph.contact is not None)
        + (graph.extension is not None)
        + len(graph.items)
        + len(graph.consumers)
        + sum(one.extension is not None for one in graph.items)
        for graph in graphs
    )


def wanted(graphs: Iterable[OrderGraph]) -> list[Json]:
    """Return what a server is to hold of *graphs*, in no particular order."""
    return alike(
        {
            **to_json(graph.order),
            "contacts": [] if graph.contact is None else [to_json(graph.contact)],
            "consumers": alike({**to_json(one.consumer), "orderItems": sorted(one.uses)} for one in graph.consumers),
            "orderItems": alike({**to_json(one.item), "extensions": extended(one.extension)} for one in graph.items),
            "extensions": extended(graph.extension),
        }
        for graph in graphs
    )


def extended(pairs: Mapping[str, object] | None) -> list[Json]:
    """Return the extensions of an owner."""
    return [] if pairs is None else [dict(pairs)]


def stored(emulator: Emulator) -> list[Json]:
    """Return what the server holds, as `wanted` has it."""
    orders: Any = orjson.loads(orjson.dumps(emulator.state()["orders"]))
    return alike(
        {
            **bare(one),
            "contacts": [bare(contact) for contact in one["contacts"]],
            "consumers": alike(
                {**bare(user), "orderItems": sorted(used["referenceId"] for used in user["orderItems"])}
                for user in one["consumers"]
            ),
            "orderItems": alike(
                {**bare(part, "orderedAt"), "extensions": [bare(pairs, "name", "key") for pairs in part["extensions"]]}
                for part in one["orderItems"]
            ),
            "extensions": [bare(pairs, "name", "key") for pairs in one["extensions"]],
        }
        for one in orders
    )


def bare(served: Json, *added: str) -> Json:
    """Return what was sent of something that is *served*."""
    return {key: value for key, value in served.items() if key not in SERVED and key not in added}


def alike(values: Iterable[Json]) -> list[Json]:
    """Sort *values* in some way that is always the same."""
    return sorted(values, key=written)


def pieces(orders: Iterable[Json]) -> Counter[bytes]:
    """Count the parts of orders, each with what tells where it belongs."""
    counted: Counter[bytes] = Counter()
    for one in orders:
        parts = {key: one.pop(key) for key in ("contacts", "consumers", "orderItems", "extensions")}
        counted[written(one)] += 1
        for kind, part in ((kind, part) for kind, some in parts.items() for part in some):
            inner: list[Json] = part.pop("extensions", [])
            counted.update(written([one, kind, part, *pairs]) for pairs in ([], *([each] for each in inner)))
    return counted


def written(value: object) -> bytes:
    """Write *value* in a way that is always the same."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def refs(outcomes: Iterable[Outcome]) -> set[str]:
    """Return every reference that outcomes name."""
    return {str(part.ref) for outcome in outcomes for part in outcome.parts}


@asynccontextmanager
async def served(emulator: Emulator, **settings: object) -> AsyncGenerator[Json, None]:
    """Serve *emulator* over a socket; give what makes a client of it that waits little and tries everything once."""
    values: Json = {"timeout": 0.25, "retries": 0, "connections": 20, **settings}
    async with running(emulator) as base_url:
        yield {"base_url": base_url, "client_key": KEY, "api_token": TOKEN, "settings": over(Settings(**values))}


@asynccontextmanager
async def serving(emulator: Emulator, **settings: object) -> AsyncGenerator[CdpOrders, None]:
    """Give a client of *emulator*."""
    async with served(emulator, **settings) as options, CdpOrders(**options) as cdp:
        yield cdp


class Network:
    """A transport without sockets: the emulator itself, and what *fate* says that becomes of each request.

    Fates: ``ok``; ``lost``, sent and its answer lost, done or ``lost, not done``; ``not sent``; ``unreadable``,
    done; ``hung``, never answered; a number, the status of an answer to what was not done; an object, the body of a
    400; ``page 404``, what a gateway shows with that status.
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
            return answer(request, status, orjson.dumps(refusal))
        if fate == "not sent":
            raise NotSent("the wire is cut")
        if fate.startswith("page "):
            return answer(request, int(fate.removeprefix("page ")), b"<html>Come back later</html>")
        body = b"{}"
        status = 200
        if "not done" not in fate:
            endpoint, segments = self.emulator.find(request.method, request.path)
            reply = await self.emulator.answer_slowly(endpoint, segments, asked(request))
            status, body = reply.status, orjson.dumps(reply.body)
        if fate.startswith("hung"):
            await asyncio.get_running_loop().create_future()
        if fate.startswith("lost"):
            raise OutcomeUnknown("the answer is lost")
        return answer(request, status, b"<html>" if fate == "unreadable" else body)


def loading(
    loop: VirtualLoop,
    network: Network,
    graphs: Iterable[OrderGraph],
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


def later(graph: OrderGraph, time: timedelta) -> OrderGraph:
    """Return *graph*, ordered later."""
    return attrs.evolve(graph, order=attrs.evolve(graph.order, ordered_at=graph.order.ordered_at + time))
