"""The emulator does what the documents say of each operation."""

from __future__ import annotations

from operator import attrgetter
from uuid import UUID

import pytest

from cdp_orders_async.emulator import Emulator, Switches
from cdp_orders_async.kinds import V2_1
from tests.emulator.talking import ABSENT, ITEM, ORDER, PAIRS, PERSON, Clock, Json, Talk, talking

BODIES: dict[str, Json] = {
    "orders": ORDER,
    "items": ITEM,
    "contacts": PERSON,
    "consumers": PERSON,
    "order_extensions": PAIRS,
    "item_extensions": PAIRS,
}
STATUSES = {"create": 201, "delete": 204}
OWNERS = {"order_extensions": "orders", "item_extensions": "items"}


def owner_of(operation: str) -> str:
    """Return the kind that the ref in the path of an operation is of."""
    kind, _, verb = operation.partition(".")
    return "orders" if verb in {"create", "list"} and kind not in OWNERS else OWNERS.get(kind, kind)


def test_every_route_of_the_table_is_served_and_no_other() -> None:
    """Each row of the table leads to its own operation; the only path besides is that of guests."""
    emulator = Emulator()
    for route in V2_1.table.routes():
        endpoint, _ = emulator.find(route.method, route.path.replace("{ref}", ABSENT))
        assert endpoint.operation == route.operation
    assert emulator.find("GET", f"/v2.1/guests/{ABSENT}")[0].operation == "guests.get"
    assert emulator.find("POST", f"/v2.1/guests/{ABSENT}")[0].operation == ""
    for ref in ("{}", "{ref}", "*"):  # no text of a path is taken for a part of the table
        assert emulator.find("GET", f"/v2.1/orders/{ref}")[1] == [ref]


@pytest.mark.parametrize("route", list(V2_1.table.routes()), ids=attrgetter("operation"))
async def test_operation_answers_as_documented(route: tuple[str, str, str]) -> None:
    """Each operation gives its documented status and what it is about."""
    operation, method, path = route
    kind, _, verb = operation.partition(".")
    async with talking() as talk:
        refs = await talk.graph()
        known = talk.emulator.requests[operation]
        query = {"referenceId": "B94TXY-1"} if operation == "orders.list" else {}
        body = BODIES[kind] if method in {"POST", "PUT", "PATCH"} else None
        answer = await talk(method, path.replace("{ref}", refs[owner_of(operation)]), body, **query)
        assert answer.status == STATUSES.get(verb, 200)
        assert talk.emulator.requests[operation] == known + 1
        if verb == "delete":
            assert answer.text == ""
            assert (await talk("GET", path.replace("{ref}", refs[owner_of(operation)]))).status == 404
        elif verb in {"list", "items"}:
            assert [entry.keys() for entry in answer.json["items"]] == [{"href"}]
        elif verb == "delete_fields":
            assert not PAIRS.keys() & answer.json.keys()
        elif body is not None:
            assert {name: answer.json[name] for name in body} == body
        if verb in {"create", "get", "replace", "update"}:
            assert (await talk("GET", answer.json["href"])).json == answer.json


