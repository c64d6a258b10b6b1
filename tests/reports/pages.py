"""What a report has, as a browser would read it."""

from __future__ import annotations

from collections import Counter
from html.parser import HTMLParser

__all__ = ["Page"]

VOID = {"meta", "br", "link", "img", "input", "hr"}


class Page(HTMLParser):
    """The elements of a page with their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.inside = Counter[tuple[str, str]]()
        """How often an element is in an element of another name."""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        self.elements.append((tag, dict(attrs)))
        self.inside.update((outer, tag) for outer in set(self.open))
        if tag not in VOID and not (self.open and "svg" in self.open and tag in {"line", "rect", "circle", "polyline"}):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element without an end."""
        self.elements.append((tag, dict(attrs)))
        self.inside.update((outer, tag) for outer in set(self.open))

    def handle_endtag(self, tag: str) -> None:
        """Check that elements end in their order."""
        assert self.open, f"</{tag}> ends nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Note the text."""
        if "style" not in self.open:
            self.words += data.split()

    @property
    def text(self) -> str:
        """The text on one line."""
        return " ".join(self.words)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """Return the attributes of each element with the name *tag*."""
        return [attributes for name, attributes in self.elements if name == tag]
