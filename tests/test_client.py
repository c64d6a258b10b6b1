"""The client as a whole, against the emulator, and how it finds its configuration."""

from __future__ import annotations

import asyncio
import base64
import inspect
import math
import os
import pickle
import pydoc
import subprocess
import sys
import typing
from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, TypeVar
from unittest.mock import AsyncMock, create_autospec
from uuid import UUID

import aiohttp
import pytest

import cdp_orders_async
from cdp_orders_async import (
    CdpError,
    CdpOrders,
    CdpOrdersV2,
    Consumer,
    Delivery,
    Forbidden,
    Invalid,
    NewConsumer,
    NewContact,
    NewOrder,
    NewOrderItem,
    NotFound,
    NotSent,
    Refused,
    Request,
    Resources,
    ResourcesV2,
    Settings,
    Unauthorized,
    Unreadable,
)
from cdp_orders_async.emulator import Emulator, Faults, running
from cdp_orders_async.emulator.records import Json
from cdp_orders_async.resources import Orders
from tests.servers import Reply, serving
from tests.session.calling import TOKEN, Gate

T = TypeVar("T")

NEW = NewOrder(reference_id="B-1", ordered_at=datetime(2025, 1, 2, tzinfo=UTC), price=Decimal(50), currency_code="EUR")
ITEM = NewOrderItem(
    type="MOBILE", name="AZ10", price=Decimal(50), currency_code="EUR", reference_id="I-1", status="CONFIRMED"
)
NEW_REF = UUID("00000000-0000-4000-8000-000000000000")
VARIABLES = ("CDP_REGION", "CDP_BASE_URL", "CDP_CLIENT_KEY", "CDP_API_TOKEN", "CDP_BEARER_TOKEN", "CDP_RATE")


class StandIn:
    """A transport that sends nothing."""

    async def send(self, request: Request[T], /) -> T:
        """Answer with an empty object."""
        return request.read(b"{}")


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away what the machine may set."""
    for name in (*VARIABLES, "http_proxy", "HTTP_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


async def test_whole_order() -> None:
    """An order with its parts is created, read, changed, listed and deleted."""
    async with (
        running(Emulator(api_token=TOKEN)) as url,
        CdpOrders(base_url=url, client_key="key", api_token=TOKEN) as cdp,
    ):
        order = await cdp.orders.create(NEW)
        item = await cdp.items.create(order.ref, ITEM)
        contact = await cdp.contacts.create(order.ref, NewContact(first_name="Ann", emails=("a@example.com",)))
        consumer = await cdp.consumers.create(order.ref, NewConsumer(first_name="Bob", order_items=(item.ref,)))
        await cdp.order_extensions.create(order.ref, {"first": True})
        await cdp.item_extensions.create(item.ref, {"total": 8})
        await cdp.orders.update(order.ref, {"status": "PURCHASED"})
        assert (await cdp.orders.get(order.ref)).status == "PURCHASED"
        assert [one.ref async for one in cdp.orders.list(reference_id="B-1")] == [order.ref]
        assert [one.ref async for one in cdp.items.list(order.ref)] == [item.ref]
        assert (await cdp.contacts.get(contact.ref)).emails == ("a@example.com",)
        assert isinstance(await cdp.consumers.get(consumer.ref), Consumer)
        assert (await cdp.order_extensions.get(order.ref)).pairs == {"first": True}
        assert (await cdp.item_extensions.get(item.ref)).pairs == {"total": 8}
        await cdp.orders.delete(order.ref)
        with pytest.raises(NotFound):
            await cdp.orders.get(order.ref)


async def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Docker Compose sets a variable that nobody gave to empty text."""
    for name, value in (("CLIENT_KEY", "key"), ("API_TOKEN", TOKEN), ("BEARER_TOKEN", ""), ("REGION", "")):
        monkeypatch.setenv(f"CDP_{name}", value)
    async with running(Emulator(api_token=TOKEN)) as url, CdpOrders(base_url=url) as cdp:
        await cdp.ping()
    with pytest.raises(Invalid, match="must be given together"):  # an argument counts as given
        CdpOrders(base_url="http://127.0.0.1:1", bearer_token="")


@pytest.mark.parametrize("phase", ["before", "accepted", "written", "head", "body"])
@pytest.mark.parametrize("action", ["close", "reset"])
async def test_verdicts_are_true(phase: str, action: str) -> None:
    """Wherever the connection breaks, what is called unsent or refused is not in the emulator's ledger."""
    fault: Json = {"operation": "*", "action": action, "phase": phase, "chance": 0.5}
    emulator = Emulator(api_token=TOKEN, faults=Faults.of({"seed": 7, "faults": [fault]}))
    settings = Settings(trust_env=False, retries=0)
    verdicts: Counter[str] = Counter()
    done = 0
    async with (
        running(emulator) as url,
        CdpOrders(base_url=url, client_key="key", api_token=TOKEN, settings=settings) as cdp,
    ):
        for _ in range(40):
            before = emulator.ledger(0)
            try:
                await cdp.orders.create(NEW)
                verdict = "done"
            except CdpError as error:
                verdict = str(error.delivery)
            effects = emulator.ledger(0) != before
            done += effects
            verdicts[verdict] += 1
            assert effects or verdict not in {"done", Delivery.DONE_UNREADABLE}
            assert not effects or verdict not in {Delivery.NOT_SENT, Delivery.REFUSED}
    assert len(verdicts) == 2
    assert 0 < done <= 40


