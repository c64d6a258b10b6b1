"""Who is told of events, and what happens where one of them fails."""

from __future__ import annotations

import asyncio
import inspect
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Protocol

from cdp_orders_async.telemetry.events import Event
from cdp_orders_async.telemetry.logs import is_on as is_logging
from cdp_orders_async.telemetry.logs import log, logger

__all__ = ["Observer", "SwitchedObserver", "checked", "switch", "tell"]


class Observer(Protocol):
    """Whoever is told of events: any function that takes one.

    It is called where the event happens, in the task of the call, and the call goes on when it has returned. So it must
    be quick, and must not wait. What it raises is logged, once each time, and harms no call.
    """

    def __call__(self, event: Event, /) -> object:
        """Take note of *event*."""
        ...


class SwitchedObserver(ABC):
    """An observer that can be off. Where all are off, as the log mostly is, no event is made, and a call costs less."""

    @abstractmethod
    def __call__(self, event: Event, /) -> object:
        """Take note of *event*."""

    @abstractmethod
    def is_on(self) -> bool:
        """Tell whether it needs events now. Each call asks, so it must be quick; it raises nothing."""


def switch(observers: tuple[Observer, ...]) -> Callable[[], bool]:
    """Return the function that tells whether the log or one of *observers* needs events now."""
    switches: list[Callable[[], bool]] = [is_logging]
    switches += [observer.is_on for observer in observers if isinstance(observer, SwitchedObserver)]
    if len(switches) <= len(observers):
        return lambda: True  # one of them cannot be off
    if len(switches) == 1:
        return is_logging

    def is_on() -> bool:
        for asked in switches:  # noqa: SIM110 any() takes twice the time, and each call asks
            if asked():
                return True
        return False

    return is_on


def checked(observers: Iterable[Observer]) -> tuple[Observer, ...]:
    """Return *observers*; raises `TypeError` for one that cannot be called, or that would have to be awaited."""
    given = tuple(observers)
    for number, observer in enumerate(given):
        if not callable(observer):
            raise TypeError(f"observers[{number}] must be a function of an event, not {type(observer).__name__}")
        if inspect.iscoroutinefunction(observer) or inspect.iscoroutinefunction(type(observer).__call__):
            raise TypeError(f"observers[{number}] must be a function that is not async: nobody awaits it")
    return given


def tell(observers: tuple[Observer, ...], event: Event) -> None:
    """Tell the log and then all *observers* of *event*; log the errors that they raise."""
    handled = sys.exception()
    for observer in (log, *observers):
        try:
            observer(event)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 nothing of it may harm a call
            _part(error, handled)
            logger.exception("an observer failed: %s, told of %s", _name(observer), type(event).__name__)


def _part(error: BaseException, handled: BaseException | None) -> None:
    """Part the *error* of an observer from the one that the call is *handled* for: its frames hold what was sent."""
    while (context := error.__context__) is not None:
        if context is handled:
            error.__context__ = None
            return
        error = context


def _name(observer: Observer) -> str:
    """Return a name, and no text of the observer, which may show anything."""
    name: object = getattr(observer, "__qualname__", None) or type(observer).__qualname__
    return str(name)
