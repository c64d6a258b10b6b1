"""What the server does with the import records of a batch file: it checks each whole, and then takes it or refuses it.

Source: the vendor's pages on the Batch API. Where they are silent, the switches ``batch_...`` decide.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta

import attrs
import orjson

from cdp_orders_async.emulator.records import Cause, Invalid, Json, Record, members, moment
from cdp_orders_async.emulator.rules import V2_1_RULES, V2_RULES, Rules, checked, checked_pairs
from cdp_orders_async.emulator.store import Store

__all__ = ["row", "take"]

PAIRS_MAX = 50
DELETE_WINDOW = timedelta(hours=24)
MODES = frozenset({"insert", "upsert", "delete"})
KNOWN_MODES = MODES | {"create", "merge", "gdpr_delete"}
ORDER_ALWAYS = ("referenceId", "orderedAt", "channel", "pointOfSale")
ORDER_INSERT = (*ORDER_ALWAYS, "status", "currencyCode", "price", "paymentType")
ITEM_INSERT = ("type", "productId", "name", "description", "vendor", "price", "currencyCode")


class Refused(Exception):
    """A record that is not taken."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@attrs.frozen
class Parts:
    """A record that keeps all rules: the values to store."""

    order: dict[str, Json]
    contact: dict[str, Json] | None
    items: list[tuple[dict[str, Json], dict[str, Json] | None]]
    """The items, each with its extension."""
    consumers: list[tuple[dict[str, Json], list[int]]]
    """The consumers, each with the numbers of its items."""
    extension: dict[str, Json] | None


def take(store: Store, line: bytes, cause: Callable[[str], Cause], *, refuse: int | None) -> dict[str, Json] | None:
    """Do what one *line* of a batch file says; return None, or the row of the error log that says why not.

    *cause* makes the cause of an effect from the ref of the record. With *refuse*, a record is refused with this code.
    """
    ref: Json = None
    try:
        record: Json = orjson.loads(line)
        ref = record.get("ref") if isinstance(record, dict) else None
        if not isinstance(record, dict) or not isinstance(ref, str):
            return row(None, 400, "ref: may not be null.")
        if refuse is not None:
            return row(ref, refuse, "The record could not be processed.")
        apply(store, record, cause(ref))
    except orjson.JSONDecodeError:
        return row(None, 400, "The line is not valid JSON.")
    except Invalid as wrong:
        return row(ref, 400, str(wrong))
    except Refused as refused:
        return row(ref, refused.code, str(refused))
    return None


def row(ref: Json, code: int, message: str) -> dict[str, Json]:
    """Return a row of the error log."""
    return {"ref": ref, "code": code, "message": message}


def apply(store: Store, record: Mapping[str, Json], cause: Cause) -> None:
    """Insert, upsert or delete an order."""
    mode, value = record.get("mode"), record.get("value")
    if record.get("schema") != "order":
        raise Refused(400, "schema: must be order.")
    if mode not in MODES:
        raise Refused(402 if mode in KNOWN_MODES else 400, "mode: is not supported.")
    if not isinstance(value, dict):
        raise Refused(400, "value: may not be null.")
    if mode == "delete":
        delete(store, value, cause)
        return
    parts = read(store, value, upsert=mode == "upsert")
    known = store.same_order(parts.order)
    if known is None:
        known = store.create("orders", parts.order, cause)
    elif mode == "insert":
        store.clear(known, cause)
        store.replace(known, parts.order, cause)
    else:
        changes = {name: held for name, held in parts.order.items() if name not in {"referenceId", "orderedAt"}}
        store.update(known, changes, cause)
        for kind, given in (("contacts", parts.contact), ("consumers", parts.consumers)):
            for old in store.parts(kind, known.ref) if given else ():
                store.delete(old, cause)
    create_parts(store, known, parts, cause)


def create_parts(store: Store, order: Record, parts: Parts, cause: Cause) -> None:
    """Store the parts of an order."""
    items: list[Json] = []
    for item, pairs in parts.items:
        made = store.create("items", item, cause, order.ref)
        items.append(made.ref)
        if pairs is not None:
            store.extend("item_extensions", made.ref, pairs, cause)
    if parts.contact is not None:
        store.create("contacts", parts.contact, cause, order.ref)
    for consumer, uses in parts.consumers:
        links: dict[str, Json] = {"orderItems": [items[n] for n in uses]} if uses else {}
        store.create("consumers", {**consumer, **links}, cause, order.ref)
    if parts.extension is not None:
        store.extend("order_extensions", order.ref, parts.extension, cause)


