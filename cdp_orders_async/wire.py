"""The form of things on the wire: values to JSON and back, a request as a value, an answer or an error.

Nothing here does I/O, so all of it can be tested, printed and compared.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Generic, Literal, Protocol, TypeGuard, TypeVar, Union, get_args, get_origin
from uuid import UUID

import attrs
import cattrs
import orjson
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from cdp_orders_async.errors import (
    BadRequest,
    CdpError,
    Conflict,
    Forbidden,
    NotFound,
    OutcomeUnknown,
    RateLimited,
    Refused,
    ServerError,
    Unauthorized,
    Unreadable,
)
from cdp_orders_async.models import RESERVED_KEYS, Consumer, Extension, Link, NewConsumer, camel

__all__ = [
    "Page",
    "Request",
    "Transport",
    "answer",
    "encode",
    "reads",
    "reads_nothing",
    "reads_page",
    "structure",
    "to_json",
]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

BOM = b"\xef\xbb\xbf"
START = 500  # bytes of an unreadable answer that its error keeps
WHOLE = 2**53  # below this a float holds every whole number, and JSON shows it without a fraction


@attrs.frozen
class Request(Generic[T]):
    """A request as a value: what is sent, and how its answer is read."""

    operation: str
    """Its name in the table of rows, as in ``items.create``."""
    method: str
    path: str
    """Below the base URL, with the version: ``/v2.1/orders``."""
    read: Callable[[bytes], T] = attrs.field(eq=False, repr=False)
    """Makes the result of a body; raises ValueError where it does not fit."""
    query: Mapping[str, str] = attrs.field(factory=dict[str, str], repr=False)
    body: bytes | None = attrs.field(default=None, repr=False)
    creates: bool = False
    """Whether sending it twice makes two things."""
    looked_up: bool = False
    """Whether the caller finds out by itself what became of it: then a 503 counts as unknown too."""
    stage: int = 0
    """How deep in its order it is: where connections are short, the deepest goes first."""


class Transport(Protocol):
    """Whatever can send a request: the session, or a stand-in in a test."""

    async def send(self, request: Request[T], /) -> T:
        """Send *request* and return its result, or raise a `CdpError`."""
        ...


@attrs.define
class Page(Generic[T_co]):
    """One page of a listing."""

    items: tuple[T_co, ...]
    offset: int
    """How many entries of the whole listing come before this page."""
    limit: int | None
    """The page size that the server used."""
    has_next: bool
    """Whether the server names a next page."""


def is_object(value: object) -> TypeGuard[dict[str, Any]]:
    """Tell whether JSON data is an object."""
    return isinstance(value, dict)


def is_list(value: object) -> TypeGuard[list[Any]]:
    """Tell whether JSON data is a list."""
    return isinstance(value, list)


def _camel_overrides(cls: type[Any]) -> dict[str, Any]:
    return {field.name: override(rename=camel(field.name)) for field in attrs.fields(cls)}


def _text(value: object, _: object) -> str:
    if not isinstance(value, str):
        raise TypeError("must be text")
    return value


def _whole(value: object, _: object) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != int(value):
        raise TypeError("must be an integer")
    return int(value)


def _decimal(value: object, _: object) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError("must be a number")
    return Decimal(repr(value))


def _number(value: Decimal) -> int | float:
    number = float(value)
    return int(number) if abs(number) < WHOLE and number.is_integer() else number


def _uuid(value: object, _: object) -> UUID:
    if not isinstance(value, str):
        raise TypeError("must be a UUID")
    return UUID(value)


def _moment(value: object, _: object) -> datetime:
    """Read ISO 8601; the vendor's times are UTC, with or without saying so."""
    if not isinstance(value, str):
        raise TypeError("must be a date and time")
    moment = datetime.fromisoformat(value)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _iso(value: datetime) -> str:
    moment = value.astimezone(UTC).replace(tzinfo=None)
    return moment.isoformat(timespec="milliseconds" if moment.microsecond else "seconds") + "Z"


def _open_enum(hint: object) -> bool:
    """Tell a union of literals and text: a list of known values that may grow."""
    return get_origin(hint) in {Union, types.UnionType} and any(get_origin(arg) is Literal for arg in get_args(hint))


