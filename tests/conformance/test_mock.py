"""Against a server that knows nothing but the OpenAPI file, every call and every load is described and understood."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdp_orders_async import CdpOrders, GraphConsumer, GraphItem, NewConsumer, OrderGraph, Settings, Verdict, ingest_one
from tests import values
from tests.calls import CALLS, ITEM, ORDER, Refs
from tests.conformance.mock import answers, mocking
from tests.ingest.orders import count, whole

NAMELESS = OrderGraph(
    order=ORDER,
    items=(GraphItem(attrs.evolve(ITEM, reference_id="")),),
    consumers=(GraphConsumer(NewConsumer(), ("",)),),
)
"""An order with an item whose reference id is empty, and a consumer who uses it."""
QUIET = Settings(trust_env=False, retries=0)


def client(base_url: str) -> CdpOrders:
    """Return a client of the mock."""
    return CdpOrders(base_url=base_url, client_key="key", api_token="token", settings=QUIET)  # noqa: S106 it guards nothing


@pytest.mark.parametrize("operation", CALLS)
@settings(max_examples=25)
@given(data=st.data())
async def test_every_call(operation: str, data: st.DataObject) -> None:
    """Each operation is described by the file, and whatever the file lets the server answer is read."""
    drawn = data.draw(answers(operation, f"{operation.partition('.')[0]}.get"))
    async with mocking(drawn) as (mock, base_url), client(base_url) as cdp:
        await CALLS[operation](cdp, Refs())
    assert mock.refused == []
    assert mock.asked.total() >= 1


@settings(max_examples=25)
@given(
    drawn=answers(*(name for name in CALLS if name.endswith(".create"))),
    graph=st.sampled_from([whole(), NAMELESS]) | values.graphs(),
)
async def test_every_load(drawn: dict[str, object], graph: OrderGraph) -> None:
    """Any whole order is loaded with one described request for each of its parts."""
    graph = attrs.evolve(graph, mode="insert")  # the other mode looks first
    async with mocking(drawn) as (mock, base_url), client(base_url) as cdp:
        outcome = await ingest_one(cdp, graph)
    assert mock.refused == []
    assert outcome.verdict is Verdict.LOADED
    assert mock.asked.total() == count([graph])
