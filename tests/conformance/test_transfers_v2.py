"""Whatever bytes come back, a call of version 2 ends as one of version 2.1 does: in time, in a value or in an error."""

from __future__ import annotations

import asyncio

import pytest

from cdp_orders_async import (
    BadRequest,
    CdpError,
    CdpOrdersV2,
    Delivery,
    Extension,
    NotFound,
    OrderV2,
    OutcomeUnknown,
    Unreadable,
)
from tests.calls import Refs
from tests.conformance.answering import REF, ended, http, listening
from tests.conformance.test_transfers import CUT, EMPTY, ENDLESS, HTML, LOST, READ, SMALL, UNREADABLE
from tests.servers import Cut, Reply, read_body, read_head, serving
from tests.v2.test_calls import CALLS
from tests.ways import over

pytestmark = pytest.mark.usefixtures("way")

NAMES = ("orders.create", "orders.get", "orders.update", "contacts.delete", "items.list", "order_extensions.create")
"""One call of each form."""


def client(base_url: str) -> CdpOrdersV2:
    """Return a client of a server."""
    return CdpOrdersV2(base_url=base_url, client_key="key", api_token="token", settings=over(SMALL))  # noqa: S106 it guards nothing


async def result(name: str, raw: bytes) -> object:
    """Return what a call to a server that answers with *raw* ends in."""
    async with serving(Cut("in the body", "close", Reply(raw=raw))) as server, client(server.url) as cdp:
        return await ended(CALLS[name](cdp, Refs()))


@pytest.mark.parametrize("form", READ)
@pytest.mark.parametrize("name", NAMES)
async def test_strange_but_legal(name: str, form: str) -> None:
    """A good answer is read in whatever form it comes, 200 or 201."""
    found = await result(name, READ[form])
    match name:
        case "contacts.delete":
            assert found is None
        case "items.list":
            assert found == []
        case "order_extensions.create":
            assert found == Extension(ref=REF, name="ext")
        case _:
            assert found == OrderV2(ref=REF)


@pytest.mark.parametrize("form", EMPTY)
@pytest.mark.parametrize("name", NAMES)
async def test_empty_success(name: str, form: str) -> None:
    """Success without a body is the end of a deletion, and nothing that anybody can read otherwise."""
    found = await result(name, EMPTY[form])
    assert found is None if name.endswith("delete") else isinstance(found, Unreadable)


@pytest.mark.parametrize("form", [*UNREADABLE, *CUT, *LOST])
@pytest.mark.parametrize("name", NAMES)
async def test_no_answer(name: str, form: str) -> None:
    """What is no answer is an error, which says how far the call got."""
    found = await result(name, {**UNREADABLE, **CUT, **LOST}[form])
    assert isinstance(found, CdpError)
    assert (type(found), found.delivery) == (
        (OutcomeUnknown, Delivery.UNKNOWN) if form in LOST else (Unreadable, Delivery.DONE_UNREADABLE)
    )


@pytest.mark.parametrize(("status", "kind"), [(400, BadRequest), (404, NotFound)])
@pytest.mark.parametrize("body", [b"", HTML, b"[" * 100_000, b'{"moreInfo": 1}'])
@pytest.mark.parametrize("name", NAMES)
async def test_refusal_with_any_body(name: str, body: bytes, status: int, kind: type[CdpError]) -> None:
    """A refusal is one whatever comes with it."""
    assert type(await result(name, http(body, status))) is kind


@pytest.mark.parametrize("form", ENDLESS)
async def test_endless_answer(form: str) -> None:
    """An answer that does not end is left at the limit."""
    head, piece = ENDLESS[form]

    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_body(reader, await read_head(reader, 1))
        writer.write(head)
        while not writer.transport.is_closing():
            writer.write(piece)
            await writer.drain()

    async with listening(pour) as base_url, client(base_url) as cdp:
        assert isinstance(await ended(CALLS["orders.get"](cdp, Refs())), Unreadable)
