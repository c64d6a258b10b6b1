"""The pages over HTTP: who may look, which form is our own, and the headers of each answer."""

from __future__ import annotations

import asyncio
import hmac
import importlib.resources
import secrets
from collections.abc import Iterable, Mapping
from contextlib import suppress
from http import HTTPStatus
from urllib.parse import parse_qsl

import attrs
from aiohttp import web

from cdp_orders_async.emulator.access import Access, address
from cdp_orders_async.emulator.pages import controls, views
from cdp_orders_async.emulator.pages.visit import PAGES, Page, Result, Subject, View, Visit, Wrong
from cdp_orders_async.emulator.routing import Node

__all__ = ["PAGES", "Pages"]

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
FILES = {"pages.css": "text/css", "pages.js": "text/javascript", "icon.svg": "image/svg+xml"}
FORM = "application/x-www-form-urlencoded"
FIELDS_MAX = 100
"""The number of fields of a form."""
CHALLENGE = 'Bearer realm="The pages of the emulator"'
FORM_SECONDS = 30
EVERY = 0.25
"""Seconds between two looks for new requests."""
QUIET = 60
"""Looks without a new request until a line shows whether the reader is still there."""
INSTALL = """<!DOCTYPE html>
<html lang="en"><meta charset="utf-8"><title>The pages need jinja2</title>
<h1>The pages need jinja2</h1>
<p>Install the extra and start the emulator again: <code>pip install 'cdp-orders-async[emulator]'</code></p>
<p>The API works without it.</p>
</html>
"""


def routes() -> Node[View]:
    """Return the views by their paths."""
    root = Node[View]()
    for path, view in (
        ("", views.home),
        ("/", views.home),
        ("/guests", views.guests),
        ("/guests/{ref}", views.guest),
        ("/guests/{ref}/orders", views.guest_orders),
        ("/orders", views.orders),
        ("/orders/{ref}", views.order),
        ("/ledger", views.ledger),
        ("/requests", views.requests),
        ("/switches", controls.switches),
        ("/faults", controls.faults),
    ):
        root.add("GET", f"{PAGES}{path}", view)
    root.add("GET", "/", views.home)
    root.add("POST", f"{PAGES}/switches", controls.change_switches)
    root.add("POST", f"{PAGES}/faults", controls.set_faults)
    root.add("POST", f"{PAGES}/faults/add", controls.add_fault)
    return root


ROUTES = routes()


class Foreign(Wrong):
    """The request may come from a page of another site."""

    def __init__(self, reason: str) -> None:
        super().__init__(403, f"This request may come from a page of another site, so nothing was done. {reason}")


class WrongMethod(Wrong):
    """The page has no such method."""

    def __init__(self, method: str, right: Iterable[str]) -> None:
        self.allow = ", ".join(sorted(right))
        super().__init__(405, f"{method} is not possible on this page, only {self.allow}.")


