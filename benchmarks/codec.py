"""P3: bytes to models and back, next to msgspec with structs of the same fields and types."""

from __future__ import annotations

import types
import typing
from argparse import Namespace
from collections.abc import Callable
from typing import Any

import attrs
import msgspec
import orjson
from harness import Batch, Point, Result, arguments, benchmark, compared, interleaved
from peers import NEW
from server import BODY

from cdp_orders_async import NewOrderItem, OrderItem
from cdp_orders_async.wire import encode, reads, reads_page, to_json

PAGE = 100
KEPT = {**orjson.loads(BODY), "order": {"href": "https://host/v2.1/orders/2d7de9df-45a2-45ea-872c-30e45139007d"}}


def mirror(model: type[attrs.AttrsInstance]) -> Any:  # noqa: ANN401 a class that msgspec makes
    """Return the struct with the fields and types of *model*."""
    fields = [
        (name, hint, *([] if default is attrs.NOTHING else [default]))
        for name, hint in typing.get_type_hints(model).items()
        for default in [getattr(attrs.fields(model), name).default]
    ]
    return msgspec.defstruct(model.__name__, sorted(fields, key=len), rename="camel", omit_defaults=True)


def repeated(call: Callable[[], object], things: int) -> Batch:
    """Return a batch of calls for 2,000 things, *things* each."""

    async def batch() -> int:
        for _ in range(2000 // things):
            call()
        return 2000 // things * things

    return batch


async def measure(options: Namespace) -> tuple[list[Result], list[Point]]:
    """Measure everything."""
    struct = mirror(OrderItem)
    page_of = msgspec.defstruct("Page", [("items", types.GenericAlias(list, (struct,)))])
    decode, decode_page = msgspec.json.Decoder(struct).decode, msgspec.json.Decoder(page_of).decode
    encode_struct = msgspec.json.Encoder(decimal_format="number").encode
    read, read_page = reads(OrderItem), reads_page(OrderItem)
    body, page = orjson.dumps(KEPT), orjson.dumps({"items": [KEPT] * PAGE})
    new, sent = NewOrderItem(**NEW), mirror(NewOrderItem)(**NEW)
    calls: dict[str, tuple[int, Callable[[], object], Callable[[], object]]] = {
        "decode an item": (1, lambda: read(body), lambda: decode(body)),
        "decode an item in a page": (PAGE, lambda: read_page(page), lambda: decode_page(page)),
        "encode an item": (1, lambda: encode(to_json(new)), lambda: encode_struct(sent)),
    }
    results: list[Result] = []
    for what, (things, ours, theirs) in calls.items():
        variants = {"ours": ours, "msgspec": theirs, "again": theirs}
        cpu, _ = await interleaved(
            {name: repeated(call, things) for name, call in variants.items()}, 10 if options.quick else 60
        )
        results += compared("P3", what, cpu, "us", most=1.5)
    return results, []


if __name__ == "__main__":
    benchmark(measure, arguments(__doc__))
