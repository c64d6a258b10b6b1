"""One whole order as a value.

An order has its parts nested as the vendor's documents nest them. Source: the vendor's pages on the Order REST
API and on the Batch API.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from types import NoneType
from typing import Any, Literal, TypeAlias

import attrs
from msgspec import Struct

from cdp_orders_async.arguments import need
from cdp_orders_async.errors import Violation
from cdp_orders_async.graph.findings import Findings
from cdp_orders_async.journal import OrderId
from cdp_orders_async.kinds import V2_1, Api
from cdp_orders_async.models import (
    ExtensionValue,
    NewConsumer,
    NewConsumerV2,
    NewContact,
    NewContactV2,
    NewOrder,
    NewOrderItem,
    NewOrderItemV2,
    NewOrderV2,
)
from cdp_orders_async.models.common import Value
from cdp_orders_async.redact import Opaque, sealed
from cdp_orders_async.rules import check, check_extension

__all__ = [
    "MODES",
    "NOT_ONE_ITEM",
    "GraphConsumer",
    "GraphItem",
    "InputLine",
    "OrderGraph",
    "Pairs",
    "assign_references",
    "assigned",
    "check_item_extension",
    "need",
]

Pairs: TypeAlias = Mapping[str, ExtensionValue]

MODES = ("insert", "upsert")
LISTS = (tuple, list)
ITEMS = (NewOrderItem, NewOrderItemV2)
PLAIN = (NoneType, dict)
NOT_ONE_ITEM = "must name exactly one item of this order"
"""The rule that the reference id of an item breaks, which a consumer uses."""


def _need_each(values: Sequence[object], kind: type, name: str) -> None:
    need(values, LISTS, name)
    for n, value in enumerate(values):
        if not isinstance(value, kind):  # this test first: the name takes time, and nearly all values are right
            need(value, kind, f"{name}[{n}]")


@sealed
@attrs.frozen(eq=False, repr=False)
class GraphItem(Value):
    """An item of a whole order, with its extension."""

    item: NewOrderItem | NewOrderItemV2
    extension: Pairs | None = attrs.field(default=None, repr=False)

    def __attrs_post_init__(self) -> None:
        if type(self.item) in ITEMS and type(self.extension) in PLAIN:  # nearly always, and much faster
            return
        need(self.item, ITEMS, "item")
        need(self.extension, (Mapping, NoneType), "extension")


@sealed
@attrs.frozen(eq=False, repr=False)
class GraphConsumer(Value):
    """A consumer of a whole order."""

    consumer: NewConsumer | NewConsumerV2
    uses: tuple[str, ...] = ()
    """The *reference_id* of each item that this person uses."""

    def __attrs_post_init__(self) -> None:
        need(self.consumer, (NewConsumer, NewConsumerV2), "consumer")
        _need_each(self.uses, str, "uses")


@sealed
@attrs.frozen(kw_only=True, eq=False, repr=False)
class OrderGraph(Value):
    """One whole order: the order, its contact, consumers and items, and their extensions; all of one version.

    Raises TypeError for a part of the wrong type. `violations` checks the rules.
    """

    order: NewOrder | NewOrderV2
    contact: NewContact | NewContactV2 | None = None
    items: tuple[GraphItem, ...] = ()
    consumers: tuple[GraphConsumer, ...] = ()
    extension: Pairs | None = attrs.field(default=None, repr=False)
    mode: Literal["insert", "upsert"] = "insert"
    """*upsert* updates an order that already exists, as in the Batch API."""

    def __attrs_post_init__(self) -> None:
        need(self.order, (NewOrder, NewOrderV2), "order")
        need(self.contact, (NewContact, NewContactV2, NoneType), "contact")
        _need_each(self.items, GraphItem, "items")
        _need_each(self.consumers, GraphConsumer, "consumers")
        need(self.extension, (Mapping, NoneType), "extension")
        need(self.mode, str, "mode")

    @property
    def key(self) -> str:
        """The key that identifies this order: its *reference_id* and its time."""
        return OrderId.of(self.order.reference_id, self.order.ordered_at).key

    def violations(self, api: Api = V2_1) -> list[Violation]:
        """Return every documented rule of *api* that this order or one of its parts breaks.

        If more than 100 rules are broken, it returns the first 100 and the number of the others.
        """
        found = Findings()
        found.extend(check(api.models["orders"], self.order))
        if self.mode not in MODES:
            found.add("$.mode", "must be 'insert' or 'upsert'")
        if self.contact is not None:
            found.extend(check(api.models["contacts"], self.contact), "$.contact")
        self._judge_items(api, found)
        self._judge_consumers(api, found)
        if self.extension is not None:
            found.extend(check_extension(self.extension), "$.extensions[0]")
        return found.told

    # The path of a part is made only for a violation: nearly all parts are right, and an order has many.

    def _judge_items(self, api: Api, found: Findings) -> None:
        model = api.models["items"]
        for n, part in enumerate(self.items):
            if found.enough:
                break
            if wrong := check(model, part.item):
                found.extend(wrong, f"$.orderItems[{n}]")
            if part.extension is not None and (wrong := check_item_extension(part.extension, api)):
                found.extend(wrong, f"$.orderItems[{n}]")

    def _judge_consumers(self, api: Api, found: Findings) -> None:
        model = api.models["consumers"]
        references = Counter([part.item.reference_id for part in self.items] if self.consumers else ())
        for n, user in enumerate(self.consumers):
            if found.enough:
                break
            if wrong := check(model, user.consumer):
                found.extend(wrong, f"$.consumers[{n}]")
            for i, reference in enumerate(user.uses):
                if references[reference] != 1:
                    at = f"$.consumers[{n}].orderItems[{i}].referenceId"
                    found.add(at, NOT_ONE_ITEM)


class InputLine(Struct, frozen=True):
    """One line of an input: its place, and its order or its violations."""

    file: str
    number: int
    """Counted from 1."""
    graph: OrderGraph | None
    violations: tuple[Violation, ...] = ()
    key: str | None = None
    """The key of the order, as `OrderGraph.key`. Of one that breaks rules, as far as it can be read: its reference id
    and its time, or the reference id alone, with at most 256 characters and no control characters."""
    raw: Opaque[bytes] | None = None
    """The line as it stands in the file, where it has *violations*."""


def check_item_extension(pairs: object, api: Api) -> list[Violation]:
    """Return every rule of *api* that the *pairs* of the extension of an item break; paths begin at the item."""
    if "item_extensions" not in api.models:
        return [Violation("$.extensions", f"of items are not in version {api.version}")]
    return check_extension(pairs, "$.extensions[0]")


def assigned(order: str, references: Sequence[Any]) -> list[Any]:
    """Return the *references* of the items of an order; a missing one is made from the place of the item."""
    used = {reference for reference in references if isinstance(reference, str)}
    found: list[Any] = []
    for n, reference in enumerate(references, 1):
        made = reference
        if reference is None or reference == "":
            made = f"{order}#{n}"
            while made in used:
                made += "#"
        found.append(made)
    return found


@sealed
def assign_references(graph: OrderGraph) -> OrderGraph:
    """Return *graph* with a *reference_id* for each item that has none, so that the item can be recognised later.

    The id is the id of the order and the place of the item, counted from 1: ``B94TXY-1#2``. If another item of the
    order has that id, a ``#`` is added. A change of one item does not change the ids of the others, but an item that is
    inserted or removed shifts the ids after it. The items on the server get these ids too, so use it from the first
    load of an order. Nothing else is changed. Raises TypeError if *graph* is not an `OrderGraph`.
    """
    need(graph, OrderGraph, "graph")
    old = [part.item.reference_id for part in graph.items]
    new = assigned(graph.order.reference_id, old)
    if new == old:
        return graph
    items = tuple(
        attrs.evolve(part, item=attrs.evolve(part.item, reference_id=reference))
        for part, reference in zip(graph.items, new, strict=True)
    )
    return attrs.evolve(graph, items=items)
