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
from cdp_orders_async.models import NewOrderItem, NewOrderItemV2
from cdp_orders_async.models.common import AnyPerson
from cdp_orders_async.wire import encode, to_json

__all__ = ["EXTENSIONS", "Part", "Work", "digest_of", "plan"]

EXTENSIONS = frozenset({"order_extensions", "item_extensions"})


@attrs.define(eq=False)
class Part:
    """One thing to create."""

    name: str
    """Where it stands in the input: ``order``, ``items/3``, ``items/3/ext``."""
    key: str
    """What tells it from the other parts of its order, wherever it stands: for the journal."""
    kind: str
    """The resource that makes it, as in ``cdp.items``."""
    value: Any
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
    links: tuple[bytes, ...] = ()
    """For a consumer: the keys of the items that it uses."""
    followers: list[int] = attrs.field(factory=list)  # pyright: ignore[reportUnknownVariableType] list[int] is slow
    """The numbers of the parts that wait for it."""
    _digest: bytes = attrs.field(default=b"", init=False)

    @property
    def digest(self) -> bytes:
        """The hash of what is sent, made when it is asked for."""
        if not self._digest:
            self._digest = _hash(self.value, *self.links)
        return self._digest


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
    return hashlib.blake2b(b"".join([len(text).to_bytes(8, "big") + text for text in texts]), digest_size=12).digest()


class _Plan:
    """The parts of one order so far."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self._keys: dict[str, int] = {}
        self._last_of_group: dict[str, int] = {}

    def add(
        self,
        name: str,
        kind: str,
        value: Any,  # noqa: ANN401 any model
        key: str,
        group: str,
        needs: tuple[int, ...] = (0,),
    ) -> int:
        """Add a part; return its number."""
        self._keys[key] = twin = self._keys.get(key, 0) + 1
        if twin > 1:
            key = f"{key}~{twin}"
        number, after, uses = len(self.parts), self._last_of_group.get(group), needs[1:]
        self._last_of_group[group] = number
        links = tuple(self.parts[use].key.encode() for use in uses)
        self._append(Part(name, key, kind, value, min(len(needs), 2), 0, needs, after, uses, group, links))
        return number

    def extend(self, name: str, owner: int, kind: str, pairs: Pairs) -> None:
        """Add the extension of the part *owner*."""
        above = self.parts[owner]
        self._append(Part(name, f"{above.key}/ext", kind, pairs, above.stage + 1, owner, (owner,)))

    def _append(self, part: Part) -> None:
        number = len(self.parts)
        for other in part.needs if part.after is None else (*part.needs, part.after):
            self.parts[other].followers.append(number)
        self.parts.append(part)


def plan(graph: OrderGraph) -> tuple[Part, ...]:
    """Return the parts of *graph*, the order first, the longest way first among those that may go at once."""
    planned = _Plan()
    planned.add("order", "orders", graph.order, "order", "order", needs=())
    by_reference: dict[str, int] = {}
    owners: dict[int, int] = {}
    # Twins are numbered by what hangs on them, so that a line with its items in another order is the same line.
    for n, one in sorted(enumerate(graph.items), key=lambda numbered: _beside(numbered[1])):
        owners[n] = planned.add(f"items/{n}", "items", one.item, *_item_identity(one.item))
        if one.item.reference_id is not None:
            by_reference[one.item.reference_id] = owners[n]
    if graph.contact is not None:
        planned.add("contact", "contacts", graph.contact, "contact", "contact")
    if graph.extension is not None:
        planned.extend("ext", 0, "order_extensions", graph.extension)
    for n, one in enumerate(graph.items):
        if one.extension is not None:
            planned.extend(f"items/{n}/ext", owners[n], "item_extensions", one.extension)
    # Consumers may share identifiers, or be shown without: any could be taken for any other. Free ones go first.
    for n, user in sorted(enumerate(graph.consumers), key=lambda numbered: sorted(numbered[1].uses)):
        needs = (0, *[by_reference[reference] for reference in user.uses])
        planned.add(f"consumers/{n}", "consumers", user.consumer, _consumer_key(user.consumer), "consumer", needs)
    return tuple(planned.parts)


def _hash(value: Any, *rest: bytes) -> bytes:  # noqa: ANN401 a model or pairs
    return digest_of(encode(to_json(value) if attrs.has(value.__class__) else dict(sorted(value.items()))), *rest)


def _item_identity(item: NewOrderItem | NewOrderItemV2) -> tuple[str, str]:
    """Return the key of an item, and its group: what a look-up goes by.

    Without a reference id a look-up goes by content, and what one leaves open another may fill in: the
    fields that every item has decide.
    """
    if item.reference_id:
        key = f"item:{item.reference_id}"
        return key, key
    plain = to_json(item)
    always = [plain[name] for name in ("type", "name", "price", "currencyCode", "status")]
    return f"item#{digest_of(encode(plain)).hex()}", f"item#{digest_of(encode(always)).hex()}"


def _beside(one: GraphItem) -> bytes:
    return b"" if one.item.reference_id or one.extension is None else _hash(one.extension)


def _consumer_key(consumer: AnyPerson) -> str:
    if not consumer.identifiers:
        return f"consumer#{_hash(consumer).hex()}"
    ids = sorted([one.provider, one.id] for one in consumer.identifiers)
    return f"consumer:{digest_of(encode(ids)).hex()}"
