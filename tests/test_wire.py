"""Bodies to values and answers to errors: what fits, what does not, and how far it got."""

from __future__ import annotations

import copy
import pickle
import traceback
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest

from cdp_orders_async import (
    BadRequest,
    CdpError,
    Conflict,
    Consumer,
    Contact,
    DeadlineExceeded,
    Delivery,
    Extension,
    Forbidden,
    Identifier,
    InputError,
    Invalid,
    JournalError,
    NotFound,
    NotSent,
    Order,
    OrderItem,
    OutcomeUnknown,
    PoolTimeout,
    RateLimited,
    Refused,
    Request,
    ServerError,
    Unauthorized,
    Unreadable,
    Violation,
)
from cdp_orders_async.wire import (
    MOMENT_RULE,
    encode,
    parse_response,
    reads,
    reads_nothing,
    reads_page,
    structure,
    to_json,
)
from cdp_orders_async.wire.codec import UUID_RULE
from tests import values

EXAMPLES = Path(__file__).parent / "data" / "examples"
REF = "2d7de9df-45a2-45ea-872c-30e45139007d"
HREF = f"https://host/v2.1/orderItems/{REF}"
HTML = b"<!DOCTYPE html><html><body><h1>Ada Lovelace, 1815</h1></body></html>"
BOM = b"\xef\xbb\xbf"


def request(read: Callable[[bytes], object] | None = None, *, creates: bool = False) -> Request[object]:
    """Return a request whose answer is read with *read*, else as a contact."""
    return Request(
        "contacts.create",
        "POST",
        "/v2.1/orders/x/contacts",
        read or reads(Contact),
        {"guestRef": "Ada"},
        b"Ada",
        creates=creates,
    )


def fails(status: int, body: bytes, *, creates: bool = False) -> CdpError:
    """Return the error that an answer is."""
    with pytest.raises(CdpError) as caught:
        parse_response(request(creates=creates), status, body)
    return caught.value


@pytest.mark.parametrize("prefix", [b"", BOM, b" \r\n"])
def test_unknown_keys_and_values_are_no_error(prefix: bytes) -> None:
    """What the server adds is ignored, a value that nobody knew is kept as text, and null is None."""
    body = prefix + encode(
        {"ref": REF, "status": "TELEPORTED", "channel": None, "price": 1.5, "contacts": {"href": "x"}, "new": ["x"]}
    )
    assert reads(Order)(body) == Order(ref=UUID(REF), status="TELEPORTED", price=Decimal("1.5"))


def test_extension_keeps_pairs_apart() -> None:
    """The server's keys of an extension are fields, all others are pairs, and what is no pair is left out."""
    kept = {
        "name": "ext",
        "key": "default",
        "ref": REF,
        "href": HREF,
        "createdAt": "2024-01-01T16:17:16Z",
        "modifiedAt": None,
        "order": {"href": HREF},
        "count": 0,
        "off": False,
        "gone": None,
        "nested": {},
    }
    assert reads(Extension)(encode(kept)) == Extension(
        ref=UUID(REF), href=HREF, created_at=values.NOW, name="ext", key="default", pairs={"count": 0, "off": False}
    )


def test_consumer_names_its_items() -> None:
    """The links to items are read as refs; a bare link, or an entry that is no link to an item, names none."""
    links = [{"href": HREF}, {"href": "https://host/x"}, {}, "x"]
    read = reads(Consumer)
    assert read(encode({"ref": REF, "orderItems": {"items": links}})).order_items == (UUID(REF),)
    assert read(encode({"ref": REF, "orderItems": {"href": HREF}})).order_items is None
    assert read(encode({"ref": REF, "orderItems": None})).order_items is None