async def test_wrong_credentials() -> None:
    """The server's refusal is an error of its own, with the server's words."""
    async with (
        running(Emulator(api_token=TOKEN)) as url,
        CdpOrders(base_url=url, client_key="key", api_token=TOKEN + "-not") as cdp,
    ):
        with pytest.raises(Unauthorized) as caught:
            await cdp.orders.create(NEW)
    assert (caught.value.status, caught.value.delivery) == (401, Delivery.REFUSED)
    assert "Authentication credentials are required" in str(caught.value)


@pytest.mark.parametrize(("client", "path"), [(CdpOrders, "/v2.1/orders"), (CdpOrdersV2, "/v2/orders")])
async def test_ping(client: type[CdpOrders | CdpOrdersV2], path: str) -> None:
    """A place and credentials that are right are told by one cheap request, which changes nothing."""
    emulator = Emulator(api_token=TOKEN)
    async with running(emulator) as url, client(base_url=url, client_key="key", api_token=TOKEN) as cdp:
        await cdp.ping()
        assert (emulator.requests, cdp.session.stats.requests) == ({"orders.list": 1}, 1)
    assert emulator.ledger(0)["effects"] == []
    page = Reply(body=b'{"href":"","offset":0,"limit":1,"items":[]}')
    async with serving(page) as server, client(base_url=server.url, client_key="key", api_token=TOKEN) as cdp:
        await cdp.ping()
        assert (server.requests[0].method, server.requests[0].target.partition("?")[0]) == ("GET", path)


@pytest.mark.parametrize("client", [CdpOrders, CdpOrdersV2])
@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (Reply(401, b'{"status":"UNAUTHORIZED","code":401}'), Unauthorized),
        (Reply(403, b"{}"), Forbidden),
        (Reply(404, b"<html>no such page</html>"), NotFound),
        (Reply(302, b"", {"Location": "/login"}), Refused),
        (Reply(200, b"<html>welcome</html>"), Unreadable),
        (Reply(200, b"{}"), Unreadable),
        (Reply(200, b"[]"), Unreadable),
        (Reply(200, b""), Unreadable),
    ],
)
async def test_ping_of_something_else(
    client: type[CdpOrders | CdpOrdersV2], reply: Reply, error: type[CdpError]
) -> None:
    """Credentials that are refused, and what is not this API, are told apart by the error."""
    settings = Settings(retries=0, trust_env=False)
    async with (
        serving(reply) as server,
        client(base_url=server.url, client_key="key", api_token=TOKEN, settings=settings) as cdp,
    ):
        with pytest.raises(error):
            await cdp.ping()
    assert len(server.requests) == 1


async def test_ping_of_nothing() -> None:
    """Where nothing answers, nothing was sent; a wrong key and a path that leads elsewhere are refused."""
    settings = Settings(retries=0, trust_env=False)
    async with running(Emulator(api_token=TOKEN)) as url:
        for base_url, key, error in ((url, "another", Unauthorized), (f"{url}/cdp", "key", NotFound)):
            async with CdpOrders(base_url=base_url, client_key=key, api_token=TOKEN, settings=settings) as cdp:
                with pytest.raises(error):
                    await cdp.ping()
    async with CdpOrders(base_url=url, client_key="key", api_token=TOKEN, settings=settings) as cdp:
        with pytest.raises(NotSent):
            await cdp.ping()


async def test_ping_is_interactive() -> None:
    """It waits for its turn in the lane that goes before bulk work."""
    settings = Settings(rate=1, deadline=None, trust_env=False)
    async with CdpOrders(base_url="http://127.0.0.1:1", client_key="key", api_token=TOKEN, settings=settings) as cdp:
        assert cdp.session.autorate is not None
        limiter = cdp.session.autorate.limiter(reads=True)
        limiter.pause_until(math.inf)
        ping = asyncio.create_task(cdp.ping())
        while not (limiter.waiting or ping.done()):  # noqa: ASYNC110 nothing else tells it
            await asyncio.sleep(0)
        assert limiter.overtaking() == 1  # of one interactive call, at one a second
        ping.cancel()
        await asyncio.wait([ping])


