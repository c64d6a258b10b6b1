"""The Batch API of the emulator: what it answers, what it refuses, and that it judges records as the REST API does."""

from __future__ import annotations

import base64
import copy
import gzip
import hashlib
import random
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, TypeGuard
from uuid import UUID

import aiohttp
import attrs
import orjson
import pytest

from cdp_orders_async.emulator import Emulator, Switches, running
from cdp_orders_async.emulator.service import Asked
from tests.cli.support import Json, orders
from tests.engines.support import importable, real, state

REF = "0f6f6b4e-7d55-4b4e-9d55-0f6f6b4e7d55"
GOOD: Json = importable(orders(1)[0])
BASIC = aiohttp.encode_basic_auth("key", "token")


@attrs.define
class Talk:
    """Talks to the Batch API of a server."""

    base_url: str
    session: aiohttp.ClientSession

    async def ask(self, method: str, path: str, body: Json | None = None) -> tuple[int, Any]:
        """Send a request with credentials; return the status and the JSON."""
        async with self.session.request(
            method, self.base_url + path, json=body, headers={"Authorization": BASIC}
        ) as answer:
            return answer.status, orjson.loads(await answer.read())

    async def announce(self, data: bytes, ref: str = REF) -> tuple[int, Any]:
        """Announce a file."""
        body = {"checksum": hashlib.md5(data, usedforsecurity=False).hexdigest(), "size": str(len(data))}
        return await self.ask("PUT", f"/v2/batches/{ref}", body)

    async def upload(self, href: str, data: bytes, **headers: str) -> int:
        """Upload a file without credentials; return the status."""
        digest = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
        given = {"x-amz-server-side-encryption": "AES256", "Content-Md5": digest, **headers}
        async with self.session.put(href, data=data, headers=given) as answer:
            return answer.status

    async def send(self, records: list[Json], ref: str = REF) -> Json:
        """Send a file of *records*; return the batch."""
        data = gzip.compress(b"".join(orjson.dumps(record) + b"\n" for record in records))
        _, batch = await self.announce(data, ref)
        assert await self.upload(batch["location"]["href"], data) == 200
        _, batch = await self.ask("GET", f"/v2/batches/{ref}")
        return dict(batch)

    async def log(self, batch: Json) -> list[Json]:
        """Return the rows of the error log of a batch."""
        async with self.session.get(batch["status"]["log"]) as answer:
            return [orjson.loads(line) for line in gzip.decompress(await answer.read()).splitlines()]


@asynccontextmanager
async def talking(switches: Switches | None = None, **options: Any) -> AsyncGenerator[tuple[Emulator, Talk], None]:  # noqa: ANN401 those of the emulator
    """Give an emulator and a talk with it."""
    server = Emulator(switches=switches, **options)
    async with running(server) as base_url, aiohttp.ClientSession() as session:
        yield server, Talk(base_url, session)


def record(value: Json, mode: str = "insert", n: int = 1) -> Json:
    """Return an import record."""
    return {"ref": str(UUID(int=n)), "schema": "order", "mode": mode, "value": value}


async def test_life_of_a_batch() -> None:
    """It is announced, uploaded and processed; its status, its details and the list say so."""
    async with talking() as (server, talk):
        data = gzip.compress(orjson.dumps(record(GOOD)) + b"\n")
        status, batch = await talk.announce(data)
        assert (status, batch["status"], batch["ref"]) == (201, {"code": "uploading"}, REF)
        assert (batch["size"], batch["href"]) == (len(data), f"{talk.base_url}/v2/batches/{REF}")
        _, found = await talk.ask("GET", f"/v2/batches/inspect/{REF}")
        assert found["file_uploaded"] is False
        assert await talk.upload(batch["location"]["href"], data) == 200
        _, found = await talk.ask("GET", f"/v2/batches/inspect/{REF}")
        assert (found["file_uploaded"], found["status"], "location" in found) == (True, {"code": "success"}, False)
        assert await talk.announce(data) == (409, (await talk.announce(data))[1])
        _, listed = await talk.ask("GET", "/v2/batches/inspect?status=success&limit=5")
        assert (listed["totalCount"], [item["ref"] for item in listed["items"]]) == (1, [REF])
        _, listed = await talk.ask("GET", "/v2/batches/inspect?createdBefore=2001-01-01T00:00:00Z")
        assert listed["totalCount"] == 0
        assert (await talk.ask("GET", f"/v2/batches/{UUID(int=9)}"))[0] == 404
        assert (await talk.ask("PUT", f"/v2/batches/{UUID(int=9)}", {"checksum": "x", "size": 1}))[0] == 400
        server.reset()
        assert (await talk.ask("GET", "/v2/batches/inspect"))[1]["totalCount"] == 0