@pytest.mark.parametrize(
    ("model", "value", "misfits"),
    [
        (Order, {}, ["is required @ $.ref"]),
        (Order, {"ref": None}, [f"{UUID_RULE} @ $.ref"]),
        (Order, {"ref": "1815"}, [f"{UUID_RULE} @ $.ref"]),
        (
            Order,
            {"ref": REF, "price": "1815", "status": 1815},
            ["must be text @ $.status", "must be a number @ $.price"],
        ),
        (Order, {"ref": REF, "price": True}, ["must be a number @ $.price"]),
        (Order, {"ref": REF, "referenceId": 1815}, ["must be text @ $.referenceId"]),
        (Order, {"ref": REF, "orderedAt": "1815-13-01"}, [f"{MOMENT_RULE} @ $.orderedAt"]),
        (Order, {"ref": REF, "orderedAt": 1815}, [f"{MOMENT_RULE} @ $.orderedAt"]),
        (Order, {"ref": REF, "orderedAt": "0001-01-01T00:00:00+01:00"}, [f"{MOMENT_RULE} @ $.orderedAt"]),
        (OrderItem, {"ref": REF, "quantity": 1.5}, ["must be an integer @ $.quantity"]),
        (OrderItem, {"ref": REF, "quantity": True}, ["must be an integer @ $.quantity"]),
        (OrderItem, {"ref": REF, "order": HREF}, ["must be an object @ $.order"]),
        (OrderItem, {"ref": REF, "order": {}}, ["is required @ $.order.href"]),
        (Contact, {"ref": REF, "emails": "Ada"}, ["must be a list @ $.emails"]),
        (Contact, {"ref": REF, "emails": ["Ada", 1815]}, ["must be text @ $.emails[1]"]),
        (Contact, {"ref": REF, "identifiers": [{"id": "Ada"}]}, ["is required @ $.identifiers[0].provider"]),
        (Contact, {"ref": REF, "identifiers": ["Ada"]}, ["must be an object @ $.identifiers[0]"]),
        (Extension, {"ref": "1815", "who": "Ada"}, [f"{UUID_RULE} @ $.ref"]),
        (Extension, {"createdAt": 1815}, [f"{MOMENT_RULE} @ $.createdAt"]),
        (Extension, ["Ada"], ["must be an object @ $"]),
        (Contact, "Ada", ["must be an object @ $"]),
        (Contact, None, ["must be an object @ $"]),
    ],
)
def test_misfits_are_named(model: type[object], value: object, misfits: list[str]) -> None:
    """What does not fit is told with its path, all of it and without its value, also in a traceback."""
    with pytest.raises(Unreadable) as caught:
        parse_response(request(reads(model)), 200, encode(value))
    assert sorted(caught.value.problems) == sorted(misfits)
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert [secret for secret in values.SECRETS if secret in shown] == []


def test_path_begins_where_it_is_told_to() -> None:
    """A value that is part of another is told with its path in that."""
    value = {"provider": 1815, "id": "x"}
    with pytest.raises(ValueError, match=r"^must be text @ \$\.a\[3\]\.provider$") as caught:
        structure(value, Identifier, "$.a[3]")
    assert "1815" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("body", [b"", b" ", HTML, BOM + HTML, b'{"ref":', b"[" * 2000, b"NaN", b"\xff"])
@pytest.mark.parametrize("read", [reads(Contact), reads(Extension), reads_page(Contact)])
def test_body_that_is_no_json(read: Callable[[bytes], object], body: bytes) -> None:
    """A body that is no JSON, such as a proxy's page with status 200, is unreadable and not shown."""
    with pytest.raises(Unreadable) as caught:
        parse_response(request(read), 200, body)
    error = caught.value
    assert (error.delivery, error.status, error.start) == (Delivery.DONE_UNREADABLE, 200, body[:500])
    shown = "".join(traceback.format_exception(error)) + repr(error)
    assert [secret for secret in values.SECRETS if secret in shown] == []


@pytest.mark.parametrize("body", [b"", b"\r\n", b"{}", b"null"])
@pytest.mark.parametrize("status", [200, 204])
def test_deletion_needs_no_body(status: int, body: bytes) -> None:
    """A deletion is done with 200 and with 204, with and without JSON."""
    parse_response(request(reads_nothing), status, body)


@pytest.mark.parametrize("body", [HTML, b'{"message":"OK"}', b'{"status":"queued"}', b'["OK"]', b'"OK"', b"true"])
def test_deletion_answered_by_a_proxy(body: bytes) -> None:
    """A proxy's page or JSON with a status of success does not say that something was deleted."""
    with pytest.raises(Unreadable):
        parse_response(request(reads_nothing), 200, body)


def test_page_of_whole_entries() -> None:
    """A page has its entries, where it stands, and whether another follows."""
    item = (EXAMPLES / "order-item-response.json").read_bytes()
    listed = (EXAMPLES / "order-item-list-response.json").read_bytes()
    page = reads_page(OrderItem)(listed.replace(b"{}", item))
    assert page.items == (reads(OrderItem)(item),)
    assert (page.offset, page.limit, page.has_next) == (0, 10, True)
    with pytest.raises(ValueError, match=r"^is required @ \$\.items\[0\]\.ref$"):
        reads_page(OrderItem)(listed)


