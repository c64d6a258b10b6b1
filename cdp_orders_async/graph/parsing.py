"""Read a whole order from JSON data.

The data is an order with nested parts, as in the vendor's documents, or an import record of the Batch API with the same
value. Sources: the vendor's pages on the Order REST API and on the Batch API.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator
from datetime import tzinfo
from typing import Any, NamedTuple

import attrs

from cdp_orders_async.arguments import need
from cdp_orders_async.errors import Invalid, Violation, shown, shown_key
from cdp_orders_async.graph.exact import is_doubled, is_record
from cdp_orders_async.graph.findings import Findings
from cdp_orders_async.graph.values import (
    MODES,
    NOT_ONE_ITEM,
    GraphConsumer,
    GraphItem,
    OrderGraph,
    Pairs,
    assigned,
    check_item_extension,
)
from cdp_orders_async.graph.zones import DATES, MOMENTS, Timezone, zone_of, zoned
from cdp_orders_async.journal import OrderId
from cdp_orders_async.kinds import V2, V2_1, Api
from cdp_orders_async.models import FlightSegment, Identifier
from cdp_orders_async.models.common import camel, list_fields
from cdp_orders_async.redact import Opaque, sealed
from cdp_orders_async.rules import check, check_extension, check_fields
from cdp_orders_async.wire import MOMENT_RULE, in_utc, is_list, is_object, read_fields, read_moment, structure

__all__ = ["SERVER_SET", "Read", "Reading", "key_of", "known_key", "parse_graph", "read_graph"]

MOST_ENTRIES = 1_000
"""The most entries of a list within a part, such as the emails of a person: each wrong entry takes long to describe."""
LONGEST_REFERENCE = 220
"""The most characters of a reference id in a key."""
DATE_RULE = "must be a date, such as 2024-01-31"
NO_POINT_OF_SALE = Violation("$.pointOfSale", "is required")
OF_V2_1 = (
    ' in version 2: send where the order was sold, such as "spinair.com"; '
    "orders without it may be of version 2.1, which is read without --api v2"
)
LONGEST_NAME_MEANT = 40
SERVER_SET = frozenset({"ref", "href", "createdAt", "modifiedAt"})
ENTRY_MODELS = {"identifiers": Identifier, "flightSegments": FlightSegment}
"""The keys that hold a list of objects, and their models."""
EXTENDED = frozenset({"orders", "items"})
"""The kinds of which an extension can hold a single value that has no key of its own."""
NESTED = {
    "orders": ("contact", "orderItems", "consumers", "extensions"),
    "items": ("extensions",),
    "contacts": ("email",),
    "consumers": ("email", "orderItems"),
}
"""The keys of each kind that are not in its model."""


@sealed
def parse_graph(value: object, api: Api = V2_1, *, timezone: Timezone = None) -> OrderGraph:
    """Make an order graph from JSON data; raise `Invalid` with every misfit and every broken rule.

    Paths start at the order, ``$.orderItems[3].name``, also within a record of the Batch API. If more than 100 rules
    are broken, the error has the first 100 and the number of the others.

    Parameters: *value*, the order as dicts and lists, from a reader of JSON. *api*, the version of the API: a field
    that only the other version has is refused, and the error says what to send instead. *timezone*, the zone of times
    without one, as a name such as ``Europe/Dublin`` or a tzinfo. Without it such times are refused; with it, only times
    that occurred twice or never, because clocks changed. A date of birth or of expiry may be a date without a time: it
    is midnight in UTC, in any zone.

    A reader of JSON keeps the last of two equal keys, and rounds numbers. `GraphFile` refuses both.
    """
    need(api, Api, "api")
    zone = zone_of(timezone)
    graph, found, _ = read_graph(value, api, zone)
    if graph is None or found:
        raise Invalid(tuple(found))
    return graph


class Read(NamedTuple):
    """The result of reading an order: the graph, or else the violations; and its key, as far as it can be read."""

    graph: OrderGraph | None
    violations: list[Violation]
    key: str | None


def read_graph(
    value: object,
    api: Api,
    zone: tzinfo | None = None,
    *,
    assign_references: bool = False,
    lost: Findings | None = None,
) -> Read:
    """Read an order from JSON data; *lost* are the findings of its reader."""
    reading = Reading(api, zone, lost or Findings())
    mode: Any = "insert"
    if is_object(value) and is_record(value):
        mode = value.get("mode")
        if value.get("schema") != "order":
            reading.add_violation("$.schema", "must be 'order'")
        if mode not in MODES:  # a set would need a mode that can be hashed
            reading.add_violation("$.mode", "must be 'insert' or 'upsert'")
        value = value["value"]
    if not is_object(value):
        reading.add_violation("$", "must be an object")
        return Read(None, reading.found.told, None)
    graph = reading.order(dict(value), mode, assign_references=assign_references)
    violations = _advised(reading.found.told if graph is None else graph.violations(api), api)
    if graph is None or violations:
        return Read(None, violations, key_of(value, zone))
    return Read(graph, [], graph.key)


def _advised(found: list[Violation], api: Api) -> list[Violation]:
    """Return the violations *found*; where the required key is missing that only version 2 has, say what to do."""
    if api is not V2 or NO_POINT_OF_SALE not in found:
        return found
    advised = Violation(NO_POINT_OF_SALE.field, f"{NO_POINT_OF_SALE.rule}{OF_V2_1}")
    return [advised if violation == NO_POINT_OF_SALE else violation for violation in found]


def key_of(value: dict[str, Any], zone: tzinfo | None) -> str | None:
    """Return the key of an order that breaks rules, as far as it can be read, short and printable."""
    reference, ordered_at = (None if is_doubled(value, key) else value.get(key) for key in ("referenceId", "orderedAt"))
    if not isinstance(reference, str) or not reference:
        return None
    reference = shown(reference, LONGEST_REFERENCE)
    if not isinstance(ordered_at, str):
        return reference
    text, wrong = zoned("orderedAt", ordered_at, zone)
    try:
        return reference if wrong else OrderId.of(reference, in_utc(read_moment(text))).key
    except (ValueError, OverflowError):
        return reference


class Reading:
    """Reads one order, and collects its violations."""

    def __init__(self, api: Api, zone: tzinfo | None, found: Findings) -> None:
        self.api, self.models, self.zone, self.found = api, api.models, zone, found
        self.add_violation = found.add
        self.parts: dict[str, attrs.AttrsInstance] = {}
        """The models that were read, by path."""
        self.uses: list[tuple[str, str]] = []
        """The paths and reference ids of the items that consumers use."""
        self.extensions: list[tuple[str, Opaque[Pairs]]] = []
        """The extensions that were read, with the paths of their owners."""

    def order(self, order: dict[str, Any], mode: Any, *, assign_references: bool) -> OrderGraph | None:  # noqa: ANN401 it is judged already
        """Read the order and its parts; return None if something does not fit."""
        contact = self.pop_object(order, "contact")
        has_items = is_list(order.get("orderItems"))
        items = self.pop_list(order, "orderItems")
        consumers = self.pop_list(order, "consumers")
        extension = self.pop_extension(order, "$")
        ordered_at, reference = order.get("orderedAt"), order.get("referenceId")
        new_order = self.model(order, "orders", "$")
        new_contact = None if contact is None else self.person(contact, "contacts", "$.contact")
        if assign_references and isinstance(reference, str):
            items = list(_with_references(items, reference))
        graph_items: list[GraphItem] = []
        for at, fields in self.objects(items, "$.orderItems"):
            if fields.get("orderedAt") == ordered_at:  # the default
                fields.pop("orderedAt", None)
            item_extension = self.pop_extension(fields, at)
            if (new_item := self.model(fields, "items", at)) is not None:
                graph_items.append(GraphItem(new_item, item_extension))
        graph_consumers: list[GraphConsumer] = []
        for at, fields in self.objects(consumers, "$.consumers"):
            uses = self.pop_uses(fields, at)
            if (new_consumer := self.person(fields, "consumers", at)) is not None:
                graph_consumers.append(GraphConsumer(new_consumer, uses))
        if self.found.count or new_order is None:
            self.judge()
            if has_items:
                self.judge_uses(items)
            return None
        return OrderGraph(
            order=new_order,
            contact=new_contact,
            items=tuple(graph_items),
            consumers=tuple(graph_consumers),
            extension=extension,
            mode=mode,
        )

    def judge(self) -> None:
        """Note the broken rules of the parts that were read, if others could not be read."""
        for at, part in self.parts.items():
            self.found.extend(check(type(part), part), at)
        for at, pairs in self.extensions:
            if at.startswith("$.orderItems"):
                self.found.extend(check_item_extension(pairs.open(), self.api), at)
            else:
                self.found.extend(check_extension(pairs.open()), f"{at}.extensions[0]")

    def judge_uses(self, items: list[Any]) -> None:
        """Note the consumers that do not name one item each, if the reference ids of all *items* can be read."""
        references = [item.get("referenceId") if is_object(item) else ... for item in items]
        if all(reference is None or isinstance(reference, str) for reference in references):
            counts = Counter(references)
            for at, reference in self.uses:
                if counts[reference] != 1:
                    self.add_violation(at, NOT_ONE_ITEM)

    def objects(self, values: list[Any], at: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield a copy of each object in a list, with its path, unless very many rules are broken."""
        for n, value in enumerate(values):
            if not is_object(value):
                self.add_violation(f"{at}[{n}]", "must be an object")
            elif not self.found.enough:
                yield f"{at}[{n}]", dict(value)

    def pop_object(self, fields: dict[str, Any], key: str) -> dict[str, Any] | None:
        """Take the object off *fields* that is there under *key*."""
        value = fields.pop(key, None)
        if value is None or is_object(value):
            return None if value is None else dict(value)
        self.add_violation(f"$.{key}", "must be an object")
        return None

    def pop_list(self, fields: dict[str, Any], key: str, at: str = "$") -> list[Any]:
        """Take the list off *fields* that is there under *key*."""
        value = fields.pop(key, None)
        if value is None or is_list(value):
            return value or []
        self.add_violation(f"{at}.{key}", "must be a list")
        return []

    def pop_extension(self, fields: dict[str, Any], at: str) -> Pairs | None:
        """Remove the extension from an order or an item, and return it; the Batch API adds a ``name`` and a ``key``."""
        extensions = self.pop_list(fields, "extensions", at)
        if not extensions:
            return None
        if len(extensions) > 1:
            self.add_violation(f"{at}.extensions", "must have at most one extension")
        if not is_object(extensions[0]):
            self.add_violation(f"{at}.extensions[0]", "must be an object")
            return None
        pairs = dict(extensions[0])
        for key, only in (("name", "ext"), ("key", "default")):
            if pairs.pop(key, only) != only:
                self.add_violation(f"{at}.extensions[0].{key}", f"must be '{only}'")
        self.extensions.append((at, Opaque(pairs)))
        return pairs

    def pop_uses(self, fields: dict[str, Any], at: str) -> tuple[str, ...]:
        """Take the items that a consumer uses off its *fields*."""
        named: list[str] = []
        for n, item in enumerate(self.pop_list(fields, "orderItems", at)):
            reference = item.get("referenceId") if is_object(item) else None
            if isinstance(reference, str):
                named.append(reference)
                self.uses.append((f"{at}.orderItems[{n}].referenceId", reference))
            else:
                self.add_violation(f"{at}.orderItems[{n}].referenceId", "must name an item of this order")
        return tuple(named)

    def person(self, fields: dict[str, Any], kind: str, at: str, nested: tuple[str, ...] | None = None) -> Any:  # noqa: ANN401 one of several models
        """Read a person; the ``email`` of the Batch API is added to the ``emails``."""
        email = fields.pop("email", None)
        if email is not None:
            emails: object = fields.get("emails") or []
            fields["emails"] = [email, *emails] if is_list(emails) and email not in emails else emails
        return self.model(fields, kind, at, nested)

    def model(self, fields: dict[str, Any], kind: str, at: str, nested: tuple[str, ...] | None = None) -> Any:  # noqa: ANN401 one of several models
        """Read a model; every unknown key is a violation. *nested* are further keys that may be meant, if not all."""
        model: type[Any] = self.models[kind]
        self.judge_keys(fields, model, at, NESTED[kind] if nested is None else nested)
        try:
            read = structure(fields, model, at)
        except ValueError as error:
            for line in error.args:
                rule, _, path = str(line).rpartition(" @ ")
                is_date = rule == MOMENT_RULE and path.rpartition(".")[2] in DATES
                self.add_violation(path, DATE_RULE if is_date else rule)
            self.judge_fields(fields, model, at)
            return None
        self.parts[at] = read
        return read

    def judge_fields(self, fields: dict[str, Any], model: type[Any], at: str) -> None:
        """Note the broken rules of the fields that can be read of a model that cannot be read whole."""
        read, unread = read_fields(fields, model)
        self.found.extend(check_fields(model, read, unread), at)
        for key in ENTRY_MODELS.keys() & set(map(camel, unread)):
            for n, entry in enumerate(fields[key] if is_list(fields.get(key)) else ()):
                if is_object(entry):
                    self.judge_fields(entry, ENTRY_MODELS[key], f"{at}.{key}[{n}]")

    def judge_keys(self, fields: dict[str, Any], model: type, at: str, nested: tuple[str, ...] = ()) -> None:
        """Check what `structure` does not check: unknown keys, time zones, and the lengths of lists."""
        plain = _plain(model)
        if plain.issuperset(fields):
            return
        for key, value in fields.items():
            if key in plain:
                continue
            if key not in _keys(model):
                self.add_unknown_key(key, fields, model, at, nested)
            elif is_list(value):
                fields[key] = self.entries(value, key, f"{at}.{key}")
            elif isinstance(value, str) and (key in MOMENTS or key in DATES):
                fields[key], wrong = zoned(key, value, self.zone)
                if wrong:
                    self.add_violation(f"{at}.{key}", wrong)

    def entries(self, values: list[Any], key: str, at: str) -> list[Any]:
        """Check the entries of a list within a part, and return them for the reader."""
        if len(values) > MOST_ENTRIES:
            self.add_violation(at, f"must have at most {MOST_ENTRIES:,} entries")
            return []
        if key not in ENTRY_MODELS:
            return values
        copies = [dict(entry) if is_object(entry) else entry for entry in values]
        for n, entry in enumerate(copies):
            if is_object(entry):
                self.judge_keys(entry, ENTRY_MODELS[key], f"{at}[{n}]")
        return copies

    def add_unknown_key(self, key: str, fields: dict[str, Any], model: type, at: str, nested: tuple[str, ...]) -> None:
        """Note an unknown key, whose value would be lost, and say what to do."""
        if self.found.full:  # it is only counted
            self.add_violation(at, "")
            return
        known = [name for name in (*_keys(model), *nested) if name not in fields and name not in SERVER_SET]
        kind = next((name for name, its in self.models.items() if its is model), "")
        value = fields[key]
        theirs: type | None = (V2 if self.api is V2_1 else V2_1).models.get(kind)
        is_single = not (value is None or is_list(value) or is_object(value))
        if key == "guest":
            advice = "; name identifiers"
        elif (meant := known_key(key, known)) is not None:
            advice = f"; did you mean {meant}?"
        elif (is_single and kind in EXTENDED) or (theirs is not None and key in _keys(theirs)):
            of_item = kind == "items" and "item_extensions" in self.models
            advice = f"; put its values into the {'item' if of_item else 'order'}'s extension"
        else:
            advice = ""
        self.add_violation(f"{at}.{shown_key(key)}", f"is no key of version {self.api.version}{advice}")


