"""What a server says unasked on a resting connection is no answer to the next question."""

from __future__ import annotations

import asyncio

import pytest

from cdp_orders_async import Order
from tests.conformance.answering import REF, connected, http, listening
from tests.servers import read_body, read_head

pytestmark = pytest.mark.usefixtures("way")

WHOLE = b'{"ref": "%b"}' % str(REF).encode()
OTHER = b'{"ref": "00000000-0000-4000-8000-000000000000"}'


@pytest.mark.parametrize(
    "unasked",
    [http(b"{}", 408, "Connection: close"), http(OTHER), http(OTHER)[:-1], b"noise"],
    ids=["a time-out", "another answer", "most of one", "noise"],
)
async def test_answer_before_the_question(unasked: bytes) -> None:
    """What a server says on a resting connection, as a time-out or by mistake, is no answer to the next question."""
    rested, said = asyncio.Event(), asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_body(reader, await read_head(reader, 1))
            writer.write(http(WHOLE))
            await writer.drain()
            await rested.wait()
            if not said.is_set():
                writer.write(unasked)
                await writer.drain()
                said.set()

    async with listening(talk) as base_url, connected(base_url) as cdp:
        assert await cdp.orders.get(REF) == Order(ref=REF)
        rested.set()
        await said.wait()
        for _ in range(20):  # until the client has read it
            await asyncio.sleep(0)
        assert await cdp.orders.get(REF) == Order(ref=REF)