def test_page_of_links() -> None:
    """An entry that is not expanded gets its ref from its link, wherever it has none of its own."""
    other = HREF.replace("2d7d", "0000")
    listed: list[object] = [{"href": HREF}, {"href": HREF, "ref": None}, {"href": HREF, "ref": other[-36:]}]
    page = reads_page(OrderItem)(encode({"items": listed, "offset": 7, "next": None}))
    refs = [UUID(REF), UUID(REF), UUID(other[-36:])]
    assert page.items == tuple(OrderItem(ref=ref, href=HREF) for ref in refs)
    assert (page.offset, page.limit, page.has_next) == (7, None, False)
    href = "https://host/v2.1/orders/x/extensions/ext"
    assert reads_page(Extension)(encode({"items": [{"href": href}]})).items == (Extension(href=href),)


@pytest.mark.parametrize("body", [{"offset": 0, "limit": 9}, {"offset": 0, "limit": 9, "items": None}, {"items": []}])
def test_page_with_nothing_on_it(body: object) -> None:
    """An empty page may leave its list out."""
    assert reads_page(OrderItem)(encode(body)).items == ()


@pytest.mark.parametrize(
    "body", [{}, {"offset": 0}, {"message": "down"}, [], {"offset": 0, "limit": 9, "items": {}}, {"items": "x"}, None]
)
def test_what_is_no_page_is_not_an_empty_one(body: object) -> None:
    """Something else with status 200 never says that nothing is there."""
    with pytest.raises(ValueError, match=r"^must be a page with a list @ \$\.items$"):
        reads_page(OrderItem)(encode(body))


def test_changes_become_json() -> None:
    """Changes have the names and forms of the wire, at every depth."""
    changes = {"first_name": "Ada", "date_of_birth": values.NOW, "identifiers": (values.IDENTIFIER,)}
    assert to_json(changes) == {
        "firstName": "Ada",
        "dateOfBirth": "2024-01-01T16:17:16Z",
        "identifiers": [{"provider": "CRM", "id": "B7524AE6", "expiryDate": "1815-12-11T00:00:00Z"}],
    }


CLASSES = {400: BadRequest, 401: Unauthorized, 403: Forbidden, 404: NotFound, 409: Conflict, 429: RateLimited}


@pytest.mark.parametrize("creates", [False, True])
@pytest.mark.parametrize("status", [302, 304, *CLASSES, 405, 415, 422, 500, 502, 503, 504, 599])
def test_status_decides_the_error(status: int, *, creates: bool) -> None:
    """A refusal says that nothing was done; after a server error, or a page of a gateway, to a create nobody knows."""
    error = fails(status, HTML, creates=creates)
    if status < 500:
        is_known = not creates or status in {401, 403, 415, 429}  # a gateway refuses so before it passes a request on
        delivery = Delivery.REFUSED if is_known else Delivery.UNKNOWN
        assert (type(error), error.delivery) == (CLASSES.get(status, Refused), delivery)
    elif creates:
        assert (type(error), error.delivery) == (OutcomeUnknown, Delivery.UNKNOWN)
        assert isinstance(error.__cause__, ServerError)
        error = error.__cause__
    else:
        assert (type(error), error.delivery) == (ServerError, Delivery.UNKNOWN)
    assert isinstance(error, Refused)
    assert (error.method, error.path, error.status) == ("POST", "/v2.1/orders/x/contacts", status)


@pytest.mark.parametrize("status", [400, 404, 409, 422])
@pytest.mark.parametrize("creates", [True, False])
def test_the_api_knows_what_it_refused(status: int, creates: bool) -> None:  # noqa: FBT001 a parameter of the test
    """A refusal in the form of the API says that nothing was done; only 409 may refuse the second of two creates."""
    error = fails(status, encode({"status": status, "code": 1, "message": "no"}), creates=creates)
    delivery = Delivery.UNKNOWN if creates and status == 409 else Delivery.REFUSED
    assert (type(error), error.delivery) == (CLASSES.get(status, Refused), delivery)


@pytest.mark.parametrize("status", [200, 201, 202])
def test_every_success_is_one(status: int) -> None:
    """The vendor's pages disagree which success it is, so any of them is."""
    assert parse_response(request(), status, encode({"ref": REF})) == Contact(ref=UUID(REF))


def test_vendors_refusal() -> None:
    """In a 401 the vendor's ``status`` is text, and the number comes from the status line."""
    error = fails(401, (EXAMPLES / "unauthorized-response.json").read_bytes())
    assert isinstance(error, Unauthorized)
    assert (error.status, error.code, error.developer_message) == (401, 401, None)
    assert error.more_info_url == "https://support.sitecore.com"
    assert str(error) == (
        "POST /v2.1/orders/x/contacts: 401 Authentication credentials are required to access the resource. "
        "All requests must be authenticated."
    )