@pytest.mark.parametrize(
    "route", [r for r in V2_1.table.routes() if "{ref}" in r.path], ids=lambda route: route.operation
)
async def test_unknown_ref_gives_404(route: tuple[str, str, str]) -> None:
    """Every operation on a ref that is not there gives 404 with the common envelope."""
    operation, method, path = route
    body = BODIES[operation.partition(".")[0]] if method in {"POST", "PUT", "PATCH"} else None
    async with talking() as talk:
        answer = await talk(method, path.replace("{ref}", ABSENT), body)
        message = f"ref: no such resource: {ABSENT}."
        assert (answer.status, answer.json) == (
            404,
            {
                "status": 404,
                "code": 404,
                "message": message,
                "developerMessage": message,
                "moreInfoUrl": "https://support.sitecore.com",
            },
        )
        assert talk.emulator.ledger()["effects"] == []


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("/v2.1/orders", {}, "referenceId: may not be null. orderedAt: may not be null. price: "),
        ("/v2.1/orders", {**ORDER, "price": None, "status": 1}, "price: may not be null. status: must be one of"),
        ("/v2.1/orders", {**ORDER, "price": None}, "price: may not be null."),
        ("/v2.1/orders", {**ORDER, "price": "50"}, "price: must be a number."),
        ("/v2.1/orders", {**ORDER, "price": True}, "price: must be a number."),
        ("/v2.1/orders", {**ORDER, "orderedAt": "2024-01-01T00:00:00"}, "orderedAt: must be an ISO 8601 date-time"),
        ("/v2.1/orders", {**ORDER, "orderedAt": 5}, "orderedAt: must be an ISO 8601 date-time"),
        ("/v2.1/orders", {**ORDER, "status": "purchased"}, "status: must be one of RESERVED, PENDING"),
        ("/v2.1/orders", {**ORDER, "channel": "TV"}, "channel: must be one of WEB, MOBILE_WEB"),
        ("/v2.1/orders", [], "The body must be a JSON object."),
        ("/v2.1/orders/{orders}/orderItems", {**ITEM, "name": "x" * 129}, "name: must be a string of at most 128"),
        ("/v2.1/orders/{orders}/orderItems", {**ITEM, "type": "FLIGHT"}, "type: must not be one of FLIGHT, HOTEL"),
        ("/v2.1/orders/{orders}/orderItems", {**ITEM, "type": 1}, "type: must be a string."),
        ("/v2.1/orders/{orders}/orderItems", {**ITEM, "quantity": 1.5}, "quantity: must be an integer"),
        ("/v2.1/orders/{orders}/contacts", {"gender": "MALE"}, "gender: must be one of male, female, unknown."),
        ("/v2.1/orders/{orders}/contacts", {"dateOfBirth": "2025-06-01T12:00:00Z"}, "dateOfBirth: must be in"),
        ("/v2.1/orders/{orders}/contacts", {"emails": "a@b"}, "emails: must be an array of strings."),
        ("/v2.1/orders/{orders}/contacts", {"identifiers": {}}, "identifiers: must be an array of objects"),
        ("/v2.1/orders/{orders}/contacts", {"identifiers": [{"id": "1"}]}, "identifiers: must be an array of objects"),
        ("/v2.1/orders/{orders}/consumers", {"orderItems": ["1"]}, "orderItems: must be an object like"),
        ("/v2.1/orders/{orders}/consumers", {"orderItems": {"items": [{"ref": "1"}]}}, "orderItems: must be an object"),
        ("/v2.1/orders/{orders}/consumers", {"orderItems": {"items": [{"href": f"/x/{ABSENT}"}]}},
         f"orderItems: no such item of this order: {ABSENT}."),
        ("/v2.1/orders/{orders}/extensions/other", PAIRS, "dataExtensionName: must be ext."),
        ("/v2.1/orders/{orders}/extensions/ext", {"key": "default"}, "key: is reserved."),
        ("/v2.1/orders/{orders}/extensions/ext", {"name": "ext"}, "name: is reserved."),
        ("/v2.1/orders/{orders}/extensions/ext", {"a_b": 1}, "a_b: must be alphanumeric and in camel case."),
        ("/v2.1/orders/{orders}/extensions/ext", {"a": None, "b": {}, "c": []},
         "a: must be a string, a boolean or a number. b: must be a string"),
        ("/v2.1/orders/{orders}/extensions/ext", {f"k{n}": n for n in range(101)}, "ext: must have at most 100"),
    ],
)  # fmt: skip
async def test_wrong_body_gives_400(path: str, body: object, message: str) -> None:
    """What breaks a documented rule is refused, names the key and the rule, and has no effect."""
    async with talking() as talk:
        refs = await talk.graph()
        effects = len(talk.emulator.store.effects)
        answer = await talk("POST", path.format(**refs), body)
        assert answer.status == 400
        assert answer.json["message"].startswith(message)
        assert answer.json["status"] == answer.json["code"] == 400
        assert len(talk.emulator.store.effects) == effects


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({}, "Exactly one of referenceId and guestRef is required."),
        ({"referenceId": "a", "guestRef": ABSENT}, "Exactly one of referenceId and guestRef is required."),
        ({"referenceId": "a", "limit": "0"}, "limit: must be a whole number, at least 1."),
        ({"referenceId": "a", "limit": "ten"}, "limit: must be a whole number, at least 1."),
        ({"referenceId": "a", "offset": "-1"}, "offset: must be a whole number, at least 0."),
        ({"referenceId": "a", "sort": "price"}, "sort: must be created or orderedAt"),
        ({"referenceId": "a", "sort": "created::up"}, "sort: must be created or orderedAt"),
        ({"referenceId": "a", "sort": "orderedAt"}, "sort: orderedAt can only be used with guestRef."),
    ],
)
async def test_wrong_query_of_orders_gives_400(query: dict[str, str], message: str) -> None:
    """The list of orders refuses a query that it cannot serve."""
    async with talking() as talk:
        answer = await talk("GET", "/v2.1/orders", **query)
        assert answer.status == 400
        assert answer.json["message"].startswith(message)


