"""Random lives of orders: whatever happens, each part is there once in the end, and every verdict was true."""

from __future__ import annotations

import random
from functools import partial
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdp_orders_async.emulator import Switches
from tests.ingest.drawing import Drawing
from tests.ingest.life import Call, Crash, End, Item, Life, Order, Person, Phase, Sleep
from tests.ingest.lives import wrong_in

order = partial(Order, "A", 0)
bare = Call(journal=False)
stopped = End(way="stop", after=0.08)


def life(*phases: Phase, journal: bool = True, lease: float | None = None, **switches: Any) -> Life:  # noqa: ANN401
    """Return a life that ends with runs that look first."""
    chosen = attrs.evolve(Switches(), **switches)
    return Life(
        switches=chosen, legacy=False, journal=journal, lease=lease, phases=phases, last="keep", look_first=True
    )


def phase(first: Order, *calls: Call, **rest: Any) -> Phase:  # noqa: ANN401
    """Return a phase with one order."""
    return attrs.evolve(Phase(orders=(first,), calls=calls or (Call(),)), **rest)


seat, bag = Item(1), Item(2, name="Bag")
extended = partial(Item, extension=(("a", 1),))
window = partial(Item, description="window")
LIVES = {
    "a new part whose answer is lost, where all was known": life(
        phase(order(consumers=(Person(1),))), phase(order(contact=Person(2)), fates=(("lost", 1),))
    ),
    "a twin loses its extension": life(
        phase(order(items=(extended(1), extended(2))), bare), phase(order(items=(extended(1), Item(2)))), journal=False
    ),
    "a twin is removed, and each run names what is left": life(
        phase(order(items=(extended(1), extended(2)))), phase(order(items=(Item(1), extended(2))))
    ),
    "a twin loses its id": life(
        phase(order(items=(Item(1, "i1"), Item(2, "i1")))), phase(order(items=(Item(1, "i1"), Item(2))))
    ),
    "a part that was given up is remembered as edited": life(
        phase(order(), bare),
        phase(
            order(price=70, contact=Person(1)),
            Call(),
            Call(one=True, end=End(way="deadline", after=0.71)),
            delays=(0.3,),
        ),
        phase(order(price=70)),
    ),
    "an edit that only the memory of the client knows, and that is reverted": life(
        phase(order(items=(bag,))),
        phase(order(items=(Item(2),)), bare, Call(on_existing="update")),
        phase(order(items=(bag,))),
    ),
    "a consumer is renamed beside one who has no identifiers": life(
        phase(order(consumers=(Person(1, ids=("2",)), Person(2))), bare),
        phase(order(consumers=(Person(1, "Bob", ids=("2",)), Person(2))), attrs.evolve(bare, look_first=True)),
        journal=False,
    ),
    "the page of a gateway in place of an entry of a list": life(
        phase(
            order(items=(seat,)),
            Call(one=True),
            fates=(("ok", 1), ("lost", 1), *(("ok", 1), ("html 404", 8)) * 3),
        ),
        ignore_expand=True,
    ),
    "a consumer whose item could not be looked up": life(
        phase(order(items=(Item(1, "i1"),), consumers=(Person(2, uses=("i1",)),)), rest=20.0),
        phase(
            order(items=(Item(1, "i1"),), consumers=(Person(2, uses=("i1",)),)),
            attrs.evolve(bare, on_existing="fail"),
            fates=(("ok", 1), ("400", 1)),
        ),
    ),
    "an order that was given up while it was looked for": life(
        phase(order(items=(seat,)), bare, rest=20.0),
        phase(order(items=(Item(1, price=7),)), attrs.evolve(bare, look_first=True, end=stopped), bare),
        journal=False,
    ),
    "what the memory of the client knows better than the journal": life(
        phase(
            order(upsert=True),
            Call(end=End(way="scope", after=2.7, drain=2.0)),
            Call(begins=1.0),
            bare,
        )
    ),
    "a process dies while an order is inspected": life(
        phase(order(items=(seat,))),
        phase(
            order(items=(seat,), consumers=(Person(2),)),
            Call(look_first=True, on_existing="fail"),
            crash=Crash(process=0, at=0.55, done=False, kept=0),
        ),
    ),
    "a process dies at the moment when a call begins": life(
        phase(order(), Call(), Call(begins=1.0), crash=Crash(process=0, at=1.0, done=True, kept=0)),
    ),
    "a process sleeps past its lease in the middle of an update": life(
        phase(order(contact=Person(1))),
        phase(
            order(price=70, contact=Person(1, "Bob")),
            Call(on_existing="update"),
            sleep=Sleep(process=0, at=0.12, seconds=20.0),
        ),
        lease=4.0,
    ),
    "an item behind two others like it, the first of which is in doubt": life(
        phase(
            order(items=(Item(1), window(2), window(3))),
            fates=(("ok", 1), ("503", 1), ("html 403", 1), ("ok", 1), ("html 403", 30)),
        ),
        phase(order(items=(Item(1), window(2), window(3))), rest=1.0),
        slow_writes={"items.create": 1.5},
    ),
    "an order that may be there is refused before its parts are found": life(
        phase(order(consumers=(Person(1),)), bare, restarts=True),
        phase(order(consumers=(Person(1),)), Call(look_first=True, on_existing="fail"), fates=(("400", 1),)),
        phase(order(consumers=(Person(1),))),
    ),
    "a process dies while two items exchange their keys": life(
        phase(order(items=(Item(1, "i1", "Bag"), Item(2, "i1")))),
        phase(order(items=(Item(1, "i2", "Bag"), Item(2, "i1"))), crash=Crash(process=0, at=0.03, done=False, kept=1)),
    ),
    "a process dies while an item with an extension gets another key": life(
        phase(order(items=(extended(2, "i1"),))),
        phase(
            order(items=(extended(1, "i1", "Bag"), extended(2, "i1"))),
            crash=Crash(process=0, at=0.03, done=False, kept=1),
        ),
    ),
    "a new item that no thing that is left can be": life(
        phase(order(items=(Item(1, "i2"),))),
        phase(order(items=(Item(2, name="Bag"), Item(3, "i1", "Bag"))), Call(look_first=True)),
    ),
    "a doubt that comes after another process is done": life(
        phase(order(), Call(look_first=True), fates=(("html 403", 1),)),
        phase(order(), Call(process=1), sleep=Sleep(process=1, at=0.38, seconds=20.0), rest=20.0),
        phase(order(items=(seat,))),
        phase(order(items=(seat,), consumers=(Person(2),)), Call(process=1), fates=(("400", 1),)),
        lease=15.0,
    ),
}


