"""What must be nowhere, and where to look for it."""

from __future__ import annotations

import base64
import logging
import pickle
import traceback
from collections.abc import Awaitable, Callable, Mapping
from uuid import UUID

from cdp_orders_async import CdpError, CdpOrders, ExtensionValue, Identifier, NewConsumer, NewContact, Settings
from cdp_orders_async.wire import to_json
from tests.values import NOW
from tests.ways import over

TOKEN = "canary-token"  # noqa: S105 it guards an emulator
SECRETS = ("canary", base64.b64encode(f"key:{TOKEN}".encode()).decode(), "1815-01", "(1815, 1", "18150101")
"""The token, alone and in the header; how every text of the person below begins; the dates, as text and in a repr."""
BORN = NOW.replace(year=1815)
PERSON = NewContact(
    title="canary-title",
    first_name="canary-first",
    last_name="canary-last",
    gender="female",
    date_of_birth=BORN,
    emails=("canary@example.com",),
    phone_numbers=("canary-phone",),
    nationality="canary-nation",
    passport_number="canary-passport",
    passport_expiry=BORN,
    identifiers=(Identifier(provider="CRM", id="canary-id", expiry_date=BORN),),
    street=("canary-street",),
    city="canary-city",
    state="canary-state",
    post_code="canary-code",
    country="IE",
)
WHOLE = {
    "referenceId": "A-1",
    "orderedAt": "2024-01-01T16:17:16Z",
    "price": 50,
    "currencyCode": "EUR",
    "contact": to_json(PERSON),
    "orderItems": [
        {
            "type": "MOBILE",
            "name": "AZ10",
            "price": 50,
            "currencyCode": "EUR",
            "status": "CONFIRMED",
            "referenceId": "I-1",
            "extensions": [{"wish": "canary-wish"}],
        }
    ],
    "consumers": [{"firstName": "canary-one", "orderItems": [{"referenceId": "I-1"}]}],
    "extensions": [{"note": "canary-note", "born": 18150101}],
}
"""An order with people in it, as JSON has it."""
WHOLE_V2 = {
    "referenceId": "A-1",
    "orderedAt": "2024-01-01T16:17:16Z",
    "price": 50,
    "currencyCode": "EUR",
    "pointOfSale": "home",
    "extensions": [{"note": "canary-note"}],
    "contact": {"firstName": "canary-one", "lastName": "canary-two", "emails": ["canary@example.com"]},
    "orderItems": [
        {
            "type": "OTHER",
            "name": "AZ10",
            "price": 50,
            "currencyCode": "EUR",
            "status": "CONFIRMED",
            "referenceId": "I-1",
            "productId": "P-1",
        }
    ],
    "consumers": [{"firstName": "canary-one", "lastName": "canary-two", "orderItems": [{"referenceId": "I-1"}]}],
}
"""The same for version 2."""
PAIRS: Mapping[str, ExtensionValue] = {"note": "canary-note", "born": 18150101}


async def listed(cdp: CdpOrders, ref: UUID) -> object:
    """Read the contacts of an order."""
    return [one async for one in cdp.contacts.list(ref)]


CALLS: Mapping[str, Callable[[CdpOrders, UUID, UUID], Awaitable[object]]] = {
    "contacts.create": lambda cdp, order, _: cdp.contacts.create(order, PERSON),
    "consumers.create": lambda cdp, order, _: cdp.consumers.create(order, NewConsumer(first_name="canary-first")),
    "order_extensions.create": lambda cdp, order, _: cdp.order_extensions.create(order, PAIRS),
    "order_extensions.update": lambda cdp, order, _: cdp.order_extensions.update(order, PAIRS),
    "order_extensions.replace": lambda cdp, order, _: cdp.order_extensions.replace(order, PAIRS),
    "contacts.replace": lambda cdp, _, contact: cdp.contacts.replace(contact, PERSON),
    "contacts.update": lambda cdp, _, contact: cdp.contacts.update(contact, {"first_name": "canary-other"}),
    "contacts.get": lambda cdp, _, contact: cdp.contacts.get(contact),
    "contacts.list": lambda cdp, order, _: listed(cdp, order),
}
"""Calls that send or are answered something about a person."""


def client(url: str, timeout: float = 30.0) -> CdpOrders:
    """Return a client that sends each request once."""
    settings = over(Settings(retries=0, trust_env=False, timeout=timeout))
    return CdpOrders(base_url=url, client_key="key", api_token=TOKEN, settings=settings)


async def failure(call: Awaitable[object]) -> BaseException | None:
    """Return what a call raises, if anything."""
    try:
        await call
    except (Exception, TimeoutError) as error:  # noqa: BLE001 whatever it is, it must show nothing
        return error
    return None


def shown(error: BaseException) -> str:
    """Return all that becomes of an error in a log, a tracker of errors or a queue, locals and pickle included."""
    within = traceback.TracebackException.from_exception(error, capture_locals=True)
    stored = pickle.dumps(error).decode("latin-1") if isinstance(error, CdpError) else ""
    return "".join((str(error), repr(error), stored, *within.format()))


def logged(records: list[logging.LogRecord]) -> str:
    """Return all that a log holds, what only some formats show included."""
    formatter = logging.Formatter()
    return "".join(f"{formatter.format(record)}{record.__dict__}" for record in records)


def leaks(*texts: str) -> list[str]:
    """Return the lines in which a secret is."""
    return [line for text in texts for line in text.splitlines() if any(secret in line for secret in SECRETS)]