def _with_references(items: list[Any], order: str) -> Iterator[Any]:
    """Yield the items; an item without a reference id gets one."""
    old = [item.get("referenceId") if is_object(item) else "" for item in items]
    for item, reference in zip(items, assigned(order, old), strict=True):
        yield {**item, "referenceId": reference} if is_object(item) else item


def known_key(key: str, known: list[str]) -> str | None:
    """Return the known key that *key* is a misspelling or a part of."""
    if len(key) > LONGEST_NAME_MEANT:
        return None
    import difflib  # noqa: PLC0415 few programs need it

    names = {name.lower(): name for name in sorted(known)}
    letters = "".join(filter(str.isalnum, key)).lower()
    for close in difflib.get_close_matches(letters, names, cutoff=0.66):
        if close in letters or letters in close or difflib.SequenceMatcher(None, letters, close).ratio() > 0.8:  # noqa: PLR2004 almost the same
            return names[close]
    return None


@functools.cache
def _keys(model: type) -> frozenset[str]:
    return SERVER_SET | {camel(field.name) for field in attrs.fields(model)}


@functools.cache
def _plain(model: type) -> frozenset[str]:
    """Return the keys whose values need no check here."""
    return _keys(model) - set(map(camel, list_fields(model))) - MOMENTS - DATES
