"""One order graph as parts that depend on each other.

The order comes first; contact, items and free consumers at once after it; a consumer that names items after
those items; an extension right after its owner. Parts that a look-up could take for each other (equal items
without a reference id, the consumers of one order) come one after the other, so that at most one of them is
ever in doubt.
"""

from __future__ import annotations

import hashlib
from typing import Any
from uuid import UUID

import attrs

from cdp_orders_async.graph import GraphItem, OrderGraph, Pairs
from cdp_orders_async.kinds import CONSUMERS, CONTACTS, ITEM_EXTENSIONS, ITEMS, ORDER_EXTENSIONS, ORDERS, Kind
from cdp_orders_async.models import NewConsumer, NewConsumerV2, NewOrderItem, NewOrderItemV2
from cdp_orders_async.wire import encode, to_json

__all__ = ["Part", "Work", "digest_of", "plan"]


@attrs.define(eq=False)
class Part:
    """One thing to create."""

    name: str
    """Where it stands in the input: ``order``, ``items/3``, ``items/3/ext``."""
    key: str
    """What tells it from the other parts of its order, wherever it stands: for the journal."""
    kind: Kind[Any, Any, Any]
    value: Any
    digest: bytes
    """The hash of what is sent."""
    stage: int
    """How many parts must come before it, one after the other."""
    owner: int = 0
    """The number of the part under which it is created; the order's is its own."""
    needs: tuple[int, ...] = ()
    """The numbers of the parts that must be there before."""
    after: int | None = None
    """The number of the part before it in its group, of which it must be known before whether it is there."""
    uses: tuple[int, ...] = ()
    """For a consumer: the numbers of the items that it uses."""
    group: str = ""
    """Parts with the same group can be taken for each other in a look-up."""


@attrs.define(eq=False)
class Work:
    """An order graph under way: its parts, and the references of those that are there."""

    graph: OrderGraph
    parts: tuple[Part, ...]
    refs: dict[int, UUID] = attrs.field(factory=dict[int, UUID])
    taken: set[UUID] = attrs.field(factory=set[UUID])
    """The references that belong to a part of this order, also to one that the input has no more."""
    in_doubt: set[int] = attrs.field(factory=set[int])
    """The numbers of the parts that may be on the server, with a reference that is not known."""

    def sent(self, n: int) -> Any:  # noqa: ANN401 any model
        """Return what is sent for part *n*: a consumer with the references of its items."""
        part = self.parts[n]
        if not part.uses:
            return part.value
        return attrs.evolve(part.value, order_items=tuple(self.refs[use] for use in part.uses))

    def holds(self, n: int, ref: UUID) -> None:
        """Note that *ref* is part *n*."""
        self.refs[n] = ref
        self.taken.add(ref)


def digest_of(*texts: bytes) -> bytes:
    """Return a short hash of *texts*, one after the other."""
    found = hashlib.blake2b(digest_size=12)
    for text in texts:
        found.update(len(text).to_bytes(8, "big"))
        found.update(text)
    return found.digest()


def plan(graph: OrderGraph) -> tuple[Part, ...]:
    """Return the parts of *graph*, the order first, the longest way first among those that may go at once."""
    parts = [Part("order", "order", ORDERS, graph.order, _digest(graph.order), stage=0, group="order")]
    keys: dict[str, int] = {}
    last_of_group: dict[str, int] = {}

    def add(
        name: str,
        identity: str,
        group: str,
        kind: Kind[Any, Any, Any],
        value: Any,  # noqa: ANN401 any model
        uses: tuple[int, ...] = (),
    ) -> int:
        keys[identity] = twin = keys.get(identity, 0) + 1
        key = identity if twin == 1 else f"{identity}~{twin}"
        digest = _digest(value, *(parts[use].key.encode() for use in uses))
        number, needs, after = len(parts), (0, *uses), last_of_group.get(group)
        stage = 2 if uses else 1
        parts.append(Part(name, key, kind, value, digest, stage, needs=needs, after=after, uses=uses, group=group))
        last_of_group[group] = number
        return number

    def extend(name: str, owner: int, kind: Kind[Any, Any, Any], pairs: Pairs) -> None:
        key, stage = f"{parts[owner].key}/ext", parts[owner].stage + 1
        parts.append(Part(name, key, kind, pairs, _digest(pairs), stage, owner=owner, needs=(owner,)))

    by_reference: dict[str, int] = {}
    owners: dict[int, int] = {}
    # Twins are numbered by what hangs on them, so that a line with its items in another order is the same line.
    for n, one in sorted(enumerate(graph.items), key=lambda numbered: _beside(numbered[1])):
        owners[n] = add(f"items/{n}", *_item_identity(one.item), ITEMS, one.item)
        if one.item.reference_id:
            by_reference[one.item.reference_id] = owners[n]
    if graph.contact is not None:
        add("contact", "contact", "contact", CONTACTS, graph.contact)
    if graph.extension is not None:
        extend("ext", 0, ORDER_EXTENSIONS, graph.extension)
    for n, one in enumerate(graph.items):
        if one.extension is not None:
            extend(f"items/{n}/ext", owners[n], ITEM_EXTENSIONS, one.extension)
    # Consumers may share identifiers, or be shown without: any could be taken for any other. Free ones go first.
    for n, user in sorted(enumerate(graph.consumers), key=lambda numbered: sorted(numbered[1].uses)):
        uses = tuple(by_reference[reference] for reference in user.uses)
        add(f"consumers/{n}", _consumer_key(user.consumer), "consumer", CONSUMERS, user.consumer, uses)
    return tuple(parts)


def _digest(value: Any, *rest: bytes) -> bytes:  # noqa: ANN401 a model or pairs
    return digest_of(encode(to_json(value) if attrs.has(value.__class__) else dict(sorted(value.items()))), *rest)


def _item_identity(item: NewOrderItem | NewOrderItemV2) -> tuple[str, str]:
    """Return the key of an item, and its group: what a look-up goes by.

    Without a reference id a look-up goes by content, and what one leaves open another may fill in: the
    fields that every item has decide.
    """
    if item.reference_id:
        return f"item:{item.reference_id}", f"item:{item.reference_id}"
    plain = to_json(item)
    always = [plain[name] for name in ("type", "name", "price", "currencyCode", "status")]
    return f"item#{digest_of(encode(plain)).hex()}", f"item#{digest_of(encode(always)).hex()}"


def _beside(one: GraphItem) -> bytes:
    return b"" if one.item.reference_id or one.extension is None else _digest(one.extension)


def _consumer_key(consumer: NewConsumer | NewConsumerV2) -> str:
    if not consumer.identifiers:
        return f"consumer#{_digest(consumer).hex()}"
    ids = sorted([one.provider, one.id] for one in consumer.identifiers)
    return f"consumer:{digest_of(encode(ids)).hex()}"
