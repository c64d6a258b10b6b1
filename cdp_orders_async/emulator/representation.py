"""The JSON of each version: resources, pages of lists, and whole orders."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from urllib.parse import urlencode

import attrs

from cdp_orders_async.emulator.records import Invalid, Json, Record, moment, text_of, texts
from cdp_orders_async.emulator.store import EXTENSION_OWNERS, Store

__all__ = ["LIMIT", "Links", "embed", "nested", "page", "shown"]

LIMIT = 10
ORDER_PARTS = {
    "contacts": "contacts",
    "consumers": "consumers",
    "orderItems": "items",
    "extensions": "order_extensions",
}
"""The keys of an order that link to its parts, and their kinds."""
TIMES = ("orderedAt", "dateOfBirth", "passportExpiry")


@attrs.frozen
class Links:
    """The absolute links of one version, made from its table of routes."""

    base: str
    paths: Mapping[str, str]
    """The path of every operation, with ``{ref}`` in it."""
    legacy: bool
    """Whether this is version 2: times with milliseconds, and lists that hold only links."""

    def to(self, operation: str, ref: str) -> str:
        """Return the URL of *operation* on *ref*."""
        return self.base + self.paths[operation].replace("{ref}", ref)

    def of(self, record: Record) -> str:
        """Return the canonical URL of a record."""
        url = self.to(f"{record.kind}.get", record.owner if record.kind in EXTENSION_OWNERS else record.ref)
        return url.replace("{ext}", record.ref)

    def time(self, instant: datetime) -> str:
        """Write a time in the form of this version."""
        if self.legacy:
            return instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return text_of(instant)


def shown(record: Record, store: Store, links: Links) -> dict[str, Json]:
    """Return the JSON of a resource in an answer."""
    answer: dict[str, Json] = {
        "ref": record.ref,
        "href": links.of(record),
        "createdAt": links.time(record.created.replace(microsecond=0)),
        "modifiedAt": links.time(record.modified.replace(microsecond=0)),
        **record.data,
    }
    match record.kind:
        case "orders":
            for key, kind in ORDER_PARTS.items():
                answer[key] = {"href": links.to(f"{kind}.list", record.ref)}
        case "items":
            answer = {**ordered_at(record, store), **answer}
            answer["order"] = {"href": links.to("orders.get", record.order)}
        case "order_extensions":
            answer.update(name="ext", key="default", order={"href": links.to("orders.get", record.owner)})
        case "item_extensions":
            answer.update(name="ext", key="default", orderItem={"href": links.to("items.get", record.owner)})
        case "contacts" | "consumers":
            answer["guest"] = {"href": links.to("guests.get", record.guest)}
            answer["order"] = {"href": links.to("orders.get", record.order)}
            if "orderItems" in record.data:
                hrefs = [links.to("items.get", ref) for ref in texts(record.data["orderItems"])]
                answer["orderItems"] = {"items": [{"href": href} for href in hrefs]}
        case _:
            pass
    for name in TIMES if record.kind not in EXTENSION_OWNERS else ():
        if name in answer:
            answer[name] = links.time(moment(str(answer[name])))
    return answer


def ordered_at(item: Record, store: Store) -> dict[str, Json]:
    """Return the time of the order of an *item*; nothing if the order was deleted without its items."""
    order = store.find("orders", item.order)
    return {} if order is None else {"orderedAt": order.data["orderedAt"]}


def embed(answer: dict[str, Json], order: Record, store: Store, links: Links, *, whole: bool) -> None:
    """Replace the links to the lists of an order's parts with the lists: links to the parts, or the *whole* items."""
    for key, kind in ORDER_PARTS.items():
        parts = store.parts(kind, order.ref)
        if whole and kind == "items":
            answer[key] = {"items": [shown(part, store, links) for part in parts]}
        elif not whole:
            answer[key] = {"items": [brief(part, store, links) for part in parts]}


def page(
    path: str, query: Mapping[str, str], records: list[Record], store: Store, links: Links, **extra: Json
) -> dict[str, Json]:
    """Return the page of *records* that *query* asks for; *path* is the path of the list.

    Raise Invalid if offset or limit is not a possible number.
    """
    switches = store.switches
    offset = whole_number(query, "offset", 0, least=0)
    asked = whole_number(query, "limit", LIMIT, least=1)
    limit = min(asked, switches.limit_max)
    told = asked if switches.clamp_silently else limit
    kept = {name: value for name, value in query.items() if name not in {"offset", "limit"}}

    def link(start: int) -> str:
        return f"{links.base}{path}?{urlencode({**kept, 'offset': start, 'limit': told})}"

    whole = query.get("expand") == "true" and not switches.ignore_expand and not links.legacy
    items: list[Json] = [
        shown(record, store, links) if whole else brief(record, store, links)
        for record in records[offset : offset + limit]
    ]
    answer: dict[str, Json] = {**extra, "href": link(offset), "offset": offset}
    if not switches.clamp_silently:
        answer["limit"] = limit
    if links.legacy:
        return {**answer, "items": items}
    answer["first"] = {"href": link(0)}
    answer["last"] = {"href": link(max(len(records) - 1, 0) // limit * limit)}
    if offset + limit < len(records):
        answer["next"] = {"href": link(offset + limit)}
    elif switches.repeat_next:
        answer["next"] = {"href": link(offset)}
    answer["items"] = items
    return answer


def brief(record: Record, store: Store, links: Links) -> dict[str, Json]:
    """Return an entry of a list that is not expanded."""
    entry: dict[str, Json] = {"href": links.of(record)}
    if store.switches.unexpanded == "ref":
        entry["ref"] = record.ref
    return entry


DIGITS = 18  # of a number that fits into 64 bits


def whole_number(query: Mapping[str, str], name: str, default: int, *, least: int) -> int:
    """Read a whole number of the query."""
    written = query.get(name)
    if written is None:
        return default
    if not (written.isascii() and written.isdigit() and len(written) <= DIGITS and int(written) >= least):
        raise Invalid(f"{name}: must be a whole number, at least {least}.")
    return int(written)


def nested(order: Record, store: Store, links: Links) -> dict[str, object]:
    """Return an order with its parts nested as in the vendor's documents."""

    def parts(kind: str, owner: str) -> list[dict[str, Json]]:
        return [shown(part, store, links) for part in store.parts(kind, owner)]

    def used(consumer: Record) -> list[dict[str, Json]]:
        return [{"ref": item.ref, "referenceId": item.data.get("referenceId")} for item in store.items_of(consumer)]

    consumers = store.parts("consumers", order.ref)
    items = parts("items", order.ref)
    return {
        **shown(order, store, links),
        "contacts": parts("contacts", order.ref),
        "consumers": [{**shown(consumer, store, links), "orderItems": used(consumer)} for consumer in consumers],
        "orderItems": [{**item, "extensions": parts("item_extensions", str(item["ref"]))} for item in items],
        "extensions": parts("order_extensions", order.ref),
    }
