"""What a server is to hold of orders, and what it holds, so that both can be compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from cdp_orders_async import OrderGraph, Outcome
from cdp_orders_async.emulator import Emulator
from cdp_orders_async.wire import to_json
from tests.ingest.orders import Json

SERVED = frozenset({"ref", "href", "createdAt", "modifiedAt", "guest", "order", "orderItem"})


def wanted(graphs: Iterable[OrderGraph]) -> list[Json]:
    """Return what a server is to hold of *graphs*, in no particular order."""
    return alike(
        {
            **to_json(graph.order),
            "contacts": [] if graph.contact is None else [to_json(graph.contact)],
            "consumers": alike({**to_json(one.consumer), "orderItems": sorted(one.uses)} for one in graph.consumers),
            "orderItems": alike({**to_json(one.item), "extensions": extended(one.extension)} for one in graph.items),
            "extensions": extended(graph.extension),
        }
        for graph in graphs
    )


def extended(pairs: Mapping[str, object] | None) -> list[Json]:
    """Return the extensions of an owner."""
    return [] if pairs is None else [dict(pairs)]


def stored(emulator: Emulator) -> list[Json]:
    """Return what the server holds, as `wanted` has it."""
    orders: Any = orjson.loads(orjson.dumps(emulator.state()["orders"]))
    return alike(
        {
            **bare(one),
            "contacts": [bare(contact) for contact in one["contacts"]],
            "consumers": alike(
                {**bare(user), "orderItems": sorted(used["referenceId"] for used in user["orderItems"])}
                for user in one["consumers"]
            ),
            "orderItems": alike(
                {**bare(part, "orderedAt"), "extensions": [bare(pairs, "name", "key") for pairs in part["extensions"]]}
                for part in one["orderItems"]
            ),
            "extensions": [bare(pairs, "name", "key") for pairs in one["extensions"]],
        }
        for one in orders
    )


def bare(served: Json, *added: str) -> Json:
    """Return what was sent of something that is *served*."""
    return {key: value for key, value in served.items() if key not in SERVED and key not in added}


def alike(values: Iterable[Json]) -> list[Json]:
    """Sort *values* in some way that is always the same."""
    return sorted(values, key=written)


def pieces(orders: Iterable[Json]) -> Counter[bytes]:
    """Count the parts of orders, each with what tells where it belongs."""
    counted: Counter[bytes] = Counter()
    for one in orders:
        parts = {key: one.pop(key) for key in ("contacts", "consumers", "orderItems", "extensions")}
        counted[written(one)] += 1
        for kind, part in ((kind, part) for kind, some in parts.items() for part in some):
            inner: list[Json] = part.pop("extensions", [])
            counted.update(written([one, kind, part, *pairs]) for pairs in ([], *([each] for each in inner)))
    return counted


def written(value: object) -> bytes:
    """Write *value* in a way that is always the same."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def refs(outcomes: Iterable[Outcome]) -> set[str]:
    """Return every reference that outcomes name."""
    return {str(part.ref) for outcome in outcomes for part in outcome.parts}
