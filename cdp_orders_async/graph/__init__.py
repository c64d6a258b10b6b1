"""One whole order as a value, and how it is read from JSON."""

from __future__ import annotations

from cdp_orders_async.graph.broken import key_in
from cdp_orders_async.graph.exact import not_utf_8, read_json
from cdp_orders_async.graph.findings import Findings
from cdp_orders_async.graph.import_records import import_record, not_importable
from cdp_orders_async.graph.parsing import SERVER_SET, Read, known_key, parse_graph, read_graph
from cdp_orders_async.graph.part import read_part
from cdp_orders_async.graph.values import (
    GraphConsumer,
    GraphItem,
    InputLine,
    OrderGraph,
    Pairs,
    assign_references,
    need,
)
from cdp_orders_async.graph.zones import Timezone, zone_of

__all__ = [
    "SERVER_SET",
    "Findings",
    "GraphConsumer",
    "GraphItem",
    "InputLine",
    "OrderGraph",
    "Pairs",
    "Read",
    "Timezone",
    "assign_references",
    "import_record",
    "key_in",
    "known_key",
    "need",
    "not_importable",
    "not_utf_8",
    "parse_graph",
    "read_graph",
    "read_json",
    "read_part",
    "zone_of",
]