class Pages:
    """Answers the requests for pages about *subject*, as far as *access* allows; *closing* ends the live page."""

    def __init__(self, subject: Subject, access: Access, closing: asyncio.Event) -> None:
        self._subject = subject
        self._access = access
        self._closing = closing
        self._form_token = secrets.token_urlsafe()

    @staticmethod
    def owns(request: web.BaseRequest) -> bool:
        """Tell whether a request is for one of the pages; a browser that opens the base URL is led to them."""
        if request.path == "/":
            return request.method == "GET" and "text/html" in request.headers.get("Accept", "")
        return request.path == PAGES or request.path.startswith(f"{PAGES}/")

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        try:
            return await self._answer(request)
        except Wrong as wrong:
            return self._refuse(request, wrong)
        except ImportError as missing:
            if missing.name != "jinja2":
                raise
            return page(INSTALL, 503)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.path
        reason = self._access.foreign(request)
        if reason is not None:
            raise Foreign(reason)
        method = "GET" if request.method == "HEAD" else request.method
        if path.startswith(f"{PAGES}/static/"):
            if method != "GET":
                raise WrongMethod(method, ["GET"])
            return static(path.rpartition("/")[2])
        if (given := request.query.get("token")) is not None and self._access.admits(given):
            return self._admit(request)
        if not self._is_admitted(request):
            raise Wrong(401, "These pages need a token: open the address that the emulator printed when it started.")
        if path == f"{PAGES}/requests/events":
            if request.method != "GET":  # a stream has no end that HEAD could tell of
                raise WrongMethod(request.method, ["GET"])
            return await self._stream(request)
        here, refs = ROUTES.find(path)
        view = here.get(method)
        if view is None and here:
            raise WrongMethod(request.method, here)
        if view is None:
            raise Wrong(404, "There is no such page.")
        form = await self._form(request) if method == "POST" else dict[str, str]()
        return self._respond(view(Visit(self._subject, path, request.query, refs, form)), request)

    def _cookie(self, request: web.BaseRequest) -> str:
        # The servers of one machine share its cookies, whatever their ports are.
        return f"cdp-emulator-{request.get_extra_info('sockname')[1]}"

    def _is_admitted(self, request: web.BaseRequest) -> bool:
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        return self._access.admits(request.cookies.get(self._cookie(request), "")) or (
            scheme.lower() == "bearer" and self._access.admits(given)
        )

    def _admit(self, request: web.BaseRequest) -> web.Response:
        """Keep the token in a cookie, and open the address without it."""
        # A browser sends the cookie to the pages alone.
        here = PAGES if request.path == "/" else str(request.rel_url.without_query_params("token"))
        response = moved(here)
        if self._access.token is not None:
            response.set_cookie(self._cookie(request), self._access.token, path=PAGES, httponly=True, samesite="Strict")
        return response

    async def _form(self, request: web.BaseRequest) -> Mapping[str, str]:
        """Read the form that was sent; raise Wrong if it is not one of our own."""
        if request.headers.get("Content-Type", "").partition(";")[0].strip().lower() != FORM:
            raise Wrong(415, f"A form is sent as {FORM}.")
        try:
            async with asyncio.timeout(FORM_SECONDS):
                body = await request.read()
            fields = dict(parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=FIELDS_MAX))
        except web.HTTPRequestEntityTooLarge:
            raise Wrong(413, "The form is too large: it may have 1 MiB.") from None
        except TimeoutError:
            raise Wrong(408, f"The form did not come within {FORM_SECONDS} seconds.") from None
        except ValueError:
            raise Wrong(400, f"The form is not UTF-8, or has more than {FIELDS_MAX} fields.") from None
        given = fields.pop("form_token", "")
        if not hmac.compare_digest(given.encode(), self._form_token.encode()):
            raise Wrong(
                403,
                "The form is not of this emulator, or the emulator was started again: open the page again and repeat.",
            )
        return fields

    def _respond(self, result: Result, request: web.BaseRequest) -> web.Response:
        if isinstance(result, Page):
            return page(self._render(result.template, result.values, request), result.status)
        return moved(result.path)

    def _render(self, template: str, values: Mapping[str, object], request: web.BaseRequest) -> str:
        from cdp_orders_async.emulator.pages.rendering import render  # noqa: PLC0415 it needs an extra

        usual = {
            "section": request.path.removeprefix(f"{PAGES}/").partition("/")[0],
            "path": request.path,
            "base_url": f"http://{request.headers.get('Host') or address(request)}",
            "form_token": self._form_token,
        }
        return render(template, {**usual, **values})

    def _refuse(self, request: web.BaseRequest, wrong: Wrong) -> web.Response:
        """Answer with a page that says what is wrong."""
        try:
            text = self._render(
                "error.html",
                {
                    "status": wrong.status,
                    "phrase": HTTPStatus(wrong.status).phrase,
                    "message": wrong.message,
                    "is_foreign": isinstance(wrong, Foreign),
                    "own_url": f"http://{address(request)}{PAGES}",  # a foreign page may have named another host
                },
                request,
            )
        except ImportError:
            text = INSTALL
        response = page(text, wrong.status)
        if wrong.status == HTTPStatus.UNAUTHORIZED:
            response.headers["WWW-Authenticate"] = CHALLENGE
        if isinstance(wrong, WrongMethod):
            response.headers["Allow"] = wrong.allow
        return response

    async def _stream(self, request: web.BaseRequest) -> web.StreamResponse:
        """Send the rows of new requests as server-sent events until the reader leaves."""
        visit = Visit(self._subject, request.path, request.query, [])
        resumed = request.headers.get("Last-Event-ID")  # the browser lost the connection
        query = request.query if resumed is None else {**request.query, "after": resumed}
        sent = attrs.evolve(visit, query=query).number("after", 0, least=0)
        self._render("rows.html", {"rows": []}, request)  # so that a missing extra is known before the head
        response = web.StreamResponse(headers={**HEADERS, "Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        looks = 0
        while not self._closing.is_set():
            count = self._subject.traffic.count
            if count > sent:
                rows = views.selected(visit, sent)
                html = self._render("rows.html", {"rows": rows}, request)
                lines = "".join(f"data: {line}\n" for line in html.splitlines() if line.strip())
                await response.write(f"id: {count}\n{lines}\n".encode())
                sent, looks = count, 0
            elif looks >= QUIET:
                await response.write(b": still here\n\n")
                looks = 0
            looks += 1
            with suppress(TimeoutError):
                async with asyncio.timeout(EVERY):
                    await self._closing.wait()
        return response


def page(text: str, status: int = 200) -> web.Response:
    """Return the answer with an HTML page."""
    return web.Response(status=status, text=text, content_type="text/html", headers=HEADERS)


def moved(path: str) -> web.Response:
    """Return the answer that opens another page."""
    return web.Response(status=303, headers={**HEADERS, "Location": path})


def static(name: str) -> web.Response:
    """Return the answer with a file of the pages; raise Wrong if there is no such file."""
    if name not in FILES:
        raise Wrong(404, "There is no such file.")
    text = (importlib.resources.files(__package__ or "") / "static" / name).read_text(encoding="utf-8")
    return web.Response(text=text, content_type=FILES[name], headers=HEADERS)
