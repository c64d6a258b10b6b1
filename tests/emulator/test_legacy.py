"""The emulator's version 2, beside version 2.1 over one state."""

from __future__ import annotations

import pytest

from cdp_orders_async.emulator import Emulator, Switches
from cdp_orders_async.kinds import V2
from tests.emulator.talking import ABSENT, ITEM, ORDER, PAIRS, PERSON, Clock, Json, Talk, talking

OLD_ORDER: Json = {**ORDER, "pointOfSale": "spinair.com"}
FLIGHT: Json = {
    "type": "FLIGHT",
    "productId": "DUB-LAS",
    "referenceId": "I-1",
    "price": 100,
    "currencyCode": "EUR",
    "status": "PURCHASED",
    "passengerTypeCode": "ADT",
    "flightSegments": [
        {
            "id": "1234",
            "origin": "DUB",
            "destination": "LHR",
            "departureDateTime": "2016-08-15T16:00Z",
            "arrivalDateTime": "2016-08-15T17:20Z",
            "fareClass": "Economy",
            "carrier": "FR",
            "flightNumber": "459",
        }
    ],
}
ADA: Json = {**PERSON, "lastName": "Doe"}


async def graph(talk: Talk) -> dict[str, str]:
    """Create an order with one of each part over version 2; return the refs by kind."""
    order = (await talk("POST", "/v2/orders", OLD_ORDER)).ref
    item = (await talk("POST", f"/v2/orders/{order}/orderItems", FLIGHT)).ref
    contact = (await talk("POST", f"/v2/orders/{order}/contacts", ADA)).ref
    uses = {"items": [{"href": f"http://elsewhere.example/v2/orderItems/{item}"}]}
    consumer = (await talk("POST", f"/v2/orders/{order}/consumers", {**ADA, "orderItems": uses})).ref
    return {"orders": order, "items": item, "contacts": contact, "consumers": consumer}


def test_every_route_of_the_table_is_served_and_no_other() -> None:
    """Each row leads to its own operation; what version 2 lacks is not there."""
    emulator = Emulator()
    for route in V2.table.routes():
        endpoint, _ = emulator.find(route.method, route.path.replace("{ref}", ABSENT))
        assert endpoint.operation == route.operation
    for method, path in (
        ("DELETE", "orders/{}"),
        ("DELETE", "orderConsumers/{}"),
        ("PUT", "orders/{}"),
        ("PATCH", "orderItems/{}"),
        ("GET", "orderConsumers/{}/orderItems"),
        ("GET", "orders/{}/extensions/ext"),
        ("GET", "orderItems/{}/extext"),
    ):
        assert emulator.find(method, "/v2/" + path.format(ABSENT))[0].operation == ""


async def test_order_shows_its_parts() -> None:
    """A new or changed order lists its parts, one that is fetched links to them, and its items can be expanded."""
    async with talking(clock=Clock()) as talk:
        refs = await graph(talk)
        path = f"/v2/orders/{refs['orders']}"
        url = talk.base_url + path
        changed = (await talk("POST", path, {"status": "REFUNDED"})).json
        assert (changed["status"], changed["price"], changed["pointOfSale"]) == ("REFUNDED", 50, "spinair.com")
        for key, kind, segment in (
            ("orderItems", "items", "orderItems"),
            ("contacts", "contacts", "orderContacts"),
            ("consumers", "consumers", "orderConsumers"),
        ):
            assert changed[key] == {"items": [{"href": f"{talk.base_url}/v2/{segment}/{refs[kind]}"}]}
        fetched = (await talk("GET", path)).json
        assert (fetched["href"], fetched["contacts"], fetched["orderItems"]) == (
            url,
            {"href": f"{url}/contacts"},
            {"href": f"{url}/orderItems"},
        )
        expanded = (await talk("GET", path, expand="orderItems")).json
        assert (expanded["href"], expanded["contacts"]) == (f"{url}?expand=orderItems", {"href": f"{url}/contacts"})
        assert expanded["orderItems"] == {"items": [(await talk("GET", f"/v2/orderItems/{refs['items']}")).json]}


