"""The parts of one order, which depend on each other.

The order comes first. Then come the contact, the items and the consumers without items, all at once. A consumer with
items follows its items, and an extension follows its owner. Parts that a look-up could confuse (equal items without
a reference id, and the consumers of one order) are created one by one, so that at most one of them is in doubt.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from types import CellType
from typing import Any, TypeGuard
from uuid import UUID

import attrs
from msgspec import Struct, field

from cdp_orders_async.errors import shown_key
from cdp_orders_async.graph import GraphItem, OrderGraph, Pairs
from cdp_orders_async.ingest.outcomes import Failure, PartOutcome, PartVerdict
from cdp_orders_async.journal import PartRecord
from cdp_orders_async.models import Extension, NewOrderItem, NewOrderItemV2
from cdp_orders_async.models.common import AnyPerson, Value
from cdp_orders_async.wire import copy_of, encode, is_object, to_json

__all__ = [
    "CREATED",
    "EXTENDED",
    "EXTENSIONS",
    "LEFT",
    "LISTED",
    "UNDOING",
    "CreatedExtension",
    "CreatedRef",
    "Part",
    "digest_of_order",
    "digest_of_parts",
    "digest_of_stored",
    "kind_of",
    "left_key",
    "parts_of",
]

EXTENDED = {"order_extensions": "orders", "item_extensions": "items"}
"""The kinds of the owners of extensions."""
EXTENSIONS = frozenset(EXTENDED)
LISTED = ("items", "contacts", "consumers")
"""The kinds of parts that are listed under an order."""
KIND_BY_PREFIX = {"order": "orders", "item": "items", "contact": "contacts", "consumer": "consumers"}
"""The kinds of parts, by the beginning of their keys."""
CREATED = PartVerdict.CREATED
UNDOING = b"undo:"
"""The beginning of the hash of a part that is being deleted, or stays because it was changed: the rest is its hash
before. It fits no input."""
LEFT = "left/"
"""The beginning of the key of a leftover, which no part can have: its kind and its reference follow."""
LONGEST_REFERENCE = 500
"""The most characters of the reference id of an item that are its key; of a longer one it is the hash."""
EXACT = 2**53
"""Below it a whole number has one form as a float."""
OF_OBJECTS = frozenset({"identifiers", "flightSegments"})
"""The fields that are lists of objects."""
EMPTY: tuple[object, ...] = ("", [])
"""Values that count as a missing field, as in `diff`."""
RESERVED_SUFFIX = re.compile(r"(/ext|~[0-9]+)/*$")
"""The end of a reference id whose key would look like the key of an extension or of a duplicate."""


class Part(Struct, eq=False):
    """One thing to create, and its state."""

    name: str
    """Its place in the input: ``order``, ``items/3``, ``items/3/ext``."""
    key: str
    """Identifies it within its order, independent of its place: the journal uses it."""
    kind: str
    """The name of its resource, as in ``cdp.items``."""
    held: CellType
    """The value to create. A cell shows its value in no text and no pickle, and is the quickest holder to make."""
    owner: Part | None = None
    """The part under which it is created; None for the order."""
    uses: tuple[Part, ...] = ()
    """The items of a consumer."""
    group: str = ""
    """A look-up could confuse parts with the same group."""
    after: Part | None = None
    """The part before it in its group: first it must be known whether that part is on the server."""
    waits: int = 0
    """The number of parts that it still waits for."""
    followers: list[int] = field(default_factory=list)  # pyright: ignore[reportUnknownVariableType] list[int] is slow
    """The indexes of the parts that wait for it; references would make cycles."""
    ref: UUID | None = None
    in_doubt: bool = False
    """Whether it may be on the server under an unknown reference."""
    verdict: PartVerdict | None = None
    """None until it has come to its end."""
    differs: tuple[str, ...] = ()
    failure: Failure | None = None
    reason: str | None = None
    """Why it is not on the server as the input says, in a sentence; None if the failure says it."""
    _digest: bytes = b""

    @property
    def value(self) -> Any:  # noqa: ANN401 a model or pairs
        """The value to create: a model, or the pairs of an extension."""
        return self.held.cell_contents

    @property
    def digest(self) -> bytes:
        """The hash of the value, made at the first use."""
        if not self._digest:
            uses = dict.fromkeys([use.key for use in self.uses]) if self.uses else ()
            self._digest = _hash(self.value, *[key.encode() for key in uses])
        return self._digest

    @property
    def owner_ref(self) -> UUID | None:
        """The reference of its owner, None for the order."""
        return None if self.owner is None else self.owner.ref

    @property
    def is_behind_doubt(self) -> bool:
        """Whether an earlier part of its group is in doubt: then a look-up could confuse the two."""
        part = self.after
        while part is not None and not part.in_doubt:
            part = part.after
        return part is not None

    @property
    def is_there(self) -> bool:
        """Whether it is on the server."""
        verdict = self.verdict
        return verdict is CREATED or (verdict is not None and verdict.there)

    @property
    def record(self) -> PartRecord:
        """Its record for a journal.

        If it has a reference, and it is not certain that the server has it as the input says, the record has a hash
        that fits no input, so that the next run compares it again.
        """
        uncertain = self.differs or (self.ref is not None and not self.is_there)
        return PartRecord(b"" if uncertain else self.digest, self.ref)

    @property
    def outcome(self) -> PartOutcome:
        """The outcome for the caller of the load."""
        verdict = self.verdict or PartVerdict.BLOCKED
        differs = tuple(map(shown_key, self.differs)) if self.kind in EXTENSIONS else self.differs
        return PartOutcome(self.name, verdict, self.ref, differs, self.failure, self.reason)

    def sent(self) -> Any:  # noqa: ANN401 any model
        """Return the value to send; a consumer has the references of its items."""
        if not self.uses:
            return self.value
        return attrs.evolve(self.value, order_items=tuple(use.ref for use in self.uses))


def left_key(kind: str, ref: UUID) -> str:
    """Return the key of a leftover, a resource that no part of the input claims."""
    return f"{LEFT}{kind}/{ref.hex}"


def kind_of(key: str) -> str:
    """Return the kind of the part, or the leftover, with this key."""
    if key.startswith(LEFT):
        return key.split("/")[1]
    if key.endswith("/ext"):
        return "order_extensions" if key == "order/ext" else "item_extensions"
    return next(kind for start, kind in KIND_BY_PREFIX.items() if key.startswith(start))


def digest_of(*texts: bytes) -> bytes:
    """Return a short hash of *texts*, one after the other."""
    return hashlib.blake2b(b"".join([len(text).to_bytes(8, "big") + text for text in texts]), digest_size=12).digest()


def digest_of_order(graph: OrderGraph) -> bytes:
    """Return the hash of a whole order: equal where a load takes one order for a copy of the other."""
    return digest_of_parts(parts_of(graph))


def digest_of_parts(parts: Sequence[Part]) -> bytes:
    """Return the hash of an order of these *parts*."""
    return digest_of(*[part.key.encode() + part.digest for part in parts])


def digest_of_stored(model: type[Any], stored: Any, uses: Sequence[str]) -> bytes:  # noqa: ANN401 any resource
    """Return the digest that a part would have if the input said what the server has of it.

    *model* is what was sent; *uses* are the keys of the items that a consumer uses.
    """
    if isinstance(stored, Extension):
        return _hash(stored.pairs)
    values = {name: getattr(stored, name) for name in attrs.fields_dict(model) if name != "order_items"}
    return _hash(model(**values), *[key.encode() for key in uses])


@attrs.define(kw_only=True, eq=False, repr=False)
class CreatedRef(Value):
    """The parts of the answer to a create that a load needs: the new reference, and the times in any form."""

    ref: UUID
    created_at: object = None
    modified_at: object = None


@attrs.define(kw_only=True, eq=False, repr=False)
class CreatedExtension(Value):
    """The same for an extension, whose reference is not needed: it is found by its owner."""

    ref: UUID | None = None
    key: object = None
    created_at: object = None
    modified_at: object = None


class _Parts:
    """The parts of one order so far."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self._duplicates: dict[str, int] = {}
        self._last_of_group: dict[str, Part] = {}

    def add(self, part: Part, *needs: Part) -> Part:
        """Add a part that waits for the parts that it *needs*, and for the part before it in its group."""
        if part.group:
            part.after = self._last_of_group.get(part.group)
            self._last_of_group[part.group] = part
            self._duplicates[part.key] = number = self._duplicates.get(part.key, 0) + 1
            if number > 1:
                part.key = f"{part.key}~{number}"
            if part.after is not None:
                needs = (*needs, part.after)
        for need in needs:
            need.followers.append(len(self.parts))
        part.waits = len(needs)
        self.parts.append(part)
        return part

    def add_extension(self, name: str, kind: str, owner: Part, held: CellType) -> None:
        """Add the extension of *owner*."""
        self.add(Part(name, f"{owner.key}/ext", kind, held, owner), owner)


