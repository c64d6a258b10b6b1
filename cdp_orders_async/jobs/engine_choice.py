"""Which engine fits an input: what each would take, and which orders the Batch API cannot take."""

from __future__ import annotations

import math
import zlib
from typing import Literal

from msgspec import Struct

from cdp_orders_async.errors import counted
from cdp_orders_async.graph import OrderGraph, import_record, not_importable
from cdp_orders_async.jobs.groups import Groups

__all__ = ["BatchPlan", "Choice", "choose"]

EACH = 64
"""One order of so many is written and packed, for the estimate of the size."""
SOME_REF = "00000000-0000-4000-8000-000000000000"
MEGABYTE = 1_000_000
LARGEST_FILE = 50
"""Megabytes of a batch file at most."""
MOST_ORDERS = 50_000
"""Orders of a batch file at most: `BatchEngine` cuts there too."""
USUAL_RATE = 15.0
"""Requests a second where no rate was asked about: tenants report 15 to 20."""
UPLOAD_SPEED = 1.0
"""Megabytes a second of an upload: assumed."""
BATCH_SPEED = 100.0
"""Orders a second that the server takes from a file: assumed, because the vendor names no figure."""
SHORT = 3600.0
"""Seconds that a load by requests may take in any case."""


class BatchPlan:
    """What a load over the Batch API would take."""

    def __init__(self) -> None:
        self.orders = 0
        """Orders that it can take."""
        self.refused = 0
        """Orders that keep the rules of the REST API and not those of the Batch API."""
        self.rules = Groups()
        """The rules that these break, grouped."""
        self._sampled = 0
        self._size = 0
        self._packer = zlib.compressobj()

    def add(self, graph: OrderGraph, place: str) -> None:
        """Count an order, which is at this *place* of the input."""
        if found := not_importable(graph):
            self.refused += 1
            self.rules.add(found, place)
            return
        if not self.orders % EACH:
            self._sampled += 1
            self._size += len(self._packer.compress(import_record(graph, SOME_REF) + b"\n"))
        self.orders += 1

    def conclude(self) -> None:
        """Note that all orders were counted."""
        self._size += len(self._packer.flush()) if self._sampled else 0

    @property
    def megabytes(self) -> float:
        """The estimated size of all files."""
        return self._size * self.orders / max(self._sampled, 1) / MEGABYTE

    @property
    def files(self) -> int:
        """The estimated number of files."""
        return max(math.ceil(self.megabytes / LARGEST_FILE), math.ceil(self.orders / MOST_ORDERS))

    @property
    def seconds(self) -> float:
        """The estimated time."""
        return self.megabytes / UPLOAD_SPEED + self.orders / BATCH_SPEED


class Choice(Struct, frozen=True):
    """The estimates of both engines, and the recommended one."""

    requests: int
    rate: float
    """Requests a second: as asked, or what is usual."""
    batch: BatchPlan
    engine: Literal["rest", "batch"] | None
    """None if no order can be loaded."""
    reason: str

    @property
    def rest_seconds(self) -> float:
        """The least time of a load by requests."""
        return self.requests / self.rate

    def to_json(self) -> dict[str, object]:
        """Return it as JSON data."""
        batch = self.batch
        rest = {"requests": self.requests, "rate": self.rate, "hours": round(self.rest_seconds / 3600, 3)}
        return {
            "rest": rest,
            "batch": {
                "orders": batch.orders,
                "refused": batch.refused,
                "rules": batch.rules.to_json(),
                "files": batch.files,
                "megabytes": round(batch.megabytes, 3),
                "minutes": round(batch.seconds / 60, 3),
                "assumed": {"megabytes_per_second": UPLOAD_SPEED, "orders_per_second": BATCH_SPEED},
            },
            "recommended": self.engine,
            "reason": self.reason,
        }


def choose(requests: int, rate: float | None, batch: BatchPlan) -> Choice:
    """Return the estimates of a load with so many *requests* at this *rate*, or over the Batch API as in *batch*."""
    usual = rate or USUAL_RATE
    seconds, all_orders = requests / usual, batch.orders + batch.refused
    engine: Literal["rest", "batch"] | None = "rest"
    if not all_orders:
        engine, reason = None, "No order can be loaded: mend the input"
    elif batch.refused * 2 > all_orders:
        reason = f"the Batch API cannot take {batch.refused:,} of {counted(all_orders, 'order')}"
    elif seconds <= SHORT:
        reason = "it takes at most an hour, and tells the reference of each part, so that it can be undone"
    elif seconds <= batch.seconds:
        reason = "it takes no longer, and tells the reference of each part, so that it can be undone"
    else:
        engine = "batch"
        reason = f"{counted(batch.files, 'file')} in place of {counted(requests, 'request')}"
        if batch.refused:
            reason += f"; load the {counted(batch.refused, 'order')} that it cannot take by requests afterwards"
    return Choice(requests, usual, batch, engine, reason)