async def test_times_have_milliseconds() -> None:
    """Timings of version 2 have milliseconds, those of version 2.1 none, and local times are left alone."""
    async with talking(clock=Clock()) as talk:
        refs = await graph(talk)
        item = (await talk("GET", f"/v2/orderItems/{refs['items']}")).json
        assert (item["createdAt"], item["orderedAt"]) == ("2025-06-01T12:00:00.000Z", "2024-01-01T16:17:16.000Z")
        assert item["flightSegments"] == FLIGHT["flightSegments"]
        assert item["order"]["href"] == f"{talk.base_url}/v2/orders/{refs['orders']}"
        new = (await talk("GET", f"/v2.1/orderItems/{refs['items']}")).json
        assert (new["createdAt"], new["orderedAt"], new["type"]) == (
            "2025-06-01T12:00:00Z",
            "2024-01-01T16:17:16Z",
            "FLIGHT",
        )
        own = {**FLIGHT, "orderedAt": "2024-02-02T00:00:00.5Z"}
        set_apart = (await talk("POST", f"/v2/orderItems/{refs['items']}", own)).json
        assert set_apart["orderedAt"] == "2024-02-02T00:00:00.500Z"


async def test_nested_objects_are_ignored() -> None:
    """An order is created without the parts that its body nests, also where unknown keys are refused."""
    async with talking(Switches(unknown_keys="refuse")) as talk:
        nested = {**OLD_ORDER, "contact": ADA, "consumers": [ADA], "orderItems": [FLIGHT]}
        created = await talk("POST", "/v2/orders", nested)
        assert (created.status, created.json["orderItems"]) == (201, {"items": []})
        assert talk.emulator.store.counts == {"orders.create": 1}


async def test_lists_are_links_without_next() -> None:
    """A list has no links to other pages and never holds whole entries."""
    async with talking() as talk:
        refs = await graph(talk)
        path = f"/v2/orders/{refs['orders']}/orderItems"
        await talk("POST", path, {**FLIGHT, "referenceId": "I-2"})
        listed = (await talk("GET", path, expand="true", limit="1")).json
        assert listed.keys() == {"href", "offset", "limit", "items"}
        assert listed["items"] == [{"href": f"{talk.base_url}/v2/orderItems/{refs['items']}"}]
        assert (listed["offset"], listed["limit"]) == (0, 1)


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("/v2/orders", ORDER, "pointOfSale: may not be null."),
        ("/v2/orders", {**OLD_ORDER, "status": "BROWSED"}, "status: must be one of RESERVED, "),
        ("/v2/orders/{orders}", {"status": "SEARCHED"}, "status: must be one of RESERVED, "),
        ("/v2/orders/{orders}", {"referenceId": "other"}, "referenceId: cannot be changed."),
        ("/v2/orders/{orders}/orderItems", ITEM, "productId: may not be null. referenceId: may not be null. type: "),
        ("/v2/orders/{orders}/orderItems", {**FLIGHT, "status": "Confirmed"}, "status: must be one of RESERVED"),
        ("/v2/orders/{orders}/orderItems", {**FLIGHT, "flightSegments": ["1"]}, "flightSegments: must be an array of"),
        ("/v2/orderItems/{items}", {"price": 1}, "currencyCode: may not be null. status: may not be null. type: "),
        ("/v2/orders/{orders}/contacts", {}, "firstName: may not be null. lastName: may not be null."),
        ("/v2/orders/{orders}/contacts", {**ADA, "guest": "x"}, "guest: must be an object like"),
        ("/v2/orders/{orders}/contacts", {**ADA, "guest": {"href": f"/x/{ABSENT}"}}, "guest: no such guest: 0000"),
        ("/v2/orderConsumers/{consumers}", {"firstName": "A"}, "lastName: may not be null."),
        ("/v2/orders/{orders}/extext", PAIRS, "key: must be default."),
        ("/v2/orders/{orders}/extext", {"key": "other"}, "key: must be default."),
    ],
)
async def test_wrong_body_gives_400(path: str, body: Json, message: str) -> None:
    """What breaks a rule of version 2 is refused in its envelope, and has no effect."""
    async with talking() as talk:
        refs = await graph(talk)
        effects = len(talk.emulator.store.effects)
        answer = await talk("POST", path.format(**refs), body)
        assert answer.status == 400
        assert answer.json["message"].startswith(message)
        assert answer.json.keys() == {"status", "code", "message", "developerMessage", "moreInfo"}
        assert len(talk.emulator.store.effects) == effects