async def test_refs_have_the_versions_that_the_vendor_uses() -> None:
    """Resources have random refs, extensions have one derived from their owner."""
    async with talking() as talk:
        refs = await talk.graph()
        assert {UUID(ref).version for ref in refs.values()} == {4}
        path = f"/v2.1/orders/{refs['orders']}/extensions/ext"
        before = (await talk("GET", path)).ref
        await talk("DELETE", path)
        after = await talk("POST", path, PAIRS)
        assert UUID(before).version == 5
        assert before == after.ref
        assert (await talk("GET", f"/v2.1/orders/{refs['orders'].upper()}")).ref == refs["orders"]


async def test_put_replaces_and_patch_merges() -> None:
    """PUT drops what it leaves out, PATCH keeps it, and null in PATCH removes it."""
    async with talking() as talk:
        refs = await talk.graph()
        item = f"/v2.1/orderItems/{refs['items']}"
        patched = (await talk("PATCH", item, {"vendor": "Vendor XYZ", "quantity": 2})).json
        assert (patched["vendor"], patched["referenceId"], patched["name"]) == ("Vendor XYZ", "I-1", "Mobile AZ10")
        assert "vendor" not in (await talk("PATCH", item, {"vendor": None})).json
        replaced = (await talk("PUT", item, ITEM)).json
        assert not replaced.keys() & {"vendor", "quantity", "referenceId"}
        assert (replaced["ref"], replaced["orderedAt"]) == (refs["items"], ORDER["orderedAt"])


async def test_extension_life() -> None:
    """An absent extension is 404 for all but POST; PATCH changes single pairs and DELETE of fields removes them."""
    async with talking() as talk:
        order = (await talk("POST", "/v2.1/orders", ORDER)).ref
        path = f"/v2.1/orders/{order}/extensions/ext"
        for method, body in (("GET", None), ("PUT", PAIRS), ("PATCH", PAIRS), ("DELETE", None)):
            assert (await talk(method, path, body)).status == 404
        created = (await talk("POST", path, PAIRS)).json
        assert created.keys() - PAIRS.keys() == {"name", "key", "ref", "href", "createdAt", "modifiedAt", "order"}
        assert (created["name"], created["key"]) == ("ext", "default")
        assert (await talk("PATCH", path, {"totalUnits": 9})).json["storeLocation"] == "London"
        full = await talk("PATCH", path, {f"k{n}": n for n in range(98)})
        assert (full.status, full.json["message"]) == (400, "ext: must have at most 100 key-value pairs.")
        left = (await talk("DELETE", f"{path}/fields", name="totalUnits|unknown")).json
        assert PAIRS.keys() & left.keys() == {"firstTimeOrder", "storeLocation"}
        emptied = (await talk("DELETE", f"{path}/fields")).json
        assert not PAIRS.keys() & emptied.keys()
        listed = (await talk("GET", f"/v2.1/orders/{order}/extensions", expand="true")).json
        assert (listed["name"], listed["items"]) == ("ext", [emptied])


