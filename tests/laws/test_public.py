"""What whoever imports the package meets: its signatures, its help, and what it says of an argument of another type."""

from __future__ import annotations

import ast
import builtins
import collections.abc
import inspect
import re
import textwrap
import typing
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_args, get_origin
from uuid import UUID

import aiohttp
import pytest

import cdp_orders_async
from cdp_orders_async import (
    CdpOrders,
    CdpOrdersV2,
    Credentials,
    GraphConsumer,
    GraphFile,
    GraphItem,
    Invalid,
    Journal,
    Limiter,
    MemoryJournal,
    NewConsumer,
    NewOrder,
    NewOrderItem,
    Order,
    OrderGraph,
    Request,
    Resources,
    ResourcesV2,
    Session,
    Settings,
    SqliteJournal,
    assign_references,
    differences,
    ingest,
    ingest_one,
    parse_graph,
)
from cdp_orders_async.models import constraints
from cdp_orders_async.resources.verbs import Verbs

T = typing.TypeVar("T")

INSIDE = {
    "BulkTransport",
    "Changes",
    "Kind",
    "New",
    "PostgresAddress",
    "Secrets",
    "Stored",
    "T",
    "T_co",
    "Writer",
    "routes",
}
"""What stands in signatures of parts that the package makes and calls itself, and type variables."""
RULED = {name for name, each in vars(constraints).items() if get_origin(each) is Annotated}
"""Types with a rule beside them, which stand for a plain type."""
PACKAGE = Path(cdp_orders_async.__file__).parent
MADE: tuple[type[Any], ...] = (Verbs, cdp_orders_async.Load, cdp_orders_async.Listing, cdp_orders_async.PostgresLimiter)
"""What nobody else makes."""
ROWS = {"Api.kinds", "Api.models"}
"""Rows hold models of any kind."""


LIBRARY = {
    *("AbstractAsyncContextManager", "Counter", "Decimal", "Path", "PathLike", "TracebackType", "UUID", "datetime"),
    *("tzinfo", "asyncio", "collections", "decimal", "os", "ssl", "typing", "uuid", "cdp_orders_async"),
}
"""What signatures take from Python's library, and the modules whose names they write out."""
PUBLIC: Mapping[str, Any] = {name: getattr(cdp_orders_async, name) for name in cdp_orders_async.__all__}
FUNCTIONS: Mapping[str, Callable[..., Any]] = {name: one for name, one in PUBLIC.items() if inspect.isfunction(one)}
CLASSES: Mapping[str, type[Any]] = {name: one for name, one in PUBLIC.items() if inspect.isclass(one)}


class Signature(NamedTuple):
    """A public function or method."""

    where: str
    function: Callable[..., Any]
    doc: str
    """Its own help; of a constructor, that of the class."""
    helps: str
    """All that helps: its own help, that of its class, and what these lead to."""


def found() -> Iterator[Signature]:
    """Yield each public function of the package, and each public method and constructor of its classes."""
    for name, function in FUNCTIONS.items():
        doc = inspect.getdoc(function) or ""
        yield Signature(name, inspect.unwrap(function), doc, doc)
    for name, cls in CLASSES.items():
        of_class = inspect.getdoc(cls) or ""
        for attribute in dir(cls):
            method = written(cls, attribute)
            if method is None or (attribute.startswith("_") and (attribute != "__init__" or issubclass(cls, MADE))):
                continue
            doc = inspect.cleandoc(method.__doc__ or (of_class if attribute == "__init__" else ""))
            helps = "\n".join([doc, of_class, *led_to(cls, attribute, f"{doc} {of_class}")])
            yield Signature(f"{name}.{attribute}", method, doc, helps)


def written(cls: type, attribute: str) -> Callable[..., Any] | None:
    """Return the function behind an attribute of *cls*, None where there is none, or none of this package."""
    member: Any = inspect.getattr_static(cls, attribute)
    plain: Any = getattr(member, "__func__", None) or getattr(member, "fget", None) or member
    function = inspect.unwrap(plain) if inspect.isfunction(plain) else None
    here = function is not None and function.__code__.co_filename.startswith(str(PACKAGE))
    return function if here else None


def led_to(cls: type, attribute: str, doc: str) -> Iterator[str]:
    """Yield the help that a *doc* leads to, and that of the protocol that a class keeps."""
    for led in re.findall(r"(?:see|those of|says|as in|as) `(\w+)`", doc):
        yield inspect.getdoc(getattr(cdp_orders_async, led, None)) or ""
    if issubclass(cls, Verbs):
        yield inspect.getdoc(Resources) or ""
    if issubclass(cls, (MemoryJournal, SqliteJournal)):
        yield inspect.getdoc(getattr(Journal, attribute, None)) or ""


