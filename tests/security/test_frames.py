"""No frame of the library passes the boundary of what is public: whatever was given is not shown by what is raised."""

from __future__ import annotations

import errno
import os
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import pytest

from cdp_orders_async import (
    CdpOrders,
    CdpOrdersV2,
    Credentials,
    GraphConsumer,
    GraphFile,
    GraphItem,
    InputError,
    Invalid,
    JournalError,
    MemoryJournal,
    NewContact,
    NotSent,
    Opaque,
    OrderGraph,
    Resources,
    Session,
    Settings,
    assign_references,
    ingest,
    ingest_one,
    parse_graph,
)
from tests.calls import CALLS as EVERY
from tests.calls import ORDER
from tests.cli.support import write
from tests.security.canaries import CALLS, PAIRS, PERSON, TOKEN, WHOLE, client, failure, leaks
from tests.security.sinks import OF_ERRORS, by_sentry_now
from tests.servers import Reply, serving

REF = UUID(int=4)
BROKEN = "canary\ud800"
"""What UTF-8 cannot carry."""
LONG_TOKEN = "canary-token-" * 12
"""Longer than what shows texts leaves of them."""


Call = Callable[[Any], Awaitable[object]]
"""Something that is done with a client."""


async def called(held: Opaque[Callable[[], object]]) -> None:
    """Call what is held, from a frame that shows nothing of it."""
    made = held.open()()
    if isinstance(made, Awaitable):
        await made


def asked(resource: str, verb: str, *given: object, **named: object) -> Call:
    """Return a call of a verb."""
    held = Opaque((given, named))
    return lambda cdp: called(Opaque(partial(getattr(getattr(cdp, resource), verb), *held.open()[0], **held.open()[1])))


def made(make: Callable[..., object], *given: object, **named: object) -> Call:
    """Return a call that makes something."""
    held = Opaque(partial(make, *given, **named))
    return lambda _: called(held)


KINDS = ("orders", "items", "contacts", "consumers", "order_extensions", "item_extensions")
EXTENSIONS = KINDS[4:]
CHANGES: tuple[object, ...] = (
    *({5: "canary"}, {"first_name": BROKEN}, "canary", {"canary@x.y": 1}, ["canary"], {b"canary": "canary"}),
)
NEW: tuple[object, ...] = (
    *({"first_name": "canary", "1": {}}, {1: "canary"}, "canary", NewContact(first_name=BROKEN), {"a": [BROKEN]}),
)
UNWRITABLE: tuple[object, ...] = ({"first_name": BROKEN}, {"a": object, "b": "canary"})
EMAIL: dict[str, Any] = {"email": "canary@example.com"}
WRONG: dict[str, Call] = {
    **{
        f"{kind}.{verb} of no ref": asked(kind, verb, "canary-ref", PERSON)
        for kind in KINDS[1:4]
        for verb in ("create", "replace")
    },
    **{
        f"{kind}.{verb} of no ref": asked(kind, verb, "canary-ref", PAIRS)
        for kind in EXTENSIONS
        for verb in ("create", "replace", "update")
    },
    **{f"{kind}.update {at}": asked(kind, "update", REF, value) for kind in KINDS for at, value in enumerate(CHANGES)},
    **{f"{kind}.create {at}": asked(kind, "create", REF, value) for kind in KINDS[1:] for at, value in enumerate(NEW)},
    **{
        f"{kind}.{verb} {at}": asked(kind, verb, REF, value)
        for kind in ("contacts", "consumers", "order_extensions")
        for verb in ("to_update", "to_replace")
        for at, value in enumerate(UNWRITABLE)
    },
    "contacts.to_create": asked("contacts", "to_create", REF, NewContact(first_name=BROKEN)),
    "delete_fields": asked("order_extensions", "delete_fields", "canary-ref", ["canary", "other"]),
    "delete_fields of names": asked("order_extensions", "delete_fields", REF, ["canary|", "other"]),
    "orders.create": asked("orders", "create", {"referenceId": "canary"}),
    "orders.list": asked("orders", "list", reference_id=BROKEN),
    **{
        f"{kind}.{verb} with fields as arguments": asked(kind, verb, REF, first_name="canary", others=PERSON)
        for kind in KINDS
        for verb in ("create", "update", "replace", "get", "list", "delete", "delete_fields", "to_update")
        if hasattr(getattr(CdpOrders, kind), verb)
    },
    "ingest_one with another argument": lambda cdp: called(Opaque(partial(ingest_one, cdp, **EMAIL))),
    "ingest with another argument": lambda cdp: called(Opaque(partial(ingest, cdp, [], **EMAIL))),
    "ingest_one of a dict": lambda cdp: called(Opaque(partial(ingest_one, cdp, cast("OrderGraph", WHOLE)))),
    "ingest of a dict": lambda cdp: called(Opaque(partial(ingest, cdp, cast("list[OrderGraph]", WHOLE)))),
}


