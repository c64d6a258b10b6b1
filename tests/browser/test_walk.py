"""What people do with the emulator's pages, in a real browser."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import orjson
import pytest
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import Locator, Route, expect

from cdp_orders_async.emulator import Switches
from cdp_orders_async.emulator.records import Invalid, Json
from cdp_orders_async.emulator.rules import V2_1_RULES, V2_RULES, Rules
from tests.browser.windows import opened
from tests.cli.support import COMMAND, PARTS, PATIENCE, environment, orders
from tests.emulator.reading import Browser, Seen, browsing
from tests.emulator.talking import ABSENT, ITEM, ORDER, PERSON
from tests.emulator.test_legacy import ADA, FLIGHT, OLD_ORDER
from tests.emulator.test_pages_forms import BASIC

TABS = 60
"""Presses of the Tab key after which a link counts as not reachable."""


@pytest.fixture(name="site")
def _site() -> Iterator[Browser]:
    with browsing() as site:
        yield site


def call(site: Browser, method: str, path: str, body: Json = None) -> Seen:
    """Send a request to the API."""
    headers = {"Authorization": BASIC, "Content_Type": "application/json"}
    return site.open(path, method=method, body=None if body is None else orjson.dumps(body), **headers)


def create(site: Browser, path: str, body: Json) -> dict[str, Json]:
    """Create something by the API."""
    seen = call(site, "POST", path, body)
    assert seen.status == 201, seen.body
    created: dict[str, Json] = orjson.loads(seen.body)
    return created


def click(target: Locator) -> None:
    """Use something by the mouse."""
    target.click()


def reach(target: Locator) -> None:
    """Go to something by the Tab key."""
    for _ in range(TABS):
        if target.evaluate("one => one === document.activeElement"):
            break
        target.page.keyboard.press("Tab")
    expect(target).to_be_focused()


def press(target: Locator) -> None:
    """Use something by the keyboard alone."""
    reach(target)
    target.page.keyboard.press("Enter")


@pytest.fixture(name="either", params=["chromium", "scriptless"])
def _either(request: pytest.FixtureRequest) -> Chromium:
    """Give a browser with JavaScript, then one without."""
    browser: Chromium = request.getfixturevalue(request.param)
    return browser


@pytest.mark.parametrize("go", [click, press])
def test_get_started(either: Chromium, site: Browser, go: Callable[[Locator], None]) -> None:
    """The five steps of the vendor's "Get started", by clicks or by keys, with and without JavaScript."""
    order = create(site, "/v2.1/orders", ORDER)["ref"]
    contact = create(site, f"/v2.1/orders/{order}/contacts", PERSON)
    assert isinstance(contact["guest"], dict)
    reference = str(contact["guest"]["href"]).rpartition("/")[2]
    create(site, f"/v2.1/orders/{order}/consumers", {"firstName": "Ann"})
    with opened(either, site.served.base_url) as window:
        page = window.page
        page.goto("/")
        go(page.get_by_role("navigation", name="Main").get_by_role("link", name="Guests"))
        search = page.get_by_role("searchbox", name="Search guests")
        (reach if go is press else click)(search)
        page.keyboard.type(reference)
        page.keyboard.press("Enter")
        expect(page.get_by_role("status")).to_have_text(f"1 guest found for “{reference}”.")
        go(page.get_by_role("link", name="Guest type: All"))
        go(page.get_by_role("link", name="John"))
        expect(page).to_have_title("John – CDP orders emulator")  # noqa: RUF001 a dash
        go(page.get_by_role("navigation", name="Guest", exact=True).get_by_role("link", name="Orders"))
        go(page.get_by_role("link", name="B94TXY-1"))
        expect(page.get_by_role("heading", level=1)).to_have_text("Order B94TXY-1")
        expect(page.get_by_role("region", name="Contact").get_by_role("link", name="John")).to_be_visible()