@pytest.mark.parametrize("lived", LIVES.values(), ids=LIVES)
def test_lives(lived: Life) -> None:
    """Nothing is lost, doubled or overwritten in lives that once were hard, and no verdict untrue."""
    assert wrong_in(lived) == []


@pytest.mark.parametrize(
    ("second", "upsert", "found"),
    [
        (order(), False, "2 orders, at most 1"),
        (order(items=(seat,)), False, "2 orders, at most 1"),
        (Order("A", 1, price=7), True, "is created as"),
        (Order("A", 1, price=7), False, "beside an order with its reference id"),
    ],
)
def test_what_is_wrong_is_seen(second: Order, upsert: bool, found: str) -> None:  # noqa: FBT001 a case
    """A new client that knows nothing doubles an order, or overwrites one with the same reference id: it is found."""
    unsafe = life(phase(order(), bare, restarts=True), phase(second, bare), journal=False, upsert=upsert)
    assert any(found in one for one in wrong_in(unsafe))


@settings(max_examples=300)
@given(st.randoms(use_true_random=False))
def test_each_part_is_there_once(draw: random.Random) -> None:
    """After any failures, crashes, edits and copies nothing is lost, doubled or overwritten, and no verdict untrue."""
    lived = Drawing(draw).life()
    assert wrong_in(lived) == [], lived
