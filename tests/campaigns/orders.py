"""Orders for a campaign, and what a server has of them: both as parts that can be counted."""

from __future__ import annotations

import gzip
import importlib.resources
import random
from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import orjson

from cdp_orders_async.emulator.records import moment, text_of
from cdp_orders_async.wire import is_list, is_object

Json = dict[str, Any]
Parts = Counter[tuple[str, bytes]]

PARTS = frozenset({"contact", "contacts", "consumers", "orderItems", "extensions"})


def orders(count: int, seed: int) -> list[Json]:
    """Return orders made from the packaged sample, each with ids of its own and in some shape that is hard to load."""
    draw = random.Random(seed)  # noqa: S311 (it chooses orders)
    packed = importlib.resources.files("cdp_orders_async") / "data" / "orders-50.jsonl.gz"
    sample = [orjson.loads(line)["value"] for line in gzip.decompress(packed.read_bytes()).splitlines()]
    made: list[Json] = []
    for number in range(count):
        order = orjson.loads(orjson.dumps(draw.choice(sample)))
        order["referenceId"] = f"{order['referenceId']}-{number}"
        for part in (order, *order["orderItems"]):
            for name in ("name", "key"):  # they address an extension in the Batch API, and are no values of it
                del part["extensions"][0][name]
        match draw.randrange(6):
            case 0:
                alike(order)
            case 1:
                share(order)
            case 2:
                del order["contact"], order["extensions"]
            case 3:
                order["orderItems"], order["consumers"] = [], []
            case 4 if made:  # another order with the reference id of the one before, outside the time of a match
                later = moment(made[-1]["orderedAt"]) + timedelta(days=2, seconds=1)
                order.update(referenceId=made[-1]["referenceId"], orderedAt=text_of(later))
            case _:
                pass
        made.append(order)
    return made


def alike(order: Json) -> None:
    """Add items that only their number, their extension or one optional field tells apart."""
    item = {**order["orderItems"][0], "name": "Twin"}
    del item["referenceId"], item["extensions"]
    extended = [{**item, "extensions": [{"seat": seat}]} for seat in ("A", "B")]
    order["orderItems"] += [item, extended[0], item, extended[1], {**item, "language": "EN"}, extended[1]]


def share(order: Json) -> None:
    """Add consumers that use the same items, who have the same identity or the same content or none."""
    uses = [{"referenceId": item["referenceId"]} for item in order["orderItems"][:3]]
    ann = {"firstName": "Ann", "identifiers": [{"provider": "CRM", "id": order["referenceId"]}]}
    bob = {"firstName": "Bob", "emails": ["bob@example.com"]}
    order.setdefault("consumers", []).extend(
        [{**ann, "orderItems": uses}, {**ann, "orderItems": uses[:1]}, bob, {**bob, "orderItems": uses[1:]}, bob, ann]
    )


def edit(order: Json, draw: random.Random) -> None:
    """Correct something of an order, such that nobody could take the part for another one; or add an item."""
    references = Counter(item.get("referenceId") for item in order["orderItems"])
    known = [item for item in order["orderItems"] if item.get("referenceId") and references[item["referenceId"]] == 1]
    price = draw.randrange(1, 1000)
    edits: list[tuple[Json, Json]] = [(order, {"price": price})]
    edits += [(item, {"price": price, "name": f"Corrected {price}"}) for item in known]
    edits += [(item["extensions"][0], {"corrected": price}) for item in known if "extensions" in item]
    if "contact" in order:
        edits.append((order["contact"], {"city": f"Corrected {price}"}))
    if "extensions" in order:
        edits.append((order["extensions"][0], {"corrected": price}))
    part, values = draw.choice(edits)
    part.update(values)
    if known and not draw.randrange(3):
        added = {name: value for name, value in known[0].items() if name != "extensions"}
        order["orderItems"].append({**added, "referenceId": f"added-{len(order['orderItems'])}"})


def parts_of(graphs: Iterable[Json]) -> Parts:
    """Count the parts of orders, as they are loaded or as `stored` has them."""
    counted: Parts = Counter()

    def count(kind: str, *values: object) -> None:
        counted[kind, orjson.dumps([plain(value) for value in values], option=orjson.OPT_SORT_KEYS)] += 1

    for order in graphs:
        key = [order["referenceId"], order["orderedAt"]]
        count("orders", order)
        for contact in order.get("contacts", [order[name] for name in ("contact",) if name in order]):
            count("contacts", key, contact)
        for extension in order.get("extensions", ()):
            count("order_extensions", key, extension)
        for item in order["orderItems"]:
            count("items", key, item)
            for extension in item.get("extensions", ()):
                count("item_extensions", key, item, extension)
        for consumer in order.get("consumers", ()):
            count("consumers", key, consumer, sorted(map(named, consumer.get("orderItems", ()))))
    return counted


def named(item: Json | str) -> str:
    """Return the reference id of an item that a consumer uses."""
    return item if isinstance(item, str) else str(item["referenceId"])


def plain(value: object) -> object:
    """Return the fields of a part, without its own parts, whole numbers written in one way."""
    if is_object(value):
        return {name: plain(one) for name, one in value.items() if name not in PARTS}
    if is_list(value):
        return [plain(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