async def test_deleting_an_order_deletes_its_parts() -> None:
    """Nothing under an order outlives it, and its guests do."""
    async with talking() as talk:
        refs = await talk.graph()
        guest = (await talk("GET", f"/v2.1/orderContacts/{refs['contacts']}")).json["guest"]["href"]
        await talk("DELETE", f"/v2.1/orders/{refs['orders']}")
        for path in ("orders/{orders}", "orderItems/{items}", "orderContacts/{contacts}", "orderConsumers/{consumers}",
                     "orders/{orders}/extensions/ext", "orderItems/{items}/extensions/ext"):  # fmt: skip
            assert (await talk("GET", f"/v2.1/{path.format(**refs)}")).status == 404
        for query in ({"referenceId": ORDER["referenceId"]}, {"guestRef": guest.rpartition("/")[2]}):
            assert (await talk("GET", "/v2.1/orders", **query)).json["items"] == []
        assert (await talk("GET", guest)).status == 200


async def test_consumer_names_its_items() -> None:
    """A consumer shows and lists the items that it uses, and forgets one that is deleted."""
    async with talking() as talk:
        refs = await talk.graph()
        href = f"{talk.base_url}/v2.1/orderItems/{refs['items']}"
        consumer = f"/v2.1/orderConsumers/{refs['consumers']}"
        assert (await talk("GET", consumer)).json["orderItems"] == {"items": [{"href": href}]}
        expanded = await talk("GET", f"{consumer}/orderItems", expand="true")
        assert expanded.json["items"] == [(await talk("GET", href)).json]
        assert (await talk("PATCH", consumer, {"lastName": "Doe"})).json["orderItems"] == {"items": [{"href": href}]}
        await talk("DELETE", href)
        assert (await talk("GET", consumer)).json["orderItems"] == {"items": []}
        assert (await talk("GET", f"{consumer}/orderItems")).json["items"] == []


async def test_consumer_cannot_use_an_item_of_another_order() -> None:
    """An item belongs to one order, and only its consumers may name it."""
    async with talking() as talk:
        refs = await talk.graph()
        other = (await talk("POST", "/v2.1/orders", {**ORDER, "referenceId": "other"})).ref
        uses = {"items": [{"href": f"{talk.base_url}/v2.1/orderItems/{refs['items']}"}]}
        assert (await talk("POST", f"/v2.1/orders/{other}/consumers", {"orderItems": uses})).status == 400


async def guest_of(talk: Talk, kind: str, person: Json) -> Json:
    """Give a new order a person; return the guest."""
    order = (await talk("POST", "/v2.1/orders", {**ORDER, "referenceId": f"R{len(talk.emulator.store.effects)}"})).ref
    created = (await talk("POST", f"/v2.1/orders/{order}/{kind}", person)).json
    guest: Json = (await talk("GET", created["guest"]["href"])).json
    return guest


async def test_persons_are_matched_to_guests() -> None:
    """The same identifier is the same guest, or else the same email; who has neither is a new guest."""
    async with talking() as talk:
        ann = await guest_of(talk, "consumers", {"firstName": "Ann", "emails": ["ann@example.com"]})
        again = await guest_of(talk, "consumers", {"emails": ["ANN@example.com"], "identifiers": PERSON["identifiers"]})
        owner = await guest_of(talk, "contacts", {"lastName": "Lee", "identifiers": PERSON["identifiers"]})
        other = [await guest_of(talk, "contacts", {"firstName": "Ann"}) for _ in range(2)]
        assert ann["ref"] == again["ref"] == owner["ref"]
        assert (ann["guestType"], again["guestType"], owner["guestType"]) == ("traveller", "traveller", "customer")
        assert (owner["firstName"], owner["lastName"]) == ("Ann", "Lee")
        assert owner["href"] == f"{talk.base_url}/v2.1/guests/{owner['ref']}"
        assert len({ann["ref"], *(guest["ref"] for guest in other)}) == 3


