"""One whole order as a value, and reading such values from JSON lines.

A line is an order with its parts nested as the vendor's documents nest them, or the Batch API's import
record around the same value. Sources: the vendor's pages on the Order REST API and on the Batch API.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import io
import itertools
import os
import threading
import zlib
from collections import Counter
from collections.abc import AsyncGenerator, Iterator, Mapping
from datetime import UTC
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

import attrs
import orjson
from msgspec import Struct, field

from cdp_orders_async.errors import InputError, Invalid, Violation
from cdp_orders_async.kinds import V2_1, Api
from cdp_orders_async.models import (
    ExtensionValue,
    FlightSegment,
    Identifier,
    NewConsumer,
    NewConsumerV2,
    NewContact,
    NewContactV2,
    NewOrder,
    NewOrderItem,
    NewOrderItemV2,
    NewOrderV2,
)
from cdp_orders_async.models.common import Value, camel
from cdp_orders_async.rules import check, check_extension
from cdp_orders_async.wire import is_list, is_object, structure

__all__ = ["GraphConsumer", "GraphFile", "GraphItem", "Line", "OrderGraph", "Pairs", "parse_graph"]

M = TypeVar("M", bound=attrs.AttrsInstance)
Pairs: TypeAlias = Mapping[str, ExtensionValue]

GZIP = b"\x1f"  # its first byte, with which no JSON begins
CHUNK = 1 << 16
LONGEST_LINE = 16 * 2**20  # bytes; an order of 100 items with full extensions has about 0.5 MB
SERVER_SET = frozenset({"ref", "href", "createdAt", "modifiedAt"})
PARTS = {"identifiers": Identifier, "flightSegments": FlightSegment}
"""The keys that hold a list of objects, and their models."""


@attrs.frozen(eq=False, repr=False)
class GraphItem(Value):
    """An item of a whole order, with its extension."""

    item: NewOrderItem | NewOrderItemV2
    extension: Pairs | None = attrs.field(default=None, repr=False)


@attrs.frozen(eq=False, repr=False)
class GraphConsumer(Value):
    """A consumer of a whole order."""

    consumer: NewConsumer | NewConsumerV2
    uses: tuple[str, ...] = ()
    """The *reference_id* of each item that this person uses."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class OrderGraph(Value):
    """One whole order: the order, its contact, consumers and items, and their extensions; all of one version."""

    order: NewOrder | NewOrderV2
    contact: NewContact | NewContactV2 | None = None
    items: tuple[GraphItem, ...] = ()
    consumers: tuple[GraphConsumer, ...] = ()
    extension: Pairs | None = attrs.field(default=None, repr=False)
    mode: Literal["insert", "upsert"] = "insert"
    """*upsert* brings an order that exists already up to this one; as in the Batch API."""

    @property
    def key(self) -> str:
        """What tells this order from others: its *reference_id* and when it was ordered."""
        return f"{self.order.reference_id}@{self.order.ordered_at.astimezone(UTC).isoformat()}"

    def violations(self, api: Api = V2_1) -> list[Violation]:
        """Return every documented rule of *api* that this order or one of its parts breaks."""
        models = api.models
        item_model, has_extensions = models["items"], "item_extensions" in models
        found = check(models["orders"], self.order)
        if self.contact is not None:
            found += check(models["contacts"], self.contact, "$.contact")
        for n, part in enumerate(self.items):
            if wrong := check(item_model, part.item):
                found += _under(f"$.orderItems[{n}]", wrong)
            if part.extension is not None and not has_extensions:
                found.append(Violation(f"$.orderItems[{n}].extensions", f"of items are not in version {api.version}"))
            elif part.extension is not None and (wrong := check_extension(part.extension)):
                found += _under(f"$.orderItems[{n}].extensions[0]", wrong)
        references = Counter([part.item.reference_id for part in self.items] if self.consumers else ())
        for n, user in enumerate(self.consumers):
            found += check(models["consumers"], user.consumer, f"$.consumers[{n}]")
            found += [
                Violation(f"$.consumers[{n}].orderItems[{i}].referenceId", "must name exactly one item of this order")
                for i, reference in enumerate(user.uses)
                if references[reference] != 1
            ]
        if self.extension is not None:
            found += check_extension(self.extension, "$.extensions[0]")
        return found


