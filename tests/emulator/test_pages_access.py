"""Who may look at the emulator's pages, and that the API does not need what the pages need."""

from __future__ import annotations

import re
import subprocess
import sys

import aiohttp
import pytest

from cdp_orders_async.emulator import running
from tests.emulator.reading import browsing

TOKEN = "T0ken-of-the-pages"  # noqa: S105
EVERYWHERE = "0.0.0.0"  # noqa: S104


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({"Host": "evil.test"}, "Host: must be this machine"),
        ({"Host": "127.0.0.1:1"}, "Host: must be this machine"),
        ({"Origin": "http://evil.test"}, "Origin: must be this server"),
        ({"Sec-Fetch-Site": "cross-site"}, "Sec-Fetch-Site: must be"),
    ],
)
def test_another_site_sees_nothing(headers: dict[str, str], words: str) -> None:
    """A request of another site gets a page that says so, with a link to the pages, whatever it asks for."""
    with browsing() as browser:
        for path in ("/", "/__pages/guests", "/__pages/requests/events", "/__pages/static/pages.css", "/__pages/x"):
            page = browser.open(path, **headers)
            assert (page.status, words in page.text) == (403, True)
            assert "Set-Cookie" not in page.headers
            assert page.all("a", href=f"{browser.served.base_url}/__pages")


def test_the_base_url_leads_browsers_to_the_pages() -> None:
    """A browser that opens the base URL sees the pages; a program gets the answer of the API."""
    with browsing() as browser:
        assert browser.open("/").headers["Location"] == "/__pages/guests"
        assert browser.open("/", Accept="*/*").status == 401


async def test_other_machines_need_the_token() -> None:
    """With a token, nobody sees a page without it; the address with the token sets a cookie for this browser."""
    async with (
        running(host=EVERYWHERE, pages_token=TOKEN) as url,
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session,
    ):

        async def get(path: str, **headers: str) -> aiohttp.ClientResponse:
            names = {name.replace("_", "-"): value for name, value in headers.items()}
            async with session.get(url + path, headers=names, allow_redirects=False) as response:
                await response.read()
                return response

        for path in ("/__pages", "/__pages/guests?token=wrong", "/__pages/requests/events", "/__pages/guests?token="):
            refused = await get(path)
            assert (refused.status, refused.headers["WWW-Authenticate"]) == (
                401,
                'Bearer realm="The pages of the emulator"',
            )
            assert "Set-Cookie" not in refused.headers
        assert (await get("/__pages/static/pages.css")).status == 200
        admitted = await get(f"/__pages/guests?q=a&token={TOKEN}")
        assert (admitted.status, admitted.headers["Location"]) == (303, "/__pages/guests?q=a")
        assert re.fullmatch(
            rf"cdp-emulator-\d+={TOKEN}; HttpOnly; Path=/__pages; SameSite=Strict", admitted.headers["Set-Cookie"]
        )
        base = await get(f"/?token={TOKEN}", Accept="text/html")
        assert (base.status, base.headers["Location"]) == (303, "/__pages")  # the path of the cookie
        cookie = admitted.headers["Set-Cookie"].partition(";")[0]
        assert (await get("/__pages/guests", Cookie=cookie)).status == 200
        assert (await get("/__pages/guests", Cookie=cookie[:-1])).status == 401
        assert (await get("/__pages/guests", Authorization=f"Bearer {TOKEN}")).status == 200
        assert (await get("/__pages/guests", Authorization=f"Basic {TOKEN}")).status == 401
        # A server with many names takes each of them, and the origin that belongs to it.
        assert (await get("/__pages/guests", Cookie=cookie, Host="emulator:8642")).status == 200
        own = {"Host": "emulator:8642", "Origin": "http://emulator:8642"}
        assert (await get("/__pages/guests", Cookie=cookie, **own)).status == 200
        foreign = {"Host": "emulator:8642", "Origin": "http://evil.test"}
        assert (await get("/__pages/guests", Cookie=cookie, **foreign)).status == 403
        assert (await get("/v2.1/orders?referenceId=a", Cookie=cookie)).status == 401
        assert (await get("/v2.1/orders?referenceId=a", Cookie=cookie, **foreign)).status == 403


@pytest.mark.parametrize("host", [EVERYWHERE, "::", "192.0.2.1", "emulator.test"])
async def test_other_machines_are_not_served_without_a_token(host: str) -> None:
    """An address that other machines reach is refused without a token."""
    with pytest.raises(ValueError, match="the pages need a token"):
        async with running(host=host):
            pass


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost"])
async def test_this_machine_needs_no_token(host: str) -> None:
    """An address that only this machine reaches needs none, and is a right host."""
    async with (
        running(host=host) as url,
        aiohttp.ClientSession() as session,
        session.get(f"{url}/__pages") as response,
    ):
        assert (response.status, response.url.path) == (200, "/__pages/guests")


def test_without_jinja2_a_page_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the extra is missing, each page says so, errors too, and the API works."""
    monkeypatch.setitem(sys.modules, "jinja2", None)
    monkeypatch.delitem(sys.modules, "cdp_orders_async.emulator.pages.rendering", raising=False)
    with browsing() as browser:
        for path in ("/__pages/guests", "/__pages/switches", "/__pages/requests/events?after=0"):
            page = browser.open(path)
            assert page.status == 503
            assert "pip install 'cdp-orders-async[emulator]'" in page.one("code").text
        assert browser.open("/__pages/nothing").status == 404
        assert browser.open("/v2.1/orders?referenceId=a", Authorization="Basic a2V5OnRva2Vu").status == 200


def test_the_api_imports_no_jinja2() -> None:
    """jinja2 is imported when the first page is opened."""
    code = """
import sys, urllib.request
from cdp_orders_async import emulator
with emulator.in_thread() as served:
    urllib.request.urlopen(f"{served.base_url}/__pages/static/pages.css").close()
    assert "jinja2" not in sys.modules
    urllib.request.urlopen(f"{served.base_url}/__pages/guests").close()
    assert "jinja2" in sys.modules
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
