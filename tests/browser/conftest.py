"""The browser of the tests."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Playwright, expect, sync_playwright

from tests.browser.windows import PATIENCE
from tests.databases import missing

__all__ = ["chromium", "driver", "scriptless"]

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = (
    "--no-sandbox",  # root needs it, as in a container
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # no other machine is found
)


@pytest.fixture(scope="module")
def driver() -> Iterator[Playwright]:
    """Give playwright, not for longer than a module: until its end, its thread has a running loop."""
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="module")
def chromium(driver: Playwright) -> Iterator[Browser]:
    """Give the browser of this machine."""
    yield from launched(driver)


@pytest.fixture(scope="module")
def scriptless(driver: Playwright) -> Iterator[Browser]:
    """Give a browser whose user has switched JavaScript off, which playwright's own option does only in part."""
    yield from launched(driver, "--blink-settings=scriptEnabled=false")


def launched(driver: Playwright, *options: str) -> Iterator[Browser]:
    """Start the browser of this machine, and give it while a test needs it."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        missing("Chromium", "chromium")
    browser = driver.chromium.launch(executable_path=program, args=[*OPTIONS, *options])
    yield browser
    browser.close()
