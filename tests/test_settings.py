"""Settings, credentials and base URLs: what is refused, what the environment gives, and what they show."""

from __future__ import annotations

import copy
import math
import pickle
import ssl
from decimal import Decimal
from pathlib import Path
from typing import Any

import attrs
import pytest

from cdp_orders_async.addresses import REGIONS, base_url_of
from cdp_orders_async.errors import Invalid
from cdp_orders_async.redact import Opaque
from cdp_orders_async.settings import Credentials, Settings, proxy_of

FINITE = "must be a finite number above 0"
NUMBERS = ["rate", "timeout", "connect_timeout", "read_timeout", "pool_timeout", "deadline", "keepalive"]
WHOLE = ["burst", "connections", "max_answer"]


@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_are_positive(name: str, value: float) -> None:
    """Nought, negative numbers, NaN and infinity are refused by the name of the field, or of its variable."""
    given: dict[str, Any] = {name: value}
    with pytest.raises(Invalid, match=f"^{name}: {FINITE}(, or auto)?$"):
        Settings(**given)
    with pytest.raises(Invalid, match=f"^CDP_{name.upper()}: {FINITE}(, or auto)?$"):
        Settings.from_env({f"CDP_{name.upper()}": str(value)})


@pytest.mark.parametrize("value", [0, -1])
@pytest.mark.parametrize("name", WHOLE)
def test_whole_numbers_are_positive(name: str, value: int) -> None:
    """Nought and negative numbers are refused by the name of the field, or of its variable."""
    given: dict[str, Any] = {name: value}
    with pytest.raises(Invalid, match=f"^{name}: must be a whole number above 0$"):
        Settings(**given)
    with pytest.raises(Invalid, match=f"^CDP_{name.upper()}: must be a whole number above 0$"):
        Settings.from_env({f"CDP_{name.upper()}": str(value)})


@pytest.mark.parametrize("value", [True, b"", Decimal(30), [], object(), 30j, "30"], ids=lambda one: type(one).__name__)
@pytest.mark.parametrize("name", [*NUMBERS, *WHOLE, "bulk_share", "retries"])
def test_a_number_is_a_number(name: str, value: object) -> None:
    """A number of another type is refused in words that name the field and the type, and not the value."""
    given: dict[str, Any] = {name: value}
    wrong = rf"^{name} must be .*number.*, not {type(value).__name__}$"
    if name == "rate" and isinstance(value, str):  # a rate may be a word, and there is one
        wrong = f"^rate: {FINITE}, or auto$"
    with pytest.raises((TypeError, Invalid), match=wrong):
        Settings(**given)


@pytest.mark.parametrize("value", [1.5, 2.0, math.nan, math.inf])
@pytest.mark.parametrize("name", [*WHOLE, "retries"])
def test_a_whole_number_is_no_fraction(name: str, value: float) -> None:
    """What is counted is whole, and no float stands for it."""
    given: dict[str, Any] = {name: value}
    with pytest.raises(TypeError, match=rf"^{name} must be a whole number.*, not float$"):
        Settings(**given)


@pytest.mark.parametrize("name", NUMBERS)
def test_a_whole_number_is_a_number(name: str) -> None:
    """What is measured may be whole."""
    given: dict[str, Any] = {name: 5}
    assert getattr(Settings(**given), name) == 5