def _under(place: str, found: list[Violation]) -> list[Violation]:
    """Put *place* before each field: only here, since nearly all is right, and an order has many places to name."""
    return [Violation(place + one.field[1:], one.rule) for one in found]


class Line(Struct, frozen=True):
    """One line of an input: where it is, and the order on it or what is wrong with it."""

    file: str
    number: int
    """Counted from 1."""
    graph: OrderGraph | None
    violations: tuple[Violation, ...] = ()


def parse_graph(value: object, api: Api = V2_1) -> OrderGraph:
    """Make an order graph of JSON data; raise `Invalid` with all that does not fit and every broken rule.

    Paths start at the order, ``$.orderItems[3].name``, also within a record of the Batch API. *api* is the
    version that the order is for; what only the other one takes is refused with what to send in its place.
    """
    graph, found = _parse(value, api)
    del value  # a traceback that shows locals would show it
    if graph is None or found:
        raise Invalid(tuple(found))
    return graph


def _parse(value: object, api: Api) -> tuple[OrderGraph | None, list[Violation]]:
    models, reading = api.models, _Reading(api)
    mode: Any = "insert"
    if is_object(value) and "value" in value:
        mode = value.get("mode")
        if value.get("schema") != "order":
            reading.refuse("$.schema", "must be 'order'")
        if mode not in ("insert", "upsert"):  # a set would need a mode that can be hashed
            reading.refuse("$.mode", "must be 'insert' or 'upsert'")
        value = value["value"]
    order = reading.fields(value, "$")
    contact = reading.pop_object(order, "contact")
    items = reading.pop_list(order, "orderItems")
    consumers = reading.pop_list(order, "consumers")
    extension = reading.pop_extension(order, "$")
    new_order = reading.model(order, models["orders"], "$")
    new_contact = None if contact is None else reading.person(contact, models["contacts"], "$.contact")
    graph_items: list[GraphItem] = []
    for n, item in enumerate(items):
        at = f"$.orderItems[{n}]"
        fields = reading.fields(item, at)
        if fields.get("orderedAt") == order.get("orderedAt"):  # the server gives an item that of its order
            fields.pop("orderedAt", None)
        item_extension = reading.pop_extension(fields, at)
        if (new_item := reading.model(fields, models["items"], at)) is not None:
            graph_items.append(GraphItem(new_item, item_extension))
    graph_consumers: list[GraphConsumer] = []
    for n, consumer in enumerate(consumers):
        at = f"$.consumers[{n}]"
        fields = reading.fields(consumer, at)
        uses = reading.pop_uses(fields, at)
        if (new_consumer := reading.person(fields, models["consumers"], at)) is not None:
            graph_consumers.append(GraphConsumer(new_consumer, uses))
    if reading.found or new_order is None:
        broken = (wrong for at, part in reading.parts.items() for wrong in check(type(part), part, at))
        return None, [*reading.found, *broken]
    graph = OrderGraph(
        order=new_order,
        contact=new_contact,
        items=tuple(graph_items),
        consumers=tuple(graph_consumers),
        extension=extension,
        mode=mode,
    )
    return graph, graph.violations(api)


