"""The JSON that the commands for single resources read and print."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import orjson

from cdp_orders_async.errors import InputError, Invalid, Violation
from cdp_orders_async.models.common import camel
from cdp_orders_async.redact import Opaque, Secrets
from cdp_orders_async.wire import Request, Transport, is_object
from cdp_orders_async.wire.codec import BOM, load

__all__ = ["Keeping", "json_of", "print_line"]

T = TypeVar("T")

LONGEST = 16 * 2**20
"""Bytes of an input, as of a line of a load."""


class Keeping:
    """A transport that keeps the JSON data of the last answer, with what no model knows."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._json: Opaque[Any] = Opaque(None)

    @property
    def json(self) -> Any:  # noqa: ANN401 JSON can be anything
        """The JSON data of the last answer."""
        return self._json.open()

    async def send(self, request: Request[T]) -> T:
        """Send *request* and return its result."""

        def read(body: bytes) -> T:
            result = request.read(body)
            self._json = Opaque(load(body) if body.strip() else None)
            return result

        sent = Request(request.operation, request.method, request.path, read, request.query, request.body)
        sent.creates = request.creates
        return await self._transport.send(sent)

    def entries(self) -> list[Any]:
        """Return the entries of the page that came last."""
        page = self.json
        return (page.get("items") if is_object(page) else None) or []


def print_line(value: object, secrets: Secrets) -> None:
    """Print JSON data on one line, in ASCII, of which no terminal obeys anything; raise OSError.

    What a server repeats of the *secrets* of the client is masked.
    """
    sys.stdout.write(f"{secrets.masked(json.dumps(value, separators=(',', ':')))}\n")


def json_of(file: str | None, assignments: Sequence[str] | None, *, is_extension: bool) -> bytes:
    """Return the JSON that a command was given: in *file*, on standard input, or by --set; raise `InputError`."""
    if assignments:
        if file is not None:
            raise InputError("give either --set or FILE, not both")
        return _assigned(assignments, is_extension=is_extension)
    try:
        if file is None or file == "-":
            if file is None and (sys.stdin is None or sys.stdin.isatty()):
                raise InputError("no JSON was given: name a FILE, or send it to standard input")
            text = sys.stdin.buffer.read(LONGEST + 1)
        else:
            with Path(file).open("rb") as opened:
                text = opened.read(LONGEST + 1)
    except OSError as error:
        raise InputError(f"{file or 'standard input'} cannot be read: {error.strerror}") from None
    if len(text) > LONGEST:
        raise InputError(f"{file or 'standard input'} must be at most {LONGEST:,} bytes long")
    if not (text := text.removeprefix(BOM).strip()):
        raise InputError(f"{'standard input' if file in {None, '-'} else file} is empty: it must hold a JSON object")
    return text


def _assigned(assignments: Sequence[str], *, is_extension: bool) -> bytes:
    """Return the object that ``name=value`` and others make; a value that is no JSON is text."""
    members: list[str] = []
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not name or not equals:
            raise Invalid((Violation("set", "must be NAME=VALUE"),))
        try:
            orjson.loads(value)
        except orjson.JSONDecodeError:
            value = json.dumps(value)
        members.append(f"{json.dumps(name if is_extension else camel(name))}:{value}")
    return f"{{{','.join(members)}}}".encode()
