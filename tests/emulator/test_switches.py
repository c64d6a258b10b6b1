"""Every open point of the documents can be read both ways."""

from __future__ import annotations

import math
import pickle
import re
from typing import Any

import attrs
import pytest

from cdp_orders_async.cli import main
from cdp_orders_async.emulator import Switches
from tests.emulator.talking import ABSENT, ITEM, ORDER, PAIRS, PERSON, Clock, talking

LATER = "2024-01-03T16:17:16Z"
TOO_LATE = "2024-01-03T16:17:17Z"
SILENT = Switches(clamp_silently=True, empty_gets=2, dates_only=True)


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


@pytest.mark.parametrize("repeats", [False, True])
async def test_pages_clamped_in_silence(*, repeats: bool) -> None:
    """A page does not say its limit, nor do its links; in version 2.1 the next one is named as long as there is one."""
    async with talking(Switches(clamp_silently=True, limit_max=2, repeat_next=repeats)) as talk:
        path = f"/v2.1/orders/{(await talk.graph())['orders']}/orderItems"
        made = [entry["href"] for entry in (await talk("GET", path)).json["items"]]
        made += [(await talk("POST", path, ITEM)).json["href"] for _ in range(4)]
        page = (await talk("GET", path, limit="100")).json
        found: list[str] = []
        for offset in (0, 2, 4):
            assert page.keys() == {"href", "offset", "first", "last", "items"} | (
                {"next"} if offset < 4 or repeats else set()
            )
            assert (page["href"], page["offset"]) == (f"{talk.base_url}{path}?offset={offset}&limit=100", offset)
            found += [entry["href"] for entry in page["items"]]
            page = (await talk("GET", page["next"]["href"])).json if offset < 4 else page
        assert found == made
        old = (await talk("GET", path.replace("v2.1", "v2"), limit="100", offset="4")).json
        assert old.keys() == {"href", "offset", "items"}
        assert (old["offset"], len(old["items"])) == (4, 1)


async def test_gets_that_come_empty() -> None:
    """Every third GET of the API is answered 200 with nothing in it, whatever it is for; a write is always answered."""
    async with talking(Switches(empty_gets=3)) as talk:
        order = (await talk("POST", "/v2.1/orders", ORDER)).ref
        paths = (
            f"/v2.1/orders/{order}",
            f"/v2.1/orders/{order}/contacts",
            f"/v2.1/orders/{ABSENT}",
            f"/v2/orders/{order}",
        )
        answers = [await talk("GET", path) for path in (*paths, *paths)]
        assert [answer.status for answer in answers] == [200, 200, 200, 200, 200, 200, 404, 200]
        assert [n for n, answer in enumerate(answers, 1) if not answer.text] == [3, 6]
        assert all([(await talk("GET", "/__state")).text for _ in range(3)])
        assert all([(await talk("PATCH", f"/v2.1/orders/{order}", {"price": 1})).text for _ in range(3)])
        await talk("POST", "/__reset")
        assert [bool((await talk("GET", "/v2.1/orders", referenceId="a")).text) for _ in range(3)] == [
            True,
            True,
            False,
        ]


@pytest.mark.parametrize(
    ("version", "dates_only", "shown"),
    [
        ("v2", True, "1991-01-01T00:00:00.000Z"),
        ("v2", False, "1991-01-01T22:30:00.000Z"),
        ("v2.1", True, "1991-01-01T22:30:00Z"),
    ],
)
@pytest.mark.parametrize("kind", ["contacts", "consumers"])
async def test_dates_without_a_time(kind: str, version: str, shown: str, *, dates_only: bool) -> None:
    """What version 2 calls a Date is kept as a day, in UTC, when it is made and when it is updated; not a date-time."""
    person = {**PERSON, "lastName": "Doe", "dateOfBirth": "1991-01-02T00:30:00+02:00"}
    person["passportExpiry"] = "2031-01-01T10:00:00Z"
    async with talking(Switches(dates_only=dates_only)) as talk:
        order = (await talk("POST", "/v2.1/orders", ORDER)).ref
        made = (await talk("POST", f"/{version}/orders/{order}/{kind}", person)).json
        changed = (await talk("POST" if version == "v2" else "PATCH", made["href"], person)).json
        for answer in (made, changed, (await talk("GET", made["href"])).json):
            assert (answer["dateOfBirth"], answer["passportExpiry"][:16]) == (shown, "2031-01-01T10:00")
        wrong = await talk("POST", f"/{version}/orders/{order}/{kind}", {**person, "dateOfBirth": "1991-01-01"})
        assert (wrong.status, wrong.json["message"][:12]) == (400, "dateOfBirth:")


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
        (("clamp_silently=true", "empty_gets=2", "dates_only=true"), SILENT),
        (("latency=0.1", "slow_writes=3"), Switches(latency=0.1, slow_writes=3)),
        (
            ('slow_writes={"orders.create": 3, "*": 0.5}', 'latency={"orders.get": 1}', "upsert=false"),
            Switches(slow_writes={"orders.create": 3, "*": 0.5}, latency={"orders.get": 1}, upsert=False),
        ),
    ],
)
def test_switches_are_read_from_text(given: tuple[str, ...], switches: Switches) -> None:
    """Each switch can be given as a name and a value, as the command line does."""
    assert Switches.read(given) == switches


