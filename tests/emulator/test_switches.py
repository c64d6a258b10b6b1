"""Every open point of the documents can be read both ways."""

from __future__ import annotations

import pytest

from cdp_orders_async.emulator import Switches
from tests.emulator.talking import ABSENT, ITEM, ORDER, PAIRS, PERSON, Clock, talking

LATER = "2024-01-03T16:17:16Z"
TOO_LATE = "2024-01-03T16:17:17Z"


@pytest.mark.parametrize(
    ("switches", "ordered_at", "orders"),
    [
        (Switches(), LATER, 1),
        (Switches(), TOO_LATE, 2),
        (Switches(), "2023-12-30T17:17:16+01:00", 1),
        (Switches(match_hours=24), LATER, 2),
        (Switches(upsert=False), ORDER["orderedAt"], 2),
    ],
)
async def test_same_order_twice(switches: Switches, ordered_at: str, orders: int) -> None:
    """A POST within the window updates the order that is there and answers 201 with its ref, or stores another."""
    async with talking(switches) as talk:
        first = await talk("POST", "/v2.1/orders", {**ORDER, "pointOfSale": "home"})
        second = await talk("POST", "/v2.1/orders", {**ORDER, "orderedAt": ordered_at, "price": 51})
        assert second.status == 201
        assert len({first.ref, second.ref}) == orders
        assert second.json["price"] == 51
        if orders == 1:
            assert (second.json["orderedAt"], second.json["pointOfSale"]) == (ORDER["orderedAt"], "home")
        assert [effect["effect"] for effect in talk.emulator.store.effects][1] == (
            "updated" if orders == 1 else "created"
        )
        assert talk.emulator.store.counts == {"orders.create": 2}


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
@pytest.mark.parametrize("refuse", [True, False])
async def test_identity_of_an_order(method: str, *, refuse: bool) -> None:
    """Another referenceId is refused or ignored; the same instant in another zone is no change."""
    async with talking(Switches(refuse_identity_change=refuse)) as talk:
        order = (await talk("POST", "/v2.1/orders", ORDER)).ref
        answer = await talk(method, f"/v2.1/orders/{order}", {**ORDER, "referenceId": "other"})
        assert answer.status == (400 if refuse else 200)
        same = await talk(method, f"/v2.1/orders/{order}", {**ORDER, "orderedAt": "2024-01-01T17:17:16.000+01:00"})
        assert (same.status, same.json["referenceId"], same.json["orderedAt"]) == (200, "B94TXY-1", ORDER["orderedAt"])


@pytest.mark.parametrize(("switches", "status"), [(Switches(), 200), (Switches(require_all_on_patch=True), 400)])
async def test_patch_without_required_keys(switches: Switches, status: int) -> None:
    """PATCH takes any subset, or needs all the required keys."""
    async with talking(switches) as talk:
        refs = await talk.graph()
        assert (await talk("PATCH", f"/v2.1/orderItems/{refs['items']}", {"price": 1})).status == status
        assert (await talk("PATCH", f"/v2.1/orderItems/{refs['items']}", {"name": None})).status == 400
        assert (await talk("PATCH", f"/v2.1/orderItems/{refs['items']}", ITEM)).status == 200


@pytest.mark.parametrize(("switches", "status"), [(Switches(), 404), (Switches(unknown_ref_status=400), 400)])
async def test_status_of_an_unknown_ref(switches: Switches, status: int) -> None:
    """An unknown ref gives 404 or 400; an absent extension of a known order gives 404 in any case."""
    async with talking(switches) as talk:
        order = (await talk("POST", "/v2.1/orders", ORDER)).ref
        assert (await talk("GET", f"/v2.1/orders/{ABSENT}")).status == status
        assert (await talk("GET", f"/v2.1/orders/{order}/extensions/ext")).status == 404


@pytest.mark.parametrize(("switches", "keys"), [(Switches(), {"href"}), (Switches(unexpanded="ref"), {"href", "ref"})])
async def test_entries_of_a_list(switches: Switches, keys: set[str]) -> None:
    """An entry that is not expanded holds the href, or the ref with it."""
    async with talking(switches) as talk:
        refs = await talk.graph()
        listed = (await talk("GET", f"/v2.1/orders/{refs['orders']}/orderItems")).json["items"]
        assert [entry.keys() for entry in listed] == [keys]


