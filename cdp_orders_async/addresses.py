"""Where the API is: its regions, base URLs and the URLs of proxies, which are checked here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import ip_address
from types import NoneType
from urllib.parse import SplitResult, unquote, urlsplit

from cdp_orders_async.arguments import need
from cdp_orders_async.errors import Invalid, Violation

__all__ = ["PROXY_FORM", "REGIONS", "base_url_of", "is_loopback", "normalised", "proxy_url"]

REGIONS: Mapping[str, str] = {
    "ap": "https://api-engage-ap.sitecorecloud.io",
    "eu": "https://api-engage-eu.sitecorecloud.io",
    "jp": "https://api-engage-jpe.sitecorecloud.io",
    "us": "https://api-engage-us.sitecorecloud.io",
}
"""The vendor's production servers, by region."""
PROXY_FORM = "like http://user:password@host:port"
"""What the URL of a proxy must be."""
PORTS = {"http": 80, "https": 443}
VERSIONED = re.compile(r"/v2(\.1)?(/order[^/]*(/.*)?)?$", re.IGNORECASE)
"""The end of a URL that goes on into the API, whose version the client adds."""
HOST = re.compile(r"(\[[^\[\]]+\]|[^\[\]:]+)(:\d*)?")
"""A host and its port: what others take for a host after or before brackets is none."""


def base_url_of(region: str | None, base_url: str | None) -> str:
    """Return the URL of a *region*, or *base_url* normalised and checked: https, or http to this machine only.

    Raises `Invalid`, since a password would travel in clear text otherwise, and TypeError for what is no text.
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
        raise Invalid((Violation("base_url", "must be like https://host, without user, query or fragment"),))
    if url.scheme == "http" and not is_loopback(url.hostname):
        rule = "must be https, except to this machine: the API token would travel in the clear"
        raise Invalid((Violation("base_url", rule),))
    if VERSIONED.search(unquote(url.path)):
        rule = "must end before the version of the API, which the client adds: give what stands before /v2"
        raise Invalid((Violation("base_url", rule),))
    return normalised(plain)


def normalised(base_url: str) -> str:
    """Return *base_url* in the one form in which its identity is compared; what is no URL of a server stays.

    Scheme and host are in lower case, a default port and a slash at the end are left out.
    """
    url = _http_url(base_url)
    if url is None or url.hostname is None:
        return base_url
    host = f"[{url.hostname}]" if ":" in url.hostname else url.hostname
    port = "" if url.port in {None, PORTS[url.scheme]} else f":{url.port}"
    return f"{url.scheme}://{host}{port}{url.path.rstrip('/')}"


def is_loopback(host: str | None) -> bool:
    """Tell whether *host* is certainly this machine."""
    try:
        return ip_address(host or "").is_loopback
    except ValueError:
        return host == "localhost"


def proxy_url(name: str, text: str) -> str:
    """Return the URL of a proxy that *text* gives, perhaps without its scheme; raises `Invalid` of the field *name*."""
    url = text if "://" in text else f"http://{text}"
    if _http_url(url) is None:
        raise Invalid((Violation(name, f"must be {PROXY_FORM}"),))
    return url


def _http_url(text: str) -> SplitResult | None:
    try:
        url = urlsplit(text)
        good = url.scheme in {"http", "https"} and HOST.fullmatch(url.netloc.rpartition("@")[2]) and url.port != 0
    except ValueError:
        return None
    return url if good and text.isprintable() and not set(text) & set("?#\\ ") else None