class _Reading(Struct):
    """What was read of an order, and what did not fit."""

    api: Api
    found: list[Violation] = field(default_factory=list[Violation])
    parts: dict[str, object] = field(default_factory=dict[str, object])
    """The models that were read, by path."""

    def refuse(self, at: str, rule: str) -> None:
        self.found.append(Violation(at, rule))

    def fields(self, value: object, at: str) -> dict[str, Any]:
        if is_object(value):
            return dict(value)
        self.refuse(at, "must be an object")
        return {}

    def pop_object(self, fields: dict[str, Any], key: str) -> dict[str, Any] | None:
        value = fields.pop(key, None)
        return None if value is None else self.fields(value, f"$.{key}")

    def pop_list(self, fields: dict[str, Any], key: str, at: str = "$") -> list[Any]:
        value = fields.pop(key, None)
        if value is None or is_list(value):
            return value or []
        self.refuse(f"{at}.{key}", "must be a list")
        return []

    def pop_extension(self, fields: dict[str, Any], at: str) -> Pairs | None:
        """Take the extension off an order or an item; ``name`` and ``key`` are how Batch addresses it."""
        extensions = self.pop_list(fields, "extensions", at)
        if len(extensions) > 1:
            self.refuse(f"{at}.extensions", "must have at most one extension")
        if not extensions:
            return None
        pairs = self.fields(extensions[0], f"{at}.extensions[0]")
        for key, only in (("name", "ext"), ("key", "default")):
            if pairs.pop(key, only) != only:
                self.refuse(f"{at}.extensions[0].{key}", f"must be '{only}'")
        return pairs

    def pop_uses(self, fields: dict[str, Any], at: str) -> tuple[str, ...]:
        named: list[str] = []
        for n, item in enumerate(self.pop_list(fields, "orderItems", at)):
            reference = item.get("referenceId") if is_object(item) else None
            if isinstance(reference, str):
                named.append(reference)
            else:
                self.refuse(f"{at}.orderItems[{n}].referenceId", "must name an item of this order")
        return tuple(named)

    def person(self, fields: dict[str, Any], model: type[M], at: str) -> M | None:
        """Read a person; the single ``email`` of the Batch API is one of the ``emails``."""
        email = fields.pop("email", None)
        if email is not None:
            emails: object = fields.get("emails") or []
            fields["emails"] = [email, *emails] if is_list(emails) and email not in emails else emails
        return self.model(fields, model, at)

    def model(self, fields: dict[str, Any], model: type[M], at: str) -> M | None:
        """Read a model of which nothing may be lost."""
        for key, part in PARTS.items():
            parts = fields.get(key) if key in _keys(model) else None
            for n, one in enumerate(parts if is_list(parts) else ()):
                self.refuse_unknown(one, part, f"{at}.{key}[{n}]")
        self.refuse_unknown(fields, model, at)
        try:
            self.parts[at] = read = structure(fields, model, at)
        except ValueError as error:
            for line in error.args:
                rule, _, path = str(line).rpartition(" @ ")
                self.refuse(path, rule)
            return None
        return read

    def refuse_unknown(self, fields: object, model: type[attrs.AttrsInstance], at: str) -> None:
        """Note each key that the API does not have, since what it holds would be lost, and what to do about it."""
        known = _keys(model)
        for key in fields if is_object(fields) else ():
            if key not in known:
                of_item = at.startswith("$.orderItems") and "item_extensions" in self.api.models
                extension = "item's" if of_item else "order's"
                way = "name identifiers" if key == "guest" else f"put its values into the {extension} extension"
                self.refuse(f"{at}.{key}", f"is no key of version {self.api.version}; {way}")


@functools.cache
def _keys(model: type[attrs.AttrsInstance]) -> frozenset[str]:
    return SERVER_SET | {camel(field.name) for field in attrs.fields(model)}


async def _in_thread(batches: Iterator[list[Line]]) -> list[Line] | None:
    """Return the next batch, read in a thread that does not hold up the end of the process while it waits."""
    loop = asyncio.get_running_loop()
    came: asyncio.Future[list[Line] | None] = loop.create_future()

    def deliver(batch: list[Line] | None, error: Exception | None) -> None:
        if came.cancelled():
            return
        if error is None:
            came.set_result(batch)
        else:
            came.set_exception(error)

    def work() -> None:
        batch, error = None, None
        try:
            batch = next(batches, None)
        except Exception as caught:  # noqa: BLE001 it is raised where the batch is awaited
            error = caught
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(deliver, batch, error)

    threading.Thread(target=work, daemon=True).start()
    return await came