def raises(function: Callable[..., Any]) -> bool:
    """Tell whether *function* itself raises an error, or refuses an argument."""
    code = ast.parse(textwrap.dedent(inspect.getsource(function)))
    called = {node.func.id for node in ast.walk(code) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    return bool(called & {"need", "need_method", "raise_invalid"}) or any(
        isinstance(node, ast.Raise) for node in ast.walk(code)
    )


FOUND = list(found())


def spelled(annotation: object) -> str:
    """Return an *annotation* as it is written; of a type with a rule beside it, the type."""
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def annotated() -> Iterator[tuple[str, str]]:
    """Yield each annotation of a public signature or field, and where it stands."""
    for signature in FOUND:
        for annotation in signature.function.__annotations__.values():
            yield signature.where, spelled(annotation)
    for name, cls in CLASSES.items():
        for base in cls.__mro__:
            for field, annotation in inspect.get_annotations(base).items():
                if not field.startswith("_") and base.__module__.startswith("cdp_orders_async."):
                    yield f"{name}.{field}", spelled(annotation).removeprefix("cdp_orders_async.models.common.")


def names(annotation: str) -> set[str]:
    """Return the names that stand in an annotation."""
    return {node.id for node in ast.walk(ast.parse(annotation, mode="eval")) if isinstance(node, ast.Name)}


def is_known(name: str) -> bool:
    """Tell whether a *name* is of Python, its library, or aiohttp."""
    return name in LIBRARY or any(hasattr(module, name) for module in (builtins, typing, collections.abc, aiohttp))


def test_annotations_name_what_is_public() -> None:
    """Each name in a public signature can be imported from the package, from Python or from aiohttp."""
    public = {*cdp_orders_async.__all__} | INSIDE | RULED
    missing = {
        (where, name)
        for where, text in annotated()
        for name in names(text)
        if name not in public and not is_known(name)
    }
    assert missing == set()


def test_nothing_public_is_of_any_type() -> None:
    """No public signature takes or returns what a type checker does not check."""
    assert {where for where, text in annotated() if "Any" in names(text)} - ROWS == set()
    assert {where for where, text in annotated() if re.search(r"\btyping\.Any\b", text)} - ROWS == set()


@pytest.mark.parametrize("signature", FOUND, ids=lambda signature: signature.where)
def test_help_says_how_it_is_called(signature: Signature) -> None:
    """Help begins with a sentence, and names each argument that is given by name."""
    parameters = inspect.signature(signature.function).parameters.items()
    by_name = {name for name, parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY}
    assert signature.doc.split("\n\n")[0].endswith((".", ":"))
    assert {name for name in by_name if f"*{name}*" not in signature.helps} == set()


@pytest.mark.parametrize("signature", [one for one in FOUND if raises(one.function)], ids=lambda one: one.where)
def test_help_says_that_it_raises(signature: Signature) -> None:
    """What raises something says so, in its own help or in that of its class; of resources, `Resources` says it."""
    assert re.search(r"\b([Rr]aises?|[Rr]efuses?|[Rr]efused)\b", signature.helps)


class Stranger:
    """A value of a type that nothing takes; its text may not be shown."""

    def __repr__(self) -> str:
        return "canary"


class StandIn:
    """A transport that sends nothing."""

    async def send(self, request: Request[T], /) -> T:
        """Answer with an empty object."""
        return request.read(b"{}")


REF = UUID("00000000-0000-4000-8000-000000000000")
GRAPH = OrderGraph(
    order=NewOrder(reference_id="A", ordered_at=datetime(2025, 1, 2, tzinfo=UTC), price=Decimal(1), currency_code="EUR")
)
ITEM = NewOrderItem(type="A", name="A", price=Decimal(1), currency_code="EUR", status="A")
NOWHERE = Resources(StandIn(), "https://api.test")
PLACE: Mapping[str, Any] = {"region": "eu", "client_key": "key", "api_token": "token"}
CALLS: Mapping[Callable[..., Any], Mapping[str, Any]] = {
    CdpOrders: PLACE,
    CdpOrdersV2: PLACE,
    Resources: {"transport": StandIn(), "base_url": "https://api.test"},
    ResourcesV2: {"transport": StandIn(), "base_url": "https://api.test"},
    Settings: {},
    Settings.from_env: {},
    Credentials: {"client_key": "key", "api_token": "token"},
    Session: {"base_url": "https://api.test", "credentials": Credentials("key", "token"), "settings": Settings()},
    Limiter: {"rate": 1.0},
    Limiter(1).set_rate: {"rate": 1.0},
    Limiter(1).pause_until: {"when": 1.0},
    MemoryJournal: {},
    SqliteJournal.open: {"path": "no.journal", "identity": {}},
    GraphFile: {"path": "orders.jsonl"},
    OrderGraph: {"order": GRAPH.order},
    GraphItem: {"item": ITEM},
    GraphConsumer: {"consumer": NewConsumer(first_name="Ada")},
    parse_graph: {"value": {}},
    differences: {"new": GRAPH.order, "got": Order(ref=REF)},
    assign_references: {"graph": GRAPH},
    ingest: {"client": NOWHERE, "source": []},
    ingest_one: {"client": NOWHERE, "graph": GRAPH},
    NOWHERE.orders.list: {"reference_id": "A"},
    NOWHERE.consumers.items: {"consumer": REF},
    NOWHERE.order_extensions.delete_fields: {"owner": REF, "names": ["a"]},
    ResourcesV2(StandIn(), "https://api.test").orders.get: {"ref": REF},
}
"""What users call, with arguments that are right."""
FREE = {("parse_graph", "value"), ("Session", "clock"), ("Session", "uniform"), ("Limiter", "clock")}
"""Any JSON data is a value, and is judged as such; what gives the time is for tests."""
INSTEAD = {"base_url": {"region"}, "bearer_token": {"client_key", "api_token"}, "guest_ref": {"reference_id"}}
"""What an argument stands in place of."""
RENAMED = {"session": "http_session", "limiter": "shared_limiter"}
UNNAMED = {"consumer": "ref", "guest_ref": "ref", "owner": "ref"}
"""References are told by what they are."""


def arguments() -> Iterator[tuple[Callable[..., Any], str]]:
    """Yield each argument of what users call."""
    for call in CALLS:
        for name in inspect.signature(call).parameters:
            if (call.__name__, name) not in FREE:
                yield call, name


async def called(call: Callable[..., Any], arguments: Mapping[str, Any]) -> None:
    """Call something, and wait for it where it is awaited."""
    made = call(**arguments)
    if inspect.isawaitable(made):
        await made


@pytest.mark.filterwarnings("ignore:the argument .* is now:DeprecationWarning")
@pytest.mark.parametrize(("call", "name"), list(arguments()), ids=lambda one: getattr(one, "__qualname__", one))
@pytest.mark.parametrize("given", [Stranger(), Stranger], ids=["object", "class"])
async def test_an_argument_of_another_type_is_told(call: Callable[..., Any], name: str, given: object) -> None:
    """Each argument refuses what nobody takes by its name, with the type that came and without the value."""
    arguments = {key: value for key, value in CALLS[call].items() if key not in INSTEAD.get(name, ())} | {name: given}
    with pytest.raises((TypeError, Invalid)) as caught:
        await called(call, arguments)
    said = str(caught.value)
    assert re.match(rf"(\$\.)?({name}|{RENAMED.get(name, name)}|{UNNAMED.get(name, name)})\b", said), said
    assert "Stranger" in said or isinstance(caught.value, Invalid)
    assert "canary" not in said


@pytest.mark.parametrize("name", ["settle", "drain", "deadline"])
@pytest.mark.parametrize("value", ["1", True, Decimal(1), b"1", 1j], ids=lambda one: type(one).__name__)
async def test_seconds_are_a_number(name: str, value: object) -> None:
    """Seconds are an int or a float; a bool is neither."""
    options: dict[str, Any] = {name: value}
    with pytest.raises(TypeError, match=f"^{name} must be seconds, a number(, or None)?, not {type(value).__name__}$"):
        await ingest_one(NOWHERE, GRAPH, **options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"journal": "load.journal"}, "journal must be an open Journal, such as MemoryJournal(), or None, not str"),
        (
            {"journal": SqliteJournal},
            "journal must be an open Journal, such as MemoryJournal(), or None, not the class SqliteJournal",
        ),
        ({"open_orders": 1.5}, "open_orders must be a whole number, not float"),
        ({"open_orders": True}, "open_orders must be a whole number, not bool"),
        ({"look_first": "no"}, "look_first must be True or False, not str"),
        ({"look_first": None}, "look_first must be True or False, not NoneType"),
        ({"on_existing": ["keep"]}, "on_existing must be keep, update or fail, not list"),
    ],
)
def test_options_of_a_load(options: dict[str, Any], words: str) -> None:
    """An option of another type is told before anything is read."""
    with pytest.raises(TypeError) as caught:
        ingest(NOWHERE, [], **options)
    assert str(caught.value) == words


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"settings": {}}, "settings must be Settings or None, not dict"),
        ({"shared_limiter": 5}, "shared_limiter must be a RateLimiter, which has a method acquire, not int"),
        ({"trace_configs": [5]}, "trace_configs[0] must be TraceConfig, not int"),
        (
            {"http_session": aiohttp.ClientSession},
            "http_session must be ClientSession or None, not the class ClientSession",
        ),
    ],
)
def test_options_of_a_client(given: dict[str, Any], words: str) -> None:
    """An argument of another type is told by the constructor."""
    with pytest.raises(TypeError) as caught:
        CdpOrders(**{**PLACE, **given})
    assert str(caught.value) == words
