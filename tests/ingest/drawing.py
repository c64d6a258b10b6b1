"""Lives of orders, drawn by chance: what is loaded, edited and loaded again, and what goes wrong meanwhile.

All of it is plain values, so that a life that finds something is printed and run again. Whoever draws gives the
`random.Random`: a seeded one, or that of hypothesis, which makes smaller lives of one that finds something.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

import attrs

from cdp_orders_async.emulator import Switches
from cdp_orders_async.ingest import OnExisting
from tests.ingest.life import (
    FATES,
    LAG,
    LATE,
    Call,
    Crash,
    End,
    Item,
    Key,
    Life,
    Order,
    Pairs,
    Person,
    Phase,
    Sleep,
    Way,
)

T = TypeVar("T")
CREATES = ("orders", "items", "contacts", "consumers", "order_extensions", "item_extensions")
POLICIES: tuple[OnExisting, ...] = ("keep", "keep", "update", "update", "fail")


class Drawing:
    """Draws a life with *draw*."""

    def __init__(self, draw: random.Random) -> None:
        self.draw = draw
        self._things = 0
        self._versions: dict[Key, list[Order]] = {}
        self._touched: dict[str, set[tuple[int, bool]]] = {}
        """By which clients the orders with each reference were loaded, and whether with the journal."""
        self._clients = [0, 1]
        """The number of the client that each process has now."""

    def some(self, *values: T) -> T:
        """Draw one of *values*."""
        return values[self.draw.randrange(len(values))]

    def chance(self, percent: int) -> bool:
        """Draw whether something happens."""
        return self.draw.randrange(100) >= 100 - percent

    def life(self) -> Life:
        """Draw a life."""
        journal = self.chance(70)
        shared = journal and self.chance(40)
        legacy = self.chance(25)
        orders = tuple(self._orders())
        phases: list[Phase] = []
        for n in range(1 + self.draw.randrange(4)):
            orders = orders if n == 0 else tuple(self._edited(orders))
            for order in orders:
                self._versions.setdefault(order.key, []).append(order)
            phases.append(self._phase(orders, journal=journal, shared=shared))
            dead = phases[-1].crash
            for process in range(2):
                if phases[-1].restarts or (dead is not None and dead.process == process):
                    self._clients[process] += 2
        return Life(
            switches=self._switches(legacy=legacy),
            legacy=legacy,
            journal=journal,
            lease=self.some(4.0, 15.0) if shared else None,
            phases=tuple(phases),
            last=self.some(*POLICIES),
            look_first=not journal
            or not all(with_journal for made in self._touched.values() for _, with_journal in made),
        )

    def _switches(self, *, legacy: bool) -> Switches:
        slow: Mapping[str, float] = {}
        if self.chance(30):
            kinds = [kind for kind in CREATES if not (legacy and kind.endswith("extensions"))]
            slow = {f"{kind}.create": self.some(0.3, LATE) for kind in kinds if self.chance(50)}
        return Switches(
            upsert=self.chance(50),
            list_lag=self.some(0, 0, LAG),
            ignore_expand=self.chance(30),
            limit_max=self.some(100, 100, 2),
            repeat_next=self.chance(20),
            # In version 2 the create of an extension is its update too.
            extension_post_existing=self.some("replace", "merge", "replace" if legacy else "refuse"),
            slow_writes=slow,
        )

    def _thing(self) -> int:
        self._things += 1
        return self._things

    def _orders(self) -> Iterator[Order]:
        hours: set[Key] = set()
        for _ in range(1 + self.draw.randrange(3)):
            order = self._order()
            while order.key in hours:
                order = attrs.evolve(order, hour=order.hour + 100)
            hours.add(order.key)
            yield order

    def _order(self) -> Order:
        items = [self._item() for _ in range(self.draw.randrange(4))]
        if items and self.chance(40):
            items.append(attrs.evolve(self.some(*items), thing=self._thing()))
        return Order(
            self.some("A", "A", "B"),
            self.some(0, 0, 1, 48, 49, 72),
            contact=self._person() if self.chance(50) else None,
            items=tuple(items),
            consumers=tuple(self._person(uses=True) for _ in range(self.draw.randrange(3))),
            extension=self._pairs() if self.chance(40) else None,
            upsert=self.chance(10),
        )

    def _item(self) -> Item:
        return Item(
            self._thing(),
            self.some(None, None, "i1", "i2"),
            self.some("Seat", "Bag"),
            description=self.some(None, None, "window"),
            extension=self._pairs() if self.chance(40) else None,
        )

    def _person(self, *, uses: bool = False) -> Person:
        return Person(
            self._thing(),
            self.some(None, "Ann", "Bob"),
            self.some((), (), ("1",), ("2",), ("1", "2")),
            uses=self.some((), ("i1",), ("i2",), ("i1", "i2")) if uses else (),
        )

    def _pairs(self) -> Pairs:
        return self.some((("a", 1),), (("a", 2),), (("a", 1), ("b", 1)))

    def _edited(self, orders: Sequence[Order]) -> Iterator[Order]:
        """Draw the next version of an input: most of its orders stay as they are."""
        keys = {order.key for order in orders}
        for order in orders:
            match self.draw.randrange(12):
                case 0 | 1 | 2 | 3 | 4:
                    yield order
                case 5:
                    yield self.some(*self._versions[order.key])  # an edit is reverted
                case 6 if (moved := attrs.evolve(order, hour=order.hour + self.some(1, 48, 72))).key not in keys:
                    keys.add(moved.key)  # orderedAt is corrected, or the id is used again
                    yield moved
                    if self.chance(50):
                        yield order
                case _:
                    for _ in range(1 + self.draw.randrange(2)):
                        order = self._edit(order)  # noqa: PLW2901 it is edited again
                    yield order

    def _edit(self, order: Order) -> Order:
        edits: tuple[Callable[[Order], Order], ...] = (
            lambda old: attrs.evolve(old, price=self.some(50, 60, 70)),
            lambda old: attrs.evolve(old, contact=self._edit_contact(old.contact)),
            lambda old: attrs.evolve(old, extension=self.some(None, self._pairs(), self._pairs())),
            lambda old: attrs.evolve(old, items=self._edit_some(old.items, self._item, self._edit_item)),
            lambda old: attrs.evolve(old, items=self._edit_some(old.items, self._item, self._edit_item)),
            lambda old: attrs.evolve(
                old, consumers=self._edit_some(old.consumers, lambda: self._person(uses=True), self._edit_person)
            ),
        )
        return self.some(*edits)(order)

    def _edit_contact(self, old: Person | None) -> Person | None:
        return self._person() if old is None else self.some(None, self._edit_person(old), self._edit_person(old))

    def _edit_some(self, old: tuple[T, ...], make: Callable[[], T], edit: Callable[[T], T]) -> tuple[T, ...]:
        parts = list(old)
        match self.draw.randrange(5):
            case 0:
                parts.insert(self.draw.randrange(len(parts) + 1), make())
            case 1 if parts:
                del parts[self.draw.randrange(len(parts))]
            case 2:
                self.draw.shuffle(parts)
            case _ if parts:
                n = self.draw.randrange(len(parts))
                parts[n] = edit(parts[n])
            case _:
                pass
        return tuple(parts)

    def _edit_item(self, old: Item) -> Item:
        match self.draw.randrange(6):
            case 0 | 1:
                return attrs.evolve(old, price=self.some(5, 6, 7))
            case 2:
                return attrs.evolve(old, name=self.some("Seat", "Bag", "Meal"))
            case 3:
                return attrs.evolve(old, description=self.some(None, "window", "aisle"))
            case 4:
                return attrs.evolve(old, extension=self.some(None, self._pairs(), self._pairs()))
            case _:
                return attrs.evolve(old, reference=self.some(None, "i1", "i2"))

    def _edit_person(self, old: Person) -> Person:
        match self.draw.randrange(4):
            case 0:
                return attrs.evolve(old, name=self.some(None, "Ann", "Bob", "Eve"))
            case 1:
                return attrs.evolve(old, ids=self.some((), ("1",), ("2",), ("1", "2")))
            case 2:
                return attrs.evolve(old, country=self.some(None, "IE", "UK"))
            case _:
                return attrs.evolve(old, uses=self.some((), ("i1",), ("i2",), ("i1", "i2")))

    def _phase(self, orders: tuple[Order, ...], *, journal: bool, shared: bool) -> Phase:
        calls = tuple(self._call(orders, journal=journal, shared=shared) for _ in range(self.some(1, 1, 2, 3, 4)))
        crash = sleep = None
        if self.chance(35):
            crash = Crash(
                process=self.draw.randrange(1 + shared),
                at=self._moment(),
                done=self.chance(50),
                kept=self.draw.randrange(10),
            )
        elif shared and self.chance(40):
            sleep = Sleep(process=self.draw.randrange(2), at=self._moment(), seconds=self.some(2.0, 5.0, 20.0))
        return Phase(
            orders=orders,
            calls=calls,
            fates=tuple(self._fates()),
            delays=tuple(self.some(0.01, 0.05, 0.3) for _ in range(self.some(1, 3, 5))),
            crash=crash,
            sleep=sleep,
            rest=self.some(0.0, 0.0, 1.0, 20.0),
            restarts=self.chance(30),
        )

    def _moment(self) -> float:
        """Draw a second, of which most are early."""
        return round(self.draw.randrange(1, 100) * self.some(0.01, 0.01, 0.1), 2)

    def _fates(self) -> Iterator[tuple[str, int]]:
        bad = self.some(0, 10, 30, 60)
        for _ in range(self.draw.randrange(40) if bad else 0):
            yield (
                (self.some(*FATES), self.some(1, 1, 1, 1, 2, 9, 30)) if self.chance(bad) else ("ok", self.some(1, 2, 4))
            )

    def _call(self, orders: tuple[Order, ...], *, journal: bool, shared: bool) -> Call:
        process = self.draw.randrange(1 + shared)
        one = self.chance(40)
        count = 1 if one else self.some(len(orders), len(orders), len(orders) + 1)
        lines = [*range(len(orders))]
        self.draw.shuffle(lines)
        lines = [*lines, self.some(*lines)][:count]
        # What is updated without the journal, the journal does not know.
        with_journal = journal and (shared or self.chance(85) or any(orders[n].upsert for n in lines))
        client = self._clients[process]
        # What another client sent, a call can only know from the journal or from the server; and what an edit removed
        # some time ago, too.
        safe = (with_journal or not any(self._is_edited(orders[n].key) for n in lines)) and all(
            who == client or (with_journal and journaled)
            for n in lines
            for who, journaled in self._touched.get(orders[n].reference, ())
        )
        for n in lines:
            self._touched.setdefault(orders[n].reference, set()).add((client, with_journal))
        return Call(
            process=process,
            lines=tuple(lines),
            one=one,
            journal=with_journal,
            look_first=not safe or self.chance(25),
            on_existing=self.some(*POLICIES) if with_journal or not journal else self.some("keep", "fail"),
            begins=self.some(0.0, 0.0, 0.1, 1.0),
            open_orders=self.some(1, 2, 5),
            end=self._end(one=one) if self.chance(35) else None,
        )

    def _is_edited(self, key: Key) -> bool:
        return any(version != self._versions[key][0] for version in self._versions[key])

    def _end(self, *, one: bool) -> End:
        ways: tuple[Way, ...] = ("task", "scope", "deadline") if one else ("task", "scope", "stop", "leave")
        way: Way = self.some(*ways)
        after = float(self.draw.randrange(2)) if way == "leave" else self._moment()
        return End(way=way, after=after, drain=self.some(0.0, 0.2, 2.0))
