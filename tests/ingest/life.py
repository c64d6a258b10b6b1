"""Lives of orders as plain values: what is loaded, edited and loaded again, by whom, and what goes wrong meanwhile."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal

import attrs

from cdp_orders_async import (
    GraphConsumer,
    GraphItem,
    Identifier,
    NewConsumer,
    NewContact,
    NewOrder,
    NewOrderItem,
    OrderGraph,
)
from cdp_orders_async.emulator import Switches
from cdp_orders_async.ingest import OnExisting

Pairs = tuple[tuple[str, int], ...]
Key = tuple[str, int]

START = datetime(2024, 1, 1, tzinfo=UTC)
LAG, LATE = 1.0, 1.5
SETTLE = 3.0
"""Seconds: more than lists lag behind writes and writes behind the client that gave them up, together."""
FATES = (
    *("lost", "lost, not done", "gone", "not sent", "unreadable", "400", "429", "500", "502", "503"),
    *("html 200", "html 404", "html 403"),
)
"""What becomes of a request, beside ``ok``: its answer is ``lost``, done or not; the client has ``gone`` before the
answer; it is ``not sent``; done, and its answer ``unreadable``; not done, and answered with a status or a page."""


@attrs.frozen
class Item:
    """An item. *thing* tells which thing it is, however it is edited."""

    thing: int
    reference: str | None = None
    name: str = "Seat"
    price: int = 5
    description: str | None = None
    extension: Pairs | None = None


@attrs.frozen
class Person:
    """A contact, or a consumer who uses some items."""

    thing: int
    name: str | None = "Ann"
    ids: tuple[str, ...] = ()
    country: str | None = None
    uses: tuple[str, ...] = ()


@attrs.frozen
class Order:
    """A version of an order, whose key is its reference and the hour in which it was ordered."""

    reference: str
    hour: int
    price: int = 50
    contact: Person | None = None
    items: tuple[Item, ...] = ()
    consumers: tuple[Person, ...] = ()
    extension: Pairs | None = None
    upsert: bool = False

    @property
    def key(self) -> Key:
        """What tells it from other orders."""
        return self.reference, self.hour

    @property
    def ordered_at(self) -> datetime:
        """When it was ordered."""
        return START + timedelta(hours=self.hour)

    @property
    def usable(self) -> set[str]:
        """The references by which consumers can name an item."""
        references = [one.reference for one in self.items]
        return {one for one in references if one is not None and references.count(one) == 1}

    @property
    def graph(self) -> OrderGraph:
        """The order as it is loaded."""
        return OrderGraph(
            order=NewOrder(
                reference_id=self.reference,
                ordered_at=self.ordered_at,
                price=Decimal(self.price),
                currency_code="EUR",
            ),
            contact=None if self.contact is None else NewContact(**_fields(self.contact)),
            items=tuple(map(_item, self.items)),
            consumers=tuple(
                GraphConsumer(NewConsumer(**_fields(one)), tuple(use for use in one.uses if use in self.usable))
                for one in self.consumers
            ),
            extension=None if self.extension is None else dict(self.extension),
            mode="upsert" if self.upsert else "insert",
        )


def _item(one: Item) -> GraphItem:
    item = NewOrderItem(
        type="SEAT",
        name=one.name,
        price=Decimal(one.price),
        currency_code="EUR",
        status="OK",
        reference_id=one.reference,
        description=one.description,
    )
    return GraphItem(item, None if one.extension is None else dict(one.extension))


def _fields(one: Person) -> dict[str, Any]:
    identifiers = tuple(Identifier(provider="CRM", id=each) for each in one.ids) or None
    return {"first_name": one.name, "identifiers": identifiers, "nationality": one.country}


Way = Literal["task", "scope", "stop", "leave", "deadline"]


@attrs.frozen(kw_only=True)
class End:
    """How a call ends before its work does: after *after* seconds, or outcomes where it leaves."""

    way: Way
    after: float
    drain: float = 0.0


@attrs.frozen(kw_only=True)
class Call:
    """A load, or the load of one order, by one of the processes."""

    process: int = 0
    lines: tuple[int, ...] = (0,)
    """The numbers of the orders of its phase; one of them may come several times."""
    one: bool = False
    """Whether it is `ingest_one`."""
    journal: bool = True
    look_first: bool = False
    on_existing: OnExisting = "keep"
    begins: float = 0.0
    open_orders: int = 5
    end: End | None = None


@attrs.frozen(kw_only=True)
class Crash:
    """A process dies *at* some second: of its requests on the way, the server gets none or, where *done*, all."""

    process: int
    at: float
    done: bool
    kept: int
    """How many of the notes that nobody waited for its journal has afterwards."""


@attrs.frozen(kw_only=True)
class Sleep:
    """A process does nothing for some *seconds*: neither answers nor its journal reach it."""

    process: int
    at: float
    seconds: float


@attrs.frozen(kw_only=True)
class Phase:
    """What is loaded at the same time, from one version of the input."""

    orders: tuple[Order, ...]
    calls: tuple[Call, ...]
    fates: tuple[tuple[str, int], ...] = ()
    """What becomes of the requests, one after the other: so many of one fate. Then all is well."""
    delays: tuple[float, ...] = (0.05,)
    """Seconds from a request to its fate, in turn."""
    crash: Crash | None = None
    sleep: Sleep | None = None
    rest: float = 0.0
    """Seconds from its end to the next one."""
    restarts: bool = False
    """Whether the processes are new ones afterwards."""


@attrs.frozen(kw_only=True)
class Life:
    """What a server is like, and what is loaded into it by whom."""

    switches: Switches
    legacy: bool
    """Whether version 2 of the API is used."""
    journal: bool
    lease: float | None
    """Seconds that a claim lasts; None: as long as the process lives."""
    phases: tuple[Phase, ...]
    last: OnExisting
    """What the runs without failures, after all phases, do with what differs."""
    look_first: bool
    """Whether they look first."""