@pytest.mark.parametrize(("limit_max", "limit"), [(100, 101), (20, 21)])
async def test_limit_is_clamped(limit_max: int, limit: int) -> None:
    """A limit above the maximum is served as the maximum."""
    async with talking(Switches(limit_max=limit_max)) as talk:
        listed = await talk("GET", "/v2.1/orders", referenceId="a", limit=str(limit))
        assert (listed.status, listed.json["limit"]) == (200, limit_max)


@pytest.mark.parametrize(("switches", "status"), [(Switches(), 201), (Switches(require_first_name=True), 400)])
@pytest.mark.parametrize("kind", ["contacts", "consumers"])
async def test_person_without_first_name(kind: str, switches: Switches, status: int) -> None:
    """A person without firstName is kept, or refused in the words of the documents."""
    async with talking(switches) as talk:
        order = (await talk("POST", "/v2.1/orders", ORDER)).ref
        answer = await talk("POST", f"/v2.1/orders/{order}/{kind}", {"lastName": "Doe"})
        assert answer.status == status
        if status == 400:
            assert answer.json["message"] == "firstName: may not be null."
        assert (await talk("POST", f"/v2.1/orders/{order}/{kind}", PERSON)).status == 201


@pytest.mark.parametrize(
    ("switches", "status", "left", "effect"),
    [
        (Switches(), 201, {"b"}, "replaced"),
        (Switches(extension_post_existing="merge"), 201, {"a", "b"}, "updated"),
        (Switches(extension_post_existing="refuse"), 400, {"a"}, "created"),
    ],
)
async def test_extension_posted_twice(switches: Switches, status: int, left: set[str], effect: str) -> None:
    """A second POST of an extension replaces, merges, or is refused."""
    async with talking(switches) as talk:
        refs = await talk.graph()
        path = f"/v2.1/orders/{refs['orders']}/extensions/ext"
        await talk("DELETE", path)
        await talk("POST", path, {"a": 1})
        assert (await talk("POST", path, {"b": 2})).status == status
        assert (await talk("GET", path)).json.keys() & {"a", "b"} == left
        assert talk.emulator.store.effects[-1]["effect"] == effect


@pytest.mark.parametrize(("switches", "status"), [(Switches(), 201), (Switches(unknown_keys="refuse"), 400)])
async def test_unknown_keys(switches: Switches, status: int) -> None:
    """Keys that are not documented are ignored or refused; keys that only answers have are always ignored."""
    async with talking(switches) as talk:
        answer = await talk("POST", "/v2.1/orders", {**ORDER, "contact": PERSON})
        assert answer.status == status
        assert "contact" not in answer.json
        echoed = await talk("POST", "/v2.1/orders", {**ORDER, "createdAt": "2020-01-01T00:00:00Z", "ref": ABSENT})
        assert (echoed.status, echoed.json["createdAt"]) == (201, "2025-06-01T12:00:00Z")
        assert echoed.ref != ABSENT


@pytest.mark.parametrize("retry_after", [None, 2])
async def test_rate_limit(retry_after: int | None) -> None:
    """Above the rate 429 is answered, with or without Retry-After; time fills the bucket; the ledger is not limited."""
    clock = Clock()
    async with talking(Switches(rate=2, burst=3, retry_after=retry_after), clock=clock) as talk:
        statuses = [(await talk("POST", "/v2.1/orders", ORDER)).status for _ in range(4)]
        refused = await talk("GET", f"/v2.1/orders/{ABSENT}")
        clock.advance(0.5)
        statuses += [(await talk("POST", "/v2.1/orders", ORDER)).status for _ in range(2)]
        assert statuses == [201, 201, 201, 429, 201, 429]
        assert (refused.status, refused.json["status"], refused.json["code"]) == (429, 429, 429)
        assert refused.headers.get("Retry-After") == (None if retry_after is None else "2")
        assert (await talk("GET", "/__ledger")).json["counts"] == {"orders.create": 4}


