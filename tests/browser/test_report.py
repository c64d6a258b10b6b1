"""The report of loads in a real browser, opened as a file."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import expect

from cdp_orders_async import jobs, reports
from tests.browser.windows import DESK, PAPER, PHONE, WHITE, Window, opened
from tests.reports.files import ALL, COUNTS, outcome, record, written

PAUSE = {"at": 20.0, "seconds": 4.0, "why": "POST /v2.1/orders: 503 Service Unavailable, Retry-After 4"}


@pytest.fixture(name="made", scope="module")
def _made(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Make the reports of a load with every kind of result, of a load whose record is lost, and of two loads."""
    folder = tmp_path_factory.mktemp("reports")
    course = {"moments": [[7.5, 3 + n % 4, 20 + n, n % 3, n % 2, 50.0, 0.1, 0.4, 0.0] for n in range(8)]}
    whole = record(COUNTS, course={**course, "pauses": [PAUSE]}, limits=["between 170 and 230 requests a second"])
    mixed = written(folder / "mixed.jsonl", ALL, whole)
    good = written(folder / "good.jsonl", [outcome(1)], record({"loaded": 1}))
    lost = written(folder / "lost.jsonl", [outcome(2)])
    return [write(folder / f"{len(paths)}-{paths[0].stem}.html", paths) for paths in ([mixed], [lost], [good, lost])]


def write(target: Path, outcomes: list[Path]) -> Path:
    """Write the report of files of *outcomes* to *target*."""
    with ThreadPoolExecutor(1) as thread:  # the thread of the browser has a running loop
        data = thread.submit(lambda: asyncio.run(jobs.report_data(outcomes))).result()
    reports.write_html(data, target)
    return target


def walk(window: Window, made: list[Path]) -> Iterator[str]:
    """Open each report, with all of its details, and yield its name."""
    for path in made:
        window.page.goto(path.as_uri())
        window.page.evaluate("() => document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        yield path.name


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_report_is_accessible(chromium: Chromium, made: list[Path], width: int) -> None:
    """Narrow and wide, in light and in dark, axe finds nothing, nothing scrolls sideways, and no script is in it."""
    with opened(chromium, width=width) as window:
        for name in walk(window, made):
            assert (window.accessible(), window.wider()) == ([], []), name
            assert window.page.evaluate("() => document.scripts.length") == 0
        assert window.hosts == {""}


def test_slowest_orders_fit_a_phone(chromium: Chromium, made: list[Path]) -> None:
    """Each of them has its key on one line, its place on the next, and the rest below."""
    with opened(chromium, width=PHONE) as window:
        window.page.goto(made[0].as_uri())
        row = window.page.locator(".stacked tbody tr").first
        order, place, time = (row.locator(one).first.bounding_box() for one in ("th", "th .quiet", "td"))
    assert order is not None
    assert place is not None
    assert time is not None
    assert order["width"] > 0.8 * PHONE
    assert order["height"] < 3 * place["height"]
    assert time["y"] >= order["y"] + order["height"]


def test_references_fit_a_phone(chromium: Chromium, made: list[Path]) -> None:
    """The references of what the input no longer has are seen whole, without a scroll to the side."""
    with opened(chromium, width=PHONE) as window:
        window.page.goto(made[0].as_uri())
        region = window.page.get_by_role("region", name="Things that only the server has")
        boxes = [one.bounding_box() for one in region.locator("code").all()]
    assert boxes
    for box in boxes:
        assert box is not None
        assert 0 <= box["x"] <= box["x"] + box["width"] <= PHONE


def test_report_works_by_keyboard(chromium: Chromium, scriptless: Chromium, made: list[Path]) -> None:
    """The Tab key reaches every link, and the Enter key opens the values of the charts; no script is needed."""
    with opened(chromium, width=PHONE) as window:
        for name in walk(window, made):
            assert window.unreached() == [], name
    with opened(scriptless) as window:
        page = window.page
        page.goto(made[0].as_uri())
        table = page.get_by_role("table", name="Course of the load")
        expect(table).to_be_hidden()
        page.get_by_text("The values as a table").focus()
        page.keyboard.press("Enter")
        expect(table).to_be_visible()
        page.get_by_role("link", name="Errors").click()
        expect(page.get_by_role("heading", name="Errors by cause")).to_be_in_viewport()


def test_charts_have_words(chromium: Chromium, made: list[Path]) -> None:
    """Each chart is one picture with its title and what it shows, for those who do not see it."""
    with opened(chromium) as window:
        window.page.goto(made[0].as_uri())
        titles = [
            "Requests a second",
            "Orders a second",
            "Time of an answer (logarithmic scale)",
            "Refusals and retries a second",
        ]
        for title in titles:
            picture = window.page.get_by_role("img", name=title)
            expect(picture).to_have_count(1)
            expect(picture).to_have_accessible_name(
                re.compile(rf"^{re.escape(title)} The time goes from 0 to 1 min\. \w+: .* at the end\.")
            )


def test_report_can_be_printed(chromium: Chromium, made: list[Path]) -> None:
    """Paper has dark text on white, no links to jump, and all columns."""
    with opened(chromium, width=PAPER, scheme="dark") as window:
        window.page.emulate_media(media="print")
        for name in walk(window, made):
            assert (window.wider(), window.cut()) == ([], []), name
            assert window.page.evaluate("() => getComputedStyle(document.body).backgroundColor") == WHITE
            assert not window.page.get_by_role("navigation").is_visible()
