"""Where orders come from: files as lines, each an order or what is wrong with it."""

from __future__ import annotations

from cdp_orders_async.sources.duck import copied_to_parquet
from cdp_orders_async.sources.files import GraphFiles, opened
from cdp_orders_async.sources.jsonlines import GraphFile
from cdp_orders_async.sources.tables import TableSource

__all__ = ["GraphFile", "GraphFiles", "TableSource", "copied_to_parquet", "opened"]