@pytest.mark.parametrize(
    ("envelope", "read"),
    [
        (
            {"status": 400, "code": 12, "message": "no", "developerMessage": "not known", "moreInfoUrl": "url"},
            (12, "no", "not known", "url"),
        ),
        ({"message": "no", "moreInfo": "url"}, (None, "no", None, "url")),
        ({"code": "12", "message": {"text": "no"}}, (None, None, None, None)),
        ({"code": 353870000000, "message": ""}, (None, "", None, None)),
        ({}, (None, None, None, None)),
        ([], (None, None, None, None)),
    ],
)
def test_envelopes(envelope: object, read: object) -> None:
    """Whatever an error's body holds, what can be read of it is kept."""
    error = fails(400, BOM + encode(envelope))
    assert isinstance(error, BadRequest)
    assert (error.code, error.message, error.developer_message, error.more_info_url) == read


@pytest.mark.parametrize(
    ("envelope", "from_api"),
    [
        ({"status": 404, "code": 404, "message": "no", "developerMessage": "no", "moreInfoUrl": "url"}, True),
        ({"status": "NOT_FOUND", "code": 404, "message": "no"}, True),
        ({"code": 7, "message": "no", "moreInfo": "url"}, True),
        ({"status": 404, "code": 7, "message": "no"}, True),
        ({"message": "no Route matched with those values"}, False),
        ({"message": "Not Found", "request_id": "7"}, False),
        ({"statusCode": 404, "message": "Resource not found"}, False),
        ({"timestamp": "2024", "status": 404, "error": "Not Found", "message": "", "path": "/"}, False),
        ({"type": "about:blank", "title": "Not Found", "status": 404, "detail": "no"}, False),
        ({"code": 5, "message": "Not Found", "details": []}, False),
        ({"error": {"code": 404, "message": "Not Found"}}, False),
        ({"code": 404}, False),
        ({}, False),
        ([], False),
        ("Not Found", False),
    ],
)
def test_only_the_envelope_of_the_api_is_the_word_of_the_api(envelope: object, *, from_api: bool) -> None:
    """Gateways answer with JSON too, each with its own: that does not say what the API has."""
    error = fails(404, encode(envelope))
    assert isinstance(error, NotFound)
    assert error.from_api is from_api


def test_retry_after_is_kept() -> None:
    """The time that the server asked to wait is on the error."""
    with pytest.raises(RateLimited) as caught:
        parse_response(request(), 429, b"", 2.5)
    assert caught.value.retry_after == 2.5


REFUSED = ("PUT", "/v2.1/orders/x", 400, 12, "message", "developer", "url", 2.5)


@pytest.mark.parametrize(
    "error",
    [
        Invalid((Violation("$.price", "is required"),)),
        NotSent("why"),
        PoolTimeout("why"),
        OutcomeUnknown("why"),
        DeadlineExceeded("why"),
        InputError("why"),
        JournalError("why"),
        *(cls(*REFUSED) for cls in (*CLASSES.values(), Refused, ServerError)),
        Unreadable("GET", "/v2.1/orders/x", 200, ("must be text @ $.status",), cut=True),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_survive_pickling(error: CdpError) -> None:
    """An error comes out of another process with all that it knew."""
    error.delivery, error.attempts, error.request_id, error.offset = Delivery.NOT_SENT, 3, "abc-1", 200
    for got in (pickle.loads(pickle.dumps(error)), copy.copy(error)):  # noqa: S301 our own bytes
        assert type(got) is type(error)
        assert (str(got), got.args, vars(got)) == (str(error), error.args, vars(error))
        assert vars(got).keys() >= {"delivery", "attempts", "request_id", "offset"}


def test_unreadable_keeps_the_start_to_itself() -> None:
    """The start of a body that does not fit is kept, but not shown, and a pickle leaves it behind."""
    error = Unreadable("GET", "/x", 200, ("why",), b"Ada", cut=True)
    assert error.start == b"Ada"
    assert "Ada" not in f"{error} {error!r}"
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 our own bytes
    assert (again.start, again.cut, str(again)) == (b"", True, str(error))


def test_request_is_a_value_without_secrets() -> None:
    """Equal requests are equal, whoever reads their answers, and their text shows neither query nor body."""
    assert request() == request(reads(Order))
    assert request() != request(creates=True)
    assert request().with_query({}) != request()
    assert "Ada" not in repr(request())