async def test_location_takes_only_what_was_signed() -> None:
    """No credentials, no other signature, no expired one, and no other bytes than those of the digest."""
    now = [datetime(2026, 1, 1, tzinfo=UTC)]
    async with talking(clock=lambda: now[0]) as (server, talk):
        data = gzip.compress(b"x")
        _, batch = await talk.announce(data)
        href = batch["location"]["href"]
        assert await talk.upload(href, data, Authorization=BASIC) == 400
        assert await talk.upload(href[:-1] + "x", data) == 403
        assert await talk.upload(href, data, **{"Content-Md5": "x"}) == 400
        assert await talk.upload(href, data, **{"x-amz-server-side-encryption": "none"}) == 403
        now[0] += timedelta(hours=1)
        assert await talk.upload(href, data) == 403
        assert server.batches.all()[0].uploads == 0
        status, batch = await talk.announce(data)
        assert (status, await talk.upload(batch["location"]["href"], data)) == (200, 200)


async def test_damaged_and_foreign_files() -> None:
    """Another checksum or size is corrupted; what is not gzip fails, and its log says so."""
    async with talking() as (_, talk):
        _, batch = await talk.announce(b"announced")
        await talk.upload(batch["location"]["href"], b"another")
        _, batch = await talk.ask("GET", f"/v2/batches/{REF}")
        assert batch["status"] == {"code": "corrupted"}
        _, batch = await talk.announce(b"no gzip")
        await talk.upload(batch["location"]["href"], b"no gzip")
        _, batch = await talk.ask("GET", f"/v2/batches/{REF}")
        assert batch["status"]["code"] == "error"
        assert await talk.log(batch) == [{"ref": None, "code": 400, "message": "The file is not gzip."}]


async def test_modes() -> None:
    """Insert replaces the order with its parts, upsert changes what is sent, delete deletes within a day."""
    async with talking() as (server, talk):
        await talk.send([record(GOOD)], str(UUID(int=1)))
        once = state(server)
        await talk.send([record(GOOD)], str(UUID(int=2)))
        assert state(server) == once
        change = {key: GOOD[key] for key in ("referenceId", "orderedAt", "channel", "pointOfSale")}
        batch = await talk.send([record({**change, "price": 9, "extensions": [{"a": 1}]}, "upsert")], str(UUID(int=3)))
        assert batch["status"] == {"code": "success"}
        (order,) = state(server)
        assert (order["price"], len(order["orderItems"]), len(order["consumers"])) == (9, 1, 1)
        assert [extension["a"] for extension in order["extensions"]] == [1]
        refused = [
            record(GOOD, "upsert"),
            record(GOOD, "merge"),
            record(GOOD, "sideways"),
            record({"referenceId": "B-0", "orderedAt": "2024-01-03T00:00:00Z"}, "delete"),
            {**record(GOOD), "schema": "guest"},
        ]
        batch = await talk.send(refused, str(UUID(int=4)))
        assert [row["code"] for row in await talk.log(batch)] == [400, 402, 400, 404, 400]
        await talk.send([record({"referenceId": "B-0"}, "delete")], str(UUID(int=5)))
        assert state(server) == []


def places(value: Any) -> Iterator[tuple[Any, Any]]:  # noqa: ANN401 JSON data
    """Yield each object or list in JSON data, with each of its keys."""
    held: Iterator[tuple[Any, Any]] = iter(value.items() if isinstance(value, dict) else enumerate(value))
    for key, inner in held:
        yield value, key
        if isinstance(inner, (dict, list)):
            yield from places(inner)


WRONG: tuple[Any, ...] = (
    None,
    "",
    -1,
    True,
    [],
    {},
    "x" * 129,
    "2024-13-01",
    "FLIGHT",
    [1],
    {"a": []},
    2**40,
    "\U0001f600",
)
REQUIRED = ("channel", "pointOfSale", "status", "paymentType", "cardType", "productId", "description", "vendor")
BATCH_ONLY = (*(f"{field}: may not be null." for field in REQUIRED), "referenceId: must name an item of this order.")
"""What only the Batch API can refuse: fields that it alone requires, and names, where requests have links."""