def test_a_load_is_watched(chromium: Chromium, site: Browser, tmp_path: Path) -> None:
    """The requests of a load come into the open page while it runs; a pause holds them back."""
    first, *others = (orjson.dumps(order) + b"\n" for order in orders(3))
    variables = {"CDP_BASE_URL": site.served.base_url, "CDP_CLIENT_KEY": "key", "CDP_API_TOKEN": "token"}
    command = [*COMMAND, "load", "-", "--journal", "j.sqlite", "--outcomes", "o.jsonl"]
    with opened(chromium, site.served.base_url) as window:
        page = window.page
        page.goto("/__pages/requests")
        rows = page.locator("#rows tr")
        expect(page.get_by_text("There were no requests yet.")).to_be_visible()
        expect(page.get_by_role("status")).to_have_text("Waiting for requests.")
        with subprocess.Popen(
            command,
            cwd=tmp_path,
            env=environment(variables),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as load:
            try:
                assert load.stdin is not None
                load.stdin.write(first)
                load.stdin.flush()
                expect(rows).to_have_count(1 + PARTS)  # one look: nobody knows how long an input is that pauses
                assert load.poll() is None
                expect(page.get_by_text("There were no requests yet.")).to_have_count(0)
                pause = page.get_by_role("button", name="Pause")
                pause.click()
                load.stdin.write(b"".join(others))
                load.stdin.close()
                assert load.wait(PATIENCE) == 0
            finally:
                load.kill()
        assert rows.count() == 1 + PARTS
        call(site, "GET", f"/v2.1/orders/{ABSENT}")
        pause.click()
        expect(rows).to_have_count(1 + 3 * PARTS + 1)
        expect(rows.first).to_contain_text(f"GET /v2.1/orders/{ABSENT}")
        expect(rows.first).to_contain_text("404")


def test_a_fault_and_a_switch_bite(either: Chromium, site: Browser) -> None:
    """A fault and a switch that a person sets in the forms decide the next answers, and the pages show that."""
    with opened(either, site.served.base_url) as window:
        page = window.page
        page.goto("/__pages/faults")
        expect(page.get_by_text("The plan is empty: there are no faults.")).to_be_visible()
        page.get_by_label("Operation").select_option("orders.get")
        page.get_by_label("Status (for status and html)").fill("418")
        page.get_by_role("button", name="Add the fault").click()
        expect(page.get_by_role("status")).to_have_text("The fault is added to the plan.")
        page.get_by_role("navigation", name="Main").get_by_role("link", name="Switches").click()
        page.get_by_label("unknown_ref_status").select_option("400")
        page.get_by_role("button", name="Set the switches").click()
        expect(page.get_by_role("status")).to_have_text("The switches are set. They are used from the next request on.")
        assert [call(site, "GET", f"/v2.1/orders/{ABSENT}").status for _ in range(2)] == [418, 400]
        page.get_by_role("navigation", name="Main").get_by_role("link", name="Requests").click()
        page.get_by_label("Result").select_option("With a fault or a limit")
        page.get_by_role("button", name="Filter").click()
        expect(page.locator("#rows tr")).to_have_count(1)
        expect(page.locator("#rows tr")).to_contain_text("fault: status, accepted")


def test_the_page_of_requests_refreshes(scriptless: Chromium, site: Browser) -> None:
    """Without JavaScript the page of requests loads again and shows new ones, until the reader stops it."""
    with opened(scriptless, site.served.base_url) as window:
        page = window.page
        page.goto("/__pages/requests")
        call(site, "GET", f"/v2.1/orders/{ABSENT}")
        expect(page.locator("#rows tr")).to_have_count(1)
        page.get_by_role("link", name="Stop the refreshing").click()
        expect(page.get_by_role("link", name="Refresh it every 5 seconds")).to_be_visible()
        expect(page.get_by_role("button", name="Pause")).to_be_hidden()


def marked(rules: Rules, kind: str) -> tuple[dict[str, Json], list[str]]:
    """Return values with markup in every field of this *kind* that takes any text, and the markup.

    Some texts must be in capitals, which are markup too.
    """
    values: dict[str, Json] = {}
    marks: list[str] = []
    for name, check in rules.fields.items():
        mark = f"<img src=x onerror=alert('{kind}.{name}')>"
        shapes: list[Json] = [mark, mark.upper(), [mark], [{"provider": mark, "id": f"id {mark}"}]]
        segment = {
            **FLIGHT["flightSegments"][0],
            **dict.fromkeys(("id", "fareClass", "fareFamily", "flightNumber"), mark),
        }
        shapes.append([segment])
        for shape in shapes:
            try:
                check(shape)
            except Invalid:
                continue
            values[name] = shape
            marks.append(mark.upper() if shape == mark.upper() else mark)
            break
    return values, marks


@pytest.mark.parametrize(
    ("version", "kinds", "plain"),
    [("v2.1", V2_1_RULES, (ORDER, ITEM, PERSON)), ("v2", V2_RULES, (OLD_ORDER, FLIGHT, ADA))],
    ids=["v2.1", "v2"],
)
def test_markup_is_text(
    chromium: Chromium, site: Browser, version: str, kinds: Mapping[str, Rules], plain: Sequence[dict[str, Json]]
) -> None:
    """Markup in every text of every kind is shown as it was sent. No script runs, even where no policy stops it."""
    order, marks = marked(kinds["orders"], "orders")
    ref = create(site, f"/{version}/orders", {**plain[0], **order})["ref"]
    items, of_items = marked(kinds["items"], "items")
    item = create(site, f"/{version}/orders/{ref}/orderItems", {**plain[1], **items})["ref"]
    contact, of_contact = marked(kinds["contacts"], "contacts")
    created = create(site, f"/{version}/orders/{ref}/contacts", {**plain[2], **contact})
    consumer, of_consumer = marked(kinds["consumers"], "consumers")
    uses: Json = {"items": [{"href": f"http://elsewhere.example/{version}/orderItems/{item}"}]}
    create(site, f"/{version}/orders/{ref}/consumers", {**plain[2], **consumer, "orderItems": uses})
    of_extension = "<img src=x onerror=alert('ext')>"
    pair: dict[str, Json] = {"pair": of_extension}
    if version == "v2":
        create(site, f"/v2/orders/{ref}/extext", {"key": "default", **pair})
    else:
        create(site, f"/v2.1/orders/{ref}/extensions/ext", pair)
        create(site, f"/v2.1/orderItems/{item}/extensions/ext", pair)
    assert len(marks + of_items + of_contact + of_consumer) > {"v2.1": 35, "v2": 28}[version]
    assert isinstance(created["guest"], dict)
    guest = str(created["guest"]["href"]).rpartition("/")[2]
    query = f"q={marks[0]}"
    found = {
        f"orders/{ref}": [*marks, *of_items, *of_contact, *of_consumer, of_extension],
        f"guests/{guest}": of_contact,
        f"guests/{guest}/orders": [str(order["referenceId"])],
        "guests": [str(contact["firstName"]), str(consumer["firstName"])],
        f"guests?{query}": marks[:1],
        f"orders?{query}": marks[:1],
        "orders": [str(order["referenceId"])],
        "ledger": [str(order["referenceId"])],
        f"ledger?{query}": [],
        "requests": ["onerror"],
    }
    call(site, "GET", "/v2.1/orders?referenceId=<img/src=x/onerror=alert('path')>")
    with opened(chromium, site.served.base_url, policy=False) as window:
        page = window.page
        for path, texts in found.items():
            page.goto(f"/__pages/{path}")
            shown = page.locator("body").inner_text()
            assert [text for text in texts if text not in shown] == [], path
            assert page.locator("img").count() == 0
        page.goto("/__pages/requests")
        call(site, "GET", "/v2.1/orders?referenceId=<img/src=x/onerror=alert('live')>")
        expect(page.locator("#rows tr").first).to_contain_text("<img/src=x/onerror=alert('live')>")


def test_another_site_can_do_nothing(chromium: Chromium, site: Browser) -> None:
    """A page of another site can neither send the forms of the pages nor read them."""
    base = site.served.base_url
    other = "http://127.0.0.1:9/"
    site.served.switches = Switches(match_hours=7)

    def serve(route: Route) -> None:
        form = (
            f'<form method="post" action="{base}/__pages/switches"><button name="action" value="defaults">Win</button>'
        )
        route.fulfill(content_type="text/html", body=f"<!DOCTYPE html><title>Other</title>{form}</form>")

    with opened(chromium) as window:
        page = window.page
        page.route(f"{other}**", serve)
        page.goto(other)
        read = page.evaluate("url => fetch(url).then((got) => got.text(), () => 'refused')", f"{base}/__pages/guests")
        assert read == "refused"
        assert [trouble for trouble in window.troubles if "CORS" not in trouble] == []
        window.troubles.clear()
        page.get_by_role("button", name="Win").click()
        expect(page.get_by_role("alert")).to_contain_text("may come from a page of another site, so nothing was done")
        assert (window.accessible(), window.wider(), window.unreached()) == ([], [], [])
        assert site.served.switches == Switches(match_hours=7)
