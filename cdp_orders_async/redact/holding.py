"""A holder that shows its value in no text, and a boundary that no frame of the library passes."""

from __future__ import annotations

import contextlib
import functools
import inspect
import traceback
from collections.abc import Callable
from typing import Any, Generic, NoReturn, TypeVar, cast

from cdp_orders_async.redact.words import MASK

__all__ = ["Opaque", "seal_methods", "sealed", "strip_frames", "unsealed"]

T_co = TypeVar("T_co", covariant=True)
E = TypeVar("E", bound=BaseException)
F = TypeVar("F", bound=Callable[..., Any])

PACKAGE = __name__.partition(".")[0]
RAISED_IN = "It was raised in:\n"


class Opaque(Generic[T_co]):
    """Holds a *value* that no repr, serializer or pickle shows; `open` returns it."""

    __slots__ = ("_value",)

    def __init__(self, value: T_co) -> None:
        self._value = value

    def open(self) -> T_co:
        """Return the value."""
        return self._value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Opaque) and self._value == cast("Opaque[object]", other).open()

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return MASK

    def __copy__(self) -> Opaque[T_co]:
        return self

    def __deepcopy__(self, _: object) -> Opaque[T_co]:
        return self

    def __reduce__(self) -> NoReturn:
        """Raise `TypeError`: the pickle would show the value in a file or a queue."""
        raise TypeError("a secret cannot be pickled; hand it over another way, such as in the environment")


def strip_frames(error: E) -> E:
    """Return *error* without its frames and its context, and do the same to its causes.

    Frames hold the credentials, the request and the answer, and some tracebacks show local variables. If code outside
    of the library raised the error, a note shows where, in lines of code.
    """
    if isinstance(error, Exception) and (trace := error.__traceback__) is not None:
        *_, (frame, _) = traceback.walk_tb(trace)
        if not _is_ours(frame.f_globals.get("__name__")) and not _is_ours(type(error).__module__):
            error.add_note("".join([RAISED_IN, *traceback.format_tb(trace)]))
    left: list[BaseException] = [error]
    while left:
        current = left.pop()
        current.__traceback__ = current.__context__ = None
        if current.__cause__ is not None:
            left.append(current.__cause__)
        if isinstance(current, BaseExceptionGroup):
            left += cast("BaseExceptionGroup[BaseException]", current).exceptions
    return error


def _is_ours(module: object) -> bool:
    return isinstance(module, str) and module.partition(".")[0] == PACKAGE


def sealed(thing: F) -> F:
    """Return *thing*, a public function or class, sealed: its exceptions keep no frame of a function that it called.

    In a class, ``__init__`` and all public methods are sealed. The frame of the seal holds no argument.
    """
    if inspect.isclass(thing):
        seal_methods(thing)
        return cast("F", thing)
    return cast("F", _seal(thing))


def unsealed(method: F) -> F:
    """Return a sealed *method* of an object without its seal, for a caller that is sealed too."""
    bound: Any = method
    return cast("F", bound.__wrapped__.__get__(bound.__self__))


def seal_methods(cls: type) -> None:
    """Seal the public methods that *cls* defines; inherited ones stay as they are."""
    for name, value in list(vars(cls).items()):
        if name.startswith("_") and name not in {"__init__", "__aiter__", "__anext__"}:
            continue
        if isinstance(value, (classmethod, staticmethod)):
            wrapper: Any = cast("Any", value)
            setattr(cls, name, type(wrapper)(_seal(wrapper.__func__)))
        elif inspect.isfunction(value):
            setattr(cls, name, _seal(value))


def _seal(function: Callable[..., Any]) -> Callable[..., Any]:
    if inspect.isasyncgenfunction(function):
        return _seal_generator(function)
    return _seal_coroutine(function) if inspect.iscoroutinefunction(function) else _seal_call(function)


# The seals raise outside of their handlers: then the context is only an exception that the caller handles.


def _seal_call(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def sealed(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 the arguments of any function
        try:
            return function(*args, **kwargs)
        except BaseException as error:  # noqa: BLE001 it is raised again
            raised = error
        del args, kwargs
        raise strip_frames(raised)

    return sealed


def _seal_coroutine(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    async def sealed(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 the arguments of any function
        try:
            awaited = function(*args, **kwargs)  # raises TypeError for arguments that it does not take
            args, kwargs = (), {}  # other code that inspects the stack meanwhile, such as a limiter, sees no argument
            return await awaited
        except BaseException as error:  # noqa: BLE001 it is raised again
            raised = error
        del args, kwargs
        raise strip_frames(raised)

    return sealed


def _seal_generator(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    async def sealed(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 the arguments of any function
        raised: BaseException | None = None
        try:
            async with contextlib.aclosing(function(*args, **kwargs)) as generator:
                args, kwargs = (), {}
                async for value in generator:
                    yield value
        except BaseException as error:  # noqa: BLE001 it is raised again
            raised = error
        del args, kwargs
        if raised is not None:
            raise strip_frames(raised)

    return sealed