@pytest.mark.parametrize("name", ["timeout", "connect_timeout", "keepalive", "bulk_share", *WHOLE, "http", "trust_env"])
def test_what_cannot_be_none(name: str) -> None:
    """None is refused where it stands for nothing."""
    given: dict[str, Any] = {name: None}
    with pytest.raises(TypeError, match=rf"^{name} must be .*, not NoneType$"):
        Settings(**given)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"http": 3}, "http must be one of aiohttp, httptools, not int"),
        ({"http": ["aiohttp"]}, "http must be one of aiohttp, httptools, not list"),
        ({"proxy": 5}, "proxy must be like http://user:password@host:port, or None, not int"),
        ({"proxy": b"http://canary@h"}, "proxy must be like http://user:password@host:port, or None, not bytes"),
        ({"trust_env": "no"}, "trust_env must be true or false, not str"),
        ({"trust_env": 0}, "trust_env must be true or false, not int"),
        ({"ca_file": 5}, "ca_file must be the path of a file, or None, not int"),
        ({"ssl_context": "canary"}, "ssl_context must be an ssl.SSLContext, or None, not str"),
        ({"ssl_context": ssl.SSLContext}, "ssl_context must be an ssl.SSLContext, or None, not the class SSLContext"),
    ],
)
def test_other_settings_have_their_types(given: dict[str, Any], words: str) -> None:
    """What is no number is told by its type too."""
    with pytest.raises(TypeError) as caught:
        Settings(**given)
    assert str(caught.value) == words


def test_a_proxy_in_a_holder_is_text() -> None:
    """What is held so that nothing shows it is checked as well."""
    with pytest.raises(Invalid, match=r"^proxy: must be like http"):
        Settings(proxy=Opaque(5))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] the point of the test


def test_certificates_may_be_a_path() -> None:
    """A path may be text, or an object that stands for one."""
    assert Settings(ca_file=Path("ca.pem")).ca_file == Path("ca.pem")


def test_rate_may_be_auto() -> None:
    """A rate can be left to the client; no other word is a rate."""
    assert Settings(rate="auto") == Settings.from_env({"CDP_RATE": "auto"})
    with pytest.raises(Invalid, match=r"^rate: "):
        Settings(rate="fast")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] the point of the test


def test_ways_to_send() -> None:
    """There are two of them, and another one is refused with their names."""
    with pytest.raises(Invalid, match=r"^CDP_HTTP: must be one of aiohttp, httptools$"):
        Settings.from_env({"CDP_HTTP": "httpx"})


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan])
def test_bulk_share_is_a_share(value: float) -> None:
    """The share of bulk work is from 0 to 1."""
    with pytest.raises(Invalid, match=r"^bulk_share: must be a number from 0 to 1$"):
        Settings(bulk_share=value)


def test_retries_are_not_negative() -> None:
    """No retry at all is a choice; fewer are none."""
    assert Settings(retries=0).retries == 0
    with pytest.raises(Invalid, match=r"^retries: must be a whole number of at least 0$"):
        Settings(retries=-1)


def test_environment_sets_every_field() -> None:
    """Each setting but the TLS context has a variable."""
    environ = {
        "CDP_RATE": "12.5",
        "CDP_BURST": "2",
        "CDP_BULK_SHARE": "0.25",
        "CDP_CONNECTIONS": "7",
        "CDP_TIMEOUT": "3",
        "CDP_CONNECT_TIMEOUT": "1",
        "CDP_READ_TIMEOUT": "2",
        "CDP_POOL_TIMEOUT": "0.5",
        "CDP_DEADLINE": "60",
        "CDP_RETRIES": "0",
        "CDP_KEEPALIVE": "9",
        "CDP_MAX_ANSWER": "1000",
        "CDP_HTTP": "httptools",
        "CDP_PROXY": "http://proxy:3128",
        "CDP_TRUST_ENV": "no",
        "CDP_CA_FILE": "/tmp/ca.pem",  # noqa: S108 never opened
    }
    assert {f"CDP_{field.name.upper()}" for field in attrs.fields(Settings)} - {"CDP_SSL_CONTEXT"} == environ.keys()
    assert Settings.from_env(environ) == Settings(
        rate=12.5,
        burst=2,
        bulk_share=0.25,
        connections=7,
        timeout=3,
        connect_timeout=1,
        read_timeout=2,
        pool_timeout=0.5,
        deadline=60,
        retries=0,
        keepalive=9,
        max_answer=1000,
        http="httptools",
        proxy="http://proxy:3128",
        trust_env=False,
        ca_file="/tmp/ca.pem",  # noqa: S108 never opened
    )


