"""What every page of the emulator is like in a real browser: by axe, by keyboard, narrow and wide, and printed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue

import pytest
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import Playwright, expect

from cdp_orders_async.emulator import Emulator, Faults, running
from cdp_orders_async.emulator.pages import views, visit
from cdp_orders_async.emulator.records import Json
from tests.browser.conftest import launched
from tests.browser.windows import DESK, PAPER, PATIENCE, PHONE, WHITE, Window, opened
from tests.databases import REQUIRED
from tests.emulator.filling import CAUSE, fill
from tests.emulator.reading import Browser, browsing
from tests.emulator.talking import ABSENT, ORDER
from tests.emulator.test_pages_access import EVERYWHERE, TOKEN
from tests.emulator.test_pages_forms import PLAN

ROWS = 3
"""The rows of a page of a list, so that few of them make a second page."""


@pytest.fixture(name="site", scope="module")
def _site() -> Iterator[Browser]:
    emulator = Emulator(seed=7, faults=Faults.of(PLAN))
    fill(emulator, many=ROWS + 2)
    fill_widely(emulator)
    with pytest.MonkeyPatch.context() as patched, browsing(emulator) as site:
        for module in (views, visit):
            patched.setattr(module, "ROWS", ROWS)
        for _ in range(ROWS):
            site.open(f"/v2.1/orders/{ABSENT}")
        yield site


def fill_widely(emulator: Emulator) -> None:
    """Store an order with the longest words, with letters from right to left, and with pictures."""
    store, long = emulator.store, "W" * 300
    for reference, name in (
        ("WIDE", long),
        ("\u0637\u0644\u0628", "\u0645\u062d\u0645\u062f \u0639\u0628\u062f"),
        ("\U0001f381" * 50, "\U0001f469\u200d\U0001f467"),
    ):
        order = store.create("orders", {**ORDER, "referenceId": reference, "channel": long, "status": long}, CAUSE).ref
        named: list[Json] = [{"provider": long, "id": long + name}]
        person: dict[str, Json] = {
            "firstName": name,
            "lastName": long,
            "emails": [f"{long}@{long}"],
            "identifiers": named,
        }
        item = store.create("items", {"type": long, "name": name, "description": long, "price": 1e15}, CAUSE, order).ref
        store.create("contacts", person, CAUSE, order)
        store.create("consumers", {"firstName": name, "orderItems": [item]}, CAUSE, order)
        store.extend("order_extensions", order, {long[:64]: long, "list": [long]}, CAUSE)
    emulator.traffic.add(store.clock(), "GET", f"/{long}", "orders.list", 404, long)


def walk(window: Window, site: Browser) -> Iterator[str]:
    """Open each kind of page, one after the other, and yield its name."""
    store = site.emulator.store
    refs = {str(order.data["referenceId"]): order.ref for order in store.all("orders")}
    guest, wide = (store.guest_of(store.orders_called(name)[0]) for name in ("PLAIN-1", "WIDE"))
    for path in (
        *("guests", "guests?q=john", "guests?type=traveller", "guests?q=none", f"guests/{guest}"),
        *(f"guests/{guest}/orders", "orders?page=2", "orders?q=none", f"orders/{ABSENT}"),
        *(f"orders/{refs[name]}" for name in ("PLAIN-1", "LARGE", next(name for name in refs if "<" in name))),
        *(f"orders/{refs['WIDE']}", f"guests/{wide}", f"guests/{wide}/orders", f"guests?q={'W' * 200}"),
        *("requests", "requests?kind=failed", "ledger", "ledger?q=none", "switches", "faults"),
    ):
        window.page.goto(f"/__pages/{path}")
        yield path
    window.page.goto("/__pages/switches")
    window.page.get_by_label("match_hours").fill("soon")
    window.page.get_by_role("button", name="Set the switches").click()
    window.page.get_by_role("alert").wait_for()
    window.page.wait_for_load_state()  # with its style
    yield "switches that are wrong"
    window.page.goto("/__pages/faults")
    window.page.get_by_label("Plan as JSON").fill("{")
    window.page.get_by_role("button", name="Set the plan").click()
    window.page.get_by_role("alert").wait_for()
    window.page.wait_for_load_state()  # with its style
    yield "a plan that is wrong"


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_every_page_is_accessible(chromium: Chromium, site: Browser, width: int) -> None:
    """On a phone and at a desk, in light and in dark, axe finds nothing, and no page scrolls sideways."""
    with opened(chromium, site.served.base_url, width=width) as window:
        found = {path: [*window.accessible(), *window.wider()] for path in walk(window, site)}
    assert {path: wrong for path, wrong in found.items() if wrong} == {}
    assert len(found) == 24


def test_rows_of_wide_tables_are_low_on_a_phone(chromium: Chromium, site: Browser) -> None:
    """What a phone shows of a row is not blank because columns that are out of sight have many lines."""
    with opened(chromium, site.served.base_url, width=PHONE) as window:
        (order,) = site.emulator.store.orders_called("PLAIN-1")
        for path, most in ((f"ledger?q={order.ref}", 2), ("requests?operation=orders.get", 1)):
            window.page.goto(f"/__pages/{path}")
            row = window.page.locator("tbody tr").first
            line = 1.5 * window.page.evaluate("() => parseFloat(getComputedStyle(document.body).fontSize)")
            box = row.bounding_box()
            assert box is not None
            assert box["height"] < (most + 1) * line + 16, path


def test_every_page_works_by_keyboard(chromium: Chromium, site: Browser) -> None:
    """The Tab key reaches every link and control in its order, and each shows that it has the focus."""
    with opened(chromium, site.served.base_url, width=PHONE) as window:
        found = {path: window.unreached() for path in walk(window, site)}
        assert {path: wrong for path, wrong in found.items() if wrong} == {}
        page = window.page
        page.goto("/__pages/guests")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        assert page.evaluate("() => document.activeElement.id") == "main"


def test_every_page_can_be_printed(chromium: Chromium, site: Browser) -> None:
    """Paper has dark text on white, no controls, and all columns, whatever the screen has."""
    with opened(chromium, site.served.base_url, width=PAPER, scheme="dark") as window:
        for path in walk(window, site):
            window.page.emulate_media(media="print")
            assert window.wider() == [], path
            assert window.cut() == [], path
            assert window.broken() == [], path
            assert window.page.evaluate("() => getComputedStyle(document.documentElement).backgroundColor") == WHITE
            assert not window.page.get_by_role("navigation", name="Main").is_visible()
            assert window.page.get_by_role("searchbox").or_(window.page.get_by_role("button")).count() == 0
            window.page.emulate_media(media="screen")


def test_an_empty_emulator_is_accessible(chromium: Chromium) -> None:
    """So are the pages of an emulator without anything."""
    with browsing() as site, opened(chromium, site.served.base_url, width=PHONE) as window:
        for path in ("guests", "orders", "requests", "ledger", "faults"):
            window.page.goto(f"/__pages/{path}")
            assert (window.accessible(), window.wider()) == ([], []), path


@contextmanager
def everywhere() -> Generator[str]:
    """Serve an emulator that other machines reach while the block lasts, and give its base URL."""
    ready, stop = SimpleQueue[str](), threading.Event()

    async def serve() -> None:
        async with running(host=EVERYWHERE, pages_token=TOKEN) as base_url:
            ready.put(base_url)
            await asyncio.to_thread(stop.wait)

    with ThreadPoolExecutor(1) as thread:
        serving = thread.submit(lambda: asyncio.run(serve()))
        try:
            yield ready.get(timeout=PATIENCE / 1000)
        finally:
            stop.set()
            serving.result()


def test_the_page_that_asks_for_the_token_is_accessible(chromium: Chromium) -> None:
    """So is the page that asks for the token, which opens the pages."""
    with everywhere() as base_url, opened(chromium, width=PHONE) as window:
        window.page.goto(f"{base_url}/__pages/orders")
        expect(window.page.get_by_role("alert")).to_contain_text("These pages need a token")
        assert (window.accessible(), window.wider(), window.unreached()) == ([], [], [])
        window.page.goto(f"{base_url}/__pages/orders?token={TOKEN}")
        expect(window.page.get_by_role("heading", level=1)).to_have_text("Orders")


def test_a_missing_browser_is_named(driver: Playwright, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no browser is installed these tests are skipped with what to install, and fail where all are required."""
    monkeypatch.setenv("PATH", "")
    for required, outcome in (("", pytest.skip.Exception), ("1", pytest.fail.Exception)):
        monkeypatch.setenv(REQUIRED, required)
        with pytest.raises(outcome, match="Chromium is not installed: apt-get install chromium"):
            next(launched(driver))
