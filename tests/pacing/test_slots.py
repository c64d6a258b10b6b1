"""The slots, in virtual time."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdp_orders_async.pacing.limiter import ConnectionSlots
from tests.virtual import VirtualLoop, run


class Crew:
    """Callers of `ConnectionSlots`, next to a plain model of who must hold a slot and who must wait."""

    def __init__(self, size: int, group: asyncio.TaskGroup) -> None:
        self.slots = ConnectionSlots(size, bulk_share=0.5)
        self.size = size
        self.group = group
        self.tasks: list[asyncio.Task[None]] = []
        self.granted: list[int] = []
        self.holding: list[int] = []
        self.queues: tuple[list[int], list[int]] = ([], [])  # interactive, bulk
        self.contended = 0

    def hand_out(self) -> None:
        """Give what is free to those who wait; where both lanes do, every second one goes to bulk."""
        while len(self.holding) < self.size and any(self.queues):
            lane = not self.queues[False]
            if all(self.queues):
                self.contended += 1
                lane = self.contended % 2 == 0
            self.holding.append(self.queues[lane].pop(0))

    async def come(self, lane: int) -> None:
        """Let a caller ask for a slot."""
        number = len(self.tasks)

        async def caller() -> None:
            await self.slots.acquire(bulk=lane == 1)
            self.granted.append(number)

        self.tasks.append(self.group.create_task(caller()))
        self.queues[lane].append(number)
        self.hand_out()
        await asyncio.sleep(1)

    async def leave(self, index: int, cancelled: int) -> None:
        """Let a holder release its slot, and cancel in the same moment who gets it and more who are next."""
        if not self.holding:
            return
        self.holding.pop(index % len(self.holding))
        self.slots.release()
        before = len(self.holding)
        self.hand_out()
        if cancelled and len(self.holding) > before:
            self.tasks[self.holding.pop()].cancel()
            for queue in self.queues:
                for number in queue[: cancelled - 1]:
                    self.tasks[number].cancel()
                del queue[: cancelled - 1]
            self.hand_out()
        await asyncio.sleep(1)

    async def give_up(self, index: int, lane: int) -> None:
        """Cancel a caller that waits."""
        queue = self.queues[lane]
        if queue:
            self.tasks[queue.pop(index % len(queue))].cancel()
            await asyncio.sleep(1)

    async def resize(self, size: int) -> None:
        """Change the number of slots."""
        self.size = size
        self.slots.resize(size)
        self.hand_out()
        await asyncio.sleep(1)

    def check(self) -> None:
        """Compare the slots with the model."""
        assert self.slots.size == self.size
        assert self.slots.free == max(0, self.size - len(self.holding))
        assert self.slots.waiting == sum(map(len, self.queues))
        assert set(self.holding) <= set(self.granted)
        assert not {number for queue in self.queues for number in queue} & set(self.granted)


MOVES = st.one_of(
    st.tuples(st.just("come"), st.integers(0, 1), st.just(0)),
    st.tuples(st.just("come"), st.integers(0, 1), st.just(0)),
    st.tuples(st.just("leave"), st.integers(0, 9), st.sampled_from((0, 0, 1, 2))),
    st.tuples(st.just("give up"), st.integers(0, 9), st.integers(0, 1)),
    st.tuples(st.just("resize"), st.integers(1, 6), st.just(0)),
)


@given(st.integers(1, 4), st.lists(MOVES, min_size=10, max_size=50))
def test_slots_go_to_whoever_came_first(size: int, moves: list[tuple[str, int, int]]) -> None:
    """No slot is lost or made, whoever is cancelled when and whatever the size becomes.

    In a lane whoever came first is next; bulk gets its share; a smaller size takes effect as slots come back.
    """

    async def main(_loop: VirtualLoop) -> None:
        async with asyncio.TaskGroup() as group:
            crew = Crew(size, group)
            for move, value, other in moves:
                if move == "come":
                    await crew.come(value)
                elif move == "leave":
                    await crew.leave(value, other)
                elif move == "give up":
                    await crew.give_up(value, other)
                else:
                    await crew.resize(value)
                crew.check()
            while crew.holding:
                await crew.leave(0, 0)
                crew.check()
        assert repr(crew.slots) == f"ConnectionSlots({crew.size}, free={crew.size}, waiting=0)"

    run(main)


def test_a_newcomer_does_not_overtake() -> None:
    """A caller that comes in the moment of a release queues behind those who wait."""

    async def main(_loop: VirtualLoop) -> list[str]:
        slots = ConnectionSlots(1)
        order: list[str] = []

        async def caller(name: str) -> None:
            await slots.acquire()
            order.append(name)
            await asyncio.sleep(1)
            slots.release()

        await slots.acquire()
        async with asyncio.TaskGroup() as group:
            group.create_task(caller("first"))
            group.create_task(caller("second"))
            await asyncio.sleep(1)
            slots.release()
            group.create_task(caller("newcomer"))
        return order

    assert run(main) == ["first", "second", "newcomer"]


async def test_slots_refuse_misuse() -> None:
    """No size, and a release of what nobody holds are errors that change nothing."""
    with pytest.raises(ValueError, match=r"^size: 0"):
        ConnectionSlots(0)
    with pytest.raises(ValueError, match=r"^bulk_share: 2"):
        ConnectionSlots(1, bulk_share=2)
    slots = ConnectionSlots(1)
    with pytest.raises(ValueError, match=r"^size: 0"):
        slots.resize(0)
    with pytest.raises(RuntimeError, match=r"^release"):
        slots.release()
    assert (slots.size, slots.free) == (1, 1)