def test_environment_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no environment is given, that of the process is read."""
    monkeypatch.setenv("CDP_BURST", "7")
    assert Settings.from_env().burst == 7


def test_environment_that_says_nothing() -> None:
    """A variable that is absent or empty leaves the default."""
    assert Settings.from_env({}) == Settings.from_env({"CDP_RATE": "", "CDP_TRUST_ENV": ""}) == Settings()


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("CDP_RATE", "fast", "must be a finite number above 0, or auto"),
        ("CDP_BURST", "1.5", "must be a whole number above 0"),
        ("CDP_BULK_SHARE", "half", "must be a number from 0 to 1"),
        ("CDP_CONNECTIONS", "many", "must be a whole number above 0"),
        ("CDP_TIMEOUT", "30s", FINITE),
        ("CDP_DEADLINE", "never", FINITE),
        ("CDP_RETRIES", "0x3", "must be a whole number of at least 0"),
        ("CDP_TRUST_ENV", "maybe", "must be true or false"),
        ("CDP_PROXY", "socks5://canary", "must be like http://user:password@host:port"),
    ],
)
def test_environment_of_the_wrong_form(name: str, value: str, rule: str) -> None:
    """A value of the wrong form is refused by the name of its variable and by its rule, and not repeated."""
    with pytest.raises(Invalid) as caught:
        Settings.from_env({name: value})
    assert str(caught.value) == f"{name}: {rule}"


@pytest.mark.parametrize("environ", ["CDP_RATE=5", [("CDP_RATE", "5")], 5], ids=lambda one: type(one).__name__)
def test_an_environment_is_a_mapping(environ: Any) -> None:  # noqa: ANN401 whatever somebody gives
    """What maps no names to texts is no environment."""
    with pytest.raises(TypeError, match=f"^environ must be Mapping or None, not {type(environ).__name__}$"):
        Settings.from_env(environ)
    with pytest.raises(TypeError, match=r"^CDP_RATE must be str, not int$"):
        Settings.from_env({"CDP_RATE": 5})  # type: ignore[dict-item]  # pyright: ignore[reportArgumentType] the point of the test


@pytest.mark.parametrize("text", ["1", "true", "YES", "True"])
def test_yes(text: str) -> None:
    """A switch can be set in several ways."""
    assert Settings.from_env({"CDP_TRUST_ENV": text}).trust_env


@pytest.mark.parametrize(
    "proxy",
    [
        "socks5://host:1080",
        "http://",
        "http://a b:80",
        "http://host:0",
        "http://host:99999",
        "http://u:canary#@h",
        "",
        "a..b",
    ],
)
def test_bad_proxies(proxy: str) -> None:
    """A proxy that cannot be used is refused, and its URL not repeated."""
    with pytest.raises(Invalid, match=r"^proxy: must be like http://user:password@host:port$"):
        Settings(proxy=proxy)


@pytest.mark.parametrize("proxy", ["http://host", "https://host:8443", "http://user:pass%40@host:1", "host:3128"])
def test_good_proxies(proxy: str) -> None:
    """HTTP and HTTPS proxies are possible, and a host alone means HTTP."""
    found = proxy_of(Settings(proxy=proxy), "https://api.test")
    assert found == (proxy if "//" in proxy else f"http://{proxy}")


@pytest.mark.parametrize(
    ("base_url", "proxy", "used"),
    [
        ("https://api.test", "http://proxy.test:1", True),
        ("http://localhost:1", "http://proxy.test:1", False),
        ("http://127.0.0.1:1", "http://127.0.0.1.proxy.test", False),
        ("http://127.0.0.1:1", "http://[::1]:3128", True),
        ("http://[::1]:1", "http://localhost:3128", True),
    ],
)
def test_proxy_of_the_environment(base_url: str, proxy: str, used: bool, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: FBT001 a parameter
    """What goes in the clear stays on this machine."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name.lower(), raising=False)
        monkeypatch.setenv(name, proxy)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert proxy_of(Settings(), base_url) == (proxy if used else None)
    assert proxy_of(Settings(trust_env=False), base_url) is None


