"""The forms of the emulator's pages: switches and faults, and which forms are not taken."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from urllib.parse import urlsplit

import aiohttp
import attrs
import orjson
import pytest

from cdp_orders_async.emulator import Bucket, Emulator, Faults, Queue, Switches, Window
from tests.emulator.reading import Browser, browsing
from tests.emulator.talking import Json

BASIC = aiohttp.encode_basic_auth("key", "token")
MANY = Switches(
    upsert=False,
    unknown_ref_status=400,
    require_first_name=True,
    extension_post_existing="merge",
    rate=12.5,
    burst=3,
    retry_after=2,
    limits=[
        {"kind": "window", "calls": 600, "seconds": 60, "sliding": True, "refusal": "reset", "methods": ["GET"]},
        Queue(rate=40, gateway=1),
        Bucket(rate=5, steps=((30, 5),), repeat=60),
    ],
    list_lag=0.5,
    latency={"orders.create": 3, "*": 0.1},
    slow_writes=2,
)
PLAN: Json = {
    "seed": 5,
    "faults": [
        {"operation": "orders.create", "script": ["ok", {"action": "status", "status": 429, "retry_after": 3}]},
        {"operation": "*.list", "chance": 0.25, "action": "drip", "seconds": 3},
        {"operation": "*", "chance": 0, "action": "html"},
    ],
}


@pytest.fixture(name="browser")
def _browser() -> Iterator[Browser]:
    with browsing() as browser:
        yield browser


def status(browser: Browser, path: str = "/v2.1/orders?referenceId=a") -> int:
    """Return the status of a request to the API."""
    connection = http.client.HTTPConnection(urlsplit(browser.served.base_url).netloc, timeout=30)
    try:
        connection.request("GET", path, headers={"Authorization": BASIC})
        return connection.getresponse().status
    finally:
        connection.close()


def test_every_switch_is_in_the_form(browser: Browser) -> None:
    """Each switch has a field with its value and an explanation."""
    page = browser.open("/__pages/switches")
    fields = page.form("/__pages/switches")
    names = [field.name for field in attrs.fields(Switches)]
    assert [*fields] == ["form_token", *names]
    assert all(len(page.one("p", id=f"{name}-help").text) > 20 for name in names)
    assert '{"orders.create": 3, "*": 0.1}' in page.text
    assert " None" not in page.text


@pytest.mark.parametrize("switches", [Switches(), MANY])
def test_an_unchanged_form_changes_nothing(browser: Browser, switches: Switches) -> None:
    """The values of a form are those of the switches, limiters and seconds by operation included."""
    browser.served.switches = switches
    sent = browser.send("/__pages/switches", browser.open("/__pages/switches").form("/__pages/switches"))
    assert browser.follow(sent).one("p", class_="done").text.startswith("The switches are set.")
    assert browser.served.switches == switches


def test_switches_are_set(browser: Browser) -> None:
    """A form changes the switches that it has, and the next request meets them."""
    form = browser.open("/__pages/switches").form("/__pages/switches")
    limits = '{"kind": "window", "calls": 1, "seconds": 3600, "refusal": 418}'
    sent = browser.send(
        "/__pages/switches", {**form, "limits": limits, "unexpanded": "ref", "list_lag": " 2 ", "rate": ""}
    )
    assert sent.status == 303
    assert browser.served.switches == Switches(
        limits=(Window(calls=1, seconds=3600, refusal=418),), unexpanded="ref", list_lag=2
    )
    assert [status(browser), status(browser)] == [200, 418]
    assert "418" in browser.open("/__pages/requests?kind=special").text
    browser.send("/__pages/switches", {"form_token": form["form_token"], "match_hours": "1"})
    assert browser.served.switches.match_hours == 1
    assert browser.served.switches.unexpanded == "ref"
    sent = browser.send("/__pages/switches", {**form, "action": "defaults"})
    assert "defaults again" in browser.follow(sent).text
    assert browser.served.switches == Switches()


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("rate", "fast", "'fast' is not a value of this switch"),
        ("rate", "-1", "rate must be a finite number above 0, not -1"),
        ("rate", "0", "above 0"),
        ("burst", "0", "at least 1"),
        ("limit_max", "-5", "at least 1"),
        ("retry_after", "-1", "at least 0"),
        ("match_hours", "1e300", "from 0 to 1,000,000"),
        ("list_lag", "-1", "from 0 to 1,000,000"),
        ("list_lag", "1e18", "from 0 to 1,000,000"),
        ("latency", '{"order.create": 1}', "must name operations"),
        ("upsert", "yes", "is not a value"),
        ("limits", '[{"kind": "bucket"}]', "missing"),
        ("limits", "[", "is not a value"),
        ("limits", '{"kind": "<canary>"}', "kind of a limit must be one of"),
        ("unexpanded", "<canary>", "is not a value"),
    ],
)
def test_wrong_switches_are_named(browser: Browser, name: str, value: str, words: str) -> None:
    """A wrong value changes no switch; the page names it, keeps all typed values, and has a link to the field."""
    form = {**browser.open("/__pages/switches").form("/__pages/switches"), "empty_gets": "7", name: value}
    page = browser.send("/__pages/switches", form)
    assert (page.status, browser.served.switches) == (400, Switches())
    assert words in page.one("p", id=f"{name}-error").text
    assert page.one("div", role="alert").text.count(words) == 1
    assert page.link(name).endswith(f"#{name}")
    assert page.form("/__pages/switches") == form
    assert page.all("canary") == []
    assert page.one("title").text.startswith("Error: ")


def test_several_wrong_switches_are_all_named(browser: Browser) -> None:
    """All wrong values are named at once."""
    form = browser.open("/__pages/switches").form("/__pages/switches")
    page = browser.send("/__pages/switches", {**form, "rate": "x", "burst": "x"})
    assert len(page.all("input", aria_invalid="true")) == 2


def test_a_fault_is_added_and_bites(browser: Browser) -> None:
    """A fault of the form breaks the next requests, and the page shows what is left of it."""
    form = browser.open("/__pages/faults").form("/__pages/faults/add")
    added = browser.send("/__pages/faults/add", {**form, "operation": "orders.list", "status": "418", "requests": "2"})
    page = browser.follow(added)
    assert "The fault is added" in page.text
    assert "status 418 (phase accepted), then status 418 (phase accepted) 2" in page.text
    assert [status(browser) for _ in range(3)] == [418, 418, 200]
    browser.send("/__pages/faults/add", {**form, "action": "html", "when": "chance", "chance": "1", "retry_after": "3"})
    # What the first fault has done is not done again.
    assert status(browser) == 502
    page = browser.open("/__pages/faults")
    assert "html 502 (phase accepted, Retry-After 3), chance 1 all, by chance" in page.text
    assert "orders.list accepted status 2" in page.text
    assert "fault: html, accepted" in browser.open("/__pages/requests").text


def test_a_plan_is_set(browser: Browser) -> None:
    """A plan can be typed, and is shown as it was typed, without the values that are usual."""
    form = browser.open("/__pages/faults").form("/__pages/faults")
    sent = browser.send("/__pages/faults", {**form, "plan": orjson.dumps(PLAN).decode()})
    page = browser.follow(sent)
    assert orjson.loads(page.form("/__pages/faults")["plan"]) == PLAN
    assert browser.served.faults.plan == Faults.of(PLAN).plan
    cleared = browser.send("/__pages/faults", {**form, "action": "clear"})
    assert "there are no faults" in browser.follow(cleared).text
    assert status(browser) == 200


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[]", "is an object"),
        ('{"faults": [{"operation": "x"}]}', "faults[0]: operation must name operations"),
        ('{"faults": [{"operation": "*", "action": "<canary>"}]}', "faults[0]: action must be one of"),
        ('{"faults": [{"operation": "*", "action": "close", "chance": 2}]}', "faults[0]: chance must be"),
        ("[" * 5_000, "not JSON"),
        ("</textarea><canary>", "not JSON"),
    ],
)
def test_a_wrong_plan_changes_nothing(browser: Browser, plan: str, words: str) -> None:
    """A plan that is wrong stays in the form, and the page says what is wrong."""
    browser.served.faults = Faults.of(PLAN)
    form = browser.open("/__pages/faults").form("/__pages/faults")
    page = browser.send("/__pages/faults", {**form, "plan": plan})
    assert (page.status, words in page.one("p", role="alert").text) == (400, True)
    assert page.form("/__pages/faults")["plan"] == plan
    assert page.all("canary") == []
    assert browser.served.faults.plan == Faults.of(PLAN).plan


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"operation": "x"}, "operation must name operations"),
        ({"action": "explode"}, "action must be one of"),
        ({"action": "drip", "phase": "before"}, "phase of drip must be one of body"),
        ({"status": "99"}, "Nothing was added: status must be a whole number from 200 to 599, not 99"),
        ({"status": "often"}, "not 'often'"),
        ({"seconds": "-1"}, "seconds must be"),
        ({"seconds": "nan"}, "seconds must be"),
        ({"action": "stall", "seconds": "1000001"}, "seconds must be a number from 0 to 1,000,000, not 1000001"),
        ({"action": "stall", "seconds": "9" * 400}, "seconds must be a number from 0 to 1,000,000"),
        ({"action": "stall", "seconds": "1e400"}, "seconds must be a number from 0 to 1,000,000"),
        ({"requests": "0"}, "from 1 to 1,000, not 0"),
        ({"requests": "1e3"}, "from 1 to 1,000"),
        ({"requests": "9" * 5_000}, "from 1 to 1,000"),
        ({"requests": "\u00b2"}, "from 1 to 1,000"),
        ({"when": "chance", "chance": "2"}, "chance must be a number from 0 to 1, not 2"),
        ({"when": "chance", "chance": ""}, "chance must be"),
    ],
)
def test_a_wrong_fault_is_not_added(browser: Browser, changed: dict[str, str], words: str) -> None:
    """A fault that is wrong is not added; the page says why and keeps what was typed."""
    form = {**browser.open("/__pages/faults").form("/__pages/faults/add"), **changed}
    page = browser.send("/__pages/faults/add", form)
    assert (page.status, words in page.one("p", role="alert").text) == (400, True), page.text
    assert page.form("/__pages/faults/add") == form
    assert browser.served.faults.plan == Faults().plan


def test_a_large_plan_is_shown_in_part() -> None:
    """A plan with thousands of faults is listed in part, and cannot be changed on the page."""
    entries = [{"operation": "*", "script": ["ok"] * 3_000}, *([{"operation": "*", "action": "close"}] * 60)]
    plan = orjson.loads(orjson.dumps({"faults": entries}))
    with browsing(Emulator(faults=Faults.of(plan))) as browser:
        page = browser.open("/__pages/faults")
    assert "then 2,990 more" in page.text
    assert "And 11 more." in page.text
    assert "plan" not in page.form("/__pages/faults")


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Origin": "http://evil.test"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost:1"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Host": "evil.test"}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "multipart/form-data; boundary=x"}, 415),
        ({"Sec-Fetch-Site": "same-origin"}, 303),
    ],
)
@pytest.mark.parametrize("path", ["switches", "faults", "faults/add"])
def test_a_form_of_another_site_is_refused(browser: Browser, headers: dict[str, str], expected: int, path: str) -> None:
    """A page of another site sends no form, although it has the right fields: a page says so, and nothing is done."""
    token = browser.open("/__pages/switches").form("/__pages/switches")["form_token"]
    fields = {
        "form_token": token,
        "action": "clear" if path == "faults" else "status",
        "operation": "*",
        "upsert": "false",
    }
    browser.served.faults = Faults.of(PLAN)
    answer = browser.send(f"/__pages/{path}", fields, **headers)
    assert answer.status == expected, answer.text
    changed = browser.served.switches != Switches() or browser.served.faults.plan != Faults.of(PLAN).plan
    assert changed == (expected == 303)


@pytest.mark.parametrize("token", [None, "", "wrong", "\u00e9"])
def test_a_form_without_the_token_is_refused(browser: Browser, token: str | None) -> None:
    """A form that is not from a page of this process is refused."""
    fields = {"upsert": "false"} if token is None else {"upsert": "false", "form_token": token}
    page = browser.send("/__pages/switches", fields)
    assert (page.status, browser.served.switches) == (403, Switches())
    assert "open the page again" in page.text
    assert page.link("Open the page Switches") == "/__pages/switches"
    with browsing() as other:
        form = other.open("/__pages/switches").form("/__pages/switches")
    assert browser.send("/__pages/switches", form).status == 403


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"form_token=\xff", 400),
        (b"form_token=%FF", 400),
        (b"&".join(b"a%d=1" % n for n in range(101)), 400),
        (b"plan=" + b"a" * 2**20, 413),
        (b"", 403),
    ],
)
def test_a_form_that_cannot_be_read(browser: Browser, body: bytes, expected: int) -> None:
    """A form that is no text, too long, or has too many fields is refused with a page."""
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    page = browser.open("/__pages/faults", method="POST", body=body, **kind)
    assert (page.status, bool(page.one("p", role="alert").text)) == (expected, True)


def test_pages_with_forms_let_the_browser_say_their_origin(browser: Browser) -> None:
    """Without a referrer a browser sends the origin null, which is refused: such pages have a referrer here."""
    for path in ("switches", "faults"):
        assert browser.open(f"/__pages/{path}").one("meta", name="referrer").attributes["content"] == "same-origin"
