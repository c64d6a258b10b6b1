"""What every page of the emulator is like in a real browser: by axe, by keyboard, narrow and wide, and printed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser as Chromium

from cdp_orders_async.emulator import Emulator, Faults
from cdp_orders_async.emulator.pages import views, visit
from tests.browser.windows import DESK, PAPER, PHONE, WHITE, Window, opened
from tests.emulator.filling import fill
from tests.emulator.reading import Browser, browsing
from tests.emulator.talking import ABSENT
from tests.emulator.test_pages_forms import PLAN

ROWS = 3
"""The rows of a page of a list, so that few of them make a second page."""


@pytest.fixture(name="site", scope="module")
def _site() -> Iterator[Browser]:
    emulator = Emulator(seed=7, faults=Faults.of(PLAN))
    fill(emulator, many=ROWS + 2)
    with pytest.MonkeyPatch.context() as patched, browsing(emulator) as site:
        for module in (views, visit):
            patched.setattr(module, "ROWS", ROWS)
        for _ in range(ROWS):
            site.open(f"/v2.1/orders/{ABSENT}")
        yield site


def walk(window: Window, site: Browser) -> Iterator[str]:
    """Open each kind of page, one after the other, and yield its name."""
    store = site.emulator.store
    refs = {str(order.data["referenceId"]): order.ref for order in store.all("orders")}
    guest = store.guest_of(store.orders_called("PLAIN-1")[0])
    for path in (
        *("guests", "guests?q=john", "guests?type=traveller", "guests?q=none", f"guests/{guest}"),
        *(f"guests/{guest}/orders", "orders?page=2", "orders?q=none", f"orders/{ABSENT}"),
        *(f"orders/{refs[name]}" for name in ("PLAIN-1", "LARGE", next(name for name in refs if "<" in name))),
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
    assert len(found) == 20


def test_rows_of_wide_tables_are_low_on_a_phone(chromium: Chromium, site: Browser) -> None:
    """What a phone shows of a row is not blank because columns that are out of sight have many lines."""
    with opened(chromium, site.served.base_url, width=PHONE) as window:
        for path, most in (("ledger?operation=orders.create", 2), ("requests?operation=orders.get", 1)):
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