async def test_configuration_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not given is taken from the environment."""
    async with serving() as server:
        monkeypatch.setenv("CDP_BASE_URL", server.url)
        monkeypatch.setenv("CDP_REGION", "")
        monkeypatch.setenv("CDP_CLIENT_KEY", "key")
        monkeypatch.setenv("CDP_API_TOKEN", "token")
        monkeypatch.setenv("CDP_RATE", "99")
        async with CdpOrders() as cdp:
            assert (cdp.base_url, cdp.session.settings.rate, cdp.session.limiter.rate) == (server.url, 99, 99)
            await cdp.order_extensions.delete(NEW_REF)
    assert server.requests[0].headers["authorization"] == "Basic a2V5OnRva2Vu"


@pytest.mark.parametrize("empty", ["client_key", "api_token"])
def test_an_empty_argument_is_none(empty: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A credential that is given empty is refused: that of the environment may belong to another tenant."""
    monkeypatch.setenv("CDP_CLIENT_KEY", "elsewhere")
    monkeypatch.setenv("CDP_API_TOKEN", TOKEN)
    given = {"client_key": "key", "api_token": TOKEN, empty: ""}
    with pytest.raises(Invalid, match="must be given together"):
        CdpOrders(base_url="https://api.test", client_key=given["client_key"], api_token=given["api_token"])


async def test_arguments_come_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is given in Python wins: the place, the way to authenticate, and the settings as a whole."""
    for name, value in zip(VARIABLES, ("eu", "https://env.test", "env", "env", "env", "99"), strict=True):
        monkeypatch.setenv(name, value)
    assert CdpOrders(base_url="https://api.test").base_url == "https://api.test"
    assert CdpOrders(region="us", settings=Settings()).session.settings.rate is None
    async with serving() as server:
        for cdp in (
            CdpOrders(base_url=server.url, client_key="key", api_token=TOKEN),
            CdpOrders(base_url=server.url, client_key="key"),
            CdpOrders(base_url=server.url, bearer_token=TOKEN),
            CdpOrders(base_url=server.url),
        ):
            async with cdp:
                await cdp.order_extensions.delete_fields(NEW_REF, None)
    assert [asked.headers["authorization"] for asked in server.requests] == [
        f"Basic {base64.b64encode(f'key:{TOKEN}'.encode()).decode()}",
        "Basic a2V5OmVudg==",  # key:env
        f"Bearer {TOKEN}",
        "Bearer env",
    ]


async def test_arguments_are_checked_before_anything_is_sent() -> None:
    """What is missing or wrong is refused by the constructor, by its name."""
    with pytest.raises(Invalid, match=r"^region, base_url: "):
        CdpOrders(client_key="key", api_token=TOKEN)
    with pytest.raises(Invalid, match=r"^region: must be one of"):
        CdpOrders(region="moon", client_key="key", api_token=TOKEN)
    with pytest.raises(Invalid, match="CDP_API_TOKEN"):
        CdpOrders(region="eu", client_key="key")
    with pytest.raises(Invalid, match=r"^base_url: must be https"):
        CdpOrders(base_url="http://api.test", client_key="key", api_token=TOKEN)


async def test_your_own_session_and_limiter() -> None:
    """A session of one's own is used and stays open; a further limiter is asked before each request."""
    asked: list[str] = []

    class Shared:
        async def acquire(self) -> None:
            asked.append("once")

    async with serving() as server, aiohttp.ClientSession() as http:
        cdp = CdpOrders(base_url=server.url, bearer_token=TOKEN, http_session=http, shared_limiter=Shared())
        for _ in range(2):
            await cdp.order_extensions.delete(NEW_REF)
        for _ in range(2):
            await cdp.aclose()
        assert not http.closed
        with pytest.raises(RuntimeError, match=r"^the client is closed$"):
            await cdp.orders.get(NEW_REF)
    assert asked == ["once", "once"]
    assert len(server.requests) == 2


def test_made_outside_a_loop() -> None:
    """The constructor needs no event loop; a closed client has closed its connections."""
    cdp = CdpOrders(region="eu", client_key="key", api_token=TOKEN)

    async def main() -> None:
        async with cdp:
            pass

    asyncio.run(main())
    asyncio.run(main())


def test_client_shows_no_secret() -> None:
    """The repr of a client and of what it holds names the server, and no credentials; none of it can be pickled."""
    cdp = CdpOrders(region="eu", client_key="canary-key", api_token=TOKEN)
    assert repr(cdp) == "CdpOrders('https://api-engage-eu.sitecorecloud.io')"
    assert "canary" not in f"{cdp.session!r}{cdp.session.settings!r}{cdp.orders!r}"
    for what in (cdp, cdp.session, cdp.orders):
        with pytest.raises(TypeError) as caught:
            pickle.dumps(what)
        assert str(caught.value) == "a session cannot be pickled; pickle its Settings and make a new one"


