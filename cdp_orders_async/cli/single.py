"""``cdp-orders orders get`` and the others: a command for each operation of the API, made from its rows."""

from __future__ import annotations

import asyncio
import shlex
import sys
from collections.abc import Coroutine
from types import SimpleNamespace
from typing import Any
from uuid import UUID

from cyclopts import App

from cdp_orders_async import jobs
from cdp_orders_async.cli.display import Screen, silence
from cdp_orders_async.cli.options import Connection, confirmed, refuse, unwritten
from cdp_orders_async.cli.single_help import command_of, is_extension, noun_of, signature_of, text_of
from cdp_orders_async.cli.single_io import Keeping, json_of, print_line
from cdp_orders_async.client import CdpOrders, CdpOrdersV2, Resources, ResourcesV2
from cdp_orders_async.errors import (
    CdpError,
    Delivery,
    Forbidden,
    InputError,
    Invalid,
    NotFound,
    NotSent,
    Refused,
    Unauthorized,
    Unreadable,
    Violation,
)
from cdp_orders_async.graph import read_part
from cdp_orders_async.kinds import V2, V2_1, Api, Kind
from cdp_orders_async.resources import Listing
from cdp_orders_async.resources.verbs import LARGEST_PAGE
from cdp_orders_async.routes import Route

__all__ = ["COMMANDS"]

DONE = {
    "create": "created",
    "update": "changed",
    "replace": "replaced",
    "delete": "deleted",
    "delete_fields": "deleted",
}
"""The verbs that write, and their participles."""
BODIES = ("create", "update", "replace")
STOPPED = 128
"""The exit status of a command that a signal stopped is this and the number of the signal."""

COMMANDS = tuple(kind.name for kind in V2_1.kinds)
"""The groups of commands, each an attribute of this module."""


def __getattr__(name: str) -> App:
    """Return the group of commands for the kind of that name; making all of them takes longer than one call."""
    for kind in V2_1.kinds:
        if kind.name == name:
            return _group(kind)
    raise AttributeError(name)


def _group(kind: Kind[Any, Any, Any]) -> App:
    group = App(name=command_of(kind.name), help=f"Work on single {noun_of(kind.name)}s: JSON in, JSON out.")
    for verb, route in V2_1.table.routes_of(kind.name).items():
        group.command(_command(kind, verb, route), name=command_of(verb), help=text_of(kind, verb, route))
    return group


def _command(kind: Kind[Any, Any, Any], verb: str, route: Route) -> Any:  # noqa: ANN401 a function of that signature
    signature = signature_of(kind, verb, route)

    def run(*args: Any, **given: Any) -> int:  # noqa: ANN401 the values of the parameters
        bound = signature.bind(*args, **given)
        bound.apply_defaults()
        connection = bound.arguments.pop("connection") or Connection()
        return _run(kind.name, verb, connection, SimpleNamespace(**bound.arguments))

    vars(run).update(__signature__=signature, __name__=verb)
    return run


def _run(name: str, verb: str, connection: Connection, values: SimpleNamespace) -> int:
    """Run one operation; return the exit status."""
    try:
        refs = _refs(values)
        body = _body(name, verb, V2 if connection.api == "v2" else V2_1, values)
        client = connection.client(Screen.of_messages())
        if "yes" in vars(values) and not values.yes:
            question = _question(name, verb, refs[0])
            if not confirmed(Screen.of_messages(), question):
                return 2
    except CdpError as error:
        return refuse(error, unsent=True)
    look = " ".join(["cdp-orders", *_look(name, verb, refs, body), *connection.words])
    try:
        status = asyncio.run(_stoppable(_over(client, name, verb, refs, body, values)))
    except BrokenPipeError:  # its reader has enough, as under | head
        silence(sys.stdout)
        return 0
    except OSError as error:
        status = unwritten(error)
        if verb in DONE:
            Screen.of_messages().say(f"It was {DONE[verb]}; look with {look}")
    except CdpError as error:
        return _failed(error, verb, look, client.base_url)
    if status > STOPPED and verb in DONE:
        Screen.of_messages().say(f"Stopped: it may have been {DONE[verb]}; look with {look}")
    return status


def _body(name: str, verb: str, api: Api, values: SimpleNamespace) -> Any:  # noqa: ANN401 a model, or changes
    """Check what the command was given; return what it sends, None for a verb that sends nothing."""
    kind = _kind(api, name, verb)
    if "limit" in vars(values) and values.limit is not None and values.limit < 1:
        raise Invalid((Violation("limit", "must be at least 1"),))
    if verb == "delete_fields" and not values.keys:
        raise Invalid((Violation("KEY", "must be given at least once; delete deletes the whole extension"),))
    if verb not in BODIES:
        return None
    text = json_of(values.file, getattr(values, "set", None), is_extension=is_extension(kind))
    return read_part(text, kind, api, changes=verb == "update", timezone=getattr(values, "timezone", None))


def _kind(api: Api, name: str, verb: str) -> Kind[Any, Any, Any]:
    """Return the kind of that name; raise `InputError` where this version of the API lacks the operation."""
    for kind in api.kinds:
        if kind.name == name:
            verbs = api.table.routes_of(name)
            if verb in verbs:
                return kind
            has = ", ".join(map(command_of, verbs))
            raise InputError(
                f"version {api.version} of the API has no {command_of(name)} {command_of(verb)}; it has {has}"
            )
    raise InputError(f"version {api.version} of the API has no {command_of(name)}")