def by_rest(server: Emulator, value: Json) -> bool:
    """Send an order with its parts by the REST API; tell whether any of it was refused."""
    order = copy.deepcopy(value)
    parts = {key: order.pop(key, None) for key in ("contact", "orderItems", "consumers", "extensions")}
    made = post(server, "/v2.1/orders", order)
    if made is None:
        return True
    at = f"/v2.1/orders/{made}"
    items: dict[str, str] = {}
    for item in parts["orderItems"] or ():
        extensions = item.pop("extensions", None) or ()
        ref = post(server, f"{at}/orderItems", item)
        if ref is None or any(not extended(server, f"/v2.1/orderItems/{ref}", one) for one in extensions):
            return True
        items[str(item.get("referenceId"))] = ref
    if parts["contact"] is not None and post(server, f"{at}/contacts", parts["contact"]) is None:
        return True
    for consumer in parts["consumers"] or ():
        uses = [items.get(str(use.get("referenceId")), "") for use in consumer.pop("orderItems", None) or ()]
        links = {"orderItems": {"items": [{"href": f"/{use}"} for use in uses]}} if uses else {}
        if post(server, f"{at}/consumers", {**consumer, **links}) is None:
            return True
    return any(not extended(server, at, one) for one in parts["extensions"] or ())


def extended(server: Emulator, at: str, extension: Json) -> bool:
    """Create an extension, whose name stands in the path; tell whether it was taken."""
    if (extension.get("name", "ext"), extension.get("key", "default")) != ("ext", "default"):
        return False
    pairs = {key: held for key, held in extension.items() if key not in {"name", "key"}}
    return post(server, f"{at}/extensions/ext", pairs) is not None


def post(server: Emulator, path: str, body: Any) -> str | None:  # noqa: ANN401 JSON data
    """Send a create; return the ref, None if it was refused."""
    asked = Asked("POST", path, {}, "http://h", BASIC, "application/json", None, orjson.dumps(body))
    reply = server.answer(*server.find("POST", path), asked)
    return str((reply.body or {})["ref"]) if reply.status == 201 else None


def mutations(count: int, seed: int) -> Iterator[Json]:
    """Yield so many real orders, each with one value that is replaced or left out."""
    chance = random.Random(seed)  # noqa: S311 nothing secret
    values = [one["value"] for one in real(50)]
    while count:
        value = copy.deepcopy(chance.choice(values))
        owner, key = chance.choice(list(places(value)))
        wrong = chance.choice(WRONG)
        if isinstance(owner, dict) and wrong is None and chance.random() < 0.5:
            del owner[key]
        else:
            owner[key] = wrong
        if shaped(value):
            count -= 1
            yield value


def shaped(value: Json) -> bool:
    """Tell whether the parts of an order are nested as they must be: only then it can be sent by requests at all."""
    items, consumers = value.get("orderItems"), value.get("consumers", [])
    if not objects(items) or not objects(consumers) or not isinstance(value.get("contact"), dict | None):
        return False
    extensions = [owner.get("extensions", []) for owner in (value, *items)]
    nested = [*extensions, *(consumer.get("orderItems", []) for consumer in consumers)]
    return all(map(objects, nested))


def objects(value: object) -> TypeGuard[list[Json]]:
    """Tell whether a value is a list of objects."""
    return isinstance(value, list) and all(isinstance(each, dict) for each in value)


async def test_what_one_api_refuses_the_other_refuses() -> None:
    """Generated bad records: the same are refused, except where only the Batch API requires a field."""
    refused = taken = 0
    async with talking() as (server, talk):
        for n, value in enumerate(mutations(400, 1)):
            server.reset()
            data = orjson.dumps(record(value, n=n + 1))
            batch = await talk.send([orjson.loads(data)], str(UUID(int=n + 1)))
            rows = await talk.log(batch) if batch["status"]["code"] == "error" else []
            by_batch = [row["message"] for row in rows]
            server.reset()
            if by_rest(server, value) != bool(by_batch):
                assert any(rule in message for message in by_batch for rule in BATCH_ONLY), (value, by_batch)
            refused += bool(by_batch)
            taken += not by_batch
    assert refused > 100
    assert taken > 100


@pytest.mark.parametrize("items", ["refuse", "ignore"])
async def test_upsert_with_items_is_a_switch(items: Any) -> None:  # noqa: ANN401 a word of the switch
    """The vendor does not support it, and does not say what happens."""
    async with talking(Switches(batch_upsert_items=items)) as (server, talk):
        batch = await talk.send([record({**GOOD, "consumers": []}, "upsert")])
        assert batch["status"]["code"] == {"refuse": "error", "ignore": "success"}[items]
        assert len(list(server.store.all("items"))) == 0