def parts_of(graph: OrderGraph, *, copy: bool = False) -> list[Part]:
    """Return the parts of *graph*, the order first.

    Of parts that can be created at the same time, those with the longest chain of dependants come first. With *copy*,
    later changes to the objects of the *graph* do not change the parts.
    """
    made = _Parts()
    hold: Callable[[object], CellType] = (lambda model: CellType(copy_of(model))) if copy else CellType
    hold_pairs: Callable[[Pairs], CellType] = (lambda pairs: CellType(dict(pairs))) if copy else CellType
    order = made.add(Part("order", "order", "orders", hold(graph.order), group="order"))
    items: dict[int, Part] = {}
    # Duplicates are numbered by their extensions, so that the order of the items in a line does not change their keys.
    for n, entry in sorted(enumerate(graph.items), key=lambda numbered: _extension_hash(numbered[1])):
        key, group = _item_identity(entry.item)
        items[n] = made.add(Part(f"items/{n}", key, "items", hold(entry.item), order, (), group), order)
    if graph.contact is not None:
        made.add(Part("contact", "contact", "contacts", hold(graph.contact), order, (), "contact"), order)
    if graph.extension is not None:
        made.add_extension("ext", "order_extensions", order, hold_pairs(graph.extension))
    for n, entry in enumerate(graph.items):
        if entry.extension is not None:
            made.add_extension(f"items/{n}/ext", "item_extensions", items[n], hold_pairs(entry.extension))
    by_reference = {part.value.reference_id: part for part in items.values()} if graph.consumers else {}
    # A look-up could confuse any two consumers: they may share identifiers, or be shown without them. Those without
    # items go first.
    for n, user in sorted(enumerate(graph.consumers), key=lambda numbered: sorted(numbered[1].uses)):
        uses = tuple(by_reference[reference] for reference in user.uses)
        key, held = _consumer_key(user.consumer), hold(user.consumer)
        part = Part(f"consumers/{n}", key, "consumers", held, order, uses, "consumer")
        made.add(part, order, *uses)
    return made.parts


