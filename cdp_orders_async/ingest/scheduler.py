"""Which work is done next, by how many workers: a queue of jobs that wait for nothing but a worker."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

__all__ = ["Scheduler"]

A = TypeVar("A")
B = TypeVar("B")
R = TypeVar("R")


class Scheduler(Generic[A, B, R]):
    """Workers that *do* one job after the other, at most *most* of them active at a time; *done* gets each result.

    A job is two values, which *do* gets with the task that works.

    There are as many active workers as connections, so that the worker that has an answer sends the next request at
    once. A worker that waits for something else than an answer is blocked: another one may work meanwhile. *do* and
    *done* raise nothing.
    """

    def __init__(
        self, most: int, do: Callable[[A, B, asyncio.Task[object]], Awaitable[R]], done: Callable[[A, B, R], None]
    ) -> None:
        self.most = most
        self.active = 0
        """Workers that may send; not those that are blocked."""
        self.blocked = 0
        """Workers that wait for a timer, the journal or the server."""
        self.tasks: set[asyncio.Task[object]] = set()
        """Every worker."""
        self.on_rest: Callable[[], None] = _ignore
        """Called when a worker has ended, and when one is blocked."""
        self._starting = 0  # workers that are about to begin
        self._do = do
        self._done = done
        self._ready: deque[tuple[A, B]] = deque()
        self._loop = asyncio.get_running_loop()
        self._may_be_eager = self._loop.get_task_factory() is not None

    def __repr__(self) -> str:
        return f"<Scheduler: {len(self._ready)} ready, {self.active} of {self.most} active, {self.blocked} blocked>"

    def keeps_working(self) -> bool:
        """Decide whether a worker takes the first job or ends: no job waits, or enough others are active."""
        return bool(self._ready) and self.active <= self.most

    @property
    def wanted(self) -> int:
        """How many jobs more could be begun at once."""
        return self.most - self.active - len(self._ready)

    @property
    def is_idle(self) -> bool:
        """Whether nobody works and nothing waits for a worker."""
        return not self.tasks and not self._ready and not self._starting

    def add(self, job: tuple[A, B]) -> None:
        """Put *job* behind all others."""
        self._ready.append(job)
        self.call_worker()

    def add_all(self, jobs: Sequence[tuple[A, B]], *, first: bool) -> None:
        """Put *jobs* behind all others, or before them where they are *first*, in their order.

        The worker that calls this takes one of them itself, so another one is called only for what is left.
        """
        if first:
            self._ready.extendleft(reversed(jobs))
        else:
            self._ready.extend(jobs)
        if len(self._ready) > 1:
            self.call_worker()

    def call_worker(self) -> None:
        """Start one more worker if there is work for it.

        They start one by one, so that requests stay spread out instead of coming in bursts; and none begins at once,
        since where the loop starts tasks eagerly they would call each other without end.
        """
        if len(self._ready) > self._starting and self.active < self.most:
            self.active += 1
            self._starting += 1
            if self._may_be_eager:
                self._loop.call_soon(self._start)
            else:
                self._start()

    def _start(self) -> None:
        task: asyncio.Task[object] = self._loop.create_task(self._work())
        if not task.done() and task not in self.tasks:  # a loop that starts tasks eagerly has begun it
            self.tasks.add(task)
            task.add_done_callback(self._drop)

    def _drop(self, task: asyncio.Task[object]) -> None:
        """Replace a worker that was cancelled before it began, as a loop does that closes."""
        self.tasks.discard(task)
        self._starting -= 1
        self.active -= 1
        self.call_worker()
        self.on_rest()

    def block(self) -> None:
        """Let another worker work, because the one that calls this waits for something else."""
        self.active -= 1
        self.blocked += 1
        self.call_worker()
        self.on_rest()

    def resume(self) -> None:
        """Be an active worker again."""
        self.active += 1
        self.blocked -= 1

    async def _work(self) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 for the types: this is a coroutine
        self.tasks.add(task)  # where the loop starts tasks eagerly, whoever made it has not got it yet
        task.remove_done_callback(self._drop)  # it has begun
        self._starting -= 1
        if len(self._ready) > 1:
            self.call_worker()
        try:
            while self.keeps_working():
                first, second = self._ready.popleft()
                self._done(first, second, await self._do(first, second, task))
        finally:
            self.active -= 1
            self.tasks.discard(task)
            self.on_rest()


def _ignore() -> None:
    """Do nothing."""
