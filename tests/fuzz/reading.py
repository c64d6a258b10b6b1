"""What reads: files of orders, orders, answers, ``Retry-After``. None of it touches a network."""

from __future__ import annotations

import gzip
import itertools
import json
import math
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from cdp_orders_async import (
    V2,
    V2_1,
    CdpError,
    Consumer,
    Contact,
    Extension,
    GraphFile,
    InputError,
    InputLine,
    Invalid,
    NewConsumer,
    NewConsumerV2,
    NewContact,
    NewContactV2,
    NewOrder,
    NewOrderItem,
    NewOrderItemV2,
    NewOrderV2,
    Order,
    OrderGraph,
    OrderItem,
    OrderItemV2,
    OrderV2,
    OutcomeUnknown,
    Refused,
    Request,
    Unreadable,
    Violation,
    parse_graph,
)
from cdp_orders_async.kinds import Api
from cdp_orders_async.pacing.retry import parse_retry_after
from cdp_orders_async.sources.formats import bare, is_zstd
from cdp_orders_async.sources.jsonlines import LONGEST_LINE
from cdp_orders_async.wire import encode, parse_response, reads, reads_nothing, reads_page, structure, to_json
from tests.fuzz.corpus import BEYOND, LINES, REF, Json, anything, dumped, keys, leaves, mutated, reshaped
from tests.fuzz.engine import Target, looped, pure
from tests.packing import zstd

# A file of orders.

lines = st.sampled_from(LINES) | reshaped().map(dumped) | anything.map(dumped) | st.binary(max_size=20)
plain = mutated(st.lists(lines, max_size=4).map(b"\n".join)) | st.binary(max_size=200)
members = plain.map(lambda data: gzip.compress(data, 1, mtime=0))
frames = plain.map(zstd.compress)
packed = st.one_of([mutated(one) | st.lists(one, max_size=3).map(b"".join) for one in (members, frames)])


@asynccontextmanager
async def graph_file() -> AsyncGenerator[Callable[[bytes], Awaitable[None]], None]:
    """Read files of orders."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "orders"

        async def read(data: bytes, api: Api) -> tuple[list[InputLine], str]:
            path.write_bytes(data)
            file, found, ended = GraphFile(path, api), list[InputLine](), ""
            try:
                async for line in file:
                    found.append(line)
                    assert file.fraction is None or 0 <= file.fraction <= 1
            except InputError as error:
                ended = str(error)
            return found, ended

        async def check(data: bytes) -> None:
            for api in (V2_1, V2):
                found, ended = await read(data, api)
                assert not ended or ended.startswith(f"{path} cannot be read")
                numbers = [line.number for line in found]
                assert numbers == sorted(set(numbers))
                for line in found:
                    assert (line.graph is None) == bool(line.violations)
                    assert line.graph is None or line.graph.key
                if not data.startswith(b"\x1f") and not is_zstd(data):
                    raws = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
                    expected = [number for number, raw in enumerate(raws, 1) if bare(raw)]
                    assert numbers == ([] if ended else expected)
                    assert (found, ended) == await read(gzip.compress(data, 1), api)
                    assert max(map(len, raws)) <= LONGEST_LINE
                    assert not ended or not is_order(raws[expected[0] - 1], api)

        yield check


def is_order(line: bytes, api: Api) -> bool:
    """Tell whether a line is an order of which nothing is wrong."""
    try:
        parse_graph(json.loads(line), api)
    except (ValueError, RecursionError):
        return False
    return True


# An order.

beyond = anything | st.sampled_from(BEYOND) | st.lists(st.sampled_from(BEYOND), max_size=2)


def graph_value(data: bytes) -> None:
    """Read an order that some reader of JSON made."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return
    for api in (V2_1, V2):
        wrong: tuple[Violation, ...] | None = None
        try:
            assert_sendable(parse_graph(value, api), api)
        except Invalid as error:
            wrong = error.violations
        assert wrong is None or wrong
        assert all(one.field.startswith("$") and one.rule for one in wrong or ())