def test_settings_travel() -> None:
    """Settings can be pickled and copied, and are values."""
    settings = Settings(rate=5, ca_file="ca.pem")
    assert pickle.loads(pickle.dumps(settings)) == settings  # noqa: S301 made here
    with_proxy = attrs.evolve(settings, proxy="http://user:pass@host")
    assert copy.deepcopy(with_proxy) == attrs.evolve(with_proxy) != settings
    assert len({with_proxy, copy.copy(with_proxy), settings}) == 2
    with pytest.raises(TypeError, match="cannot be pickled; hand it over another way, such as in the environment"):
        pickle.dumps(with_proxy)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        settings.rate = 6  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue] the point of the test


def test_settings_show_no_password() -> None:
    """The proxy, whose URL may hold a password, is not in the repr."""
    settings = Settings(rate=5, proxy="http://user:canary@host", ssl_context=ssl.create_default_context())
    assert "canary" not in repr(settings)
    assert "rate=5" in repr(settings)


@pytest.mark.parametrize(
    "credentials",
    [
        {},
        {"client_key": "key"},
        {"api_token": "canary"},
        {"client_key": "", "api_token": "canary"},
        {"client_key": "key", "api_token": "canary", "bearer_token": "canary"},
    ],
)
def test_credentials_are_one_way(credentials: dict[str, str]) -> None:
    """Exactly one way to authenticate is given; the refusal names the variables and no value."""
    with pytest.raises(Invalid, match=r"CDP_CLIENT_KEY.*CDP_API_TOKEN.*CDP_BEARER_TOKEN") as caught:
        Credentials(**credentials)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("name", ["client_key", "api_token", "bearer_token"])
@pytest.mark.parametrize("end", ["\n", "\r", "\r\nX-More: 1"])
def test_credentials_are_one_line(name: str, end: str) -> None:
    """A line end, which could begin another header, is refused."""
    parts = {"bearer_token": "canary"} if name == "bearer_token" else {"client_key": "key", "api_token": "canary"}
    with pytest.raises(Invalid, match="must be on one line") as caught:
        Credentials(**{**parts, name: parts[name] + end})
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("value", [1, b"canary", True, ["canary"]], ids=lambda one: type(one).__name__)
@pytest.mark.parametrize("name", ["client_key", "api_token", "bearer_token"])
def test_credentials_are_text(name: str, value: object) -> None:
    """Credentials of another type are refused by their name and type, and not shown."""
    parts: dict[str, Any] = {"client_key": "key", "api_token": "canary", name: value}
    with pytest.raises(TypeError, match=f"^{name} must be str or None, not {type(value).__name__}$"):
        Credentials(**parts)


def test_credentials_show_nothing() -> None:
    """Neither the repr nor a pickle of credentials tells them."""
    credentials = Credentials("key", "canary")
    assert (repr(credentials), f"{credentials}") == ("Credentials(...)", "Credentials(...)")
    with pytest.raises(TypeError, match=r"^credentials cannot be pickled; "):
        pickle.dumps(credentials)


@pytest.mark.parametrize(("region", "url"), REGIONS.items())
def test_regions(region: str, url: str) -> None:
    """Every region has its server, over TLS."""
    assert base_url_of(region, None) == url
    assert url.startswith("https://api-engage-")
    assert url.endswith(".sitecorecloud.io")


@pytest.mark.parametrize("region", ["de", "EU", ""])
def test_unknown_region(region: str) -> None:
    """Another region is refused with the list of those there are."""
    with pytest.raises(Invalid, match=r"^region: must be one of ap, eu, jp, us$"):
        base_url_of(region, None)


@pytest.mark.parametrize("value", [5, b"https://api.test", True, ["eu"]], ids=lambda one: type(one).__name__)
def test_a_place_is_text(value: Any) -> None:  # noqa: ANN401 whatever somebody gives
    """A region and a base URL of another type are refused by name and type."""
    with pytest.raises(TypeError, match=f"^region must be str or None, not {type(value).__name__}$"):
        base_url_of(value, None)
    with pytest.raises(TypeError, match=f"^base_url must be str or None, not {type(value).__name__}$"):
        base_url_of(None, value)


