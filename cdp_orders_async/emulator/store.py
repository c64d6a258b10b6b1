"""The state of the server: orders with their parts, and guests, as plain JSON, without HTTP.

The state is in memory. If there is a storage, it is written before memory changes, so that the two cannot disagree.
Nothing here waits, so each call is one indivisible step.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from hashlib import blake2b
from itertools import islice
from operator import attrgetter
from typing import TypeVar
from uuid import UUID, uuid5

import attrs

from cdp_orders_async.emulator.guests import GUEST_TYPES, Index, identities, profile
from cdp_orders_async.emulator.records import (
    Cause,
    Effect,
    Invalid,
    Json,
    Missing,
    NoExtension,
    Record,
    moment,
    text_of,
    texts,
    utc_now,
)
from cdp_orders_async.emulator.rules import EXTENSION_PAIRS_MAX
from cdp_orders_async.emulator.storage import Storage
from cdp_orders_async.emulator.switches import Switches

__all__ = ["EXTENSION_OWNERS", "Store"]

EXTENSION_OWNERS: Mapping[str, str] = {"order_extensions": "orders", "item_extensions": "items"}
"""The kinds of extensions, and the kind that each extends."""

PART_KINDS: Mapping[str, tuple[str, ...]] = {
    "orders": ("items", "contacts", "consumers", "order_extensions"),
    "items": ("item_extensions",),
}
IDENTITY = ("referenceId", "orderedAt")

OWNED = frozenset({"orders", "contacts"})
"""The kinds that link an order to a guest."""

Key = TypeVar("Key")
Value = TypeVar("Value")


class Store:
    """Orders, items, contacts, consumers, extensions and guests, with the ledger of every effect on them.

    It starts empty, or with the contents of *storage*. The refs depend on *seed* and the number of the effect.
    """

    def __init__(
        self,
        switches: Switches | None = None,
        *,
        clock: Callable[[], datetime] = utc_now,
        seed: int = 0,
        storage: Storage | None = None,
    ) -> None:
        self.switches = switches or Switches()
        self.clock = clock
        self._seed = seed
        self._storage = storage
        self._forget()
        if storage is not None:
            for effect in storage.effects():
                self._log(effect)
            for record in storage.records():
                self._put(record)

    def get(self, kind: str, ref: str) -> Record:
        """Return the record with this *ref*; raise Missing."""
        record = self.find(kind, ref)
        if record is None:
            raise Missing(f"ref: no such resource: {ref}.")
        return record

    def find(self, kind: str, ref: str) -> Record | None:
        """Return what is kept under *ref*, None if nothing is."""
        return self._records.get(kind, {}).get(ref.lower())

    def extension(self, kind: str, owner: str) -> Record:
        """Return the data extension of *owner*; raise Missing, or NoExtension if only the extension is absent."""
        home = self.get(EXTENSION_OWNERS[kind], owner)
        record = self._records.get(kind, {}).get(extension_ref(home.ref))
        if record is None:
            raise NoExtension("ext: the data extension does not exist.")
        return record

    def all(self, kind: str) -> Iterable[Record]:
        """Return all records of a kind, in the order of creation."""
        return self._records.get(kind, {}).values()

    def count(self, kind: str) -> int:
        """Return the number of records of a kind."""
        return len(self._records.get(kind, ()))

    def newest(self, kind: str, start: int, count: int) -> list[Record]:
        """Return *count* records of a kind from number *start* on, the newest first."""
        return list(islice(reversed(self._records.get(kind, {}).values()), start, start + count))

    def parts(self, kind: str, owner: str) -> list[Record]:
        """Return the parts of *owner* of a kind, in the order of creation."""
        return [self._records[kind][ref] for ref in self._children.get((kind, owner), ())]

    def items_of(self, consumer: Record) -> list[Record]:
        """Return the items that a consumer uses."""
        return [self._records["items"][ref] for ref in texts(consumer.data.get("orderItems"))]

    def orders_called(self, reference_id: str) -> list[Record]:
        """Return the orders with this referenceId, in the order of creation."""
        return [self._records["orders"][ref] for ref in self._called.get(reference_id, ())]

    def orders_of(self, guest: str) -> list[Record]:
        """Return the orders whose first contact is this guest, in the order of creation."""
        orders, parts = self._records.get("orders", {}), self._children
        owned = [
            orders[order]
            for ref, order in self._owned.get(guest.lower(), {}).items()
            # An order that was deleted without its parts has left its contact.
            if next(iter(parts.get(("contacts", order), ())), order) == ref and order in orders
        ]
        return sorted(owned, key=attrgetter("serial"))

    def guest_of(self, order: Record) -> str:
        """Return the ref of the guest of an order: that of its first contact, else that of the order itself."""
        first = next(iter(self._children.get(("contacts", order.ref), ())), None)
        return (order if first is None else self._records["contacts"][first]).guest

    def guests_found(self, text: str, kind: str = "") -> list[str]:
        """Return the refs of the guests that *text* describes, only those of the type *kind* if one is given.

        First come the guest with this email address and the guests of the orders with this reference. Then come the
        guests with each word of it in their names, email addresses, identifiers or ref, the newest first. An empty text
        describes every guest.
        """
        order = self.find("orders", text)
        orders = [*self.orders_called(text), *([] if order is None else [order])]
        named = [self._identities.get(("", text.casefold()), ""), *map(self.guest_of, orders)]
        return self._guests.found(text, kind, list(dict.fromkeys(filter(None, named))))

    def listed(self, records: list[Record]) -> list[Record]:
        """Return *records* without those that are so new that lists do not show them yet."""
        if not self.switches.list_lag:
            return records
        horizon = self.clock() - timedelta(seconds=self.switches.list_lag)
        return [record for record in records if record.created <= horizon]

    def create(self, kind: str, data: Mapping[str, Json], cause: Cause, owner: str = "", guest: str = "") -> Record:
        """Store an order, or a part under the order *owner*; with the switch *upsert* the same order is updated.

        guest: the owner of an order without a contact.
        """
        if kind == "orders":
            same = self.same_order(data) if self.switches.upsert else None
            if same is not None:
                return self._change("updated", same, {**same.data, **without(data, IDENTITY)}, cause)
        else:
            owner = self.get("orders", owner).ref
        guest = self.get("guests", guest).ref if guest else ""
        ref = self._new_ref(kind)
        new = attrs.evolve(self._new(kind, ref, owner, owner or ref, data), guest=guest)
        return self._save("created", new, cause)

    def extend(self, kind: str, owner: str, pairs: Mapping[str, Json], cause: Cause) -> Record:
        """Give *owner* a data extension; if it has one already, a switch decides."""
        home = self.get(EXTENSION_OWNERS[kind], owner)
        try:
            known = self.extension(kind, owner)
        except NoExtension:
            return self._save("created", self._new(kind, extension_ref(home.ref), home.ref, home.order, pairs), cause)
        if self.switches.extension_post_existing == "refuse":
            raise Invalid("ext: the data extension exists already.")
        if self.switches.extension_post_existing == "merge":
            return self.update(known, pairs, cause)
        return self.replace(known, pairs, cause)

    def replace(self, record: Record, data: Mapping[str, Json], cause: Cause) -> Record:
        """Replace all values of a record with *data*."""
        return self._change("replaced", record, data, cause)

    def update(self, record: Record, changes: Mapping[str, Json], cause: Cause) -> Record:
        """Change some values of a record; None removes a value."""
        merged = {name: value for name, value in {**record.data, **changes}.items() if value is not None}
        return self._change("updated", record, merged, cause)

    def delete_fields(self, record: Record, names: Iterable[str], cause: Cause) -> Record:
        """Delete pairs of an extension; unknown names are ignored."""
        return self._change("updated", record, without(record.data, names), cause)

    def delete(self, record: Record, cause: Cause) -> None:
        """Delete a record, with *cascade* everything under it, and the links of consumers to a deleted item."""
        last = record.kind == "contacts" and len(self.parts("contacts", record.owner)) == 1
        if last and self.switches.delete_last_contact == "refuse":
            raise Invalid("contact: the last contact of an order may not be deleted.")
        users = [
            attrs.evolve(
                user,
                data={**user.data, "orderItems": [ref for ref in texts(user.data["orderItems"]) if ref != record.ref]},
            )
            for user in (self.parts("consumers", record.order) if record.kind == "items" else ())
            if record.ref in texts(user.data.get("orderItems"))
        ]
        under = self._under(record) if self.switches.cascade else ()
        self._commit("deleted", record, cause, puts=users, gone=[record, *under])

    def clear(self, order: Record, cause: Cause) -> None:
        """Delete all parts of an *order*, which stays."""
        under = list(self._under(order))
        if under:
            self._commit("cleared", order, cause, puts=[], gone=under)

    def same_order(self, data: Mapping[str, Json]) -> Record | None:
        """Return the order with this referenceId whose time is near enough, None if there is none."""
        window = timedelta(hours=self.switches.match_hours)
        ordered_at = moment(str(data["orderedAt"]))
        for order in self.orders_called(str(data["referenceId"])):
            if abs(moment(str(order.data["orderedAt"])) - ordered_at) <= window:
                return order
        return None

    def reset(self) -> None:
        """Delete everything, the ledger too; the refs begin again."""
        if self._storage is not None:
            self._storage.clear()
        self._forget()

    def close(self) -> None:
        """Close the storage."""
        if self._storage is not None:
            self._storage.close()

    def _change(self, effect: str, record: Record, data: Mapping[str, Json], cause: Cause) -> Record:
        if record.kind == "orders":
            for name in IDENTITY:
                if data.get(name, record.data[name]) != record.data[name] and self.switches.refuse_identity_change:
                    raise Invalid(f"{name}: cannot be changed.")
            data = {**data, **{name: record.data[name] for name in IDENTITY}}
        if record.kind in EXTENSION_OWNERS and len(data) > EXTENSION_PAIRS_MAX:
            raise Invalid(f"ext: must have at most {EXTENSION_PAIRS_MAX} key-value pairs.")
        return self._save(effect, attrs.evolve(record, data=data, modified=self.clock()), cause)

    def _save(self, effect: str, record: Record, cause: Cause) -> Record:
        for ref in texts(record.data.get("orderItems")) if record.kind == "consumers" else ():
            item = self._records.get("items", {}).get(ref)
            if item is None or item.order != record.order:
                raise Invalid(f"orderItems: no such item of this order: {ref}.")
        puts = [record]
        if record.kind in GUEST_TYPES:
            guest = self._guest_of(record)
            record = attrs.evolve(record, guest=guest.ref)
            puts = [guest, record]
        self._commit(effect, record, cause, puts)
        return record

    def _guest_of(self, person: Record) -> Record:
        named = person.data.get("guest")
        if named is not None and named not in self._records.get("guests", {}):
            raise Invalid(f"guest: no such guest: {named}.")
        found = (self._identities[key] for key in identities(person.data) if key in self._identities)
        ref = str(named) if named is not None else next(found, person.guest)
        known = self._records["guests"][ref] if ref else self._new("guests", self._new_ref("guests"), "", "", {})
        return attrs.evolve(known, data=profile(known.data, person.data, person.kind), modified=self.clock())

    def _new_ref(self, kind: str) -> str:
        # It depends on the number of the effect, so that an emulator that continues a file makes the same refs.
        name = f"{self._seed}/{len(self.effects)}/{kind}".encode()
        return str(UUID(bytes=blake2b(name, digest_size=16).digest(), version=4))

    def _new(self, kind: str, ref: str, owner: str, order: str, data: Mapping[str, Json]) -> Record:
        now = self.clock()
        return Record(kind, ref, owner, order, len(self.effects) + 1, data, now, now)

    def _commit(
        self, effect: str, record: Record, cause: Cause, puts: list[Record], gone: Iterable[Record] = ()
    ) -> None:
        entry: Effect = {
            "sequence": len(self.effects) + 1,
            "time": text_of(self.clock()),
            "effect": effect,
            "operation": cause.operation,
            "method": cause.method,
            "path": cause.path,
            "ref": record.ref,
            "order": record.order,
            "requestId": cause.request_id,
        }
        gone = list(gone)
        if self._storage is not None:
            self._storage.write(entry, puts, gone)
        self._log(entry)
        for each in puts:
            self._put(each)
        for each in gone:
            self._drop(each)

    def _under(self, record: Record) -> Iterator[Record]:
        for kind in PART_KINDS.get(record.kind, ()):
            for part in self.parts(kind, record.ref):
                yield part
                yield from self._under(part)

    def _forget(self) -> None:
        self.effects: list[Effect] = []
        """The ledger, oldest first."""
        self.counts: Counter[str] = Counter()
        """The number of effects, by operation."""
        self._records: dict[str, dict[str, Record]] = {}
        self._children: dict[tuple[str, str], dict[str, None]] = {}
        self._called: dict[str, dict[str, None]] = {}
        self._owned: dict[str, dict[str, str]] = {}
        self._identities: dict[tuple[str, str], str] = {}
        self._guests = Index()

    def _log(self, effect: Effect) -> None:
        self.effects.append(effect)
        self.counts[effect["operation"]] += 1

    def _put(self, record: Record) -> None:
        kept = self._records.setdefault(record.kind, {})
        before = kept.get(record.ref)
        kept[record.ref] = record
        if record.owner:
            self._children.setdefault((record.kind, record.owner), {})[record.ref] = None
        if record.kind == "orders":
            self._called.setdefault(str(record.data["referenceId"]), {})[record.ref] = None
        if record.kind in OWNED and record.guest:
            if before is not None:
                remove(self._owned, before.guest, before.ref)
            self._owned.setdefault(record.guest, {})[record.ref] = record.order
        elif record.kind == "guests":
            self._guests.put(record.ref, record.data)
            for key in identities(record.data):
                self._identities.setdefault(key, record.ref)

    def _drop(self, record: Record) -> None:
        del self._records[record.kind][record.ref]
        if record.owner:
            remove(self._children, (record.kind, record.owner), record.ref)
        if record.kind == "orders":
            remove(self._called, str(record.data["referenceId"]), record.ref)
        if record.kind in OWNED and record.guest:
            remove(self._owned, record.guest, record.ref)


def extension_ref(owner: str) -> str:
    """Return the ref of the data extension of *owner*."""
    return str(uuid5(UUID(owner), "ext"))


def without(data: Mapping[str, Json], names: Iterable[str]) -> dict[str, Json]:
    """Return *data* without the *names*."""
    left = dict(data)
    for name in names:
        left.pop(name, None)
    return left


def remove(index: dict[Key, dict[str, Value]], key: Key, ref: str) -> None:
    """Remove *ref* from an index; without a ref, an entry is removed too."""
    del index[key][ref]
    if not index[key]:
        del index[key]
