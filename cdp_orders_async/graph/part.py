"""Reading a single order, item, person or data extension from JSON, by the rules by which a whole order is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_type_hints

import attrs
import orjson

from cdp_orders_async.errors import Invalid, Violation, shown_key
from cdp_orders_async.graph.exact import not_utf_8, read_json
from cdp_orders_async.graph.findings import Findings
from cdp_orders_async.graph.parsing import NESTED, Reading, known_key
from cdp_orders_async.graph.zones import Timezone, zone_of
from cdp_orders_async.kinds import V2_1, Api, Kind
from cdp_orders_async.models import Link
from cdp_orders_async.models.common import RESERVED_KEYS, camel
from cdp_orders_async.redact import sealed
from cdp_orders_async.rules import check, check_extension, raise_invalid
from cdp_orders_async.wire import is_list, is_object, ref_text, structure

__all__ = ["read_part"]

BY_PART = {
    "contact": "contacts create",
    "orderItems": "items create",
    "consumers": "consumers create",
    "extensions": "{owner}-extensions create",
}
"""The keys of a whole order that are resources of their own, and the verbs that make those."""
PEOPLE = ("contacts", "consumers")


@sealed
def read_part(
    text: bytes, kind: Kind[Any, Any, Any], api: Api = V2_1, *, changes: bool = False, timezone: Timezone = None
) -> Any:  # noqa: ANN401 the model of the kind
    """Return what *text*, a JSON object with the names of the wire, holds for a resource of *kind*.

    Parameters: *changes*, whether it is for an update; *timezone*, as in `parse_graph`. Returns the kind's model of
    what is created, or its changes; the pairs of an extension. What the server adds to each resource is left out, so
    that an answer can be sent again. Raises `Invalid` for all that does not fit, and for every broken rule.
    """
    found = Findings()
    try:
        value = read_json(text, found)
    except orjson.JSONDecodeError as error:
        rule = not_utf_8(text) or f"must be JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        raise Invalid((Violation("$", rule),)) from None
    if not is_object(value):
        found.add("$", "must be an object")
        raise Invalid(tuple(found.told))
    reading = Reading(api, zone_of(timezone), found)
    if kind.name not in NESTED:
        part: Any = _pairs(value, found)
    else:
        fields = _without_what_the_server_adds(value, kind)
        _refuse_parts(fields, kind, found)
        _read_links(fields, kind, found)
        partial = changes and kind.changes is not kind.new
        part = _changes(fields, kind, reading) if partial else _whole(fields, kind, reading)
    raise_invalid(found.told)
    return part


def _pairs(value: dict[str, Any], found: Findings) -> dict[str, Any]:
    """Return the pairs of an extension, of which ``name`` and ``key`` are how the Batch API addresses it."""
    server_set = RESERVED_KEYS if "href" in value else {"name", "key"}
    for key, only in (("name", "ext"), ("key", "default")):
        if value.get(key, only) != only:
            found.add(f"$.{key}", f"must be '{only}'")
    pairs = {key: one for key, one in value.items() if key not in server_set}
    found.extend(check_extension(pairs))
    return pairs


def _without_what_the_server_adds(value: dict[str, Any], kind: Kind[Any, Any, Any]) -> dict[str, Any]:
    """Return a copy; of an answer of the server, which has its ``href``, without the keys that only answers have."""
    if "href" not in value:
        return dict(value)
    new, stored = ({camel(field.name) for field in attrs.fields(model)} for model in (kind.new, kind.stored))
    return {key: one for key, one in value.items() if key in new or not (key in stored or _is_link(one))}


def _is_link(value: object) -> bool:
    """Tell whether *value* is how an answer refers to another resource, or to a list of them."""
    return is_object(value) and ("href" in value or "items" in value)


def _refuse_parts(fields: dict[str, Any], kind: Kind[Any, Any, Any], found: Findings) -> None:
    """Refuse the parts of a whole order, which are created each by a request of its own."""
    for key in NESTED[kind.name]:
        if key in BY_PART and key in fields and not hasattr(kind.new, "order_items"):
            verb = BY_PART[key].format(owner="item" if kind.name == "items" else "order")
            found.add(f"$.{key}", f"is a resource of its own: use {verb}, or load for a whole order")
            del fields[key]


def _read_links(fields: dict[str, Any], kind: Kind[Any, Any, Any], found: Findings) -> None:
    """Take references, as text or as links, for what the wire has as links."""
    if hasattr(kind.new, "order_items") and fields.get("orderItems") is not None:
        given = fields["orderItems"]
        entries: object = given.get("items") if is_object(given) else given
        if is_list(entries):
            refs = [_ref(entry, f"$.orderItems[{n}]", "an item", found) for n, entry in enumerate(entries)]
            fields["orderItems"] = {"items": [{"href": ref} for ref in refs]}
        else:  # a link to the list says nothing of its items, which would be dropped
            found.add("$.orderItems", "must be a list of references of items")
            del fields["orderItems"]
    if hasattr(kind.new, "guest") and fields.get("guest") is not None:
        fields["guest"] = {"href": _ref(fields["guest"], "$.guest", "a guest", found)}


def _ref(value: object, at: str, what: str, found: Findings) -> str:
    text: object = (value.get("ref") or value.get("href")) if is_object(value) else value
    ref = Link(href=text).ref if isinstance(text, str) else None
    if ref is None:
        found.add(at, f"must be the reference of {what}")
        return ""
    return ref_text(ref)


def _whole(fields: dict[str, Any], kind: Kind[Any, Any, Any], reading: Reading) -> object:
    read = reading.person if kind.name in PEOPLE else reading.model
    part: object = read(fields, kind.name, "$", nested=())
    if part is not None:
        reading.found.extend(check(kind.new, part))
    return part


def _changes(fields: dict[str, Any], kind: Kind[Any, Any, Any], reading: Reading) -> Mapping[str, object]:
    """Return the changes, whose names are those of Python."""
    found, hints = reading.found, get_type_hints(kind.changes)
    names = {camel(name): name for name in hints}
    known = [key for key in names if key not in fields]
    new = {camel(field.name) for field in attrs.fields(kind.new)}
    changes: dict[str, object] = {}
    for key in [key for key in fields if key not in names]:
        if key in new:
            rule = "cannot be changed by an update"
        else:
            near = known_key(key, known)
            rule = f"is no key that an update of version {reading.api.version} takes"
            rule += f"; did you mean {near}?" if near else f": {', '.join(sorted(names))}"
        found.add(f"$.{shown_key(key)}", rule)
        del fields[key]
    reading.judge_keys(fields, kind.new, "$")
    for key, value in fields.items():
        hint = hints[names[key]]
        try:
            plain = [entry["href"] for entry in value["items"]] if key == "orderItems" and value else value
            changes[names[key]] = structure(plain, hint, f"$.{key}")
        except ValueError as error:
            for line in error.args:
                rule, _, path = str(line).rpartition(" @ ")
                found.add(path, rule)
    found.extend(check(kind.changes, changes))
    return changes
