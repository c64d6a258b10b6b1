"""The slots, in virtual time."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdp_orders_async.limiter import Slots
from tests.virtual import VirtualLoop, run


class Crew:
    """Callers of `Slots`, next to a plain model of who must hold a slot and who must wait."""

    def __init__(self, size: int, group: asyncio.TaskGroup) -> None:
        self.slots = Slots(size)
        self.size = size
        self.group = group
        self.tasks: list[asyncio.Task[None]] = []
        self.granted: list[int] = []
        self.holding: list[int] = []
        self.queue: list[tuple[int, int]] = []

    async def come(self, stage: int) -> None:
        """Let a caller ask for a slot."""
        number = len(self.tasks)

        async def caller() -> None:
            await self.slots.acquire(stage)
            self.granted.append(number)

        self.tasks.append(self.group.create_task(caller()))
        if len(self.holding) < self.size:
            self.holding.append(number)
        else:
            self.queue.append((-stage, number))
        await asyncio.sleep(1)

    async def leave(self, index: int, cancelled: int) -> None:
        """Let a holder release its slot, and cancel as many as would be next in the same moment."""
        if self.holding:
            self.holding.pop(index % len(self.holding))
            self.slots.release()
            self.queue.sort()
            for _, number in self.queue[:cancelled]:
                self.tasks[number].cancel()
            del self.queue[:cancelled]
            if self.queue:
                self.holding.append(self.queue.pop(0)[1])
            await asyncio.sleep(1)

    async def give_up(self, index: int) -> None:
        """Cancel a caller that waits."""
        if self.queue:
            self.tasks[self.queue.pop(index % len(self.queue))[1]].cancel()
            await asyncio.sleep(1)

    def check(self) -> None:
        """Compare the slots with the model."""
        assert self.slots.free + len(self.holding) == self.size
        assert self.slots.waiting == len(self.queue)
        assert set(self.holding) <= set(self.granted)
        assert not {number for _, number in self.queue} & set(self.granted)


MOVES = st.one_of(
    st.tuples(st.just("come"), st.sampled_from((0, 1, 2, 10**9)), st.just(0)),
    st.tuples(st.just("come"), st.sampled_from((0, 1)), st.just(0)),
    st.tuples(st.just("leave"), st.integers(0, 9), st.sampled_from((0, 0, 1, 2))),
    st.tuples(st.just("give up"), st.integers(0, 9), st.just(0)),
)


@given(st.integers(1, 4), st.lists(MOVES, min_size=10, max_size=50))
def test_slots_go_to_the_deepest_stage_first(size: int, moves: list[tuple[str, int, int]]) -> None:
    """No slot is lost or made, whoever is cancelled when; the deepest stage is first, and in it whoever came first."""

    async def main(_loop: VirtualLoop) -> None:
        async with asyncio.TaskGroup() as group:
            crew = Crew(size, group)
            for move, value, cancelled in moves:
                if move == "come":
                    await crew.come(value)
                elif move == "leave":
                    await crew.leave(value, cancelled)
                else:
                    await crew.give_up(value)
                crew.check()
            while crew.holding:
                await crew.leave(0, 0)
                crew.check()
        assert repr(crew.slots) == f"Slots({size}, free={size}, waiting=0)"

    run(main)


def test_a_newcomer_does_not_overtake() -> None:
    """A caller that comes in the moment of a release queues behind those who wait, however deep its stage."""

    async def main(_loop: VirtualLoop) -> list[str]:
        slots = Slots(1)
        order: list[str] = []

        async def caller(name: str, stage: int) -> None:
            await slots.acquire(stage)
            order.append(name)
            await asyncio.sleep(1)
            slots.release()

        await slots.acquire()
        async with asyncio.TaskGroup() as group:
            group.create_task(caller("first", 1))
            await asyncio.sleep(1)
            slots.release()
            group.create_task(caller("same", 1))
            group.create_task(caller("shallow", 0))
            group.create_task(caller("deep", 2))
        return order

    assert run(main) == ["first", "deep", "same", "shallow"]


async def test_slots_refuse_misuse() -> None:
    """No size, a negative stage, and a release of what nobody holds are errors that change nothing."""
    with pytest.raises(ValueError, match=r"^size: 0"):
        Slots(0)
    slots = Slots(1)
    with pytest.raises(ValueError, match=r"^stage: -1"):
        await slots.acquire(-1)
    with pytest.raises(RuntimeError, match=r"^release"):
        slots.release()
    assert slots.free == 1