async def test_no_rate_limit() -> None:
    """There is no limit by default."""
    async with talking() as talk:
        assert {(await talk("GET", "/v2.1/orders", referenceId="a")).status for _ in range(20)} == {200}


async def test_lists_lag() -> None:
    """Lists leave out what was created a moment ago; GET by ref does not."""
    clock = Clock()
    async with talking(Switches(list_lag=5), clock=clock) as talk:
        refs = await talk.graph()
        guest = (await talk("GET", f"/v2.1/orderContacts/{refs['contacts']}")).json["guest"]["href"].rpartition("/")[2]
        lists = [("/v2.1/orders", {"referenceId": "B94TXY-1"}), ("/v2.1/orders", {"guestRef": guest})]
        parts = ("orderItems", "contacts", "consumers", "extensions")
        lists += [(f"/v2.1/orders/{refs['orders']}/{part}", {}) for part in parts]
        lists += [(f"/v2.1/orderConsumers/{refs['consumers']}/orderItems", {})]

        async def lengths() -> list[int]:
            return [len((await talk("GET", path, **query)).json["items"]) for path, query in lists]

        assert await lengths() == [0] * 7
        assert (await talk("GET", f"/v2.1/orders/{refs['orders']}")).status == 200
        clock.advance(5)
        assert await lengths() == [1] * 7


@pytest.mark.parametrize(("switches", "status"), [(Switches(), 204), (Switches(delete_last_contact="refuse"), 400)])
async def test_last_contact(switches: Switches, status: int) -> None:
    """The last contact may be deleted, and the order stays without an owner; or it may not."""
    async with talking(switches) as talk:
        refs = await talk.graph()
        second = (await talk("POST", f"/v2.1/orders/{refs['orders']}/contacts", PERSON)).ref
        assert (await talk("DELETE", f"/v2.1/orderContacts/{second}")).status == 204
        assert (await talk("DELETE", f"/v2.1/orderContacts/{refs['contacts']}")).status == status
        assert (await talk("GET", f"/v2.1/orders/{refs['orders']}")).status == 200


@pytest.mark.parametrize("ignored", [False, True])
async def test_expand(*, ignored: bool) -> None:
    """A list is expanded where asked, or stays as it is."""
    async with talking(Switches(ignore_expand=ignored)) as talk:
        order = (await talk("POST", "/v2.1/orders", ORDER)).ref
        created = (await talk("POST", f"/v2.1/orders/{order}/extensions/ext", PAIRS)).json
        listed = (await talk("GET", f"/v2.1/orders/{order}/extensions", expand="true")).json["items"]
        assert listed == [{"href": created["href"]} if ignored else created]


async def test_next_that_repeats() -> None:
    """With the switch the last page links to itself, which a client must notice."""
    async with talking(Switches(repeat_next=True)) as talk:
        refs = await talk.graph()
        listed = (await talk("GET", f"/v2.1/orders/{refs['orders']}/orderItems")).json
        assert listed["next"]["href"] == listed["href"]
        assert (await talk("GET", listed["next"]["href"])).json == listed


@pytest.mark.parametrize(
    ("given", "switches"),
    [
        ((), Switches()),
        (("list_lag=2", "rate=50", "retry_after=1"), Switches(list_lag=2, rate=50, retry_after=1)),
        (("upsert=false", "unexpanded=ref", "rate=null"), Switches(upsert=False, unexpanded="ref")),
        (
            ("unknown_ref_status=400", "require_first_name=true"),
            Switches(unknown_ref_status=400, require_first_name=True),
        ),
    ],
)
def test_switches_are_read_from_text(given: tuple[str, ...], switches: Switches) -> None:
    """Each switch can be given as a name and a value, as the command line does."""
    assert Switches.read(given) == switches


@pytest.mark.parametrize(
    "given", ["lag=2", "upsert=1", "burst=2.5", "burst=true", "unexpanded=all", "rate", "rate=fast"]
)
def test_wrong_switches_are_named(given: str) -> None:
    """A switch that is not there, or a value that it cannot have, is refused by its text."""
    with pytest.raises(ValueError, match=f"^{given}: "):
        Switches.read([given])
