"""Check the addresses of the API: regions, base URLs and the URLs of proxies."""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import ip_address
from types import NoneType
from urllib.parse import SplitResult, unquote, urlsplit

from yarl import URL

from cdp_orders_async.arguments import need
from cdp_orders_async.errors import Invalid, Violation

__all__ = [
    "PROXY_FORM",
    "REGIONS",
    "base_url_of",
    "has_host",
    "is_encoded",
    "is_loopback",
    "normalised",
    "proxy_url",
]

REGIONS: Mapping[str, str] = {
    "ap": "https://api-engage-ap.sitecorecloud.io",
    "eu": "https://api-engage-eu.sitecorecloud.io",
    "jp": "https://api-engage-jpe.sitecorecloud.io",
    "us": "https://api-engage-us.sitecorecloud.io",
}
"""The vendor's production servers, by region."""
PROXY_FORM = "like http://user:password@host:port"
"""The form of the URL of a proxy."""
DEFAULT_PORTS = {"http": 80, "https": 443}
VERSION_SUFFIX = re.compile(r"/v2(\.1)?(/order[^/]*(/.*)?)?$", re.IGNORECASE)
"""The end of a URL that already has the version of the API; the client adds it."""
HOST_AND_PORT = re.compile(r"(\[[^\[\]]+\]|[^\[\]:]+)(:\d*)?")
"""A host and its port. Text before or after brackets is not allowed: other parsers read it as a part of the host."""


def base_url_of(region: str | None, base_url: str | None) -> str:
    """Return the URL of a *region*, or *base_url* checked and normalised: https, or http only to this machine.

    Raises `Invalid` for any other URL, which would send the API token unencrypted, and `TypeError` for no text.
    """
    need(region, (str, NoneType), "region")
    need(base_url, (str, NoneType), "base_url")
    if (region is None) == (base_url is None):
        raise Invalid((Violation("region, base_url", "exactly one of them must be given (CDP_REGION, CDP_BASE_URL)"),))
    if region is not None:
        if region not in REGIONS:
            raise Invalid((Violation("region", f"must be one of {', '.join(REGIONS)}"),))
        return REGIONS[region]
    plain = (base_url or "").strip().rstrip("/")
    url = _http_url(plain)
    if url is None or "@" in plain:
        rule = "must be like https://host, a valid host, without user, query or fragment"
        raise Invalid((Violation("base_url", rule),))
    if url.scheme == "http" and not is_loopback(url.hostname):
        rule = "must be https, except to this machine: the API token would travel unencrypted"
        raise Invalid((Violation("base_url", rule),))
    if VERSION_SUFFIX.search(unquote(url.path)):
        rule = "must end before the version of the API, which the client adds: give the part before /v2"
        raise Invalid((Violation("base_url", rule),))
    return normalised(plain)


def normalised(base_url: str) -> str:
    """Return *base_url* in the form that is compared; a text that is not the URL of a server is returned unchanged.

    Scheme and host are in lower case; a default port and a slash at the end are removed.
    """
    url = _http_url(base_url)
    if url is None or url.hostname is None:
        return base_url
    host = f"[{url.hostname}]" if ":" in url.hostname else url.hostname
    port = "" if url.port in {None, DEFAULT_PORTS[url.scheme]} else f":{url.port}"
    return f"{url.scheme}://{host}{port}{url.path.rstrip('/')}"


def is_loopback(host: str | None) -> bool:
    """Tell whether *host* is certainly this machine."""
    try:
        return ip_address(host or "").is_loopback
    except ValueError:
        return host == "localhost"


def has_host(url: str) -> bool:
    """Tell whether *url* has a host that can be looked up: no part of a name is empty, or longer than 63 letters."""
    try:
        return bool((URL(url).raw_host or "").encode("idna"))
    except ValueError:
        return False


def is_encoded(url: str) -> bool:
    """Tell whether *url* can be sent as it is."""
    return url.isascii() and url.isprintable() and " " not in url


def proxy_url(name: str, text: str) -> str:
    """Return the URL of a proxy from *text*, whose scheme may be missing; raises `Invalid` for the field *name*."""
    url = text if "://" in text else f"http://{text}"
    if _http_url(url) is None:
        raise Invalid((Violation(name, f"must be {PROXY_FORM}"),))
    return url


def _http_url(text: str) -> SplitResult | None:
    try:
        url = urlsplit(text)
        host = url.netloc.rpartition("@")[2]
        good = url.scheme in {"http", "https"} and HOST_AND_PORT.fullmatch(host) and url.port != 0 and has_host(text)
    except ValueError:
        return None
    return url if good and text.isprintable() and not set(text) & set("?#\\ ") else None