def _open_text(value: object, _: object) -> str | None:
    return None if value is None else _text(value, str)


def _is_tuple(hint: object) -> bool:
    return get_origin(hint) is tuple


def _tuple_hook(hint: Any, converter: cattrs.Converter) -> Callable[[object, object], tuple[Any, ...]]:  # noqa: ANN401 cattrs hands out types as Any
    read_list = converter.get_structure_hook(types.GenericAlias(list, get_args(hint)[0]))

    def read(value: object, _: object) -> tuple[Any, ...]:
        if not is_list(value):
            raise TypeError("must be a list")
        return tuple(read_list(value, list))

    return read


def _item_refs(value: object, _: object) -> tuple[UUID, ...] | None:
    """Read the links of a consumer to its items; the form without items, ``{"href"}``, names none."""
    if not is_object(value) or not is_list(value.get("items")):
        return None
    links = [
        Link(href=one["href"]).ref for one in value["items"] if is_object(one) and isinstance(one.get("href"), str)
    ]
    return tuple(ref for ref in links if ref is not None)


def _with_pairs(value: dict[str, Any]) -> dict[str, Any]:
    """Put your pairs in an extension under a key of their own, apart from what the server sets."""
    pairs = {key: one for key, one in value.items() if key not in RESERVED_KEYS and isinstance(one, (str, int, float))}
    return {**{key: value[key] for key in RESERVED_KEYS & value.keys()}, "pairs": pairs}


def make_converter(*, detailed: bool) -> cattrs.Converter:
    """Make the converter of this API; *detailed* tells where an answer does not fit, at a price."""
    converter = cattrs.Converter(detailed_validation=detailed)

    def structure_attrs(cls: type[Any]) -> Callable[..., Any]:
        overrides = _camel_overrides(cls)
        if cls is Consumer or cls is NewConsumer:
            overrides["order_items"] = override(rename="orderItems", struct_hook=_item_refs)
        if cls is Extension:
            overrides["pairs"] = override(struct_hook=lambda pairs, _: pairs)
        read = make_dict_structure_fn(cls, converter, **overrides)

        def hook(value: object, _: object) -> object:
            if not is_object(value):
                raise TypeError("must be an object")
            return read(_with_pairs(value) if cls is Extension else value, cls)

        return hook

    def unstructure_attrs(cls: type[Any]) -> Callable[..., Any]:
        write = make_dict_unstructure_fn(cls, converter, _cattrs_omit_if_default=True, **_camel_overrides(cls))
        if cls is not Extension:
            return write

        def flat(value: Extension) -> dict[str, Any]:
            plain: dict[str, Any] = write(value)
            plain.update(plain.pop("pairs", {}))
            return plain

        return flat

    converter.register_structure_hook_factory(attrs.has, structure_attrs)
    converter.register_unstructure_hook_factory(attrs.has, unstructure_attrs)
    converter.register_structure_hook_factory(_is_tuple, _tuple_hook)
    converter.register_structure_hook_func(_open_enum, _open_text)
    converter.register_structure_hook(str, _text)
    converter.register_structure_hook(int, _whole)
    converter.register_structure_hook(Decimal, _decimal)
    converter.register_structure_hook(UUID, _uuid)
    converter.register_structure_hook(datetime, _moment)
    converter.register_unstructure_hook(Decimal, _number)
    converter.register_unstructure_hook(UUID, str)
    converter.register_unstructure_hook(datetime, _iso)
    return converter


@functools.cache
def _converter(*, detailed: bool = False) -> cattrs.Converter:
    return make_converter(detailed=detailed)


def to_json(value: object) -> dict[str, Any]:
    """Return *value* as JSON has it: a model, or a mapping of changes with snake_case keys."""
    converter = _converter()
    if is_object(value):
        return {camel(key): converter.unstructure(one) for key, one in value.items()}
    plain: dict[str, Any] = converter.unstructure(value)
    return plain


def encode(value: object) -> bytes:
    """Return JSON data as the bytes of a body."""
    return orjson.dumps(value)


