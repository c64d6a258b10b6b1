"""The two lanes of the limiter and of the slots, in virtual time."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from fractions import Fraction

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdp_orders_async.pacing.limiter import ConnectionSlots, Limiter
from tests.virtual import VirtualLoop, run

SHARES = (0, 0.1, 0.3, 0.5, 1)


@attrs.frozen
class Caller:
    """One who asks for a grant; times are in seconds, and no two of any callers are the same."""

    number: int
    comes: float
    bulk: bool
    gives_up: float


@attrs.define
class Turns:
    """Whose turn it is among those who wait, by the rule as it is told: of so many grants, so many go to bulk."""

    share: Fraction
    contended: int = 0

    def next(self, waiting: list[Caller]) -> Caller:
        """Return whoever is next of *waiting*, who are in the order of asking."""
        first = {caller.bulk: caller for caller in reversed(waiting)}
        if len(first) == 1:
            return first.popitem()[1]
        self.contended += 1
        return first[math.floor(self.contended * self.share) > math.floor((self.contended - 1) * self.share)]


def expected(callers: list[Caller], interval: float, burst: int, share: Fraction) -> dict[int, float]:
    """Return when GCRA gives each caller its grant, if the lanes have their turns."""
    turns = Turns(share)
    grants: dict[int, float] = {}
    due = -math.inf
    coming = callers.copy()
    waiting: list[Caller] = []
    while coming or waiting:
        if not waiting or (coming and coming[0].comes < due):
            waiting.append(coming.pop(0))
        now = max(due, waiting[-1].comes)
        if coming and coming[0].comes < now:
            continue
        waiting = [caller for caller in waiting if caller.gives_up > now]
        if waiting:
            caller = turns.next(waiting)
            waiting.remove(caller)
            grants[caller.number] = now
            due = max(due, now - (burst - 1) * interval) + interval
    return grants


@given(
    st.integers(0, 2),
    st.integers(1, 4),
    st.sampled_from(SHARES),
    st.lists(st.tuples(st.integers(0, 2), st.booleans(), st.none() | st.integers(0, 30)), min_size=1, max_size=60),
)
def test_bulk_gets_its_share_of_the_grants(
    power: int, burst: int, share: float, plan: list[tuple[int, bool, int | None]]
) -> None:
    """Interactive callers overtake bulk, which gets its share; each lane is in order; who gives up costs nothing."""
    callers: list[Caller] = []
    seconds = 0
    for number, (gap, bulk, patience) in enumerate(plan):
        seconds += gap
        comes = seconds + number / 64
        callers.append(Caller(number, comes, bulk, math.inf if patience is None else comes + patience + 1 / 128))

    async def main(loop: VirtualLoop) -> dict[int, float]:
        limiter = Limiter(1 / 2**power, burst=burst, bulk_share=share, clock=loop.time)
        grants: dict[int, float] = {}

        async def call(caller: Caller) -> None:
            await limiter.acquire(bulk=caller.bulk)
            grants[caller.number] = loop.time()

        async with asyncio.TaskGroup() as group:
            for caller in callers:
                await asyncio.sleep(caller.comes - loop.time())
                task = group.create_task(call(caller))
                if caller.gives_up < math.inf:
                    loop.call_at(caller.gives_up, task.cancel)
        assert limiter.waiting == 0
        return grants

    assert run(main) == expected(callers, 2**power, burst, Fraction(str(share)))


async def order_of(gate: Limiter | ConnectionSlots, free: Callable[[], None]) -> str:
    """Let 50 bulk and then 50 interactive callers wait, and return the order of their grants."""
    order: list[str] = []

    async def call(*, bulk: bool) -> None:
        await gate.acquire(bulk=bulk)
        order.append("b" if bulk else "i")
        free()

    await gate.acquire()
    async with asyncio.TaskGroup() as group:
        for number in range(100):
            group.create_task(call(bulk=number < 50))
        await asyncio.sleep(0)
        free()
    return "".join(order)


@pytest.mark.parametrize(
    ("share", "order"),
    [
        (0, "i" * 50 + "b" * 50),
        (0.1, ("i" * 9 + "b") * 5 + "i" * 5 + "b" * 45),
        (0.3, "iiibiibiib" * 7 + "i" + "b" * 29),
        (0.5, "ib" * 50),
        (1, "b" * 50 + "i" * 50),
    ],
)
def test_a_share_of_a_tenth_is_every_tenth_grant(share: float, order: str) -> None:
    """While both lanes wait, bulk has its turn at the latest when its share adds up to a grant, for both alike."""

    async def of_limiter(loop: VirtualLoop) -> str:
        return await order_of(Limiter(64, bulk_share=share, clock=loop.time), lambda: None)

    async def of_slots(_loop: VirtualLoop) -> str:
        slots = ConnectionSlots(1, bulk_share=share)
        return await order_of(slots, slots.release)

    assert run(of_limiter) == order
    assert run(of_slots) == order


def test_the_estimate_of_a_wait_knows_the_lanes() -> None:
    """An interactive caller waits for those of its lane and the share of bulk, a bulk caller for all."""

    async def main(loop: VirtualLoop) -> list[float]:
        delays: list[float] = []
        for share in (0.2, 1):
            limiter = Limiter(1, bulk_share=share, clock=loop.time)
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(limiter.acquire(bulk=number >= 9)) for number in range(30)]
                await asyncio.sleep(0)
                delays += limiter.delay(), limiter.delay(bulk=True), limiter.overtaking()
                for task in tasks:
                    task.cancel()
        return delays

    assert run(main) == [1 + 8 / 0.8, 30, 8, 30, 30, 8]