@pytest.mark.parametrize(
    ("require", "without_first", "without_last"), [(None, 400, 400), (True, 400, 400), (False, 201, 201)]
)
async def test_names_are_a_switch(*, require: bool | None, without_first: int, without_last: int) -> None:
    """Version 2 needs both names unless the switch says otherwise."""
    async with talking(Switches(require_first_name=require)) as talk:
        path = f"/v2/orders/{(await talk('POST', '/v2/orders', OLD_ORDER)).ref}/contacts"
        assert (await talk("POST", path, {"lastName": "Doe"})).status == without_first
        assert (await talk("POST", path, {"firstName": "Ada"})).status == without_last


async def test_update_is_the_whole_resource() -> None:
    """An update by POST drops what it leaves out of an item, and keeps the ref."""
    async with talking() as talk:
        refs = await graph(talk)
        path = f"/v2/orderItems/{refs['items']}"
        body = {key: value for key, value in FLIGHT.items() if key != "flightSegments"}
        updated = await talk("POST", path, {**body, "quantity": 2.5})
        assert (updated.status, updated.ref, updated.json["quantity"]) == (200, refs["items"], 2.5)
        assert "flightSegments" not in updated.json
        effects = talk.emulator.store.effects
        assert [effect["effect"] for effect in effects if effect["ref"] == refs["items"]] == ["created", "replaced"]


async def test_person_may_name_its_guest() -> None:
    """A person is the guest that its body links to, whatever identifies it, and answers link to it."""
    async with talking() as talk:
        refs = await graph(talk)
        guest = (await talk("GET", f"/v2/orderContacts/{refs['contacts']}")).json["guest"]["href"]
        assert guest.startswith(f"{talk.base_url}/v2/guests/")
        body = {"firstName": "B", "lastName": "C", "guest": {"href": guest.replace("/v2/", "/v2.1/")}}
        named = (await talk("POST", f"/v2/orders/{refs['orders']}/consumers", body)).json
        assert named["guest"] == {"href": guest}
        new = (await talk("GET", f"/v2.1/orderConsumers/{named['ref']}")).json
        assert new["guest"] == {"href": guest.replace("/v2/", "/v2.1/")}
        profile = (await talk("GET", guest)).json
        assert (profile["firstName"], "guest" in profile) == ("B", False)


async def test_extension_life() -> None:
    """An extension is set at one path, and fetched by its ref; version 2.1 shows the same."""
    async with talking() as talk:
        order = (await talk("POST", "/v2/orders", OLD_ORDER)).ref
        path = f"/v2/orders/{order}/extext"
        assert (await talk("GET", path)).json["items"] == []
        created = await talk("POST", path, {**PAIRS, "key": "default"})
        assert (created.status, created.json["href"]) == (201, f"{talk.base_url}{path}/{created.ref}")
        assert created.json.items() >= PAIRS.items()
        assert (await talk("GET", path)).json["items"] == [{"href": created.json["href"]}]
        assert (await talk("GET", created.json["href"])).json == created.json
        assert (await talk("GET", f"{path}/{ABSENT}")).status == 404
        assert (await talk("GET", f"/v2.1/orders/{order}/extensions/ext")).ref == created.ref


async def test_order_of_a_guest_without_contact() -> None:
    """An order created under a guest is the guest's, until a contact says otherwise and after it is gone."""
    async with talking() as talk:
        refs = await graph(talk)
        guest = (await talk("GET", f"/v2/orderContacts/{refs['contacts']}")).json["guest"]["href"].rpartition("/")[2]
        other = (await talk("POST", "/v2/orders", {**OLD_ORDER, "referenceId": "other"}, guestRef=guest)).ref

        async def owned() -> list[str]:
            items = (await talk("GET", "/v2/orders", guestRef=guest)).json["items"]
            return [entry["href"].rpartition("/")[2] for entry in items]

        assert await owned() == [refs["orders"], other]
        contact = await talk("POST", f"/v2/orders/{other}/contacts", {"firstName": "B", "lastName": "C"})
        assert await owned() == [refs["orders"]]
        await talk("DELETE", f"/v2/orderContacts/{contact.ref}")
        assert await owned() == [refs["orders"], other]
        await talk("DELETE", f"/v2.1/orders/{other}")
        assert await owned() == [refs["orders"]]
        answer = await talk("POST", "/v2/orders", {**OLD_ORDER, "referenceId": "third"}, guestRef=ABSENT)
        assert answer.status == 404
