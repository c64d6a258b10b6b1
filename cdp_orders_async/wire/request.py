"""A request as a value, and its answer as a result or an error."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from http import HTTPStatus
from types import MappingProxyType
from typing import Generic, Literal, NoReturn, Protocol, TypeVar, get_args, get_origin

import attrs
from msgspec import Struct

from cdp_orders_async import models
from cdp_orders_async.errors import (
    BadRequest,
    CdpError,
    Conflict,
    Delivery,
    Forbidden,
    NotFound,
    OutcomeUnknown,
    RateLimited,
    Refused,
    ServerError,
    Unauthorized,
    Unreadable,
)
from cdp_orders_async.models.common import RESERVED_KEYS, camel
from cdp_orders_async.redact import NO_SECRETS, Secrets, collect_words, mask_unknown_words
from cdp_orders_async.wire.codec import is_list, is_object, load
from cdp_orders_async.wire.direct import decode, decode_page

__all__ = [
    "NO_QUERY",
    "Page",
    "Request",
    "Transport",
    "masked_message",
    "parse_response",
    "reads",
    "reads_nothing",
    "reads_page",
    "sent_words",
]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

NO_QUERY: Mapping[str, str] = MappingProxyType({})
"""The query of a request without a query."""
KEPT_BYTES = 500  # bytes of an unreadable answer that its error keeps
KEPT_TEXT = 1000  # characters of each text of a refusal that its error keeps
LARGEST_CODE = 100_000  # a larger number may be personal
PERSONAL = ("contacts.", "consumers.", "order_extensions.", "item_extensions.")
"""The operations whose bodies may hold personal data."""


class Request(Generic[T]):  # noqa: PLW1641 a query has no hash
    """A request as a value, with the reader of its answer.

    Parameters: *operation*, its name in the table of routes, as in ``items.create``; *path*, below the base URL, with
    the version: ``/v2.1/orders``; *read*, which makes the result from a body, and raises ValueError if it does not fit;
    *creates*, whether it makes two objects if it is sent twice; *raw_query*, a query of the server's own making, which
    is sent byte for byte, in place of *query*.

    It is not a struct, so that no tool shows its fields: no text of it has a query or *body*, and it cannot be pickled.
    """

    __slots__ = ("body", "creates", "method", "operation", "path", "query", "raw_query", "read")

    def __init__(
        self,
        operation: str,
        method: str,
        path: str,
        read: Callable[[bytes], T],
        query: Mapping[str, str] = NO_QUERY,
        body: bytes | None = None,
        creates: bool = False,  # noqa: FBT001, FBT002 by position, which is faster
        raw_query: str = "",
    ) -> None:
        self.operation = operation
        self.method = method
        self.path = path
        self.read = read
        self.query = query
        self.body = body
        self.creates = creates
        self.raw_query = raw_query

    def with_query(self, query: Mapping[str, str]) -> Request[T]:
        """Return the same request with another *query*."""
        return Request(self.operation, self.method, self.path, self.read, query, self.body, self.creates)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Request) and all(
            getattr(self, name) == getattr(other, name)  # pyright: ignore[reportUnknownArgumentType] of any result
            for name in Request.__slots__
            if name != "read"
        )

    def __repr__(self) -> str:
        return f"<Request {self.operation}: {self.method} {self.path}>"  # neither query nor body

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled: a file or a queue would show the body."""
        raise TypeError("a request cannot be pickled: it holds personal data")


class Transport(Protocol):
    """An object that can send a request: the session, or a stand-in in a test."""

    async def send(self, request: Request[T], /) -> T:
        """Send *request* and return its result, or raise a `CdpError`."""
        ...


class Page(Struct, Generic[T_co]):
    """One page of a listing."""

    items: tuple[T_co, ...]
    offset: int
    """The number of entries of the listing before this page."""
    limit: int | None
    """The page size that the server used."""
    has_next: bool
    """Whether the server names a next page; version 2 names none: there, whether a next page may exist."""