def assert_sendable(graph: OrderGraph, api: Api) -> None:
    """Assert that all of *graph* can be sent, and read again as the same."""
    assert graph.key
    assert graph.violations(api) == []
    value = rendered(graph)
    again = json.loads(encode(value))
    try:
        assert rendered(parse_graph(again, api)) == value
    except Invalid as error:
        raise AssertionError("what was read is refused when it is written") from error


def rendered(graph: OrderGraph) -> Json:
    """Write *graph* as its input has it."""

    def extended(value: Json, pairs: Mapping[str, Any] | None) -> Json:
        return value if pairs is None else {**value, "extensions": [dict(pairs)]}

    return {
        **extended(to_json(graph.order), graph.extension),
        "contact": None if graph.contact is None else to_json(graph.contact),
        "orderItems": [extended(to_json(one.item), one.extension) for one in graph.items],
        "consumers": [
            {**to_json(one.consumer), "orderItems": [{"referenceId": name} for name in one.uses]}
            for one in graph.consumers
        ],
    }


# An answer.

MODELS: Mapping[str, type[attrs.AttrsInstance]] = {
    model.__name__: model
    for model in (
        *(Order, OrderItem, Contact, Consumer, Extension, OrderV2, OrderItemV2, NewOrder, NewOrderItem, NewContact),
        *(NewConsumer, NewOrderV2, NewOrderItemV2, NewContactV2, NewConsumerV2),
    )
}
REFS = frozenset({"orderItems", "guest"})
links = (st.sampled_from((REF, f"/v2.1/orderItems/{REF}")) | leaves).map(lambda href: {"href": href})
words = st.text() | leaves
resources: SearchStrategy[Json] = st.fixed_dictionaries(
    {},
    optional={
        "ref": st.just(REF) | leaves,
        **dict.fromkeys(("guest", "order"), links | anything),
        "orderItems": st.lists(links).map(lambda entries: {"items": entries}) | anything,
        **dict.fromkeys(("orderedAt", "createdAt", "dateOfBirth"), st.just("2024-01-01T16:17:16Z") | leaves),
        **dict.fromkeys(("price", "originalPrice"), st.just(50) | leaves),
        **dict.fromkeys(("referenceId", "currencyCode", "name", "type", "status", "productId"), words),
        **dict.fromkeys(("firstName", "lastName", "pointOfSale"), words),
        "identifiers": st.lists(st.just({"provider": "CRM", "id": "1"}) | anything, max_size=2) | leaves,
        **dict.fromkeys(("emails", "street", "flightSegments", "contacts", "quantity"), anything),
    },
)
pages: SearchStrategy[Json] = st.fixed_dictionaries(
    {"items": st.lists(resources | anything, max_size=3)},
    optional=dict.fromkeys(("offset", "limit", "next", "href"), anything),
)
wider: SearchStrategy[Json] = st.tuples(resources, st.dictionaries(keys, anything, max_size=3)).map(
    lambda both: both[0] | both[1]
)
bodies = resources | pages | wider | anything
STATUSES = ("200", "201", "204", "302", "400", "401", "404", "408", "429", "500", "503", "999")
answers = st.tuples(
    st.sampled_from(sorted(MODELS)).map(str.encode),
    (st.just("200") | st.sampled_from(STATUSES)).map(str.encode),
    mutated(bodies.map(dumped)),
).map(lambda parts: b"%s %s\n%s" % parts)