def delete(store: Store, value: Mapping[str, Json], cause: Cause) -> None:
    """Delete an order by its referenceId, its time within a day, or its ref among several."""
    found = store.orders_called(str(value.get("referenceId", "")))
    if value.get("orderedAt") is not None:
        try:
            when = moment(str(value["orderedAt"]))
        except ValueError:
            raise Invalid("orderedAt: must be an ISO 8601 date-time with a time zone.") from None
        found = [one for one in found if abs(moment(str(one.data["orderedAt"])) - when) <= DELETE_WINDOW]
    if len(found) > 1 and value.get("orderRef") is not None:
        found = [one for one in found if one.ref == str(value["orderRef"]).lower()]
    if not found:
        raise Refused(404, "No order found.")
    if len(found) > 1:
        raise Refused(400, "Several orders have this referenceId.")
    store.delete(found[0], cause)


def read(store: Store, value: Mapping[str, Json], *, upsert: bool) -> Parts:
    """Check the value of a record; raise Invalid with all complaints about the first part that breaks a rule."""
    switches = store.switches
    rules = V2_RULES if switches.batch_model == "v2" else V2_1_RULES
    body = dict(value)
    contact, items, consumers, extensions = (
        body.pop(name, None) for name in ("contact", "orderItems", "consumers", "extensions")
    )
    if upsert and items and switches.batch_upsert_items == "refuse":
        raise Invalid("orderItems: upsert is not supported.")
    required = ORDER_ALWAYS if upsert else ORDER_INSERT
    if body.get("paymentType") == "Card" and not upsert:
        required = (*required, "cardType")
    order = fit(store, attrs.evolve(rules["orders"], required=required), body, "")
    person = None if contact is None else read_person(store, rules["contacts"], contact, "contact.")
    if switches.batch_identity and not (person and (person.get("emails") or person.get("identifiers"))):
        raise Invalid("Identity information missing")
    of_item = attrs.evolve(rules["items"], required=tuple(dict.fromkeys((*ITEM_INSERT, *rules["items"].required))))
    made: list[tuple[dict[str, Json], dict[str, Json] | None]] = []
    for n, item in enumerate(() if upsert else objects(items, "orderItems")):
        pairs = read_extension(item.pop("extensions", None), f"orderItems[{n}].")
        made.append((fit(store, of_item, item, f"orderItems[{n}]."), pairs))
    names = [item.get("referenceId") for item, _ in made]
    users: list[tuple[dict[str, Json], list[int]]] = []
    for n, consumer in enumerate(objects(consumers, "consumers")):
        uses = list(used(consumer.pop("orderItems", None), names, f"consumers[{n}].orderItems"))
        users.append((read_person(store, rules["consumers"], consumer, f"consumers[{n}]."), uses))
    return Parts(order, person, made, users, read_extension(extensions, ""))


def fit(store: Store, rules: Rules, body: dict[str, Json], at: str) -> dict[str, Json]:
    """Return the values of a part to store."""
    try:
        return checked(rules, body, now=store.clock(), partial=False, switches=store.switches)
    except Invalid as wrong:
        raise Invalid(f"{at}{wrong}") from None


def read_person(store: Store, rules: Rules, person: Json, at: str) -> dict[str, Json]:
    """Return the values of a contact or a consumer; its ``email`` is its first address."""
    if not isinstance(person, dict):
        raise Invalid(f"{at.rstrip('.')}: must be an object.")
    fields = dict(person)
    email = fields.pop("email", None)
    if email is not None:
        more = fields.get("emails")
        fields["emails"] = [email, *(more if isinstance(more, list) else ())]
    if "firstName" in rules.fields and store.switches.require_first_name is not None:
        required = (rules.required or ("firstName",)) if store.switches.require_first_name else ()
        rules = attrs.evolve(rules, required=required)
    return fit(store, rules, fields, at)


def objects(value: Json, name: str) -> Iterator[dict[str, Json]]:
    """Yield a copy of each object in a list; raise Invalid for anything else."""
    if value is not None and not (isinstance(value, list) and len(members(value)) == len(value)):
        raise Invalid(f"{name}: must be an array of objects.")
    yield from (dict(each) for each in members(value))


def used(value: Json, names: list[Json], at: str) -> Iterator[int]:
    """Yield the numbers of the items that a consumer names."""
    for n, item in enumerate(objects(value, at)):
        name = item.get("referenceId")
        if not isinstance(name, str) or names.count(name) != 1:
            raise Invalid(f"{at}[{n}].referenceId: must name an item of this order.")
        yield names.index(name)


def read_extension(value: Json, at: str) -> dict[str, Json] | None:
    """Return the pairs of the one extension, None for no extension."""
    found = list(objects(value, f"{at}extensions"))
    if not found:
        return None
    if len(found) > 1:
        raise Invalid(f"{at}extensions: must be at most one.")
    pairs = found[0]
    if pairs.pop("name", "ext") != "ext" or pairs.pop("key", "default") != "default":
        raise Invalid(f"{at}extensions[0].name: must be ext, and key: must be default.")
    if len(pairs) > PAIRS_MAX:
        raise Invalid(f"{at}extensions[0]: must have at most {PAIRS_MAX} attributes.")
    try:
        return checked_pairs(pairs)
    except Invalid as wrong:
        raise Invalid(f"{at}extensions[0].{wrong}") from None
