"""An event loop whose time is virtual: it jumps to the next timer instead of waiting for it."""

from __future__ import annotations

import asyncio
import selectors
import socket
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class JumpingSelector(selectors.SelectSelector):
    """A selector that never waits: time passes because it says so."""

    now = 0.0
    """The time in seconds."""
    late = 0.0
    """Seconds that timers fire late, as when something blocks the loop."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return what is ready; if nothing is, it is *timeout* seconds later now."""
        ready = super().select(0)
        if not ready and timeout != 0:
            assert timeout is not None, "everybody waits for ever"
            self.now += timeout + self.late
        return ready


class LoopbackSelector(JumpingSelector):
    """A selector for real sockets of one process: time passes only when nothing came for a moment.

    The kernel may hand over late what was sent, on a busy machine. Where there is no timer, only a thread can wake the
    loop, such as the last one of its executor when the loop closes.
    """

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return what is ready; if nothing is, it is *timeout* seconds later now."""
        moment = 10 if timeout is None else 0.0002
        if timeout != 0 and (ready := super(JumpingSelector, self).select(moment)):
            return ready
        return super().select(timeout)


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop that spends no real time; its `time` starts at 0."""

    def __init__(self, selector: JumpingSelector | None = None) -> None:
        self.selector = selector or JumpingSelector()
        super().__init__(self.selector)

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self.selector.now


class LoopbackLoop(VirtualLoop):
    """A virtual loop for real sockets, both ends of which are in it."""

    def __init__(self) -> None:
        super().__init__(LoopbackSelector())

    async def getaddrinfo(
        self,
        host: bytes | str | None,
        port: bytes | str | int | None,
        *,
        family: int = 0,
        type: int = 0,  # noqa: A002 asyncio's own name
        proto: int = 0,
        flags: int = 0,
    ) -> list[Any]:
        """Look an address up at once: in the time of a thread, which no virtual loop waits for, timeouts would pass."""
        return socket.getaddrinfo(host, port, family, type, proto, flags)


L = TypeVar("L", bound=VirtualLoop)


def run_in(kind: type[L], main: Callable[[L], Coroutine[object, object, T]]) -> T:
    """Run *main* in a virtual loop of that *kind*, with the loop as the argument."""
    with asyncio.Runner(loop_factory=kind) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, kind)
        return runner.run(main(loop))


def run(main: Callable[[VirtualLoop], Coroutine[object, object, T]]) -> T:
    """Run *main* in virtual time, with its loop as the argument."""
    return run_in(VirtualLoop, main)