RAW: dict[str, Any] = {"firstName": "canary", "emails": ["canary@example.com"]}
MADE: dict[str, Call] = {
    "OrderGraph": made(OrderGraph, order=ORDER, contact=RAW),
    "OrderGraph of consumers": made(OrderGraph, order=ORDER, consumers=[RAW]),
    "OrderGraph of pairs": made(OrderGraph, order=ORDER, extension=["canary"]),
    "GraphItem": made(GraphItem, RAW, RAW),
    "GraphConsumer": made(GraphConsumer, RAW, ("canary",)),
    "parse_graph": made(parse_graph, {**WHOLE, "price": None}),
    "parse_graph of people": made(parse_graph, {**WHOLE, "contact": ["canary"]}),
    "assign_references": made(assign_references, RAW),
    "Credentials": made(Credentials, "key", f"{LONG_TOKEN}\0"),
    "Credentials of both": made(Credentials, "key", LONG_TOKEN, LONG_TOKEN),
    "CdpOrders elsewhere": made(CdpOrders, base_url="http://api.test", client_key="key", api_token=LONG_TOKEN),
    "CdpOrders of both": made(CdpOrders, region="eu", client_key="key", api_token=LONG_TOKEN, bearer_token=LONG_TOKEN),
    "CdpOrdersV2": made(CdpOrdersV2, region="nowhere", bearer_token=LONG_TOKEN),
    "Settings": made(Settings, proxy="ftp://user:canary@host"),
    "Settings of the environment": made(
        Settings.from_env, {"CDP_PROXY": "http://user:canary@host", "CDP_RATE": "fast", "CDP_API_TOKEN": TOKEN}
    ),
    "a proxy for http": made(
        CdpOrders,
        base_url="http://127.0.0.1:1",
        client_key="key",
        api_token=TOKEN,
        settings=Settings(proxy="http://user:canary@proxy.test"),
    ),
    "Session": made(Session, "ftp://", Credentials("key", TOKEN), Settings(http="httptools", proxy="http://canary@h")),
}


@pytest.mark.parametrize("name", WRONG | MADE)
async def test_no_refused_value_is_shown(name: str) -> None:
    """Whatever is given where it does not fit, what is raised shows nothing of it, in no tracker of errors either."""
    async with client("http://127.0.0.1:1") as cdp:
        error = await failure((WRONG | MADE)[name](cdp))
    assert error is not None
    assert {sink: found for sink, show in OF_ERRORS.items() if (found := leaks(show(error)))} == {}


class Limiting:
    """A limiter of one's own that looks at the stack, and breaks."""

    seen = ""

    async def acquire(self) -> None:
        """Break."""
        self.seen = by_sentry_now()
        raise LookupError("the limiter is broken")


@pytest.mark.parametrize("operation", CALLS)
async def test_nothing_is_shown_to_a_limiter_or_of_it(operation: str) -> None:
    """What breaks in code of one's own says where, and neither it nor the stack meanwhile shows what was sent."""
    limiter = Limiting()
    cdp = CdpOrders(base_url="http://127.0.0.1:1", client_key="key", api_token=TOKEN, shared_limiter=limiter)
    async with cdp:
        error = await failure(CALLS[operation](cdp, REF, REF))
    assert isinstance(error, NotSent)
    cause = error.__cause__
    assert isinstance(cause, LookupError)
    assert "raise LookupError" in "".join(cause.__notes__)
    assert limiter.seen
    assert leaks(limiter.seen) == []
    assert {sink: found for sink, show in OF_ERRORS.items() if (found := leaks(show(error)))} == {}


async def test_a_context_of_the_caller_stays() -> None:
    """What the caller was handling is still the context of what is raised, with its own frames."""
    async with client("http://127.0.0.1:1") as cdp:
        with pytest.raises(Invalid) as caught:
            await handling(cdp)
    assert isinstance(caught.value.__context__, KeyError)
    assert caught.value.__context__.__traceback__ is not None


async def handling(cdp: CdpOrders) -> None:
    """Make a call that is refused while something else is handled."""
    try:
        os.environ["NOT_THERE"]
    except KeyError:
        await cdp.contacts.create(REF, cast("NewContact", {"first_name": "canary"}))


class Full(MemoryJournal):
    """A journal whose disk is full when an order ends."""

    async def end(self, graph: str, *, complete: bool, gaps: bool | None = None) -> None:
        """Fail."""
        del graph, complete, gaps
        raise JournalError("the disk is full") from OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


async def test_no_load_shows_what_it_loaded() -> None:
    """A load that its journal ends shows nothing of the orders, neither in what it raises nor in what it keeps."""
    graph = parse_graph(WHOLE)
    async with serving(Reply(400)) as server, client(server.url) as cdp:
        load: Any = None
        journal = Full(identity={})
        error = None
        try:
            async with ingest(cdp, [graph], journal=journal) as load:
                await load.run()
        except Exception as raised:  # noqa: BLE001 whatever it is, it must show nothing
            error = raised
        alone = await failure(ingest_one(cdp, graph, journal=Full(identity={})))
    assert isinstance(error, JournalError)
    for one in (error, alone, load.error):
        assert one is not None
        assert {sink: found for sink, show in OF_ERRORS.items() if (found := leaks(show(one)))} == {}


async def test_no_source_shows_what_it_read(tmp_path: Path) -> None:
    """A file that breaks off, and a source of one's own that does, show no line that was read before."""
    path = write(tmp_path / "o.jsonl", [WHOLE] * 3000)

    async def read() -> None:
        async for _ in GraphFile(path):
            os.truncate(path, 1)

    def source() -> Any:  # noqa: ANN401 a generator that breaks
        yield parse_graph(WHOLE)
        raise LookupError("the source is broken")

    error = await failure(read())
    assert isinstance(error, InputError)
    async with client("http://127.0.0.1:1") as cdp, ingest(cdp, source()) as load:
        broken = await failure(load.run())
    for one in (error, broken):
        assert one is not None
        assert {sink: found for sink, show in OF_ERRORS.items() if (found := leaks(show(one)))} == {}


def test_every_call_of_every_resource_is_tried() -> None:
    """The operations that are tried are all that there are."""
    assert {operation.partition(".")[0] for operation in EVERY} == {kind.name for kind in Resources.api.kinds}
