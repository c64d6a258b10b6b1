"""A window of the browser, watched: where its requests go, what its scripts do, and what axe finds in it."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from importlib.resources import files
from typing import Any, Literal
from urllib.parse import urlsplit

import attrs
from playwright.sync_api import Browser, ConsoleMessage, Dialog, Page, Request

__all__ = ["DESK", "PAPER", "PATIENCE", "PHONE", "WHITE", "Scheme", "Window", "opened"]

PHONE, DESK = 390, 1280
"""The widths of windows."""
PAPER = 718
"""The width of the text on A4 paper with margins of a centimetre."""
HEIGHT = 900
WHITE = "rgb(255, 255, 255)"
PATIENCE = 120_000
"""Milliseconds after which something that must come counts as lost."""
AXE = files(import_module("axe_playwright_python")).joinpath("axe.min.js").read_text(encoding="utf-8")
RUN_AXE = """
async (rules) => {
  await new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)));
  const only = rules && {runOnly: {type: 'rule', values: rules}};
  const found = await axe.run(document, {resultTypes: ['violations'], ...only});
  const told = (node) => `${node.html} ${node.failureSummary}`;
  return found.violations.map((one) => `${one.id} (${one.impact}): ${one.nodes.map(told)}`);
}
"""
COLOURS = ["color-contrast", "link-in-text-block"]
"""The rules of axe that depend on colours."""
FOCUSABLE = """
() => [...document.querySelectorAll('a[href], button, input, select, textarea, summary, [tabindex="0"]')]
  .filter((one) => one.checkVisibility() && one.type !== 'hidden')
  .filter((one) => one.type !== 'radio' || one.checked)
  .map((one, number) => { one.dataset.place = number; return one.outerHTML.slice(0, 200); })
"""
FOCUSED = """
() => {
  const one = document.activeElement, box = one.getBoundingClientRect(), style = getComputedStyle(one);
  const seen = one.matches(':focus-visible') && style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2;
  const inside = box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth;
  return [one.dataset.place ?? '', seen && inside];
}
"""
Scheme = Literal["light", "dark"]


@attrs.frozen
class Window:
    """A window with one page, and what it did."""

    page: Page
    hosts: set[str] = attrs.field(factory=set[str])
    """Where requests went; files have no host."""
    troubles: list[str] = attrs.field(factory=list[str])
    """Dialogs, errors of scripts, and what the policy of a page refused."""

    def accessible(self) -> list[str]:
        """Return what axe finds in the page, in light and in dark."""
        self.page.emulate_media(color_scheme="light")
        found: list[str] = self.page.evaluate(RUN_AXE, None)
        self.page.emulate_media(color_scheme="dark")
        dark: list[str] = self.page.evaluate(RUN_AXE, COLOURS)
        return [*found, *(f"in dark, {one}" for one in dark)]

    def wider(self) -> list[str]:
        """Return what sticks out of the page to the right, so that the page would scroll."""
        return self.measured(
            """() => document.documentElement.scrollWidth <= innerWidth ? []
            : [...document.body.querySelectorAll('*')].filter((one) => one.getBoundingClientRect().right > innerWidth)
            .map((one) => one.outerHTML.slice(0, 100))"""
        )

    def cut(self) -> list[str]:
        """Return what hides a part of itself, which paper cannot scroll."""
        return self.measured(
            """() => [...document.body.querySelectorAll('div, pre, table')]
            .filter((one) => getComputedStyle(one).overflowX !== 'visible' && one.scrollWidth > one.clientWidth + 1)
            .map((one) => one.outerHTML.slice(0, 100))"""
        )

    def broken(self) -> list[str]:
        """Return the words in heads, numbers and short cells of tables that do not fit into one line."""
        return self.measured(
            """() => [...document.querySelectorAll('thead th, table .number, table .brief')].filter((one) => {
              const text = one.firstChild, range = document.createRange();
              return text && text.nodeType === 3 && [...text.data.matchAll(/\\S+/g)].some((word) => {
                range.setStart(text, word.index);
                range.setEnd(text, word.index + word[0].length);
                return range.getClientRects().length > 1;
              });
            }).map((one) => one.outerHTML.slice(0, 100))"""
        )

    def unreached(self) -> list[str]:
        """Return the links and controls that the Tab key does not reach in their order, with a frame to be seen."""
        expected = self.measured(FOCUSABLE)
        self.page.evaluate("() => { document.activeElement.blur(); scrollTo(0, 0); }")
        seen: list[Any] = []
        for _ in expected:
            self.page.keyboard.press("Tab")
            seen.append(self.page.evaluate(FOCUSED))
        wanted = [[str(number), True] for number in range(len(expected))]
        return [f"{html} {got}" for html, want, got in zip(expected, wanted, seen, strict=True) if got != want]

    def measured(self, script: str) -> list[str]:
        """Return the texts that a script finds in the page."""
        found: list[str] = self.page.evaluate(script)
        return found


@contextmanager
def opened(
    browser: Browser,
    base_url: str | None = None,
    *,
    width: int = DESK,
    scheme: Scheme = "light",
    policy: bool = True,
) -> Generator[Window]:
    """Open a window while the block lasts; then fail if a request left this machine, or a script did what it must not.

    Without *policy*, the policies of the pages stop no script.
    """
    context = browser.new_context(
        base_url=base_url,
        viewport={"width": width, "height": HEIGHT},
        color_scheme=scheme,
        bypass_csp=not policy,
        reduced_motion="reduce",
    )
    try:
        context.set_default_timeout(PATIENCE)
        context.add_init_script(AXE)
        window = Window(context.new_page())

        def dismiss(dialog: Dialog) -> None:
            window.troubles.append(f"dialog: {dialog.message}")
            dialog.dismiss()

        def note(message: ConsoleMessage) -> None:
            if message.type == "error" and not message.text.startswith("Failed to load resource"):
                window.troubles.append(message.text)

        def log(request: Request) -> None:
            window.hosts.add(urlsplit(request.url).hostname or "")

        context.on("request", log)
        context.on("dialog", dismiss)
        context.on("console", note)
        context.on("weberror", lambda error: window.troubles.append(str(error.error)))
        yield window
        assert window.hosts <= {"127.0.0.1", ""}
        assert window.troubles == []
    finally:
        context.close()