def codec(data: bytes) -> None:
    """Read an answer as a model, as a page of them and as nothing; write what was read, and read that."""
    head, _, body = data.partition(b"\n")
    name, _, status = head.decode("latin-1").partition(" ")
    if name not in MODELS or status not in STATUSES:
        return
    model = MODELS[name]
    readers: tuple[Callable[[bytes], tuple[attrs.AttrsInstance, ...]], ...] = (
        lambda body: (reads(model)(body),),
        lambda body: reads_page(model)(body).items,
        lambda body: reads_page(model, asked=100)(body).items,
        nothing,
    )
    good = status.startswith("2")
    for read, creates in itertools.product(readers, (False, True)):
        request = Request("x.create", "POST", "/x", read, creates=creates)
        values, refused = tuple[attrs.AttrsInstance, ...](), None
        try:
            values = parse_response(request, int(status), body, 1.5)
        except CdpError as error:
            refused = error.__cause__ if isinstance(error, OutcomeUnknown) else error
        assert refused is not None or good
        assert refused is None or isinstance(refused, Unreadable if good else Refused)
        assert refused is None or str(refused)
        for one in values:
            assert isinstance(one, model)
            assert_stable(one, model)


def nothing(body: bytes) -> tuple[attrs.AttrsInstance, ...]:
    """Read the answer to a deletion."""
    reads_nothing(body)
    return ()


def flat(value: attrs.AttrsInstance) -> Json:
    """Return a model as JSON; the pairs of an extension stand beside its fields there."""
    plain = to_json(value)
    pairs = plain.pop("pairs", {})
    return {**plain, **pairs}


def assert_stable(value: attrs.AttrsInstance, model: type[attrs.AttrsInstance]) -> None:
    """Assert that what was read is written in a form that is read as the same; links are written by resources."""
    written = flat(value)
    parts = {key: written.pop(key) for key in ("contacts", "consumers", "orderItems") if key in written}
    if isinstance(value, NewContactV2 | NewConsumerV2) and value.guest is not None:
        written["guest"] = {"href": f"/guests/{value.guest}"}
    if isinstance(value, NewConsumer | NewConsumerV2 | Consumer) and value.order_items is not None:
        assert parts["orderItems"] == [str(ref) for ref in value.order_items]
        written["orderItems"] = {"items": [{"href": f"/orderItems/{ref}"} for ref in value.order_items]}
    again = flat(structure(json.loads(encode(written)), model))
    assert {key: again.get(key) for key in written.keys() - REFS} == {
        key: written[key] for key in written.keys() - REFS
    }
    assert all(again[key] == parts[key] for key in parts if isinstance(value, NewConsumer | NewConsumerV2 | Consumer))


# Retry-After.

NOW = datetime(2024, 1, 1, 16, 17, 16, tzinfo=UTC)
DATES = ("Mon, 01 Jan 2024 16:17:16 GMT", "Monday, 01-Jan-24 16:17:16 GMT", "Mon Jan  1 16:17:16 2024", "120", "1.5")
PIECES = (
    *(*" ,-:+.();\t\u0661\x00\udcffé", "-1", "9" * 5000, "1e5", "1_0", "inf", "nan", "0x1", "GMT", "Jan", "Mon"),
    *("24", "0000", "99999", "+9999", "-2359", "16:17", "16.17.16", "UTC", "EST"),
)
texts = st.lists(st.sampled_from(DATES) | st.sampled_from(PIECES) | st.text(max_size=4), max_size=6).map(
    lambda parts: "".join(parts).encode(errors="surrogatepass")
)
TEXTS = tuple(piece.encode(errors="surrogatepass") for piece in PIECES)


def retry_after(data: bytes) -> None:
    """Read the text of a header, as aiohttp decodes it."""
    wait = parse_retry_after(data.decode(errors="surrogateescape"), NOW)
    assert wait is None or 0 <= wait < math.inf


TARGETS = (
    Target("graph-file", plain | packed, looped(graph_file)),
    Target("graph-value", reshaped(beyond).map(dumped) | anything.map(dumped), pure(graph_value), mutants=1),
    Target("codec", answers, pure(codec)),
    Target("retry-after", mutated(texts, TEXTS), pure(retry_after), TEXTS),
)