async def test_old_names_of_arguments() -> None:
    """The names that two arguments had hold for one more release, with a warning that points at the caller."""
    gate = Gate()
    async with aiohttp.ClientSession() as http:
        with pytest.warns(DeprecationWarning, match="the argument session is now http_session") as caught:
            cdp = CdpOrders(region="eu", bearer_token=TOKEN, session=http)
        assert caught[0].filename == __file__
        await cdp.aclose()
        with pytest.raises(Invalid, match=r"^http_session: must be given once: session is its old name$"):
            CdpOrders(region="eu", bearer_token=TOKEN, session=http, http_session=http)
    with pytest.warns(DeprecationWarning, match="the argument limiter is now shared_limiter"):
        cdp = CdpOrders(region="eu", bearer_token=TOKEN, limiter=gate)
    async with cdp:
        call = asyncio.create_task(cdp.orders.get(NEW_REF))
        await gate.reached.wait()
        call.cancel()
        await asyncio.wait([call])


def test_identity() -> None:
    """What a journal belongs to is told by the client: the place, and which tenant, without the key or the token."""
    eu = "https://api-engage-eu.sitecorecloud.io"
    cdp = CdpOrders(region="eu", client_key="canary-key", api_token=TOKEN)
    assert cdp.identity == {"base URL": eu, "client key": "3ce8593ebb31"}
    assert CdpOrdersV2(region="eu", client_key="canary-key", api_token=TOKEN).identity == {
        **cdp.identity,
        "API version": "2",
    }
    assert CdpOrders(region="eu", client_key="another", api_token=TOKEN).identity != cdp.identity
    assert CdpOrders(region="eu", client_key="canary-key", api_token="renewed").identity == cdp.identity  # noqa: S106
    assert "canary" not in str(cdp.identity)
    with_token = CdpOrders(region="eu", bearer_token=TOKEN)
    assert with_token.identity == {"base URL": eu, "client key": "ddd9c40767f9"}
    assert with_token.identity == CdpOrders(region="eu", bearer_token="renewed").identity  # noqa: S106
    for same in (f"{eu}/", f"{eu}:443", eu.upper()):
        assert CdpOrders(base_url=same, client_key="canary-key", api_token=TOKEN).identity == cdp.identity
        assert Resources(StandIn(), same).identity == {"base URL": eu}
    assert ResourcesV2(StandIn(), "a stand-in").identity == {"base URL": "a stand-in", "API version": "2"}


def test_identity_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client key of the environment counts as one that is given, except beside a bearer token."""
    monkeypatch.setenv("CDP_CLIENT_KEY", "canary-key")
    monkeypatch.setenv("CDP_API_TOKEN", TOKEN)
    given = CdpOrders(region="eu", client_key="canary-key", api_token=TOKEN)
    assert CdpOrders(region="eu").identity == given.identity
    bearer = CdpOrders(region="eu", bearer_token=TOKEN)
    assert bearer.identity != given.identity


@pytest.mark.parametrize("client", [CdpOrders, CdpOrdersV2, Resources, ResourcesV2])
def test_resources_are_declared(client: type[Resources | ResourcesV2]) -> None:
    """Help, type hints and autospec see the resources on the class."""
    names = [kind.name for kind in client.api.kinds]
    shown = pydoc.plain(pydoc.render_doc(client))
    assert typing.get_type_hints(client).keys() >= {*names}
    assert inspect.get_annotations(client).keys() >= {*names}
    for name in names:
        assert f" {name} = <class" in shown
    double: Any = create_autospec(client, instance=True)
    for name in names:
        resource = getattr(double, name)
        assert isinstance(resource.create, AsyncMock)
        with pytest.raises(AttributeError):
            _ = resource.no_such_verb
        with pytest.raises(TypeError):
            resource.create()


def test_resources_are_made_once() -> None:
    """A resource stays the same object, is one's own to replace, and belongs to its client."""
    first, second = (Resources(StandIn(), "https://api.test") for _ in range(2))
    assert first.orders is first.orders
    assert first.orders is not second.orders
    stand_in = create_autospec(Orders, instance=True)
    first.orders = stand_in
    assert first.orders is stand_in


def test_help_shows_nothing_of_the_environment() -> None:
    """The help of no public name shows a value of the environment: no default value holds one."""
    code = (
        "import pydoc, cdp_orders_async as package\n"
        "for name in package.__all__: print(name, pydoc.plain(pydoc.render_doc(f'cdp_orders_async.{name}')))"
    )
    environ = {**os.environ, "CDP_API_TOKEN": "canary-value", "CANARY": "canary-value"}
    run = subprocess.run([sys.executable, "-c", code], env=environ, check=True, capture_output=True, text=True)
    assert all(name in run.stdout for name in cdp_orders_async.__all__)
    assert "canary-value" not in run.stdout
