"""P3: bytes to models and back, next to msgspec with structs of the same types."""

from __future__ import annotations

import asyncio
import typing
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from importlib import import_module
from typing import Any
from uuid import UUID

import attrs
import orjson
from harness import Batch, Result, arguments, cpu, interleaved, pin, ratios, tell
from peers import new_item
from server import BODY

from cdp_orders_async import Link, NewOrderItem, OrderItem
from cdp_orders_async.wire import encode, reads, reads_page, to_json

PAGE = 100
KEPT = {**orjson.loads(BODY), "order": {"href": "https://host/v2.1/orders/2d7de9df-45a2-45ea-872c-30e45139007d"}}


def mirror(model: type[attrs.AttrsInstance]) -> Any:  # noqa: ANN401 a class that msgspec makes
    """Return the struct with the fields and types of *model*."""
    msgspec = import_module("msgspec")
    link = msgspec.defstruct("Link", [("href", str)])
    hints = typing.get_type_hints(model)
    known = (str, int, Decimal, UUID, datetime, type(None))
    fields: list[tuple[object, ...]] = []
    for field in sorted(attrs.fields(model), key=lambda one: one.default is not attrs.NOTHING):
        hint = hints[field.name] if hints[field.name] != Link | None else link | None
        assert hint == link | None or set(typing.get_args(hint) or (hint,)) <= set(known)  # noqa: S101 else unlike
        default = () if field.default is attrs.NOTHING else (field.default,)
        fields.append((field.name, hint, *default))
    return msgspec.defstruct(model.__name__, fields, rename="camel", omit_defaults=True)


def repeated(call: Callable[[], object], times: int, things: int = 1) -> Batch:
    """Return a batch of *times* calls, of *things* each."""

    async def batch() -> int:
        for _ in range(times):
            call()
        return times * things

    return batch


async def main() -> None:
    """Measure and tell."""
    options = arguments(__doc__).parse_args()
    pin()
    msgspec = import_module("msgspec")
    kept, sent = mirror(OrderItem), mirror(NewOrderItem)
    page_of = msgspec.defstruct("Page", [("items", list[kept])])
    decode = msgspec.json.Decoder(kept).decode
    decode_page = msgspec.json.Decoder(page_of).decode
    write = msgspec.json.Encoder(decimal_format="number").encode
    read, read_page = reads(OrderItem), reads_page(OrderItem)
    body, page = orjson.dumps(KEPT), orjson.dumps({"items": [KEPT] * PAGE})
    new = new_item()
    struct = sent(**attrs.asdict(new))
    pairs = {
        "decode an item": (lambda: read(body), lambda: decode(body), 1),
        "decode an item in a page of 100": (lambda: read_page(page), lambda: decode_page(page), PAGE),
        "encode an item": (lambda: encode(to_json(new)), lambda: write(struct), 1),
    }
    results: list[Result] = []
    for what, (ours, theirs, things) in pairs.items():
        times = 2000 // things
        batches = {
            "ours": repeated(ours, times, things),
            "msgspec": repeated(theirs, times, things),
            "again": repeated(theirs, times, things),
        }
        costs = await interleaved(batches, 10 if options.quick else 60)
        base = cpu(costs["msgspec"])
        results += [
            Result.of("P3", f"{what} / msgspec", ratios(cpu(costs["ours"]), base), most=1.5),
            Result.of("", f"control: {what}, msgspec / msgspec", ratios(cpu(costs["again"]), base)),
            Result.of("", what, cpu(costs["ours"]), "us"),
        ]
    tell("codec", options.out, results)


if __name__ == "__main__":
    asyncio.run(main())