def structure(value: object, model: type[T], at: str = "$") -> T:
    """Make a *model* of the JSON data at the path *at*; raise ValueError with a line per misfit, ``rule @ $.path``."""
    try:
        return _converter().structure(value, model)
    except Exception:  # noqa: BLE001 whatever a hook raised, the detailed pass says what and where
        try:
            return _converter(detailed=True).structure(value, model)
        except Exception as error:  # noqa: BLE001 the same
            misfits = cattrs.transform_error(error, at, format_exception=_in_words)
    raise ValueError(*map(camel, misfits))  # with no cause, because that would show the values


def _in_words(error: BaseException, _: type | None) -> str:
    return (
        "is required"
        if isinstance(error, KeyError)
        else str(error)
        if isinstance(error, TypeError)
        else "has the wrong form"
    )


def _load(body: bytes) -> Any:  # noqa: ANN401 JSON can be anything
    return orjson.loads(body.removeprefix(BOM))


def reads(model: type[T]) -> Callable[[bytes], T]:
    """Return the reader of a body that holds one *model*."""

    def read(body: bytes) -> T:
        return structure(_load(body), model)

    return read


def reads_page(model: type[T]) -> Callable[[bytes], Page[T]]:
    """Return the reader of a body that holds a page of *model*.

    An entry that is not expanded holds only ``href``; its ref is the last segment of that.
    """

    def read(body: bytes) -> Page[T]:
        page = _load(body)
        entries: object = page.get("items") if is_object(page) else None
        if entries is None and is_object(page) and "offset" in page:  # a page with nothing on it
            entries = []
        if not is_list(entries):
            raise ValueError("must be a page with a list @ $.items")
        items = tuple(structure(_with_ref(entry), model, f"$.items[{n}]") for n, entry in enumerate(entries))
        offset, limit = (number if isinstance(number := page.get(key), int) else None for key in ("offset", "limit"))
        return Page(items, offset or 0, limit, has_next=is_object(page.get("next")))

    return read


def _with_ref(entry: object) -> object:
    if is_object(entry) and entry.get("ref") is None and isinstance(href := entry.get("href"), str):
        ref = Link(href=href).ref
        return entry if ref is None else {**entry, "ref": str(ref)}
    return entry


def reads_nothing(body: bytes) -> None:
    """Read the answer to a deletion: empty, or any JSON; a proxy's page is neither."""
    if body.strip():
        _load(body)


BY_STATUS: Mapping[int, type[Refused]] = {
    400: BadRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    429: RateLimited,
}


def answer(request: Request[T], status: int, body: bytes, retry_after: float | None = None) -> T:
    """Return the result that an answer holds, or raise the error that it is.

    A server error to a create is `OutcomeUnknown`: the vendor gives no idempotency key, so nobody can
    tell whether it was done. The exception is 503, which the platform documents as "try again".
    """
    if 200 <= status < 300:  # noqa: PLR2004 success, in all its forms: the vendor's pages disagree which
        try:
            return request.read(body)
        except ValueError as error:
            raise Unreadable(request.method, request.path, status, tuple(map(str, error.args)), body[:START]) from None
    refusal = _refusal(request, status, body, retry_after)
    if request.creates and isinstance(refusal, ServerError) and (status != 503 or request.looked_up):  # noqa: PLR2004 HTTP
        unknown: CdpError = OutcomeUnknown(f"{refusal}; it may have been done")
        raise unknown from refusal
    raise refusal


def _refusal(request: Request[T], status: int, body: bytes, retry_after: float | None) -> Refused:
    try:
        envelope = _load(body)
    except ValueError:
        envelope = None
    if not is_object(envelope):
        envelope = {}

    def words(*keys: str) -> str | None:
        return next((found for key in keys if isinstance(found := envelope.get(key), str)), None)

    code = envelope.get("code")
    cls = BY_STATUS.get(status) or (ServerError if status >= 500 else Refused)  # noqa: PLR2004 HTTP
    return cls(
        request.method,
        request.path,
        status,
        code if isinstance(code, int) else None,
        words("message"),
        words("developerMessage"),
        words("moreInfoUrl", "moreInfo"),
        retry_after,
    )