async def test_orders_of_a_guest_are_those_whose_first_contact_it_is() -> None:
    """The owner's list follows the first contact, through updates and deletion."""
    async with talking() as talk:
        refs = await talk.graph()
        first = (await talk("GET", f"/v2.1/orderContacts/{refs['contacts']}")).json["guest"]["href"].rpartition("/")[2]
        second = await talk("POST", f"/v2.1/orders/{refs['orders']}/contacts", {"emails": ["b@example.com"]})
        other = second.json["guest"]["href"].rpartition("/")[2]

        async def owned(guest: str) -> int:
            return len((await talk("GET", "/v2.1/orders", guestRef=guest)).json["items"])

        assert (await owned(first), await owned(other)) == (1, 0)
        await talk("DELETE", f"/v2.1/orderContacts/{refs['contacts']}")
        assert (await owned(first), await owned(other)) == (0, 1)
        await talk("PATCH", f"/v2.1/orderContacts/{second.ref}", {"identifiers": PERSON["identifiers"]})
        assert (await owned(first), await owned(other)) == (1, 0)


async def test_lists_come_in_pages() -> None:
    """Pages link to the first, the last and the next, and the last has no next."""
    async with talking(Switches(limit_max=100)) as talk:
        order = (await talk("POST", "/v2.1/orders", ORDER)).ref
        path = f"/v2.1/orders/{order}/orderItems"
        items = [(await talk("POST", path, ITEM)).json for _ in range(12)]
        first = (await talk("GET", path)).json
        url = f"{talk.base_url}{path}"
        assert (first["offset"], first["limit"], len(first["items"])) == (0, 10, 10)
        assert first["href"] == first["first"]["href"] == f"{url}?offset=0&limit=10"
        assert first["last"]["href"] == first["next"]["href"] == f"{url}?offset=10&limit=10"
        last = (await talk("GET", first["next"]["href"])).json
        assert [entry["href"] for entry in first["items"] + last["items"]] == [item["href"] for item in items]
        assert "next" not in last
        beyond = (await talk("GET", path, offset="20", expand="true", limit="500")).json
        assert (beyond["items"], beyond["limit"]) == ([], 100)
        assert beyond["first"]["href"] == f"{url}?expand=true&offset=0&limit=100"
        assert (await talk("GET", path, limit="5", offset="3", expand="true")).json["items"] == items[3:8]


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("created", ["a", "b", "c"]),
        ("created::ASC", ["a", "b", "c"]),
        ("created::DESC", ["c", "b", "a"]),
        ("orderedAt", ["b", "c", "a"]),
        ("orderedAt::DESC", ["a", "c", "b"]),
    ],
)
async def test_orders_of_a_guest_are_sorted(sort: str, expected: list[str]) -> None:
    """The list of a guest's orders can be sorted by creation and by orderedAt, both ways."""
    async with talking() as talk:
        guest = ""
        for name, day in (("a", 3), ("b", 1), ("c", 2)):
            order = await talk(
                "POST", "/v2.1/orders", {**ORDER, "referenceId": name, "orderedAt": f"2024-01-0{day}T00:00Z"}
            )
            contact = await talk("POST", f"/v2.1/orders/{order.ref}/contacts", PERSON)
            guest = contact.json["guest"]["href"].rpartition("/")[2]
        listed = (await talk("GET", "/v2.1/orders", guestRef=guest, sort=sort, expand="true")).json["items"]
        assert [order["referenceId"] for order in listed] == expected


async def test_same_requests_give_the_same_answers() -> None:
    """The transcript follows from the seed alone, refs and times included; a reset begins it again."""
    transcripts: list[list[str]] = []
    async with talking(clock=Clock()) as talk:
        for _ in range(2):
            refs = await talk.graph()
            answers = [await talk("GET", f"/v2.1/orders/{refs['orders']}"), await talk("GET", "/__state")]
            transcripts.append([answer.text for answer in answers])
            assert (await talk("POST", "/__reset")).status == 204
    async with talking(clock=Clock()) as again:
        refs = await again.graph()
        answers = [await again("GET", f"/v2.1/orders/{refs['orders']}"), await again("GET", "/__state")]
        transcripts.append([answer.text.replace(again.base_url, talk.base_url) for answer in answers])
    assert transcripts[0] == transcripts[1] == transcripts[2]
