"""Orders for the pages of an emulator to show."""

from __future__ import annotations

from cdp_orders_async.emulator import Emulator
from cdp_orders_async.emulator.records import Cause, Json
from tests.emulator.talking import ORDER, PERSON

__all__ = ["CAUSE", "MARK", "fill"]

MARK = "<canary id='x'>&amp;\"'{{ 1111*11111 }}</canary>"
"""Markup, as a person may type it into any text."""
CAUSE = Cause("orders.create", "POST", f"/v2.1/{MARK}", MARK)


def fill(emulator: Emulator, *, many: int = 60) -> None:
    """Store one plain order, one with markup in each text, a guest with *many* orders, and an order with many items."""
    store = emulator.store

    def make(kind: str, data: dict[str, Json], owner: str = "") -> str:
        return store.create(kind, data, CAUSE, owner).ref

    plain = make("orders", {**ORDER, "referenceId": "PLAIN-1"})
    phone = make("items", {"type": "PHONE", "name": "Phone AZ10", "price": 105, "currencyCode": "EUR"}, plain)
    case = make("items", {"type": "CASE", "name": "Blue case", "price": 5.5, "currencyCode": "EUR"}, plain)
    make("contacts", {**PERSON, "lastName": "Dœ Straße"}, plain)
    make("consumers", {"firstName": "Ann", "lastName": "Lee", "orderItems": [phone]}, plain)
    make("consumers", {"firstName": "Bob", "orderItems": []}, plain)
    store.extend("order_extensions", plain, {"firstTimeOrder": True, "storeLocation": "London"}, CAUSE)
    store.extend("item_extensions", case, {"engraving": "For Ann"}, CAUSE)

    texts = "status", "channel", "pointOfSale", "paymentType", "cardType", "currencyCode", "referenceId"
    marked = make("orders", {**ORDER, **dict.fromkeys(texts, MARK)})
    of_items = "type", "name", "status", "description", "productId", "vendor", "currencyCode", "referenceId"
    item = make("items", {**dict.fromkeys(of_items, MARK), "price": 1, "flightSegments": [{"id": MARK}]}, marked)
    of_persons = "title", "firstName", "lastName", "gender", "nationality", "passportNumber", "city", "country"
    person: dict[str, Json] = {
        **dict.fromkeys(of_persons, MARK),
        **{key: [MARK] for key in ("emails", "phoneNumbers", "street")},
        "identifiers": [{"provider": MARK, "id": MARK, "expiryDate": MARK}],
    }
    make("contacts", person, marked)
    make("consumers", {**person, "orderItems": [item]}, marked)
    store.extend("order_extensions", marked, {"mark": MARK}, CAUSE)
    store.extend("item_extensions", item, {"mark": MARK}, CAUSE)
    emulator.traffic.add(store.clock(), "GET", f"/v2.1/orders?referenceId={MARK}", "orders.list", 503, "limit")

    for number in range(many):
        order = make("orders", {**ORDER, "referenceId": f"MANY-{number}"})
        make("contacts", {"firstName": "Maria", "emails": ["maria@many.example"]}, order)
    large = make("orders", {**ORDER, "referenceId": "LARGE"})
    items = [make("items", {"type": "X", "name": f"Thing {n}", "price": 1}, large) for n in range(many)]
    make("consumers", {"firstName": "Zoe", "orderItems": [*items[-25:]]}, large)
