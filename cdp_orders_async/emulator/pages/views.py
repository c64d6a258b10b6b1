"""The pages of the stored data: guests and orders, the ledger, and the latest requests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from urllib.parse import urlencode

import attrs

from cdp_orders_async.emulator.guests import GUEST_TYPES
from cdp_orders_async.emulator.naming import OPERATIONS, WRITES
from cdp_orders_async.emulator.pages.visit import PAGES, ROWS, Moved, Page, Result, Visit
from cdp_orders_async.emulator.records import Effect, Record, texts
from cdp_orders_async.emulator.store import Store
from cdp_orders_async.emulator.traffic import Handled

__all__ = ["guest", "guest_orders", "guests", "home", "ledger", "order", "orders", "requests", "selected"]

SCANNED = 100_000
"""The number of effects that one page of the ledger reads, so that no filter is slow."""
WORDS_MAX = 6
"""The number of words that a search for guests may have: each takes as long as the first."""
USES = 20
"""The number of items that a consumer shows."""
TYPES = {name: name.capitalize() for name in GUEST_TYPES.values()}
EFFECTS = {"created": "created", "updated": "updated", "replaced": "replaced", "deleted": "deleted"}
KINDS_OF_REQUESTS = {"failed": "Refused or failed", "special": "With a fault or a limit"}


def home(visit: Visit) -> Result:
    """Open the list of guests."""
    del visit
    return Moved(f"{PAGES}/guests")


def guests(visit: Visit) -> Result:
    """List the guests, all or those that a text and a type describe."""
    store, text, kind = visit.subject.store, visit.text(words=WORDS_MAX), visit.word("type", TYPES)
    if text or kind:
        refs = store.guests_found(text, kind)
        part = visit.part(len(refs), lambda start, count: [store.get("guests", ref) for ref in refs[start:][:count]])
    else:
        part = visit.part(store.count("guests"), lambda start, count: store.newest("guests", start, count))
    query = {"q": text} if text else {}
    types = [
        (label, name == kind, f"{visit.path}?{urlencode({**query, 'type': name} if name else query)}")
        for name, label in {"": "All", **TYPES}.items()
    ]
    return Page("guests.html", {"part": part, "text": text, "kind": kind, "types": types})


def guest(visit: Visit) -> Result:
    """Show the profile of a guest."""
    return Page("guest.html", {"guest": visit.record("guests", "a guest"), "tab": "profile"})


def guest_orders(visit: Visit) -> Result:
    """List the orders of a guest, the newest first."""
    record = visit.record("guests", "a guest")
    part = visit.part_of(visit.subject.store.orders_of(record.ref)[::-1])
    return Page("guest.html", {"guest": record, "tab": "orders", "part": part})


def orders(visit: Visit) -> Result:
    """List the orders, all or those with a reference."""
    store, text = visit.subject.store, visit.text()
    if text:
        named = store.find("orders", text)
        part = visit.part_of([*store.orders_called(text), *([] if named is None else [named])])
    else:
        part = visit.part(store.count("orders"), lambda start, count: store.newest("orders", start, count))
    owners = {record.ref: guest_of(store, record) for record in part.rows}
    return Page("orders.html", {"part": part, "text": text, "owners": owners})


def guest_of(store: Store, record: Record) -> Record | None:
    """Return the guest of an order, None if it has none."""
    return store.find("guests", store.guest_of(record))


@attrs.frozen
class Use:
    """An item that a consumer uses."""

    item: Record
    url: str


def order(visit: Visit) -> Result:
    """Show an order with its parts."""
    store, record = visit.subject.store, visit.record("orders", "an order")
    items = store.parts("items", record.ref)
    shown = visit.part_of(items, "items", "items")
    pages = {item.ref: number // ROWS + 1 for number, item in enumerate(items)}

    def use(item: Record) -> Use:
        other = pages[item.ref] != shown.number
        query = urlencode({**visit.query, "items": pages[item.ref]})
        return Use(item, f"{f'{visit.path}?{query}' if other else ''}#item-{item.ref}")

    consumers = visit.part_of(store.parts("consumers", record.ref), "consumers", "consumers")
    uses = {consumer.ref: list(map(use, store.items_of(consumer)[:USES])) for consumer in consumers.rows}
    values = {
        "order": record,
        "guest": guest_of(store, record),
        "contacts": visit.part_of(store.parts("contacts", record.ref), "contacts", "contacts"),
        "consumers": consumers,
        "uses": uses,
        "more": {consumer.ref: len(texts(consumer.data.get("orderItems"))) - USES for consumer in consumers.rows},
        "items": shown,
        "extensions": store.parts("order_extensions", record.ref),
        "item_extensions": {item.ref: store.parts("item_extensions", item.ref) for item in shown.rows},
    }
    return Page("order.html", values)


@attrs.frozen
class Line:
    """A line of the ledger."""

    effect: Effect
    order: Record | None
    """The order that it belongs to, if it is still there."""


def ledger(visit: Visit) -> Result:
    """List the effects, the newest first, all or those that a filter selects."""
    store = visit.subject.store
    operations = dict.fromkeys(sorted(WRITES), "")
    chosen = {
        "operation": visit.word("operation", operations),
        "effect": visit.word("effect", EFFECTS),
        "q": visit.text(),
    }
    end = min(visit.number("before", len(store.effects) + 1) - 1, len(store.effects))
    scanned = range(end - 1, max(end - SCANNED, 0) - 1, -1)
    found = list(islice(matching(store.effects, scanned, chosen), ROWS))
    # The next page begins after the last row of a full page, else where this one stopped to read.
    before = found[-1]["sequence"] if len(found) == ROWS else scanned.stop + 2
    query = {name: value for name, value in chosen.items() if value}
    values = {
        "lines": [Line(effect, store.find("orders", effect["order"])) for effect in found],
        "chosen": chosen,
        "operations": operations,
        "effects": EFFECTS,
        "count": len(store.effects),
        "newest": end == len(store.effects),
        "older": f"{visit.path}?{urlencode({**query, 'before': before})}" if before > 1 else None,
        "first": f"{visit.path}?{urlencode(query)}" if query else visit.path,
        "full": len(found) == ROWS,
    }
    return Page("ledger.html", values)


def matching(effects: list[Effect], numbers: range, chosen: Mapping[str, str]) -> Iterator[Effect]:
    """Yield the effects with these *numbers* that the filter selects."""
    operation, effect, text = chosen["operation"], chosen["effect"], chosen["q"].lower()
    for number in numbers:
        entry = effects[number]
        if operation and entry["operation"] != operation:
            continue
        if effect and entry["effect"] != effect:
            continue
        if text and entry["ref"] != text and entry["order"] != text and (entry["requestId"] or "").lower() != text:
            continue
        yield entry


def requests(visit: Visit) -> Result:
    """List the latest requests, the newest first."""
    chosen = {
        "operation": visit.word("operation", dict.fromkeys(OPERATIONS, "")),
        "kind": visit.word("kind", KINDS_OF_REQUESTS),
    }
    query = {name: value for name, value in chosen.items() if value}
    still = visit.query.get("refresh") == "no"
    values = {
        "rows": selected(visit, 0),
        "chosen": chosen,
        "operations": sorted(OPERATIONS),
        "kinds": KINDS_OF_REQUESTS,
        "count": visit.subject.traffic.count,
        "events": f"{visit.path}/events?{urlencode({**query, 'after': visit.subject.traffic.count})}",
        "still": still,
        "other": f"{visit.path}?{urlencode(query if still else {**query, 'refresh': 'no'})}",
    }
    return Page("requests.html", values)


def selected(visit: Visit, after: int) -> list[Handled]:
    """Return the latest requests after number *after* that the filter of the page selects, the newest first."""
    operation, kind = visit.query.get("operation", ""), visit.query.get("kind", "")

    def fits(handled: Handled) -> bool:
        if operation and handled.operation != operation:
            return False
        if kind == "failed":
            return handled.status is None or handled.status >= 400  # noqa: PLR2004 errors begin here
        return kind != "special" or bool(handled.note)

    return list(islice(filter(fits, visit.subject.traffic.after(after)), ROWS * 2))