def _hash(value: Any, *rest: bytes) -> bytes:  # noqa: ANN401 a model or pairs
    """Return the hash of *value*: the same one for all values between which `diff` sees no difference."""
    if attrs.has(value.__class__):
        return digest_of(encode(_in_one_form(to_json(value))), *rest)
    return digest_of(encode(dict(sorted(_pairs_in_one_form(value).items()))), *rest)


def _pairs_in_one_form(pairs: Pairs) -> Pairs:
    """Return *pairs* without empty texts, and with 1 in place of 1.0."""
    values = pairs.values()
    if "" not in values and not [one for one in values if isinstance(one, float) and one.is_integer()]:  # nearly always
        return pairs
    return {key: int(one) if _is_whole(one) else one for key, one in pairs.items() if one != ""}


def _is_whole(value: object) -> TypeGuard[float]:
    return isinstance(value, float) and value.is_integer() and abs(value) < EXACT


def _in_one_form(plain: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the JSON of a model without empty texts and lists, and with its identifiers sorted and each once."""
    values = plain.values()
    if "" not in values and [] not in values and OF_OBJECTS.isdisjoint(plain):  # as nearly all parts
        return plain
    made = {name: value for name, value in plain.items() if value not in EMPTY}
    for name, value in made.items():
        if isinstance(value, list):
            entries: list[Any] = [*value]
            entries = [_in_one_form(one) if is_object(one) else one for one in entries]
            if name == "identifiers":
                by_key = {(one.get("provider"), one.get("id")): one for one in entries}
                entries = [by_key[key] for key in sorted(by_key, key=str)]
            made[name] = entries
    return made


def _item_identity(item: NewOrderItem | NewOrderItemV2) -> tuple[str, str]:
    """Return the key of an item, and its group: the items that a look-up could confuse.

    A look-up finds an item without a reference id by its content. A field that one item leaves out may have a value
    in another item, so the group depends only on the fields that every item has.
    """
    if item.reference_id and len(item.reference_id) > LONGEST_REFERENCE:
        key = f"item:{digest_of(item.reference_id.encode()).hex()}"
        return key, key
    if item.reference_id:
        key = f"item:{item.reference_id}"
        if ("/" in key or "~" in key) and RESERVED_SUFFIX.search(key):  # the quick test first: few keys pass it
            key += "/"
        return key, key
    plain = to_json(item)
    always = [plain[name] for name in ("type", "name", "price", "currencyCode", "status")]
    return f"item#{digest_of(encode(_in_one_form(plain))).hex()}", f"item#{digest_of(encode(always)).hex()}"


def _extension_hash(entry: GraphItem) -> bytes:
    return b"" if entry.item.reference_id or entry.extension is None else _hash(entry.extension)


def _consumer_key(consumer: AnyPerson) -> str:
    if not consumer.identifiers:
        return f"consumer#{_hash(consumer).hex()}"
    ids = sorted([identifier.provider, identifier.id] for identifier in consumer.identifiers)
    return f"consumer:{digest_of(encode(ids)).hex()}"
