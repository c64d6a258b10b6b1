"""Reads the pages of an emulator as a browser does: over a socket, with the HTML parsed."""

from __future__ import annotations

import html.parser
import http.client
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import urldefrag, urlencode, urljoin, urlsplit

import attrs

from cdp_orders_async.emulator import Emulator, Served, in_thread

__all__ = ["Browser", "Element", "Seen", "browsing"]

INLINE = frozenset({"a", "bdi", "code", "label", "span", "time"})
VOID = frozenset({"meta", "link", "input", "br", "hr", "img"})


@attrs.define
class Element:
    """An element with its attributes and all text in it."""

    tag: str
    attributes: dict[str, str]
    text: str = ""


class Reader(html.parser.HTMLParser):
    """Keeps all elements, in the order of their starts; fails if the tags do not match."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[Element] = []
        self.open: list[Element] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begin an element."""
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        """End an element."""
        assert self.open.pop().tag == tag, tag
        if tag not in INLINE:
            self.handle_data(" ")

    def handle_data(self, data: str) -> None:
        """Add a text to all elements that are open."""
        for element in self.open:
            element.text += data


@attrs.frozen
class Seen:
    """The answer to a request for a page."""

    url: str
    status: int
    headers: Mapping[str, str]
    body: str
    elements: list[Element]

    def all(self, tag: str, **attributes: str) -> list[Element]:
        """Return the elements with this tag and these attributes."""
        wanted = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
        return [one for one in self.elements if one.tag == tag and wanted.items() <= one.attributes.items()]

    def one(self, tag: str, **attributes: str) -> Element:
        """Return the only such element."""
        (found,) = self.all(tag, **attributes)
        return found

    @property
    def text(self) -> str:
        """The text of the main part, with single spaces."""
        return " ".join(self.one("main").text.split())

    def link(self, name: str) -> str:
        """Return the path of the first link with this name."""
        named = (a for a in self.all("a") if name in {a.text.strip(), a.attributes.get("aria-label")})
        return urlsplit(urljoin(self.url, next(named).attributes["href"]))._replace(scheme="", netloc="").geturl()

    def links(self) -> Iterator[str]:
        """Yield the URLs of all links and files."""
        for element in self.elements:
            target = element.attributes.get("href") or element.attributes.get("src")
            if target is not None:
                yield urldefrag(urljoin(self.url, target)).url

    def form(self, action: str) -> dict[str, str]:
        """Return the fields of the form for this path, as a browser sends them if nothing is changed."""
        starts = [number for number, one in enumerate(self.elements) if one.tag == "form"]
        (start,) = (number for number in starts if self.elements[number].attributes["action"] == action)
        end = min((number for number in starts if number > start), default=len(self.elements))
        fields: dict[str, str] = {}
        name = ""
        for element in self.elements[start:end]:
            given = element.attributes
            if element.tag == "input" and (given.get("type") != "radio" or "checked" in given):
                fields[given["name"]] = given.get("value", "")
            elif element.tag == "textarea":
                fields[given["name"]] = element.text.removeprefix("\n")
            elif element.tag == "select":
                name = given["name"]
            elif element.tag == "option" and ("selected" in given or name not in fields):
                fields[name] = given.get("value", element.text)
        return fields


@attrs.frozen
class Browser:
    """Opens the pages of one emulator."""

    emulator: Emulator
    served: Served

    def open(self, path: str, *, method: str = "GET", body: str | bytes | None = None, **headers: str) -> Seen:
        """Send one request; a redirection is not followed."""
        place = urlsplit(self.served.base_url)
        connection = http.client.HTTPConnection(place.netloc, timeout=30)
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.request(method, path, body, {"Accept": "text/html", **names})
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        reader = Reader()
        if "html" in answer.headers.get("Content-Type", ""):
            reader.feed(text)
            reader.close()
            assert method == "HEAD" or [one.tag for one in reader.open] in ([], ["html"]), path
        return Seen(self.served.base_url + path, answer.status, dict(answer.headers), text, reader.elements)

    def send(self, path: str, fields: Mapping[str, str], **headers: str) -> Seen:
        """Send a form as a browser does."""
        kind = {"Content-Type": "application/x-www-form-urlencoded", "Origin": self.served.base_url, **headers}
        return self.open(path, method="POST", body=urlencode(fields), **kind)

    def follow(self, seen: Seen) -> Seen:
        """Open the page that an answer leads to."""
        assert seen.status == 303, seen.body
        return self.open(seen.headers["Location"])


@contextmanager
def browsing(emulator: Emulator | None = None) -> Generator[Browser]:
    """Serve *emulator*, a new one by default, while the block lasts."""
    own = Emulator(seed=7) if emulator is None else emulator
    with in_thread(own) as served:
        yield Browser(own, served)
    own.close()