def _refs(values: SimpleNamespace) -> list[UUID]:
    """Return the reference that the command was given, if it takes one."""
    refs: list[UUID] = []
    for name, value in vars(values).items():
        if name == "ref" or (name.endswith("_ref") and name != "guest_ref"):
            try:
                refs.append(UUID(value))
            except ValueError:
                raise Invalid((Violation(name.upper(), "must be a UUID"),)) from None
    return refs


def _question(name: str, verb: str, ref: UUID) -> str:
    keys, of = "keys of " * (verb == "delete_fields"), " of" * name.endswith("extensions")
    return f"Delete {keys}the {noun_of(name)}{of} {ref}?"


async def _stoppable(work: Coroutine[Any, Any, int]) -> int:
    """Return the exit status of *work*, or that of the signal that stops it."""
    task = asyncio.get_running_loop().create_task(work)
    signals: list[int] = []

    def stop(number: int) -> None:
        signals.append(number)
        task.cancel()

    async with jobs.on_stop(stop):
        await asyncio.wait([task])
    return STOPPED + signals[0] if task.cancelled() else task.result()


async def _over(
    client: CdpOrders | CdpOrdersV2,
    name: str,
    verb: str,
    refs: list[UUID],
    body: object,
    values: SimpleNamespace,
) -> int:
    async with client:
        keeping = Keeping(client.transport)
        bound = (ResourcesV2 if isinstance(client, CdpOrdersV2) else Resources)(keeping, client.base_url)
        resource: Any = getattr(bound, name)
        whole = getattr(values, "whole", False)
        if verb in {"list", "items"}:
            return await _print_list(client, keeping, _listing(resource, verb, refs, values), values.limit, whole=whole)
        given = [body] if verb in BODIES else [list(values.keys)] if verb == "delete_fields" else []
        result = await getattr(resource, verb)(*refs, *given)
        if whole:
            return await _print_whole(client, result)
        if verb != "delete":
            print_line(keeping.json, client.session.secrets)
            sys.stdout.flush()
        return 0


def _listing(resource: Any, verb: str, refs: list[UUID], values: SimpleNamespace) -> Listing[Any]:  # noqa: ANN401 of its rows
    limit = min(values.limit or LARGEST_PAGE, LARGEST_PAGE)
    found: dict[str, Any] = {}
    if "reference_id" in vars(values):
        found = {"reference_id": values.reference_id, "guest_ref": values.guest_ref}
    listing: Listing[Any] = getattr(resource, verb)(*refs, limit=limit, **found)
    return listing


async def _print_list(
    client: CdpOrders | CdpOrdersV2, keeping: Keeping, listing: Listing[Any], limit: int | None, *, whole: bool
) -> int:
    """Print each entry on a line as soon as its page is there; stop after *limit* entries."""
    status, printed = 0, 0
    async for page in listing.pages():
        answers = keeping.entries()
        for entry, answer in zip(page.items, answers, strict=True):
            complete = await listing.whole(entry)  # which fetches an entry that is only a link
            if whole:
                status |= await _print_whole(client, complete)
            else:
                print_line(answer if complete is entry else keeping.json, client.session.secrets)
            printed += 1
            if printed == limit:
                break
        sys.stdout.flush()
        if printed == limit:
            break
    return status


async def _print_whole(client: CdpOrders | CdpOrdersV2, order: Any) -> int:  # noqa: ANN401 of either version
    """Print a whole order as a line of input; say what such a line cannot hold."""
    line, unsaid = await jobs.whole_order(client, order)
    print_line(line, client.session.secrets)
    sys.stdout.flush()
    for sentence in unsaid:
        Screen.of_messages().say(f"cdp-orders: {sentence}")
    return 1 if unsaid else 0


def _look(name: str, verb: str, refs: list[UUID], body: Any) -> list[str]:  # noqa: ANN401 a model
    """Return the words of the command that shows what a write did."""
    if verb != "create" or name.endswith("extensions"):
        return [command_of(name), "get", *map(str, refs)]
    if refs:
        return [command_of(name), "list", *map(str, refs)]
    return [command_of(name), "list", "--reference-id", shlex.quote(body.reference_id)]


def _failed(error: CdpError, verb: str, look: str, base_url: str) -> int:
    """Say what failed, what it did, and what to do next; return the exit status."""
    if isinstance(error, Invalid):
        return refuse(error, unsent=True)
    sentence = [str(error)]
    if verb in DONE:
        sentence.append(_effect(error, DONE[verb], look))
    if isinstance(error, (Refused, Unreadable)) and not error.from_api:
        sentence.append(f"see whether {base_url} is the right place: the answer is not one of the API")
    elif isinstance(error, (Unauthorized, Forbidden)):
        sentence.append("check the client key and the API token: cdp-orders config shows where they come from")
    elif isinstance(error, NotSent):
        sentence.append(f"see whether {base_url} is the right place: cdp-orders config shows where it comes from")
    elif isinstance(error, NotFound):
        sentence.append("nothing is stored under this reference")
    refuse("; ".join(sentence))
    is_setup = isinstance(error, (Unauthorized, Forbidden, NotSent)) or not getattr(error, "from_api", True)
    return 2 if is_setup and error.delivery in {Delivery.NOT_SENT, Delivery.REFUSED} else 1


def _effect(error: CdpError, done: str, look: str) -> str:
    match error.delivery:
        case Delivery.NOT_SENT | Delivery.REFUSED:
            return f"nothing was {done}"
        case Delivery.UNKNOWN:
            return f"it may have been {done}: look with {look}"
        case _:
            return f"it was {done}: look with {look}"
