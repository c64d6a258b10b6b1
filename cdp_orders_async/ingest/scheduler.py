"""A queue of jobs that are ready to run, and the workers that run them."""

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
    """Workers that run jobs one by one with *do*; at most *most* are active at a time. *done* gets each result.

    A job is two values. *do* gets them and the task of the worker.

    There are as many active workers as connections, so that the worker that gets an answer sends the next request at
    once. A worker that waits for anything else than an answer is blocked: another one may work meanwhile. *do* and
    *done* raise nothing.
    """

    def __init__(
        self, most: int, do: Callable[[A, B, asyncio.Task[object]], Awaitable[R]], done: Callable[[A, B, R], None]
    ) -> None:
        self.most = most
        self.active = 0
        """The number of workers that may send requests; blocked ones do not count."""
        self.blocked = 0
        """The number of workers that wait for a timer, the journal or the server to be up."""
        self.tasks: set[asyncio.Task[object]] = set()
        """The tasks of all workers."""
        self.on_rest: Callable[[], None] = lambda: None
        """Called when a worker ends or is blocked."""
        self._starting = 0  # workers that have not begun yet
        self._do = do
        self._done = done
        self._ready: deque[tuple[A, B]] = deque()
        self._loop = asyncio.get_running_loop()
        self._may_be_eager = self._loop.get_task_factory() is not None

    def __repr__(self) -> str:
        return f"<Scheduler: {len(self._ready)} ready, {self.active} of {self.most} active, {self.blocked} blocked>"

    def keeps_working(self) -> bool:
        """Decide whether a worker takes the next job; it ends if no job waits or enough others are active."""
        return bool(self._ready) and self.active <= self.most

    @property
    def wanted(self) -> int:
        """The number of further jobs that could start at once."""
        return self.most - self.active - len(self._ready)

    @property
    def is_idle(self) -> bool:
        """Whether there is no worker and no job waits for one."""
        return not self.tasks and not self._ready and not self._starting

    def add(self, job: tuple[A, B]) -> None:
        """Put *job* at the end of the queue."""
        self._ready.append(job)
        self.call_worker()

    def add_all(self, jobs: Sequence[tuple[A, B]], *, first: bool) -> None:
        """Put *jobs* at the end of the queue, or at its start if *first*; they keep their order.

        The worker that calls this takes one job, so another worker is started only if more jobs wait.
        """
        if first:
            self._ready.extendleft(reversed(jobs))
        else:
            self._ready.extend(jobs)
        if len(self._ready) > 1:
            self.call_worker()

    def call_worker(self) -> None:
        """Start one more worker if there is a job for it.

        Workers start one by one, so that requests are spread out and do not come in bursts. In a loop that starts tasks
        eagerly, a worker starts in a later step of the loop, because workers would start each other without end.
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
        if not task.done() and task not in self.tasks:  # a loop that starts tasks eagerly has already begun it
            self.tasks.add(task)
            task.add_done_callback(self._drop)

    def _drop(self, task: asyncio.Task[object]) -> None:
        """Replace a worker that was cancelled before it began: a loop that closes does that."""
        self.tasks.discard(task)
        self._starting -= 1
        self.active -= 1
        self.call_worker()
        self.on_rest()

    def block(self) -> None:
        """Let another worker run, because the calling worker waits for something else than an answer."""
        self.active -= 1
        self.blocked += 1
        self.call_worker()
        self.on_rest()

    def resume(self) -> None:
        """Count the calling worker as active again."""
        self.active += 1
        self.blocked -= 1

    async def _work(self) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 for the types: this is a coroutine
        self.tasks.add(task)  # in a loop that starts tasks eagerly, `_start` has no task yet
        task.remove_done_callback(self._drop)  # `_drop` is for workers that never began
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
