"""The pages that change the emulator: its switches and its plan of faults."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Mapping
from functools import cache
from itertools import pairwise
from types import NoneType
from typing import Any, Literal, cast, get_args, get_origin, get_type_hints

import attrs
import orjson

from cdp_orders_async.emulator.faults import ACTIONS, PHASES, Entry, Fault, Faults, PlanError
from cdp_orders_async.emulator.limits import Limit
from cdp_orders_async.emulator.naming import OPERATIONS
from cdp_orders_async.emulator.pages.visit import PAGES, Moved, Page, Result, Visit
from cdp_orders_async.emulator.records import Json
from cdp_orders_async.emulator.switches import ByOperation, Switches

__all__ = ["add_fault", "change_switches", "faults", "set_faults", "switches"]

ENTRIES_MAX = 50
"""The number of entries of a plan that are shown."""
PLAN_MAX = 2_000
"""The number of faults of a plan that can be changed on the page."""
STEPS_MAX = 10
"""The number of steps of a script that are shown."""
REQUESTS_MAX = 1_000
"""The number of requests that one added fault may concern."""
DONE = {
    "switches": "The switches are set. They are used from the next request on.",
    "defaults": "All switches have their defaults again.",
    "added": "The fault is added to the plan.",
    "plan": "The plan of faults is set, and begins with the next request.",
    "cleared": "The plan of faults is empty.",
}
"""The results that a page reports after a form."""
PLACE = re.compile(r"^the fault(\.script\[0\])?: ")
"""The place in an added fault where an error is, which the form does not show."""
JSON_WORDS = {"None": "null", "True": "true", "False": "false"}
PATTERNS = ("*", "*.create", "*.get", "*.list", "*.update", "*.replace", "*.delete")


@attrs.frozen
class Field:
    """A switch in the form."""

    name: str
    help: str
    value: str
    """As in the form."""
    default: str
    words: tuple[str, ...]
    """The values to choose from; empty: any text."""
    is_long: bool
    """Whether its text may have several lines."""
    error: str = ""


def switches(visit: Visit) -> Result:
    """Show the switches."""
    return Page("switches.html", {"fields": fields(visit.subject.store.switches), **done(visit)})


def change_switches(visit: Visit) -> Result:
    """Set the switches that the form has; a wrong value changes none."""
    store = visit.subject.store
    if visit.form.get("action") == "defaults":
        store.switches = Switches()
        return Moved(f"{PAGES}/switches?done=defaults")
    known = fields(store.switches)
    checked = [check(field, visit.form.get(field.name, field.value)) for field in known]
    if any(field.error for field in checked):
        return Page("switches.html", {"fields": checked, "done": ""}, 400)
    store.switches = Switches.read(f"{field.name}={field.value}" for field in checked)
    return Moved(f"{PAGES}/switches?done=switches")


def check(field: Field, value: str) -> Field:
    """Return the field with this *value*, and with its error if it is wrong."""
    text = value.strip() or empty(field.name)
    try:
        Switches.read([f"{field.name}={text}"])
    except ValueError as wrong:
        reason = str(wrong).removeprefix(f"{field.name}={text}: ")
        return attrs.evolve(field, value=value, error=f"{reason}.")
    return attrs.evolve(field, value=text)


def fields(found: Switches) -> list[Field]:
    """Return the fields of the form with the values of these switches."""
    hints, helps, usual = get_type_hints(Switches), descriptions(), Switches()
    return [
        Field(
            name=switch.name,
            help=helps.get(switch.name, ""),
            value=text_of(getattr(found, switch.name)),
            default=text_of(getattr(usual, switch.name)),
            words=words(hints[switch.name]),
            is_long=switch.name == "limits",
        )
        for switch in attrs.fields(Switches)
    ]


def words(hint: Any) -> tuple[str, ...]:  # noqa: ANN401 a type hint can be anything
    """Return the values of a type that has only some: literals, flags and None."""
    if get_origin(hint) is Literal:
        return tuple(map(text_of, get_args(hint)))
    if hint is bool:
        return ("true", "false")
    if hint is NoneType:
        return ("null",)
    parts = [words(part) for part in get_args(hint)]
    return tuple(word for part in parts for word in part) if parts and all(parts) else ()


def text_of(value: object) -> str:
    """Return the value of a switch as `Switches.read` takes it."""
    if isinstance(value, str):
        return value
    if isinstance(value, ByOperation):
        value = dict(value)
    if isinstance(value, tuple):
        limits = [limit_json(limit) for limit in cast("tuple[Limit, ...]", value)]
        return orjson.dumps(limits, option=orjson.OPT_INDENT_2).decode() if limits else "[]"
    return orjson.dumps(value).decode()


def limit_json(limit: Limit) -> dict[str, object]:
    """Return a limit as in the switch, with the values that differ from their defaults."""
    values = attrs.asdict(limit, recurse=False)
    usual = {field.name: field.default for field in attrs.fields(type(limit))}
    changed = {name: value for name, value in values.items() if value != usual[name]}
    return {"kind": type(limit).__name__.lower(), **changed}


def empty(name: str) -> str:
    """Return the value of a switch that an empty text stands for: its default."""
    return text_of(getattr(Switches(), name))


@cache
def descriptions() -> Mapping[str, str]:
    """Return the description of each switch, which stands below it in its source; none without the source."""
    try:
        (tree,) = ast.parse(inspect.getsource(Switches)).body
    except (OSError, SyntaxError):
        return {}
    found: dict[str, str] = {}
    body = tree.body if isinstance(tree, ast.ClassDef) else []
    for before, node in pairwise(body):
        match before, node:
            case ast.AnnAssign(target=ast.Name(name)), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = plain(text)
            case _:
                pass
    return found


def plain(text: str) -> str:
    """Return a docstring as text, with the values of JSON instead of those of Python."""
    unmarked = re.sub(r"\*(\w+)\*", r"\1", " ".join(text.replace("`", "").split()))
    return re.sub(r"\b(None|True|False)\b", lambda found: JSON_WORDS[found[0]], unmarked)


def faults(visit: Visit) -> Result:
    """Show the plan of faults."""
    return show_faults(visit, {}, 200)


def show_faults(visit: Visit, values: Mapping[str, object], status: int) -> Result:
    """Show the plan of faults; *values*: what the person typed, and what is wrong with it."""
    plan = visit.subject.faults
    shown: dict[str, object] = {
        "entries": [
            (entry.operation, describe(entry), left)
            for entry, left in zip(plan.entries[:ENTRIES_MAX], plan.left, strict=False)
        ],
        "more": max(len(plan.entries) - ENTRIES_MAX, 0),
        "counts": sorted(plan.done.items()),
        "actions": ACTIONS,
        "phases": PHASES,
        "operations": [*PATTERNS, *sorted(OPERATIONS)],
        "typed": {},
        "plan": orjson.dumps(plan.plan, option=orjson.OPT_INDENT_2).decode() if size_of(plan) <= PLAN_MAX else None,
        "add_error": "",
        "plan_error": "",
        **done(visit),
    }
    return Page("faults.html", {**shown, **values}, status)


def size_of(plan: Faults) -> int:
    """Return the number of faults in a plan."""
    return sum(1 if entry.script is None else len(entry.script) for entry in plan.entries)


def describe(entry: Entry) -> str:
    """Return the faults of an entry as text."""
    if entry.fault is not None:
        return f"{words_of(entry.fault)}, chance {entry.chance:g}"
    script = entry.script or ()
    steps = [words_of(fault) for fault in script[:STEPS_MAX]]
    rest = [f"{len(script) - STEPS_MAX:,} more"] if len(script) > STEPS_MAX else []
    return ", then ".join([*steps, *rest]) or "an empty script"


def words_of(fault: Fault | None) -> str:
    """Return a fault as text."""
    if fault is None:
        return "ok"
    action = f"{fault.action} {fault.status}" if fault.action in {"status", "html"} else fault.action
    seconds = f" for {fault.seconds:g} s" if fault.action in {"stall", "drip"} else ""
    after = "" if fault.retry_after is None else f", Retry-After {fault.retry_after}"
    return f"{action}{seconds} (phase {fault.phase}{after})"


def add_fault(visit: Visit) -> Result:
    """Add the fault of the form to the plan."""
    try:
        visit.subject.faults.add(fault_of(visit.form))
    except PlanError as wrong:
        return show_faults(visit, {"typed": visit.form, "add_error": PLACE.sub("", str(wrong))}, 400)
    return Moved(f"{PAGES}/faults?done=added")


def fault_of(form: Mapping[str, str]) -> Json:
    """Return the entry of a plan that the form describes; raise PlanError."""
    fault: dict[str, Json] = {"action": form.get("action", "")}
    if phase := form.get("phase", ""):
        fault["phase"] = phase
    for name in ("status", "retry_after", "seconds"):
        if text := form.get(name, "").strip():
            fault[name] = number(text)
    operation = form.get("operation", "").strip()
    if form.get("when") == "chance":
        return {"operation": operation, "chance": number(form.get("chance", "")), **fault}
    count = number(form.get("requests", "1"))
    if not isinstance(count, int) or not 1 <= count <= REQUESTS_MAX:
        raise PlanError(f"the number of requests must be a whole number from 1 to {REQUESTS_MAX:,}, not {count!r}.")
    script: list[Json] = [fault] * count
    return {"operation": operation, "script": script}


def number(text: str) -> int | float | str:
    """Return the number in a text, or the text if it is not a number."""
    try:
        return int(text) if text.strip().isdecimal() else float(orjson.loads(text))
    except (ValueError, TypeError):
        return text


def set_faults(visit: Visit) -> Result:
    """Set the plan of the form."""
    if visit.form.get("action") == "clear":
        visit.subject.faults = Faults()
        return Moved(f"{PAGES}/faults?done=cleared")
    text = visit.form.get("plan", "")
    try:
        visit.subject.faults = Faults.of(orjson.loads(text))
    except orjson.JSONDecodeError as wrong:
        return show_faults(visit, {"plan": text, "plan_error": f"The plan is not JSON: {wrong}."}, 400)
    except PlanError as wrong:
        return show_faults(visit, {"plan": text, "plan_error": str(wrong)}, 400)
    return Moved(f"{PAGES}/faults?done=plan")


def done(visit: Visit) -> dict[str, object]:
    """Return the result of the form that led here."""
    return {"done": DONE.get(visit.query.get("done", ""), "")}
