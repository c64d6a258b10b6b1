"""Whatever shows a value: each sink returns all that it shows."""

from __future__ import annotations

import io
import pickle
import pprint
import traceback
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import attrs
import msgspec
import sentry_sdk
from rich.console import Console
from rich.pretty import pretty_repr
from rich.traceback import Traceback

from cdp_orders_async.wire import is_list, is_object

NOTHING: Mapping[Any, Exception] = {}
LONG = 10**6
"""Characters and entries, so that no sink leaves anything out."""


def _without_code(value: Any) -> Any:  # noqa: ANN401 theirs
    """Leave out the lines of code, in which the tests themselves have what must be nowhere."""
    if is_object(value):
        return {key: _without_code(one) for key, one in value.items() if not key.endswith(("context", "_line"))}
    return [_without_code(one) for one in value] if is_list(value) else value


@contextmanager
def _watching() -> Generator[list[Any], None, None]:
    """Give the events that sentry would send meanwhile."""
    events: list[Any] = []

    def keep(event: Any, _: object) -> None:  # noqa: ANN401 theirs
        events.append(_without_code(event))

    before = sentry_sdk.get_global_scope().client
    client = sentry_sdk.Client(
        dsn="http://key@127.0.0.1:9/1",
        before_send=keep,
        default_integrations=False,
        attach_stacktrace=True,
        max_value_length=LONG,
    )
    sentry_sdk.get_global_scope().set_client(client)
    try:
        yield events
    finally:
        sentry_sdk.get_global_scope().set_client(before)
        client.close(timeout=0)


def _in_frame(held: object) -> Exception:
    """Return an error that was raised in a frame in which the value is *held*."""
    try:
        return NOTHING[held]
    except (LookupError, TypeError) as error:
        return error


def by_sentry(error: BaseException) -> str:
    """Return what sentry would send of *error*, locals included."""
    with _watching() as events:
        sentry_sdk.capture_exception(error)
    assert events
    return repr(events)


def by_sentry_now() -> str:
    """Return what sentry would send of the stack as it stands, locals included."""
    with _watching() as events:
        sentry_sdk.capture_message("now")
    assert events
    return repr(events)


def by_rich(error: BaseException) -> str:
    """Return what rich prints of *error*, locals included."""
    console = Console(file=io.StringIO(), width=500)
    shown = Traceback.from_exception(
        type(error),
        error,
        error.__traceback__,
        show_locals=True,
        locals_max_length=LONG,
        locals_max_string=LONG,
        extra_lines=0,
    )
    console.print(shown)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def by_traceback(error: BaseException) -> str:
    """Return what a traceback with locals has."""
    return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())


def by_pickle(value: object) -> str:
    """Return what a pickle holds; nothing where there can be none."""
    try:
        return pickle.dumps(value).decode("latin-1")
    except Exception:  # noqa: BLE001 whatever cannot be pickled is in no pickle
        return ""


def by_fields(value: Any) -> str:  # noqa: ANN401 anything
    """Return what the fields of a value are, as those who serialise it see them."""
    found: list[object] = []
    kind = cast("type[Any]", value.__class__)
    if attrs.has(kind):
        found.append(attrs.asdict(value))
    if issubclass(kind, msgspec.Struct):
        found.append(msgspec.structs.asdict(value))
    if issubclass(kind, tuple):
        found.append(value._asdict())
    return repr(found)


OF_ERRORS: Mapping[str, Callable[[BaseException], str]] = {
    "str": str,
    "repr": repr,
    "pickle": by_pickle,
    "traceback": by_traceback,
    "rich": by_rich,
    "sentry": by_sentry,
    "causes": lambda error: f"{error.__cause__!r} {error.__context__!r} {getattr(error, '__notes__', ())}",
    "vars": lambda error: repr(vars(error)),
}
"""What is done with an error, in the frame of who caught it."""
TEXTS: Mapping[str, Callable[[object], str]] = {
    "str": str,
    "repr": repr,
    "format": lambda value: f"{value}",
    "pprint": lambda value: pprint.pformat(value, width=80),
    "rich": lambda value: pretty_repr(value, max_string=LONG),
    "traceback": lambda value: by_traceback(_in_frame(value)),
    "rich traceback": lambda value: by_rich(_in_frame(value)),
    "sentry": lambda value: by_sentry(_in_frame(value)),
}
"""What shows a value."""
COPIES: Mapping[str, Callable[[object], str]] = {"pickle": by_pickle, "asdict": by_fields}
"""What carries a value elsewhere."""