def lines(stream: io.BufferedIOBase, longest: int = LONGEST_LINE) -> Iterator[list[bytes]]:
    """Yield the lines that arrive together; one of more than *longest* bytes may come cut, but not so short."""
    rest = bytearray()
    skipping = False
    while chunk := stream.read1(CHUNK):
        *whole, tail = chunk.split(b"\n")
        if whole and skipping:  # the rest of a line that was refused
            whole.pop(0)
            skipping = False
        elif whole:
            whole[0] = bytes(rest) + whole[0]
            rest.clear()
        if not skipping:
            rest += tail
        if len(rest) > longest:
            whole.append(bytes(rest[: longest + 1]))
            skipping = True
            rest.clear()
        if whole:
            yield whole
    if rest:
        yield [bytes(rest)]


def _parse_line(file: str, number: int, raw: bytes, api: Api) -> Line | None:
    """Parse one line; an empty one is None."""
    if len(raw) > LONGEST_LINE:  # before anything else, since what was cut off may not have been empty
        return Line(file, number, None, (Violation("$", f"must be at most {LONGEST_LINE:,} bytes long"),))
    text = raw.removeprefix(b"\xef\xbb\xbf").strip() if number == 1 else raw.strip()
    if not text:
        return None
    try:
        return Line(file, number, parse_graph(orjson.loads(text), api))
    except orjson.JSONDecodeError as error:
        return Line(file, number, None, (Violation("$", f"must be JSON: {error.msg} at column {error.colno}"),))
    except Invalid as error:
        return Line(file, number, None, error.violations)


class GraphFile:
    """The orders of a JSON lines file, plain or gzip, told by its first bytes; ``-`` is standard input.

    ``async for line in GraphFile(path)`` yields a `Line` for each line that is not empty. Reading and parsing
    happen in a thread, so a slow source does not hold up the event loop. A bad line is a `Line` with its
    *violations*; a file that cannot be read, or not any further, raises `InputError`. *api* is the version that
    the orders are for.
    """

    def __init__(self, path: str | Path, api: Api = V2_1) -> None:
        self.name = "standard input" if str(path) == "-" else str(path)
        """What messages call it."""
        self.fraction: float | None = None
        """How much of it was read, from 0 to 1; None where its size is not known."""
        self._path = str(path)
        self._api = api

    async def __aiter__(self) -> AsyncGenerator[Line, None]:
        batches = self._batches()
        while (batch := await _in_thread(batches)) is not None:
            for line in batch:
                yield line

    def _batches(self) -> Iterator[list[Line]]:
        """Yield the lines in the batches in which they arrive."""
        import gzip  # noqa: PLC0415 only those who read files need it

        number = 0
        try:
            with contextlib.ExitStack() as stack:
                if self._path == "-":  # not sys.stdin, whose lock a waiting thread would hold at the exit
                    raw = stack.enter_context(open(0, "rb", closefd=False))
                else:
                    raw = stack.enter_context(Path(self._path).open("rb"))
                size = os.fstat(raw.fileno()).st_size if raw.seekable() else 0
                packed = raw.peek(1)[:1] == GZIP
                stream = stack.enter_context(gzip.GzipFile(fileobj=raw)) if packed else raw
                for raws in lines(stream):
                    numbered = zip(itertools.count(number + 1), raws, strict=False)
                    yield [line for n, text in numbered if (line := _parse_line(self.name, n, text, self._api))]
                    number += len(raws)
                    self.fraction = raw.tell() / size if size else None
        except (OSError, EOFError, zlib.error) as error:
            reason = error.strerror if isinstance(error, OSError) else None
            where = f" after line {number}" if number else ""
            raise InputError(f"{self.name} cannot be read{where}: {reason or 'it is no whole gzip file'}") from error