def reads(model: type[T]) -> Callable[[bytes], T]:
    """Return the reader of a body that holds one *model*."""
    return partial(decode, model=model)


def reads_page(model: type[T], *, asked: int | None = None) -> Callable[[bytes], Page[T]]:
    """Return the reader of a body that holds a page of *model*.

    Parameters: *asked*, the page size of the request, if no page names the next one. Then a page is certainly the last
    only if it is empty, or if the server says a limit below *asked* and the page is shorter than that: a server that
    repeats the limit of the request may still serve fewer entries.
    """

    def read(body: bytes) -> Page[T]:
        page = decode_page(body, model)
        offset, limit = (number if isinstance(number, int) else None for number in (page.offset, page.limit))
        length = len(page.items)
        unsure = asked is not None and length > 0 and not length < (limit or 0) < asked
        return Page(page.items, offset or 0, limit, has_next=unsure or is_object(page.next))

    return read


def reads_nothing(body: bytes) -> None:
    """Read the answer to a deletion, which is empty or of the API; what a proxy says is neither."""
    if body.strip():
        data: object = load(body)
        if data and not (is_object(data) and not data.keys().isdisjoint(KEYS_OF_ANSWERS)):
            raise ValueError("must be empty, or a resource @ $")


BY_STATUS: Mapping[int, type[Refused]] = {
    400: BadRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    429: RateLimited,
}


KEYS_OF_ANSWERS = frozenset({"ref", "href", "items"})
"""Each answer of the API with a resource or a list has some of these keys."""
KEYS_OF_ERRORS = frozenset({"developerMessage", "moreInfoUrl", "moreInfo"})
"""Each error of the API has some of these keys, beside a message and a code, which is the status."""
REFUSED_ON_THE_WAY = frozenset({401, 403, 407, 411, 413, 414, 415, 417, 429, 431, 451})
"""Statuses by which a gateway refuses a request before it passes it on."""

MAYBE_DONE_BEFORE: frozenset[int] = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT})
"""Statuses of a create that may have been done: it came too late, or it was passed on twice, and this refuses the
second time."""


def parse_response(
    request: Request[T], status: int, body: bytes, retry_after: float | None = None, secrets: Secrets = NO_SECRETS
) -> T:
    """Return the result of an answer, or raise its error, without the *secrets* of the client.

    A server error after a create is `OutcomeUnknown`: the vendor has no idempotency key, so it is not known whether it
    was done. The same holds for 303, which points to the result, and for the *delivery* of 408 and 409, and of a
    refusal by a gateway that got no good answer from the API, or got it too late.
    """
    if 200 <= status < 300:  # noqa: PLR2004 success, in all its forms: the vendor's pages disagree which
        try:
            return request.read(body)
        except ValueError as error:
            raise _unreadable(request, status, body, tuple(map(str, error.args)), secrets) from None
    refusal = _refusal(request, status, body, retry_after, secrets)
    if request.creates and (status == 303 or isinstance(refusal, ServerError)):  # noqa: PLR2004 HTTP
        unknown: CdpError = OutcomeUnknown(f"{refusal}; it may have been done")
        raise unknown from refusal
    if request.creates and (is_of_a_gateway(refusal) or status in MAYBE_DONE_BEFORE):
        refusal.delivery = Delivery.UNKNOWN
    raise refusal


def is_of_a_gateway(refusal: Refused) -> bool:
    """Tell whether a gateway answered, and not the API: the API may have done what was asked all the same.

    A gateway that got no good answer from the API, or got it too late, sends a page or a redirect of its own.
    """
    is_redirect = 300 <= refusal.status < 400  # noqa: PLR2004 HTTP
    return is_redirect or (not refusal.from_api and refusal.status not in REFUSED_ON_THE_WAY)


