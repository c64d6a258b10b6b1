"""The emulator's pages: what a person finds, on every page, and what each page is like."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from urllib.parse import quote_plus

import attrs
import pytest

from cdp_orders_async.emulator import Emulator, Faults
from cdp_orders_async.emulator.pages import views
from cdp_orders_async.emulator.records import Json
from tests.emulator.filling import CAUSE, MARK, fill
from tests.emulator.reading import Browser, Seen, browsing
from tests.emulator.talking import ABSENT, ORDER, PERSON

SECTIONS = ("guests", "orders", "requests", "ledger", "switches", "faults")
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


@pytest.fixture(name="browser", scope="module")
def _browser() -> Iterator[Browser]:
    emulator = Emulator(seed=7, faults=Faults.of({"faults": [{"operation": "*", "action": "close", "chance": 0}]}))
    fill(emulator)
    with browsing(emulator) as browser:
        yield browser


@pytest.fixture(name="site", scope="module")
def _site(browser: Browser) -> dict[str, Seen]:
    """Every page that links lead to, by path, and one page for each kind of error."""
    base = browser.served.base_url
    site = {"/": browser.open("/")}
    todo = ["/__pages", f"/__pages/guests?q={ABSENT}", "/__pages/orders?q=none", "/__pages/ledger?q=none"]
    while todo:
        path = todo.pop()
        if path not in site:
            seen = site[path] = browser.open(path)
            todo += [link.removeprefix(base) for link in seen.links() if link.startswith(base)]
            todo += [seen.headers["Location"]] if seen.status == 303 else []
    return site


def html(site: dict[str, Seen]) -> list[Seen]:
    """Return the pages without redirections and files."""
    return [seen for seen in site.values() if seen.elements]


def test_every_link_leads_to_a_page(site: dict[str, Seen], browser: Browser) -> None:
    """All links of all pages are answered, and none leads to another place."""
    assert {path: seen.status for path, seen in site.items() if seen.status not in {200, 303}} == {}
    assert {path for path, seen in site.items() if seen.status == 303} == {"/", "/__pages"}
    links = {link for seen in site.values() for link in seen.links()}
    assert {link for link in links if not link.startswith(f"{browser.served.base_url}/__pages/")} == set()
    assert len(html(site)) > 150  # the pages of all orders and all guests are among them


def test_every_page_has_its_headers(site: dict[str, Seen]) -> None:
    """No page and no file runs a foreign script, is shown in a frame, is guessed at, is kept, or tells its address."""
    for path, seen in site.items():
        assert HEADERS.items() <= seen.headers.items(), path
        policy = dict(part.split(" ", 1) for part in seen.headers["Content-Security-Policy"].split("; "))
        assert (policy.pop("default-src"), policy.pop("frame-ancestors"), policy.pop("base-uri")) == ("'none'",) * 3
        assert set(policy.values()) == {"'self'"}


def test_every_page_has_landmarks_and_names(site: dict[str, Seen]) -> None:
    """A screen reader finds title, language, landmarks, one first heading, and a name for each control and table."""
    for seen in html(site):
        ids = [element.attributes["id"] for element in seen.elements if "id" in element.attributes]
        assert len(ids) == len(set(ids)), seen.url
        assert seen.one("html").attributes == {"lang": "en"}
        assert seen.one("title").text.strip(), seen.url
        assert seen.one("h1").text.strip(), seen.url
        assert seen.one("a", class_="skip").attributes["href"] == "#main"
        assert seen.one("main").attributes["id"] == "main"
        assert all(nav.attributes["aria-label"] for nav in seen.all("nav"))
        levels = [int(element.tag[1]) for element in seen.elements if re.fullmatch(r"h[1-6]", element.tag)]
        assert all(after <= before + 1 for before, after in pairwise(levels)), seen.url
        labels = {label.attributes["for"] for label in seen.all("label")}
        controls = [e for tag in ("input", "select", "textarea") for e in seen.all(tag)]
        named = [control for control in controls if control.attributes.get("type") != "hidden"]
        assert {control.attributes["id"] for control in named} == labels, seen.url
        for element in seen.elements:
            for name in ("aria-labelledby", "aria-describedby"):
                assert set(element.attributes.get(name, "").split()) <= set(ids), (seen.url, element)
        assert all(e.text.strip() or e.attributes.get("aria-label") for tag in ("a", "button") for e in seen.all(tag))
        tables = seen.all("table")
        assert len(seen.all("caption")) == len(tables) == len(seen.all("div", role="region", tabindex="0"))
        assert all(th.attributes["scope"] in {"col", "row"} for th in seen.all("th")), seen.url


def test_every_page_is_marked_in_the_navigation(site: dict[str, Seen]) -> None:
    """The navigation marks the section of each page."""
    for seen in html(site):
        section = seen.url.split("/__pages/")[1].partition("/")[0].partition("?")[0]
        marked = [a for a in seen.all("a") if a.attributes.get("aria-current") and a.text.lower() in SECTIONS]
        assert [a.attributes["href"] for a in marked[:1]] == [f"/__pages/{section}"], seen.url


def test_no_page_has_script_or_style_of_its_own(site: dict[str, Seen]) -> None:
    """Scripts and styles are files, as the policy wants, and one page has a script."""
    for seen in html(site):
        assert seen.all("style") == []
        assert [e for e in seen.elements if any(n.startswith("on") or n == "style" for n in e.attributes)] == []
        scripts = [script.attributes["src"] for script in seen.all("script")]
        assert scripts == (["/__pages/static/pages.js"] if "/requests" in seen.url else [])


def test_markup_is_text(site: dict[str, Seen]) -> None:
    """Markup in a text of an order is shown as it was sent; it makes no element and is not evaluated."""
    assert [seen.url for seen in html(site) if seen.all("canary") or "12344321" in seen.body] == []
    (order,) = (seen for seen in html(site) if seen.one("h1").text == f"Order {MARK}")
    assert order.text.count(MARK) > 40
    pages = ("guests", "guests/", "orders", "ledger", "requests")
    for name in pages:
        assert any(MARK in seen.text for seen in html(site) if f"/__pages/{name}" in seen.url), name


@pytest.mark.parametrize(
    "text",
    [
        *("john", "JOHN", "ohn", "dœ", "john STRASSE", "strasse john", "john.doe@example.com", "John.Doe@EXAMPLE.com"),
        *("B7524AE6", "b7524ae6", "PLAIN-1", " PLAIN-1 ", "john B7524"),
    ],
)
def test_a_guest_is_found(browser: Browser, text: str) -> None:
    """A guest is found by a part of the name, by email, identifier, and the reference of an order."""
    seen = browser.open(f"/__pages/guests?q={quote_plus(text)}")
    assert "1 guest found" in seen.text
    profile = browser.open(seen.link("John Dœ Straße"))
    assert profile.one("h1").text == "John Dœ Straße"
    assert "ProfileSystem B7524AE6 none" in profile.text


def test_a_guest_is_found_by_references(browser: Browser) -> None:
    """The reference of the guest itself, and the ref of its order, find it too."""
    store = browser.emulator.store
    (order,) = store.orders_called("PLAIN-1")
    guest = store.guest_of(order)
    for text in (guest, guest.upper(), guest[:13], order.ref, order.ref.upper()):
        assert browser.open(f"/__pages/guests?q={text}").link("John Dœ Straße") == f"/__pages/guests/{guest}"


def test_guests_are_filtered_by_their_type(browser: Browser) -> None:
    """A type selects guests, also among those that are found; another search keeps the type, and All removes it."""
    seen = browser.open("/__pages/guests")
    everybody = len(seen.all("tr"))
    travellers = browser.open(seen.link("Guest type: Traveller"))
    customers = browser.open(travellers.link("Guest type: Customer"))
    assert {a.text for a in travellers.all("a", aria_current="true")} == {"Traveller"}
    names = [a.text for th in travellers.all("th", scope="row") for a in travellers.all("a") if a.text == th.text]
    assert names == ["Zoe", "Bob", "Ann Lee"]
    assert len(travellers.all("tr")) + len(customers.all("tr")) == everybody + 1
    assert travellers.form("/__pages/guests") == {"type": "traveller", "q": ""}
    none = browser.open("/__pages/guests?q=john&type=traveller")
    assert "No guest of the type traveller is found for “john”." in none.text
    assert "1 guest found" in browser.open(none.link("Guest type: All")).text


def test_nobody_is_found(browser: Browser) -> None:
    """A search without a result says so; words that belong to different guests find nobody."""
    for text in ("nobody", "john%20maria", "johnB7524AE6"):
        assert "No guest is found" in browser.open(f"/__pages/guests?q={text}").text


def test_from_the_guest_to_the_item(browser: Browser) -> None:
    """The profile leads to the Orders tab, the tab to the order, and the order shows all of its parts."""
    found = browser.open("/__pages/guests?q=john")
    guest = browser.open(found.link("John Dœ Straße"))
    (tab,) = (a for a in guest.all("a") if a.attributes["href"] == f"{found.link('John Dœ Straße')}/orders")
    order = browser.open(browser.open(tab.attributes["href"]).link("PLAIN-1"))
    assert order.one("h1").text == "Order PLAIN-1"
    assert order.link("John Dœ Straße") == found.link("John Dœ Straße")
    cards = [" ".join(card.text.split()) for card in order.all("article")]
    assert [card for card in cards if card.startswith("Ann Lee Uses the items: Phone AZ10. ")]
    assert [card for card in cards if card.startswith("Bob Uses no item.")]
    assert [card for card in cards if card.startswith("Blue case") and "Engraving engraving For Ann" in card]
    assert "Price 105 EUR" in order.text
    assert "First time order firstTimeOrder true" in order.text
    targets = {element.attributes.get("id") for element in order.elements}
    assert {a.attributes["href"][1:] for a in order.all("a") if a.text == "Phone AZ10"} <= targets


def test_lists_come_in_pages(browser: Browser) -> None:
    """The pages of the orders of a guest have each order once, the newest first."""
    (guest,) = browser.emulator.store.guests_found("maria@many.example")
    path: str | None = f"/__pages/guests/{guest}/orders"
    names: list[str] = []
    while path is not None:
        seen = browser.open(path)
        names += [a.text for th in seen.all("th", scope="row") for a in seen.all("a") if a.text == th.text.strip()]
        following = seen.all("a", rel="next")
        path = following[0].attributes["href"] if following else None
    assert names == [f"MANY-{number}" for number in reversed(range(60))]


def test_parts_of_an_order_come_in_pages(browser: Browser) -> None:
    """A consumer links to its items on other pages of the order, and shows only some of many."""
    (large,) = browser.emulator.store.orders_called("LARGE")
    seen = browser.open(f"/__pages/orders/{large.ref}")
    assert len(seen.all("article")) == 51
    assert ", and 5 more." in seen.text
    path = seen.link("Thing 54")
    assert path.partition("#")[0] != seen.link("Thing 35").partition("#")[0]
    other = browser.open(seen.link("Thing 54").partition("#")[0])
    assert other.all("article", id=seen.link("Thing 54").partition("#")[2])


def test_the_ledger_is_filtered(browser: Browser) -> None:
    """The ledger shows the changes of one operation, effect, reference or request; the filter stays in its pages."""
    store = browser.emulator.store
    (order,) = store.orders_called("PLAIN-1")
    seen = browser.open(f"/__pages/ledger?q={order.ref.upper()}")
    assert len(seen.all("tr")) == 1 + 8
    assert len(browser.open(f"/__pages/ledger?q={order.ref}&effect=deleted").all("tr")) == 0
    path: str | None = "/__pages/ledger?operation=orders.create&effect=created"
    rows = 0
    while path is not None:
        seen = browser.open(path)
        rows += len(seen.all("tr")) - 1
        following = seen.all("a", rel="next")
        path = following[0].attributes["href"] if following else None
    assert rows == len(store.effects)


def test_the_ledger_is_read_in_parts(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    """A filter that fits few of many changes is answered after a part of them, with a link to go on."""
    monkeypatch.setattr(views, "SCANNED", 100)
    store = browser.emulator.store
    first = store.effects[0]["ref"]
    seen, opened = browser.open(f"/__pages/ledger?q={first}"), 1
    assert "Older changes are not searched yet" in seen.text
    while not seen.all("tr"):
        seen, opened = browser.open(seen.link("Search older changes")), opened + 1
    assert opened == -(-len(store.effects) // 100)
    assert seen.all("th", scope="row")[-1].text == "1"


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        *(
            (f"{kind}/{ref}", 400, "is a UUID")
            for kind in ("guests", "orders")
            for ref in ("x", "1" * 32, "%00", "..%5c", "%7B%7D")
        ),
        *((f"guests/{ref}/orders", 400, "is a UUID") for ref in ("x", "%7B%7D", "{" + ABSENT + "}")),
        *((f"{kind}/{ABSENT}", 404, "has this reference") for kind in ("guests", "orders")),
        *((f"{name}?q={'a' * 201}", 400, "201 characters") for name in ("guests", "orders", "ledger")),
        ("guests?q=" + "+".join("abcdefg"), 400, "7 words"),
        *(
            (f"{name}?page={page}", 400, "page: must be a whole number")
            for name in ("guests", "orders")
            for page in ("0", "x", "-1", "1.5", "9" * 19, "%00", "")
        ),
        *((f"{name}?page=1000", 404, "no page 1,000") for name in ("guests", "orders")),
        ("orders?page=999999", 404, "no page 999,999"),
        ("guests?page=2&page=1", 404, "This list has 1 page, and no page 2."),
        ("orders?page=3", 404, "This list has 2 pages, and no page 3."),
        ("guests?q=nobody&page=2", 404, "no page 2"),
        ("guests?type=x", 400, "type: choose"),
        ("ledger?before=x", 400, "before: must be"),
        ("ledger?operation=x", 400, "operation: choose"),
        ("ledger?effect=%3Cb%3E", 400, "effect: choose"),
        ("requests?kind=x", 400, "kind: choose"),
        ("requests/events?after=x", 400, "after: must be"),
        *((path, 404, "no such page") for path in ("nothing", "guests/", "switches/x", f"guests/{ABSENT}/items")),
        *(
            (f"static/{name}", 404, "no such file")
            for name in ("x", "..%2fserving.py", "%2e%2e%2ftemplates%2fbase.html")
        ),
    ],
)
def test_bad_requests_are_pages(browser: Browser, path: str, status: int, words: str) -> None:
    """What is wrong is a page with the right status that says so."""
    seen = browser.open(f"/__pages/{path}")
    assert (seen.status, words in seen.text) == (status, True), seen.text
    assert HEADERS.items() <= seen.headers.items()
    assert seen.one("p", role="alert").text


def test_a_very_long_search_is_one_sentence(browser: Browser) -> None:
    """A request that is too long to be read is answered in a sentence that repeats none of it."""
    seen = browser.open("/__pages/guests?q=" + "ab" * 5_000)
    assert (seen.status, seen.body) == (
        400,
        "400: the request is not HTTP, or its first line or a header is longer than 8,190 bytes.\n",
    )


def test_wrong_methods_name_the_right_ones(browser: Browser) -> None:
    """A page can be read, and only a form can be sent."""
    for method, path, allow in (
        ("DELETE", "guests", "GET"),
        ("POST", "static/pages.css", "GET"),
        ("POST", "requests/events", "GET"),
        ("HEAD", "requests/events", "GET"),
        ("PUT", "faults", "GET, POST"),
        ("GET", "faults/add", "POST"),
    ):
        seen = browser.open(f"/__pages/{path}", method=method)
        assert (seen.status, seen.headers["Allow"]) == (405, allow)
    for path in ("guests", "static/pages.css"):
        seen = browser.open(f"/__pages/{path}", method="HEAD")
        assert (seen.status, seen.body) == (200, "")


def test_an_error_leads_back_to_its_list(browser: Browser) -> None:
    """The page of an error has a link to the list of its section; a page of no section has one to the guests."""
    for path, link in (
        (f"orders/{ABSENT}", "orders"),
        ("orders?page=99", "orders"),
        ("ledger?before=x", "ledger"),
        ("nothing", "guests"),
        (f"guests/{ABSENT}/orders", "guests"),
    ):
        seen = browser.open(f"/__pages/{path}")
        assert seen.link(f"Open the page {link.capitalize()}") == f"/__pages/{link}"


def test_an_empty_emulator_says_how_to_begin() -> None:
    """Without orders the pages say so, and how to load some."""
    with browsing() as browser:
        command = "cdp-orders load orders.jsonl --base-url {} --client-key key --api-token token"
        assert command.format(browser.served.base_url) in browser.open("/__pages/guests").text
        seen = browser.open("/__pages/guests", Host="localhost")
        assert command.format("http://localhost") in seen.text
        seen = browser.open("/__pages/orders")
        assert "no orders yet" in seen.text
        assert seen.link("Guests") == "/__pages/guests"
        assert "no changes yet" in browser.open("/__pages/ledger").text
        assert "no requests yet" in browser.open("/__pages/requests").text


def test_long_values_are_cut() -> None:
    """A value that is too long to read is cut, and says how long it is."""
    emulator = Emulator()
    order = emulator.store.create("orders", {**ORDER, "paymentType": "A" * 100_000}, CAUSE)
    emulator.store.create("contacts", {"emails": [f"{n}@e.example" for n in range(1000)]}, CAUSE, order.ref)
    with browsing(emulator) as browser:
        seen = browser.open(f"/__pages/orders/{order.ref}")
    assert "A… (100,000 characters)" in seen.text
    assert "49@e.example, and 950 more" in seen.text


def test_long_names_are_cut_in_titles_and_tables() -> None:
    """A name of 300 characters is whole where it is a value of its own, and short in tables, links and titles."""
    emulator = Emulator()
    name, reference = "N" * 300, "R" * 255
    order = emulator.store.create("orders", {**ORDER, "referenceId": reference, "channel": reference}, CAUSE)
    emulator.store.create("items", {"type": "X", "name": name, "price": 1}, CAUSE, order.ref)
    identifiers: list[Json] = [{"provider": name, "id": name}]
    emulator.store.create("contacts", {"firstName": name, "identifiers": identifiers}, CAUSE, order.ref)
    guest = emulator.store.guest_of(order)
    with browsing(emulator) as browser:
        for path in ("guests", "orders", "ledger", f"guests/{guest}/orders"):
            seen = browser.open(f"/__pages/{path}")
            assert ("N" * 101 in seen.body, "R" * 101 in seen.body) == (False, False), path
            assert "N" * 100 + "…" in seen.body or "R" * 100 + "…" in seen.body
        seen = browser.open(f"/__pages/orders/{order.ref}")
        assert seen.one("h1").text == f"Order {'R' * 100}…"
        assert (seen.body.count(reference), seen.body.count(name)) == (2, 4)


UNSEEN = "a\0b\x1b[1mc\x7fd\u202etxt.exe\u2066e"


def test_what_cannot_be_seen_is_shown_as_its_code() -> None:
    """Control characters and marks that turn letters round are codes, so that two different texts never look alike."""
    codes = r"a\u0000b\u001b[1mc\u007fd\u202etxt.exe\u2066e"
    emulator = Emulator()
    order = emulator.store.create("orders", {**ORDER, "referenceId": UNSEEN, "channel": UNSEEN}, CAUSE)
    identifiers: list[Json] = [{"provider": "P", "id": UNSEEN}]
    person: dict[str, Json] = {"firstName": UNSEEN, "emails": [UNSEEN], "identifiers": identifiers}
    emulator.store.create("contacts", person, CAUSE, order.ref)
    guest = emulator.store.guest_of(order)
    emulator.traffic.add(emulator.store.clock(), "GET", f"/{UNSEEN}", "", 404)
    with browsing(emulator) as browser:
        for path in (
            *("guests", "orders", "requests", "ledger", f"guests/{guest}", f"guests/{guest}/orders"),
            *(f"orders/{order.ref}", f"guests?q={quote_plus(UNSEEN)}", f"orders?q={quote_plus(UNSEEN)}"),
        ):
            seen = browser.open(f"/__pages/{path}")
            assert (seen.status, codes in seen.text) == (200, True), path
            typed = {value for one in seen.elements for value in one.attributes.values() if UNSEEN in value}
            assert typed <= {UNSEEN}, path  # only the field of the search has what was typed
            assert "\u202e" not in seen.text.replace(UNSEEN, ""), path


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("2024-01-01T16:17:16Z", "2024-01-01 16:17:16 UTC"),
        ("2024-01-01T16:17:16.250Z", "2024-01-01 16:17:16.250 UTC"),
        ("2024-01-01T18:17:16+02:00", "2024-01-01 16:17:16 UTC"),
    ],
)
def test_times_are_readable(sent: str, shown: str) -> None:
    """A time that a client sent is in UTC, in the same form as all times; a text that is no time is shown as it is."""
    emulator = Emulator()
    order = emulator.store.create("orders", {**ORDER, "orderedAt": sent}, CAUSE)
    emulator.store.create(
        "contacts", {"firstName": "A", "dateOfBirth": sent, "passportExpiry": "soon"}, CAUSE, order.ref
    )
    with browsing(emulator) as browser:
        assert shown in browser.open("/__pages/orders").text
        seen = browser.open(f"/__pages/orders/{order.ref}").text
        assert f"Ordered at {shown}" in seen
        assert f"Date of birth {shown}" in seen
        assert "Passport expiry soon" in seen


def test_a_guest_that_becomes_a_customer_keeps_its_place() -> None:
    """The types follow the guests, and the guests of a type are in the order of their creation."""
    emulator = Emulator()
    order = emulator.store.create("orders", ORDER, CAUSE)

    def person(kind: str, name: str) -> None:
        emulator.store.create(kind, {"firstName": name, "emails": [f"{name}@e.example"]}, CAUSE, order.ref)

    for kind, name in (("consumers", "A"), ("contacts", "B"), ("consumers", "Z"), ("contacts", "A")):
        person(kind, name)

    def names(text: str, kind: str) -> list[str]:
        refs = emulator.store.guests_found(text, kind)
        return [str(emulator.store.get("guests", ref).data["firstName"]) for ref in refs]

    assert (names("", "customer"), names("", "traveller"), names("", "")) == (["B", "A"], ["Z"], ["Z", "B", "A"])
    assert names("a@e.example", "") == ["A"]
    assert names("a@e.example", "traveller") == []
    assert names("e example . @", "customer") == ["B", "A"]
    assert names("e example . @ z", "") == ["Z"]
    assert names("e example . @ q", "") == []


def test_orders_without_parts() -> None:
    """An order whose parts stayed when it was deleted is gone from the pages of its guest."""
    emulator = Emulator()
    emulator.store.switches = attrs.evolve(emulator.store.switches, cascade=False)
    order = emulator.store.create("orders", ORDER, CAUSE)
    emulator.store.create("contacts", PERSON, CAUSE, order.ref)
    guest = emulator.store.guest_of(order)
    with browsing(emulator) as browser:
        assert "1 order" in browser.open(f"/__pages/guests/{guest}/orders").text
        emulator.store.delete(order, CAUSE)
        assert "the contact of no order" in browser.open(f"/__pages/guests/{guest}/orders").text
        assert "deleted" in browser.open("/__pages/ledger").text
