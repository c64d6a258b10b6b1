"""Where the API is, who calls it, and how: values that are checked when they are made.

Each has an environment variable ``CDP_...``; what is given in Python comes before it.
"""

from __future__ import annotations

import math
import os
import ssl
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import attrs

from cdp_orders_async.errors import Invalid, Violation

__all__ = ["REGIONS", "Credentials", "Settings", "base_url_of"]

REGIONS: Mapping[str, str] = {
    "ap": "https://api-engage-ap.sitecorecloud.io",
    "eu": "https://api-engage-eu.sitecorecloud.io",
    "jp": "https://api-engage-jpe.sitecorecloud.io",
    "us": "https://api-engage-us.sitecorecloud.io",
}
"""The vendor's production servers, by region."""


def _positive(instance: Settings, field: attrs.Attribute[Any], value: float | None) -> None:
    del instance
    if value is not None and not (0 < value < math.inf):
        raise Invalid((Violation(field.name, "must be above 0"),))


def _not_negative(instance: Settings, field: attrs.Attribute[Any], value: int) -> None:
    del instance
    if value < 0:
        raise Invalid((Violation(field.name, "must not be negative"),))


@attrs.frozen(kw_only=True)
class Settings:
    """How the client calls: rate, connections, times, retries, proxy and TLS. Times are in seconds."""

    rate: float | None = attrs.field(default=None, validator=_positive)
    """Requests per second; None is no limit. ``CDP_RATE``."""
    burst: int = attrs.field(default=1, validator=_positive)
    """Requests that may leave at once after a pause. ``CDP_BURST``."""
    connections: int = attrs.field(default=100, validator=_positive)
    """Connections, and so requests in flight, at most. ``CDP_CONNECTIONS``."""
    timeout: float = attrs.field(default=30.0, validator=_positive)
    """One attempt, from the connection to the last byte of the answer. ``CDP_TIMEOUT``."""
    connect_timeout: float = attrs.field(default=10.0, validator=_positive)
    """Opening a connection. ``CDP_CONNECT_TIMEOUT``."""
    read_timeout: float | None = attrs.field(default=None, validator=_positive)
    """The longest silence within an answer; None leaves it to *timeout*. ``CDP_READ_TIMEOUT``."""
    pool_timeout: float | None = attrs.field(default=None, validator=_positive)
    """Waiting for a free connection; None leaves it to *deadline*. ``CDP_POOL_TIMEOUT``."""
    deadline: float | None = attrs.field(default=120.0, validator=_positive)
    """One call with all its waits and retries; None is no limit. ``CDP_DEADLINE``."""
    retries: int = attrs.field(default=3, validator=_not_negative)
    """Times a request is sent again where that is safe. ``CDP_RETRIES``."""
    keepalive: float = attrs.field(default=4.0, validator=_positive)
    """How long an idle connection is kept: shorter than common servers keep it, so that a create is
    not written into a connection that the server is just closing. ``CDP_KEEPALIVE``."""
    max_answer: int = attrs.field(default=64 * 2**20, validator=_positive)
    """The largest answer in bytes, decompressed. ``CDP_MAX_ANSWER``."""
    proxy: str | None = attrs.field(default=None, repr=False)
    """The URL of a proxy; it may hold a user and a password. ``CDP_PROXY``."""
    trust_env: bool = True
    """Whether ``HTTPS_PROXY``, ``HTTP_PROXY`` and ``NO_PROXY`` hold; netrc never does. ``CDP_TRUST_ENV``."""
    ca_file: str | None = None
    """Certificates to trust in place of the system's. ``CDP_CA_FILE``."""
    ssl_context: ssl.SSLContext | None = None
    """A TLS context of your own, for instance with a client certificate; it comes before *ca_file*."""

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Settings:
        """Make the settings that the ``CDP_...`` variables of *environ* ask for; raises `Invalid`."""
        found = {
            field.name: _parse(field.name, environ[key])
            for field in attrs.fields(cls)
            if (key := f"CDP_{field.name.upper()}") in environ and field.name != "ssl_context"
        }
        return cls(**found)  # type: ignore[arg-type]  # _parse makes each the type of its field


def _truth(text: str) -> bool:
    return {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}[text.lower()]


PARSERS: Mapping[str, Callable[[str], object]] = {
    **dict.fromkeys(("burst", "connections", "retries", "max_answer"), int),
    **dict.fromkeys(("proxy", "ca_file"), str),
    "trust_env": _truth,
}


def _parse(name: str, text: str) -> object:
    try:
        return PARSERS.get(name, float)(text)
    except (ValueError, KeyError):
        raise Invalid((Violation(f"CDP_{name.upper()}", "has the wrong form"),)) from None


@attrs.frozen(repr=False)
class Credentials:
    """Who calls: a client key with its API token, or a bearer token. Its repr shows none of them."""

    client_key: str | None = None
    api_token: str | None = None
    bearer_token: str | None = None

    def __attrs_post_init__(self) -> None:
        """Refuse all but exactly one way to authenticate."""
        basic = bool(self.client_key) and bool(self.api_token)
        if basic == bool(self.bearer_token):
            rule = "must be given together (CDP_CLIENT_KEY, CDP_API_TOKEN), or else a bearer_token (CDP_BEARER_TOKEN)"
            raise Invalid((Violation("client_key, api_token", rule),))
        if any("\n" in part or "\r" in part for part in (self.client_key, self.api_token, self.bearer_token) if part):
            raise Invalid((Violation("client_key, api_token", "must be on one line"),))

    def __repr__(self) -> str:
        return "Credentials(...)"


def base_url_of(region: str | None, base_url: str | None) -> str:
    """Return the URL of a *region*, or *base_url* checked: https, or http to this machine only.

    Raises `Invalid`: a password would travel in clear text otherwise.
    """
    if (region is None) == (base_url is None):
        raise Invalid((Violation("region, base_url", "exactly one of them must be given (CDP_REGION, CDP_BASE_URL)"),))
    if region is not None:
        if region not in REGIONS:
            raise Invalid((Violation("region", f"must be one of {', '.join(REGIONS)}"),))
        return REGIONS[region]
    plain = (base_url or "").strip().rstrip("/")
    try:
        url = urlsplit(plain)
        good = url.scheme in {"http", "https"} and url.hostname and url.port != 0
    except ValueError:
        url, good = urlsplit(""), False
    if not good or not plain.isprintable() or set(plain) & set("@?#\\ "):
        raise Invalid((Violation("base_url", "must be like https://host, without user, query or fragment"),))
    if url.scheme == "http" and not _loopback(url.hostname or ""):
        rule = "must be https, except to this machine: the API token would travel in the clear"
        raise Invalid((Violation("base_url", rule),))
    return plain


def _loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