@pytest.mark.parametrize(
    "given",
    [
        *("lag=2", "upsert=1", "burst=2.5", "burst=true", "unexpanded=all", "rate", "rate=fast"),
        *("latency=-1", "latency=fast", "latency=true", "latency=[1]", "latency", 'slow_writes={"orders.get": 1}'),
        *("empty_gets=-1", "empty_gets=0.5", "dates_only=1", "clamp_silently=yes"),
    ],
)
def test_wrong_switches_are_named(given: str) -> None:
    """A switch that is not there, or a value that it cannot have, is refused by its text."""
    with pytest.raises(ValueError, match=f"^{re.escape(given)}: "):
        Switches.read([given])


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"latency": -0.1}, "latency must be seconds, a finite number of at least 0, not -0.1"),
        ({"latency": math.nan}, "latency must be seconds, .* not nan"),
        ({"latency": math.inf}, "latency must be seconds, .* not inf"),
        ({"latency": 10**309}, "latency must be seconds, .* not 10+"),
        ({"latency": True}, "latency must be seconds, .* not True"),
        ({"latency": None}, "latency must be seconds, .* not None"),
        ({"latency": (("*", 1),)}, "latency must be seconds, .*"),
        ({"latency": {"*": "1"}}, "latency must be seconds, .* not '1'"),
        ({"slow_writes": {"orders.create": 1, "*": -1}}, "slow_writes must be seconds, .* not -1"),
        ({"latency": {"order.create": 1}}, "latency must name operations such as .* not 'order.create'"),
        ({"latency": {"": 1}}, "latency must name operations such as .* not ''"),
        ({"latency": {1: 1}}, "latency must name operations such as .* not 1"),
        ({"slow_writes": {"*.get": 1}}, r"slow_writes must name operations that write, such as .* not '\*\.get'"),
        ({"empty_gets": -1}, "empty_gets must be a whole number of at least 0, not -1"),
        ({"empty_gets": True}, "empty_gets must be a whole number of at least 0, not True"),
    ],
)
def test_wrong_values_are_one_sentence(wrong: dict[str, Any], words: str) -> None:
    """A value that a switch cannot have is refused in a sentence that names the switch."""
    with pytest.raises(ValueError, match=f"^{words}$"):
        Switches(**wrong)


def test_switches_are_values() -> None:
    """Switches are equal, have a hash, can be changed and pickled, with seconds by operation too."""
    given = {"orders.create": 3.0, "*": 0.1}
    switches = Switches(latency=given, slow_writes={"*.create": 1})
    same = Switches(latency={**given}, slow_writes={"*.create": 1})
    given["*"] = 9
    assert (switches, hash(switches)) == (same, hash(same))
    assert attrs.evolve(attrs.evolve(switches, upsert=False), upsert=True) == same
    assert pickle.loads(pickle.dumps(switches)) == same  # noqa: S301 it is ours
    assert switches != attrs.evolve(switches, latency=given)


def test_command_refuses_a_wrong_switch(capsys: pytest.CaptureFixture[str]) -> None:
    """The command takes seconds by operation in JSON, and says what is wrong with them."""
    given = 'slow_writes={"order.create": 3}'
    assert main(["emulator", "--switch", "latency=0.1", "--switch", given]) == 2
    assert capsys.readouterr().err == (
        f"cdp-orders: --switch {given}: slow_writes must name operations that write, such as items.create or *.create, "
        "not 'order.create'\n"
    )