def _unreadable(
    request: Request[T], status: int, body: bytes, problems: tuple[str, ...], secrets: Secrets
) -> Unreadable:
    # An empty answer to a read broke off: it has no content that does not fit.
    cut = not body.strip() and not request.creates
    error = Unreadable(request.method, request.path, status, problems, secrets.start(body, KEPT_BYTES), cut=cut)
    data = _data(body)
    error.from_api = is_object(data) and not data.keys().isdisjoint(KEYS_OF_ANSWERS)
    return error


def _data(body: bytes) -> object:
    """Return the JSON data of a body, None if it is not JSON."""
    try:
        data: object = load(body)
    except ValueError:
        return None
    return data


def _refusal(request: Request[T], status: int, body: bytes, retry_after: float | None, secrets: Secrets) -> Refused:
    envelope = _data(body)
    from_api = is_object(envelope) and _is_of_the_api(envelope, status)
    if not is_object(envelope):
        envelope = {}
    personal = request.body is not None and request.operation.startswith(PERSONAL)
    sent = sent_words(_data(request.body)) if request.body and personal else frozenset[str]()

    def words(*keys: str) -> str | None:
        found = next((found for key in keys if isinstance(found := envelope.get(key), str)), None)
        return found and masked_message(found, secrets, {str(status)}, sent)

    code = envelope.get("code")
    # No answer has a status below 200: the server broke the protocol, and it is not known what it did.
    cls = BY_STATUS.get(status) or (Refused if 300 <= status < 500 else ServerError)  # noqa: PLR2004 HTTP
    refusal = cls(
        request.method,
        request.path,
        status,
        code if isinstance(code, int) and 0 <= code < LARGEST_CODE else None,
        words("message"),
        words("developerMessage"),
        words("moreInfoUrl", "moreInfo"),
        retry_after,
    )
    refusal.from_api = from_api
    refusal.start = secrets.start(body, KEPT_BYTES)
    return refusal


def _is_of_the_api(envelope: Mapping[str, object], status: int) -> bool:
    """Tell whether the JSON of an error is the API's own: many gateways answer with JSON too, of other forms."""
    if not envelope:  # nothing tells who sent it, and an absence must be the word of the API
        return status != HTTPStatus.NOT_FOUND
    code = envelope.get("code")
    is_coded = code == status or (isinstance(code, int) and "status" in envelope)
    has_key = is_coded or not envelope.keys().isdisjoint(KEYS_OF_ERRORS)
    return has_key and isinstance(envelope.get("message"), str)


def masked_message(
    text: str, secrets: Secrets, known: Collection[str] = (), sent: Collection[str] = frozenset()
) -> str:
    """Return what a server says of a request, without *secrets* and without words that may belong to a person.

    Parameters: *known*, further words that stay; *sent*, words in lower case that were sent in personal values.
    """
    names = _words_of_the_api().union(known)
    return mask_unknown_words(secrets.masked(text[: 3 * KEPT_TEXT]), KEPT_TEXT, known=names, sent=sent)


@functools.cache
def _words_of_the_api() -> frozenset[str]:
    """Return the names of the fields of the API, and the words that it lists, except those about a person."""
    known = [getattr(models, name) for name in models.__all__ if name != "Gender"]
    names = (camel(field.name) for model in known if attrs.has(model) for field in attrs.fields(model))
    words = (word for words in known if get_origin(words) is Literal for word in get_args(words))
    return frozenset([*names, *RESERVED_KEYS, *words])


def sent_words(data: object) -> frozenset[str]:
    """Return the words of all texts in JSON *data* that was sent about people, for `masked_message`."""
    return collect_words(_texts(data))


def _texts(value: object) -> Iterator[str]:
    """Yield each text in JSON data."""
    if is_object(value):
        value = list(value.values())
    if is_list(value):
        for inner in value:
            yield from _texts(inner)
    elif isinstance(value, str):
        yield value
