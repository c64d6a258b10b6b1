"""The two versions of the API, and orders as each has them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TypeVar

import attrs
import pytest

from cdp_orders_async import (
    V2,
    V2_1,
    Api,
    CdpOrders,
    CdpOrdersV2,
    FlightSegment,
    GraphItem,
    NewConsumerV2,
    NewContactV2,
    NewOrderItemV2,
    NewOrderV2,
    OrderGraph,
    Resources,
    ResourcesV2,
)
from cdp_orders_async.emulator import Emulator
from tests.ingest.orders import Json
from tests.ingest.serving import served

M = TypeVar("M", bound=attrs.AttrsInstance)

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
