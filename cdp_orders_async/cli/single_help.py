"""The parameters and the help of the commands for single resources, made from the rows of the API."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Annotated, Any, get_type_hints

import attrs
from cyclopts import Parameter

from cdp_orders_async.cli.options import Connection, Flag, file_or_dash
from cdp_orders_async.kinds import Kind
from cdp_orders_async.models.common import camel
from cdp_orders_async.routes import Route

__all__ = ["command_of", "is_extension", "noun_of", "owner_of", "signature_of", "text_of"]

REF = "6b0d3c1e-8d7e-4f6a-9c55-2f0a4b1f7c11"
OWNERS = {"orders": "order", "orderItems": "item", "orderContacts": "contact", "orderConsumers": "consumer"}
"""What the references of a collection of the API belong to, by its place in a path."""
SUMMARIES = {
    "get": "Print the {noun} as the server has it, a JSON object on one line.",
    "list": "Print the {nouns} {of}, a JSON object on each line.",
    "items": "Print the items that a consumer uses, a JSON object on each line.",
    "create": "Create {a_noun}{of_one} from a JSON object, and print what the server made of it.",
    "replace": "Put a JSON object in place of the {noun}, and print what the server made of it.",
    "update": "Change some fields of the {noun}, and print what the server made of it.",
    "delete": "Delete the {noun}. It asks first.",
    "delete_fields": "Delete some keys of the {noun}, and print what is left. It asks first.",
}
EXAMPLES = {
    "get": "{ref}",
    "list": "{found} | jq -r .ref",
    "items": "{ref} | jq -r .ref",
    "create": "{ref} {noun}.json",
    "replace": "{ref} {noun}.json",
    "update": "{ref} --set {change}",
    "delete": "{ref} --yes",
    "delete_fields": "{ref} seatsLeft --yes",
}
CHANGES = {"status": "status=CONFIRMED", "city": "city=Dublin"}
FILE = "A file that holds the JSON object; - or nothing is standard input."


def command_of(name: str) -> str:
    """Return how the command line writes the name of a kind or of a verb."""
    return name.replace("_", "-")


def noun_of(name: str) -> str:
    """Return the word for one resource of a kind."""
    return name.removesuffix("s").replace("_", " ")


def owner_of(route: Route) -> str | None:
    """Return what the reference in a path belongs to."""
    found = re.search(r"/(\w+)/\{ref\}", route.path)
    return OWNERS[found[1]] if found else None


def is_extension(kind: Kind[Any, Any, Any]) -> bool:
    """Tell whether a kind holds pairs of your own, and no model."""
    return not attrs.has(kind.new)


def signature_of(kind: Kind[Any, Any, Any], verb: str, route: Route) -> inspect.Signature:
    """Return the parameters of a command."""
    return inspect.Signature([*_positional(verb, route), *_options(kind, verb)], return_annotation=int)


def _positional(verb: str, route: Route) -> Iterator[inspect.Parameter]:
    if owner := owner_of(route):
        name = "ref" if route.path.endswith("{ref}") else f"{owner}_ref"
        yield _parameter(name, str, f"The reference of the {owner}, a UUID.", inspect.Parameter.POSITIONAL_ONLY)
    if verb in {"create", "replace", "update"}:
        yield _parameter(
            "file",
            str | None,
            FILE,
            inspect.Parameter.POSITIONAL_ONLY,
            None,
            allow_leading_hyphen=True,
            validator=file_or_dash,
        )
    if verb == "delete_fields":
        yield _parameter("keys", str, "The keys to delete.", inspect.Parameter.VAR_POSITIONAL, negative=())


def _options(kind: Kind[Any, Any, Any], verb: str) -> Iterator[inspect.Parameter]:
    if verb in {"create", "replace", "update"}:
        rule = "A field and its value, NAME=VALUE, in place of FILE: JSON, or else text. Give it again for another one."
        yield _parameter("set", list[str] | None, rule, default=None, negative=(), metavar="NAME=VALUE")
    if verb in {"create", "replace", "update"} and not is_extension(kind):
        yield _parameter(
            "timezone", str | None, "The zone of times that do not say theirs, such as Europe/Dublin.", default=None
        )
    if kind.name == "orders" and verb == "list":
        yield _parameter("reference_id", str | None, "The referenceId of the orders.", default=None)
        yield _parameter("guest_ref", str | None, "In place of it, the reference of their guest.", default=None)
    if kind.name == "orders" and verb in {"get", "list"}:
        rule = "Print the whole order with its parts nested, as a line of input that cdp-orders load takes."
        yield _parameter("whole", Flag, rule, default=False)
    if verb in {"list", "items"}:
        yield _parameter("limit", int | None, "Entries to print, at most.", default=None, allow_leading_hyphen=True)
    if verb in {"delete", "delete_fields"}:
        yield _parameter("yes", Flag, "Delete without asking.", default=False)
    yield inspect.Parameter("connection", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Connection | None)


def _parameter(
    name: str,
    kind: Any,  # noqa: ANN401 a type
    text: str,
    place: Any = inspect.Parameter.KEYWORD_ONLY,  # noqa: ANN401 one of inspect's
    default: object = inspect.Parameter.empty,
    **more: Any,  # noqa: ANN401 those of cyclopts
) -> inspect.Parameter:
    return inspect.Parameter(name, place, default=default, annotation=Annotated[kind, Parameter(help=text, **more)])


def text_of(kind: Kind[Any, Any, Any], verb: str, route: Route) -> str:
    """Return the help of a command: what it does and takes, and an example."""
    noun, owner = noun_of(kind.name), owner_of(route)
    of = "with a referenceId, or of a guest: exactly one of the two" if owner is None else f"of an {owner}"
    words = {
        "noun": noun,
        "nouns": f"{noun}s",
        "a_noun": f"a{'n' if noun[0] in 'aeio' else ''} {noun}",
        "of": of,
        "of_one": "" if owner is None else f" of an {owner}",
    }
    text = [SUMMARIES[verb].format_map(words), *_takes(kind, verb)]
    if verb in {"create", "replace", "update"}:
        text.append("What breaks a documented rule is refused before anything is sent.")
    status = (
        "Exit status: 0, 1 if the API refused or its answer was lost, 2 bad usage, input, credentials or no server."
    )
    return "\n\n".join([*text, status, f"Example: {_example(kind, verb, owner)}"])


def _takes(kind: Kind[Any, Any, Any], verb: str) -> Iterator[str]:
    if verb not in {"create", "replace", "update"}:
        return
    if is_extension(kind):
        yield "The object holds up to 100 keys of your own, in camelCase, whose values are text, numbers or booleans."
    elif verb == "update":
        yield f"Fields: {', '.join(map(camel, get_type_hints(kind.changes)))}."
    else:
        fields = attrs.fields(kind.new)
        needed = [camel(field.name) for field in fields if field.default is attrs.NOTHING]
        others = [camel(field.name) for field in fields if field.default is not attrs.NOTHING]
        if needed:
            yield f"Required: {', '.join(needed)}."
        yield f"Optional: {', '.join(others)}."


def _example(kind: Kind[Any, Any, Any], verb: str, owner: str | None) -> str:
    hints = get_type_hints(kind.changes) if not is_extension(kind) else {}
    words = {
        "ref": REF if owner else "",
        "found": REF if owner else "--reference-id B94TXY-1",
        "noun": noun_of(kind.name).replace(" ", "-"),
        "change": next((change for name, change in CHANGES.items() if name in hints), "seatsLeft=8"),
    }
    words_of_example = EXAMPLES[verb].format_map(words).split()
    return " ".join(["cdp-orders", command_of(kind.name), command_of(verb), *words_of_example])