@pytest.mark.parametrize(("region", "base_url"), [(None, None), ("eu", "https://api.test")])
def test_region_or_base_url(region: str | None, base_url: str | None) -> None:
    """Exactly one of the two says where the API is."""
    with pytest.raises(Invalid, match=r"^region, base_url: exactly one of them must be given"):
        base_url_of(region, base_url)


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("https://api.test", "https://api.test"),
        (" https://api.test:8443/cdp/ ", "https://api.test:8443/cdp"),
        ("http://127.0.0.1:8642", "http://127.0.0.1:8642"),
        ("http://127.1.2.3", "http://127.1.2.3"),
        ("http://[::1]:8642/", "http://[::1]:8642"),
        ("http://localhost:8642", "http://localhost:8642"),
        ("HTTP://LOCALHOST", "http://localhost"),
        ("HTTPS://API.Test/CDP//", "https://api.test/CDP"),
        ("https://api.test:443", "https://api.test"),
        ("http://localhost:80/a", "http://localhost/a"),
        ("https://api.test:80", "https://api.test:80"),
        ("https://[2001:DB8::1]:443/", "https://[2001:db8::1]"),
        ("https://api.test/v2/cdp", "https://api.test/v2/cdp"),
        ("https://api.test/v20", "https://api.test/v20"),
        ("https://v2.api.test", "https://v2.api.test"),
    ],
)
def test_base_urls(given: str, url: str) -> None:
    """HTTPS goes anywhere, HTTP to this machine; one server has one URL."""
    assert base_url_of(None, given) == url


@pytest.mark.parametrize(
    "base_url",
    [
        "http://api.test",
        "http://0.0.0.0",
        "http://192.168.0.1",
        "http://127.0.0.1.evil.test",
        "http://localhost.evil.test",
        "http://127.0.0.1%2eevil.test",
        "http://2130706433",
    ],
)
def test_plain_http_is_refused(base_url: str) -> None:
    """HTTP to another machine would show the API token to everybody on the way."""
    with pytest.raises(Invalid, match=r"^base_url: must be https, except to this machine: the API token would"):
        base_url_of(None, base_url)


@pytest.mark.parametrize("host", ["https://api.test", "http://127.0.0.1:8642", "https://api.test/gateway"])
@pytest.mark.parametrize(
    "end", ["/v2.1", "/v2", "/v2.1/", "/V2.1", "/v2%2E1", "/v2.1/orders", "/v2/orders/", "/v2.1/orderItems/x"]
)
def test_base_url_with_a_version(host: str, end: str) -> None:
    """A URL that goes on into the API is refused, with what to give instead: each request would go astray."""
    with pytest.raises(Invalid) as caught:
        base_url_of(None, host + end)
    assert str(caught.value) == (
        "base_url: must end before the version of the API, which the client adds: give the part before /v2"
    )


@pytest.mark.parametrize(
    "base_url",
    [
        "",
        "api.test",
        "ftp://api.test",
        "https://",
        "https://user:canary@api.test",
        "http://api.test\\@127.0.0.1",
        "https://api.test?x=1",
        "https://api.test#x",
        "https://api.test/a b",
        "https://api.test\n.evil.test",
        "https://api.test:0",
        "https://api.test:99999",
        "https://[::1",
        "https://a..test",
        "https://.test",
        f"https://{'a' * 64}.test",
        f"https://{'ü' * 64}.test",
        "https://a\u200d.test",
    ],
)
def test_bad_base_urls(base_url: str) -> None:
    """What is no plain URL of a server is refused, without repeating it."""
    rule = r"^base_url: must be like https://host, a valid host, without user, query or fragment$"
    with pytest.raises(Invalid, match=rule):
        base_url_of(None, base_url)
